select
    product,
    station_id,
    box_row,
    box_col,
    box_latitude,
    box_longitude,
    distance_box_widths,
    contains_centre,
from {{ ref('int_latent_heat_box') }}
order by product, station_id
