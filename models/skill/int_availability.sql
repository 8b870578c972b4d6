{#- per cell and layer: whether each of the three series has any day, and why a product has none -#}
{% set study = var('study') %}
with valid as (
    select
        gridcell_id,
        layer,
        product,
        n_days_anomaly,
        n_days_valid,
    from {{ ref('fct_coverage') }}
),

product_reason as (
    select
        valid.*,
        case
            when product = 'insitu' and n_days_valid = 0 then 'no_insitu'
            {%- for product in study.products if not product.on_grid %}
            {%- if not product.root_zone %}
            when product = '{{ product.key }}' and layer = 'rzsm' then 'no_layer'
            {%- endif %}
            when product = '{{ product.key }}'
                and gridcell_id not in (
                    select gridcell_id from {{ ref('int_gridcell_box') }}
                    where product = '{{ product.key }}'
                ) then 'no_valid_box'
            {%- endfor %}
            when n_days_valid = 0 then 'no_product_data'
            when n_days_anomaly = 0 then 'no_climatology'
            else 'ok'
        end as reason,
    from valid
)

select
    product,
    gridcell_id,
    layer,
    reason,
    n_days_anomaly,
from product_reason
