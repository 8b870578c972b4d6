{#- The declared key is the grain: no two rows share it. -#}
{% test unique_key(model, columns) %}
select
    {{ columns | join(', ') }},
    count(*) as n_rows,
from {{ model }}
group by all
having count(*) > 1
{% endtest %}
