"""The twin experiment in memory: truth, open loop, observations, assimilation run, stations."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import numpy as np

from ingest.twin.geography import (
    Cells,
    Climate,
    Pixels,
    Stations,
    make_climate,
    pixel_mean,
    place_cells,
    place_stations,
)
from ingest.twin.model_ensemble import (
    ASCENDING,
    DESCENDING,
    PASS_STEPS,
    Forcing,
    Parameters,
    Run,
    run_ensemble,
)
from ingest.twin.radiative_transfer import radiometer
from ingest.twin.random_fields import autoregressive, entity_seeds, stream
from ingest.twin.settings import TwinSettings
from ingest.twin.soil_column import THICKNESS_MM, soil_columns
from ingest.twin.weather import Weather, make_weather

Period = tuple[dt.date, dt.date]
DEFAULT_PERIOD: Period = (dt.date(2017, 1, 1), dt.date(2018, 12, 31))
FROZEN_K = 274.0
REPEAT = {ASCENDING: (0, 1, 0, 0, 1, 0, 0, 1), DESCENDING: (1, 0, 0, 1, 0, 0, 1, 0)}  # of 8 days


@dataclass(frozen=True)
class World:
    """All the twin knows. Day arrays include the spin-up; `first_day` is the period's first."""

    settings: TwinSettings
    period: Period
    dates: np.ndarray  # datetime64[D], spin-up included
    day_of_year: np.ndarray  # 0..364, 29 February counts as the 28th
    first_day: int
    climate: Climate
    cells: Cells
    pixels: Pixels
    stations: Stations
    weather: Weather
    true_surface: np.ndarray  # (n_days, n_cells) 0-5 cm
    true_rootzone: np.ndarray  # (n_days, n_cells) 0-100 cm
    true_latent_heat: np.ndarray  # (n_days, n_cells) W m-2
    model: Parameters
    open_loop: Run
    assimilation: Run
    frozen: np.ndarray  # (n_days, n_pixels)
    tb_obs: np.ndarray  # (n_days, n_pixels, 2, 2) K: overpass, polarisation
    tb_assim: np.ndarray  # the same, rescaled to the open loop
    station_water: (
        np.ndarray
    )  # (n_stations, n_steps + 1, 5) float32, 0-10 .. 40-50 cm, at step ends
    station_error: np.ndarray  # (n_days, n_stations, 5) added all day
    station_gap: np.ndarray  # (n_days, n_stations) no data that day

    @property
    def days(self) -> slice:
        """The study period within the day axis."""
        return slice(self.first_day, len(self.dates))

    def daily_stations(self) -> np.ndarray:
        """Daily in situ layers of the period, (n_days, n_stations, 5) m3 m-3, nan in gaps."""
        steps = 0.5 * (self.station_water[:, 1:] + self.station_water[:, :-1])
        n, _, layers = steps.shape
        daily = steps.reshape(n, -1, 8, layers).mean(axis=2).transpose(1, 0, 2)
        daily = np.where(self.station_gap[:, :, None], np.nan, daily + self.station_error)
        return daily[self.days]


def pooled_climatology(values, day_of_year, *, half_window: int = 15, min_count: int = 8):
    """Mean over all valid days within 15 days of the year's day, all years pooled.

    Args:
        values: (n_days, ...), nan where missing. day_of_year: (n_days,) 0..364.

    Returns:
        (n_days, ...), nan below `min_count` values.
    """
    valid = np.isfinite(values)
    shape = (365, *values.shape[1:])
    total, count = np.zeros(shape), np.zeros(shape)
    np.add.at(total, day_of_year, np.where(valid, values, 0.0))
    np.add.at(count, day_of_year, valid)

    def window(x):
        wrapped = np.concatenate([x[-half_window:], x, x[:half_window]])
        sums = np.cumsum(np.concatenate([np.zeros((1, *shape[1:])), wrapped]), axis=0)
        width = 2 * half_window + 1
        return sums[width:] - sums[:-width]

    total, count = window(total), window(count)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(count >= min_count, total / count, np.nan)[day_of_year]


