{#- What enters a stage equals what the stage before let through, or what the tables hold. -#}
{% test ledger_reconciles(model) %}
with flow as (
    select 'files' as what, (select sum(n) from {{ model }} where entity = 'file') as counted,
        (select count(*) from {{ ref('meta_input_file') }}) as expected
    union all
    select 'readings', (select sum(n) from {{ model }} where stage = 'combine_insitu'),
        (
            select sum(n) from {{ model }}
            where stage = 'read_insitu' and entity = 'reading' and reason = 'ok'
        )
    union all
    select 'stations', (select sum(n) from {{ model }} where entity = 'station'),
        (
            select count(*) from (
                select station_id from {{ ref('stg_station') }}
                union
                select count.entity
                from (
                    select source, unnest(counts) as count from {{ ref('stg_input_file') }}
                )
                where source = 'insitu'
            )
        )
    union all
    select 'used stations',
        (select sum(n) from {{ model }} where entity = 'station' and reason = 'ok'),
        (select sum(n_stations) from {{ ref('dim_gridcell') }})
    {%- for layer in ('ssm', 'rzsm') %}
    union all
    select '{{ layer }} cells',
        (select sum(n) from {{ model }} where stage = 'skill_gain_{{ layer }}'),
        (
            select sum(n) from {{ model }}
            where stage = 'match_station' and entity = 'cell' and reason = 'ok'
        )
    {%- endfor %}
)

select *
from flow
where coalesce(counted, 0) <> coalesce(expected, 0)
{% endtest %}
