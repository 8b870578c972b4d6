"""Raw files of the full-size world's last day: granules in the global layout, and one day of station text.

What a benchmark adds to a lake without that day, and samples for measuring the readers. The values at study cells
are those of the tiles; around them the global arrays hold smooth fields over land and fill over sea, so that the
arrays inflate at a realistic rate. `l4` has all 42 fields of SPL4SMGP, the others those that the twin has.
"""

from __future__ import annotations

import json
import shutil
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np
import polars as pl
from numpy.typing import NDArray

from benchmarks.world_tile import Tile
from ingest.grid import M09
from ingest.sources.spl4sm_granule import parse_name
from ingest.twin.random_fields import stream
from ingest.twin.raw_files.analysis_updates import AUP_FIELDS
from ingest.twin.raw_files.granules import EPOCH, FILL, FILL_UINT32, GPH_FIELDS, GZIP_LEVEL, Field

VERSION = 1
_READ = {"sm_surface", "sm_rootzone", "heat_flux_latent", "leaf_area_index"} | {
    "precipitation_total_surface_flux"
}
_FRACTION = ("dimensionless", 0.0, 1.0)
_FLUX = ("kg m-2 s-1", 0.0, 0.05)
#: what SPL4SMGP version 4 has beside the twin's eight fields: name -> units, valid range
OTHER_GPH = {
    "sm_surface_wetness": _FRACTION,
    "sm_rootzone_wetness": _FRACTION,
    "sm_profile_wetness": _FRACTION,
    "soil_temp_layer2": ("K", 210.0, 330.0),
    "soil_temp_layer3": ("K", 215.0, 325.0),
    "soil_temp_layer4": ("K", 220.0, 325.0),
    "soil_temp_layer5": ("K", 225.0, 325.0),
    "soil_temp_layer6": ("K", 230.0, 320.0),
    "snow_mass": ("kg m-2", 0.0, 10000.0),
    "snow_depth": ("m", 0.0, 50.0),
    "land_evapotranspiration_flux": ("kg m-2 s-1", -0.001, 0.001),
    "overland_runoff_flux": _FLUX,
    "baseflow_flux": ("kg m-2 s-1", 0.0, 0.01),
    "snow_melt_flux": _FLUX,
    "soil_water_infiltration_flux": _FLUX,
    "land_fraction_saturated": _FRACTION,
    "land_fraction_unsaturated": _FRACTION,
    "land_fraction_wilting": _FRACTION,
    "land_fraction_snow_covered": _FRACTION,
    "heat_flux_sensible": ("W m-2", -2500.0, 3000.0),
    "heat_flux_ground": ("W m-2", -1000.0, 1000.0),
    "net_downward_shortwave_flux": ("W m-2", 0.0, 1365.0),
    "net_downward_longwave_flux": ("W m-2", -1000.0, 200.0),
    "radiation_shortwave_downward_flux": ("W m-2", 0.0, 1500.0),
    "radiation_longwave_absorbed_flux": ("W m-2", 35.0, 800.0),
    "snowfall_surface_flux": _FLUX,
    "surface_pressure": ("Pa", 40000.0, 110000.0),
    "height_lowatmmodlay": ("m", 40.0, 80.0),
    "temp_lowatmmodlay": ("K", 180.0, 350.0),
    "specific_humidity_lowatmmodlay": ("kg kg-1", 0.0, 0.4),
    "windspeed_lowatmmodlay": ("m s-1", -60.0, 60.0),
    "vegetation_greenness_fraction": _FRACTION,
    "sm_rootzone_pctl": ("percent", 0.0, 100.0),
    "sm_profile_pctl": ("percent", 0.0, 100.0),
}
L4_FIELDS = (
    *GPH_FIELDS,
    *(
        Field("Geophysical_Data", name, units, low, high, name.replace("_", " "))
        for name, (units, low, high) in OTHER_GPH.items()
    ),
)
SOURCES = {"l4": L4_FIELDS, "open_loop": GPH_FIELDS, "aup": AUP_FIELDS}


