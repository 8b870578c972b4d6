select
    every.product,
    every.gridcell_id,
    coupling.r,
    coupling.alpha,
    coupling.coupling,
    coalesce(coupling.n_days, 0)::integer as n_days,
    coalesce(coupling.status, 'no_common_days') as status,
from (
    select
        cell.gridcell_id,
        product.product,
    from {{ ref('int_gridcell') }} as cell
    cross join (select distinct product from {{ ref('fct_daily_soil_moisture') }}) as product
) as every
left join {{ ref('int_vertical_coupling') }} as coupling using (product, gridcell_id)
order by every.product, every.gridcell_id
