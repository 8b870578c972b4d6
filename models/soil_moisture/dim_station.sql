select
    station_id,
    network,
    gridcell_id,
    status,
    latitude,
    longitude,
    elevation_m::double as elevation_m,
    land.igbp_class,
    land.representativeness_frac,
from {{ ref('int_station') }}
left join {{ ref('int_representativeness') }} as land using (station_id)
order by station_id
