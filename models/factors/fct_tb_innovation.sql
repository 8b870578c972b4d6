{#- forecast masked by the assimilated observation: both are valid in every row -#}
{% if var('study').tb_innovation -%}
select
    cell.gridcell_id,
    tb.observed_at,
    tb.polarization,
    tb.orbit::integer as orbit,
    tb.observed_k,
    tb.forecast_k,
    tb.observed_k::double - tb.forecast_k::double as innovation_k,
from {{ lake('tb_innovation', 'tb') }} as tb
inner join {{ ref('int_gridcell') }} as cell using (grid_row, grid_col)
order by cell.gridcell_id, tb.observed_at, tb.polarization
{%- else -%}
select
    '' as gridcell_id,
    timestamp '2000-01-01' as observed_at,
    '' as polarization,
    0 as orbit,
    0::float as observed_k,
    0::float as forecast_k,
    0::double as innovation_k,
where false
{%- endif %}
