"""The build as a user runs it: results against independent computations, re-runs, copies, comparison."""

import datetime as dt

import duckdb
import h5py
import numpy as np
import polars as pl
import pytest
import scipy.stats

from ingest.grid import M09


def table(home, query: str) -> pl.DataFrame:
    with duckdb.connect(str(home.warehouse), read_only=True) as connection:
        return connection.execute(query).pl()


def test_summary_says_what_was_done(built):
    text = (built.path / "stdout.txt").read_text()
    assert "SYNTHETIC" in text and "mean gain" in text and "make sql" in text
    assert "left out" in text and "unit_mismatch" in text


def test_second_build_reads_nothing_and_gives_the_same_values(built, home):
    done = home.build()
    assert done.returncode == 0, done.stderr
    for source in ("insitu", "open_loop", "l4"):
        assert f"{source}: 0 files read" in done.stdout
    same = home.run("diff", str(built.warehouse), str(home.warehouse))
    assert same.returncode == 0, same.stdout
    assert "nothing to do" in done.stdout and "Unchanged" in done.stdout
    assert built.ask("from meta_build") == home.ask("from meta_build")


def test_reuse_never_differs_from_computing_again(built, home):
    """A change and its undoing reuse the forests, `--fresh` reuses nothing: the same values."""
    home.edit(lambda study: study["rules"].update(clim_window=21))
    changed = home.build()
    assert changed.returncode == 0 and "nothing to do" not in changed.stdout
    assert home.ask("select build_id from meta_build") != built.ask(
        "select build_id from meta_build"
    )
    home.edit(lambda study: study["rules"].pop("clim_window"))
    reused = home.build()
    assert reused.returncode == 0 and "nothing to do" not in reused.stdout
    values = home.copy(home.path / "reused")
    fresh = home.build("--fresh")
    assert fresh.returncode == 0 and "nothing to do" not in fresh.stdout
    for other in (built, values):
        same = home.run("diff", str(other.warehouse), str(home.warehouse))
        assert same.returncode == 0, same.stdout
    assert built.ask("select build_id from meta_build") == home.ask(
        "select build_id from meta_build"
    )


def test_a_warehouse_someone_wrote_to_is_built_again(built, home):
    with duckdb.connect(str(home.warehouse)) as connection:
        connection.execute("update fct_skill_gain set delta_r = 0")
    done = home.build()
    assert done.returncode == 0 and "nothing to do" not in done.stdout
    same = home.run("diff", str(built.warehouse), str(home.warehouse))
    assert same.returncode == 0, same.stdout


def test_damaged_generated_files_cost_only_time(built, home):
    """What a build keeps for the next one is made again when it cannot be read."""
    kept = ("reuse/published.json", "reuse/forest.parquet", "sensitivity.parquet")
    for name in (*kept, "lake/insitu/manifest.parquet"):
        (home.data / name).write_bytes(b"{cut off")
    done = home.build()
    assert done.returncode == 0, done.stderr
    assert "manifest of insitu is damaged" in done.stdout
    assert "forest.parquet is damaged" in done.stdout
    same = home.run("diff", str(built.warehouse), str(home.warehouse))
    assert same.returncode == 0, same.stdout


def test_threads_do_not_change_a_value(built, home):
    done = home.build("--fresh", "--threads", "1", "--workers", "1")
    assert done.returncode == 0, done.stderr
    same = home.run("diff", str(built.warehouse), str(home.warehouse))
    assert same.returncode == 0, same.stdout


def test_published_file_holds_public_tables_only(built):
    kinds = built.ask(
        "select table_name, table_type from information_schema.tables where table_catalog = 'warehouse'"
    )
    assert {kind for _, kind in kinds} == {"BASE TABLE"}
    assert all(name.split("_")[0] in {"dim", "fct", "bridge", "meta"} for name, _ in kinds)
    undescribed = built.ask(
        "select table_name, column_name from duckdb_columns() where comment is null"
        " and not internal"
    )
    assert undescribed == []
    assert built.ask("from meta_column where unit is null") == []
    listed = built.ask("select table_name, column_name, lower(column_type) from meta_column")
    columns = built.ask(
        "select table_name, column_name, lower(data_type) from duckdb_columns() where not internal"
    )
    assert sorted(listed) == sorted(columns)


