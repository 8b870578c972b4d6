select
    station_id,
    network,
    gridcell_id,
    status,
    latitude,
    longitude,
    elevation_m::double as elevation_m,
    null::double as representativeness_frac,
from {{ ref('int_station') }}
order by station_id
