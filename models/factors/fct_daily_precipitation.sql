{% set study = var('study') %}
{% set run = [study.roles.candidate] if 'precipitation_mmd' in study.candidate_fields else [] %}
{% set keys = var('study').references.precipitation | map(attribute='key') | list %}
with known as (
    select
        '{{ study.roles.candidate }}' as product,
        gridcell_id,
        obs_date,
        precipitation_mmd as precipitation_mm,
    from {{ ref('int_candidate_day') }}

    union all

    select
        day.product,
        box.gridcell_id,
        day.obs_date,
        day.precipitation_mm,
    from {{ ref('int_precipitation_box_day') }} as day
    inner join {{ ref('int_precipitation_box') }} as box using (product, box_row, box_col)
),

every_day as (
    {{ dense_days(run + keys) }}
)

select
    every_day.product,
    every_day.gridcell_id,
    every_day.obs_date,
    known.precipitation_mm,
from every_day
left join known using (product, gridcell_id, obs_date)
order by all
