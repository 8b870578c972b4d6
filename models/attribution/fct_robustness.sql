{#-
    Does a variant rank the factors as the base does? Kendall's tau of the two rankings by mean importance, which have
    no ties: (concordant - discordant) / pairs.
-#}
with ranking as (
    select
        variant,
        target,
        layer,
        factor,
        importance_rank,
    from {{ ref('fct_forest_importance') }}
    where importance_rank is not null
),

pair as (
    select
        one.variant,
        one.target,
        one.layer,
        sign(one.importance_rank - other.importance_rank)
        * sign(base_one.importance_rank - base_other.importance_rank) as agreement,
    from ranking as one
    inner join ranking as other
        on one.variant = other.variant
        and one.target = other.target
        and one.layer = other.layer
        and one.factor < other.factor
    inner join ranking as base_one
        on base_one.variant = 'base'
        and one.target = base_one.target
        and one.layer = base_one.layer
        and one.factor = base_one.factor
    inner join ranking as base_other
        on base_other.variant = 'base'
        and other.target = base_other.target
        and other.layer = base_other.layer
        and other.factor = base_other.factor
),

tau as (
    select
        variant,
        target,
        layer,
        avg(agreement) as kendall_tau_with_base,
    from pair
    group by all
),

model as (
    select
        variant,
        target,
        layer,
        max(n_cells) as n_cells,
        string_agg(factor, ', ' order by importance_rank) filter (where importance_rank <= 3)
            as top_three,
        case
            when count(importance_rank) > 0 then 'ok'
            else min(status)
        end as status,
    from {{ ref('fct_forest_importance') }}
    group by all
)

select
    model.variant,
    model.target,
    model.layer,
    tau.kendall_tau_with_base,
    model.top_three,
    model.n_cells,
    model.status,
from model
left join tau using (variant, target, layer)
order by model.variant, model.target, model.layer
