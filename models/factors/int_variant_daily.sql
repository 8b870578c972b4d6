{#- daily soil moisture with in situ from representative stations; only their cells -#}
{{ config(materialized='view') }}
{% set roles = var('study').roles %}
with cell as (
    select distinct gridcell_id from {{ ref('int_variant_insitu_cell_day') }}
)

select
    daily.product,
    daily.gridcell_id,
    daily.obs_date,
    case when daily.product = '{{ roles.insitu }}' then insitu.ssm_m3m3 else daily.ssm_m3m3 end
        as ssm_m3m3,
    case when daily.product = '{{ roles.insitu }}' then insitu.rzsm_m3m3 else daily.rzsm_m3m3 end
        as rzsm_m3m3,
from {{ ref('fct_daily_soil_moisture') }} as daily
inner join cell using (gridcell_id)
left join {{ ref('int_variant_insitu_cell_day') }} as insitu using (gridcell_id, obs_date)
