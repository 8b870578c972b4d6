{{ skill_input(ref('int_variant_daily'), ref('int_variant_anomaly')) }}
