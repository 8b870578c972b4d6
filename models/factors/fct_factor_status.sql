select
    gridcell_id,
    factor,
    status,
    n_obs::bigint as n_obs,
from {{ ref('int_factor') }}
order by gridcell_id, factor
