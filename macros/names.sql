{#- Private models (stg_, int_) live in the scratch database, public tables in the one that is published. -#}
{% macro generate_database_name(custom_database_name=none, node=none) -%}
    {%- if node.resource_type == 'model' and node.name.split('_')[0] in ('stg', 'int') -%}
        scratch
    {%- else -%}
        {{ target.database }}
    {%- endif -%}
{%- endmacro %}

{% macro generate_schema_name(custom_schema_name=none, node=none) -%}
    {{ target.schema }}
{%- endmacro %}
