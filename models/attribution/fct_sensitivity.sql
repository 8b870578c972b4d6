{#-
    Read from what `make sensitivity` left, if it was made for the same settings, inputs and code as this build; else
    the build passes no path and there is no row.
-#}
{% set path = var('sensitivity', '') %}
{% set columns = {
    'switch': 'varchar',
    'value': 'varchar',
    'value_of_base': 'varchar',
    'layer': 'varchar',
    'status': 'varchar',
    'n_cells': 'integer',
    'n_cells_common': 'integer',
    'share_improved': 'double',
    'mean_delta_r': 'double',
    'mean_change': 'double',
    'share_significant_block': 'double',
    'kendall_tau_with_base': 'double',
    'kendall_tau_of_factors': 'double',
    'top_three_factors': 'varchar',
} %}
select
    {%- for column, type in columns.items() %}
    {{ column if path else 'null' }}::{{ type }} as {{ column }},
    {%- endfor %}
{% if path -%}
from read_parquet('{{ path | replace("'", "''") }}')
{%- else -%}
where false
{%- endif %}
order by switch, value, layer
