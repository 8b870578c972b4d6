"""Benchmarks on latitude/longitude grids: precipitation (0.25, 0.1 degree), latent heat (1/12)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import netCDF4
import numpy as np

from ingest.grid import M09, unproject
from ingest.twin.random_fields import autoregressive, lognormal, stream
from ingest.twin.raw_files.tile_space import join_month
from ingest.twin.world import World

FILL = -9999.0
MJ_PER_DAY = 0.0864  # MJ m-2 d-1 in one W m-2


@dataclass(frozen=True)
class Boxes:
    """The window's part of a global grid of `per_degree` boxes a degree, south first."""

    per_degree: int
    south: int  # index of the southernmost row, counted from the equator
    west: int
    rows: int
    cols: int

    @classmethod
    def over(cls, world: World, per_degree: int) -> Boxes:
        """All boxes that touch the window."""
        s = world.settings
        row, col = (np.array([w, w + s.window_size]) for w in (s.window_row, s.window_col))
        lat, lon = unproject(M09.x0_m + col * M09.cell_m, M09.y0_m - row * M09.cell_m)
        north, south = np.floor(lat * per_degree).astype(int)
        west, east = np.floor(lon * per_degree).astype(int)
        return cls(per_degree, int(south), int(west), int(north - south + 1), int(east - west + 1))

    @property
    def lat(self) -> np.ndarray:
        return (self.south + np.arange(self.rows) + 0.5) / self.per_degree

    @property
    def lon(self) -> np.ndarray:
        return (self.west + np.arange(self.cols) + 0.5) / self.per_degree

    def index(self, lat, lon) -> np.ndarray:
        """Flat index of the box of each point; -1 outside."""
        y = np.floor(np.asarray(lat) * self.per_degree).astype(int) - self.south
        x = np.floor(np.asarray(lon) * self.per_degree).astype(int) - self.west
        inside = (y >= 0) & (y < self.rows) & (x >= 0) & (x < self.cols)
        return np.where(inside, y * self.cols + x, -1)


def window_centres(world: World) -> tuple[np.ndarray, np.ndarray]:
    """Latitude and longitude of all the window's cells, flat."""
    s = world.settings
    row, col = np.divmod(np.arange(s.window_size**2), s.window_size)
    return M09.centre(s.window_row + row, s.window_col + col)


def benchmark_rain(world: World, boxes: Boxes, name: str) -> np.ndarray:
    """Box means of the true rain with lognormal errors and missed days: (n_days, rows, cols) mm."""
    rain = world.weather.rain_grid[world.days]
    box = boxes.index(*window_centres(world))
    total = np.zeros((len(rain), boxes.rows * boxes.cols))
    np.add.at(total.T, box, rain.T)
    count = np.bincount(box, minlength=total.shape[1])
    sd, missed = world.settings.gauge_error
    rng = stream(world.settings.seed, name)
    factor = lognormal(rng, sd, total.shape) * (rng.random(total.shape) > missed)
    with np.errstate(invalid="ignore"):
        mean = total / count * factor
    return np.where(count > 0, mean, np.nan).reshape(-1, boxes.rows, boxes.cols)


def write_precipitation(world: World, raw: Path) -> int:
    """Write the 0.25-degree benchmark (NetCDF; text for a month) and a 0.1-degree alternative."""
    boxes = Boxes.over(world, 4)
    rain = benchmark_rain(world, boxes, "gauge rain")
    n = _write_years(world, raw / "cgdpa" / "netcdf", "CGDPA_0.25_{}.nc", "pre", "mm/day",
                     "daily precipitation", boxes, rain)  # fmt: skip
    n += _write_text(world, raw / "cgdpa" / "text", boxes, rain)
    fine = Boxes.over(world, 10)
    rain = benchmark_rain(world, fine, "gauge rain 0.1 degree")
    return n + _write_years(
        world, raw / "precipitation_01deg", "PRE_0.10_{}.nc", "pre", "mm/day",
        "daily precipitation", fine, rain,
    )  # fmt: skip


