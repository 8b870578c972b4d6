{#-
    Surface soil moisture in windows of each sub-daily product's time step, station mean and product side by side, for
    up to 200 cells chosen by a hash of their name.
-#}
{% set study = var('study') %}
with cell as (
    select gridcell_id, grid_row, grid_col
    from {{ ref('int_gridcell') }}
    order by md5(gridcell_id)
    limit 200
),

station as (
    select station_id, gridcell_id, layer.depth_m
    from {{ ref('int_station') }}
    inner join {{ ref('int_station_layer') }} as layer using (station_id)
    where status = 'ok' and layer.is_surface and gridcell_id in (select gridcell_id from cell)
),

surface_reading as (
    {% if study.insitu.format == 'ismn' -%}
    select gridcell_id, observed_at, sm_m3m3
    from {{ ref('stg_reading') }}
    inner join {{ ref('stg_sensor') }} using (station_id, sensor_id)
    inner join station using (station_id)
    where abs((depth_top_m + depth_bottom_m) / 2 - depth_m) < 1e-3
    {%- else %}
    select
        gridcell_id,
        observed_at,
        case
            {%- for layer in study.insitu.layers %}
            when abs(depth_m - {{ (layer.top_m + layer.bottom_m) / 2 }}) < 1e-6 then sm_{{ loop.index }}_m3m3
            {%- endfor %}
        end as sm_m3m3,
    from {{ ref('stg_reading') }}
    inner join station using (station_id)
    {%- endif %}
)
{%- for product in study.products if product.samples_per_day >= 2 %},
{%- set step = 86400 // product.samples_per_day %}
{%- set label = study.insitu.time_label %}

insitu_{{ product.key }} as (
    select
        gridcell_id,
        floor((epoch(observed_at) - {{ 1800 if label == 'hour_ending' else 0 }}
            + {{ 0 if product.time_label == 'window_centre' else step // 2 }}) / {{ step }})::bigint as step_index,
        avg(sm_m3m3::double) as insitu_m3m3,
    from surface_reading
    where sm_m3m3 is not null
    group by all
),

product_{{ product.key }} as (
    select
        cell.gridcell_id,
        floor((epoch(observed_at)
            + {{ 0 if product.time_label == 'window_centre' else step // 2 }}) / {{ step }})::bigint as step_index,
        {% if product.on_grid -%}
        avg(ssm_m3m3::double) as product_m3m3,
        {%- else -%}
        avg(sm_{{ product.surface_layer }}_m3m3::double) as product_m3m3,
        {%- endif %}
    from {{ lake(product.key, 'land') }} as land
    {%- if product.on_grid %}
    inner join cell on land.grid_row = cell.grid_row and land.grid_col = cell.grid_col
    {%- else %}
    inner join {{ ref('int_gridcell_box') }} as box
        on land.box_row = box.box_row and land.box_col = box.box_col
        and box.product = '{{ product.key }}'
    inner join cell on box.gridcell_id = cell.gridcell_id
    {%- endif %}
    group by all
)
{%- endfor %}

{% for product in study.products if product.samples_per_day >= 2 %}
select
    '{{ product.key }}' as product,
    {{ 24 // product.samples_per_day }} as step_hours,
    gridcell_id,
    step_index,
    insitu_m3m3 - lag(insitu_m3m3) over by_step_{{ product.key }} as insitu_change_m3m3,
    product_m3m3 - lag(product_m3m3) over by_step_{{ product.key }} as product_change_m3m3,
from insitu_{{ product.key }}
inner join product_{{ product.key }} using (gridcell_id, step_index)
window by_step_{{ product.key }} as (partition by gridcell_id order by step_index)
qualify step_index - lag(step_index) over by_step_{{ product.key }} = 1
{% if not loop.last %}union all{% endif %}
{% else %}
select
    '' as product, 0 as step_hours, '' as gridcell_id, 0::bigint as step_index,
    0.0::double as insitu_change_m3m3, 0.0::double as product_change_m3m3
where false
{% endfor %}
