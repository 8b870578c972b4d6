"""The land model's ensemble, with and without the assimilation of brightness temperature.

Two layers (0-5, 5-100 cm), 24 members; perturbed-observation ensemble Kalman filter by 36-km pixel:

    x_a = x + C_xy (C_yy + R)^-1 (y + e - Hx)

with x = (w1, w2) of every cell of the pixel and y = (Tb_h, Tb_v). Members share their perturbations
over a pixel (they reach far beyond 36 km in the real system), and the run without assimilation
draws the same numbers, so that only the update makes the difference.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np

from ingest.twin.radiative_transfer import (
    B_MODEL,
    COS,
    OMEGA_MODEL,
    brightness_temperature,
    roughness,
)
from ingest.twin.soil_column import DIURNAL, STEP_DAYS, WM2_PER_MM_D, clamp, hydraulics

UPPER_MM, LOWER_MM = 50.0, 950.0
PASS_STEPS = np.array([2, 6])  # steps that end at 09 UTC (18 h local) and 21 UTC (06 h local)
ASCENDING, DESCENDING = 0, 1  # their order in every (.., 2, ..) array


class Forcing(NamedTuple):
    """What drives the model: (n_days, n_cells) arrays."""

    rain: np.ndarray
    slot: np.ndarray
    pet: np.ndarray
    lai: np.ndarray
    temperature: np.ndarray


class Parameters(NamedTuple):
    """The model's own soil and roughness, (n_cells,) arrays."""

    clay: np.ndarray
    drainage_factor: np.ndarray
    kappa: np.ndarray
    h_min: np.ndarray
    h_max: np.ndarray
    porosity_ratio: np.ndarray


class Run(NamedTuple):
    """Ensemble means of one run."""

    surface: np.ndarray  # (n_cells, n_steps) float32, 0-5 cm, mean of each 3-h step
    rootzone: np.ndarray  # (n_cells, n_steps) float32, 0-100 cm
    latent_heat: np.ndarray  # (n_cells, n_steps) float32 W m-2
    tb_forecast: np.ndarray  # (n_days, n_pixels, 2, 2) K
    tb_spread: np.ndarray  # (n_days, n_pixels, 2, 2) K, ensemble sd
    surface_forecast: np.ndarray  # (n_days, n_cells, 2) just before the update
    surface_analysis: np.ndarray  # (n_days, n_cells, 2) just after


