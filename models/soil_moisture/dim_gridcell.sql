select
    gridcell_id,
    grid_row,
    grid_col,
    latitude,
    longitude,
    n_stations,
    null::double as representativeness_frac,
from {{ ref('int_gridcell') }}
order by grid_row, grid_col
