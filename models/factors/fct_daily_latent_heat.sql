{% set rules = var('study').rules %}
with climatology as (
    {{ circular_climatology(
        relation=ref('int_latent_heat_day'),
        keys=['product', 'gridcell_id'],
        values=['latent_heat_wm2'],
        window_days=rules.clim_window,
        min_samples=rules.clim_min_samples,
    ) }}
)

select
    day.product,
    day.gridcell_id,
    day.obs_date,
    day.latent_heat_wm2,
    day.latent_heat_wm2::double - climatology.latent_heat_wm2_climatology
        as latent_heat_anomaly_wm2,
from {{ ref('int_latent_heat_day') }} as day
left join climatology
    on day.product = climatology.product
    and day.gridcell_id = climatology.gridcell_id
    and climatology.day_index = {{ climatology_day('day.obs_date') }}
order by day.product, day.gridcell_id, day.obs_date
