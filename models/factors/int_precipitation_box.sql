{#- the box of each precipitation reference that stands for each cell -#}
{% for reference in var('study').references.precipitation -%}
select
    '{{ reference.key }}' as product,
    * exclude (away_lat, away_lon),
from (
    {{ nearest_valid_box(
        points=ref('int_gridcell'),
        key='gridcell_id',
        boxes=lake(reference.key, 'box'),
        valid="(select distinct box_row, box_col from " ~ ref('int_precipitation_box_day')
            ~ " where product = '" ~ reference.key ~ "' and precipitation_mm is not null)",
    ) }}
)
{% if not loop.last %}union all
{% endif -%}
{% else -%}
{{ no_box('gridcell_id') }}
{% endfor -%}
