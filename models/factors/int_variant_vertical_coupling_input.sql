{{ vertical_coupling_input(ref('int_variant_anomaly')) }}
