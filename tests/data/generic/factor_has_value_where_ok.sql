{#- A factor has a value exactly where its status is ok, and every cell has every factor's status. -#}
{% test factor_has_value_where_ok(model) %}
select
    status.gridcell_id,
    status.factor,
    status.status,
    value.value,
from {{ model }} as status
left join (
    unpivot {{ ref('fct_control_factor') }}
    on columns(* exclude (gridcell_id))
    into name factor value value
) as value using (gridcell_id, factor)
where (status.status = 'ok') <> (value.value is not null)

union all

select
    cell.gridcell_id,
    'fewer than every factor',
    null,
    count(status.factor),
from {{ ref('dim_gridcell') }} as cell
left join {{ model }} as status using (gridcell_id)
group by all
having count(status.factor) <> (select count(*) from {{ ref('dim_factor') }})
{% endtest %}
