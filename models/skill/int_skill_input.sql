{#- one row per cell, layer and day: the three series side by side, values and anomalies -#}
{{ skill_input(ref('fct_daily_soil_moisture'), ref('fct_daily_anomaly')) }}
order by grid_row, grid_col, layer, obs_date
