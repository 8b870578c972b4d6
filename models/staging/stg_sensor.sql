{#- every sensor (ismn) or layer (station_csv) of every station -#}
{% if var('study').insitu.format == 'ismn' -%}
select
    station_id,
    sensor_id,
    min(depth_top_m) as depth_top_m,
    max(depth_bottom_m) as depth_bottom_m,
from {{ lake('insitu', 'sensor') }}
group by all
{%- else -%}
select
    station.station_id,
    layer.sensor_id,
    layer.depth_top_m,
    layer.depth_bottom_m,
from (select distinct station_id from {{ ref('stg_station') }}) as station
cross join (
    values
    {%- for layer in var('study').insitu.layers %}
    ('{{ loop.index }}', {{ layer.top_m }}::double, {{ layer.bottom_m }}::double)
    {%- if not loop.last %},{% endif %}
    {%- endfor %}
) as layer (sensor_id, depth_top_m, depth_bottom_m)
{%- endif %}
