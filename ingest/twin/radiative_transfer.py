"""Brightness temperature of wet, rough, vegetated soil at 40 degrees: the tau-omega model.

    h(w)  roughness between hmax (dry, w <= wmin) and hmin (wet, w >= wmax), linear in between
    r_H* = r_H exp(-h cos),  r_V* = r_V exp(-h)                     Fresnel r, permittivity eps(w)
    gamma = exp(-tau / cos),  tau = b LAI
    Tb = T [(1 - r*) gamma + (1 - omega) (1 - gamma) (1 + r* gamma)]

Source: De Lannoy et al. 2013, doi:10.1175/JHM-D-12-092.1; SCIENCE section 3 and 16.3.
"""

from __future__ import annotations

import numba
import numpy as np

COS = np.cos(np.deg2rad(40.0))
SIN2 = np.sin(np.deg2rad(40.0)) ** 2
W_DRY, W_WET = 0.03, 0.30  # m3 m-3 where roughness starts and ends to fall
B_MODEL, OMEGA_MODEL = 0.10, 0.07


@numba.njit(cache=True)
def roughness(w, h_min, h_max):
    """Microwave roughness h of soil moisture w (m3 m-3)."""
    if w <= W_DRY:
        return h_max
    if w >= W_WET:
        return h_min
    return h_max + (h_min - h_max) / (W_WET - W_DRY) * (w - W_DRY)


@numba.njit(cache=True)
def brightness_temperature(w, temperature, h, gamma, omega):
    """Tb at H and V (K) of soil moisture w, soil temperature, roughness h, canopy gamma, omega."""
    eps = 3.03 + w * (9.3 + w * (146.0 - 76.7 * w))
    root = np.sqrt(eps - SIN2)
    r_h = ((COS - root) / (COS + root)) ** 2 * np.exp(-h * COS)
    r_v = ((eps * COS - root) / (eps * COS + root)) ** 2 * np.exp(-h)
    canopy = (1 - omega) * (1 - gamma)
    tb_h = temperature * ((1 - r_h) * gamma + canopy * (1 + r_h * gamma))
    tb_v = temperature * ((1 - r_v) * gamma + canopy * (1 + r_v * gamma))
    return tb_h, tb_v


@numba.njit(parallel=True, cache=True)
def radiometer(water, temperature, lai, h_min, h_max, b, omega):
    """Tb of many true columns: (n_days, n, ...) inputs, (n,) parameters.

    Args:
        water: (n_days, n, 2) surface moisture at the two overpasses. temperature, lai: (n_days, n).

    Returns:
        (n_days, n, 2, 2) K: overpass, polarisation (h, v).
    """
    n_days, n, n_pass = water.shape
    out = np.empty((n_days, n, n_pass, 2))
    for c in numba.prange(n):
        for day in range(n_days):
            gamma = np.exp(-b[c] * lai[day, c] / COS)
            for i in range(n_pass):
                w = water[day, c, i]
                out[day, c, i, 0], out[day, c, i, 1] = brightness_temperature(
                    w, temperature[day, c], roughness(w, h_min[c], h_max[c]), gamma, omega[c]
                )
    return out
