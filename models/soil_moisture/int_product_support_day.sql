{#-
    Daily UTC means of every product at its own support: a grid cell (support_row, support_col of M09), or a
    latitude/longitude box. FLOAT, null below the product's minimum count, which is kept. Sums of FLOAT values are exact
    in DOUBLE; those of weighted layers are not, and are taken in the order of time.
-#}
{% for product in var('study').products -%}
select
    '{{ product.key }}' as product,
    {{ 'grid_row' if product.on_grid else 'box_row' }} as support_row,
    {{ 'grid_col' if product.on_grid else 'box_col' }} as support_col,
    {{ utc_day('observed_at', product.time_label) }} as obs_date,
    {%- for layer in ('ssm', 'rzsm') %}
    {%- set ordered = ' order by observed_at' if layer == 'rzsm' and not product.on_grid else '' %}
    count({{ layer }}) as n_obs_{{ layer }},
    case
        when count({{ layer }}) >= {{ product.min_samples }}
            then avg({{ layer }}{{ ordered }})::float
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
        (
            {%- for layer in product.root_zone %}
            {{ layer.thickness_m }} * sm_{{ layer.index }}_m3m3::double
            {%- if not loop.last %} +{% endif %}
            {%- endfor %}
        ) / {{ product.rzsm_depth_m }} as rzsm,
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
