{% test every_cell_both_layers(model) %}
select
    cell.gridcell_id,
    count(gain.layer) as n_layers,
from {{ ref('dim_gridcell') }} as cell
left join {{ model }} as gain using (gridcell_id)
group by all
having count(gain.layer) <> 2
{% endtest %}
