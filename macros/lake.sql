{#- All partitions of one lake table. -#}
{% macro lake(source, table) -%}
    read_parquet('{{ var("lake") }}/{{ source }}/{{ table }}/*.parquet')
{%- endmacro %}

{#- The manifest of one source: one row per raw file. -#}
{% macro lake_manifest(source) -%}
    read_parquet('{{ var("lake") }}/{{ source }}/manifest.parquet')
{%- endmacro %}
