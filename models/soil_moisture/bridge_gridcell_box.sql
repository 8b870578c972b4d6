select
    product,
    gridcell_id,
    box_row,
    box_col,
    box_latitude,
    box_longitude,
    distance_box_widths,
    contains_centre,
from (
    select * from {{ ref('int_gridcell_box') }}
    union all
    select * from {{ ref('int_precipitation_box') }}
)
order by product, gridcell_id
