{#- station-to-cell matching, and one reason for every station that cannot be used -#}
{% set study = var('study') %}
with value_count as (
    select
        entity as station_id,
        sum(n) filter (where reason in ('ok', 'not_positive', 'above_maximum')) as n_values,
        sum(n) filter (where reason = 'not_positive') as n_not_positive,
        sum(n) filter (where reason = 'above_maximum') as n_above_maximum,
    from (
        select unnest(counts, recursive := true)
        from {{ ref('stg_input_file') }}
        where source = 'insitu'
    )
    group by entity
),

listed as (
    select
        station_id,
        arg_min(network, source_file) as network,
        arg_min(latitude, source_file) as latitude,
        arg_min(longitude, source_file) as longitude,
        arg_min(elevation_m, source_file) as elevation_m,
        -- more than about 1 km apart: two places under one name
        greatest(max(latitude) - min(latitude), max(longitude) - min(longitude)) > 0.01 as has_moved,
    from {{ ref('stg_station') }}
    group by station_id
),

-- a station whose readings are there, yet the station list does not name it, has no coordinates
named as (
    select * from listed
    union all by name
    select
        station_id,
        null as latitude,
        false as has_moved,
    from value_count
    anti join listed using (station_id)
),

matched as (
    select
        *,
        {{ ease_row('latitude') }} as grid_row,
        {{ ease_col('longitude') }} as grid_col,
    from named
),

judged as (
    select
        matched.*,
        case
            when latitude is null or longitude is null then 'no_coordinates'
            when grid_row is null then 'outside_grid'
            {%- if study.region %}
            when latitude not between {{ study.region.south }} and {{ study.region.north }}
                or longitude not between {{ study.region.west }} and {{ study.region.east }}
                then 'outside_region'
            {%- endif %}
            when has_moved then 'duplicate_station'
            when coalesce(n_values, 0) = 0 then 'no_readings'
            -- the median of the station's values lies outside (0, sm_max]
            when 2 * coalesce(n_not_positive, 0) > n_values
                or 2 * coalesce(n_above_maximum, 0) > n_values then 'unit_mismatch'
            else 'ok'
        end as status,
    from matched
    left join value_count using (station_id)
)

select
    station_id,
    network,
    case when status not in ('no_coordinates', 'outside_grid')
        then {{ gridcell_id('grid_row', 'grid_col') }} end as gridcell_id,
    status,
    grid_row,
    grid_col,
    latitude,
    longitude,
    elevation_m,
from judged