def calendar(settings: TwinSettings, period: Period) -> tuple[np.ndarray, np.ndarray]:
    """Dates from the start of the spin-up to the period's last day, and their day of the year."""
    start, end = period
    if end < start:
        raise ValueError(f"the period ends ({end}) before it starts ({start})")
    first = np.datetime64(start) - settings.spin_up_days
    dates = np.arange(first, np.datetime64(end) + 1)
    year = dates.astype("datetime64[Y]")
    doy = (dates - year.astype("datetime64[D]")).astype(int)
    leap = (year + 1).astype("datetime64[D]") - year.astype("datetime64[D]") == 366
    return dates, doy - (leap & (doy >= 59))


def simulate(settings: TwinSettings, period: Period = DEFAULT_PERIOD) -> World:
    """Simulate truth, errors, observations and both runs; the same settings give the same world.

    Args:
        settings: the twin's settings.
        period: first and last UTC day, both included.
    """
    s = settings
    dates, doy = calendar(s, period)
    climate = make_climate(s)
    cells, pixels = place_cells(s, climate)
    stations = place_stations(s, climate, cells)
    weather = make_weather(s, climate, cells, pixels, stations, doy)

    here = cells.place
    lai = weather.lai_grid[:, here].astype(np.float64)
    soil = climate.clay_top[here], climate.clay_sub[here], climate.kappa_mm_d[here]
    water, latent_heat = soil_columns(weather.rain, weather.slot, weather.pet, lai, *soil)
    steps = 0.5 * (water[:, 1:] + water[:, :-1])
    root = steps @ (THICKNESS_MM / THICKNESS_MM.sum()).astype(np.float32)

    frozen, tb_obs = observe(s, climate, cells, pixels, weather, lai, overpass(water[..., 0]))

    clay = 0.3 * climate.clay_top[here] + 0.7 * climate.clay_sub[here]
    model = Parameters(
        clay=clay,
        drainage_factor=cells.drainage_factor,
        kappa=climate.kappa_mm_d[here] * np.exp(cells.log_coupling_bias),
        h_min=climate.roughness_min[here],
        h_max=climate.roughness_max[here],
        porosity_ratio=cells.porosity_ratio,
    )
    forcing = Forcing(
        weather.rain_model,
        weather.slot_model,
        weather.pet_model,
        weather.lai_climatology,
        weather.soil_temperature_model,
    )
    keys = np.stack([pixels.row36, pixels.col36], axis=1)
    seeds = entity_seeds(s.seed, "ensemble", keys)
    open_loop = run_ensemble(forcing, model, pixels.first, seeds, settings=s)
    tb_assim = rescale(tb_obs, open_loop.tb_forecast, doy)
    assimilation = run_ensemble(forcing, model, pixels.first, seeds, settings=s, tb_assim=tb_assim)
    station_water, station_error, station_gap = instrument(s, stations, weather, lai)
    return World(
        settings=s,
        period=period,
        dates=dates,
        day_of_year=doy,
        first_day=s.spin_up_days,
        climate=climate,
        cells=cells,
        pixels=pixels,
        stations=stations,
        weather=weather,
        true_surface=daily_mean(steps[..., 0]),
        true_rootzone=daily_mean(root),
        true_latent_heat=daily_mean(latent_heat),
        model=model,
        open_loop=open_loop,
        assimilation=assimilation,
        frozen=frozen,
        tb_obs=tb_obs,
        tb_assim=tb_assim,
        station_water=station_water,
        station_error=station_error,
        station_gap=station_gap,
    )


def daily_mean(steps: np.ndarray) -> np.ndarray:
    """(n, n_days * 8) three-hourly to (n_days, n) daily means."""
    return steps.reshape(len(steps), -1, 8).mean(axis=2, dtype=np.float64).T


def overpass(surface: np.ndarray) -> np.ndarray:
    """(n, n_steps + 1) states at step ends to (n_days, n, 2) states at the two overpasses."""
    return surface[:, 1:].reshape(len(surface), -1, 8)[:, :, PASS_STEPS].transpose(1, 0, 2)


