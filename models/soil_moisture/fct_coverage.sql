{% for layer in ('ssm', 'rzsm') -%}
select
    daily.product,
    daily.gridcell_id,
    '{{ layer }}' as layer,
    count(daily.{{ layer }}_m3m3) as n_days_valid,
    count(anomaly.{{ layer }}_anomaly_m3m3) as n_days_anomaly,
    count(*) as n_days_period,
    min(daily.obs_date) filter (where daily.{{ layer }}_m3m3 is not null) as first_date,
    max(daily.obs_date) filter (where daily.{{ layer }}_m3m3 is not null) as last_date,
from {{ ref('fct_daily_soil_moisture') }} as daily
inner join {{ ref('fct_daily_anomaly') }} as anomaly using (product, gridcell_id, obs_date)
group by all
{% if not loop.last %}union all
{% endif -%}
{%- endfor %}
order by all
