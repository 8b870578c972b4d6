{#- the study's cells: those that hold at least one usable station; centre by the inverse projection -#}
with cell as (
    select
        gridcell_id,
        grid_row,
        grid_col,
        count(*) as n_stations,
    from {{ ref('int_station') }}
    where status = 'ok'
    group by all
)

select
    cell.gridcell_id,
    cell.grid_row,
    cell.grid_col,
    centre.latitude,
    centre.longitude,
    cell.n_stations,
from cell
inner join read_parquet('{{ var("lake") }}/study_cell.parquet') as centre
    using (grid_row, grid_col)
