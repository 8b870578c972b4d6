{#-
    Surface and root-zone soil moisture of each station and day; the root zone needs every weighted depth. Weights
    count in hundredths of a millimetre: whole numbers keep the sum exact, so that equal layers give the plain mean and
    the order of depths does not matter.
-#}
with need as (
    select
        station_id,
        count(*) as n_depths,
        sum(round(rzsm_weight_m * 1e5)) as total_weight,
    from {{ ref('int_station_layer') }}
    where rzsm_weight_m > 0
    group by all
),

by_depth as (
    select
        day.station_id,
        day.obs_date,
        layer.depth_m,
        layer.is_surface,
        layer.rzsm_weight_m,
        day.sm_m3m3,
        day.n_hours,
    from {{ ref('int_station_depth_day') }} as day
    inner join {{ ref('int_station_layer') }} as layer
        on day.station_id = layer.station_id and abs(day.depth_m - layer.depth_m) < 1e-6
)

select
    by_depth.station_id,
    by_depth.obs_date,
    coalesce(max(n_hours) filter (where is_surface), 0)::bigint as n_obs_ssm,
    (case
        when count(*) filter (where rzsm_weight_m > 0) = any_value(need.n_depths)
            then min(n_hours) filter (where rzsm_weight_m > 0)
        else 0
    end)::bigint as n_obs_rzsm,
    max(sm_m3m3) filter (where is_surface) as ssm_m3m3,
    (case
        when count(sm_m3m3) filter (where rzsm_weight_m > 0) = any_value(need.n_depths)
            then sum(round(rzsm_weight_m * 1e5) * sm_m3m3::double)
                filter (where rzsm_weight_m > 0) / any_value(need.total_weight)
    end)::float as rzsm_m3m3,
from by_depth
left join need using (station_id)
group by all
