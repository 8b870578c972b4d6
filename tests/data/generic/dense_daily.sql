{#- Every product x cell has every day of the study period, and nothing else. -#}
{% test dense_daily(model) %}
{%- set period = var('study').period %}
select
    product,
    gridcell_id,
    count(*) as n_days,
    min(obs_date) as first_date,
    max(obs_date) as last_date,
from {{ model }}
group by all
having
    count(*) <> date '{{ period.end }}' - date '{{ period.start }}' + 1
    or min(obs_date) <> date '{{ period.start }}'
    or max(obs_date) <> date '{{ period.end }}'
{% endtest %}
