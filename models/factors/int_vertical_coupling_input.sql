{{ vertical_coupling_input(ref('fct_daily_anomaly')) }}
