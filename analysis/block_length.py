"""How many days a bootstrap block needs: the automatic choice of Politis and White."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.rank_correlation import mid_ranks


def _autocovariance(values: NDArray[np.float64]) -> tuple[NDArray, NDArray]:
    # The correlation at lag k is scaled by what is left of both ends after k + 1 values, as the
    # reference implementations of the rule do; this decides only which lags count as significant.
    n = values.size
    last = math.ceil(math.sqrt(n)) + max(5, int(math.log10(n)))
    covariance, correlation = np.zeros(last + 1), np.zeros(last + 1)
    for lag in range(last + 1):
        product = values[lag:] @ values[: n - lag]
        head, tail = values[: n - lag - 1], values[lag + 1 :]
        scale = math.sqrt((head @ head) * (tail @ tail))
        covariance[lag] = product / n
        correlation[lag] = abs(product) / scale if scale > 0 else 0.0
    return covariance, correlation


def politis_white(values: ArrayLike) -> float:
    """Optimal block length of the circular bootstrap for the mean of a series.

    L = (2 G^2 / D)^(1/3) n^(1/3),   D = (4/3) g(0)^2
    g(0) = sum_k w(k / M) C_k,   G = sum_k w(k / M) |k| C_k,   C_k autocovariances

    over lags -M .. M, with the flat-top weight w (1 up to 1/2, then falling to 0 at 1). M is twice
    the first lag from which 5 autocorrelations in a row lie within 2 sqrt(log10(n) / n); L is at
    most ceil(min(3 sqrt(n), n / 3)).

    Args:
        values: (n,) finite values in time order, n >= 16.
    Returns:
        Block length in steps, not rounded; 1 for a constant series.
    Raises:
        ValueError: the series is too short or has missing values.

    Sources: Politis and White 2004, doi:10.1081/ETC-120028836; correction: Patton, Politis and
    White 2009, doi:10.1080/07474930802459016.

    >>> round(politis_white(np.sin(np.arange(365) / 9) + np.arange(365) % 3), 4)
    13.3128
    """
    values = np.asarray(values, dtype=np.float64)
    n = values.size
    if values.ndim != 1 or n < 16 or not np.isfinite(values).all():
        raise ValueError(f"found {n} values, expected one series of 16 or more without gaps")
    if values.min() == values.max():
        return 1.0
    covariance, correlation = _autocovariance(values - values.mean())
    run = max(5, int(math.log10(n)))
    last = covariance.size - 1
    small = correlation < 2 * math.sqrt(math.log10(n) / n)
    quiet = [lag for lag in range(last - run + 1) if small[lag : lag + run].all()]
    bandwidth = min(2 * max(quiet[0], 1), last) if quiet else last
    lags = np.arange(1, bandwidth + 1)
    weight = np.minimum(1.0, 2 * (1 - lags / bandwidth))
    spread = 2 * float(np.sum(weight * lags * covariance[lags]))
    spectrum = covariance[0] + 2 * float(np.sum(weight * covariance[lags]))
    longest = math.ceil(min(3 * math.sqrt(n), n / 3))
    if spectrum == 0:
        return float(longest)
    return min(float((1.5 * n * (spread / spectrum) ** 2) ** (1 / 3)), float(longest))


def block_length_days(values: ArrayLike) -> int:
    """Whole days of a block for a series: `politis_white` rounded up, within [1, n / 4].

    >>> block_length_days(np.sin(np.arange(64) / 3.0))
    16
    """
    values = np.asarray(values, dtype=np.float64)
    return max(1, min(math.ceil(politis_white(values)), values.size // 4))


def skill_gain_block_length_days(
    observed: NDArray[np.float64], baseline: NDArray[np.float64], candidate: NDArray[np.float64]
) -> int:
    """Whole days of a block for the gain in rank correlation, from what each day adds to it.

    z = rank(observed) * (rank(candidate) - rank(baseline)),   mid-ranks from 1 to n

    Args:
        observed, baseline, candidate: (n,) finite values of the same days, ordered by date.

    >>> days = np.arange(64.0)
    >>> skill_gain_block_length_days(days, days, days)
    1
    """
    return block_length_days(mid_ranks(observed) * (mid_ranks(candidate) - mid_ranks(baseline)))
