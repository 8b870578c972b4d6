"""Spearman and Pearson correlation, for one pair of series and for every group of a frame.

Spearman's rank correlation is Pearson's on mid-ranks (ties share the average rank). With doubled
ranks centred on zero, every sum is a whole number, so the result has one value only, whatever the
order.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import polars as pl
from numba import njit
from numpy.typing import ArrayLike, NDArray

from analysis.schema import check_columns, sorted_groups

Method = Literal["spearman", "pearson"]

OK = 0
TOO_FEW_DAYS = 1
ZERO_VARIANCE = 2
STATUSES = ("ok", "too_few_days", "zero_variance")


@njit(nogil=True, cache=True)
def centred_ranks(values: NDArray) -> NDArray:
    """Twice the mid-rank minus (n + 1): whole numbers that sum to zero."""
    n = values.size
    order = np.argsort(values)
    ranks = np.empty(n, dtype=np.int64)
    begin = 0
    while begin < n:
        end = begin + 1
        while end < n and values[order[end]] == values[order[begin]]:
            end += 1
        for k in range(begin, end):
            ranks[order[k]] = begin + end - n
        begin = end
    return ranks


@njit(nogil=True, cache=True)
def rank_correlation_kernel(x: NDArray, y: NDArray) -> float:
    """Spearman's r of finite values; NaN where a series is constant."""
    rank_x, rank_y = centred_ranks(x), centred_ranks(y)
    xx = yy = xy = 0
    for i in range(x.size):
        xx += rank_x[i] * rank_x[i]
        yy += rank_y[i] * rank_y[i]
        xy += rank_x[i] * rank_y[i]
    if xx == 0 or yy == 0:
        return np.nan
    return max(-1.0, min(1.0, float(xy) / np.sqrt(float(xx) * float(yy))))


@njit(nogil=True, cache=True)
def linear_correlation_kernel(x: NDArray, y: NDArray) -> float:
    """Pearson's r of finite values, two passes; NaN where a series is constant."""
    n = x.size
    if n == 0 or x.min() == x.max() or y.min() == y.max():
        return np.nan
    mean_x, mean_y = x.sum() / n, y.sum() / n
    xx = yy = xy = 0.0
    for i in range(n):
        dx, dy = x[i] - mean_x, y[i] - mean_y
        xx += dx * dx
        yy += dy * dy
        xy += dx * dy
    if xx == 0.0 or yy == 0.0:
        return np.nan
    return max(-1.0, min(1.0, xy / (np.sqrt(xx) * np.sqrt(yy))))


@njit(nogil=True, cache=True)
def _correlate_ranges(x, y, offsets, is_spearman, min_pairs):
    groups = offsets.size - 1
    r = np.full(groups, np.nan)
    count = np.zeros(groups, dtype=np.int64)
    status = np.zeros(groups, dtype=np.int64)
    for g in range(groups):
        part_x, part_y = x[offsets[g] : offsets[g + 1]], y[offsets[g] : offsets[g + 1]]
        valid = np.isfinite(part_x) & np.isfinite(part_y)
        count[g] = valid.sum()
        if count[g] < min_pairs:
            status[g] = TOO_FEW_DAYS
            continue
        if is_spearman:
            r[g] = rank_correlation_kernel(part_x[valid], part_y[valid])
        else:
            r[g] = linear_correlation_kernel(part_x[valid], part_y[valid])
        if np.isnan(r[g]):
            status[g] = ZERO_VARIANCE
    return r, count, status


