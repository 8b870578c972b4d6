{#-
    What each depth of each station stands for.
    Surface: the shallowest depth whose centre is at most 0.10 m. Root zone 0..rzsm_depth_m: layers with an extent
    weigh their thickness inside the range; point sensors weigh the thickness between the midpoints to their
    neighbours, the shallowest reaching the surface and the deepest the bottom. Without a depth below the surface
    depth there is no root zone.
-#}
{% set bottom = var('study').insitu.rzsm_depth_m %}
with depth as (
    select
        station_id,
        round((depth_top_m + depth_bottom_m) / 2, 4) as depth_m,
        min(depth_top_m) as depth_top_m,
        max(depth_bottom_m) as depth_bottom_m,
    from {{ ref('stg_sensor') }}
    where depth_top_m >= 0
    group by all
),

neighbour as (
    select
        *,
        lag(depth_m) over down as depth_above_m,
        lead(depth_m) over down as depth_below_m,
        count(*) over (partition by station_id) as n_depths,
    from depth
    window down as (partition by station_id order by depth_m)
),

extent as (
    select
        station_id,
        depth_m,
        n_depths,
        depth_above_m is null and depth_m <= 0.10 as is_surface,
        {% if var('study').insitu.format == 'ismn' -%}
        coalesce((depth_above_m + depth_m) / 2, 0) as layer_top_m,
        coalesce((depth_m + depth_below_m) / 2, {{ bottom }}) as layer_bottom_m,
        {%- else -%}
        depth_top_m as layer_top_m,
        depth_bottom_m as layer_bottom_m,
        {%- endif %}
    from neighbour
)

select
    station_id,
    depth_m,
    is_surface,
    case
        when n_depths > 1
            then greatest(0, least(layer_bottom_m, {{ bottom }}) - least(layer_top_m, {{ bottom }}))
        else 0
    end as rzsm_weight_m,
from extent
