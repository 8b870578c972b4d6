{{ control_factors(ref('int_factor'), ['gridcell_id']) }}
order by gridcell_id
