"""Paired bootstrap of the difference of two correlations, and of means, on days drawn alike.

Draws can be repeated from this text alone:

    entity = integer of the first 8 bytes, big-endian, of
             SHA-256("{seed}|{grid_row}|{grid_col}|{layer}|{scheme}")         (UTF-8, no spaces)
    iid:    numpy.random.default_rng(entity).integers(0, n, size=(members, n))
            -> positions in the n common days, ordered by date
    block:  numpy.random.default_rng(entity).integers(0, n, size=(members, ceil(n / L)))
            -> first positions of circular blocks of L days; member b uses
               (start[b, j // L] + j % L) mod n  for j = 0 .. n - 1

A resample in which a series is constant has no correlation. Such a member is left out and counted;
when more than half of the members are left out, the interval and p value are null.

Sources: Efron 1979, doi:10.1214/aos/1176344552; circular blocks: Politis and Romano 1992, in
Exploring the Limits of Bootstrap, Wiley; percentile interval and p value: Davison and Hinkley 1997,
doi:10.1017/CBO9780511802843.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numba import config, njit
from numpy.typing import ArrayLike, NDArray

from analysis.rank_correlation import Method

MIN_DEFINED_SHARE = 0.5


def entity_seed(seed: int, *, grid_row: int, grid_col: int, layer: str, scheme: str) -> int:
    """The random seed of one cell, layer and scheme: 64 bits of a SHA-256.

    Args:
        seed: the study's seed.
        grid_row, grid_col: the cell's row and column on the grid.
        layer, scheme: what is resampled and how.

    >>> entity_seed(1, grid_row=290, grid_col=3174, layer="ssm", scheme="iid")
    2936808157991533813
    """
    text = f"{seed}|{grid_row}|{grid_col}|{layer}|{scheme}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def iid_draws(entity: int, *, n: int, members: int) -> NDArray[np.int64]:
    """Positions drawn singly with replacement: (members, n) whole numbers in [0, n)."""
    return np.random.default_rng(entity).integers(0, n, size=(members, n))


def block_draws(entity: int, *, n: int, members: int, block_days: int) -> NDArray[np.int64]:
    """First positions of circular blocks: (members, ceil(n / block_days)), each in [0, n)."""
    size = (members, -(-n // block_days))
    return np.random.default_rng(entity).integers(0, n, size=size)


def check_options(*, min_pairs: int, members: int, level: float, block_days: int | str) -> None:
    """Refuse options no interval can be built on.

    A circular block as long as the series only turns it round: every member would equal the
    estimate and the interval would have no width. Blocks must fit at least twice into the shortest
    series allowed.

    Raises:
        ValueError: an option is out of range.
    """
    if min_pairs < 4:
        raise ValueError(f"min_pairs: found {min_pairs}, expected 4 or more")
    if members < 1:
        raise ValueError(f"members: found {members}, expected 1 or more")
    if not 0 < level < 1:
        raise ValueError(f"level: found {level}, expected a number between 0 and 1")
    if isinstance(block_days, str):
        if block_days != "auto":
            raise ValueError(f"block_days: found {block_days!r}, expected a number or 'auto'")
    elif not 1 <= block_days <= min_pairs / 2:
        raise ValueError(
            f"block_days: found {block_days}, expected 1 to min_pairs / 2 = {min_pairs / 2:g}"
        )


@njit(nogil=True, cache=True)
def _count_days(starts, block_days, counts):
    n = counts.size
    counts[:] = 0
    if block_days == 1:
        for k in range(n):
            counts[starts[k]] += 1
        return
    left = n
    for k in range(starts.size):
        position = starts[k]
        for _ in range(min(block_days, left)):
            counts[position] += 1
            position += 1
            if position == n:
                position = 0
        left -= block_days


@njit(nogil=True, cache=True)
def _rank_members(codes, groups, draws, block_days):
    # Twice the mid-rank minus (n + 1), from counts alone: 2 * (days in lower tie groups) + own - n.
    # Every sum is a whole number: nothing depends on the order of days.
    members, n = draws.shape[0], codes.shape[1]
    counts = np.empty(n, dtype=np.int32)  # 32 bits keep the working set in the fastest cache
    ranks = np.empty((3, n), dtype=np.int32)
    r = np.full((2, members), np.nan)
    for b in range(members):
        _count_days(draws[b], block_days, counts)
        squares = np.zeros(3, dtype=np.int64)
        for v in range(3):
            own = ranks[v]
            own[: groups[v]] = 0
            for t in range(n):
                own[codes[v, t]] += counts[t]
            below = square = 0
            for g in range(groups[v]):
                here = np.int64(own[g])
                rank = 2 * below + here - n
                own[g] = rank
                square += here * rank * rank
                below += here
            squares[v] = square
        with_baseline = with_candidate = 0
        for t in range(n):
            weighted = np.int64(counts[t]) * np.int64(ranks[0, codes[0, t]])
            with_baseline += weighted * np.int64(ranks[1, codes[1, t]])
            with_candidate += weighted * np.int64(ranks[2, codes[2, t]])
        if squares[0] > 0 and squares[1] > 0 and squares[2] > 0:
            s0, s1, s2 = float(squares[0]), float(squares[1]), float(squares[2])
            r[0, b] = with_baseline / np.sqrt(s0 * s1)
            r[1, b] = with_candidate / np.sqrt(s0 * s2)
    return r


@njit(nogil=True, cache=True)
def _linear_members(values, draws, block_days):
    members, n = draws.shape[0], values.shape[1]
    counts = np.empty(n, dtype=np.int64)
    r = np.full((2, members), np.nan)
    for b in range(members):
        _count_days(draws[b], block_days, counts)
        means = np.zeros(3)
        lowest, highest = np.full(3, np.inf), np.full(3, -np.inf)
        for t in range(n):
            if counts[t] > 0:
                for v in range(3):
                    means[v] += counts[t] * values[v, t]
                    lowest[v] = min(lowest[v], values[v, t])
                    highest[v] = max(highest[v], values[v, t])
        means /= n
        s0 = s1 = s2 = with_baseline = with_candidate = 0.0
        for t in range(n):
            d0, d1, d2 = values[0, t] - means[0], values[1, t] - means[1], values[2, t] - means[2]
            s0 += counts[t] * d0 * d0
            s1 += counts[t] * d1 * d1
            s2 += counts[t] * d2 * d2
            with_baseline += counts[t] * d0 * d1
            with_candidate += counts[t] * d0 * d2
        if (lowest < highest).all():
            r[0, b] = with_baseline / (np.sqrt(s0) * np.sqrt(s1))
            r[1, b] = with_candidate / (np.sqrt(s0) * np.sqrt(s2))
    return r


def bootstrap_correlations(
    observed: ArrayLike,
    baseline: ArrayLike,
    candidate: ArrayLike,
    *,
    draws: NDArray[np.int64],
    block_days: int = 1,
    method: Method = "spearman",
) -> NDArray[np.float64]:
    """Both correlations with the observations in every resample, all three series drawn alike.

    Values are coded once to tie groups; a member's mid-ranks follow from its counts per group
    (midrank = count below + (own count + 1) / 2), and r is the count-weighted Pearson of them.

    Args:
        observed, baseline, candidate: (n,) finite values of the same days, ordered by date.
        draws: (members, ceil(n / block_days)) first positions (`iid_draws`, `block_draws`).
        block_days: length of a block; 1 for single days.
        method: `spearman` or `pearson`.
    Returns:
        (2, members): r of the baseline, r of the candidate; NaN where one of the three is constant.
    Raises:
        ValueError: shapes do not fit, or a value is missing.

    >>> draws = np.array([[0, 1, 2, 3], [3, 3, 0, 1]])
    >>> bootstrap_correlations([1, 2, 3, 4], [1, 3, 2, 4], [4, 3, 2, 1], draws=draws).round(3)
    array([[ 0.8,  1. ],
           [-1. , -1. ]])
    """
    series = np.array([observed, baseline, candidate], dtype=np.float64)
    n = series.shape[1]
    if draws.ndim != 2 or draws.shape[1] != -(-n // block_days):
        raise ValueError(
            f"draws: found shape {draws.shape}, expected (members, {-(-n // block_days)})"
        )
    if not np.isfinite(series).all():
        raise ValueError("found missing or infinite values, expected the common valid days only")
    if draws.size and not 0 <= draws.min() <= draws.max() < n:
        raise ValueError(f"draws: found positions outside 0 to {n - 1}")
    if method == "pearson":
        return np.clip(_linear_members(series, draws, block_days), -1.0, 1.0)
    if method != "spearman":
        raise ValueError(f"method: found {method!r}, expected 'spearman' or 'pearson'")
    codes = np.empty(series.shape, dtype=np.int32)
    groups = np.empty(3, dtype=np.int64)
    for v in range(3):
        distinct, codes[v] = np.unique(series[v], return_inverse=True)
        groups[v] = distinct.size
    return np.clip(_rank_members(codes, groups, draws, block_days), -1.0, 1.0)


@njit(nogil=True, cache=True)
def _mean_members(columns, draws, block_days):
    members, n = draws.shape[0], columns.shape[1]
    counts = np.empty(n, dtype=np.int64)
    means = np.zeros((members, columns.shape[0]))
    for b in range(members):
        _count_days(draws[b], block_days, counts)
        for c in range(columns.shape[0]):
            total = 0.0
            for t in range(n):
                total += counts[t] * columns[c, t]
            means[b, c] = total / n
    return means


def bootstrap_means(
    columns: NDArray[np.float64], *, draws: NDArray[np.int64], block_days: int
) -> NDArray[np.float64]:
    """Means of several series in every resample, all series drawn alike.

    Args:
        columns: (k, n) finite values of the same days, ordered by date.
        draws: (members, ceil(n / block_days)) first positions.
        block_days: length of a block; 1 for single days.
    Returns:
        (members, k) means.

    >>> bootstrap_means(np.array([[1.0, 2.0, 6.0]]), draws=np.array([[2, 0]]), block_days=2)
    array([[2.66666667]])
    """
    return _mean_members(np.ascontiguousarray(columns, dtype=np.float64), draws, block_days)


def percentile_interval(members: NDArray[np.float64], *, level: float) -> tuple[float, float]:
    """Percentile interval of bootstrap members, by linear interpolation.

    Args:
        members: (B,) values, NaN where a member is undefined.
        level: coverage aimed at, 0.95 for the 2.5 and 97.5 percentiles.
    Returns:
        Lower and upper end; NaN where more than half of the members are undefined.

    >>> percentile_interval(np.arange(101.0), level=0.9)
    (5.0, 95.0)
    """
    defined = members[np.isfinite(members)]
    if defined.size == 0 or defined.size < MIN_DEFINED_SHARE * members.size:
        return float("nan"), float("nan")
    tail = round(50 * (1 - level), 9)
    lower, upper = np.percentile(defined, [tail, 100 - tail])
    return float(lower), float(upper)


def bootstrap_p_value(members: NDArray[np.float64]) -> float:
    """Two-sided p value of "no difference" from bootstrap members of a difference.

    p = min(1, 2 (1 + min(#(d <= 0), #(d >= 0))) / (B + 1)),   B = number of defined members

    Args:
        members: (B,) differences, NaN where a member is undefined.
    Returns:
        p in (0, 1]; NaN where more than half of the members are undefined.

    >>> bootstrap_p_value(np.array([0.1, 0.2, 0.3, -0.1] + [0.2] * 95))
    0.04
    """
    defined = members[np.isfinite(members)]
    if defined.size == 0 or defined.size < MIN_DEFINED_SHARE * members.size:
        return float("nan")
    smaller = min(int((defined <= 0).sum()), int((defined >= 0).sum()))
    return min(1.0, 2 * (1 + smaller) / (defined.size + 1))


def for_each_group(work: Callable[[int], None], n: int) -> None:
    """Run `work(0) .. work(n - 1)` in NUMBA_NUM_THREADS threads; each writes its own results."""
    with ThreadPoolExecutor(max(1, config.NUMBA_NUM_THREADS)) as pool:
        for _ in pool.map(work, range(n)):
            pass
