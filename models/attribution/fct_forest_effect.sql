select
    variant,
    target,
    layer,
    factor,
    bin::integer as bin,
    factor_lower,
    factor_upper,
    effect,
    effect_sd,
    effect_range,
    direction,
    n_cells::integer as n_cells,
    status,
from {{ ref('int_forest') }}
where part = 'effect'
order by variant, target, layer, factor, bin
