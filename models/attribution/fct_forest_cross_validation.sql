select
    variant,
    target,
    layer,
    scheme,
    run::integer as run,
    r,
    n_folds::integer as n_folds,
    n_folds_undefined::integer as n_folds_undefined,
    n_cells::integer as n_cells,
    status,
from {{ ref('int_forest') }}
where part = 'cross_validation'
order by variant, target, layer, scheme, run
