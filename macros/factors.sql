{#- Each factor as (gridcell_id, factor, value, n_obs, status), for any data set that can give it. -#}

{% macro precipitation_skill(reference_key) -%}
    select
        cell.gridcell_id,
        'precipitation_skill' as factor,
        skill.r as value,
        coalesce(skill.n, 0) as n_obs,
        case
            when skill.status is not null then skill.status
            when box.gridcell_id is null then 'no_valid_box'
            else 'no_common_days'
        end as status,
    from {{ ref('int_gridcell') }} as cell
    left join {{ ref('int_precipitation_skill') }} as skill
        on cell.gridcell_id = skill.gridcell_id
        and skill.reference = '{{ reference_key }}'
        and skill.lag_days = '0'
    left join {{ ref('int_precipitation_box') }} as box
        on cell.gridcell_id = box.gridcell_id and box.product = '{{ reference_key }}'
{%- endmacro %}

{% macro coupling_error(coupling) -%}
    {%- set roles = var('study').roles %}
    select
        cell.gridcell_id,
        'coupling_error' as factor,
        baseline.coupling - insitu.coupling as value,
        coalesce(insitu.n_days, 0) as n_obs,
        case
            when coalesce(insitu.status, 'no_common_days') <> 'ok'
                then coalesce(insitu.status, 'no_common_days')
            else coalesce(baseline.status, 'no_common_days')
        end as status,
    from {{ ref('int_gridcell') }} as cell
    left join {{ coupling }} as insitu
        on cell.gridcell_id = insitu.gridcell_id and insitu.product = '{{ roles.insitu }}'
    left join {{ coupling }} as baseline
        on cell.gridcell_id = baseline.gridcell_id and baseline.product = '{{ roles.baseline }}'
{%- endmacro %}

{% macro clay_variability(texture) -%}
    select
        gridcell_id,
        'clay_variability' as factor,
        {{ 'abs(clay_difference_frac)' if var('study').rules.clay == 'abs' else 'clay_difference_frac' }}
            as value,
        (clay_difference_frac is not null)::bigint as n_obs,
        case when clay_difference_frac is null then 'no_soil' else 'ok' end as status,
    from {{ texture }}
{%- endmacro %}

{#- A factor whose source the study does not name: every cell says so. -#}
{% macro no_source(factor) -%}
    select
        gridcell_id,
        '{{ factor }}' as factor,
        null::double as value,
        0::bigint as n_obs,
        'no_source' as status,
    from {{ ref('int_gridcell') }}
{%- endmacro %}
