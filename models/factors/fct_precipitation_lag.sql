select
    reference as product,
    lag_days::integer as lag_days,
    round(median(r), 12) + 0.0 as median_r,
    count(r)::integer as n_cells,
from {{ ref('int_precipitation_skill') }}
where status = 'ok'
group by all
order by product, lag_days
