{#-
    Microwave roughness h of each day from the candidate's stored surface soil moisture, scaled to the porosity of the
    microwave model as GEOSldas does before every Tb: hmax when dry, hmin when wet, linear between.
    De Lannoy et al. 2013, doi:10.1175/JHM-D-12-092.1, equation B1.
-#}
{% set study = var('study') %}
{% if study.land_constants -%}
with scaled as (
    select
        soil.gridcell_id,
        soil.obs_date,
        {% if study.rules.h_use_porosity_scaling -%}
        soil.ssm_m3m3::double * constants.mwrtm_porosity_m3m3::double
            / constants.clsm_porosity_m3m3::double as w,
        {%- else -%}
        soil.ssm_m3m3::double as w,
        {%- endif %}
        constants.roughness_h_min::double as h_min,
        constants.roughness_h_max::double as h_max,
        constants.roughness_w_min_m3m3::double as w_min,
        constants.roughness_w_max_m3m3::double as w_max,
    from {{ ref('fct_daily_soil_moisture') }} as soil
    inner join {{ ref('int_gridcell') }} as cell using (gridcell_id)
    left join {{ lake('land_constants', 'constants') }} as constants using (grid_row, grid_col)
    where soil.product = '{{ study.roles.candidate }}'
)

select
    gridcell_id,
    obs_date,
    case
        when w is null or h_min is null or h_max is null or w_min is null or w_max is null then null
        when w <= w_min then h_max
        when w >= w_max then h_min
        else h_max + (h_min - h_max) / (w_max - w_min) * (w - w_min)
    end as roughness,
from scaled
order by gridcell_id, obs_date
{%- else -%}
select
    '' as gridcell_id,
    date '2000-01-01' as obs_date,
    0::double as roughness,
where false
{%- endif %}
