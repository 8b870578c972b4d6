"""The open loop as GEOSldas users share it: NetCDF-4 in tile space, daily means and joins."""

from __future__ import annotations

import datetime as dt
import io
from pathlib import Path

import h5py
import numpy as np

from ingest.grid import M09
from ingest.twin.random_fields import stream
from ingest.twin.raw_files.granules import GphSource
from ingest.twin.weather import SLOTS
from ingest.twin.world import World

EXPERIMENT = "TWIN_OL4001"
FILL = np.float32(1e15)
EXTRA_TILES = 20  # tiles without values: readers must mask the fill
LAND_FIELDS = {  # land collection -> gph name
    "SFMC": ("sm_surface", "m3 m-3"),
    "RZMC": ("sm_rootzone", "m3 m-3"),
    "LHLAND": ("heat_flux_latent", "W m-2"),
    "PRECTOTCORRLAND": ("precipitation_total_surface_flux", "kg m-2 s-1"),
    "LAI": ("leaf_area_index", "1"),
    "TSURFLAND": ("surface_temp", "K"),
}
JOIN_FIELDS = {gph: (gph, units) for gph, units in LAND_FIELDS.values()}


def write_tile_space(world: World, open_loop: GphSource, folder: Path) -> int:
    """Write daily means, and daily joins of eight steps for one month; returns the number."""
    tiles = TileSpace(world)
    root = folder / EXPERIMENT / "output" / "SMAP_EASEv2_M09_GLOBAL" / "cat" / "ens_avg"
    start, n_days = world.period[0], world.dates.size - world.first_day
    month = join_month(world.period)
    daily = tiles.image(LAND_FIELDS, [0], start, dt.time(12))
    joined = tiles.image(JOIN_FIELDS, [180 * i for i in range(SLOTS)], start, dt.time(1, 30))
    n_files = 0
    for day in range(n_days):
        date = start + dt.timedelta(days=day)
        target = root / f"Y{date:%Y}" / f"M{date:%m}"
        target.mkdir(parents=True, exist_ok=True)
        steps = {
            name: values[:, day * SLOTS : (day + 1) * SLOTS].T
            for name, values in open_loop.steps.items()
        }
        means = {name: steps[gph].mean(axis=0)[None] for name, (gph, _) in LAND_FIELDS.items()}
        name = f"{EXPERIMENT}.tavg24_1d_lnd_Nt.{date:%Y%m%d}_1200z.nc4"
        tiles.write(target / name, daily, means, day)
        n_files += 1
        if (date.year, date.month) == month:
            name = f"{EXPERIMENT}.SMAP_L4_SM_gph.{date:%Y%m%d}.nc4"
            tiles.write(target / name, joined, {k: steps[k] for k in JOIN_FIELDS}, day)
            n_files += 1
    return n_files


def join_month(period: tuple[dt.date, dt.date]) -> tuple[int, int]:
    """Year and month of the joined files: the period's first July, else its first month."""
    start, end = period
    for year in range(start.year, end.year + 1):
        if start <= dt.date(year, 7, 1) and dt.date(year, 7, 31) <= end:
            return year, 7
    return start.year, start.month


class TileSpace:
    """Tiles in an order of their own: the simulated cells and some without values."""

    def __init__(self, world: World):
        s, cells = world.settings, world.cells
        rng = stream(s.seed, "tiles")
        free = np.setdiff1d(np.arange(s.window_size**2), cells.place)
        place = np.concatenate([cells.place, rng.choice(free, EXTRA_TILES, replace=False)])
        order = rng.permutation(place.size)
        self.n = place.size
        self.row, self.col = np.divmod(place[order], s.window_size)
        self.row, self.col = self.row + s.window_row, self.col + s.window_col
        self.position = np.argsort(order)[: cells.place.size]  # tile of each cell

    def image(self, fields, minutes: list[int], start: dt.date, time: dt.time) -> bytes:
        """A file in memory with all names, attributes and coordinates; values are still fill.

        Written with h5py in NetCDF-4's layout: the NetCDF library would store the time of day.
        """
        n_time, buffer = len(minutes), io.BytesIO()
        lat, lon = M09.centre(self.row, self.col)
        with h5py.File(buffer, "w", libver=("v110", "v110")) as f:
            f.attrs["title"] = np.bytes_("Synthetic twin experiment, no observation")
            tile = f.create_dataset("tile", shape=(self.n,), dtype="f4")
            tile.make_scale(f"This is a netCDF dimension but not a netCDF variable. {self.n:9d}")
            clock = f.create_dataset(
                "time", data=np.array(minutes, "i4"), maxshape=(None,), chunks=(n_time,)
            )
            clock.make_scale("time")
            clock.attrs["units"] = np.bytes_(f"minutes since {start} {time}")
            for name, values, units in (
                ("lon", lon.astype("f4"), "degrees_east"),
                ("lat", lat.astype("f4"), "degrees_north"),
                ("IG", self.col.astype("i4"), "1"),
                ("JG", self.row.astype("i4"), "1"),
            ):
                dataset = f.create_dataset(name, data=values)
                dataset.attrs["units"] = np.bytes_(units)
                dataset.dims[0].attach_scale(tile)
            for name, (_, units) in fields.items():
                dataset = f.create_dataset(
                    name,
                    shape=(n_time, self.n),
                    maxshape=(None, self.n),
                    chunks=(n_time, self.n),
                    dtype="f4",
                    fillvalue=FILL,
                )
                dataset.attrs["units"], dataset.attrs["long_name"] = (
                    np.bytes_(units),
                    np.bytes_(name),
                )
                dataset.attrs["_FillValue"] = dataset.attrs["missing_value"] = np.array([FILL])
                dataset.dims[0].attach_scale(clock)
                dataset.dims[1].attach_scale(tile)
        return buffer.getvalue()

    def write(self, path: Path, image: bytes, values: dict[str, np.ndarray], day: int) -> None:
        """Write one file: (n_time, n_cells) values into the image, time shifted by whole days."""
        file_id = h5py.h5f.open_file_image(image, flags=1)
        with h5py.File(file_id) as f:
            f["time"][:] += 1440 * day
            for name, cell_values in values.items():
                data = np.full((len(cell_values), self.n), FILL, dtype=np.float32)
                data[:, self.position] = cell_values
                f[name][:] = data
            f.flush()
            path.write_bytes(file_id.get_file_image())
        file_id.close()
