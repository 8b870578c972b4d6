{#- The control factors in the published order: the only list of their names; split it by its blanks. -#}
{% macro factor_names() -%}
    precipitation_skill
    coupling_error
    clay_variability
    lai_error
    latent_heat_skill
    tb_innovation_sd_k
    microwave_roughness
    lai_mean
{%- endmacro %}

{#- Factors from one row per cell and factor to one row per cell. -#}
{% macro control_factors(relation, keys) -%}
    select
        {{ keys | join(', ') }},
        {%- for factor in factor_names().split() %}
        max(value) filter (where factor = '{{ factor }}') as {{ factor }},
        {%- endfor %}
    from {{ relation }}
    group by all
{%- endmacro %}
