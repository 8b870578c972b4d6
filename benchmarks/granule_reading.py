"""One global SPL4SM granule at a study's cells: our reader beside plain h5py and xarray.

Granules shaped as the real ones (1624 x 3856, one gzip-3 chunk a variable, smooth fields with fill
over sea) are written to a temporary folder; the same five variables are read at the same cells. The
values of the three ways are compared before and while timing.
"""

from __future__ import annotations

import datetime as dt
import tempfile
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import xarray

from benchmarks.record import Record, alternate, peak_rss_mb
from ingest.grid import M09
from ingest.sources.spl4sm_gph import GROUP, LAND_VARIABLES, Spl4smGph, Spl4smGphReader

BAR = "ratio >= 5"
CHINA_ROWS, CHINA_COLS = (156, 562), (2715, 3376)
VARIABLES = {  # dataset: units, mean, amplitude
    "sm_surface": ("m3 m-3", 0.25, 0.15),
    "sm_rootzone": ("m3 m-3", 0.28, 0.12),
    "precipitation_total_surface_flux": ("kg m-2 s-1", 2e-5, 2e-5),
    "heat_flux_latent": ("W m-2", 60.0, 50.0),
    "leaf_area_index": ("m2 m-2", 2.0, 1.5),
}


def write_granule(path: Path, *, row: int, col: int, rows: int, cols: int, seed: int) -> None:
    """A granule of smooth fields, fill over two thirds of the globe, 12 bits of mantissa kept."""
    rng = np.random.default_rng(seed)
    i, j = np.arange(row, row + rows)[:, None], np.arange(col, col + cols)[None, :]
    lat, _ = M09.centre(i, 0 * i)
    _, lon = M09.centre(0 * j, j)
    land = np.cos(j / 400) + 0.6 * np.sin(i / 130 + 1) > 0.4
    land |= (i >= CHINA_ROWS[0]) & (i < CHINA_ROWS[1]) & (j >= CHINA_COLS[0]) & (j < CHINA_COLS[1])
    layout = {"chunks": (rows, cols), "compression": "gzip", "compression_opts": 3}
    with h5py.File(path, "w") as file:
        for name, values in {
            "cell_lat": (lat + 0 * j).astype(np.float32),
            "cell_lon": (lon + 0 * i).astype(np.float32),
            "cell_row": (i + 0 * j).astype(np.uint32),
            "cell_column": (j + 0 * i).astype(np.uint32),
        }.items():
            file.create_dataset(name, data=values, **layout)
        file["y"] = M09.y0_m - (i[:, 0] + 0.5) * M09.cell_m
        file["x"] = M09.x0_m + (j[0] + 0.5) * M09.cell_m
        for name, (units, mean, amplitude) in VARIABLES.items():
            a, b, c, d = rng.uniform(15, 90, 4)
            wave = np.sin(i / a) * np.cos(j / b) + np.sin((i + j) / c) * np.cos((i - j) / d)
            values = np.abs(mean + 0.5 * amplitude * wave).astype(np.float32)
            values = (values.view(np.uint32) & np.uint32(0xFFFFF800)).view(np.float32)
            values[~land] = -9999.0
            dataset = file.create_dataset(f"{GROUP}/{name}", data=values, **layout)
            dataset.attrs["units"] = np.bytes_(units)
            for key, number in (("_FillValue", -9999), ("valid_min", 0), ("valid_max", 3000)):
                dataset.attrs[key] = np.array([number], np.float32)


def read_with_h5py(path: Path, cells: np.ndarray) -> dict[str, np.ndarray]:
    """The values as a user of h5py takes them: whole global arrays, then the cells."""
    found = {}
    with h5py.File(path) as file:
        for column, variable in LAND_VARIABLES.items():
            if variable.dataset not in VARIABLES:
                continue
            dataset = file[GROUP][variable.dataset]
            values = dataset[...][cells[:, 0], cells[:, 1]].astype(np.float64)
            values[values == dataset.attrs["_FillValue"][0]] = np.nan
            found[column] = (values * variable.factor).astype(np.float32)
    return found


