{#-
    Which latitude/longitude box stands for a point: the one that contains it; if that is never valid, the nearest
    valid box within 1.5 box widths; else none.
    points: relation with `key`, latitude, longitude. boxes: a lake's box table. valid: relation of the boxes
    (box_row, box_col) that hold a value at any time.
-#}
{% macro nearest_valid_box(points, key, boxes, valid) -%}
    select
        point.{{ key }},
        box.box_row,
        box.box_col,
        box.latitude as box_latitude,
        box.longitude as box_longitude,
        abs(point.latitude - box.latitude) / box.width_lat_deg as away_lat,
        abs((point.longitude - box.longitude + 540) % 360 - 180) / box.width_lon_deg as away_lon,
        sqrt(away_lat * away_lat + away_lon * away_lon) as distance_box_widths,
        away_lat <= 0.5 and away_lon <= 0.5 as contains_centre,
    from {{ points }} as point
    inner join (
        select
            box_row,
            box_col,
            arg_min(latitude, source_file) as latitude,
            arg_min(longitude, source_file) as longitude,
            arg_min(width_lat_deg, source_file) as width_lat_deg,
            arg_min(width_lon_deg, source_file) as width_lon_deg,
        from {{ boxes }}
        group by all
    ) as box
        on abs(point.latitude - box.latitude) <= 1.5 * box.width_lat_deg
    semi join {{ valid }} as valid_box
        on box.box_row = valid_box.box_row and box.box_col = valid_box.box_col
    where distance_box_widths <= 1.5
    qualify
        row_number() over (
            partition by point.{{ key }}
            order by contains_centre desc, distance_box_widths asc, box.box_row asc, box.box_col asc
        ) = 1
{%- endmacro %}

{#- The rows a bridge has when no product of the study is on latitude/longitude: none, but typed. -#}
{% macro no_box(key) -%}
    select
        '' as product,
        '' as {{ key }},
        0 as box_row,
        0 as box_col,
        0::double as box_latitude,
        0::double as box_longitude,
        0::double as distance_box_widths,
        false as contains_centre,
    where false
{%- endmacro %}
