{#-
    Daily precipitation of each reference box. Hourly grids: the 24 hours labelled 01..24 of the UTC day, hour ending,
    all required. precip_day_offset moves the days of a data set whose label is not the UTC day.
-#}
{% for reference in var('study').references.precipitation -%}
select
    '{{ reference.key }}' as product,
    box_row,
    box_col,
    {%- if reference.hourly %}
    {{ utc_day('observed_at', 'hour_ending') }} + {{ reference.day_offset }} as obs_date,
    case
        when count(precipitation_mmh) = 24
            then sum(precipitation_mmh::double order by observed_at)::float
    end as precipitation_mm,
    {%- else %}
    obs_date + {{ reference.day_offset }} as obs_date,
    arg_min(precipitation_mm, source_file) as precipitation_mm,
    {%- endif %}
from {{ lake(reference.key, 'grid_hour' if reference.hourly else 'grid_day') }}
group by all
{% if not loop.last %}union all
{% endif -%}
{% else -%}
select
    '' as product,
    0 as box_row,
    0 as box_col,
    date '2000-01-01' as obs_date,
    0::float as precipitation_mm,
where false
{% endfor -%}
