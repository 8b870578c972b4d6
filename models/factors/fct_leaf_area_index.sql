{#- a dekadal series has few samples in a window, so it needs fewer than a daily one -#}
{% set study = var('study') %}
with climatology as (
    {{ circular_climatology(
        relation=ref('int_leaf_area_day'),
        keys=['product', 'gridcell_id'],
        values=['lai_m2m2'],
        window_days=study.rules.clim_window,
        min_samples=study.rules.lai_clim_min_samples,
    ) }}
)

select
    day.product,
    day.gridcell_id,
    day.obs_date,
    day.lai_m2m2,
    case
        when day.product <> '{{ study.roles.candidate }}'
            or climatology.lai_m2m2_n >= {{ study.rules.clim_min_samples }}
            then day.lai_m2m2::double - climatology.lai_m2m2_climatology
    end as lai_anomaly_m2m2,
from {{ ref('int_leaf_area_day') }} as day
left join climatology
    on day.product = climatology.product
    and day.gridcell_id = climatology.gridcell_id
    and climatology.day_index = {{ climatology_day('day.obs_date') }}
order by day.product, day.gridcell_id, day.obs_date
