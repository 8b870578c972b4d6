{#- Days for vertical coupling: both layers of in situ and baseline; the candidate adds its own validity. -#}
{% macro vertical_coupling_input(anomaly) -%}
    {%- set roles = var('study').roles %}
    with complete as (
        select
            product,
            gridcell_id,
            obs_date,
            ssm_anomaly_m3m3,
            rzsm_anomaly_m3m3,
        from {{ anomaly }}
        where ssm_anomaly_m3m3 is not null and rzsm_anomaly_m3m3 is not null
    ),

    common_day as (
        select insitu.gridcell_id, insitu.obs_date
        from complete as insitu
        inner join complete as baseline using (gridcell_id, obs_date)
        where insitu.product = '{{ roles.insitu }}' and baseline.product = '{{ roles.baseline }}'
    )

    select complete.*
    from complete
    inner join common_day using (gridcell_id, obs_date)
{%- endmacro %}

{#- The three series of each cell, layer and day side by side, values and anomalies; in situ days only. -#}
{% macro skill_input(daily, anomaly) -%}
    {%- set roles = var('study').roles %}
    {%- for layer in ('ssm', 'rzsm') %}
    select
        gridcell_id,
        cell.grid_row,
        cell.grid_col,
        '{{ layer }}' as layer,
        obs_date,
        {%- for role in ('insitu', 'baseline', 'candidate') %}
        {{ role }}.{{ layer }}_m3m3 as {{ role }}_m3m3,
        {{ role }}_anomaly.{{ layer }}_anomaly_m3m3 as {{ role }}_anomaly_m3m3,
        {%- endfor %}
    from {{ ref('int_gridcell') }} as cell
    {%- for role in ('insitu', 'baseline', 'candidate') %}
    inner join (
        from {{ daily }}
        where product = '{{ roles[role] }}'
    ) as {{ role }} using (gridcell_id{% if not loop.first %}, obs_date{% endif %})
    inner join (
        from {{ anomaly }}
        where product = '{{ roles[role] }}'
    ) as {{ role }}_anomaly using (gridcell_id, obs_date)
    {%- endfor %}
    where insitu.{{ layer }}_m3m3 is not null
    {% if not loop.last %}union all{% endif %}
    {%- endfor %}
{%- endmacro %}
