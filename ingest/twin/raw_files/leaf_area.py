"""Ten-daily LAI like the Copernicus 1-km product: packed bytes, flags, upper-left coordinates."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import netCDF4
import numpy as np

from ingest.grid import M09
from ingest.twin.random_fields import stream
from ingest.twin.raw_files.latlon_grids import Boxes
from ingest.twin.world import World

PER_DEGREE = 112
SCALE = 1 / 30
HIGHEST_DN = 210  # LAI 7
FILL_DN, FLAGGED_DN = 255, 251  # 241..254 are flags: outside valid_range, yet not the fill value
BAD_QFLAG = 1


def dekads(period: tuple[dt.date, dt.date]) -> list[tuple[dt.date, dt.date]]:
    """First and last day of every dekad that ends inside the period.

    >>> dekads((dt.date(2017, 2, 1), dt.date(2017, 2, 28)))[-1]
    (datetime.date(2017, 2, 21), datetime.date(2017, 2, 28))
    """
    found = []
    day, one = period[0].replace(day=1), dt.timedelta(days=1)
    while day <= period[1]:
        month = (day + dt.timedelta(days=31)).replace(day=1)
        ends = [day + 9 * one, day + 19 * one, month - one]
        starts = [day, ends[0] + one, ends[1] + one]
        found += [(a, b) for a, b in zip(starts, ends, strict=True) if period[0] <= b <= period[1]]
        day = month
    return found


def write_leaf_area(world: World, folder: Path) -> int:
    """Write one file a dekad, labelled with its last day; returns the number of files."""
    folder.mkdir(parents=True, exist_ok=True)
    s = world.settings
    boxes = Boxes.over(world, PER_DEGREE)
    lon, lat = np.meshgrid(boxes.lon, boxes.lat[::-1])  # north row first
    row, col = M09.index(lat, lon)
    row, col = row - s.window_row, col - s.window_col
    inside = (row >= 0) & (row < s.window_size) & (col >= 0) & (col < s.window_size)
    cell = np.where(inside, row * s.window_size + col, 0)
    rng = stream(s.seed, "lai product")
    texture = np.exp(0.1 * rng.standard_normal(cell.shape)).astype(np.float32)
    spring = world.dates[world.first_day]
    periods = dekads(world.period)
    for first, last in periods:
        a = world.first_day + int((np.datetime64(first) - spring).astype(int))
        b = world.first_day + int((np.datetime64(last) - spring).astype(int)) + 1
        mean = world.weather.lai_grid[max(a, 0) : b].mean(axis=0)
        mean = mean * (1 + s.lai_noise * rng.standard_normal(mean.size)).astype(np.float32)
        dn = np.clip(np.rint(mean[cell] * texture / SCALE), 0, HIGHEST_DN).astype(np.uint8)
        bad = rng.random(cell.shape, dtype=np.float32)
        dn[bad < 0.02] = FILL_DN
        dn[(bad >= 0.02) & (bad < 0.025)] = FLAGGED_DN
        dn[~inside] = FILL_DN
        qflag = np.where((bad >= 0.025) & (bad < 0.04), BAD_QFLAG, 0).astype(np.uint8)
        nobs = np.where(dn == FILL_DN, 0, 12).astype(np.uint8)
        name = f"c_gls_LAI-RT6_{last:%Y%m%d}0000_GLOBE_PROBAV_V2.0.1.nc"
        _write(folder / name, boxes, last, {"LAI": dn, "QFLAG": qflag, "NOBS": nobs})
    return len(periods)


def _write(path: Path, boxes: Boxes, label: dt.date, planes: dict[str, np.ndarray]) -> None:
    half = 0.5 / boxes.per_degree
    with netCDF4.Dataset(path, "w", format="NETCDF4") as f:
        f.title = "Synthetic twin experiment, no observation"
        for name, size in (("time", 1), ("lat", boxes.rows), ("lon", boxes.cols)):
            f.createDimension(name, size)
        corners = (
            ("lat", boxes.lat[::-1] + half, "degrees_north", "latitude"),
            ("lon", boxes.lon - half, "degrees_east", "longitude"),
        )
        for name, values, units, standard in corners:
            variable = f.createVariable(name, "f8", (name,))
            variable.units, variable.standard_name = units, standard
            variable.long_name = f"{standard} of the pixel's upper-left corner"
            variable[:] = values
        time = f.createVariable("time", "f8", ("time",))
        time.units = "days since 1970-01-01 00:00:00"
        time[:] = (label - dt.date(1970, 1, 1)).days
        crs = f.createVariable("crs", "i4", ())
        crs.grid_mapping_name = "latitude_longitude"
        west, north, size = (
            float(v) for v in (boxes.lon[0] - half, boxes.lat[-1] + half, 2 * half)
        )
        crs.GeoTransform = f"{west!r} {size!r} 0.0 {north!r} 0.0 {-size!r}"
        for name, values in planes.items():
            variable = f.createVariable(
                name,
                "u1",
                ("time", "lat", "lon"),
                fill_value=FILL_DN if name == "LAI" else None,
                zlib=True,
                complevel=1,
            )
            variable.set_auto_maskandscale(False)
            variable.grid_mapping = "crs"
            if name == "LAI":
                variable.standard_name, variable.units = "leaf_area_index", ""
                variable.scale_factor, variable.add_offset = SCALE, 0.0
                variable.valid_range = np.array([0, HIGHEST_DN], dtype=np.uint8)
            variable[0] = values
