{#- one row per factor, target, layer and cell with a valid target; base variant, unknown factors null -#}
{% for factor in ('precipitation_skill', 'coupling_error', 'clay_variability', 'lai_error',
    'latent_heat_skill', 'tb_innovation_sd_k', 'microwave_roughness', 'lai_mean') %}
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