def read_with_xarray(path: Path, cells: np.ndarray) -> dict[str, np.ndarray]:
    """The values as a user of xarray takes them, through h5netcdf."""
    names = {v.dataset: (k, v.factor) for k, v in LAND_VARIABLES.items() if v.dataset in VARIABLES}
    with xarray.open_dataset(path, engine="h5netcdf", group=GROUP, phony_dims="sort") as file:
        return {
            column: (
                file[name].values[cells[:, 0], cells[:, 1]].astype(np.float64) * factor
            ).astype(np.float32)
            for name, (column, factor) in names.items()
        }


def read_all(folder: Path, cells: np.ndarray) -> None:
    """Every granule of a folder by our reader, one after the other."""
    reader = granule_reader(folder, cells)
    for raw in reader.find():
        reader.read(raw)


def granule_reader(folder: Path, cells: np.ndarray) -> Spl4smGphReader:
    """The reader that a study of such granules configures."""
    return Spl4smGphReader(
        key="benchmark",
        source="benchmark",
        settings=Spl4smGph(format="spl4sm_gph", path=str(folder)),
        period=(dt.date(2017, 1, 1), dt.date(2017, 1, 31)),
        cells=cells,
    )


def measure(*, small: bool = False) -> list[Record]:
    """Seconds per granule of the reader, h5py and xarray.

    Raises:
        AssertionError: the ways disagree on a value.
    """
    n_cells, n_granules, runs = 2287, 1 if small else 4, 5
    rng = np.random.default_rng(7)
    cells = np.column_stack(
        [rng.integers(*CHINA_ROWS, n_cells), rng.integers(*CHINA_COLS, n_cells)]
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        start = dt.datetime(2017, 1, 1, 1, 30)
        for k in range(n_granules):
            label = f"{start + dt.timedelta(hours=3 * k):%Y%m%dT%H%M%S}"
            path = folder / f"SMAP_L4_SM_gph_{label}_Vv4030_001.h5"
            write_granule(path, row=0, col=0, rows=M09.rows, cols=M09.cols, seed=k)
        reader = granule_reader(folder, cells)
        files = reader.find()
        difference = 0.0
        for raw in files:  # the first file of a run also checks every coordinate
            table = reader.read(raw).tables["land"]
            for peer in (read_with_h5py, read_with_xarray):
                values = peer(raw.location, reader.cells)
                difference = max(difference, largest_difference(table, values))
        ours, h5py_s, xarray_s = alternate(
            lambda: [reader.read(raw) for raw in files],
            lambda: [read_with_h5py(raw.location, reader.cells) for raw in files],
            lambda: [read_with_xarray(raw.location, reader.cells) for raw in files],
            runs=runs,
        )
        shared = {
            "seconds": ours / n_granules,
            "cells": n_cells,
            "runs": runs,
            "max_difference": difference,
            "peak_rss_mb": peak_rss_mb(read_all, folder, cells),
            "note": f"per global granule, {len(VARIABLES)} variables, one core,"
            f" file in the page cache; {n_granules / ours:.1f} granules/s",
        }
    return [
        Record("granule_h5py", peer="h5py", peer_seconds=h5py_s / n_granules, bar=BAR, **shared),
        Record(
            "granule_xarray", peer="xarray, h5netcdf", peer_seconds=xarray_s / n_granules, **shared
        ),
    ]


def largest_difference(table: pa.Table, values: dict[str, np.ndarray]) -> float:
    """Largest difference of any value at any cell.

    Raises:
        AssertionError: a value is missing on one side only.
    """
    largest = 0.0
    for column, expected in values.items():
        found = table[column].to_numpy()
        if not np.array_equal(np.isnan(found), np.isnan(expected)):
            raise AssertionError(f"{column}: values are missing at other cells than the peer's")
        largest = max(largest, float(np.nanmax(np.abs(found - expected))))
    return largest
