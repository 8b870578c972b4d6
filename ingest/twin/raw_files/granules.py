"""SMAP L4 granules of the window in the product's own HDF5 layout, and the gph ones of both runs.

Files that differ only in their data are made from a template held in memory: open the image, put
the compressed chunks in, write the bytes. That takes 1.5 ms instead of 7.
"""

from __future__ import annotations

import datetime as dt
import io
import zlib
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from ingest.grid import M09
from ingest.twin.model_ensemble import Run
from ingest.twin.settings import TwinSettings
from ingest.twin.weather import SLOTS, STORM
from ingest.twin.world import World

FILL = -9999.0
FILL_UINT32 = 4294967294
EPOCH = dt.datetime(2000, 1, 1, 12)
GZIP_LEVEL = 3
STEP_SECONDS = 10800


@dataclass(frozen=True)
class Field:
    """One dataset of a granule."""

    group: str
    name: str
    units: str
    valid_min: float
    valid_max: float
    long_name: str
    dtype: str = "f4"

    @property
    def path(self) -> str:
        return f"{self.group}/{self.name}"

    @property
    def fill(self):
        return FILL_UINT32 if self.dtype == "u4" else FILL


def _fields(group: str, *rows) -> tuple[Field, ...]:
    return tuple(Field(group, *row) for row in rows)


GPH_FIELDS = _fields(
    "Geophysical_Data",
    ("sm_surface", "m3 m-3", 0.0, 0.9, "Top layer soil moisture (0-5 cm)"),
    ("sm_rootzone", "m3 m-3", 0.0, 0.9, "Root zone soil moisture (0-100 cm)"),
    ("sm_profile", "m3 m-3", 0.0, 0.9, "Total profile soil moisture"),
    ("surface_temp", "K", 180.0, 350.0, "Mean land surface temperature"),
    ("soil_temp_layer1", "K", 210.0, 340.0, "Soil temperature in layer 1"),
    ("heat_flux_latent", "W m-2", -2500.0, 3000.0, "Latent heat flux from land"),
    ("precipitation_total_surface_flux", "kg m-2 s-1", 0.0, 0.05, "Total surface precipitation"),
    ("leaf_area_index", "m2 m-2", 0.0, 10.0, "Vegetation leaf area index"),
)


def plane(settings: TwinSettings, places: np.ndarray, values: np.ndarray, field: Field) -> bytes:
    """The window's array of one field with fills where nothing is simulated, as its gzip chunk."""
    array = np.full(settings.window_size**2, field.fill, dtype="<" + field.dtype)
    array[places] = np.where(np.isfinite(values), values, field.fill)
    return zlib.compress(array, GZIP_LEVEL)


def template(settings: TwinSettings, fields: tuple[Field, ...]) -> bytes:
    """HDF5 image with the grid's datasets, every attribute and no data yet."""
    n = settings.window_size
    rows = settings.window_row + np.arange(n)
    cols = settings.window_col + np.arange(n)
    row, col = np.meshgrid(rows, cols, indexing="ij")
    lat, lon = M09.centre(row, col)
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", libver=("v110", "v110")) as f:
        grid = f.create_dataset("EASE2_global_projection", data=np.array([b" "]))
        _text(
            grid,
            grid_mapping_name="lambert_cylindrical_equal_area",
            long_name="EASE-Grid 2.0 global, 9 km",
            source="synthetic twin experiment, no observation",
        )
        grid.attrs.update(
            standard_parallel=30.0,
            longitude_of_central_meridian=0.0,
            false_easting=0.0,
            false_northing=0.0,
        )
        x = f.create_dataset("x", data=M09.x0_m + (cols + 0.5) * M09.cell_m)
        y = f.create_dataset("y", data=M09.y0_m - (rows + 0.5) * M09.cell_m)
        for axis, name in ((x, "x"), (y, "y")):
            axis.make_scale(name)
            _text(axis, units="m", long_name=f"{name} coordinate of cell center in EASE 2.0")
        time = f.create_dataset("time", data=np.zeros(1))
        _text(time, units="seconds since 2000-01-01 11:58:55.816", long_name="Time")
        located = (
            ("cell_lat", lat.astype("<f4"), "degrees_north", FILL),
            ("cell_lon", lon.astype("<f4"), "degrees_east", FILL),
            ("cell_row", row.astype("<u4"), "dimensionless", FILL_UINT32),
            ("cell_column", col.astype("<u4"), "dimensionless", FILL_UINT32),
        )
        for name, values, units, fill in located:
            dataset = _plane(f, name, values.dtype, fill, n)
            dataset[:] = values
            _text(dataset, units=units)
        for field in fields:
            dataset = _plane(f, field.path, np.dtype("<" + field.dtype), field.fill, n)
            _text(
                dataset,
                long_name=field.long_name,
                units=field.units,
                coordinates="/cell_lat /cell_lon",
                grid_mapping="EASE2_global_projection",
            )
            for key, value in (("valid_min", field.valid_min), ("valid_max", field.valid_max)):
                dataset.attrs[key] = np.array(value, dtype=dataset.dtype)
    return buffer.getvalue()


