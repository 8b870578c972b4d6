select
    gridcell_id,
    grid_row,
    grid_col,
    latitude,
    longitude,
    n_stations,
    station.igbp_class,
    station.representativeness_frac,
from {{ ref('int_gridcell') }}
left join (
    select
        gridcell_id,
        any_value(cell_igbp_class) as igbp_class,
        avg(land.representativeness_frac order by station_id) as representativeness_frac,
    from {{ ref('int_station') }}
    inner join {{ ref('int_representativeness') }} as land using (station_id)
    where status = 'ok'
    group by all
) as station using (gridcell_id)
order by grid_row, grid_col
