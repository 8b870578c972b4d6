{% set keys = ['insitu'] + var('study').products | map(attribute='key') | list %}
with product_day as (
    select 'insitu' as product, * from {{ ref('int_insitu_cell_day') }}
    union all by name
    select * from {{ ref('int_product_cell_day') }}
),

every_day as (
    {{ dense_days(keys) }}
)

select
    every_day.product,
    every_day.gridcell_id,
    every_day.obs_date,
    product_day.ssm_m3m3,
    product_day.rzsm_m3m3,
    coalesce(product_day.n_obs_ssm, 0)::integer as n_obs_ssm,
    coalesce(product_day.n_obs_rzsm, 0)::integer as n_obs_rzsm,
from every_day
left join product_day using (product, gridcell_id, obs_date)
order by every_day.product, every_day.gridcell_id, every_day.obs_date
