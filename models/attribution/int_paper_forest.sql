{#- ranks, importances and cross-validation of the random forests, and what variants change in them -#}
with importance as (
    select
        variant,
        target,
        layer,
        factor,
        importance_pct,
        importance_rank,
        n_cells,
    from {{ ref('fct_forest_importance') }}
    where importance_rank is not null
),

base as (
    select * from importance
    where variant = 'base'
),

-- the three most important factors as published
published_top (target, layer, factors) as (
    values
    ('delta_r', 'ssm', ['tb_innovation_sd_k', 'precipitation_skill', 'microwave_roughness']),
    ('delta_r', 'rzsm', ['tb_innovation_sd_k', 'precipitation_skill', 'microwave_roughness']),
    ('r_baseline', 'ssm', ['precipitation_skill', 'coupling_error', 'tb_innovation_sd_k']),
    ('r_baseline', 'rzsm', ['precipitation_skill', 'coupling_error', 'microwave_roughness']),
    ('r_candidate', 'ssm', ['coupling_error', 'precipitation_skill', 'tb_innovation_sd_k']),
    ('r_candidate', 'rzsm', ['coupling_error', 'precipitation_skill', 'tb_innovation_sd_k'])
),

-- a variant's factors beside the base's
change as (
    select
        importance.variant,
        importance.target,
        importance.layer,
        importance.factor,
        importance.importance_rank <= 3 and base.importance_rank <= 3 as is_kept,
        abs(importance.importance_rank - base.importance_rank) as rank_change,
        importance.n_cells,
    from importance
    inner join base using (target, layer, factor)
    where importance.variant <> 'base'
),

kept as (
    select
        variant,
        target,
        layer,
        count(*) filter (where is_kept) as n_kept,
        max(n_cells) as n_cells,
    from change
    group by all
),

cross_validation as (
    select
        variant,
        layer,
        avg(r order by run) as r,
        max(n_cells) as n_cells,
    from {{ ref('fct_forest_cross_validation') }}
    where target = 'delta_r' and scheme = 'random' and r is not null
    group by all
),

measured as (
    select
        'importance ' || target || ' ' || layer || ' ' || factor as measure,
        importance_pct as value,
        n_cells::bigint as n_sample,
    from base

    union all

    select
        'rank ' || target || ' ' || layer || ' ' || factor,
        importance_rank,
        n_cells,
    from base

    union all

    select
        'rank ' || variant || ' ' || target || ' ' || layer || ' ' || factor,
        importance_rank,
        n_cells,
    from importance
    where variant = 'representative_stations'

    union all

    select
        'importance_drop ' || surface.factor,
        surface.importance_pct - root_zone.importance_pct,
        least(surface.n_cells, root_zone.n_cells),
    from base as surface
    inner join base as root_zone using (target, factor)
    where target = 'delta_r' and surface.layer = 'ssm' and root_zone.layer = 'rzsm'

    union all

    select
        'roughness_over_tb',
        roughness.importance_pct - innovation.importance_pct,
        roughness.n_cells,
    from base as roughness
    inner join base as innovation using (target, layer)
    where
        target = 'delta_r'
        and layer = 'rzsm'
        and roughness.factor = 'microwave_roughness'
        and innovation.factor = 'tb_innovation_sd_k'

    union all

    select
        'top_three ' || target || ' ' || layer,
        count(*) filter (
            where base.importance_rank <= 3 and list_contains(published_top.factors, base.factor)
        ),
        max(base.n_cells),
    from base
    inner join published_top using (target, layer)
    group by target, layer

    union all

    select
        'top_three_kept ' || variant,
        min(n_kept),
        min(n_cells),
    from kept
    group by variant
    having count(*) = 6

    union all

    select
        'rank_change precipitation_alternative',
        max(rank_change),
        min(n_cells),
    from change
    where
        variant = 'precipitation_alternative'
        and factor = 'precipitation_skill'
        and target in ('r_baseline', 'r_candidate')
    having count(*) = 4

    union all

    select
        'rank_change soil_alternative',
        max(rank_change),
        min(n_cells),
    from change
    where variant = 'soil_alternative' and factor = 'clay_variability'
    having count(*) = 6

    union all

    select
        'cv_r ' || layer,
        r,
        n_cells,
    from cross_validation
    where variant = 'base'

    union all

    select
        'cv_r_change ' || variant.variant || ' ' || layer,
        variant.r - base_r.r,
        least(variant.n_cells, base_r.n_cells),
    from cross_validation as variant
    inner join cross_validation as base_r using (layer)
    where base_r.variant = 'base' and variant.variant <> 'base'
)

select
    measure,
    value,
    n_sample,
from measured
semi join {{ ref('int_paper_claim') }} as claim using (measure)
