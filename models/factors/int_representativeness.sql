{#-
    Share of a cell's valid 500 m land-cover pixels that have the class of the pixel holding the station; pixels of a
    cell that several tiles share are summed.
-#}
{% if var('study').land_cover -%}
with cell_class as (
    select
        grid_row,
        grid_col,
        igbp_class,
        sum(n_pixels) as n_pixels,
    from {{ lake('land_cover', 'cell_class') }}
    where igbp_class between 1 and 17
    group by all
),

cell as (
    select
        grid_row,
        grid_col,
        sum(n_pixels) as n_pixels,
        arg_max(igbp_class, n_pixels * 100 - igbp_class) as igbp_class,
    from cell_class
    group by all
)

select
    station.station_id,
    picked.igbp_class::integer as igbp_class,
    cell.igbp_class::integer as cell_igbp_class,
    cell.n_pixels::bigint as n_pixels,
    case
        when picked.igbp_class between 1 and 17
            then coalesce(same.n_pixels, 0) / cell.n_pixels
    end as representativeness_frac,
from {{ ref('int_station') }} as station
left join (
    select station_id, min(igbp_class) as igbp_class
    from {{ lake('land_cover', 'station_class') }}
    group by all
) as picked using (station_id)
left join cell using (grid_row, grid_col)
left join cell_class as same
    on station.grid_row = same.grid_row
    and station.grid_col = same.grid_col
    and picked.igbp_class = same.igbp_class
{%- else -%}
select
    station_id,
    null::integer as igbp_class,
    null::integer as cell_igbp_class,
    null::bigint as n_pixels,
    null::double as representativeness_frac,
from {{ ref('int_station') }}
{%- endif %}
