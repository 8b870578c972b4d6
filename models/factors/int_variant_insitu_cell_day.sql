{#- cells rebuilt from the stations that stand for more than half of their cell -#}
{{ insitu_cell_day(
    "(select station_id, gridcell_id, count(*) over (partition by gridcell_id) as n_stations from "
    ~ ref('int_station') ~ " inner join " ~ ref('int_representativeness')
    ~ " as land using (station_id) where status = 'ok' and land.representativeness_frac > 0.5)"
) }}
