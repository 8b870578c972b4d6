select
    station_id,
    gridcell_id,
from {{ ref('int_station') }}
where status = 'ok'
order by station_id
