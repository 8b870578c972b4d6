"""Correlation of a product with the unknown truth: instrumental variables and triple collocation.

Model: every product is a linear function of the truth plus an error, x_t = a P_t + b + e_t, and
the errors of different products are independent. With two products, their own past serves as
instrument, which further asks errors to be white in time; with three, each pair stands in for the
truth of the third.

`error_autocorrelation_*` tests the latter. The mean of cov(x_t, y_(t-k)) and cov(y_t, x_(t-k)),
here C_lag, holds no error of either product, so what a product's own lag covariance has beyond it
is error:

    error_autocorrelation_x = (C_Ix - s C_lag) / (C_xx - s C_xy)
    error_autocorrelation_y = (C_Jy - C_lag / s) / (C_yy - C_xy / s),   s = sqrt(C_Ix / C_Jy)

Zero on average for white errors (standard deviation about 0.05 with 730 days). For errors with
memory s is itself off and one lag cannot split the excess exactly: simulated lag-1 truths of (0.3,
0.3), (0.6, 0.6), (0.6, 0), (0, 0.6), (0.8, 0.2) give (0.35, 0.26), (0.63, 0.57), (0.49, 0.10),
(0.24, 0.50), (0.80, 0.25). Null where an error variance is not positive; may leave [-1, 1] where
it is small.

Sources: Su et al. 2014, doi:10.1002/2013JD021043 (lagged instruments); Dong et al. 2019,
doi:10.1016/j.rse.2019.03.003 (double instrumental variable); McColl et al. 2014,
doi:10.1002/2014GL061322 (extended triple collocation).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from analysis.bootstrap import (
    block_draws,
    bootstrap_means,
    check_options,
    entity_seed,
    for_each_group,
    percentile_interval,
)
from analysis.schema import Groups, Schema, check_columns, sorted_groups

Instrument = Literal["double", "benchmark", "candidate"]
_METHOD = {"double": "ivd", "benchmark": "ivs", "candidate": "ivs_candidate"}

INSTRUMENTAL_VARIABLE_INPUT: Schema = {
    "gridcell_id": "text",
    "grid_row": "integer",
    "grid_col": "integer",
    "obs_date": "date",
    "candidate": "number",
    "benchmark": "number",
}
INSTRUMENTAL_VARIABLE_OUTPUT = {
    "gridcell_id": pl.String,
    "method": pl.String,
    "lag_days": pl.Int64,
    "n_pairs": pl.Int64,
    "r_candidate": pl.Float64,
    "r_squared_raw": pl.Float64,
    "r_squared_capped": pl.Float64,
    "is_capped": pl.Boolean,
    "r_benchmark": pl.Float64,
    "r_squared_raw_benchmark": pl.Float64,
    "ci_lower": pl.Float64,
    "ci_upper": pl.Float64,
    "n_undefined": pl.Int64,
    "sign": pl.Int64,
    "error_autocorrelation_candidate": pl.Float64,
    "error_autocorrelation_benchmark": pl.Float64,
    "status": pl.String,
}
TRIPLE_COLLOCATION_INPUT: Schema = {**INSTRUMENTAL_VARIABLE_INPUT, "third": "number"}
TRIPLE_COLLOCATION_OUTPUT = {
    "gridcell_id": pl.String,
    "series": pl.String,
    "n_days": pl.Int64,
    "r": pl.Float64,
    "r_squared_raw": pl.Float64,
    "r_squared_capped": pl.Float64,
    "is_capped": pl.Boolean,
    "ci_lower": pl.Float64,
    "ci_upper": pl.Float64,
    "n_undefined": pl.Int64,
    "sign": pl.Int64,
    "status": pl.String,
}


@dataclass(frozen=True)
class Estimate:
    """Squared correlations with the truth of two products, not capped, and how far they hold."""

    r_squared_candidate: float
    r_squared_benchmark: float
    sign: int
    error_autocorrelation_candidate: float
    error_autocorrelation_benchmark: float
    status: str


def _moments(now_x, now_y, past_x, past_y) -> NDArray[np.float64]:
    """Columns whose means give every covariance: the scaled series, then their products."""
    x, i = (now_x - now_x.mean()) / now_x.std(), (past_x - past_x.mean()) / now_x.std()
    y, j = (now_y - now_y.mean()) / now_y.std(), (past_y - past_y.mean()) / now_y.std()
    return np.array([x, y, i, j, x * x, y * y, x * y, x * i, y * j, x * j, y * i])


def _spread(variance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Variances relative to the full sample's; NaN where a resample is constant."""
    return np.where(variance > 1e-12, variance, np.nan)


