{#- the box of each latent heat reference that stands for each station -#}
{% for reference in var('study').references.latent_heat -%}
select
    '{{ reference.key }}' as product,
    * exclude (away_lat, away_lon),
from (
    {{ nearest_valid_box(
        points="(from " ~ ref('int_station') ~ " where status = 'ok')",
        key='station_id',
        boxes=lake(reference.key, 'box'),
        valid="(select distinct box_row, box_col from " ~ ref('int_latent_heat_box_day')
            ~ " where product = '" ~ reference.key ~ "' and latent_heat_wm2 is not null)",
    ) }}
)
{% if not loop.last %}union all
{% endif -%}
{% else -%}
{{ no_box('station_id') }}
{% endfor -%}
