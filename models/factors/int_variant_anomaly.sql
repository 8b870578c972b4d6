{#- anomalies of those series -#}
{% set rules = var('study').rules %}
with climatology as (
    {{ circular_climatology(
        relation=ref('int_variant_daily'),
        keys=['product', 'gridcell_id'],
        values=['ssm_m3m3', 'rzsm_m3m3'],
        window_days=rules.clim_window,
        min_samples=rules.clim_min_samples,
    ) }}
)

select
    daily.product,
    daily.gridcell_id,
    daily.obs_date,
    daily.ssm_m3m3::double - climatology.ssm_m3m3_climatology as ssm_anomaly_m3m3,
    daily.rzsm_m3m3::double - climatology.rzsm_m3m3_climatology as rzsm_anomaly_m3m3,
from {{ ref('int_variant_daily') }} as daily
left join climatology
    on daily.product = climatology.product
    and daily.gridcell_id = climatology.gridcell_id
    and climatology.day_index = {{ climatology_day('daily.obs_date') }}
