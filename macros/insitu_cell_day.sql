{#-
    Mean of each cell's stations, before anomalies; `stations` holds station_id, gridcell_id and n_stations, the
    number of stations of the cell. bias_adjusted: x_s - m_s + mean over stations of m_s, with m_s the
    station's mean over the days on which all stations of the cell are valid (at least 100 such days, else over its
    own days), so that the cell's mean does not jump when one of its stations drops out.
-#}
{% macro insitu_cell_day(stations) -%}
    {%- set simple = var('study').rules.cell_mean == 'simple' %}
with station_day as (
    select
        station.gridcell_id,
        station.n_stations,
        day.*,
    from {{ ref('int_station_day') }} as day
    inner join {{ stations }} as station using (station_id)
),

together as (
    select
        *,
        {%- for layer in ('ssm', 'rzsm') %}
        count({{ layer }}_m3m3) over (partition by gridcell_id, obs_date) = n_stations
            as all_valid_{{ layer }},
        {%- endfor %}
    from station_day
),

station_mean as (
    select
        gridcell_id,
        station_id,
        {%- for layer in ('ssm', 'rzsm') %}
        case
            when count(*) filter (where all_valid_{{ layer }}) >= 100
                then avg({{ layer }}_m3m3::double) filter (where all_valid_{{ layer }})
            else avg({{ layer }}_m3m3::double)
        end as {{ layer }}_mean,
        {%- endfor %}
    from together
    group by all
),

cell_mean as (
    select
        gridcell_id,
        {%- for layer in ('ssm', 'rzsm') %}
        avg({{ layer }}_mean order by station_id) as {{ layer }}_cell_mean,
        {%- endfor %}
    from station_mean
    group by all
)

select
    day.gridcell_id,
    day.obs_date,
    {%- for layer in ('ssm', 'rzsm') %}
    sum(day.n_obs_{{ layer }})::bigint as n_obs_{{ layer }},
    {%- if simple %}
    avg(day.{{ layer }}_m3m3::double)::float as {{ layer }}_m3m3,
    {%- else %}
    (case
        when any_value(day.n_stations) = 1 then max(day.{{ layer }}_m3m3)
        else
            avg(
                day.{{ layer }}_m3m3::double - {{ layer }}_mean + {{ layer }}_cell_mean
                order by day.station_id
            ) filter (where day.n_stations > 1)
    end)::float as {{ layer }}_m3m3,
    {%- endif %}
    {%- endfor %}
from station_day as day
inner join station_mean using (gridcell_id, station_id)
inner join cell_mean using (gridcell_id)
group by all
{%- endmacro %}