def _pair(x: ArrayLike, y: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if x.ndim != 1 or x.shape != y.shape:
        raise ValueError(f"found shapes {x.shape} and {y.shape}, expected two series of one length")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("found missing or infinite values, expected the common valid days only")
    return x, y


def mid_ranks(values: ArrayLike) -> NDArray[np.float64]:
    """Ranks from 1 to n, ties sharing their average rank.

    Args:
        values: (n,) finite values of any unit.
    Returns:
        (n,) ranks.
    Raises:
        ValueError: a value is missing or infinite.

    >>> mid_ranks([0.3, 0.1, 0.3, 0.2]).tolist()
    [3.5, 1.0, 3.5, 2.0]
    """
    values, _ = _pair(values, values)
    return (centred_ranks(values) + values.size + 1) / 2


def spearman(x: ArrayLike, y: ArrayLike) -> float:
    """Spearman's rank correlation with mid-ranks; NaN where a series is constant.

    r = sum(a b) / sqrt(sum(a^2) sum(b^2)),   a = rank(x) - (n + 1) / 2,   b = rank(y) - (n + 1) / 2

    Args:
        x, y: (n,) values of the same days.
    Raises:
        ValueError: shapes differ, or a value is missing.

    Source: Spearman 1904, doi:10.2307/1412159; ties as in Kendall 1945,
    doi:10.1093/biomet/33.3.239.

    >>> round(spearman([0.1, 0.3, 0.2, 0.5, 0.4, 0.2], [0.2, 0.3, 0.25, 0.4, 0.35, 0.2]), 6)
    0.955882
    """
    return rank_correlation_kernel(*_pair(x, y))


def pearson(x: ArrayLike, y: ArrayLike) -> float:
    """Pearson's linear correlation; NaN where a series is constant.

    r = sum(a b) / sqrt(sum(a^2) sum(b^2)),   a = x - mean(x),   b = y - mean(y)

    Args:
        x, y: (n,) values of the same days.
    Raises:
        ValueError: shapes differ, or a value is missing.

    Source: Pearson 1895, doi:10.1098/rspl.1895.0041.

    >>> round(pearson([1, 2, 3, 4], [2, 4, 5, 9]), 6)
    0.964764
    """
    return linear_correlation_kernel(*_pair(x, y))


def correlate_groups(
    frame: pl.DataFrame | pl.LazyFrame,
    *,
    keys: list[str],
    x: str,
    y: str,
    method: Method = "spearman",
    min_pairs: int,
) -> pl.DataFrame:
    """Correlation of two columns in every group of a frame, on rows where both are valid.

    Args:
        frame: `keys` (text or whole numbers), `x` and `y` (numbers, nulls allowed).
        keys: columns that name a group.
        x, y: columns to correlate.
        method: `spearman` or `pearson`.
        min_pairs: fewer valid pairs than this give null and `too_few_days`.
    Returns:
        One row per group, sorted by `keys`: keys, `r`, `n` (valid pairs), `status`
        (`ok`, `too_few_days`, `zero_variance`).
    Raises:
        ValueError: a column is missing or of the wrong kind, or an option is not allowed.

    >>> days = pl.DataFrame({"cell": ["a"] * 4 + ["b"], "x": [1, 2, 3, 4, 5], "y": [1, 3, 2, 4, 5]})
    >>> correlate_groups(days, keys=["cell"], x="x", y="y", min_pairs=3).rows()
    [('a', 0.8, 4, 'ok'), ('b', None, 1, 'too_few_days')]
    """
    if method not in ("spearman", "pearson"):
        raise ValueError(f"method: found {method!r}, expected 'spearman' or 'pearson'")
    if min_pairs < 2:
        raise ValueError(f"min_pairs: found {min_pairs}, expected 2 or more")
    frame = frame.lazy().collect()
    kinds = {k: "integer" if frame.schema.get(k, pl.String).is_integer() else "text" for k in keys}
    groups = sorted_groups(check_columns(frame, {**kinds, x: "number", y: "number"}), keys=keys)
    r, count, status = _correlate_ranges(
        groups.column(x), groups.column(y), groups.offsets, method == "spearman", min_pairs
    )
    return groups.keys.with_columns(
        pl.Series("r", r).fill_nan(None),
        pl.Series("n", count),
        pl.Series("status", np.array(STATUSES, dtype=object)[status], dtype=pl.String),
    )
