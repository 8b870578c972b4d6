{#-
    A soil-moisture value (DOUBLE, below 1) in steps of 2^-46, 1.4e-14 m3 m-3: sums of up to 128 of them are exact in
    DOUBLE, hence the same in any order. An aggregate with an ORDER BY of its own would be so too, but it holds
    every value of every group in memory, where nothing can spill.
-#}
{% macro in_exact_steps(value) -%}
    (round(({{ value }}) * 70368744177664) / 70368744177664)
{%- endmacro %}
