select
    daily.product,
    daily.gridcell_id,
    daily.obs_date,
    daily.ssm_m3m3::double - climatology.ssm_m3m3_climatology as ssm_anomaly_m3m3,
    daily.rzsm_m3m3::double - climatology.rzsm_m3m3_climatology as rzsm_anomaly_m3m3,
from {{ ref('fct_daily_soil_moisture') }} as daily
left join {{ ref('int_climatology') }} as climatology
    on daily.product = climatology.product
    and daily.gridcell_id = climatology.gridcell_id
    and climatology.day_index = {{ climatology_day('daily.obs_date') }}
order by daily.product, daily.gridcell_id, daily.obs_date
