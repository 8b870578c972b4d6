"""The true soil: a seven-layer column in three-hour steps (SCIENCE 16.2)."""

from __future__ import annotations

import numba
import numpy as np

THICKNESS_MM = np.array([50.0, 50.0, 100.0, 100.0, 100.0, 100.0, 500.0])
CENTRE_CM = np.array([2.5, 7.5, 15.0, 25.0, 35.0, 45.0, 75.0])
ROOTS = np.array([0.10, 0.12, 0.20, 0.18, 0.14, 0.11, 0.15])
# shares (x 8) of a day's evaporation by UTC step; local noon is near 04 UTC
DIURNAL = np.roll(np.array([0.0, 0.2, 0.9, 1.6, 2.2, 1.9, 1.0, 0.2]), -3)
STEP_DAYS = 0.125
WM2_PER_MM_D = 28.94


@numba.njit(cache=True, inline="always")
def hydraulics(clay):
    """Porosity, field capacity, wilting point (m3 m-3), drainage time (days) of a clay fraction."""
    return 0.40 + 0.12 * clay, 0.16 + 0.38 * clay, 0.03 + 0.32 * clay, 0.25 * (1 + 5 * clay)


@numba.njit(cache=True, inline="always")
def clamp(value, low, high):
    return min(max(value, low), high)


@numba.njit(parallel=True, cache=True)
def run_columns(rain, slot, pet, lai, clay_top, clay_sub, kappa, thickness, roots, diurnal):
    """Run independent columns through the days.

    Args:
        rain, pet: (n_days, n) mm/d. lai: (n_days, n).
        slot: (n_days, n) first of the two 3-h slots in which the day's rain falls.
        clay_top, clay_sub: (n,) fractions above and below 30 cm. kappa: (n,) exchange, mm/d.

    Returns:
        water: (n, n_days * 8 + 1, 7) float32 m3 m-3 at the steps' ends, first guess in front.
        latent_heat: (n, n_days * 8) float32 W m-2, mean of each step.
    """
    n_days, n = rain.shape
    water = np.empty((n, n_days * 8 + 1, 7), dtype=np.float32)
    latent_heat = np.empty((n, n_days * 8), dtype=np.float32)
    for c in numba.prange(n):
        por, fc, wp = np.empty(7), np.empty(7), np.empty(7)
        drain, exchange, theta = np.empty(7), np.empty(6), np.empty(7)
        for k in range(7):
            clay = clay_top[c] if k < 4 else clay_sub[c]
            por[k], fc[k], wp[k], tau = hydraulics(clay)
            drain[k] = 1 - np.exp(-STEP_DAYS / tau)
            theta[k] = 0.6 * fc[k] + 0.4 * wp[k]
            water[c, 0, k] = theta[k]
        for k in range(6):
            reach = np.sqrt(50.0 / np.sqrt(thickness[k] * thickness[k + 1]))
            exchange[k] = kappa[c] * STEP_DAYS * reach
        wetness = np.empty(7)
        for day in range(n_days):
            vegetation = 1 - np.exp(-0.5 * lai[day, c])
            first = slot[day, c]
            for step in range(8):
                fall = 0.0
                if step == first:
                    fall = 0.6 * rain[day, c]
                elif step == first + 1:
                    fall = 0.4 * rain[day, c]
                s1 = clamp((theta[0] - wp[0]) / (por[0] - wp[0]), 0.0, 1.0)
                theta[0] += fall * (1 - s1**4) / thickness[0]
                for k in range(7):
                    out = max(theta[k] - fc[k], 0.0) * drain[k] + 0.9 * max(theta[k] - por[k], 0.0)
                    theta[k] -= out
                    if k < 6:
                        theta[k + 1] += out * thickness[k] / thickness[k + 1]
                for k in range(7):
                    wetness[k] = (theta[k] - wp[k]) / (por[k] - wp[k])
                for k in range(6):
                    q = exchange[k] * (wetness[k] - wetness[k + 1])
                    theta[k] -= q / thickness[k]
                    theta[k + 1] += q / thickness[k + 1]
                demand = pet[day, c] * diurnal[step] * STEP_DAYS
                sf = clamp((theta[0] - wp[0]) / (fc[0] - wp[0]), 0.0, 1.0)
                total = demand * (1 - vegetation) * sf
                for k in range(7):
                    available = clamp((theta[k] - wp[k]) / (fc[k] - wp[k]) / 0.6, 0.0, 1.0)
                    taken = demand * vegetation * roots[k] * available
                    if k == 0:
                        taken += 0.8 * demand * (1 - vegetation) * sf
                    elif k == 1:
                        taken += 0.2 * demand * (1 - vegetation) * sf
                    theta[k] -= taken / thickness[k]
                    total += demand * vegetation * roots[k] * available
                t = day * 8 + step
                for k in range(7):
                    theta[k] = clamp(theta[k], 0.6 * wp[k], por[k])
                    water[c, t + 1, k] = theta[k]
                latent_heat[c, t] = total / STEP_DAYS * WM2_PER_MM_D
    return water, latent_heat


def soil_columns(rain, slot, pet, lai, clay_top, clay_sub, kappa):
    """`run_columns` with the column's fixed geometry."""
    given = (rain, slot, pet, lai, clay_top, clay_sub, kappa)
    return run_columns(*map(np.ascontiguousarray, given), THICKNESS_MM, ROOTS, DIURNAL)
