{{ insitu_cell_day(
    "(select station_id, gridcell_id, n_stations from " ~ ref('int_station')
    ~ " inner join " ~ ref('int_gridcell') ~ " using (gridcell_id) where status = 'ok')"
) }}