def _write_text(world: World, folder: Path, boxes: Boxes, rain: np.ndarray) -> int:
    """ESRI ASCII grids, north row first, one a day of one month."""
    folder.mkdir(parents=True, exist_ok=True)
    dates = world.dates[world.days]
    year, month = join_month(world.period)
    chosen = np.flatnonzero(dates.astype("datetime64[M]") == np.datetime64(f"{year}-{month:02d}"))
    size = 1 / boxes.per_degree
    header = (
        f"ncols {boxes.cols}\nnrows {boxes.rows}\nxllcorner {boxes.west * size}\n"
        f"yllcorner {boxes.south * size}\ncellsize {size}\nNODATA_value -9999\n"
    )
    for day in chosen:
        values = np.where(np.isfinite(rain[day]), rain[day], FILL)[::-1]
        lines = "\n".join(" ".join(f"{v:.2f}" for v in row) for row in values)
        name = f"SURF_CLI_CHN_PRE_DAY_GRID_0.25-{str(dates[day]).replace('-', '')}.txt"
        (folder / name).write_text(header + lines + "\n")
    return chosen.size


def benchmark_latent_heat(world: World, boxes: Boxes) -> np.ndarray:
    """True latent heat with AR(1) errors, by box: (n_days, rows, cols) W m-2."""
    cells, stations = world.cells, world.stations
    lat, lon = M09.centre(cells.row, cells.col)
    box = np.concatenate([boxes.index(lat, lon), boxes.index(stations.lat, stations.lon)])
    cell = np.concatenate([np.arange(cells.row.size), stations.cell])
    pairs = np.unique(np.stack([box, cell], axis=1)[box >= 0], axis=0)
    n_days = world.dates.size
    used, inverse, count = np.unique(pairs[:, 0], return_inverse=True, return_counts=True)
    mean = np.zeros((n_days, used.size))
    np.add.at(mean.T, inverse, world.true_latent_heat[:, pairs[:, 1]].T)
    mean /= count
    sd, rho = world.settings.latent_heat_error_wm2
    rng = stream(world.settings.seed, "latent heat benchmark")
    amplitude = sd * rng.uniform(0.5, 1.5, used.size)
    noise = autoregressive(rng.standard_normal(mean.shape), rho=rho)
    out = np.full((n_days, boxes.rows * boxes.cols), np.nan)
    out[:, used] = mean + amplitude * noise
    return out[world.days].reshape(-1, boxes.rows, boxes.cols)


def write_latent_heat(world: World, folder: Path) -> int:
    """Write FLUXCOM-like daily latent heat, MJ m-2 d-1, north row first, one file a year."""
    boxes = Boxes.over(world, 12)
    values = MJ_PER_DAY * benchmark_latent_heat(world, boxes)
    name = "LE.RS.EBC-ALL.MLM-ALL.METEO-NONE.4320_2160.daily.{}.nc"
    return _write_years(world, folder, name, "LE", "MJ m-2 d-1", "latent energy", boxes, values,
                        north_first=True)  # fmt: skip


def _write_years(
    world, folder, name, variable, units, long_name, boxes, values, *, north_first=False
) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    dates = world.dates[world.days]
    years = dates.astype("datetime64[Y]")
    flip = slice(None, None, -1) if north_first else slice(None)
    for year in np.unique(years):
        chosen = years == year
        with netCDF4.Dataset(folder / name.format(year), "w", format="NETCDF4") as f:
            f.title = "Synthetic twin experiment, no observation"
            f.createDimension("time", int(chosen.sum()))
            f.createDimension("lat", boxes.rows)
            f.createDimension("lon", boxes.cols)
            time = f.createVariable("time", "f8", ("time",))
            time.units, time.calendar = f"days since {year}-01-01 00:00:00", "standard"
            time[:] = (dates[chosen] - np.datetime64(year, "D")).astype(int)
            for axis, centres, unit in (
                ("lat", boxes.lat[flip], "degrees_north"),
                ("lon", boxes.lon, "degrees_east"),
            ):
                coordinate = f.createVariable(axis, "f8", (axis,))
                coordinate.units = unit
                coordinate[:] = centres
            data = f.createVariable(
                variable, "f4", ("time", "lat", "lon"), fill_value=FILL, zlib=True, complevel=1
            )
            data.units, data.long_name = units, long_name
            data[:] = np.where(np.isfinite(values[chosen]), values[chosen], FILL)[:, flip]
    return np.unique(years).size
