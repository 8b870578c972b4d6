"""Time to turn one month of station text into Parquet: our reader, plain DuckDB COPY, pandas.

Run: python -m benchmarks.station_text_reading [--stations 2474] [--threads 1]
"""

from __future__ import annotations

import argparse
import datetime as dt
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import duckdb
import pyarrow.parquet as pq

from ingest.sources.station_csv import StationCsv, StationCsvReader

LAYERS = ("0_10cm", "10_20cm", "20_30cm", "30_40cm", "40_50cm")


def write_month(path: Path, *, stations: int, order: str = "time", seed: int = 1) -> None:
    """A month of hourly rows in the CIMISS layout, ordered by `time` or by `station`."""
    keys = {"time": "t, s", "station": "s, t"}[order]
    value = "case when random() < 0.02 then 999999 else round(5 + 35 * random(), 1) end"
    code = "case when random() < 0.02 then 2 else 0 end"
    columns = [f'{value} as "VWC_{layer}"' for layer in LAYERS]
    columns += [f'{code} as "Q_{layer}"' for layer in LAYERS]
    with duckdb.connect() as connection:
        connection.execute("set threads = 1")
        connection.execute("select setseed(?)", [seed / 100])
        connection.execute(
            f"""copy (
                select 50000 + s as "Station_Id_C", year(t) as "Year", month(t) as "Mon",
                    day(t) as "Day", hour(t) as "Hour", {", ".join(columns)}
                from range({stations}) as a(s),
                    range(timestamp '2017-07-01', timestamp '2017-08-01', interval 1 hour) as b(t)
                order by {keys}
            ) to '{path}' (header)"""
        )


def month_reader(path: Path, *, threads: int) -> StationCsvReader:
    """The reader that a study of such files configures."""
    settings = StationCsv.model_validate(
        {
            "path": str(path),
            "format": "station_csv",
            "timezone": "Asia/Shanghai",
            "time_label": "hour_ending",
            "unit": "percent",
            "columns": {
                "station_id": "Station_Id_C",
                "time": {"year": "Year", "month": "Mon", "day": "Day", "hour": "Hour"},
            },
            "layers": [
                {
                    "column": f"VWC_{layer}",
                    "qc_column": f"Q_{layer}",
                    "top_m": i / 10,
                    "bottom_m": (i + 1) / 10,
                }
                for i, layer in enumerate(LAYERS)
            ],
            "station_list": {
                "path": "station_list.csv",
                "columns": {"station_id": "Station_Id_C", "latitude": "Lat", "longitude": "Lon"},
            },
        }
    )
    period = (dt.date(2017, 1, 1), dt.date(2018, 12, 31))
    return StationCsvReader(
        key="insitu", source="insitu", settings=settings, period=period, threads=threads
    )


def measure(
    *, stations: int = 2474, threads: int = 1, rounds: int = 3, order: str = "time"
) -> dict[str, float]:
    """Best seconds of each way over interleaved rounds, and their ratios.

    Returns:
        readings, reader_s, copy_s, pandas_s, reader_over_copy, pandas_over_reader.
    """
    import pandas

    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "soil_moisture_201707.csv"), Path(folder, "out.parquet")
        write_month(source, stations=stations, order=order)
        reader = month_reader(source, threads=threads)
        raw = reader.find()[0]
        readings = 0

        def ours() -> None:
            nonlocal readings
            extract = reader.read(raw)
            readings = sum(n for _, _, n in extract.counts)
            pq.write_table(extract.tables["reading"], target, compression="snappy")

        def plain_copy() -> None:
            with duckdb.connect() as connection:
                connection.execute(f"set threads = {threads}")
                connection.execute(
                    f"copy (from read_csv('{source}')) to '{target}' (format parquet)"
                )

        def with_pandas() -> None:
            frame = pandas.read_csv(source)
            moment = frame.rename(columns={"Year": "year", "Mon": "month", "Day": "day"})
            frame["observed_at"] = pandas.to_datetime(
                moment[["year", "month", "day"]].assign(hour=frame["Hour"])
            ) - pandas.Timedelta(hours=8)
            for layer in LAYERS:
                value = frame[f"VWC_{layer}"] / 100
                good = (frame[f"Q_{layer}"] == 0) & (value > 0) & (value <= 0.6)
                frame[f"sm_{layer}"] = value.where(good).astype("float32")
            keep = ["Station_Id_C", "observed_at", *(f"sm_{layer}" for layer in LAYERS)]
            frame[keep].sort_values(keep[:2]).to_parquet(target, index=False)

        ways = {"reader_s": ours, "copy_s": plain_copy, "pandas_s": with_pandas}
        best = {name: float("inf") for name in ways}
        for _ in range(rounds):
            for name, way in ways.items():
                best[name] = min(best[name], _seconds(way))
    return {
        "readings": readings,
        **best,
        "reader_over_copy": best["reader_s"] / best["copy_s"],
        "pandas_over_reader": best["pandas_s"] / best["reader_s"],
    }


def _seconds(way: Callable[[], None]) -> float:
    start = time.perf_counter()
    way()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--stations", type=int, default=2474)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    for order in ("time", "station"):
        result = measure(
            stations=options.stations,
            threads=options.threads,
            rounds=options.rounds,
            order=order,
        )
        print(
            f"rows by {order}: {result['readings']:,} readings, reader {result['reader_s']:.2f} s "
            f"({result['readings'] / result['reader_s'] / 1e6:.1f} million a second), "
            f"COPY {result['copy_s']:.2f} s, pandas {result['pandas_s']:.2f} s; "
            f"reader/COPY {result['reader_over_copy']:.2f}, "
            f"pandas/reader {result['pandas_over_reader']:.2f}"
        )


if __name__ == "__main__":
    main()
