select
    variant,
    target,
    layer,
    factor,
    importance_pct,
    importance_sd_pct,
    importance_rank::integer as importance_rank,
    rank_stability_frac,
    rank_change_mean,
    permutation_importance,
    permutation_importance_sd,
    noise_floor_pct,
    n_runs::integer as n_runs,
    n_cells::integer as n_cells,
    n_cells_left_out::integer as n_cells_left_out,
    status,
    message,
from {{ ref('int_forest') }}
where part = 'importance'
order by variant, target, layer, factor
