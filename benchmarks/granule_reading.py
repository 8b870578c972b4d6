"""Time to read one global SPL4SM granule at a study's cells: our reader, plain h5py.

Writes a few granules shaped as the real ones (1624 x 3856, one gzip-3 chunk a variable, smooth
fields with fill over sea) to a temporary folder, and reads the same variables at the same cells
both ways. Also times small clipped windows.

Run: python -m benchmarks.granule_reading [--granules 3] [--cells 2287]
"""

from __future__ import annotations

import argparse
import datetime as dt
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa

from ingest.grid import M09
from ingest.sources.spl4sm_gph import GROUP, LAND_VARIABLES, Spl4smGph, Spl4smGphReader

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


def read_plain(path: Path, cells: np.ndarray) -> dict[str, np.ndarray]:
    """The same values as a user of h5py takes them: whole global arrays, then the cells."""
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


def measure(*, n_granules: int = 3, n_cells: int = 2287, n_clipped: int = 20) -> dict[str, float]:
    """Milliseconds per file of both ways on global granules, their ratio, and of clipped windows.

    Returns:
        reader_ms, plain_ms, ratio (plain over reader, medians), clipped_ms (64 x 64 window, all
        five variables), clipped_soil_moisture_ms (two variables).

    Raises:
        AssertionError: the two ways disagree on a value.
    """
    rng = np.random.default_rng(7)
    with tempfile.TemporaryDirectory() as name:
        cells = np.column_stack(
            [rng.integers(*CHINA_ROWS, n_cells), rng.integers(*CHINA_COLS, n_cells)]
        )
        folder = Path(name) / "global"
        _write_series(folder, n_granules, row=0, col=0, rows=M09.rows, cols=M09.cols)
        reader = _reader(folder, cells)
        files = reader.find()
        reader.read(files[0])  # the first file of a run also checks every coordinate
        ours, plain = [], []
        for raw in files:
            seconds, extract = _timed(reader.read, raw)
            ours.append(seconds)
            seconds, values = _timed(read_plain, raw.location, reader.cells)
            plain.append(seconds)
            _require_same(extract.tables["land"], values)
        folder = Path(name) / "clipped"
        _write_series(folder, n_clipped, row=300, col=3100, rows=64, cols=64)
        inside = 300 + rng.integers(0, 64, 600), 3100 + rng.integers(0, 64, 600)
        clipped = {}
        for label, fields in (
            ("clipped", None),
            ("clipped_soil_moisture", ["ssm_m3m3", "rzsm_m3m3"]),
        ):
            reader = _reader(folder, np.column_stack(inside), fields)
            files = reader.find()
            reader.read(files[0])
            times = [_timed(reader.read, raw)[0] for raw in files * 5]
            clipped[f"{label}_ms"] = 1e3 * float(np.median(times))
    reader_ms, plain_ms = 1e3 * float(np.median(ours)), 1e3 * float(np.median(plain))
    return {
        "reader_ms": reader_ms,
        "plain_ms": plain_ms,
        "ratio": plain_ms / reader_ms,
        **clipped,
    }


def _write_series(folder: Path, n: int, **window: int) -> None:
    folder.mkdir()
    start = dt.datetime(2017, 1, 1, 1, 30)
    for k in range(n):
        label = start + dt.timedelta(hours=3 * k)
        write_granule(
            folder / f"SMAP_L4_SM_gph_{label:%Y%m%dT%H%M%S}_Vv4030_001.h5", seed=k, **window
        )


def _reader(folder: Path, cells: np.ndarray, fields: list[str] | None = None) -> Spl4smGphReader:
    chosen = {"fields": fields} if fields else {}
    return Spl4smGphReader(
        key="benchmark",
        source="benchmark",
        settings=Spl4smGph(format="spl4sm_gph", path=str(folder), **chosen),
        period=(dt.date(2017, 1, 1), dt.date(2017, 1, 31)),
        cells=cells,
    )


def _timed(work: Callable, *arguments):
    started = time.perf_counter()
    result = work(*arguments)
    return time.perf_counter() - started, result


def _require_same(table: pa.Table, values: dict[str, np.ndarray]) -> None:
    for column, expected in values.items():
        found = table[column].to_numpy()
        if not np.array_equal(found, expected, equal_nan=True):
            raise AssertionError(f"{column} differs between the two ways")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--granules", type=int, default=3)
    parser.add_argument("--cells", type=int, default=2287)
    options = parser.parse_args()
    result = measure(n_granules=options.granules, n_cells=options.cells)
    print(
        f"global granule, 5 variables, {options.cells} cells: reader {result['reader_ms']:.0f} ms, "
        f"h5py {result['plain_ms']:.0f} ms, ratio {result['ratio']:.1f}"
    )
    print(
        f"64 x 64 window: 5 variables {result['clipped_ms']:.2f} ms, "
        f"2 variables {result['clipped_soil_moisture_ms']:.2f} ms a file"
    )
