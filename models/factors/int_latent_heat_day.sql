{#- latent heat of the candidate; of each reference, the mean over the cell's stations of their boxes -#}
{% set study = var('study') %}
{% set run = [study.roles.candidate] if 'latent_heat_wm2' in study.candidate_fields else [] %}
{% set keys = var('study').references.latent_heat | map(attribute='key') | list %}
with known as (
    select
        '{{ study.roles.candidate }}' as product,
        gridcell_id,
        obs_date,
        latent_heat_wm2,
    from {{ ref('int_candidate_day') }}

    union all

    select
        day.product,
        station.gridcell_id,
        day.obs_date,
        avg(day.latent_heat_wm2::double order by station.station_id)::float as latent_heat_wm2,
    from {{ ref('int_latent_heat_box_day') }} as day
    inner join {{ ref('int_latent_heat_box') }} as box using (product, box_row, box_col)
    inner join {{ ref('int_station') }} as station using (station_id)
    group by all
),

every_day as (
    {{ dense_days(run + keys) }}
)

select
    every_day.product,
    every_day.gridcell_id,
    every_day.obs_date,
    known.latent_heat_wm2,
from every_day
left join known using (product, gridcell_id, obs_date)
