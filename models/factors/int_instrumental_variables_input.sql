{#- latent heat of candidate and benchmark side by side, days on which both are valid -#}
{% set study = var('study') %}
{% set column = 'latent_heat_wm2::double' if study.rules.ivd_series == 'raw'
    else 'latent_heat_anomaly_wm2' %}
{% set benchmark = study.references.latent_heat | selectattr('role', 'eq', 'benchmark') | list %}
select
    gridcell_id,
    cell.grid_row,
    cell.grid_col,
    candidate.obs_date,
    candidate.{{ column }} as candidate,
    benchmark.{{ column }} as benchmark,
from {{ ref('fct_daily_latent_heat') }} as candidate
inner join {{ ref('fct_daily_latent_heat') }} as benchmark using (gridcell_id, obs_date)
inner join {{ ref('int_gridcell') }} as cell using (gridcell_id)
where
    candidate.product = '{{ study.roles.candidate }}'
    and benchmark.product = '{{ benchmark[0].key if benchmark else '' }}'
    and candidate.{{ column }} is not null
    and benchmark.{{ column }} is not null
