"""In situ files like CIMISS tables: one CSV a month of Beijing time, all stations, hourly, percent.

As in real archives there are gaps, missing codes, flags, impossible values and repeated rows.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from ingest.twin.random_fields import stream
from ingest.twin.world import World

LAYERS = ("0_10cm", "10_20cm", "20_30cm", "30_40cm", "40_50cm")
LOCAL_HOURS = 8  # Beijing time minus UTC
MISSING = "999999"
GOOD, DOUBTFUL, WRONG, NO_DATA = 0, 1, 2, 8
LOWEST, HIGHEST = -2000, 70000  # hundredths that can be written
UNIT_FACTOR = {"fractions": 0.01, "tenths": 10.0}


def write_stations(world: World, folder: Path) -> int:
    """Write the station list and the monthly tables; returns the number of files."""
    folder.mkdir(parents=True, exist_ok=True)
    st = world.stations
    pl.DataFrame(
        {
            "Station_Id_C": st.station_id,
            "Station_Name": [f"Twin {i}" for i in st.station_id],
            "Network": st.network,
            "Lat": st.lat,
            "Lon": st.lon,
            "Alti": st.elevation_m,
        }
    ).write_csv(folder / "station_list.csv")
    first, last = hour_range(world)
    hours = np.arange(first, last + 1)
    local = (np.datetime64(world.dates[0], "h") + hours + LOCAL_HOURS).astype("datetime64[M]")
    text = pl.Series([f"{v / 100:.2f}" for v in range(LOWEST, HIGHEST + 1)] + [MISSING])
    months = np.unique(local)
    for month in months:
        table = month_table(world, hours[local == month], str(month), text)
        table.write_csv(folder / f"soil_moisture_{str(month).replace('-', '')}.csv")
    return 1 + months.size


def hour_range(world: World) -> tuple[int, int]:
    """First and last hour-ending label, in hours after the spin-up's start (UTC).

    Files start with the period's first day in local time, as a station's own archive would.
    """
    first = world.first_day * 24
    return max(first - LOCAL_HOURS, 1), len(world.dates) * 24


def true_hours(world: World, hours: np.ndarray) -> np.ndarray:
    """Hourly means before instrument errors by the hour: (n_stations, n_hours, 5) m3 m-3."""
    middle = hours - 0.5
    step = (middle // 3).astype(int)
    weight = (middle / 3 - step).astype(np.float32)[None, :, None]
    water = world.station_water
    values = (1 - weight) * water[:, step] + weight * water[:, step + 1]
    return values + world.station_error[(middle // 24).astype(int)].transpose(1, 0, 2)


def month_table(world: World, hours: np.ndarray, month: str, text: pl.Series) -> pl.DataFrame:
    """One month's rows, stations one after the other."""
    st = world.stations
    rng = stream(world.settings.seed, f"hourly {month}")
    n, n_hours = st.cell.size, hours.size
    shape = (n, n_hours)
    local_hour = (hours + LOCAL_HOURS) % 24
    warm = np.sin(2 * np.pi * (local_hour - 9) / 24)[None, :, None]  # probes drift with the day
    values = true_hours(world, hours) + warm * np.array([3e-3, 1e-3, 3e-4, 1e-4, 0.0])
    values += 0.002 * rng.standard_normal((*shape, 5))
    percent = np.maximum(100 * values, 0.3)
    factor = np.array([UNIT_FACTOR.get(kind, 1.0) for kind in st.defect])
    hundredths = np.rint(100 * percent * factor[:, None, None]).astype(np.int32)
    quality = np.zeros((*shape, 5), dtype=np.int8)

    # flagged, impossible and missing values
    sound = np.array([kind == "" for kind in st.defect])[:, None]
    for code, share in ((DOUBTFUL, 4e-4), (WRONG, 2e-4)):
        hit = sound & (rng.random(shape) < share)
        quality[hit, 0] = code
        hundredths[hit, 0] = np.minimum(hundredths[hit, 0] * 3, 9900)
    for value in (-512, 13120):
        hundredths[sound & (rng.random(shape) < 1e-5), 0] = value
    missing = rng.random((*shape, 5)) < 5e-4
    gap = world.station_gap[((hours - 1) // 24).astype(int)].T
    coded = rng.random((n, int(hours[-1] // 24) + 1)) < 0.5  # half of the gap days keep their rows
    coded = coded[:, (hours - 1) // 24]
    missing |= (gap & coded)[:, :, None]
    code = np.where(missing, HIGHEST - LOWEST + 1, np.clip(hundredths, LOWEST, HIGHEST) - LOWEST)
    quality[missing] = NO_DATA

    kept = ~(gap & ~coded) & (rng.random(shape) > 0.01)
    kept &= ~np.array([kind == "short" for kind in st.defect])[:, None] | ~gap
    station, hour = np.nonzero(kept)
    twice = rng.random(station.size)
    again = np.flatnonzero(twice < 4e-5)
    whole = (~missing & (quality == GOOD)).all(axis=2)[station, hour] & sound[station, 0]
    contradicted = np.flatnonzero((twice > 1 - 2e-5) & whole)
    order = np.sort(np.concatenate([np.arange(station.size), again, contradicted]), kind="stable")
    repeated = np.concatenate([[False], order[1:] == order[:-1]])
    station, hour = station[order], hour[order]
    row_code = code[station, hour]
    clash = repeated & np.isin(order, contradicted)
    row_code[clash] += 700  # seven percent more in every layer: no doubt a contradiction

    when = np.datetime64(world.dates[0], "h") + hours + LOCAL_HOURS
    day = when.astype("datetime64[D]")
    columns = {
        "Station_Id_C": pl.Series(st.station_id).gather(station),
        "Year": when.astype("datetime64[Y]").astype(int)[hour] + 1970,
        "Mon": (when.astype("datetime64[M]").astype(int) % 12 + 1)[hour],
        "Day": (day - day.astype("datetime64[M]").astype("datetime64[D]")).astype(int)[hour] + 1,
        "Hour": local_hour[hour],
    }
    columns |= {f"VWC_{name}": text.gather(row_code[:, k]) for k, name in enumerate(LAYERS)}
    row_quality = quality[station, hour]
    columns |= {f"Q_{name}": row_quality[:, k] for k, name in enumerate(LAYERS)}
    return pl.DataFrame(columns)