def _plane(parent, path: str, dtype, fill, n: int) -> h5py.Dataset:
    compact = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    compact.set_attr_phase_change(64, 0)  # keep attributes in the header: half the file otherwise
    dataset = parent.create_dataset(
        path,
        dcpl=compact,
        shape=(n, n),
        dtype=dtype,
        chunks=(n, n),
        compression="gzip",
        compression_opts=GZIP_LEVEL,
        shuffle=False,
        fillvalue=fill,
        track_times=False,
    )
    for key in ("_FillValue", "missing_value", "fmissing_value"):
        dataset.attrs[key] = np.array(fill, dtype=dtype)
    dataset.attrs["DIMENSION_LABELS"] = np.array([b"y", b"x"])
    return dataset


def _text(target, **attributes: str) -> None:
    for key, value in attributes.items():
        target.attrs[key] = np.bytes_(value)


def write_granule(path: Path, image: bytes, chunks: dict[str, bytes], time: dt.datetime) -> None:
    """Write one granule: the template's image with these compressed chunks and this time.

    Args:
        chunks: dataset path -> gzip stream of the whole array.
        time: label of the file; stored as the product does, without leap seconds.
    """
    file_id = h5py.h5f.open_file_image(image, flags=1)  # 1: read and write
    with h5py.File(file_id) as f:
        for name, chunk in chunks.items():
            f[name].id.write_direct_chunk((0, 0), chunk)
        f["time"][0] = (time - EPOCH).total_seconds()
        f.flush()
        path.write_bytes(file_id.get_file_image())
    file_id.close()


@dataclass(frozen=True)
class GphSource:
    """Three-hourly cell series of one run, from which its gph granules are cut.

    `steps` maps a field to (n_cells, n_steps); step 0 starts at `start` 00 UTC.
    """

    folder: Path
    version: str
    start: dt.date
    settings: TwinSettings
    places: np.ndarray
    steps: dict[str, np.ndarray]

    def write_days(self, first: int, last: int) -> int:
        """Write the granules of days first..last - 1; returns how many."""
        image = template(self.settings, GPH_FIELDS)
        for step in range(first * 8, last * 8):
            day = self.start + dt.timedelta(days=step // 8)
            centre = dt.datetime.combine(day, dt.time(1, 30)) + dt.timedelta(hours=3 * (step % 8))
            folder = self.folder / f"{centre:%Y}"
            folder.mkdir(parents=True, exist_ok=True)
            chunks = {
                f.path: plane(self.settings, self.places, self.steps[f.name][:, step], f)
                for f in GPH_FIELDS
            }
            name = f"SMAP_L4_SM_gph_{centre:%Y%m%dT%H%M%S}_{self.version}_001.h5"
            write_granule(folder / name, image, chunks, centre)
        return (last - first) * 8


def gph_sources(world: World, raw: Path) -> list[GphSource]:
    """The assimilation run and the open loop, ready to be written."""
    return [
        GphSource(
            folder=raw / name,
            version=version,
            start=world.period[0],
            settings=world.settings,
            places=world.cells.place,
            steps=_gph_steps(world, run),
        )
        for name, version, run in (
            ("l4", "Vv4030", world.assimilation),
            ("open_loop", "OL4001", world.open_loop),
        )
    ]


def _gph_steps(world: World, run: Run) -> dict[str, np.ndarray]:
    steps = slice(world.first_day * SLOTS, None)
    weather, days = world.weather, world.days
    n_cells = world.cells.row.size

    def three_hourly(daily: np.ndarray) -> np.ndarray:
        return np.repeat(daily[days].T, SLOTS, axis=1)

    slot, rain = weather.slot_model[days], weather.rain_model[days]
    step = np.arange(SLOTS)
    shares = STORM[0] * (step == slot[:, :, None]) + STORM[1] * (step == slot[:, :, None] + 1)
    flux = (shares * rain[:, :, None] / STEP_SECONDS).transpose(1, 0, 2).reshape(n_cells, -1)
    afternoon = np.tile(np.cos(2 * np.pi * (step - 1.7) / SLOTS), world.dates[days].size)
    daily_t = three_hourly(weather.soil_temperature_model)
    fields = {
        "sm_surface": run.surface[:, steps],
        "sm_rootzone": run.rootzone[:, steps],
        "sm_profile": run.rootzone[:, steps],  # the twin's column ends with the root zone
        "surface_temp": daily_t + 6.0 * afternoon,
        "soil_temp_layer1": daily_t + 2.0 * afternoon,
        "heat_flux_latent": run.latent_heat[:, steps],
        "precipitation_total_surface_flux": flux,
        "leaf_area_index": three_hourly(weather.lai_climatology),
    }
    return {name: values.astype(np.float32) for name, values in fields.items()}
