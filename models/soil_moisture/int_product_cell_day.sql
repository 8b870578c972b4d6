{#- every product's daily values at the study's cells -#}
{% for product in var('study').products -%}
select
    support.product,
    cell.gridcell_id,
    support.obs_date,
    support.n_obs_ssm,
    support.n_obs_rzsm,
    support.ssm_m3m3,
    support.rzsm_m3m3,
from {{ ref('int_product_support_day') }} as support
{%- if product.on_grid %}
inner join {{ ref('int_gridcell') }} as cell
    on support.support_row = cell.grid_row and support.support_col = cell.grid_col
{%- else %}
inner join {{ ref('int_gridcell_box') }} as cell
    on support.product = cell.product
    and support.support_row = cell.box_row
    and support.support_col = cell.box_col
{%- endif %}
where support.product = '{{ product.key }}'
{% if not loop.last %}union all
{% endif -%}
{%- endfor %}
