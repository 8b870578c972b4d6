"""Daily weather: rain (true, the model's, local), evaporative demand, soil temperature, LAI."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import gammaincinv, ndtr

from ingest.twin.geography import Cells, Climate, Pixels, Stations, pixel_mean
from ingest.twin.random_fields import autoregressive, daily_fields, lognormal, stream
from ingest.twin.settings import TwinSettings

SLOTS = 8  # three-hour steps of a UTC day
STORM = (0.6, 0.4)  # shares of a day's rain in two consecutive slots


@dataclass(frozen=True)
class Weather:
    """Daily fields, (n_days, ...), on the window (`_grid`), cells, pixels or stations."""

    rain_grid: np.ndarray  # mm/d, truth, float32
    lai_grid: np.ndarray  # truth, float32
    lai_climatology: np.ndarray  # (n_days, n_cells)
    rain: np.ndarray
    rain_model: np.ndarray
    slot: np.ndarray  # first slot of the day's storm
    slot_model: np.ndarray
    rain_surroundings: np.ndarray  # (n_days, n_pixels)
    rain_station: np.ndarray  # (n_days, n_stations)
    pet: np.ndarray  # mm/d
    pet_model: np.ndarray
    pet_station: np.ndarray
    soil_temperature: np.ndarray  # K
    soil_temperature_model: np.ndarray


def season(day_of_year: np.ndarray) -> np.ndarray:
    """cos(2 pi (doy - 200) / 365): one in mid-July, minus one in mid-January."""
    return np.cos(2 * np.pi * (day_of_year - 200) / 365)


def lai_season(day_of_year: np.ndarray) -> np.ndarray:
    return 1 + 0.55 * season(day_of_year)


def rain_on_grid(s: TwinSettings, climate: Climate, doy: np.ndarray) -> tuple[np.ndarray, float]:
    """True daily rain of the window, mm (SCIENCE 16.2), and the monsoon's amplitude by day.

    A two-state Markov chain says where it rains, gamma(0.7) how much; both follow spatial fields.
    """
    rng = stream(s.seed, "rain")
    monsoon = np.exp(0.9 * season(doy))
    monsoon /= monsoon.mean()
    chance = np.clip((0.10 + 0.25 * climate.wetness) * np.sqrt(monsoon)[:, None], 0.02, 0.75)
    n, size = doy.size, s.window_size
    occurrence = ndtr(daily_fields(rng, n + 1, size, length_km=s.rain_length_km))
    wet = np.empty((n, size * size), dtype=bool)
    before = occurrence[n] < 0.3
    for day in range(n):
        p = np.where(before, chance[day] + 0.25 * (1 - chance[day]), 0.75 * chance[day])
        before = occurrence[day] < np.clip(p, 0, 0.95)
        wet[day] = before
    amount = gamma_amount(daily_fields(rng, n, size, length_km=s.rain_length_km))
    rain = wet * amount * np.sqrt(monsoon)[:, None]
    yearly = np.maximum(rain.sum(axis=0) / n * 365, 1.0)  # a short period may be dry somewhere
    rain *= climate.annual_rain_mm / yearly
    return rain.astype(np.float32), monsoon


def gamma_amount(normal: np.ndarray) -> np.ndarray:
    """Gamma(0.7) amounts of mean one from standard normal scores, by quantile."""
    score = np.linspace(-6, 6, 2401)
    return np.interp(normal, score, gammaincinv(0.7, ndtr(score)) / 0.7)


def make_weather(
    s: TwinSettings, climate: Climate, cells: Cells, pixels: Pixels, stations: Stations, doy
) -> Weather:
    """All daily forcing of truth, model, stations and surroundings (SCIENCE 16.1-16.3)."""
    n, size, here = doy.size, s.window_size, cells.place
    shape = (n, here.size)
    grid, monsoon = rain_on_grid(s, climate, doy)
    rain = grid[:, here].astype(np.float64)
    swing = season(doy)[:, None]

    def field(name: str, length_km: float, rho: float | None = None) -> np.ndarray:
        values = daily_fields(stream(s.seed, name), n, size, length_km=length_km)[:, here]
        return values if rho is None else autoregressive(values, rho=rho)

    def chance(name: str, length_km: float) -> np.ndarray:
        return ndtr(field(name, length_km).astype(np.float64))

    # the model's rain: right on average, wrong by the day
    eps, near = climate.error_level[here], s.error_length_km
    sd = 0.2 + 0.9 * eps
    wrong = np.clip(0.45 * eps, 0, 0.6)
    p_wet = np.clip((0.10 + 0.25 * climate.wetness[here]) * np.sqrt(monsoon)[:, None], 0.02, 0.75)
    factor = np.exp(sd * field("rain error", near) - sd**2 / 2)
    model = rain * factor * (chance("missed rain", near) > wrong)
    false_alarm = (rain == 0) & (chance("false rain", near) < wrong * p_wet)
    typical = rain.sum(axis=0) / np.maximum((rain > 0).sum(axis=0), 1)
    invented = gamma_amount(field("false amount", near)) * np.sqrt(monsoon)[:, None] * typical
    model = np.where(false_alarm, invented, model)
    model *= rain.sum(axis=0) / np.maximum(model.sum(axis=0), 1)

    # both fall in the same two slots, one day in five the model's storm is 3 h early or late
    slot = np.minimum((7 * chance("storm", s.rain_length_km)).astype(np.int64), 6)
    shift = stream(s.seed, "storm shift").choice([-1, 0, 1], size=shape, p=[0.1, 0.8, 0.1])

    # a station and the surroundings have rain of their own
    def scattered(base: np.ndarray, sd: np.ndarray, name: str) -> np.ndarray:
        rng = stream(s.seed, name)
        return base * lognormal(rng, sd, base.shape) * (rng.random(base.shape) > 0.10 * sd)

    around = pixel_mean(
        rain, pixels
    )  # the scatter alone stands for rain that differs inside a pixel

    # evaporative demand and temperature
    demand = np.clip((2.6 + 1.9 * swing) * (1 + 0.25 * (0.5 - climate.wetness[here])), 0.2, None)
    radiation = 0.22 * field("radiation", s.weather_length_km, 0.6)
    error = cells.pet_error * field("radiation error", near, 0.6)
    lat = climate.virtual_lat[here]
    soil_t = 290 - 0.55 * (lat - 33) + (6 + 0.28 * (lat - 20)) * swing
    soil_t = soil_t + 2.0 * field("temperature", s.weather_length_km, 0.7)
    pet = demand * np.exp(radiation - 0.25 * (rain > 0))
    rng = stream(s.seed, "station demand")
    local = 0.15 * autoregressive(rng.standard_normal((n, stations.cell.size)), rho=0.5)

    lai_noise = daily_fields(stream(s.seed, "lai"), n, size, length_km=s.rain_length_km)
    lai_anomaly = np.exp(climate.lai_variability * autoregressive(lai_noise, rho=0.97))
    lai = climate.lai_mean * lai_season(doy)[:, None]
    return Weather(
        rain_grid=grid,
        lai_grid=(lai * lai_anomaly).astype(np.float32),
        lai_climatology=lai[:, here],
        rain=rain,
        rain_model=model,
        slot=slot,
        slot_model=np.clip(slot + shift, 0, SLOTS - 2),
        rain_surroundings=scattered(around, pixels.rain_scatter, "surroundings rain"),
        rain_station=scattered(rain[:, stations.cell], stations.rain_scatter, "station rain"),
        pet=pet,
        pet_model=demand * np.exp(radiation + error - 0.25 * (model > 0)),
        pet_station=pet[:, stations.cell] * np.exp(local),
        soil_temperature=soil_t,
        soil_temperature_model=soil_t + field("temperature error", near, 0.5),
    )
