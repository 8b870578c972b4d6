{#- stations, cells and their mean skill -#}
with station_count as (
    select
        n_stations,
        count(*) as n_with,
    from {{ ref('dim_gridcell') }}
    group by all
),

total as (
    select
        count(*) as n_cells,
        coalesce(sum(n_stations), 0) as n_stations,
    from {{ ref('dim_gridcell') }}
)

select
    'stations' as measure,
    n_stations::double as value,
    n_stations::bigint as n_sample,
from total

union all

select
    'cells',
    n_cells,
    n_cells as n_sample,
from total
{%- for stations in range(1, 6) %}

union all

select
    '{{ 'share' if stations < 3 else 'cells' }}_with_stations {{ stations }}',
    coalesce(n_with, 0)::double{{ ' / n_cells' if stations < 3 }},
    n_cells,
from total
left join station_count on station_count.n_stations = {{ stations }}
where n_cells > 0
{%- endfor %}
{%- for measure, column in (
    ('share_improved', 'share_improved'),
    ('mean_delta_r', 'mean_delta_r'),
    ('relative_gain', 'relative_improvement_ratio_of_means'),
    ('mean_r_baseline', 'mean_r_baseline'),
    ('mean_r_candidate', 'mean_r_candidate'),
) %}

union all

select
    '{{ measure }} ' || layer,
    {{ column }},
    n_cells,
from {{ ref('fct_skill_summary') }}
where stratum = 'all'
{%- endfor %}

union all

select
    'representative_share',
    avg((representativeness_frac > 0.5)::integer),
    count(representativeness_frac),
from {{ ref('dim_station') }}
where status = 'ok'
