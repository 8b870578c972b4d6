{#- trends of skill and gain with factors, and tests between groups of cells -#}
with edge as (
    select
        factor,
        layer,
        max(mean) filter (where group_index = first_group) as first_mean,
        max(mean) filter (where group_index = last_group) as last_mean,
        sum(n_cells)::bigint as n_cells,
    from (
        select
            *,
            min(group_index) over (partition by factor, layer) as first_group,
            max(group_index) over (partition by factor, layer) as last_group,
        from {{ ref('fct_factor_group') }}
        where target = 'delta_r'
    )
    group by factor, layer
),

both_layers as (
    select
        surface.factor,
        surface.first_mean - root_zone.first_mean as first_difference,
        (surface.last_mean - surface.first_mean) - (root_zone.last_mean - root_zone.first_mean)
            as contrast_difference,
        least(surface.n_cells, root_zone.n_cells) as n_cells,
    from edge as surface
    inner join edge as root_zone using (factor)
    where surface.layer = 'ssm' and root_zone.layer = 'rzsm'
)

select
    'trend ' || target || ' ' || layer || ' ' || factor as measure,
    trend_rho as value,
    n_cells::bigint as n_sample,
from {{ ref('fct_factor_anova') }}

union all

select
    'anova_p ' || layer || ' ' || factor,
    p_value,
    n_cells,
from {{ ref('fct_factor_anova') }}
where target = 'delta_r'

union all

select
    'not_above_zero ' || layer || ' ' || factor,
    count(*) filter (where p_mean_above_zero >= 0.01),
    sum(n_cells)::bigint,
from {{ ref('fct_factor_group') }}
where target = 'delta_r'
group by layer, factor
having count(*) = count(p_mean_above_zero)

union all

select
    'contrast_difference ' || factor,
    contrast_difference,
    n_cells,
from both_layers

union all

select
    'first_group_difference ' || factor,
    first_difference,
    n_cells,
from both_layers
