{#-
    Stage by stage, where stations, cells, files and readings went: per stage and entity, n over the reasons sums to
    what entered the stage.
-#}
with input_file as (
    select
        'read_' || source as stage,
        'file' as entity,
        reason,
        count(*) as n,
    from {{ ref('meta_input_file') }}
    group by all
),

reading as (
    select
        'read_' || source as stage,
        'reading' as entity,
        reading.reason,
        sum(reading.n) as n,
    from (
        select source, unnest(counts) as reading from {{ ref('stg_input_file') }}
    )
    group by all
),

-- readings that passed their own file, put together over files
combined as (
    select
        'combine_insitu' as stage,
        'reading' as entity,
        reason,
        sum(n) as n,
    from (
        select reason, n from {{ ref('int_duplicate_reading') }}
        union all
        select 'ok', n
        from reading
        where stage = 'read_insitu' and reason = 'ok'
        union all
        select 'ok', -n from {{ ref('int_duplicate_reading') }}
    )
    group by all
),

station as (
    select
        'match_station' as stage,
        'station' as entity,
        status as reason,
        count(*) as n,
    from {{ ref('dim_station') }}
    group by all
),

-- every cell that holds a station inside the grid: a study cell, or the reason of its best station
cell as (
    select
        'match_station' as stage,
        'cell' as entity,
        coalesce(min(status) filter (where status = 'ok'), min(status)) as reason,
        count(distinct gridcell_id) as n,
    from {{ ref('dim_station') }}
    where gridcell_id is not null
    group by gridcell_id
),

gain as (
    select
        'skill_gain_' || layer as stage,
        'cell' as entity,
        status as reason,
        count(*) as n,
    from {{ ref('fct_skill_gain') }}
    group by all
)

select
    stage,
    entity,
    reason,
    sum(n)::bigint as n,
from (
    select * from input_file
    union all select * from reading
    union all select * from combined
    union all select * from station
    union all select * from cell
    union all select * from gain
)
group by all
order by stage, entity, reason
