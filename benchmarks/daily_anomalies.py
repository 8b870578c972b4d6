"""Lake to daily means, climatology and anomalies: the dbt models beside pandas and pytesmo.

A lake of two products (3-hourly) and one hourly station per cell is written to a temporary folder. dbt
builds the daily anomalies and everything they need; a figure is the sum of its models' execution times
as dbt tells them (dbt's own start is left out). pandas does the same from the
same Parquet files, pytesmo the climatology and anomalies of a sample of the series, scaled. One
thread on each side, and once more all cores for the models.

pytesmo's climatology equals ours where a series has no gaps, except within 15 days of 29 February, for
which it keeps an empty day of the year: there its windows hold 30 days. With gaps its mean of daily
means differs from our mean of values. Values are compared where both define the same.
"""

from __future__ import annotations

import datetime as dt
import os
import statistics
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import yaml

from benchmarks.dbt_steps import Node, run_models
from benchmarks.record import Record
from ingest.grid import M09
from ingest.lake import MANIFEST_SCHEMA
from ingest.reader import PROJECT_ROOT
from ingest.study import Study

BAR = "ratio >= 10"
START = dt.date(2017, 1, 1)
PRODUCTS, LAYERS = ("open_loop", "l4"), ("ssm", "rzsm")
ANOMALY_MODELS = {"int_climatology", "fct_daily_anomaly"}


def study_of(*, n_days: int) -> Study:
    """The published study without its factors, over the days of the benchmark."""
    text = (PROJECT_ROOT / "studies" / "china.yml").read_text()
    kept = ("title", "grid", "seed", "insitu", "products")
    content = {key: yaml.safe_load(text)[key] for key in kept}
    content |= {"study": "benchmark", "synthetic": True}
    content["period"] = {"start": START, "end": START + dt.timedelta(n_days - 1)}
    return Study.model_validate(content)


def write_lake(lake: Path, *, n_cells: int, n_days: int) -> None:
    """Products without gaps and stations with gaps, as ingest would lay them down, a file a month."""
    row, col = 250 + np.arange(n_cells) // 40, 3000 + np.arange(n_cells) % 40
    latitude, longitude = M09.centre(row, col)
    cells = pl.DataFrame(
        {
            "grid_row": row.astype(np.int32),
            "grid_col": col.astype(np.int32),
            "latitude": latitude,
            "longitude": longitude,
            "station_id": [f"S{i:05}" for i in range(n_cells)],
        }
    )
    for source in (*PRODUCTS, "insitu"):
        (lake / source / ("reading" if source == "insitu" else "land")).mkdir(parents=True)
        write_manifest(lake / source / "manifest.parquet", source, cells["station_id"].to_list())
    (lake / "insitu" / "station").mkdir()
    cells.drop("station_id").write_parquet(lake / "study_cell.parquet")
    cells.select(
        "station_id",
        "latitude",
        "longitude",
        network=pl.lit("BENCH"),
        elevation_m=pl.lit(100.0),
        source_file=pl.lit("station_list.csv"),
    ).write_parquet(lake / "insitu" / "station" / "static-0.parquet")
    stop = START + dt.timedelta(n_days)
    months = pl.date_range(START, stop, "1mo", closed="left", eager=True).to_list()
    season = "0.25 + 0.1 * sin(2 * pi() * dayofyear(t) / 365)"
    with duckdb.connect() as connection:
        connection.execute("set threads = 1; set timezone = 'UTC'")
        connection.execute("select setseed(0.3)")
        connection.register("cells", cells.to_arrow())
        for begin, end in zip(months, [*months[1:], stop], strict=True):
            for product in PRODUCTS:
                connection.execute(
                    f"copy (select grid_row, grid_col, t as observed_at,"
                    f" ({season} + 0.1 * random())::float as ssm_m3m3,"
                    f" ({season} + 0.05 * random())::float as rzsm_m3m3, 'g' as source_file"
                    f" from cells, range(timestamp '{begin} 01:30', timestamp '{end}',"
                    " interval 3 hour) as time(t) order by t, grid_row, grid_col)"
                    f" to '{lake}/{product}/land/{begin:%Y-%m}.parquet' (compression zstd)"
                )
            reading = ", ".join(
                f"case when random() > 0.05 and hash(station_id, t::date) % 10 > 0 then"
                f" round({season} + 0.1 * random(), 4)::float end as sm_{i}_m3m3"
                for i in range(1, 6)
            )
            connection.execute(
                f"copy (select station_id, t as observed_at, {reading}, 'm' as source_file"
                f" from cells, range(timestamp '{begin} 01:00', timestamp '{end} 00:30',"
                " interval 1 hour) as time(t) order by station_id, t)"
                f" to '{lake}/insitu/reading/{begin:%Y-%m}.parquet' (compression zstd)"
            )


