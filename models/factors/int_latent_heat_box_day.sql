{#- daily latent heat of each reference box -#}
{% for reference in var('study').references.latent_heat -%}
select
    '{{ reference.key }}' as product,
    box_row,
    box_col,
    obs_date,
    arg_min(latent_heat_wm2, source_file) as latent_heat_wm2,
from {{ lake(reference.key, 'grid_day') }}
group by all
{% if not loop.last %}union all
{% endif -%}
{% else -%}
select
    '' as product,
    0 as box_row,
    0 as box_col,
    date '2000-01-01' as obs_date,
    0::float as latent_heat_wm2,
where false
{% endfor -%}
