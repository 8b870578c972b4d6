{#- the eight control factors of every study cell, value and status; benchmark references, candidate run -#}
{% set study = var('study') %}
{% set benchmark = {} %}
{% for quantity, references in study.references.items() %}
{%- for reference in references if reference.role == 'benchmark' %}
{%- do benchmark.update({quantity: reference.key}) %}
{%- endfor %}
{%- endfor -%}
with precipitation_skill as (
    {{ precipitation_skill(benchmark.precipitation)
        if benchmark.precipitation and 'precipitation_mmd' in study.candidate_fields
        else no_source('precipitation_skill') }}
),

coupling_error as (
    {{ coupling_error(ref('fct_vertical_coupling')) }}
),

clay_variability as (
    {{ clay_variability(ref('fct_soil_texture')) if benchmark.soil_texture
        else no_source('clay_variability') }}
),

lai_error as (
    {% if benchmark.leaf_area_index -%}
    select
        gridcell_id,
        'lai_error' as factor,
        case
            when 2 * count(lai_anomaly_m2m2) >= count(*)
                then stddev_samp(lai_anomaly_m2m2 order by obs_date)
        end as value,
        count(lai_anomaly_m2m2) as n_obs,
        case
            when count(lai_anomaly_m2m2) = 0 then 'no_valid_pixels'
            when 2 * count(lai_anomaly_m2m2) < count(*) then 'too_few_dekads'
            else 'ok'
        end as status,
    from {{ ref('fct_leaf_area_index') }}
    where product = '{{ benchmark.leaf_area_index }}'
    group by all
    {%- else -%}
    {{ no_source('lai_error') }}
    {%- endif %}
),

latent_heat_skill as (
    {% if benchmark.latent_heat and 'latent_heat_wm2' in study.candidate_fields -%}
    select
        gridcell_id,
        'latent_heat_skill' as factor,
        case when status = 'ok' then r_candidate end as value,
        n_pairs::bigint as n_obs,
        status,
    from {{ ref('fct_instrumental_variables') }}
    where method = 'ivd' and lag_days = {{ study.rules.ivd_lag_days }}
    {%- else -%}
    {{ no_source('latent_heat_skill') }}
    {%- endif %}
),

tb_innovation_sd_k as (
    {% if study.tb_innovation -%}
    select
        cell.gridcell_id,
        'tb_innovation_sd_k' as factor,
        sd.tb_innovation_sd_k as value,
        coalesce(sd.n_obs, 0) as n_obs,
        case when sd.gridcell_id is null then 'too_few_observations' else 'ok' end as status,
    from {{ ref('int_gridcell') }} as cell
    left join {{ ref('int_tb_innovation_sd') }} as sd using (gridcell_id)
    {%- else -%}
    {{ no_source('tb_innovation_sd_k') }}
    {%- endif %}
),

microwave_roughness as (
    {% if study.land_constants -%}
    select
        gridcell_id,
        'microwave_roughness' as factor,
        avg(roughness order by obs_date) as value,
        count(roughness) as n_obs,
        case when count(roughness) = 0 then 'no_parameters' else 'ok' end as status,
    from {{ ref('fct_daily_roughness') }}
    group by all
    {%- else -%}
    {{ no_source('microwave_roughness') }}
    {%- endif %}
),

lai_mean as (
    {% if 'lai_m2m2' in study.candidate_fields -%}
    select
        gridcell_id,
        'lai_mean' as factor,
        avg(lai_m2m2::double order by obs_date) as value,
        count(lai_m2m2) as n_obs,
        case when count(lai_m2m2) = 0 then 'no_candidate_lai' else 'ok' end as status,
    from {{ ref('fct_leaf_area_index') }}
    where product = '{{ study.roles.candidate }}'
    group by all
    {%- else -%}
    {{ no_source('lai_mean') }}
    {%- endif %}
)
{% for factor in factor_names().split() %}
select * from {{ factor }}
{% if not loop.last %}union all{% endif %}
{%- endfor %}