def test_daily_values_from_the_granules(built):
    """Daily means of one cell recomputed from the HDF5 files with h5py alone."""
    cell, row, col = built.ask("select gridcell_id, grid_row, grid_col from dim_gridcell limit 1")[
        0
    ]
    for product, folder in (("l4", "l4"), ("open_loop", "open_loop")):
        for day in (dt.date(2017, 1, 1), dt.date(2017, 7, 14)):
            files = sorted((built.data / "raw" / folder).rglob(f"*_{day:%Y%m%d}T*.h5"))
            assert len(files) == 8
            values = []
            for path in files:
                with h5py.File(path) as file:
                    where = (file["cell_row"][:] == row) & (file["cell_column"][:] == col)
                    values.append(file["Geophysical_Data/sm_surface"][:][where][0])
            expected = np.float32(np.mean(np.array(values, np.float64)))
            found = built.ask(
                "select ssm_m3m3, n_obs_ssm from fct_daily_soil_moisture"
                f" where product = '{product}' and gridcell_id = '{cell}' and obs_date = '{day}'"
            )
            assert found == [(pytest.approx(float(expected), abs=0), 8)]


def test_station_days_from_the_csv_files(built):
    """In situ daily values of one-station cells recomputed from the raw text with polars alone."""
    raw = pl.concat(
        pl.read_csv(f, infer_schema_length=100_000)
        for f in sorted((built.data / "raw" / "stations").glob("soil_moisture_*.csv"))
    ).unique()
    layers = ["0_10", "10_20", "20_30", "30_40", "40_50"]
    clean = [
        pl.when(
            (pl.col(f"Q_{k}cm") == 0) & (pl.col(f"VWC_{k}cm") > 0) & (pl.col(f"VWC_{k}cm") <= 60)
        )
        .then((pl.col(f"VWC_{k}cm").cast(pl.Float64) / 100).cast(pl.Float32))
        .alias(k)
        for k in layers
    ]
    # Beijing time, hour ending: 08:00 on the clock ends the last hour of the UTC day before
    hour = pl.datetime("Year", "Mon", "Day") + pl.duration(hours=pl.col("Hour") - 9)
    daily = (
        raw.filter(pl.len().over("Station_Id_C", "Year", "Mon", "Day", "Hour") == 1)
        .select(
            pl.col("Station_Id_C").cast(pl.String).alias("station_id"),
            hour.dt.date().alias("obs_date"),
            *clean,
        )
        .group_by("station_id", "obs_date")
        .agg(
            *[
                pl.when(pl.col(k).count() >= 12)
                .then(pl.col(k).cast(pl.Float64).mean())
                .cast(pl.Float32)
                for k in layers
            ],
            n=pl.col("0_10").count(),
        )
        .with_columns(rzsm=(sum(pl.col(k).cast(pl.Float64) for k in layers) / 5).cast(pl.Float32))
    )
    found = table(
        built,
        "select station_id, d.* from fct_daily_soil_moisture d join dim_gridcell using (gridcell_id)"
        " join bridge_station_gridcell using (gridcell_id) where product = 'insitu' and n_stations = 1",
    )
    both = found.join(daily, on=["station_id", "obs_date"], how="left")
    assert both.height > 1000
    assert both.filter(pl.col("n").fill_null(0) != pl.col("n_obs_ssm")).height == 0
    assert both.filter(pl.col("ssm_m3m3").is_null() != pl.col("0_10").is_null()).height == 0
    assert (both["ssm_m3m3"] - both["0_10"]).abs().max() == 0
    assert (both["rzsm_m3m3"] - both["rzsm"]).abs().max() == 0


def test_bias_adjusted_mean_of_several_stations(built):
    """Cells of two and more stations recomputed from station days by the literal rule."""
    home_scratch = built.path / ".build" / "mini" / "scratch.duckdb"
    with duckdb.connect(str(home_scratch), read_only=True) as connection:
        days = connection.execute(
            "select gridcell_id, station_id, obs_date, ssm_m3m3::double as x from int_station_day"
            " join int_station using (station_id) join int_gridcell using (gridcell_id)"
            " where n_stations > 1"
        ).pl()
        found = connection.execute(
            "select gridcell_id, obs_date, ssm_m3m3 from int_insitu_cell_day"
        ).pl()
    assert days["gridcell_id"].n_unique() >= 3
    for (cell,), part in days.group_by("gridcell_id"):
        wide = part.pivot(on="station_id", index="obs_date", values="x").sort("obs_date")
        x = wide.drop("obs_date").to_numpy()
        together = np.isfinite(x).all(axis=1)
        base = x[together] if together.sum() >= 100 else x
        m = np.nanmean(base, axis=0)
        expected = np.nanmean(x - m + m.mean(), axis=1).astype(np.float32)
        mine = wide.join(found.filter(gridcell_id=cell), on="obs_date", how="left")["ssm_m3m3"]
        assert np.allclose(mine.to_numpy(), expected, rtol=0, atol=4e-8, equal_nan=True)


