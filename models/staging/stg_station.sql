select
    station_id,
    network,
    source_file,
    latitude,
    longitude,
    elevation_m,
from {{ lake('insitu', 'station') }}
