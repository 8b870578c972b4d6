{#- The UTC day a value belongs to; an hour labelled by its end at 00:00 belongs to the day before. -#}
{% macro utc_day(observed_at, time_label) -%}
    {%- if time_label == 'hour_ending' -%}
        ({{ observed_at }} - interval 1 microsecond)::date
    {%- else -%}
        ({{ observed_at }})::date
    {%- endif -%}
{%- endmacro %}

{#- Day of the year 0..364 in a calendar without leap day; 29 February shares the index of 28 February. -#}
{% macro climatology_day(obs_date) -%}
    (
        dayofyear({{ obs_date }}) - 1
        - (
            dayofyear(make_date(year({{ obs_date }}), 12, 31)) = 366
            and dayofyear({{ obs_date }}) >= 60
        )::integer
    )
{%- endmacro %}

{#-
    Pooled circular climatology of daily series (SCIENCE: 31-day window, any year): sums and counts per day of the
    year, then the window's sums by a range frame over the year laid out with its ends repeated.
    `relation` holds the key columns, `obs_date` and the value columns; returns keys, day_index and, for each value
    column v, v_climatology and v_n. The values are FLOAT and summed in DOUBLE, so every sum is exact.
-#}
{% macro circular_climatology(relation, keys, values, window_days, min_samples) -%}
{%- set half = (window_days - 1) // 2 -%}
    with day_sum as (
        select
            {{ keys | join(', ') }},
            {{ climatology_day('obs_date') }} as day_index,
            {%- for value in values %}
            sum({{ value }}::double) as {{ value }}_sum,
            count({{ value }}) as {{ value }}_n,
            {%- endfor %}
        from {{ relation }}
        group by all
    ),

    year_with_ends as (
        select day_sum.* replace (day_index + 365 * years as day_index)
        from day_sum, (values (-1), (0), (1)) as shift (years)
        where day_index + 365 * years between -{{ half }} and {{ 364 + half }}
    ),

    circular_window as (
        select
            {{ keys | join(', ') }},
            day_index,
            {%- for value in values %}
            sum({{ value }}_sum) over near_day as {{ value }}_sum,
            (sum({{ value }}_n) over near_day)::bigint as {{ value }}_n,
            {%- endfor %}
        from year_with_ends
        window near_day as (
            partition by {{ keys | join(', ') }}
            order by day_index
            range between {{ half }} preceding and {{ half }} following
        )
    )

    select
        {{ keys | join(', ') }},
        day_index,
        {%- for value in values %}
        {{ value }}_n,
        case
            when {{ value }}_n >= {{ min_samples }} then {{ value }}_sum / {{ value }}_n
        end as {{ value }}_climatology,
        {%- endfor %}
    from circular_window
    where day_index between 0 and 364
{%- endmacro %}
