{#- A simulated world neither confirms nor contradicts what was published. -#}
{% test no_verdict_for_synthetic(model) %}
select *
from {{ model }}
where (status = 'synthetic') <> {{ 'true' if var('study').synthetic else 'false' }}
{% endtest %}
