{#- hourly readings: one column per layer (station_csv) or one row per sensor (ismn) -#}
select
    station_id,
    source_file,
    {% if var('study').insitu.format == 'ismn' -%}
    sensor_id,
    sm_m3m3,
    {%- else -%}
    {%- for layer in var('study').insitu.layers %}
    sm_{{ loop.index }}_m3m3,
    {%- endfor %}
    {%- endif %}
    observed_at,
    {{ utc_day('observed_at', var('study').insitu.time_label) }} as obs_date,
from {{ lake('insitu', 'reading') }}