def write_manifest(path: Path, source: str, stations: list[str]) -> None:
    """One usable file; of the stations, how many values it held."""
    counts = [{"entity": s, "reason": "ok", "n": 1} for s in stations]
    row = {
        "source_file": "benchmark",
        "status": "ok",
        "counts": counts if source == "insitu" else [],
    }
    pl.DataFrame([row], schema=MANIFEST_SCHEMA).write_parquet(path)


def pandas_daily(lake: Path, study: Study) -> dict[tuple[str, str], pd.DataFrame]:
    """Daily means of every product and layer by pandas, days x cells (row, col)."""
    day = pd.date_range(study.period.start, study.period.end)
    cells = ["grid_row", "grid_col"]
    daily = {}
    for product in PRODUCTS:
        land = pd.read_parquet(lake / product / "land")
        land["obs_date"] = land["observed_at"].dt.floor("D")
        grouped = land.astype({f"{layer}_m3m3": "float64" for layer in LAYERS}).groupby(
            ["obs_date", *cells]
        )
        for layer in LAYERS:
            value = grouped[f"{layer}_m3m3"].agg(["mean", "count"])
            mean = value["mean"].where(value["count"] >= study.products[product].min_samples)
            daily[product, layer] = mean.unstack(cells).reindex(day).astype("float32")
    reading = pd.read_parquet(lake / "insitu" / "reading").drop(columns="source_file")
    reading["obs_date"] = (reading["observed_at"] - pd.Timedelta(1, "us")).dt.floor("D")
    depths = [f"sm_{i}_m3m3" for i in range(1, 6)]
    reading = reading.astype(dict.fromkeys(depths, "float64"))
    value = reading.groupby(["obs_date", "station_id"])[depths].agg(["mean", "count"])
    by_depth = [
        value[depth, "mean"].where(value[depth, "count"] >= study.rules.min_hours)
        for depth in depths
    ]
    by_depth = [mean.astype("float32").astype("float64") for mean in by_depth]
    station = pd.read_parquet(lake / "insitu" / "station").set_index("station_id")
    index = M09.index(station["latitude"].to_numpy(), station["longitude"].to_numpy())
    place = dict(zip(station.index, zip(*index, strict=True), strict=True))
    root_zone = sum(by_depth) / 5  # five layers of 10 cm, missing where one is
    for layer, mean in (("ssm", by_depth[0]), ("rzsm", root_zone)):
        wide = mean.unstack("station_id").reindex(day).astype("float32")
        wide.columns = pd.MultiIndex.from_tuples([place[s] for s in wide.columns], names=cells)
        daily["insitu", layer] = wide
    return daily