def _estimates(means: NDArray[np.float64], instrument: Instrument) -> dict[str, NDArray]:
    """R2 of both series and every covariance, one row per resample; NaN where undefined."""
    x, y, i, j, xx, yy, xy, xi, yj, xj, yi = means.T
    c_xx, c_yy, c_xy = _spread(xx - x * x), _spread(yy - y * y), xy - x * y
    c_xi, c_yj, c_xj, c_yi = xi - x * i, yj - y * j, xj - x * j, yi - y * i
    with np.errstate(divide="ignore", invalid="ignore"):
        double = np.sqrt(np.where((c_xi > 0) & (c_yj > 0), c_xi / c_yj, np.nan))
        if instrument == "double":
            scale = double
        elif instrument == "benchmark":
            scale = np.where((c_xj > 0) & (c_yj > 0), c_xj / c_yj, np.nan)
        else:
            scale = np.where((c_xi > 0) & (c_yi > 0), c_xi / c_yi, np.nan)
        candidate, benchmark = c_xy * scale / c_xx, c_xy / (c_yy * scale)
        left_x, left_y = c_xx - c_xy * double, c_yy - c_xy / double
        shared = (c_xj + c_yi) / 2
        error_x = np.where(left_x > 0, (c_xi - shared * double) / left_x, np.nan)
        error_y = np.where(left_y > 0, (c_yj - shared / double) / left_y, np.nan)
    return {
        "candidate": candidate,
        "benchmark": benchmark,
        "error_candidate": error_x,
        "error_benchmark": error_y,
        "c_xy": c_xy,
        "c_xi": c_xi,
        "c_yj": c_yj,
        "c_xj": c_xj,
        "c_yi": c_yi,
    }


def _estimate(series, instrument: Instrument) -> tuple[Estimate, NDArray[np.float64]]:
    if any(one.min() == one.max() for one in series):
        nan = float("nan")
        return Estimate(nan, nan, 0, nan, nan, "zero_variance"), np.zeros((0, 0))
    columns = _moments(*series)
    found = {k: float(v[0]) for k, v in _estimates(columns.mean(axis=1)[None], instrument).items()}
    needed = {
        "double": {"negative_lag_covariance_candidate": "c_xi"},
        "benchmark": {"negative_lag_covariance_candidate": "c_xj"},
        "candidate": {"negative_lag_covariance_candidate": "c_xi"},
    }[instrument] | {
        "negative_lag_covariance_benchmark": "c_yi" if instrument == "candidate" else "c_yj"
    }
    status = "ok" if found["c_xy"] > 0 else "negative_covariance"
    for reason, covariance in needed.items():
        if status == "ok" and not found[covariance] > 0:
            status = reason
    return (
        Estimate(
            r_squared_candidate=found["candidate"],
            r_squared_benchmark=found["benchmark"],
            sign=int(np.sign(found["c_xy"])),
            error_autocorrelation_candidate=found["error_candidate"],
            error_autocorrelation_benchmark=found["error_benchmark"],
            status=status,
        ),
        columns,
    )


