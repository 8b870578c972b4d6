{{ config(materialized="view") }}
{#- climatology of every series, from its own valid days, or from the common days where cross_mask is set -#}
{% set rules = var('study').rules %}
{%- if rules.cross_mask %}
{%- set series = '(select product, gridcell_id, obs_date, '
    ~ 'case when count(ssm_m3m3) over one_day = count(*) over one_day then ssm_m3m3 end as ssm_m3m3, '
    ~ 'case when count(rzsm_m3m3) over one_day = count(*) over one_day then rzsm_m3m3 end as rzsm_m3m3 '
    ~ 'from ' ~ ref('fct_daily_soil_moisture')
    ~ ' window one_day as (partition by gridcell_id, obs_date))' %}
{%- else %}
{%- set series = ref('fct_daily_soil_moisture') %}
{%- endif %}
{{ circular_climatology(
    relation=series,
    keys=['product', 'gridcell_id'],
    values=['ssm_m3m3', 'rzsm_m3m3'],
    window_days=rules.clim_window,
    min_samples=rules.clim_min_samples,
) }}
