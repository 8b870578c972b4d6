select
    gain.layer,
    stratum.stratum,
    gain.gridcell_id,
    cell.grid_row,
    cell.grid_col,
    gain.r_baseline,
    gain.r_candidate,
    gain.delta_r,
    gain.is_significant_iid,
    gain.is_significant_block,
from {{ ref('fct_skill_gain') }} as gain
inner join {{ ref('int_gridcell') }} as cell using (gridcell_id)
inner join {{ ref('int_skill_stratum') }} as stratum using (gridcell_id)
where gain.status = 'ok'
order by all
