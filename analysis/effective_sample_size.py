"""How many independent days an autocorrelated pair of series is worth, and its interval.

This is the cheap interval of one correlation; differences get a bootstrap. The formula knows only
the memory of one day, that of a first-order autoregressive series. Simulated coverage of the
nominal 95 % (n = 700, r of 0, 0.6 and 0.9): 94 to 97 % for such series with lag-1 autocorrelations
up to 0.95. It UNDER-COVERS where white noise hides a long memory: with half of the variance white
and the other half of lag-1 autocorrelation 0.9 the coverage is 83 %, with 0.97 it is 60 %.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri

from analysis.rank_correlation import Method, linear_correlation_kernel, mid_ranks

MIN_CONSECUTIVE_PAIRS = 30


def lag_one_autocorrelation(values: ArrayLike, days: ArrayLike) -> float:
    """Correlation of a series with itself one calendar day earlier.

    r1 = corr(x_t, x_(t-1)) over the pairs of consecutive days; gaps are not bridged

    Args:
        values: (n,) finite values.
        days: (n,) whole day numbers, strictly rising.
    Returns:
        r1; NaN with fewer than 30 pairs or without variance.
    Raises:
        ValueError: days do not rise.

    >>> lag_one_autocorrelation([0.0, 1.0] * 20, range(40))
    -1.0
    """
    values, days = np.asarray(values, dtype=np.float64), np.asarray(days)
    step = np.diff(days)
    if (step < 1).any():
        raise ValueError("days: found a day that is not after the one before, expected rising days")
    later = np.flatnonzero(step == 1) + 1
    if later.size < MIN_CONSECUTIVE_PAIRS:
        return float("nan")
    return linear_correlation_kernel(values[later], values[later - 1])


def effective_sample_size(
    x: ArrayLike, y: ArrayLike, days: ArrayLike, *, method: Method = "spearman"
) -> float:
    """Number of independent days that would estimate the correlation of x and y as well.

    n_eff = n (1 - r1 r2) / (1 + r1 r2), within [2, n];   r1, r2 lag-1 autocorrelations of x and y
    (of their ranks for Spearman)

    Args:
        x, y: (n,) finite values of the same days.
        days: (n,) whole day numbers, strictly rising.
        method: correlation it is meant for.
    Returns:
        n_eff; NaN where an autocorrelation cannot be estimated (fewer than 30 pairs of consecutive
        days).

    Sources: Quenouille 1948, doi:10.2307/2332345; use for soil moisture: De Lannoy and Reichle
    2016, doi:10.1175/JHM-D-15-0037.1.

    >>> slow = np.sin(np.arange(100) / 20)
    >>> round(effective_sample_size(slow, slow + np.arange(100) % 2, range(100)), 1)
    48.7
    """
    if method == "spearman":
        x, y = mid_ranks(x), mid_ranks(y)
    n = len(x)
    product = lag_one_autocorrelation(x, days) * lag_one_autocorrelation(y, days)
    if np.isnan(product):
        return float("nan")
    if product <= -1:
        return float(n)
    return float(np.clip(n * (1 - product) / (1 + product), min(2, n), n))


def fisher_interval(
    r: float, n_effective: float, *, level: float, method: Method = "spearman"
) -> tuple[float, float]:
    """Interval of a correlation by Fisher's z with an effective sample size.

    tanh(atanh(r) -+ z s),   s^2 = c / (n_eff - 3),   c = 1 (Pearson), 1 + r^2 / 2 (Spearman)

    Spearman's larger error is Bonett and Wright's: it grows with r as the true one does, where the
    older constant 1.06 / (n - 3) falls short for strong correlations.

    Args:
        r: correlation.
        n_effective: effective sample size; at 3 or below nothing is known and the interval is [-1,
            1].
        level: coverage aimed at.
        method: which correlation r is.
    Returns:
        Lower and upper end; NaN where r or n_effective is.

    Sources: Fisher 1921 (z); Bonett and Wright 2000, doi:10.1007/BF02294183.

    >>> [round(end, 3) for end in fisher_interval(0.6, 103, level=0.95, method="pearson")]
    [0.46, 0.711]
    """
    if np.isnan(r) or np.isnan(n_effective):
        return float("nan"), float("nan")
    if n_effective <= 3:
        return -1.0, 1.0
    if abs(r) >= 1:
        return float(r), float(r)
    variance = (1 + r * r / 2 if method == "spearman" else 1.0) / (n_effective - 3)
    half = float(ndtri(0.5 + level / 2)) * np.sqrt(variance)
    return float(np.tanh(np.arctanh(r) - half)), float(np.tanh(np.arctanh(r) + half))