def pandas_anomalies(
    daily: dict[tuple[str, str], pd.DataFrame], study: Study
) -> dict[tuple[str, str], pd.DataFrame]:
    """Anomalies from a pooled circular climatology by pandas, days x cells."""
    half = (study.rules.clim_window - 1) // 2
    anomaly = {}
    for key, frame in daily.items():
        frame = frame.astype("float64")
        leap = frame.index.is_leap_year & (frame.index.day_of_year >= 60)
        index = frame.index.day_of_year - 1 - leap
        total = frame.groupby(index).sum().reindex(range(365), fill_value=0)
        count = frame.groupby(index).count().reindex(range(365), fill_value=0)
        window = [
            pd.concat([part.iloc[-half:], part, part.iloc[:half]])
            .rolling(2 * half + 1, center=True)
            .sum()
            .iloc[half:-half]
            for part in (total, count)
        ]
        mean = (window[0] / window[1]).where(window[1] >= study.rules.clim_min_samples)
        anomaly[key] = frame - mean.to_numpy()[index]
    return anomaly


def pytesmo_anomaly(values: pd.Series, *, window_days: int) -> pd.Series:
    """Climatology and anomaly of one series by pytesmo."""
    from pytesmo.time_series.anomaly import calc_anomaly, calc_climatology

    climatology = calc_climatology(values, moving_avg_orig=1, moving_avg_clim=window_days)
    return calc_anomaly(values, climatology=climatology, respect_leap_years=False)


def published(build: Path, table: str, column: str) -> dict[tuple[str, str], pd.DataFrame]:
    """A daily table of the built warehouse, days x cells (row, col) per product and layer."""
    with duckdb.connect(str(build / "warehouse.duckdb"), read_only=True) as connection:
        frame = connection.sql(
            f"from {table} select product, obs_date,"
            " regexp_extract(gridcell_id, 'r([0-9]+)', 1)::integer as grid_row,"
            " regexp_extract(gridcell_id, 'c([0-9]+)', 1)::integer as grid_col,"
            f" columns('(ssm|rzsm)_{column}')"
        ).df()
    wide = frame.pivot(index="obs_date", columns=["product", "grid_row", "grid_col"])
    wide.index = pd.DatetimeIndex(wide.index)
    return {
        (product, layer): wide[f"{layer}_{column}", product]
        for product in ("insitu", *PRODUCTS)
        for layer in LAYERS
    }


def largest_difference(
    ours: dict[tuple[str, str], pd.DataFrame], theirs: dict[tuple[str, str], pd.DataFrame]
) -> float:
    """Largest difference of any product, layer, cell and day.

    Raises:
        AssertionError: a value is missing on one side only.
    """
    largest = 0.0
    for key, frame in ours.items():
        other = theirs[key].reindex(index=frame.index, columns=frame.columns)
        if not (frame.isna() == other.isna()).all(axis=None):
            raise AssertionError(f"{key}: values are missing at other days than the peer's")
        largest = max(largest, float((frame - other).abs().max(axis=None)))
    return largest


def away_from_leap_day(day: pd.DatetimeIndex, *, window_days: int) -> np.ndarray:
    """Days whose climatology window does not reach 29 February, an empty day in pytesmo's calendar."""
    half = (window_days - 1) // 2
    position = day.day_of_year - 1 + (~day.is_leap_year & (day.day_of_year >= 60))
    distance = np.abs(position - 59)
    return np.asarray(np.minimum(distance, 366 - distance) > half)


def model_seconds(models: list[Node]) -> tuple[float, float]:
    """Seconds of the climatology and anomalies, and of all other models."""
    anomaly_s = sum(m.seconds for m in models if m.name in ANOMALY_MODELS)
    return anomaly_s, sum(m.seconds for m in models) - anomaly_s


