{#- Every product x study cell x day of the study period. -#}
{% macro dense_days(products) -%}
    select
        product,
        gridcell_id,
        obs_date::date as obs_date,
    from {{ ref('int_gridcell') }}
    cross join (
        select unnest([{% for product in products %}'{{ product }}', {% endfor %}]::varchar[]) as product
    )
    cross join range(
        date '{{ var("study").period.start }}',
        date '{{ var("study").period.end }}' + 1,
        interval 1 day
    ) as day (obs_date)
{%- endmacro %}
