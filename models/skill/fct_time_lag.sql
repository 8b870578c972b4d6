{#-
    Are the stations' clocks right? Correlation of sub-daily changes of surface soil moisture between station and
    product, the product shifted by -24..24 hours: a wrong time zone shows as a best lag that is not zero.
-#}
with by_cell as (
    select
        insitu.product,
        lag.n_steps * insitu.step_hours as lag_hours,
        insitu.gridcell_id,
        corr(insitu.insitu_change_m3m3, shifted.product_change_m3m3) as r,
    from {{ ref('int_surface_window') }} as insitu
    cross join (select unnest(range(-24, 25)) as n_steps) as lag
    inner join {{ ref('int_surface_window') }} as shifted
        on insitu.product = shifted.product
        and insitu.gridcell_id = shifted.gridcell_id
        and insitu.step_index + lag.n_steps = shifted.step_index
    where abs(lag.n_steps * insitu.step_hours) <= 24
    group by all
    having count(*) >= 100
)

select
    product,
    lag_hours::integer as lag_hours,
    round(median(r), 9) + 0.0 as median_r,
    count(*)::integer as n_cells,
from by_cell
where isfinite(r)
group by all
order by product, lag_hours
