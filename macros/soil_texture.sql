{#- Clay of 0-30 cm (T) and of 0-100 cm, 0.3 T + 0.7 S, from one soil data set's cell means. -#}
{% macro soil_texture(reference_key) -%}
    select
        cell.gridcell_id,
        soil.clay_topsoil_frac::double as clay_topsoil_frac,
        0.3 * soil.clay_topsoil_frac::double + 0.7 * soil.clay_subsoil_frac::double
            as clay_rootzone_frac,
        clay_topsoil_frac - clay_rootzone_frac as clay_difference_frac,
        coalesce(soil.valid_area_frac, 0)::double as valid_area_frac,
    from {{ ref('int_gridcell') }} as cell
    left join {{ lake(reference_key, 'soil') }} as soil using (grid_row, grid_col)
{%- endmacro %}
