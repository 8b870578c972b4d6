select
    variant,
    target,
    layer,
    kind,
    measure,
    run::integer as run,
    factor,
    null_value,
    status,
from {{ ref('int_forest') }}
where part = 'null'
order by variant, target, layer, kind, measure, run, factor
