{#-
    Readings that two raw files give for the same station (or sensor) and time: equal values count once, unequal ones
    not at all. Duplicates inside one file are counted when it is read.
-#}
{% set ismn = var('study').insitu.format == 'ismn' %}
{% set columns = ['sm_m3m3'] if ismn else [] %}
{% if not ismn %}
{%- for layer in var('study').insitu.layers %}
{%- do columns.append('sm_' ~ loop.index ~ '_m3m3') %}
{%- endfor %}
{%- endif -%}
with repeated as (
    select
        {%- for column in columns %}
        count({{ column }}) as n_{{ loop.index }},
        min({{ column }}) = max({{ column }}) as is_same_{{ loop.index }},
        {%- endfor %}
    from {{ ref('stg_reading') }}
    semi join {{ ref('int_shared_day') }} using (station_id, obs_date{% if ismn %}, sensor_id{% endif %})
    group by station_id, observed_at{% if ismn %}, sensor_id{% endif %}
    having count(*) > 1
)
{% for column in columns %}
select
    case
        when is_same_{{ loop.index }} then 'duplicate_identical' else 'duplicate_conflict'
    end as reason,
    sum(n_{{ loop.index }} - is_same_{{ loop.index }}::integer)::bigint as n,
from repeated
where n_{{ loop.index }} > 1
group by all
{% if not loop.last %}union all{% endif %}
{%- endfor %}
