"""How a target differs between groups of cells ordered by a factor: box statistics and tests.

Cells that share a factor's large errors are dropped, the others split into groups by the factor.
The groups hold different cells, so nothing is paired: ordinary one-way tests apply. They take
cells as independent, which neighbours are not: rain, soil and satellite footprints are shared. On
simulated targets that owe nothing to the factor (200 to 500 cells in an area of 1000 km,
correlation lengths of 150 and 300 km, 30 % uncorrelated) the plain analysis of variance finds an
effect at the 5 % level in 20 to 46 % of cases. Beside every plain p value of a mean or of the
groups therefore stands one that knows the target's spatial correlation:

    gamma(h) = sill [1 - share exp(-h / range)]      semivariance of cells h apart, h > 0

fitted to all valid cells of a target and layer. In the same trial it rejects 2 to 6 % (groups,
trend) and 4 to 7 % (means, plain 24 to 30 %). Errors clustered by spatial blocks of 72 or 200 km
were tried for the means and rejected 17 to 29 %.
Draws: numpy.random.default_rng(first 8 bytes, big-endian, of SHA-256 of
"{seed}|{target}|{layer}|spatial").standard_normal((cells, members)), cells by gridcell_id.

Distances are those of the 9 km EASE-Grid: exact at 30 degrees latitude, too long from west to east
by up to a third at 50 degrees.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import nnls
from scipy.spatial.distance import pdist, squareform
from scipy.special import fdtrc, stdtr
from scipy.stats import kruskal, rankdata, spearmanr
from threadpoolctl import threadpool_limits

from analysis.schema import Schema, check_columns, sorted_groups
from analysis.skill_summary import CELL_M

Rule = Literal["low", "high", "magnitude", "none"]
Binning = Literal["equal_count", "equal_width"]
Floats = NDArray[np.float64]

MIN_CELLS_PER_GROUP = 3
MIN_CELLS_SPATIAL = 30
DISTANCE_CLASSES = 15

_NO_SPATIAL_TEST = {
    "status": "no_spatial_test",
    "message": f"fewer than {MIN_CELLS_SPATIAL} places: spatial correlation unknown",
}

EXCLUSION_RULES: Mapping[str, Rule] = {
    "precipitation_skill": "low",
    "coupling_error": "magnitude",
    "clay_variability": "high",
    "lai_error": "high",
    "latent_heat_skill": "low",
    "tb_innovation_sd_k": "high",
    "microwave_roughness": "high",
    "lai_mean": "none",
}
FACTOR_GROUP_INPUT: Schema = {
    "factor": "text",
    "target": "text",
    "layer": "text",
    "gridcell_id": "text",
    "grid_row": "integer",
    "grid_col": "integer",
    "factor_value": "number",
    "value": "number",
}
_KEYS = {"factor": pl.String, "target": pl.String, "layer": pl.String}
FACTOR_GROUP_OUTPUT = {
    **_KEYS,
    "group_index": pl.Int64,
    "factor_lower": pl.Float64,
    "factor_upper": pl.Float64,
    "factor_mean": pl.Float64,
    "n_cells": pl.Int64,
    "mean": pl.Float64,
    "median": pl.Float64,
    "q25": pl.Float64,
    "q75": pl.Float64,
    "whisker_low": pl.Float64,
    "whisker_high": pl.Float64,
    "n_outliers": pl.Int64,
    "p_mean_above_zero": pl.Float64,
    "p_mean_above_zero_spatial": pl.Float64,
    "n_effective": pl.Float64,
    "status": pl.String,
    "message": pl.String,
}
FACTOR_ANOVA_OUTPUT = {
    **_KEYS,
    "n_cells": pl.Int64,
    "n_cells_excluded": pl.Int64,
    "n_cells_missing": pl.Int64,
    "f_statistic": pl.Float64,
    "p_value": pl.Float64,
    "welch_f_statistic": pl.Float64,
    "welch_p_value": pl.Float64,
    "kruskal_p_value": pl.Float64,
    "eta_squared": pl.Float64,
    "trend_rho": pl.Float64,
    "trend_p_value": pl.Float64,
    "p_value_spatial": pl.Float64,
    "trend_p_value_spatial": pl.Float64,
    "correlation_length_km": pl.Float64,
    "correlated_share": pl.Float64,
    "status": pl.String,
    "message": pl.String,
}


def kept_cells(factor: ArrayLike, *, rule: Rule, drop_frac: float) -> NDArray[np.bool_]:
    """Which cells stay once those with a large error in the factor are dropped.

    low:       drop f < P(drop_frac)            high: drop f > P(1 - drop_frac)
    magnitude: drop |f| > P(1 - drop_frac) of |f|    none: drop nothing

    Percentiles by linear interpolation; a cell on the percentile stays.

    Args:
        factor: (n,) finite values.
        rule: which end holds the large errors.
        drop_frac: share to drop, 0 to below 1.
    Returns:
        (n,) true for cells that stay.
    Raises:
        ValueError: unknown rule or share out of range.

    Source: Qiu et al. 2021, doi:10.5194/hess-25-1569-2021.

    >>> kept_cells([0, 1, 2, 3, 4, 5], rule="high", drop_frac=0.2).tolist()
    [True, True, True, True, True, False]
    """
    if not 0 <= drop_frac < 1:
        raise ValueError(f"drop_frac: found {drop_frac}, expected 0 to below 1")
    f = np.asarray(factor, dtype=np.float64)
    if rule == "none" or f.size == 0:
        return np.ones(f.shape, dtype=bool)
    if rule == "low":
        return f >= np.quantile(f, drop_frac)
    if rule not in ("high", "magnitude"):
        raise ValueError(f"rule: found {rule!r}, expected 'low', 'high', 'magnitude' or 'none'")
    f = np.abs(f) if rule == "magnitude" else f
    return f <= np.quantile(f, 1 - drop_frac)


def group_of(factor: ArrayLike, *, groups: int, binning: Binning) -> NDArray[np.int64]:
    """Group of each cell, from 0: equal counts by rank, or equal widths of the factor.

    equal_count: numpy.array_split of the cells by rising factor, equal factors in the given order
    equal_width: floor(groups (f - min) / (max - min)), the maximum in the last group

    Args:
        factor: (n,) finite values, cells ordered by gridcell_id.
        groups: how many.
        binning: `equal_count` or `equal_width`.
    Raises:
        ValueError: unknown binning, or fewer than 2 groups.

    >>> group_of([0.0, 10.0, 1.0, 2.0], groups=2, binning="equal_count").tolist()
    [0, 1, 0, 1]
    >>> group_of([0.0, 10.0, 1.0, 2.0], groups=2, binning="equal_width").tolist()
    [0, 1, 0, 0]
    """
    if groups < 2:
        raise ValueError(f"groups: found {groups}, expected 2 or more")
    f = np.asarray(factor, dtype=np.float64)
    if binning == "equal_count":
        group = np.empty(f.size, dtype=np.int64)
        for index, cells in enumerate(np.array_split(np.argsort(f, kind="stable"), groups)):
            group[cells] = index
        return group
    if binning != "equal_width":
        raise ValueError(f"binning: found {binning!r}, expected 'equal_count' or 'equal_width'")
    width = np.ptp(f) if f.size else 0.0
    if width == 0:
        return np.zeros(f.size, dtype=np.int64)
    return np.minimum((groups * (f - f.min()) / width).astype(np.int64), groups - 1)


def welch_anova(samples: list[Floats]) -> tuple[float, float]:
    """Welch's F and p value for equal means without equal variances.

    w = n / s^2, W = sum w, m = sum w mean / W, L = sum (1 - w / W)^2 / (n - 1), k groups
    F = [sum w (mean - m)^2 / (k - 1)] / [1 + 2 (k - 2) L / (k^2 - 1)], df = k - 1, (k^2 - 1)/(3 L)

    Args:
        samples: one array per group.
    Returns:
        F and p; NaN where a group has fewer than 2 values or no variance.

    Source: Welch 1951, doi:10.1093/biomet/38.3-4.330.

    >>> f, p = welch_anova([np.array([1.0, 2, 3]), np.array([2.0, 4, 6]), np.array([5.0, 6, 9])])
    >>> round(f, 3), round(p, 3)
    (5.485, 0.082)
    """
    k = len(samples)
    if min(s.size for s in samples) < 2 or min(np.ptp(s) for s in samples) == 0:
        return float("nan"), float("nan")
    n, mean = np.array([s.size for s in samples]), np.array([s.mean() for s in samples])
    weight = n / np.array([s.var(ddof=1) for s in samples])
    centre = (weight * mean).sum() / weight.sum()
    loss = ((1 - weight / weight.sum()) ** 2 / (n - 1)).sum()
    between = (weight * (mean - centre) ** 2).sum() / (k - 1)
    f = between / (1 + 2 * (k - 2) * loss / (k**2 - 1))
    return float(f), float(fdtrc(k - 1, (k**2 - 1) / (3 * loss), f))


def fit_spatial_correlation(position_km: Floats, values: Floats) -> tuple[float, float]:
    """Correlation length and spatially correlated share of a variable's variance.

    correlation of two cells h > 0 apart = share exp(-h / length)

    Least squares on the mean semivariance of 15 distance classes up to half the largest distance,
    weighted by pairs / distance^2, over 40 lengths up to the same half, as longer ones cannot be
    told from a trend; sill and share are not negative.

    Args:
        position_km: (n, 2) positions.
        values: (n,) values, not all equal.
    Returns:
        Length in km and share, 0 to 1.

    Source: Cressie 1985, doi:10.1007/BF01032109 (weighted fit of a variogram).

    >>> rng = np.random.default_rng(1)
    >>> position = rng.uniform(0, 100, size=(200, 2))
    >>> length, share = fit_spatial_correlation(position, rng.normal(size=200))
    >>> bool(share * np.exp(-20 / length) < 0.1)
    True
    """
    distance = pdist(position_km)
    scaled = (values - values.mean()) / values.std()
    semivariance = 0.5 * pdist(scaled[:, None], "sqeuclidean")
    width = distance.max() / 2 / DISTANCE_CLASSES
    near = distance < DISTANCE_CLASSES * width
    if not near.any():
        return 0.0, 0.0
    index = (distance[near] / width).astype(np.int64)
    pairs = np.bincount(index, minlength=DISTANCE_CLASSES)
    used = pairs > 0
    gamma = np.bincount(index, semivariance[near], minlength=DISTANCE_CLASSES)[used] / pairs[used]
    h = np.bincount(index, distance[near], minlength=DISTANCE_CLASSES)[used] / pairs[used]
    h = np.maximum(h, distance[distance > 0].min() / 2)
    weight = np.sqrt(pairs[used]) / h
    best, length, share = np.inf, 0.0, 0.0
    for tried in np.geomspace(distance[distance > 0].min() / 2, distance.max() / 2, 40):
        shape = np.column_stack([np.ones(h.size), -np.expm1(-h / tried)])
        (nugget, structured), misfit = nnls(shape * weight[:, None], gamma * weight)
        if misfit < best and nugget + structured > 0:
            best, length, share = misfit, tried, structured / (nugget + structured)
    return float(length), float(share)


def mean_above_zero(values: Floats, mean_correlation: float) -> tuple[float, float, float]:
    """One-sided p values of a positive mean: cells independent, and cells correlated in space.

    plain:   t = mean / (s / sqrt(n)), n - 1 degrees of freedom
    spatial: n_eff = n / (1 + (n - 1) c), c the mean correlation of two different cells,
             t = mean / sqrt(s^2 (1 - 1/n) / (1 - 1/n_eff) / n_eff), n_eff - 1 degrees of freedom
             (within a correlated sample s^2 is too small, hence its two factors)

    Args:
        values: (n,) values of a group.
        mean_correlation: c, at least 0; NaN if unknown.
    Returns:
        Plain p, spatial p, n_eff; NaN with fewer than 3 values, without variance, or for the
        spatial ones where c is unknown or n_eff is below 2.

    Source: Griffith 2005, doi:10.1111/j.1467-8306.2005.00484.x (effective sample size).

    >>> plain, spatial, n_eff = mean_above_zero(np.array([0.1, 0.3, 0.2, 0.25, 0.1, 0.0]), 0.1)
    >>> round(plain, 4), round(spatial, 4), n_eff
    (0.0088, 0.037, 4.0)
    """
    n = values.size
    nothing = float("nan")
    if n < MIN_CELLS_PER_GROUP or values.min() == values.max():
        return nothing, nothing, nothing
    variance = values.var(ddof=1)
    plain = float(stdtr(n - 1, -values.mean() / np.sqrt(variance / n)))
    n_eff = n / (1 + (n - 1) * mean_correlation)
    if not n_eff >= 2:
        return plain, nothing, nothing
    corrected = variance * (1 - 1 / n) / (1 - 1 / n_eff)
    t = values.mean() / np.sqrt(corrected / n_eff)
    return plain, float(stdtr(n_eff - 1, -t)), float(n_eff)


@dataclass(frozen=True)
class _Cells:
    """The kept cells of one factor, target and layer, ordered by gridcell_id."""

    key: tuple[str, str, str]
    factor: Floats
    value: Floats
    position_km: Floats
    ids: NDArray[np.object_]
    group: NDArray[np.int64]
    n_excluded: int
    n_missing: int
    status: str
    message: str | None

    def entry(self) -> dict:
        own = dict(zip(_KEYS, self.key, strict=True))
        return {**own, "status": self.status, "message": self.message}


@dataclass(frozen=True)
class _Field:
    """All valid cells of one target and layer: where they are and how they correlate."""

    ids: NDArray[np.object_]
    position_km: Floats
    length_km: float
    share: float

    def correlation(self, position_km: Floats) -> Floats:
        if self.share == 0:
            return np.eye(len(position_km))
        found = self.share * np.exp(-squareform(pdist(position_km)) / self.length_km)
        np.fill_diagonal(found, 1.0)
        return found

    def simulate(self, members: int, entity: int) -> Floats:
        """(cells, members) normal fields with this correlation."""
        noise = np.random.default_rng(entity).standard_normal((len(self.ids), members))
        if self.share == 0:
            return noise
        found = self.correlation(self.position_km)
        np.fill_diagonal(found, 1 + 1e-9)  # cells of one place would make it singular
        with threadpool_limits(1, user_api="blas"):  # the last bit depends on the threads
            return np.linalg.cholesky(found) @ noise


def _positions(rows: pl.DataFrame) -> Floats:
    return rows.select("grid_row", "grid_col").to_numpy().astype(np.float64) * CELL_M / 1000


def _fields(checked: pl.DataFrame) -> dict[tuple[str, str], _Field | None]:
    found: dict[tuple[str, str], _Field | None] = {}
    valid = checked.drop_nulls("value").unique(["target", "layer", "gridcell_id"])
    valid = valid.sort("target", "layer", "gridcell_id")
    for key, rows in valid.group_by(["target", "layer"], maintain_order=True):
        values, position = rows["value"].to_numpy(), _positions(rows)
        spread = len(np.unique(position, axis=0)) >= MIN_CELLS_SPATIAL
        if not spread or values.min() == values.max():
            found[key] = None
            continue
        length, share = fit_spatial_correlation(position, values)
        found[key] = _Field(rows["gridcell_id"].to_numpy(), position, length, share)
    return found


def _check(frame: pl.DataFrame | pl.LazyFrame) -> pl.DataFrame:
    checked = check_columns(frame, FACTOR_GROUP_INPUT)
    cell = ["target", "layer", "gridcell_id"]
    told = checked.group_by(cell).agg(pl.struct("value", "grid_row", "grid_col").n_unique())
    if (several := told.filter(pl.col("value") > 1)).height:
        row = several.sort(cell).row(0, named=True)
        where = ", ".join(f"{name} {row[name]}" for name in cell)
        raise ValueError(f"column value: found several values or places for {where}, expected one")
    return checked


def _grouped(
    checked: pl.DataFrame,
    *,
    groups: int,
    binning: Binning,
    drop_frac: float,
    rules: Mapping[str, Rule],
) -> Iterator[_Cells]:
    sorted_rows = sorted_groups(checked, keys=list(_KEYS), order="gridcell_id")
    for g, key in enumerate(sorted_rows.keys.iter_rows()):
        own = sorted_rows.rows[int(sorted_rows.offsets[g]) : int(sorted_rows.offsets[g + 1])]
        valid = own.drop_nulls(["factor_value", "value"])
        kept = kept_cells(
            valid["factor_value"].to_numpy(), rule=rules.get(key[0], "high"), drop_frac=drop_frac
        )
        cells = valid.filter(pl.Series(kept, dtype=pl.Boolean))
        factor, value = cells["factor_value"].to_numpy(), cells["value"].to_numpy()
        status, message = "ok", None
        if own["factor_value"].null_count() == own.height:
            status, message = "missing_factor", f"{key[0]} is null in all {own.height} cells"
        elif cells.height < MIN_CELLS_PER_GROUP * groups:
            status = "too_few_cells"
            message = f"{cells.height} cells, {MIN_CELLS_PER_GROUP * groups} needed"
        elif factor.min() == factor.max():
            status = "zero_variance"
            message = f"{key[0]} is {factor[0]:g} in all {cells.height} cells"
        elif value.min() == value.max():
            status = "zero_variance"
            message = f"{key[1]} is {value[0]:g} in all {cells.height} cells"
        yield _Cells(
            key=key,
            factor=factor,
            value=value,
            position_km=_positions(cells),
            ids=cells["gridcell_id"].to_numpy(),
            group=group_of(factor, groups=groups, binning=binning),
            n_excluded=valid.height - cells.height,
            n_missing=own.height - valid.height,
            status=status,
            message=message,
        )


def _frame(rows: list[dict], schema: dict) -> pl.DataFrame:
    numbers = [name for name, kind in schema.items() if kind == pl.Float64]
    return pl.DataFrame(rows, schema=schema, strict=False).with_columns(
        pl.col(numbers).fill_nan(None)
    )


def factor_groups(
    frame: pl.DataFrame | pl.LazyFrame,
    *,
    groups: int = 5,
    binning: Binning = "equal_count",
    drop_frac: float = 0.2,
    rules: Mapping[str, Rule] = EXCLUSION_RULES,
) -> pl.DataFrame:
    """Box statistics of the target in each group of cells, and whether its mean is above zero.

    Quartiles by linear interpolation; whiskers reach the most extreme values within 1.5
    (q75 - q25) of the quartiles, values beyond are counted. p values: `mean_above_zero`, with the
    mean correlation of the group's cells under the correlation fitted to all cells of the target
    and layer.

    Args:
        frame: one row per factor x target x layer x cell (`FACTOR_GROUP_INPUT`); cells without the
            factor or the target are left out.
        groups: groups per factor.
        binning: see `group_of`.
        drop_frac, rules: see `kept_cells`; a factor without a rule has `high`.
    Returns:
        One row per factor x target x layer x group (`FACTOR_GROUP_OUTPUT`), group_index from 1;
        factor_lower and factor_upper are the smallest and largest factor in it. Status `ok`;
        `missing_factor`, `too_few_cells` (fewer than 3 per group), `zero_variance` (factor or
        target constant): for all groups, numbers null; in one group `empty_group` (equal widths),
        `too_few_cells` or `zero_variance`: its p values are null; `no_spatial_test` (fewer than 30
        places, or n_effective below 2): the spatial p value alone is null.
    Raises:
        ValueError: a column is missing or of the wrong kind, a cell repeats or has two values of
            one target, or an option is not allowed.

    Source: Qiu et al. 2021, doi:10.5194/hess-25-1569-2021.

    >>> cells = pl.DataFrame({
    ...     "factor": "lai_mean", "target": "delta_r", "layer": "ssm",
    ...     "gridcell_id": [f"c{i:02d}" for i in range(20)], "grid_row": range(20), "grid_col": 0,
    ...     "factor_value": [float(i) for i in range(20)], "value": [i / 4 for i in range(20)],
    ... })
    >>> factor_groups(cells).select("group_index", "n_cells", "mean", "whisker_high").row(0)
    (1, 4, 0.375, 0.75)
    """
    checked = _check(frame)
    fields = _fields(checked)
    options = {"groups": groups, "binning": binning, "drop_frac": drop_frac, "rules": rules}
    rows = []
    for cells in _grouped(checked, **options):
        field = fields.get(cells.key[1:])
        for index in range(groups):
            row = {**cells.entry(), "group_index": index + 1, "n_cells": 0}
            inside = cells.group == index
            if cells.status == "ok" and not inside.any():
                row |= {"status": "empty_group", "message": "no cell in this range of the factor"}
            elif cells.status == "ok":
                value, factor = cells.value[inside], cells.factor[inside]
                q25, median, q75 = np.quantile(value, [0.25, 0.5, 0.75])
                reach = 1.5 * (q75 - q25)
                within = value[(value >= q25 - reach) & (value <= q75 + reach)]
                n, correlation = value.size, float("nan")
                if field is not None and n > 1:
                    whole = field.correlation(cells.position_km[inside]).sum()
                    correlation = (whole - n) / (n * (n - 1))
                plain, spatial, n_eff = mean_above_zero(value, correlation)
                row |= {
                    "factor_lower": factor.min(),
                    "factor_upper": factor.max(),
                    "factor_mean": factor.mean(),
                    "n_cells": n,
                    "mean": value.mean(),
                    "median": median,
                    "q25": q25,
                    "q75": q75,
                    "whisker_low": within.min(),
                    "whisker_high": within.max(),
                    "n_outliers": n - within.size,
                    "p_mean_above_zero": plain,
                    "p_mean_above_zero_spatial": spatial,
                    "n_effective": n_eff,
                }
                if n < MIN_CELLS_PER_GROUP:
                    told = f"{n} cells, {MIN_CELLS_PER_GROUP} needed"
                    row |= {"status": "too_few_cells", "message": told}
                elif value.min() == value.max():
                    told = f"{cells.key[1]} is {value[0]:g} in all {n} cells of the group"
                    row |= {"status": "zero_variance", "message": told}
                elif field is None:
                    row |= _NO_SPATIAL_TEST
                elif np.isnan(n_eff):
                    told = "correlated over distances as large as the group: n_effective below 2"
                    row |= {"status": "no_spatial_test", "message": told}
            rows.append(row)
    return _frame(rows, FACTOR_GROUP_OUTPUT)


def _sums_of_squares(values: Floats, group: NDArray[np.int64], groups: int) -> tuple:
    """Between and within groups, for each column of (cells, members) values."""
    centred = values - values.mean(axis=0)
    between = np.zeros(values.shape[1])
    for index in range(groups):
        own = centred[group == index]
        if len(own):
            between += own.sum(axis=0) ** 2 / len(own)
    return between, (centred**2).sum(axis=0) - between


def factor_tests(
    frame: pl.DataFrame | pl.LazyFrame,
    *,
    groups: int = 5,
    binning: Binning = "equal_count",
    drop_frac: float = 0.2,
    rules: Mapping[str, Rule] = EXCLUSION_RULES,
    members: int = 999,
    seed: int,
) -> pl.DataFrame:
    """Does the target differ between the groups of a factor, and does it rise or fall with it?

    f_statistic = [SSB / (k - 1)] / [SSW / (n - k)], p from F(k - 1, n - k);  eta_squared = SSB /
    (SSB + SSW);  Welch's F (`welch_anova`);  Kruskal-Wallis;  trend_rho = Spearman's correlation of
    factor and target over the kept cells, p from t = rho sqrt((n - 2) / (1 - rho^2))

    p_value_spatial = (1 + #(F of a simulated target >= F)) / (members + 1): normal fields with the
    target's spatial correlation that owe nothing to the factor, in the same cells and groups.
    trend_p_value_spatial likewise, with |correlation of the factor's ranks and the target|; the
    target's ranks serve for the real one. The correlation is fitted to the target itself, effect
    included, so a strong effect costs some power, never level.

    Args:
        frame, groups, binning, drop_frac, rules: see `factor_groups`.
        members: simulated targets; memory is about cells x (2 cells + members) x 8 bytes.
        seed: the study's seed.
    Returns:
        One row per factor x target x layer (`FACTOR_ANOVA_OUTPUT`), with the cells left out by the
        exclusion and for a missing value. Status `ok`, `missing_factor`, `too_few_cells`,
        `zero_variance`, numbers null, or `no_spatial_test` (fewer than 30 places: the spatial p
        values alone are null). A test that cannot be made (Welch with a constant group) is null.
    Raises:
        ValueError: see `factor_groups`; fewer than 1 member.

    Sources: Qiu et al. 2021, doi:10.5194/hess-25-1569-2021; why spatial correlation invalidates the
    plain test: Legendre et al. 1990, doi:10.1007/BF01908718; test by simulating the null model:
    Davison and Hinkley 1997, doi:10.1017/CBO9780511802843; Kruskal and Wallis 1952,
    doi:10.1080/01621459.1952.10483441.

    >>> cells = pl.DataFrame({
    ...     "factor": "lai_mean", "target": "delta_r", "layer": "ssm",
    ...     "gridcell_id": [f"c{i:02d}" for i in range(20)], "grid_row": range(20), "grid_col": 0,
    ...     "factor_value": [float(i) for i in range(20)], "value": [i % 7 / 10 for i in range(20)],
    ... })
    >>> factor_tests(cells, members=9, seed=1).select(
    ...     pl.col("f_statistic", "p_value").round(3), "n_cells", "status").row(0)
    (0.777, 0.557, 20, 'no_spatial_test')
    """
    if members < 1:
        raise ValueError(f"members: found {members}, expected 1 or more")
    checked = _check(frame)
    fields = _fields(checked)
    options = {"groups": groups, "binning": binning, "drop_frac": drop_frac, "rules": rules}
    every = list(_grouped(checked, **options))
    made: dict[tuple[str, str, str], dict] = {}
    for target, layer in sorted({cells.key[1:] for cells in every}):
        field = fields.get((target, layer))
        simulated = None
        for cells in every:
            if cells.key[1:] != (target, layer) or cells.status != "ok":
                continue
            ratio, row = _plain_tests(cells, groups)
            if field is not None:
                if simulated is None:
                    text = f"{seed}|{target}|{layer}|spatial"
                    digest = hashlib.sha256(text.encode()).digest()
                    simulated = field.simulate(members, int.from_bytes(digest[:8], "big"))
                own = simulated[np.searchsorted(field.ids, cells.ids)]
                between, within = _sums_of_squares(own, cells.group, groups)
                exceeded = between / within >= ratio
                ranks = rankdata(cells.factor)
                centred = (ranks - ranks.mean()) / np.linalg.norm(ranks - ranks.mean())
                trend = np.abs(centred @ own) / np.sqrt(between + within)
                beyond = trend >= abs(row["trend_rho"])
                row |= {
                    "p_value_spatial": (1 + int(exceeded.sum())) / (members + 1),
                    "trend_p_value_spatial": (1 + int(beyond.sum())) / (members + 1),
                    "correlation_length_km": field.length_km,
                    "correlated_share": field.share,
                }
            else:
                row |= _NO_SPATIAL_TEST
            made[cells.key] = row
    rows = [
        {
            **cells.entry(),
            "n_cells": cells.value.size,
            "n_cells_excluded": cells.n_excluded,
            "n_cells_missing": cells.n_missing,
            **made.get(cells.key, {}),
        }
        for cells in every
    ]
    return _frame(rows, FACTOR_ANOVA_OUTPUT)


def _plain_tests(cells: _Cells, groups: int) -> tuple[float, dict]:
    """Ratio of the sums of squares between and within groups, and the tests' columns."""
    samples = [cells.value[cells.group == index] for index in range(groups)]
    samples = [sample for sample in samples if sample.size]
    n, k = cells.value.size, len(samples)
    between = sum(s.size * (s.mean() - cells.value.mean()) ** 2 for s in samples)
    within = sum(((s - s.mean()) ** 2).sum() for s in samples)
    ratio = between / within if within > 0 else np.inf
    f = ratio * (n - k) / (k - 1)
    welch_f, welch_p = welch_anova(samples)
    rho, trend_p = spearmanr(cells.factor, cells.value)
    return ratio, {
        "f_statistic": f,
        "p_value": fdtrc(k - 1, n - k, f) if np.isfinite(f) else 0.0,
        "welch_f_statistic": welch_f,
        "welch_p_value": welch_p,
        "kruskal_p_value": kruskal(*samples).pvalue,
        "eta_squared": between / (between + within),
        "trend_rho": rho,
        "trend_p_value": trend_p,
    }