def test_skill_gain_from_the_public_anomalies(built):
    """Skill recomputed with scipy on the stored anomalies of the common days."""
    wide = table(built, "from fct_daily_anomaly").pivot(
        on="product", index=["gridcell_id", "obs_date"],
        values=["ssm_anomaly_m3m3", "rzsm_anomaly_m3m3"],
    )  # fmt: skip
    gain = table(built, "from fct_skill_gain")
    assert gain.filter(status="ok").height >= 20
    for row in gain.iter_rows(named=True):
        part = wide.filter(gridcell_id=row["gridcell_id"]).select(
            pl.col(f"{row['layer']}_anomaly_m3m3_{p}").alias(p)
            for p in ("insitu", "open_loop", "l4")
        )
        common = part.drop_nulls().to_numpy()
        assert len(common) == row["n_days"]
        if row["status"] != "ok":
            assert len(common) < 100 and row["delta_r"] is None
            continue
        base, cand = (scipy.stats.spearmanr(common[:, 0], common[:, i])[0] for i in (1, 2))
        assert row["r_baseline"] == pytest.approx(base, abs=1e-12)
        assert row["r_candidate"] == pytest.approx(cand, abs=1e-12)
        assert row["delta_r"] == pytest.approx(cand - base, abs=1e-12)
        assert row["is_significant_block"] == (
            row["delta_r_block_ci_lower"] > 0 or row["delta_r_block_ci_upper"] < 0
        )


def test_anomalies_are_value_minus_pooled_mean(built):
    daily = table(built, "from fct_daily_soil_moisture order by product, gridcell_id, obs_date")
    anomaly = table(built, "from fct_daily_anomaly order by product, gridcell_id, obs_date")
    for product in ("insitu", "l4"):
        cell = daily["gridcell_id"][0]
        x = daily.filter(product=product, gridcell_id=cell)["rzsm_m3m3"].cast(pl.Float64).to_numpy()
        a = anomaly.filter(product=product, gridcell_id=cell)["rzsm_anomaly_m3m3"].to_numpy()
        k = np.arange(len(x))  # the period starts on 1 January
        for i in np.flatnonzero(np.isfinite(x)):
            near = np.minimum((k - i) % 365, (i - k) % 365) <= 15
            window = x[near & np.isfinite(x)]
            expected = x[i] - window.mean() if len(window) >= 10 else np.nan
            assert a[i] == pytest.approx(expected, abs=1e-12, nan_ok=True)


def test_cells_agree_with_the_grid(built):
    cells = table(built, "from dim_gridcell")
    lat, lon = M09.centre(cells["grid_row"].to_numpy(), cells["grid_col"].to_numpy())
    assert np.abs(cells["latitude"].to_numpy() - lat).max() < 1e-12
    assert np.abs(cells["longitude"].to_numpy() - lon).max() < 1e-12
    stations = table(built, "from dim_station where status = 'ok'")
    row, col = M09.index(stations["latitude"].to_numpy(), stations["longitude"].to_numpy())
    expected = [f"M09-r{r}-c{c}" for r, c in zip(row, col, strict=True)]
    assert stations["gridcell_id"].to_list() == expected


def test_time_lag_is_zero_here_and_found_when_the_zone_is_wrong(built, home):
    best = "select product, arg_max(lag_hours, median_r) from fct_time_lag group by all order by 1"
    assert built.ask(best) == [("l4", 0), ("open_loop", 0)]
    home.edit(lambda s: s["insitu"]["source"].update(timezone="UTC"))
    done = home.build()
    assert done.returncode == 0, done.stderr
    assert "WARNING" in done.stdout and "time zone" in done.stdout
    # stamps taken for UTC stand 8 hours late: they agree with what the product said 6 or 9 hours before
    assert [lag for _, lag in home.ask(best)] in ([-9, -9], [-6, -6])


def test_diff_names_what_moved(built, home):
    home.edit(lambda s: s["rules"].update(members=300))
    assert home.build().returncode == 0
    moved = home.run("diff", str(built.warehouse), str(home.warehouse))
    assert moved.returncode == 1
    assert "fct_skill_gain.p_block" in moved.stdout
    assert "fct_skill_gain.delta_r:" not in moved.stdout
    assert "meta_study.value: 1 values moved" in moved.stdout
    missing = home.run("diff", "nowhere.duckdb", str(home.warehouse))
    assert missing.returncode == 2 and "nowhere.duckdb" in missing.stderr
    for other in ("README.md", "models"):
        wrong = home.run("diff", str(built.warehouse), other)
        assert wrong.returncode == 2 and other in wrong.stderr and "Traceback" not in wrong.stderr
