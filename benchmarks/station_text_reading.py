"""Station text to Parquet: our reader beside a plain DuckDB COPY and pandas.

One month of hourly rows of every station, in two orders, one thread each. Before timing, the
readings are compared with those computed from the COPY's and from pandas' file.
"""

from __future__ import annotations

import datetime as dt
import tempfile
from pathlib import Path

import duckdb
import pandas
import pyarrow.parquet as pq

from benchmarks.record import Record, alternate, peak_rss_mb
from ingest.sources.station_csv import StationCsv, StationCsvReader

LAYERS = ("0_10cm", "10_20cm", "20_30cm", "30_40cm", "40_50cm")
BAR = "ratio >= 0.667"  # at most 1.5 times the seconds of the COPY


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


def month_reader(path: Path, *, threads: int = 1) -> StationCsvReader:
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


def read_month(source: Path, target: Path) -> int:
    """Our way: read the month and write its rows; returns the number of readings."""
    reader = month_reader(source)
    extract = reader.read(reader.find()[0])
    pq.write_table(extract.tables["reading"], target, compression="snappy")
    return sum(n for _, _, n in extract.counts)


def copy_month(source: Path, target: Path) -> None:
    """DuckDB's way: the same columns as they stand, no unit, no time zone, no quality control."""
    with duckdb.connect() as connection:
        connection.execute("set threads = 1")
        connection.execute(f"copy (from read_csv('{source}')) to '{target}' (format parquet)")


def convert_with_pandas(source: Path, target: Path) -> None:
    """The way of pandas: UTC times, m3 m-3, quality control, sorted."""
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


def largest_difference(ours: Path, copied: Path, by_pandas: Path) -> float:
    """Largest difference of a reading from both peers' files, in m3 m-3.

    Raises:
        AssertionError: a row or a value is missing on one side.
    """
    raw = ", ".join(
        f'case when "Q_{layer}" = 0 and "VWC_{layer}" / 100 between 1e-9 and 0.6'
        f' then ("VWC_{layer}" / 100)::float end as v{i}'
        for i, layer in enumerate(LAYERS, 1)
    )
    converted = (
        'select "Station_Id_C"::varchar as station_id, make_timestamp("Year", "Mon", "Day",'
        f" \"Hour\", 0, 0) - interval 8 hour as observed_at, {raw} from '{copied}'"
    )
    named = ", ".join(f'"sm_{layer}" as v{i}' for i, layer in enumerate(LAYERS, 1))
    peers = (
        converted,
        f"select \"Station_Id_C\"::varchar as station_id, observed_at, {named} from '{by_pandas}'",
    )
    layers = range(1, len(LAYERS) + 1)
    unlike = " or ".join(f"(sm_{i}_m3m3 is null) <> (v{i} is null)" for i in layers)
    away = ", ".join(f"max(abs(sm_{i}_m3m3 - v{i}))" for i in layers)
    largest = 0.0
    for peer in peers:
        n, n_unlike, difference = duckdb.sql(
            f"select count(*), count(*) filter (where a.station_id is null or b.station_id is null"
            f" or {unlike}), greatest({away}) from '{ours}' as a full join ({peer}) as b"
            " using (station_id, observed_at)"
        ).fetchone()
        if not n or n_unlike:
            raise AssertionError(f"{n_unlike} of {n} rows differ from a peer's")
        largest = max(largest, difference)
    return largest


def measure(*, small: bool = False) -> list[Record]:
    """Reader against COPY and pandas, rows ordered by time and by station."""
    stations, runs = (300, 7) if small else (2474, 5)
    records = []
    for order in ("time", "station"):
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder, "soil_moisture_201707.csv")
            target, copied, by_pandas = (Path(folder, f"{n}.parquet") for n in "abc")
            write_month(source, stations=stations, order=order)
            readings = read_month(source, target)
            copy_month(source, copied)
            convert_with_pandas(source, by_pandas)
            difference = largest_difference(target, copied, by_pandas)
            ours, copy_s, pandas_s = alternate(
                lambda source=source, target=target: read_month(source, target),
                lambda source=source, copied=copied: copy_month(source, copied),
                lambda source=source, by_pandas=by_pandas: convert_with_pandas(source, by_pandas),
                runs=runs,
            )
            megabytes = source.stat().st_size / 1e6
            shared = {
                "seconds": ours,
                "days": 31,
                "runs": runs,
                "max_difference": difference,
                "peak_rss_mb": peak_rss_mb(read_month, source, target),
                "disk_mb": target.stat().st_size / 1e6,
                "note": f"{megabytes:.0f} MB of text, {readings:,} readings of {stations} stations,"
                f" {megabytes / ours:.0f} MB/s; rows by {order}, one thread",
            }
        name = f"station_text_by_{order}"
        records += [
            Record(f"{name}_duckdb", peer="DuckDB COPY", peer_seconds=copy_s, bar=BAR, **shared),
            Record(f"{name}_pandas", peer="pandas", peer_seconds=pandas_s, **shared),
        ]
    return records
