{#-
    Control factors of the variants that change one: another precipitation reference, another soil data set, cells
    rebuilt from representative stations. What a variant does not change it takes from the base.
-#}
{% set study = var('study') %}
with changed as (
    select
        'representative_stations' as variant,
        changed.*,
    from (
        {{ coupling_error(ref('int_variant_vertical_coupling')) }}
    ) as changed
    semi join {{ ref('int_variant_daily') }} as kept using (gridcell_id)
    {%- for reference in study.references.precipitation if reference.role == 'alternative'
        and 'precipitation_mmd' in study.candidate_fields %}
    {%- if loop.first %}

    union all

    select
        'precipitation_alternative' as variant,
        changed.*,
    from (
        {{ precipitation_skill(reference.key) }}
    ) as changed
    {%- endif %}
    {%- endfor %}
    {%- for reference in study.references.soil_texture if reference.role == 'alternative' %}
    {%- if loop.first %}

    union all

    select
        'soil_alternative' as variant,
        changed.*,
    from (
        {{ clay_variability('(' ~ soil_texture(reference.key) ~ ')') }}
    ) as changed
    {%- endif %}
    {%- endfor %}
)

select * from changed

union all

select
    variant.variant,
    base.*,
from {{ ref('int_factor') }} as base
inner join (select distinct variant, gridcell_id from changed) as variant using (gridcell_id)
anti join changed
    on variant.variant = changed.variant
    and base.gridcell_id = changed.gridcell_id
    and base.factor = changed.factor
