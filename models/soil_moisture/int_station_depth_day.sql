{#-
    Daily UTC mean of each depth of each station, FLOAT, null below the minimum number of hours, which is kept.
    The same station and time in two files: equal values count once, unequal ones not at all.
-#}
{% set study = var('study') %}
{% set layers = study.insitu.layers %}
{% set hour_of = 'observed_at - interval 1 microsecond' if study.insitu.time_label == 'hour_ending'
    else 'observed_at' %}
{% set key = 'station_id, sensor_id, obs_date' if study.insitu.format == 'ismn' else 'station_id, obs_date' %}
with usable as (
    select *
    from {{ ref('stg_reading') }}
    semi join (
        from {{ ref('int_station') }}
        where status = 'ok'
    ) using (station_id)
),

{% if study.insitu.format == 'ismn' -%}
-- the mean of several sensors in steps of 2^-46: its sum over a day is then exact, the same in any order
depth_hour as (
    select
        station_id,
        round((depth_top_m + depth_bottom_m) / 2, 4) as depth_m,
        obs_date,
        date_trunc('hour', observed_at) as hour_at,
        round(avg(sm_m3m3::double) * 70368744177664) / 70368744177664 as sm_m3m3,
    from (
        select
            station_id,
            sensor_id,
            obs_date,
            observed_at,
            sm_m3m3,
        from usable
        anti join {{ ref('int_shared_day') }} using ({{ key }})
        union all
        select
            station_id,
            sensor_id,
            obs_date,
            observed_at,
            case when min(sm_m3m3) = max(sm_m3m3) then min(sm_m3m3) end as sm_m3m3,
        from usable
        semi join {{ ref('int_shared_day') }} using ({{ key }})
        group by all
    )
    inner join {{ ref('stg_sensor') }} using (station_id, sensor_id)
    group by all
),

daily as (
    select
        station_id,
        depth_m,
        obs_date,
        avg(sm_m3m3) as sm_m3m3,
        count(sm_m3m3) as n_hours,
    from depth_hour
    group by all
)
{%- else -%}
unique_reading as (
    select
        station_id,
        observed_at,
        obs_date,
        {%- for layer in layers %}
        sm_{{ loop.index }}_m3m3,
        {%- endfor %}
    from usable
    anti join {{ ref('int_shared_day') }} using ({{ key }})
    union all
    select
        station_id,
        observed_at,
        obs_date,
        {%- for layer in layers %}
        case
            when min(sm_{{ loop.index }}_m3m3) = max(sm_{{ loop.index }}_m3m3)
                then min(sm_{{ loop.index }}_m3m3)
        end as sm_{{ loop.index }}_m3m3,
        {%- endfor %}
    from usable
    semi join {{ ref('int_shared_day') }} using ({{ key }})
    group by all
),

-- hours with a value are counted as bits, so that sub-hourly readings do not count twice
wide as (
    select
        station_id,
        obs_date,
        {%- for layer in layers %}
        avg(sm_{{ loop.index }}_m3m3::double) as mean_{{ loop.index }},
        bit_count(bit_or(1 << hour({{ hour_of }})) filter (where sm_{{ loop.index }}_m3m3 is not null))
            as n_{{ loop.index }},
        {%- endfor %}
    from unique_reading
    group by all
),

daily as (
    {%- for layer in layers %}
    select
        station_id,
        {{ ((layer.top_m + layer.bottom_m) / 2) | round(4) }}::double as depth_m,
        obs_date,
        mean_{{ loop.index }} as sm_m3m3,
        coalesce(n_{{ loop.index }}, 0) as n_hours,
    from wide
    {% if not loop.last %}union all{% endif %}
    {%- endfor %}
)
{%- endif %}
{%- if study.rules.qc_plateau %},

-- a sensor that says exactly the same for 10 days or more in a row is stuck
plateau as (
    select
        * exclude (is_new),
        sum(is_new) over (partition by station_id, depth_m order by obs_date) as run,
    from (
        select
            *,
            coalesce(
                sm_m3m3::float is distinct from lag(sm_m3m3::float) over by_date
                or obs_date - lag(obs_date) over by_date > 1,
                true
            )::integer as is_new,
        from daily
        where n_hours >= {{ study.rules.min_hours }}
        window by_date as (partition by station_id, depth_m order by obs_date)
    )
),

stuck as (
    select station_id, depth_m, obs_date
    from plateau
    qualify count(*) over (partition by station_id, depth_m, run) >= 10
)
{%- endif %}

select
    station_id,
    depth_m,
    obs_date,
    n_hours::bigint as n_hours,
    case when n_hours >= {{ study.rules.min_hours }} then sm_m3m3::float end as sm_m3m3,
from daily
{%- if study.rules.qc_plateau %}
anti join stuck using (station_id, depth_m, obs_date)
{%- endif %}
