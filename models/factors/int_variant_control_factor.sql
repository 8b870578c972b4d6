{{ control_factors(ref('int_variant_factor'), ['variant', 'gridcell_id']) }}
