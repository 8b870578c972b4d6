{#-
    Which latitude/longitude box stands for a cell: the one that contains the cell's centre; if that is never valid,
    the nearest valid box within 1.5 box widths; else none.
-#}
{% set products = var('study').products | rejectattr('on_grid') | list %}
with candidate as (
    {%- for product in products %}
    select
        '{{ product.key }}' as product,
        cell.gridcell_id,
        box.box_row,
        box.box_col,
        box.latitude,
        box.longitude,
        abs(cell.latitude - box.latitude) / box.width_lat_deg as away_lat,
        abs((cell.longitude - box.longitude + 540) % 360 - 180) / box.width_lon_deg as away_lon,
    from {{ ref('int_gridcell') }} as cell
    inner join (
        select
            box_row,
            box_col,
            any_value(latitude order by source_file) as latitude,
            any_value(longitude order by source_file) as longitude,
            any_value(width_lat_deg order by source_file) as width_lat_deg,
            any_value(width_lon_deg order by source_file) as width_lon_deg,
        from {{ lake(product.key, 'box') }}
        group by all
    ) as box
        on abs(cell.latitude - box.latitude) <= 1.5 * box.width_lat_deg
        and abs((cell.longitude - box.longitude + 540) % 360 - 180) <= 1.5 * box.width_lon_deg
    {% if not loop.last %}union all{% endif %}
    {%- else %}
    select
        '' as product, '' as gridcell_id, 0 as box_row, 0 as box_col, 0::double as latitude,
        0::double as longitude, 0::double as away_lat, 0::double as away_lon
    where false
    {%- endfor %}
),

valid_box as (
    select
        product,
        support_row as box_row,
        support_col as box_col,
    from {{ ref('int_product_support_day') }}
    group by all
    having count(ssm_m3m3) + count(rzsm_m3m3) > 0
)

select
    product,
    gridcell_id,
    box_row,
    box_col,
    latitude as box_latitude,
    longitude as box_longitude,
    sqrt(away_lat * away_lat + away_lon * away_lon) as distance_box_widths,
    away_lat <= 0.5 and away_lon <= 0.5 as contains_centre,
from candidate
semi join valid_box using (product, box_row, box_col)
where sqrt(away_lat * away_lat + away_lon * away_lon) <= 1.5
qualify
    row_number() over (
        partition by product, gridcell_id
        order by contains_centre desc, distance_box_widths asc, box_row asc, box_col asc
    ) = 1
