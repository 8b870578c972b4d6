{#- leaf area index: the candidate's daily mean, and the references on the nominal days of their dekads -#}
{% set study = var('study') %}
{% set keys = var('study').references.leaf_area_index %}
with every_day as (
    {{ dense_days([study.roles.candidate] if 'lai_m2m2' in study.candidate_fields else []) }}
)

select
    every_day.product,
    every_day.gridcell_id,
    every_day.obs_date,
    candidate.lai_m2m2,
from every_day
left join {{ ref('int_candidate_day') }} as candidate using (gridcell_id, obs_date)
{%- for reference in keys %}

union all

select
    '{{ reference.key }}' as product,
    cell.gridcell_id,
    dekad.obs_date,
    arg_min(lai.lai_m2m2, lai.source_file) as lai_m2m2,
from {{ ref('int_gridcell') }} as cell
cross join (
    select day::date as obs_date
    from range(
        date '{{ study.period.start }}', date '{{ study.period.end }}' + 1, interval 1 day
    ) as every (day)
    where day(day) in (5, 15, 25)
) as dekad
left join {{ lake(reference.key, 'lai') }} as lai
    on cell.grid_row = lai.grid_row
    and cell.grid_col = lai.grid_col
    and dekad.obs_date = lai.obs_date
group by all
{%- endfor %}