def write_last_day(tiles: Sequence[Tile], folder: Path, *, workers: int) -> None:
    """Write the last day's raw files of all tiles together, unless the same ones are there already.

    Args:
        folder: takes them below the names that they have below `raw/`; a mark beside it says that it is complete.
        workers: threads that compress.
    """
    mark = folder.with_name(f"{folder.name}.json")
    content = json.dumps({"version": VERSION, "tiles": [tile.folder.name for tile in tiles]})
    if folder.exists() and mark.exists() and mark.read_text() == content:
        return
    mark.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    days = [tile.folder / "last_day" for tile in tiles]
    with ThreadPoolExecutor(workers) as pool:
        world = _Planes(pool)
        for path in sorted(tiles[0].last_day):
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            if path.endswith(".csv"):
                join_station_text([day / path for day in days], target)
            else:
                fields = SOURCES[path.partition("/")[0]]
                chunks = world.chunks([day / path for day in days], fields)
                write_global_granule(target, fields, chunks, world.coordinates)
    mark.write_text(content)


def join_station_text(parts: Sequence[Path], target: Path) -> None:
    """One station file of several tiles' files; stations are named as in the world's lake."""
    tables = [
        pl.read_csv(path, infer_schema=False).with_columns(
            Station_Id_C=pl.lit(f"P{k:02d}") + pl.col("Station_Id_C")
        )
        for k, path in enumerate(parts)
    ]
    pl.concat(tables).write_csv(target)


class _Planes:
    """Global arrays as gzip chunks; what does not change from granule to granule is made once."""

    def __init__(self, pool: ThreadPoolExecutor):
        self.pool = pool
        row, col = np.arange(M09.rows)[:, None], np.arange(M09.cols)[None, :]
        self.land = np.cos(col / 400) + 0.6 * np.sin(row / 130 + 1) > 0.4
        lat, lon = M09.centre(row, 0 * row)[0], M09.centre(0 * col, col)[1]
        located = {
            "cell_lat": (lat + 0 * lon).astype("<f4"),
            "cell_lon": (lon + 0 * lat).astype("<f4"),
            "cell_row": (row + 0 * col).astype("<u4"),
            "cell_column": (col + 0 * row).astype("<u4"),
        }
        self.coordinates = {
            name: (array.dtype, chunk)
            for (name, array), chunk in zip(
                located.items(), pool.map(_deflated, located.values()), strict=True
            )
        }
        self._plain: dict[str, bytes] = {}

    def background(self, field: Field) -> NDArray:
        """A smooth field over land within the valid range, with few bits of mantissa; fill over sea."""
        if field.group != "Geophysical_Data":
            return np.full((M09.rows, M09.cols), field.fill, "<" + field.dtype)
        i, j = np.arange(M09.rows)[:, None], np.arange(M09.cols)[None, :]
        a, b, c, d = stream(VERSION, field.name).uniform(15, 90, 4)
        wave = np.sin(i / a) * np.cos(j / b) + np.sin((i + j) / c) * np.cos((i - j) / d)
        span = field.valid_max - field.valid_min
        values = (field.valid_min + span * (0.4 + 0.15 * wave)).astype("<f4")
        kept = 0xFFFFF800 if field.name in _READ else 0xFFFFE000  # 12 or 10 bits
        values = (values.view("<u4") & np.uint32(kept)).view("<f4")
        values[~self.land] = FILL
        return values

    def chunks(self, parts: Sequence[Path], fields: Sequence[Field]) -> dict[str, bytes]:
        """The gzip chunk of each field: the background with the tiles' windows put in where it is read."""
        windows = [_Window(path) for path in parts]

        def chunk(field: Field) -> bytes:
            having = [window for window in windows if field.path in window.values]
            if field.group == "Geophysical_Data" and field.name not in _READ:
                having = []
            if not having and field.path in self._plain:
                return self._plain[field.path]
            values = self.background(field)
            for window in having:
                window.put(values, field)
            chunk = _deflated(values)
            if not having:
                self._plain[field.path] = chunk
            return chunk

        return dict(zip([f.path for f in fields], self.pool.map(chunk, fields), strict=True))


