"""Named random streams, and noise that is correlated in space or time."""

from __future__ import annotations

import hashlib

import numpy as np
from scipy.signal import lfilter

CELL_KM = 9.008055210146


def stream(seed: int, name: str) -> np.random.Generator:
    """A generator of its own for each named purpose, whatever else is drawn before it.

    >>> bool(stream(7, "rain").integers(100) == stream(7, "rain").integers(100))
    True
    """
    return np.random.default_rng([seed, _number(name)])


def entity_seeds(seed: int, name: str, keys: np.ndarray) -> np.ndarray:
    """One 32-bit seed per entity; `keys` is (n, k) integers that identify it."""
    number = _number(name)
    states = [
        np.random.SeedSequence([seed, number, *map(int, key)]).generate_state(1)[0] for key in keys
    ]
    return np.array(states, dtype=np.uint32)


def _number(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")


def smooth_field(rng, lon, lat, *, length_deg: float, n_waves: int = 200) -> np.ndarray:
    """Unit Gaussian random field at any points, from random Fourier features.

    G(s) = sqrt(2/M) sum_m cos(k_m s + phase_m),  k_m ~ N(0, 1/length^2)
    """
    k = rng.standard_normal((2, n_waves)) / length_deg
    phase = rng.uniform(0, 2 * np.pi, n_waves)
    waves = np.cos(lon[:, None] * k[0] + lat[:, None] * k[1] + phase)
    return np.sqrt(2 / n_waves) * waves.sum(axis=1)


def daily_fields(rng, n_days: int, size: int, *, length_km: float) -> np.ndarray:
    """Independent unit Gaussian fields on the window, one a day.

    White noise on a lattice, too fine to leave a trace, smoothed by a separable Gaussian kernel;
    corr(d) = exp(-d^2 / (2 length^2)).

    Returns:
        (n_days, size * size) float32
    """
    sigma = length_km / CELL_KM / np.sqrt(2)
    spacing = max(1, int(sigma / 1.5))
    margin = int(np.ceil(3 * sigma))
    nodes = np.arange(-margin, size + margin + spacing, spacing)
    kernel = np.exp(-0.5 * ((nodes - np.arange(size)[:, None]) / sigma) ** 2)
    kernel = (kernel / np.sqrt((kernel**2).sum(axis=1, keepdims=True))).astype(np.float32)
    noise = rng.standard_normal((n_days, nodes.size, nodes.size), dtype=np.float32)
    return (kernel @ noise @ kernel.T).reshape(n_days, size * size)


def autoregressive(noise: np.ndarray, *, rho: float) -> np.ndarray:
    """Unit-variance AR(1) along axis 0: z_t = rho z_{t-1} + sqrt(1 - rho^2) e_t, z_0 = e_0."""
    scale = np.sqrt(1 - rho**2)
    noise = np.array(noise, dtype=np.float64)
    noise[0] /= scale
    return lfilter([scale], [1.0, -rho], noise, axis=0)


def lognormal(rng, sd, shape) -> np.ndarray:
    """Multiplicative error of mean one: exp(sd N - sd^2 / 2)."""
    return np.exp(sd * rng.standard_normal(shape) - np.square(sd) / 2)