def observe(s: TwinSettings, climate: Climate, cells, pixels, weather: Weather, lai, surface):
    """Frozen days and every pixel's Tb: a quarter from its cells, the rest from surroundings."""

    def mean(values):
        return pixel_mean(values, pixels)

    here, n_pixels = cells.place, pixels.row36.size
    temperature, lai_pixel = mean(weather.soil_temperature), mean(lai)
    water, _ = soil_columns(
        weather.rain_surroundings,
        weather.slot[:, pixels.first[:-1]],
        mean(weather.pet),
        lai_pixel,
        mean(climate.clay_top[here]),
        mean(climate.clay_sub[here]),
        mean(climate.kappa_mm_d[here]),
    )
    h_min, h_max = climate.roughness_min[here], climate.roughness_max[here]
    wrong = pixels.roughness_factor
    owner = cells.pixel
    tb_cells = radiometer(
        np.ascontiguousarray(surface, dtype=np.float64),
        weather.soil_temperature,
        lai,
        h_min * wrong[owner],
        h_max * wrong[owner],
        pixels.b_true[owner],
        pixels.omega_true[owner],
    )
    tb_around = radiometer(
        np.ascontiguousarray(overpass(water[..., 0]), dtype=np.float64),
        temperature,
        lai_pixel,
        mean(h_min) * wrong,
        mean(h_max) * wrong,
        pixels.b_true,
        pixels.omega_true,
    )
    share = s.pixel_share
    tb = share * pixel_mean(tb_cells, pixels, axis=1) + (1 - share) * tb_around
    rng = stream(s.seed, "radiometer")
    noise = 0.6 * rng.standard_normal((*tb.shape[:3], 1)) + 0.8 * rng.standard_normal(tb.shape)
    tb = tb + pixels.tb_noise_k[:, None, None] * noise

    frozen = (temperature < FROZEN_K) | (mean(weather.soil_temperature_model) < FROZEN_K)
    offset = rng.integers(0, 8, n_pixels)
    phase = (np.arange(len(tb))[:, None] + offset) % 8
    for which, pattern in REPEAT.items():
        seen = np.array(pattern, dtype=bool)[phase] & ~frozen
        tb[:, :, which] = np.where(seen[:, :, None], tb[:, :, which], np.nan)
    return frozen, tb


def rescale(tb_obs: np.ndarray, tb_model: np.ndarray, day_of_year: np.ndarray) -> np.ndarray:
    """Give the observations the open loop's seasonal mean, by species: y - C31(y) + C31(Hx)."""
    matched = np.where(np.isfinite(tb_obs), tb_model, np.nan)
    observed = pooled_climatology(tb_obs, day_of_year)
    return tb_obs - observed + pooled_climatology(matched, day_of_year)


def instrument(s: TwinSettings, stations: Stations, weather: Weather, lai: np.ndarray):
    """What the stations' five sensors see: a column of their own, sensor errors, gaps."""
    cell = stations.cell
    water, _ = soil_columns(
        weather.rain_station,
        weather.slot[:, cell],
        weather.pet_station,
        lai[:, cell] * stations.lai_factor,
        stations.clay_top,
        stations.clay_sub,
        stations.kappa_mm_d,
    )
    top = 0.5 * (water[..., :1] + water[..., 1:2])
    layers = np.concatenate([top, water[..., 2:6]], axis=2)
    rng = stream(s.seed, "sensors")
    n_days, n = weather.rain_station.shape
    white_top, white = s.sensor_noise_m3m3
    error = white * rng.standard_normal((n_days, n, 5))
    error[:, :, 0] = white / np.sqrt(2) * rng.standard_normal((n_days, n))
    error[:, :, 0] += white_top * rng.standard_normal((n_days, n))
    spread = daily_mean(water[:, 1:, 0]).std(axis=0)
    drift = autoregressive(rng.standard_normal((n_days, n)), rho=0.8)
    error += (stations.drift_amplitude * spread * drift)[:, :, None]
    gap = rng.random((n_days, n)) < s.gap_share
    reporting = slice(s.spin_up_days + 30, s.spin_up_days + 90)
    for station, defect in enumerate(stations.defect):
        if defect == "short":
            silent = np.ones(n_days, dtype=bool)
            silent[reporting] = False
            gap[:, station] |= silent
    return layers, error, gap
