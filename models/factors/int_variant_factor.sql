{#-
    Control factors of the variants that change one: another precipitation reference, another soil data set, cells
    rebuilt from representative stations. What a variant does not change it takes from the base.
-#}
{% set study = var('study') %}
with changed as (
    select
        'representative_stations' as variant,
        coupling.*,
    from (
        {{ coupling_error(ref('int_variant_vertical_coupling')) }}
    ) as coupling
    semi join {{ ref('int_variant_daily') }} as kept using (gridcell_id)
    {%- for reference in study.references.precipitation if reference.role == 'alternative'
        and 'precipitation_mmd' in study.candidate_fields %}
    {%- if loop.first %}

    union all

    select
        'precipitation_alternative' as variant,
        rain.*,
    from (
        {{ precipitation_skill(reference.key) }}
    ) as rain
    {%- endif %}
    {%- endfor %}
    {%- for reference in study.references.soil_texture if reference.role == 'alternative' %}
    {%- if loop.first %}

    union all

    select
        'soil_alternative' as variant,
        clay.*,
    from (
        {{ clay_variability('(' ~ soil_texture(reference.key) ~ ')') }}
    ) as clay
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
anti join changed as own
    on variant.variant = own.variant
    and base.gridcell_id = own.gridcell_id
    and base.factor = own.factor