def measure(*, small: bool = False) -> list[Record]:
    """The models beside pandas and pytesmo; at full size also with all cores, as a build runs them.

    Raises:
        AssertionError: a daily value or an anomaly differs from a peer's.
    """
    n_cells, n_days, sample, runs = (150, 730, 5, 1) if small else (572, 730, 40, 3)
    cores = os.cpu_count() or 1
    study = study_of(n_days=n_days)
    window = study.rules.clim_window
    seconds: dict[str, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as name:
        lake, build = Path(name, "lake"), Path(name, "build")
        write_lake(lake, n_cells=n_cells, n_days=n_days)

        def models(threads: int) -> tuple[float, float]:
            nodes, watched = run_models(
                study,
                lake=lake,
                build=build,
                select="+fct_daily_anomaly",
                threads=threads,
                memory="3GiB",
            )
            seconds["peak_mb"].append(watched.peak_rss_mb)
            return model_seconds(nodes)

        for _ in range(runs):
            if not small:
                seconds["all cores"].append(models(cores)[0])
            anomaly_s, daily_s = models(1)
            seconds["anomaly"].append(anomaly_s)
            seconds["daily"].append(daily_s)
            start = time.perf_counter()
            daily = pandas_daily(lake, study)
            seconds["pandas daily"].append(time.perf_counter() - start)
            start = time.perf_counter()
            anomaly = pandas_anomalies(daily, study)
            seconds["pandas anomaly"].append(time.perf_counter() - start)
            ours = published(build, "fct_daily_anomaly", "anomaly_m3m3")
            chosen = [
                (key, cell) for key in ours for cell in ours[key].columns[:: n_cells // sample]
            ]
            start = time.perf_counter()
            by_pytesmo = [
                pytesmo_anomaly(daily[key][cell], window_days=window) for key, cell in chosen
            ]
            scale = len(ours) * n_cells / len(chosen)
            seconds["pytesmo"].append((time.perf_counter() - start) * scale)
        stored = published(build, "fct_daily_soil_moisture", "m3m3")
        disk_mb = (build / "warehouse.duckdb").stat().st_size / 1e6
    same = away_from_leap_day(ours["l4", "ssm"].index, window_days=window)
    difference = {
        "daily means of pandas": largest_difference(stored, daily),
        "anomalies of pandas": largest_difference(ours, anomaly),
        "anomalies of pytesmo": max(
            float((ours[key][cell] - theirs)[same].abs().max())
            for (key, cell), theirs in zip(chosen, by_pytesmo, strict=True)
            if key[0] in PRODUCTS  # the series without gaps
        ),
    }
    for peer, largest in difference.items():
        if not largest < 1e-7:
            raise AssertionError(f"{peer} differ by {largest} m3 m-3")

    took = {name: statistics.median(values) for name, values in seconds.items()}
    shared = {"cells": n_cells, "days": n_days, "runs": runs, "peak_rss_mb": took["peak_mb"]}
    both = "two products 3-hourly and a station hourly per cell, both layers"
    by_pytesmo = {
        "peer": "pytesmo",
        "peer_seconds": took["pytesmo"],
        "bar": BAR,
        "max_difference": difference["anomalies of pytesmo"],
    }
    sampled = (
        f"pytesmo: {len(chosen)} of {len(ours) * n_cells} series, scaled; compared on series"
        " without gaps, away from 29 February"
    )
    records = [
        Record(
            "daily_means_pandas",
            seconds=took["daily"],
            peer="pandas",
            peer_seconds=took["pandas daily"],
            max_difference=difference["daily means of pandas"],
            disk_mb=disk_mb,
            note=f"every model that the anomalies need, tables written; {both}, one thread",
            **shared,
        ),
        Record(
            "anomalies_pandas",
            seconds=took["anomaly"],
            peer="pandas",
            peer_seconds=took["pandas anomaly"],
            max_difference=difference["anomalies of pandas"],
            note=f"fct_daily_anomaly, climatology included, table written; {both}, one thread;"
            " pandas has the daily means in memory, a column per series",
            **shared,
        ),
        Record(
            "anomalies_pytesmo",
            seconds=took["anomaly"],
            note=f"the same, one thread; {sampled}",
            **by_pytesmo,
            **shared,
        ),
    ]
    if not small:
        records.append(
            Record(
                "anomalies_pytesmo_all_cores",
                seconds=took["all cores"],
                note=f"the same as a build runs it, {cores} threads; pytesmo has one",
                **by_pytesmo,
                **shared,
            )
        )
    return records
