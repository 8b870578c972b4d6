{#- one row per factor, target, layer and cell with a valid target; base variant, unknown factors null -#}
{% for factor in factor_names().split() %}
select
    '{{ factor }}' as factor,
    target,
    layer,
    gridcell_id,
    grid_row,
    grid_col,
    {{ factor }} as factor_value,
    value,
from {{ ref('int_forest_input') }}
where variant = 'base'
{% if not loop.last %}union all{% endif %}
{%- endfor %}
