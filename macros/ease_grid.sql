{#-
    EASE-Grid 2.0 global, 9 km (M09): the closed form of ingest/grid.py, in the same order of operations.
    A point on an edge belongs to the cell east or south of it; null outside the grid.
-#}
{% macro ease_eccentricity() -%} 0.081819190843::double {%- endmacro %}

{% macro ease_k0() -%}
    (cos(pi() / 6) / sqrt(1 - pow({{ ease_eccentricity() }}, 2) * pow(sin(pi() / 6), 2)))
{%- endmacro %}

{% macro ease_q(sin_phi) -%}
    (1 - pow({{ ease_eccentricity() }}, 2)) * (
        {{ sin_phi }} / (1 - pow({{ ease_eccentricity() }} * {{ sin_phi }}, 2))
        - ln(
            (1 - {{ ease_eccentricity() }} * {{ sin_phi }})
            / (1 + {{ ease_eccentricity() }} * {{ sin_phi }})
        ) / (2 * {{ ease_eccentricity() }})
    )
{%- endmacro %}

{% macro ease_col(longitude) -%}
    least(3855, greatest(0, floor(
        (
            6378137.0 * {{ ease_k0() }}
            * radians(({{ longitude }} + 180) - 360 * floor(({{ longitude }} + 180) / 360) - 180)
            + 9008.055210146 * 3856 / 2
        ) / 9008.055210146
    )))::integer
{%- endmacro %}

{% macro ease_row(latitude) -%}
    case
        when abs({{ latitude }}) > 90 then null
        when (
            9008.055210146 * 1624 / 2
            - 6378137.0 * ({{ ease_q("sin(radians(" ~ latitude ~ "))") }}) / (2 * {{ ease_k0() }})
        ) / 9008.055210146 between 0 and 1623.9999999999 then floor((
            9008.055210146 * 1624 / 2
            - 6378137.0 * ({{ ease_q("sin(radians(" ~ latitude ~ "))") }}) / (2 * {{ ease_k0() }})
        ) / 9008.055210146)::integer
    end
{%- endmacro %}

{% macro gridcell_id(grid_row, grid_col) -%}
    'M09-r' || {{ grid_row }} || '-c' || {{ grid_col }}
{%- endmacro %}
