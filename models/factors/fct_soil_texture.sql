{% for reference in var('study').references.soil_texture | selectattr('role', 'eq', 'benchmark') -%}
select
    gridcell_id,
    clay_topsoil_frac,
    clay_rootzone_frac,
    clay_difference_frac,
    valid_area_frac,
from (
    {{ soil_texture(reference.key) }}
)
order by gridcell_id
{% else -%}
select
    '' as gridcell_id,
    0::double as clay_topsoil_frac,
    0::double as clay_rootzone_frac,
    0::double as clay_difference_frac,
    0::double as valid_area_frac,
where false
{% endfor -%}
