{#- A statistic stands exactly where its status is ok. -#}
{% test null_unless_ok(model, columns) %}
select *
from {{ model }}
where
    {%- for column in columns %}
    (({{ column }} is not null) <> (status = 'ok'))
    {%- if not loop.last %} or{% endif %}
    {%- endfor %}
{% endtest %}
