{% set references = var('study').references.precipitation
    if 'precipitation_mmd' in var('study').candidate_fields else [] %}
with every as (
    select
        product.product,
        lag.lag_days,
    from (
        select
            unnest([
                {%- for reference in references %}
                '{{ reference.key }}',
                {%- endfor %}
            ]::varchar[]) as product,
    ) as product
    cross join (values (-1), (0), (1)) as lag (lag_days)
)

select
    every.product,
    every.lag_days::integer as lag_days,
    round(median(skill.r), 12) + 0.0 as median_r,
    count(skill.r)::integer as n_cells,
from every
left join {{ ref('int_precipitation_skill') }} as skill
    on every.product = skill.reference
    and every.lag_days::varchar = skill.lag_days
    and skill.status = 'ok'
group by all
order by all
