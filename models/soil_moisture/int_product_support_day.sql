{#-
    Daily UTC means of every product at its own support: a grid cell (support_row, support_col of M09), or a
    latitude/longitude box. FLOAT, null below the product's minimum count, which is kept. Sums of FLOAT values are exact
    in DOUBLE; those of weighted layers become so by steps.
-#}
{% for product in var('study').products -%}
select
    '{{ product.key }}' as product,
    {{ 'grid_row' if product.on_grid else 'box_row' }} as support_row,
    {{ 'grid_col' if product.on_grid else 'box_col' }} as support_col,
    {{ utc_day('observed_at', product.time_label) }} as obs_date,
    {%- for layer in ('ssm', 'rzsm') %}
    count({{ layer }}) as n_obs_{{ layer }},
    case
        when count({{ layer }}) >= {{ product.min_samples }}
            then avg({{ layer }})::float
    end as {{ layer }}_m3m3,
    {%- endfor %}
from (
    select
        *,
        {%- if product.on_grid %}
        ssm_m3m3::double as ssm,
        rzsm_m3m3::double as rzsm,
        {%- else %}
        sm_{{ product.surface_layer }}_m3m3::double as ssm,
        {%- if product.root_zone %}
        {%- set weighted = [] %}
        {%- for layer in product.root_zone %}
        {%- do weighted.append(layer.thickness_m ~ ' * sm_' ~ layer.index ~ '_m3m3::double') %}
        {%- endfor %}
        {{ in_exact_steps('(' ~ weighted | join(' + ') ~ ') / ' ~ product.rzsm_depth_m) }} as rzsm,
        {%- else %}
        null::double as rzsm,
        {%- endif %}
        {%- endif %}
    from {{ lake(product.key, 'land') }}
)
group by all
{% if not loop.last %}union all
{% endif -%}
{%- endfor %}
