{#- the box that stands for each cell, for every soil-moisture product on latitude/longitude -#}
{% for product in var('study').products if not product.on_grid -%}
select
    '{{ product.key }}' as product,
    * exclude (away_lat, away_lon),
from (
    {{ nearest_valid_box(
        points=ref('int_gridcell'),
        key='gridcell_id',
        boxes=lake(product.key, 'box'),
        valid="(select support_row as box_row, support_col as box_col from " ~ ref('int_product_support_day')
            ~ " where product = '" ~ product.key ~ "' group by all"
            ~ " having count(ssm_m3m3) + count(rzsm_m3m3) > 0)",
    ) }}
)
{% if not loop.last %}union all
{% endif -%}
{% else -%}
{{ no_box('gridcell_id') }}
{% endfor -%}
