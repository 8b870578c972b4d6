{#- one row per cell, layer and day: the three series side by side, values and anomalies -#}
{% set study = var('study') %}
{% for layer in ('ssm', 'rzsm') -%}
select
    gridcell_id,
    cell.grid_row,
    cell.grid_col,
    '{{ layer }}' as layer,
    obs_date,
    insitu.{{ layer }}_m3m3 as insitu_m3m3,
    baseline.{{ layer }}_m3m3 as baseline_m3m3,
    candidate.{{ layer }}_m3m3 as candidate_m3m3,
    insitu_anomaly.{{ layer }}_anomaly_m3m3 as insitu_anomaly_m3m3,
    baseline_anomaly.{{ layer }}_anomaly_m3m3 as baseline_anomaly_m3m3,
    candidate_anomaly.{{ layer }}_anomaly_m3m3 as candidate_anomaly_m3m3,
from {{ ref('int_gridcell') }} as cell
{%- for role in ('insitu', 'baseline', 'candidate') %}
inner join (
    from {{ ref('fct_daily_soil_moisture') }}
    where product = '{{ study.roles[role] }}'
) as {{ role }} using (gridcell_id{% if not loop.first %}, obs_date{% endif %})
inner join (
    from {{ ref('fct_daily_anomaly') }}
    where product = '{{ study.roles[role] }}'
) as {{ role }}_anomaly using (gridcell_id, obs_date)
{%- endfor %}
where insitu.{{ layer }}_m3m3 is not null
{% if not loop.last %}union all
{% endif -%}
{%- endfor %}
order by grid_row, grid_col, layer, obs_date