@numba.njit(parallel=True, cache=True)
def _run(
    forcing, par, first, seeds, tb, n_members, obs_error, rain_sd, noise1, noise2, diurnal, steps
):
    n_days, n_cells = forcing.rain.shape
    n_pixels = first.size - 1
    surface = np.empty((n_cells, n_days * 8), dtype=np.float32)
    rootzone = np.empty((n_cells, n_days * 8), dtype=np.float32)
    latent_heat = np.empty((n_cells, n_days * 8), dtype=np.float32)
    forecast = np.empty((n_days, n_pixels, 2, 2))
    spread = np.empty((n_days, n_pixels, 2, 2))
    before = np.empty((n_days, n_cells, 2), dtype=np.float32)
    after = np.empty((n_days, n_cells, 2), dtype=np.float32)
    for pixel in numba.prange(n_pixels):
        np.random.seed(seeds[pixel])
        start, k = first[pixel], first[pixel + 1] - first[pixel]
        w1, w2 = np.empty((k, n_members)), np.empty((k, n_members))
        log_rain = np.zeros(n_members)
        factor, e1, e2 = np.empty(n_members), np.empty(n_members), np.empty(n_members)
        y, e = np.empty((2, n_members)), np.empty((2, n_members))
        drain1, drain2 = np.empty(k), np.empty(k)
        previous1, previous2 = np.empty(k), np.empty(k)
        for i in range(k):
            por, fc, wp, tau = hydraulics(par.clay[start + i])
            tau *= par.drainage_factor[start + i]
            drain1[i] = 1 - np.exp(-STEP_DAYS / tau)
            drain2[i] = 1 - np.exp(-STEP_DAYS / (10 * tau))
            w1[i], w2[i] = 0.6 * fc + 0.4 * wp, 0.6 * fc + 0.4 * wp
            previous1[i], previous2[i] = w1[i, 0], w2[i, 0]
        for day in range(n_days):
            for m in range(n_members):
                log_rain[m] = 0.5 * log_rain[m] + np.sqrt(0.75) * np.random.standard_normal()
                factor[m] = np.exp(rain_sd * log_rain[m] - rain_sd**2 / 2)
            for step in range(8):
                t = day * 8 + step
                for m in range(n_members):
                    e1[m] = noise1 * np.random.standard_normal()
                    e2[m] = noise2 * np.random.standard_normal()
                for i in range(k):
                    c = start + i
                    por, fc, wp, tau = hydraulics(par.clay[c])
                    room, low = por - wp, 0.6 * wp
                    vegetation = 1 - np.exp(-0.5 * forcing.lai[day, c])
                    fall = 0.0
                    if step == forcing.slot[day, c]:
                        fall = 0.6 * forcing.rain[day, c]
                    elif step == forcing.slot[day, c] + 1:
                        fall = 0.4 * forcing.rain[day, c]
                    demand = forcing.pet[day, c] * diurnal[step] * STEP_DAYS
                    exchange = par.kappa[c] * STEP_DAYS
                    sum1, sum2, sum_le = 0.0, 0.0, 0.0
                    for m in range(n_members):
                        a, b = w1[i, m], w2[i, m]
                        s1 = clamp((a - wp) / room, 0.0, 1.0)
                        a += fall * factor[m] * (1 - s1**4) / UPPER_MM
                        out = max(a - fc, 0.0) * drain1[i] + 0.9 * max(a - por, 0.0)
                        a -= out
                        b += out * UPPER_MM / LOWER_MM
                        b -= max(b - fc, 0.0) * drain2[i]
                        q = exchange * (a - b) / room
                        a -= q / UPPER_MM
                        b += q / LOWER_MM
                        sf = (a - wp) / (fc - wp)
                        bare = demand * (1 - vegetation) * clamp(sf, 0.0, 1.0)
                        up = 0.15 * demand * vegetation * clamp(sf / 0.6, 0.0, 1.0)
                        sf = (b - wp) / (fc - wp)
                        down = 0.85 * demand * vegetation * clamp(sf / 0.6, 0.0, 1.0)
                        a = clamp(a - (bare + up) / UPPER_MM + e1[m], low, por)
                        b = clamp(b - down / LOWER_MM + e2[m], low, por)
                        w1[i, m], w2[i, m] = a, b
                        sum1 += a
                        sum2 += b
                        sum_le += bare + up + down
                    mean1, mean2 = sum1 / n_members, sum2 / n_members
                    half1, half2 = 0.5 * (previous1[i] + mean1), 0.5 * (previous2[i] + mean2)
                    surface[c, t] = half1
                    rootzone[c, t] = (UPPER_MM * half1 + LOWER_MM * half2) / 1000.0
                    latent_heat[c, t] = sum_le / n_members / STEP_DAYS * WM2_PER_MM_D
                    previous1[i], previous2[i] = mean1, mean2
                for passing in range(2):
                    if step != steps[passing]:
                        continue
                    # the pixel's Tb of each member: mean over its cells
                    y[:] = 0.0
                    for i in range(k):
                        c = start + i
                        gamma = np.exp(-B_MODEL * forcing.lai[day, c] / COS)
                        before[day, c, passing] = previous1[i]
                        for m in range(n_members):
                            w = w1[i, m] * par.porosity_ratio[c]
                            h = roughness(w, par.h_min[c], par.h_max[c])
                            tb_h, tb_v = brightness_temperature(
                                w, forcing.temperature[day, c], h, gamma, OMEGA_MODEL
                            )
                            y[0, m] += tb_h / k
                            y[1, m] += tb_v / k
                    mean_h, mean_v = y[0].mean(), y[1].mean()
                    c_hh = np.sum((y[0] - mean_h) ** 2) / (n_members - 1)
                    c_vv = np.sum((y[1] - mean_v) ** 2) / (n_members - 1)
                    c_hv = np.sum((y[0] - mean_h) * (y[1] - mean_v)) / (n_members - 1)
                    forecast[day, pixel, passing, 0] = mean_h
                    forecast[day, pixel, passing, 1] = mean_v
                    spread[day, pixel, passing, 0] = np.sqrt(c_hh)
                    spread[day, pixel, passing, 1] = np.sqrt(c_vv)
                    for q in range(2):  # drawn in every run: all runs share their perturbations
                        for m in range(n_members):
                            e[q, m] = obs_error * np.random.standard_normal()
                    obs_h, obs_v = tb[day, pixel, passing, 0], tb[day, pixel, passing, 1]
                    if np.isfinite(obs_h) and np.isfinite(obs_v):
                        c_hh += obs_error**2
                        c_vv += obs_error**2
                        det = c_hh * c_vv - c_hv * c_hv
                        for i in range(k):
                            por, fc, wp, tau = hydraulics(par.clay[start + i])
                            for layer in range(2):
                                x = w1[i] if layer == 0 else w2[i]
                                mean = x.mean()
                                x_h = np.sum((x - mean) * (y[0] - mean_h)) / (n_members - 1)
                                x_v = np.sum((x - mean) * (y[1] - mean_v)) / (n_members - 1)
                                gain_h = (x_h * c_vv - x_v * c_hv) / det
                                gain_v = (x_v * c_hh - x_h * c_hv) / det
                                for m in range(n_members):
                                    x[m] = clamp(
                                        x[m]
                                        + gain_h * (obs_h + e[0, m] - y[0, m])
                                        + gain_v * (obs_v + e[1, m] - y[1, m]),
                                        0.6 * wp,
                                        por,
                                    )
                            previous1[i], previous2[i] = w1[i].mean(), w2[i].mean()
                    for i in range(k):
                        after[day, start + i, passing] = previous1[i]
    return surface, rootzone, latent_heat, forecast, spread, before, after


def run_ensemble(
    forcing: Forcing, parameters: Parameters, first, seeds, *, settings, tb_assim=None
) -> Run:
    """Run every pixel's ensemble, assimilating `tb_assim` (n_days, n_pixels, 2, 2) where finite.

    Args:
        first: (n_pixels + 1,) cells `first[i]:first[i + 1]` belong to pixel i.
        seeds: (n_pixels,) one random seed a pixel: results depend on no other pixel and no thread.
    """
    if tb_assim is None:
        tb_assim = np.full((len(forcing.rain), first.size - 1, 2, 2), np.nan)
    return Run(
        *_run(
            Forcing(*map(np.ascontiguousarray, forcing)),
            Parameters(*map(np.ascontiguousarray, parameters)),
            first,
            seeds,
            tb_assim,
            settings.n_members,
            settings.obs_error_k,
            settings.rain_perturbation,
            settings.surface_noise_m3m3,
            settings.root_noise_m3m3,
            DIURNAL,
            PASS_STEPS,
        )
    )
