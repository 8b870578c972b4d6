"""Where the cells, pixels and stations lie, and what soil, climate and errors they have.

The climate of 78-130 E, 50-20 N (dry north-west to wet south-east) is squeezed into the window:
`virtual` longitude and latitude drive the physics, the real ones come from the EASE-Grid cell.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ingest.grid import M09, unproject
from ingest.twin.random_fields import lognormal, smooth_field, stream
from ingest.twin.settings import TwinSettings

DEFECTS = ("short", "short", "fractions", "tenths")  # what real networks also contain


@dataclass(frozen=True)
class Climate:
    """Static fields on the whole window, flat arrays in row-major order."""

    virtual_lat: np.ndarray
    density: np.ndarray  # how likely a station is
    wetness: np.ndarray
    annual_rain_mm: np.ndarray
    error_level: np.ndarray  # eps of the model's precipitation
    lai_mean: np.ndarray
    lai_variability: np.ndarray
    clay_top: np.ndarray
    clay_sub: np.ndarray
    kappa_mm_d: np.ndarray
    roughness_max: np.ndarray
    roughness_min: np.ndarray


@dataclass(frozen=True)
class Cells:
    """Simulated M09 cells, sorted by their 36-km pixel; `place` is the flat index in the window."""

    row: np.ndarray
    col: np.ndarray
    place: np.ndarray
    pixel: np.ndarray  # index into Pixels
    log_coupling_bias: np.ndarray
    drainage_factor: np.ndarray
    pet_error: np.ndarray
    porosity_ratio: np.ndarray


@dataclass(frozen=True)
class Pixels:
    """Observed 36-km pixels; `first[i]:first[i + 1]` are the cells of pixel i."""

    row36: np.ndarray
    col36: np.ndarray
    first: np.ndarray
    places: np.ndarray  # (n, 16) flat window indices of its M09 cells, on which its Tb is posted
    tb_noise_k: np.ndarray
    rain_scatter: np.ndarray
    roughness_factor: np.ndarray
    b_true: np.ndarray
    omega_true: np.ndarray


@dataclass(frozen=True)
class Stations:
    """Stations, sorted by cell; `cell` indexes Cells."""

    station_id: list[str]
    network: list[str]
    cell: np.ndarray
    lat: np.ndarray
    lon: np.ndarray
    elevation_m: np.ndarray
    rain_scatter: np.ndarray
    clay_top: np.ndarray
    clay_sub: np.ndarray
    kappa_mm_d: np.ndarray
    lai_factor: np.ndarray
    drift_amplitude: np.ndarray
    defect: list[str]  # "", "short" (60 days), "fractions" or "tenths" (wrong units)


def make_climate(s: TwinSettings) -> Climate:
    """Climate, soil and error levels of every cell of the window (SCIENCE 16.1)."""
    step = (np.arange(s.window_size) + 0.5) / s.window_size
    lat, lon = (a.ravel() for a in np.meshgrid(50 - 30 * step, 78 + 52 * step, indexing="ij"))
    rng = stream(s.seed, "climate")
    n = lon.size

    def field(length_deg: float) -> np.ndarray:
        return smooth_field(rng, lon, lat, length_deg=length_deg)

    u = np.clip(0.6 * (lon - 75) / 60 + 0.6 * (50 - lat) / 32, 0, 1)
    wet = np.clip(u + 0.1 * field(6), 0.03, 1.05)
    low, high = s.precipitation_error_range
    eps = low + (high - low) * np.clip(1 - wet, 0, 1) ** 1.2
    eps = np.clip(eps + 0.12 * field(3) + 0.05 * rng.standard_normal(n), 0.05, 1.1)
    if s.precipitation_error_level is not None:
        eps = np.full(n, s.precipitation_error_level)
    lai = np.clip(0.4 + 3.2 * wet**1.5 + 0.5 * field(4), 0.2, 5.5)
    lai_sd = np.clip(0.08 + 0.06 * field(4) + 0.05 * rng.standard_normal(n), 0.02, 0.35)
    top = np.clip(0.22 + 0.07 * field(4) + 0.04 * rng.standard_normal(n), 0.05, 0.55)
    step_down = np.clip(0.03 + 0.05 * field(2) + 0.05 * rng.standard_normal(n), -0.12, 0.22)
    kappa = np.exp(np.log(s.kappa_mm_d) + 0.5 * field(3) + 0.3 * rng.standard_normal(n))
    h_max = np.clip(1.2 + 0.08 * rng.standard_normal(n) + 0.05 * field(2), 0.05, 1.9)
    return Climate(
        virtual_lat=lat,
        density=0.08 + u**1.5,
        wetness=wet,
        annual_rain_mm=150 + 1500 * wet**1.8,
        error_level=eps,
        lai_mean=lai,
        lai_variability=lai_sd,
        clay_top=top,
        clay_sub=np.clip(top + step_down, 0.05, 0.65),
        kappa_mm_d=kappa,
        roughness_max=h_max,
        roughness_min=h_max * rng.uniform(0.02, 0.1, n),
    )


def place_cells(s: TwinSettings, climate: Climate) -> tuple[Cells, Pixels]:
    """Choose pixels by station density, one cell in each; the other cells share these pixels."""
    rng = stream(s.seed, "cells")
    side = s.window_size
    local_row, local_col = np.divmod(np.arange(side * side), side)
    pixel_of = (local_row // 4) * (side // 4) + local_col // 4
    weight = np.bincount(pixel_of, weights=climate.density)
    n_pixels = min(round(0.8 * s.n_cells), int(0.9 * weight.size))
    # Efraimidis-Spirakis: weighted choice without replacement, as the n largest u^(1/w)
    chosen = np.argsort(-(rng.random(weight.size) ** (1 / weight)), kind="stable")[:n_pixels]
    order = rng.permuted(np.tile(np.arange(16), (weight.size, 1)), axis=1)
    extra = rng.choice(chosen, s.n_cells - n_pixels, p=weight[chosen] / weight[chosen].sum())
    taken = np.zeros(weight.size, dtype=int)
    places = []
    members = np.argsort(pixel_of, kind="stable").reshape(weight.size, 16)
    for pixel in [*chosen, *extra]:
        while taken[pixel] == 16:
            pixel = chosen[np.argmin(taken[chosen])]
        places.append(members[pixel, order[pixel, taken[pixel]]])
        taken[pixel] += 1
    places = np.array(places)
    places = places[np.lexsort((places, pixel_of[places]))]
    pixels, pixel_index = np.unique(pixel_of[places], return_inverse=True)
    n, k = s.n_cells, pixels.size
    cells = Cells(
        row=(s.window_row + local_row[places]).astype(np.int32),
        col=(s.window_col + local_col[places]).astype(np.int32),
        place=places,
        pixel=pixel_index.astype(np.int64),
        log_coupling_bias=rng.normal(*s.coupling_bias, n),
        drainage_factor=lognormal(rng, s.drainage_error, n),
        pet_error=rng.uniform(*s.pet_error, n),
        porosity_ratio=rng.uniform(*s.porosity_ratio, n),
    )
    return cells, Pixels(
        row36=s.window_row // 4 + pixels // (side // 4),
        col36=s.window_col // 4 + pixels % (side // 4),
        first=np.searchsorted(pixel_index, np.arange(k + 1)),
        places=members[pixels],
        tb_noise_k=rng.uniform(*s.tb_noise_k, k),
        rain_scatter=rng.uniform(*s.surroundings_rain_scatter, k),
        roughness_factor=lognormal(rng, s.roughness_error, k),
        b_true=0.10 * lognormal(rng, s.vegetation_error, k),
        omega_true=np.clip(0.07 * lognormal(rng, s.vegetation_error, k), 0.02, 0.15),
    )


def place_stations(s: TwinSettings, climate: Climate, cells: Cells) -> Stations:
    """Put stations into cells: one cell each with 3, 4 and 5, some with 2, most with 1."""
    rng = stream(s.seed, "stations")
    count = np.ones(s.n_cells, dtype=int)
    dense = rng.choice(
        s.n_cells, size=3 + s.n_stations - s.n_cells - 9, replace=False,
        p=climate.density[cells.place] / climate.density[cells.place].sum(),
    )  # fmt: skip
    count[dense] = 2
    count[dense[:3]] = (3, 4, 5)
    cell = np.repeat(np.arange(s.n_cells), count)
    n = cell.size
    x = M09.x0_m + (cells.col[cell] + rng.uniform(0.03, 0.97, n)) * M09.cell_m
    y = M09.y0_m - (cells.row[cell] + rng.uniform(0.03, 0.97, n)) * M09.cell_m
    lat, lon = unproject(x, y)
    place = cells.place[cell]
    defect = [""] * n
    alone = np.flatnonzero(count[cell] == 1)
    for station, kind in zip(rng.choice(alone, len(DEFECTS), replace=False), DEFECTS, strict=True):
        defect[station] = kind
    jitter = s.station_parameter_scatter
    median, spread = s.drift_amplitude
    return Stations(
        station_id=[f"T{i:04d}" for i in range(1, n + 1)],
        network=["TWIN_PLAIN" if v else "TWIN_HILL" for v in rng.random(n) < 0.6],
        cell=cell,
        lat=np.round(lat, 4),
        lon=np.round(lon, 4),
        elevation_m=np.round(1800 * (1 - climate.wetness[place]) + rng.uniform(20, 200, n), 1),
        rain_scatter=rng.uniform(*s.station_rain_scatter, n),
        clay_top=np.clip(climate.clay_top[place] * lognormal(rng, jitter, n), 0.04, 0.60),
        clay_sub=np.clip(climate.clay_sub[place] * lognormal(rng, jitter, n), 0.04, 0.65),
        kappa_mm_d=climate.kappa_mm_d[place] * lognormal(rng, jitter, n),
        lai_factor=lognormal(rng, jitter, n),
        drift_amplitude=median * np.exp(spread * rng.standard_normal(n)),
        defect=defect,
    )


def pixel_mean(values: np.ndarray, pixels: Pixels, *, axis: int = -1) -> np.ndarray:
    """Mean over the simulated cells of each pixel."""
    sums = np.add.reduceat(values, pixels.first[:-1], axis=axis)
    shape = [1] * values.ndim
    shape[axis] = -1
    return sums / np.diff(pixels.first).reshape(shape)