class _Window:
    """A tile's granule: where its arrays lie, and the values that are not fill."""

    def __init__(self, path: Path):
        with h5py.File(path) as file:
            row, col = int(file["cell_row"][0, 0]), int(file["cell_column"][0, 0])
            self.values = {}
            for name, group in file.items():
                if isinstance(group, h5py.Group):
                    for field, dataset in group.items():
                        shape, own = dataset.shape, dataset[()]
                        if (own != dataset.fillvalue).any():
                            self.values[f"{name}/{field}"] = own
        self.place = slice(row, row + shape[0]), slice(col, col + shape[1])

    def put(self, values: NDArray, field: Field) -> None:
        """Put the window's own values into a global array."""
        own = self.values[field.path]
        np.copyto(values[self.place], own, where=own != np.array(field.fill, own.dtype))


def _deflated(values: NDArray) -> bytes:
    return zlib.compress(np.ascontiguousarray(values), GZIP_LEVEL)


def write_global_granule(
    path: Path,
    fields: Sequence[Field],
    chunks: dict[str, bytes],
    coordinates: dict[str, tuple[np.dtype, bytes]],
) -> None:
    """A granule of the whole grid as the product has it: one gzip chunk of 1624 x 3856 a dataset.

    Args:
        path: its name tells the time.
        chunks: gzip stream of each field, by path.
        coordinates: type and gzip stream of `cell_lat`, `cell_lon`, `cell_row` and `cell_column`.
    """
    time = parse_name(path.name).time
    with h5py.File(path, "w", libver=("v110", "v110")) as file:
        projection = file.create_dataset("EASE2_global_projection", data=np.array([b" "]))
        projection.attrs["grid_mapping_name"] = np.bytes_("lambert_cylindrical_equal_area")
        projection.attrs["source"] = np.bytes_("synthetic twin experiment, no observation")
        projection.attrs["standard_parallel"] = 30.0
        for name, values in (
            ("x", M09.x0_m + (np.arange(M09.cols) + 0.5) * M09.cell_m),
            ("y", M09.y0_m - (np.arange(M09.rows) + 0.5) * M09.cell_m),
        ):
            file.create_dataset(name, data=values, track_times=False).make_scale(name)
        seconds = np.array([(time - EPOCH).total_seconds()])
        file.create_dataset("time", data=seconds, track_times=False)
        for name, (dtype, chunk) in coordinates.items():
            fill = FILL_UINT32 if dtype.kind == "u" else FILL
            _write_plane(file, name, dtype, fill, chunk)
        for field in fields:
            dtype = np.dtype("<" + field.dtype)
            dataset = _write_plane(file, field.path, dtype, field.fill, chunks[field.path])
            dataset.attrs["units"] = np.bytes_(field.units)
            dataset.attrs["long_name"] = np.bytes_(field.long_name)
            for key, value in (("valid_min", field.valid_min), ("valid_max", field.valid_max)):
                dataset.attrs[key] = np.array(value, dtype)


def _write_plane(file: h5py.File, name: str, dtype: np.dtype, fill, chunk: bytes) -> h5py.Dataset:
    dataset = file.create_dataset(
        name,
        shape=(M09.rows, M09.cols),
        dtype=dtype,
        chunks=(M09.rows, M09.cols),
        compression="gzip",
        compression_opts=GZIP_LEVEL,
        shuffle=False,
        fillvalue=fill,
        track_times=False,
    )
    dataset.attrs["_FillValue"] = dataset.attrs["missing_value"] = np.array(fill, dtype)
    dataset.id.write_direct_chunk((0, 0), chunk)
    return dataset