def lagged_pairs(days: ArrayLike, *, lag_days: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Positions of days and of the days exactly `lag_days` before them, where both are present.

    >>> now, past = lagged_pairs([1, 2, 4, 5, 6], lag_days=2)
    >>> now.tolist(), past.tolist()
    ([2, 4], [1, 2])
    """
    days = np.asarray(days, dtype=np.int64)
    if days.size == 0:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    past = np.searchsorted(days, days - lag_days)
    exact = days[np.minimum(past, days.size - 1)] == days - lag_days
    return np.flatnonzero(exact), past[exact]


def instrumental_variable(
    candidate: ArrayLike,
    benchmark: ArrayLike,
    days: ArrayLike,
    *,
    lag_days: int = 1,
    instrument: Instrument = "double",
) -> Estimate:
    """Squared correlations with the truth from two products and their own past.

    s = sqrt(C_Ix / C_Jy)              double:    C_Ix = cov(x_t, x_(t-k)), C_Jy = cov(y_t, y_(t-k))
    s = cov(x_t, y_(t-k)) / C_Jy       benchmark: its past alone is the instrument
    s = C_Ix / cov(y_t, x_(t-k))       candidate: its past alone is the instrument
    R2_x = C_xy s / C_xx,   R2_y = C_xy / (C_yy s)

    All covariances come from the days t with both products on t and on t - k, and divide by n.

    Args:
        candidate, benchmark: (n,) finite values x and y of the same days, in any unit.
        days: (n,) whole day numbers, strictly rising.
        lag_days: k.
        instrument: `double`, `benchmark` or `candidate`.
    Returns:
        `Estimate`, R2 neither capped at 1 nor clipped at 0; NaN where undefined. Status `ok`,
        `too_few_pairs` (fewer than 2), `zero_variance`, `negative_covariance` or
        `negative_lag_covariance_candidate`, `negative_lag_covariance_benchmark` (of the covariance
        with the instrument that stands for that product).

    Sources: Dong et al. 2019, doi:10.1016/j.rse.2019.03.003; Su et al. 2014,
    doi:10.1002/2013JD021043.

    >>> x = [0.20, 0.25, 0.23, 0.30, 0.28, 0.26, 0.35, 0.33, 0.29, 0.27]
    >>> y = [10, 14, 12, 19, 15, 16, 22, 20, 17, 13]
    >>> found = instrumental_variable(x, y, range(10))
    >>> round(found.r_squared_candidate, 6), round(found.r_squared_benchmark, 6)
    (1.132818, 0.77945)
    """
    if instrument not in _METHOD:
        raise ValueError(f"instrument: found {instrument!r}, expected one of {list(_METHOD)}")
    x, y = np.asarray(candidate, dtype=np.float64), np.asarray(benchmark, dtype=np.float64)
    now, past = lagged_pairs(days, lag_days=lag_days)
    if now.size < 2:
        nan = float("nan")
        return Estimate(nan, nan, 0, nan, nan, "too_few_pairs")
    return _estimate((x[now], y[now], x[past], y[past]), instrument)[0]


def _grouped(frame, schema: Schema) -> Groups:
    return sorted_groups(
        check_columns(frame, schema),
        keys=["gridcell_id"],
        order="obs_date",
        carry=("grid_row", "grid_col"),
    )


def _instrumental_variables(
    frame, *, instrument, lag_days, min_pairs, members, block_days, level, seed
) -> pl.DataFrame:
    check_options(min_pairs=min_pairs, members=members, level=level, block_days=block_days)
    if isinstance(block_days, str):
        raise ValueError(f"block_days: found {block_days!r}, expected a number of days")
    if lag_days < 1:
        raise ValueError(f"lag_days: found {lag_days}, expected 1 or more")
    groups = _grouped(frame, INSTRUMENTAL_VARIABLE_INPUT)
    candidate, benchmark = groups.column("candidate"), groups.column("benchmark")
    day = groups.days("obs_date")
    rows: list[dict] = [{} for _ in range(len(groups))]

    def measure(g: int) -> None:
        key = groups.keys.row(g, named=True)
        here = slice(groups.offsets[g], groups.offsets[g + 1])
        x, y, when = candidate[here], benchmark[here], day[here]
        both = np.isfinite(x) & np.isfinite(y)
        now, past = lagged_pairs(when[both], lag_days=lag_days)
        row = rows[g] = {
            "gridcell_id": key["gridcell_id"],
            "method": _METHOD[instrument],
            "lag_days": lag_days,
            "n_pairs": now.size,
        }
        if now.size < min_pairs:
            own = when[np.isfinite(y)]
            sparse = own.size > 1 and np.median(np.diff(own)) > 1
            row["status"] = "benchmark_not_daily" if sparse else "too_few_pairs"
            return
        x, y = x[both], y[both]
        found, columns = _estimate((x[now], y[now], x[past], y[past]), instrument)
        row |= {
            "r_squared_raw": found.r_squared_candidate,
            "r_squared_raw_benchmark": found.r_squared_benchmark,
            "sign": found.sign,
            "status": found.status,
        }
        if found.status != "ok":
            return
        entity = entity_seed(
            seed,
            grid_row=key["grid_row"],
            grid_col=key["grid_col"],
            layer="pairs",
            scheme=f"lag{lag_days}",
        )
        draws = block_draws(entity, n=now.size, members=members, block_days=block_days)
        drawn = _estimates(
            bootstrap_means(columns, draws=draws, block_days=block_days), instrument
        )["candidate"]
        drawn = np.sqrt(np.minimum(np.where(drawn > 0, drawn, np.nan), 1.0))
        lower, upper = percentile_interval(drawn, level=level)
        capped = min(found.r_squared_candidate, 1.0)
        row |= {
            "r_candidate": np.sqrt(capped),
            "r_squared_capped": capped,
            "is_capped": found.r_squared_candidate > 1,
            "r_benchmark": np.sqrt(min(found.r_squared_benchmark, 1.0)),
            "ci_lower": lower,
            "ci_upper": upper,
            "n_undefined": int(np.isnan(drawn).sum()),
            "error_autocorrelation_candidate": found.error_autocorrelation_candidate,
            "error_autocorrelation_benchmark": found.error_autocorrelation_benchmark,
        }

    for_each_group(measure, len(groups))
    return _frame(rows, INSTRUMENTAL_VARIABLE_OUTPUT)


def _frame(rows: list[dict], schema: dict) -> pl.DataFrame:
    numbers = [name for name, kind in schema.items() if kind == pl.Float64]
    return pl.DataFrame(rows, schema=schema, strict=False).with_columns(
        pl.col(numbers).fill_nan(None)
    )


def double_instrumental_variable(
    frame: pl.DataFrame | pl.LazyFrame,
    *,
    lag_days: int,
    min_pairs: int,
    members: int,
    block_days: int,
    level: float,
    seed: int,
) -> pl.DataFrame:
    """Correlation with the truth of candidate and benchmark per cell, each its own instrument.

    r = sqrt(min(R2, 1)) with R2 of `instrumental_variable`; the interval is the percentile
    interval of r_candidate over circular blocks of pairs (`analysis.bootstrap`, layer `pairs`,
    scheme `lag{k}`), members without an estimate left out and counted. Where more than half are,
    it is null.

    Args:
        frame: one row per cell and day (`INSTRUMENTAL_VARIABLE_INPUT`), anomalies in any unit.
            Days may be absent or null; only pairs exactly `lag_days` apart in the calendar are
            used.
        lag_days: 1 for daily products; 2 or 3 to see how much the answer depends on it.
        min_pairs: fewer pairs give null and `too_few_pairs`, or `benchmark_not_daily` where the
            benchmark's own valid days are typically more than one day apart.
        members: bootstrap resamples.
        block_days: days of a block.
        level: coverage of the interval.
        seed: the study's seed.
    Returns:
        One row per cell (`INSTRUMENTAL_VARIABLE_OUTPUT`). `r_squared_raw` stays where it can be
        computed though the status is not `ok`; `is_capped` tells R2 above 1; `sign` is that of
        cov(x, y).
    Raises:
        ValueError: a column is missing or of the wrong kind, days repeat, or an option is not
        allowed.

    Source: Dong et al. 2019, doi:10.1016/j.rse.2019.03.003.

    >>> from datetime import date
    >>> truth = np.sin(np.arange(300) / 4.0)
    >>> days = pl.DataFrame({
    ...     "obs_date": pl.date_range(date(2017, 1, 1), date(2017, 10, 27), eager=True),
    ...     "candidate": truth, "benchmark": 3 * truth + 1,
    ... }).with_columns(gridcell_id=pl.lit("M09-r290-c3174"), grid_row=290, grid_col=3174)
    >>> found = double_instrumental_variable(
    ...     days, lag_days=1, min_pairs=100, members=200, block_days=30, level=0.95, seed=1
    ... )
    >>> found.select("n_pairs", pl.col("r_candidate").round(6), "sign", "status").row(0)
    (299, 1.0, 1, 'ok')
    """
    return _instrumental_variables(
        frame,
        instrument="double",
        lag_days=lag_days,
        min_pairs=min_pairs,
        members=members,
        block_days=block_days,
        level=level,
        seed=seed,
    )


def single_instrumental_variable(
    frame: pl.DataFrame | pl.LazyFrame,
    *,
    instrument: Literal["benchmark", "candidate"] = "benchmark",
    lag_days: int,
    min_pairs: int,
    members: int,
    block_days: int,
    level: float,
    seed: int,
) -> pl.DataFrame:
    """As `double_instrumental_variable`, with the past of one product as the only instrument.

    Less precise, and biased by error memory of that one product alone: the difference of the two
    choices shows whose errors have memory.

    Args:
        frame, lag_days, min_pairs, members, block_days, level, seed: as there.
        instrument: whose past; `benchmark` gives method `ivs`, `candidate` gives `ivs_candidate`.
    Returns:
        One row per cell (`INSTRUMENTAL_VARIABLE_OUTPUT`).
    Raises:
        ValueError: as there.

    Source: Su et al. 2014, doi:10.1002/2013JD021043.

    >>> from datetime import date
    >>> truth = np.sin(np.arange(300) / 4.0)
    >>> days = pl.DataFrame({
    ...     "obs_date": pl.date_range(date(2017, 1, 1), date(2017, 10, 27), eager=True),
    ...     "candidate": truth, "benchmark": 3 * truth + 1,
    ... }).with_columns(gridcell_id=pl.lit("M09-r290-c3174"), grid_row=290, grid_col=3174)
    >>> found = single_instrumental_variable(
    ...     days, lag_days=2, min_pairs=100, members=200, block_days=30, level=0.95, seed=1
    ... )
    >>> found.select("method", "n_pairs", pl.col("r_candidate").round(6), "status").row(0)
    ('ivs', 298, 1.0, 'ok')
    """
    if instrument not in ("benchmark", "candidate"):
        raise ValueError(f"instrument: found {instrument!r}, expected 'benchmark' or 'candidate'")
    return _instrumental_variables(
        frame,
        instrument=instrument,
        lag_days=lag_days,
        min_pairs=min_pairs,
        members=members,
        block_days=block_days,
        level=level,
        seed=seed,
    )


def _collocate(means: NDArray[np.float64]) -> tuple[NDArray, NDArray]:
    """(rows, 3) squared correlations with the truth and (rows, 3) covariances xy, xz, yz."""
    x, y, z, xx, yy, zz, xy, xz, yz = means.T
    c_xy, c_xz, c_yz = xy - x * y, xz - x * z, yz - y * z
    with np.errstate(divide="ignore", invalid="ignore"):
        squared = np.column_stack(
            [
                c_xy * c_xz / (_spread(xx - x * x) * c_yz),
                c_xy * c_yz / (_spread(yy - y * y) * c_xz),
                c_xz * c_yz / (_spread(zz - z * z) * c_xy),
            ]
        )
    return squared, np.column_stack([c_xy, c_xz, c_yz])


def _triple_moments(x, y, z) -> NDArray[np.float64]:
    x, y, z = ((series - series.mean()) / series.std() for series in (x, y, z))
    return np.array([x, y, z, x * x, y * y, z * z, x * y, x * z, y * z])


def triple_collocation(x: ArrayLike, y: ArrayLike, z: ArrayLike) -> NDArray[np.float64]:
    """Squared correlations of three products with the truth, neither capped nor clipped.

    R2_x = C_xy C_xz / (C_xx C_yz),   and so on round

    Args:
        x, y, z: (n,) finite values of the same days, in any units.
    Returns:
        (3,) R2; NaN where a series is constant, infinite where a covariance below is zero.

    Source: McColl et al. 2014, doi:10.1002/2014GL061322.

    >>> truth = np.array([0.0, 1.0, 0.0, -1.0] * 2)
    >>> error = np.array([1.0, 0.0, -1.0, 0.0] * 2)
    >>> triple_collocation(truth, 2 * truth, truth + error).round(6).tolist()
    [1.0, 1.0, 0.5]
    """
    series = [np.asarray(one, dtype=np.float64) for one in (x, y, z)]
    if any(one.min() == one.max() for one in series):
        return np.full(3, np.nan)
    return _collocate(_triple_moments(*series).mean(axis=1)[None])[0][0]


def collocate_cells(
    frame: pl.DataFrame | pl.LazyFrame,
    *,
    min_pairs: int,
    members: int,
    block_days: int,
    level: float,
    seed: int,
) -> pl.DataFrame:
    """Triple collocation per cell: correlation of three series with the truth.

    r = sqrt(min(R2, 1)) with R2 of `triple_collocation`, on the days all three are valid;
    percentile intervals over circular blocks of days (`analysis.bootstrap`, layer `triplets`,
    scheme `block`).

    Args:
        frame: one row per cell and day (`TRIPLE_COLLOCATION_INPUT`), anomalies in any units.
        min_pairs: fewer common days give null and `too_few_days`.
        members: bootstrap resamples.
        block_days: days of a block.
        level: coverage of the intervals.
        seed: the study's seed.
    Returns:
        One row per cell x series (`TRIPLE_COLLOCATION_OUTPUT`). Status `ok`, `too_few_days`,
        `zero_variance` or `negative_covariance` (of any two series). `sign` is that of the
        covariance with the candidate (for the candidate, with the benchmark).
    Raises:
        ValueError: a column is missing or of the wrong kind, days repeat, or an option is not
        allowed.

    Source: McColl et al. 2014, doi:10.1002/2014GL061322.

    >>> from datetime import date
    >>> truth, error = np.sin(np.arange(300) / 4.0), np.cos(np.arange(300) * 1.7)
    >>> days = pl.DataFrame({
    ...     "obs_date": pl.date_range(date(2017, 1, 1), date(2017, 10, 27), eager=True),
    ...     "candidate": truth, "benchmark": 3 * truth + 1, "third": truth + error,
    ... }).with_columns(gridcell_id=pl.lit("M09-r290-c3174"), grid_row=290, grid_col=3174)
    >>> found = collocate_cells(
    ...     days, min_pairs=100, members=200, block_days=30, level=0.95, seed=1
    ... )
    >>> found.select("series", pl.col("r").round(2), "status").rows()
    [('candidate', 1.0, 'ok'), ('benchmark', 1.0, 'ok'), ('third', 0.71, 'ok')]
    """
    check_options(min_pairs=min_pairs, members=members, level=level, block_days=block_days)
    if isinstance(block_days, str):
        raise ValueError(f"block_days: found {block_days!r}, expected a number of days")
    groups = _grouped(frame, TRIPLE_COLLOCATION_INPUT)
    names = ("candidate", "benchmark", "third")
    series = np.array([groups.column(name) for name in names])
    rows: list[list[dict]] = [[] for _ in range(len(groups))]

    def measure(g: int) -> None:
        key = groups.keys.row(g, named=True)
        here = series[:, groups.offsets[g] : groups.offsets[g + 1]]
        common = here[:, np.isfinite(here).all(axis=0)]
        n = common.shape[1]
        base = {"gridcell_id": key["gridcell_id"], "n_days": n}
        rows[g] = [base | {"series": name} for name in names]
        if n < min_pairs or any(one.min() == one.max() for one in common):
            status = "too_few_days" if n < min_pairs else "zero_variance"
            rows[g] = [row | {"status": status} for row in rows[g]]
            return
        columns = _triple_moments(*common)
        squared, covariances = _collocate(columns.mean(axis=1)[None])
        squared, covariances = squared[0], covariances[0]
        ok = bool((covariances > 0).all())
        signs = np.sign(covariances[[0, 0, 1]]).astype(int)
        for row, r_squared, sign in zip(rows[g], squared, signs, strict=True):
            row |= {
                "r_squared_raw": r_squared if np.isfinite(r_squared) else float("nan"),
                "sign": int(sign),
                "status": "ok" if ok else "negative_covariance",
            }
        if not ok:
            return
        entity = entity_seed(
            seed,
            grid_row=key["grid_row"],
            grid_col=key["grid_col"],
            layer="triplets",
            scheme="block",
        )
        draws = block_draws(entity, n=n, members=members, block_days=block_days)
        drawn, spread = _collocate(bootstrap_means(columns, draws=draws, block_days=block_days))
        drawn = np.where((spread > 0).all(axis=1)[:, None], drawn, np.nan)
        drawn = np.sqrt(np.minimum(drawn, 1.0))
        for k, row in enumerate(rows[g]):
            lower, upper = percentile_interval(drawn[:, k], level=level)
            capped = min(float(squared[k]), 1.0)
            row |= {
                "r": np.sqrt(capped),
                "r_squared_capped": capped,
                "is_capped": bool(squared[k] > 1),
                "ci_lower": lower,
                "ci_upper": upper,
                "n_undefined": int(np.isnan(drawn[:, k]).sum()),
            }

    for_each_group(measure, len(groups))
    return _frame([row for cell in rows for row in cell], TRIPLE_COLLOCATION_OUTPUT)
