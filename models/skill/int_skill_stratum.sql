{#- which strata each cell belongs to; a cell with stations of two networks belongs to both -#}
select distinct
    gridcell_id,
    'all' as stratum,
from {{ ref('int_gridcell') }}

union all

select distinct
    gridcell_id,
    'network: ' || network,
from {{ ref('int_station') }}
where status = 'ok' and network <> ''
{% for name, box in var('study').regions.items() %}
union all

select
    gridcell_id,
    'region: {{ name }}',
from {{ ref('int_gridcell') }}
where
    latitude between {{ box.south }} and {{ box.north }}
    and longitude between {{ box.west }} and {{ box.east }}
{% endfor %}
{% for column in ('land_cover', 'climate') %}
union all

select
    gridcell_id,
    '{{ column | replace('_', ' ') }}: ' || {{ column }},
from {{ ref('int_cell_class') }}
where {{ column }} is not null
{% endfor %}
