{#-
    Daily values of the candidate run beside soil moisture: precipitation and latent heat from all values of the day
    (a missing slot would bias a sum), leaf area index from 75 % of them. Empty where the candidate gives none.
-#}
{% set study = var('study') %}
{% set run = (study.products | selectattr('role', 'eq', 'candidate') | list)[0] %}
{% set least = {
    'precipitation_mmd': run.samples_per_day,
    'latent_heat_wm2': run.samples_per_day,
    'lai_m2m2': (0.75 * run.samples_per_day) | round(0, 'ceil') | int,
} %}
{% set given = study.candidate_fields | select('in', least) | list %}
{%- if run.on_grid and given %}
select
    cell.gridcell_id,
    {{ utc_day('land.observed_at', run.time_label) }} as obs_date,
    {%- for column, n in least.items() %}
    {%- if column in given %}
    count({{ column }}) as n_{{ column }},
    case when count({{ column }}) >= {{ n }} then avg({{ column }}::double)::float end as {{ column }},
    {%- else %}
    0::bigint as n_{{ column }},
    null::float as {{ column }},
    {%- endif %}
    {%- endfor %}
from {{ lake(run.key, 'land') }} as land
inner join {{ ref('int_gridcell') }} as cell using (grid_row, grid_col)
group by all
{%- else %}
select
    '' as gridcell_id,
    date '2000-01-01' as obs_date,
    {%- for column in least %}
    0::bigint as n_{{ column }},
    null::float as {{ column }},
    {%- endfor %}
where false
{%- endif %}
