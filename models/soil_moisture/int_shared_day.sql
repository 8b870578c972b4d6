{#-
    Station days (of a sensor, where each has its own rows) that the readings of several raw files may share, so that a
    time may come twice: days on which a file of the station begins before an earlier one has ended. All other readings
    are unique, since a file is cleared of repeated times when it is read.
-#}
{% set key = 'station_id, sensor_id' if var('study').insitu.format == 'ismn' else 'station_id' %}
with file_days as (
    select
        {{ key }},
        source_file,
        min(obs_date) as first_date,
        max(obs_date) as last_date,
    from {{ ref('stg_reading') }}
    group by all
),

overlap as (
    select
        *,
        max(last_date) over earlier as known_until,
    from file_days
    window earlier as (
        partition by {{ key }}
        order by first_date, source_file
        rows between unbounded preceding and 1 preceding
    )
)

select distinct
    {{ key }},
    unnest(range(first_date, least(last_date, known_until) + interval 1 day, interval 1 day))::date
        as obs_date,
from overlap
where first_date <= known_until
