"""Which factors go with skill and skill gain: random forests over cells, and how far to trust them.

A model is one variant x target x layer. Its forest is the usual one for regression (Breiman 2001,
doi:10.1023/A:1010933404324): every tree grows on a bootstrap of the training cells, splits where
the squared error falls most, and keeps at least `min_samples_leaf` distinct cells in a leaf. It
grows the trees of scikit-learn's RandomForestRegressor with the same settings, about ten times
faster: the columns are sorted once per forest and stay sorted through every split, where
scikit-learn sorts them again in every node.

Draws can be repeated from this text alone. `integer(text)` is the first 8 bytes, big-endian, of
SHA-256(text); `model` is "{variant}|{target}|{layer}"; cells are ordered by gridcell_id:

    for one forest: resampled cells, then its noise column; or the permuted held-out cells, factor
    by factor; then its trees' cells (trees x n) and lots, from
        numpy.random.default_rng(integer("{seed}|{model}|{purpose}|{run}|{fold}"))
    purpose: importance, noise_column, shuffled_target, effect (fold 0); random, spatial_block,
    shuffled_random (folds from 0); shuffled_order permutes the target; runs count from 1
    random folds of a run, the same for every model of the same cells:
        sklearn KFold(folds, shuffle=True, random_state=integer("{seed}|folds|{run}") >> 32)
    groups of spatial blocks of a run:
        array_split(default_rng(integer("{seed}|blocks|{run}")).permutation(blocks), folds)

Cells are resampled only inside training folds. Drawing first and splitting afterwards puts copies
of a cell on both sides and inflates the cross-validated correlation; a frame with a repeated cell
is therefore refused.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal, TypeVar

import numba
import numpy as np
import polars as pl
import scipy
import sklearn
from numba import njit
from numpy.typing import NDArray
from scipy.stats import spearmanr
from sklearn.model_selection import KFold

from analysis.schema import Schema, check_columns, sorted_groups
from analysis.skill_summary import spatial_blocks

Scheme = Literal["random", "spatial_block"]
Floats = NDArray[np.float64]
Result = TypeVar("Result")

MIN_CELLS = 30
MIN_CELLS_PER_FOLD = 3
NOISE = "noise"
ALL = "all"

FOREST_KEYS: Schema = {
    "variant": "text",
    "target": "text",
    "layer": "text",
    "gridcell_id": "text",
    "grid_row": "integer",
    "grid_col": "integer",
    "value": "number",
}
_MODEL = {"variant": pl.String, "target": pl.String, "layer": pl.String}
_STATE = {
    "n_cells": pl.Int64,
    "n_cells_left_out": pl.Int64,
    "status": pl.String,
    "message": pl.String,
}
FOREST_IMPORTANCE_OUTPUT = {
    **_MODEL,
    "factor": pl.String,
    "importance_pct": pl.Float64,
    "importance_sd_pct": pl.Float64,
    "importance_rank": pl.Int64,
    "rank_stability_frac": pl.Float64,
    "rank_change_mean": pl.Float64,
    "n_runs": pl.Int64,
    **_STATE,
}
FOREST_IMPORTANCE_RUN_OUTPUT = {
    **_MODEL,
    "run": pl.Int64,
    "factor": pl.String,
    "importance_pct": pl.Float64,
}
FOREST_CROSS_VALIDATION_OUTPUT = {
    **_MODEL,
    "scheme": pl.String,
    "run": pl.Int64,
    "r": pl.Float64,
    "n_folds": pl.Int64,
    "n_folds_undefined": pl.Int64,
    "n_cells_smallest_fold": pl.Int64,
    **_STATE,
}
FOREST_PERMUTATION_OUTPUT = {
    **_MODEL,
    "factor": pl.String,
    "permutation_importance": pl.Float64,
    "permutation_importance_sd": pl.Float64,
    "n_permutation_runs": pl.Int64,
}
FOREST_NULL_OUTPUT = {
    **_MODEL,
    "kind": pl.String,
    "measure": pl.String,
    "run": pl.Int64,
    "factor": pl.String,
    "null_value": pl.Float64,
    **_STATE,
}
FOREST_EFFECT_OUTPUT = {
    **_MODEL,
    "factor": pl.String,
    "bin": pl.Int64,
    "factor_lower": pl.Float64,
    "factor_upper": pl.Float64,
    "effect": pl.Float64,
    "effect_sd": pl.Float64,
    "effect_range": pl.Float64,
    "direction": pl.Float64,
    **_STATE,
}
FOREST_OUTPUT = {
    "part": pl.String,
    **FOREST_IMPORTANCE_OUTPUT,
    "noise_floor_pct": pl.Float64,
    **FOREST_PERMUTATION_OUTPUT,
    **FOREST_CROSS_VALIDATION_OUTPUT,
    **FOREST_NULL_OUTPUT,
    **FOREST_EFFECT_OUTPUT,
    "attribution_key": pl.String,
}


@njit(nogil=True, cache=True)
def _next_random(state):
    # splitmix64: a state of one word is enough to shuffle eight columns in a node.
    state[0] += np.uint64(0x9E3779B97F4A7C15)
    z = state[0]
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@njit(nogil=True, cache=True)
def _best_split(
    order, x, weight, weighted, start, end, total_w, total, leaf, tried, columns, state
):
    # Columns come in random order, so that equally good splits have no favourite. As in
    # scikit-learn a constant column counts as tried, but one that varies is always looked at.
    best, best_column, best_last = -np.inf, -1, -1
    constant = 0
    for j in range(columns.size):
        if j >= tried and j > constant:
            break
        k = j + np.int64(_next_random(state) % np.uint64(columns.size - j))
        columns[j], columns[k] = columns[k], columns[j]
        f = columns[j]
        rows, values = order[f], x[f]
        if values[rows[end - 1]] <= values[rows[start]]:
            constant += 1
            continue
        left_w = left = 0.0
        for i in range(start, start + leaf - 1):
            left_w += weight[rows[i]]
            left += weighted[rows[i]]
        for i in range(start + leaf - 1, end - leaf):
            row = rows[i]
            left_w += weight[row]
            left += weighted[row]
            right = total - left
            gain = left * left / left_w + right * right / (total_w - left_w)
            if gain > best and values[rows[i + 1]] > values[row]:
                best, best_column, best_last = gain, f, i
    return best, best_column, best_last


@njit(nogil=True, cache=True)
def _forest(sorted_rows, x, y, draws, keys, leaf, tried, new):
    # x: (columns, cells); y: centred and scaled; new: (points, columns). A tree is grown, used and
    # forgotten. order[f, start:end] always lists the cells of a node by rising column f.
    p, n = x.shape
    trees = draws.shape[0]
    predicted = np.zeros(new.shape[0])
    importance = np.zeros(p)
    order = np.empty((p, n), dtype=np.int32)
    later = np.empty(n, dtype=np.int32)
    goes_left = np.empty(n, dtype=np.bool_)
    columns = np.arange(p)
    state = np.empty(1, dtype=np.uint64)
    weight, weighted = np.empty(n), np.empty(n)
    column = np.empty(2 * n, dtype=np.int64)
    threshold, value = np.empty(2 * n), np.empty(2 * n)
    child = np.empty((2 * n, 2), dtype=np.int64)
    stack = np.empty((n + 2, 3), dtype=np.int64)
    for t in range(trees):
        state[0] = keys[t]
        weight[:] = 0.0
        for k in range(draws.shape[1]):
            weight[draws[t, k]] += 1.0
        for i in range(n):
            weighted[i] = weight[i] * y[i]
        drawn = 0
        for f in range(p):
            drawn = 0
            for i in range(n):
                order[f, drawn] = sorted_rows[f, i]
                drawn += weight[sorted_rows[f, i]] > 0
        tree_importance = np.zeros(p)
        stack[0, 0], stack[0, 1], stack[0, 2] = 0, drawn, 0
        waiting, nodes = 1, 1
        while waiting > 0:
            waiting -= 1
            start, end, node = stack[waiting, 0], stack[waiting, 1], stack[waiting, 2]
            total_w = total = square = 0.0
            for i in range(start, end):
                row = order[0, i]
                total_w += weight[row]
                total += weighted[row]
                square += weighted[row] * y[row]
            value[node] = total / total_w
            column[node] = -1
            if end - start < 2 * leaf or square / total_w - value[node] ** 2 <= 2.2e-16:
                continue
            gain, f, last = _best_split(
                order, x, weight, weighted, start, end, total_w, total, leaf, tried, columns, state
            )
            if f < 0:
                continue
            below, above = x[f, order[f, last]], x[f, order[f, last + 1]]
            middle = below / 2 + above / 2
            column[node], threshold[node] = f, middle if middle < above else below
            tree_importance[f] += gain - total * total / total_w
            for i in range(start, end):
                goes_left[order[f, i]] = i <= last
            # Two leaves need only to be summed, over the cells as the first column lists them.
            larger = max(last + 1 - start, end - last - 1)
            for g in range(p if larger >= 2 * leaf else 1):
                if g == f:
                    continue
                rows = order[g]
                put, kept = start, 0
                for i in range(
                    start, end
                ):  # both are written, one is kept: no branch to mispredict
                    row = rows[i]
                    left = goes_left[row]
                    rows[put] = row
                    later[kept] = row
                    put += left
                    kept += not left
                for i in range(kept):
                    rows[put + i] = later[i]
            for side in range(2):
                child[node, side] = nodes
                stack[waiting, 0] = start if side == 0 else last + 1
                stack[waiting, 1] = last + 1 if side == 0 else end
                stack[waiting, 2] = nodes
                waiting += 1
                nodes += 1
        for i in range(new.shape[0]):
            node = 0
            while column[node] >= 0:
                node = child[node, 0 if new[i, column[node]] <= threshold[node] else 1]
            predicted[i] += value[node]
        whole = tree_importance.sum()
        if whole > 0:
            importance += tree_importance / whole
    return predicted / trees, importance


@dataclass(frozen=True)
class _Growth:
    trees: int
    max_features: float
    min_samples_leaf: int

    def __post_init__(self) -> None:
        for name in ("trees", "min_samples_leaf"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: found {getattr(self, name)}, expected 1 or more")
        if not 0 < self.max_features <= 1:
            raise ValueError(
                f"max_features: found {self.max_features}, expected a share above 0, at most 1"
            )

    def fit_predict(
        self, x: Floats, y: Floats, new: Floats, rng: np.random.Generator
    ) -> tuple[Floats, Floats]:
        """Predictions at the rows of `new`, and importances that sum to 100 (0 without a split)."""
        n, p = x.shape
        draws = rng.integers(0, n, size=(self.trees, n))
        keys = rng.integers(0, 2**63, size=self.trees).astype(np.uint64)
        centre, scale = y.mean(), y.std() or 1.0
        predicted, importance = _forest(
            np.ascontiguousarray(np.argsort(x, axis=0, kind="stable").T.astype(np.int32)),
            np.array(x.T, order="C"),  # a copy: read-only arrays would compile the kernel again
            (y - centre) / scale,
            draws,
            keys,
            self.min_samples_leaf,
            max(1, int(self.max_features * p)),
            np.array(new, order="C"),
        )
        whole = importance.sum()
        return centre + scale * predicted, 100 * importance / whole if whole > 0 else importance


def forest_fit_predict(
    x: Floats,
    y: Floats,
    new: Floats,
    *,
    trees: int,
    max_features: float,
    min_samples_leaf: int,
    seed: int,
) -> tuple[Floats, Floats]:
    """One random forest: its predictions at new points and its impurity importances.

    prediction = mean over trees of the weighted mean of y in the point's leaf
    importance of a column = mean over trees of its share of the tree's fall in squared error, in %

    Args:
        x: (n, p) finite training features. y: (n,) finite targets. new: (m, p) points.
        trees: number of trees, each on n cells drawn with replacement.
        max_features: share of the columns looked at in a node.
        min_samples_leaf: distinct cells a leaf keeps.
        seed: whole number; draws are those of the module's head.
    Returns:
        (m,) predictions in y's unit, (p,) importances that sum to 100, or zeros without any split.
    Raises:
        ValueError: an option is out of range.

    Source: Breiman 2001, doi:10.1023/A:1010933404324.

    >>> x = np.column_stack([np.arange(40.0), np.tile([0.0, 1.0], 20)])
    >>> grown, importance = forest_fit_predict(
    ...     x, 1.0 + (x[:, 0] > 20), x[[0, 39]],
    ...     trees=20, max_features=1.0, min_samples_leaf=3, seed=1,
    ... )
    >>> grown.round(2).tolist(), bool(importance[0] > 99)
    ([1.0, 2.0], True)
    """
    growth = _Growth(trees, max_features, min_samples_leaf)
    return growth.fit_predict(x, y, new, np.random.default_rng(seed))


@dataclass(frozen=True)
class _Model:
    key: tuple[str, str, str]
    factors: list[str]
    x: Floats
    y: Floats
    row: NDArray[np.int64]
    col: NDArray[np.int64]
    factor_state: dict[str, tuple[str, str | None]]
    n_left_out: int
    status: str
    message: str | None

    @property
    def n(self) -> int:
        return self.y.size

    def random(self, seed: int, purpose: str, run: int, fold: int = 0) -> np.random.Generator:
        name = "|".join(self.key)
        return np.random.default_rng(_integer(f"{seed}|{name}|{purpose}|{run}|{fold}"))

    def entry(self, *, status: str | None = None, message: str | None = None, **values) -> dict:
        state = (status, message) if status else (self.status, self.message)
        return {
            **dict(zip(_MODEL, self.key, strict=True)),
            "n_cells": self.n,
            "n_cells_left_out": self.n_left_out,
            "status": state[0],
            "message": state[1],
            **values,
        }


def _integer(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def _checked(frame: pl.DataFrame | pl.LazyFrame, features: Sequence[str]) -> pl.DataFrame:
    if not features or len(set(features)) != len(features) or {NOISE, ALL} & set(features):
        raise ValueError(
            f"features: found {list(features)}, expected distinct names, none '{NOISE}' or '{ALL}'"
        )
    return check_columns(frame, {**FOREST_KEYS, **dict.fromkeys(features, "number")})


def _models(checked: pl.DataFrame, features: Sequence[str]) -> Iterator[_Model]:
    groups = sorted_groups(checked, keys=list(_MODEL), order="gridcell_id")
    for g, key in enumerate(groups.keys.iter_rows()):
        cells = groups.rows[int(groups.offsets[g]) : int(groups.offsets[g + 1])]
        state: dict[str, tuple[str, str | None]] = dict.fromkeys(features, ("ok", None))
        for name in features:
            if cells[name].null_count() == cells.height:
                state[name] = ("missing_factor", f"{name} is null in all {cells.height} cells")
        factors = [name for name in features if state[name][0] == "ok"]
        whole = cells.drop_nulls([*factors, "value"])
        x = whole.select(factors).to_numpy().astype(np.float64)
        y = whole["value"].to_numpy()
        status, message = "ok", None
        if not factors:
            status, message = "missing_factor", "no factor has a value in any cell"
        elif whole.height < MIN_CELLS:
            status = "too_few_cells"
            message = f"{whole.height} cells with every value, {MIN_CELLS} needed"
        elif y.min() == y.max():
            status = "zero_variance"
            message = f"the target is {y[0]:g} in all {whole.height} cells"
        else:
            for j, name in enumerate(factors):
                if x[:, j].min() == x[:, j].max():
                    told = f"{name} is {x[0, j]:g} in all {whole.height} cells"
                    state[name] = ("zero_variance", told)
        yield _Model(
            key=key,
            factors=factors,
            x=x,
            y=y,
            row=whole["grid_row"].to_numpy(),
            col=whole["grid_col"].to_numpy(),
            factor_state=state,
            n_left_out=cells.height - whole.height,
            status=status,
            message=message,
        )


def _in_parallel(work: Callable[..., Result], tasks: list[tuple], workers: int) -> list[Result]:
    # Trees grow without the interpreter's lock in one thread each, so threads share the cells and
    # no process is started; results come back in the tasks' order.
    if workers < 1:
        raise ValueError(f"workers: found {workers}, expected 1 or more")
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(lambda task: work(*task), tasks))


def _check_runs(**counts: int) -> None:
    for name, found in counts.items():
        if found < 1:
            raise ValueError(f"{name}: found {found}, expected 1 or more")


def _frame(rows: list[dict], schema: dict) -> pl.DataFrame:
    numbers = [name for name, kind in schema.items() if kind == pl.Float64]
    return pl.DataFrame(rows, schema=schema, strict=False).with_columns(
        pl.col(numbers).fill_nan(None)
    )


def _ranks(importance: Floats) -> NDArray[np.int64]:
    # 1 is the largest; equal ones in the order of the columns.
    ranks = np.empty(importance.shape, dtype=np.int64)
    first = np.argsort(-importance, axis=-1, kind="stable")
    np.put_along_axis(ranks, first, np.arange(1, importance.shape[-1] + 1), axis=-1)
    return ranks


def forest_importance(
    frame: pl.DataFrame | pl.LazyFrame,
    *,
    features: Sequence[str],
    runs: int = 50,
    trees: int,
    max_features: float,
    min_samples_leaf: int,
    seed: int,
    workers: int,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Relative importance of each factor in each model, and how much it varies.

    Run b fits a forest on cells drawn with replacement; a factor's importance is its share of the
    fall in squared error over all splits, in % of all factors.
    importance_pct, importance_sd_pct = mean and standard deviation (ddof 1) over runs
    rank_stability_frac = share of runs in which the factor has its overall rank
    rank_change_mean = mean over runs of |rank in the run - overall rank|

    Eight useless factors would get 12.5 % each: read it beside `forest_null` and the permutation
    importance of `forest_cross_validation`.

    Args:
        frame: one row per model (variant, target, layer) x cell: `FOREST_KEYS` and the features;
            `value` is the target. Cells with a null are left out and counted.
        features: factors, in the order that breaks ties of rank.
        runs: forests per model.
        trees, max_features, min_samples_leaf: see `forest_fit_predict`.
        seed: the study's seed.
        workers: threads; changes no number.
    Returns:
        One row per model x factor (`FOREST_IMPORTANCE_OUTPUT`); one row per model x run x factor
        (`FOREST_IMPORTANCE_RUN_OUTPUT`). Status of a row: `ok`; `missing_factor` (null everywhere:
        the model is made of the others); `zero_variance` (the factor, or the target, is constant);
        `too_few_cells`.
    Raises:
        ValueError: a column is missing or of the wrong kind, a cell repeats in a model, or an
            option is out of range.

    Sources: Breiman 2001, doi:10.1023/A:1010933404324; Qiu et al. 2021,
    doi:10.5194/hess-25-1569-2021.

    >>> rng = np.random.default_rng(1)
    >>> cells = pl.DataFrame({
    ...     "variant": "base", "target": "delta_r", "layer": "ssm",
    ...     "gridcell_id": [f"c{i:02d}" for i in range(60)], "grid_row": range(60), "grid_col": 0,
    ...     "rain": rng.normal(size=60), "clay": rng.normal(size=60),
    ... }).with_columns(value=pl.col("rain") * 2)
    >>> found, _ = forest_importance(
    ...     cells, features=["clay", "rain"], runs=3, trees=10, max_features=1.0,
    ...     min_samples_leaf=3, seed=1, workers=1,
    ... )
    >>> found.select("factor", "importance_rank", "status").rows()
    [('clay', 2, 'ok'), ('rain', 1, 'ok')]
    """
    growth = _Growth(trees, max_features, min_samples_leaf)
    _check_runs(runs=runs)

    def one_run(model: _Model, run: int) -> Floats:
        rng = model.random(seed, "importance", run)
        cells = rng.integers(0, model.n, size=model.n)
        return growth.fit_predict(model.x[cells], model.y[cells], model.x[:0], rng)[1]

    models = list(_models(_checked(frame, features), features))
    tasks = [(m, b) for m in models if m.status == "ok" for b in range(1, runs + 1)]
    done = iter(_in_parallel(one_run, tasks, workers))
    summary, each = [], []
    for model in models:
        made: dict[str, dict] = {}
        if model.status == "ok":
            values = np.array([next(done) for _ in range(runs)])
            overall, ranks = _ranks(values.mean(axis=0)), _ranks(values)
            for j, name in enumerate(model.factors):
                made[name] = {
                    "importance_pct": values[:, j].mean(),
                    "importance_sd_pct": values[:, j].std(ddof=1) if runs > 1 else None,
                    "importance_rank": overall[j],
                    "rank_stability_frac": (ranks[:, j] == overall[j]).mean(),
                    "rank_change_mean": np.abs(ranks[:, j] - overall[j]).mean(),
                    "n_runs": runs,
                }
                for b in range(runs):
                    row = {"run": b + 1, "factor": name, "importance_pct": values[b, j]}
                    each.append({**dict(zip(_MODEL, model.key, strict=True)), **row})
        for name in features:
            status, message = _factor_state(model, name)
            row = {"n_runs": 0, **made.get(name, {})}
            summary.append(model.entry(status=status, message=message, factor=name, **row))
    return _frame(summary, FOREST_IMPORTANCE_OUTPUT), _frame(each, FOREST_IMPORTANCE_RUN_OUTPUT)


def _factor_state(model: _Model, factor: str) -> tuple[str, str | None]:
    own = model.factor_state[factor]
    return own if own[0] != "ok" or model.status == "ok" else (model.status, model.message)


def _folds(model: _Model, scheme: Scheme, folds: int, run: int, seed: int, side_km: float | None):
    """Held-out cells of each fold, or None where there are fewer blocks than folds."""
    if scheme == "random":
        state = _integer(f"{seed}|folds|{run}") >> 32
        splitter = KFold(folds, shuffle=True, random_state=state)
        return [held_out for _, held_out in splitter.split(model.y)]
    block = spatial_blocks(model.row, model.col, spatial_block_km=side_km)
    blocks = int(block.max()) + 1
    if blocks < folds:
        return None
    shuffled = np.random.default_rng(_integer(f"{seed}|blocks|{run}")).permutation(blocks)
    return [np.flatnonzero(np.isin(block, group)) for group in np.array_split(shuffled, folds)]


def _check_scheme(scheme: str, folds: int, spatial_block_km: float | None) -> None:
    if scheme not in ("random", "spatial_block"):
        raise ValueError(f"scheme: found {scheme!r}, expected 'random' or 'spatial_block'")
    if folds < 2:
        raise ValueError(f"folds: found {folds}, expected 2 or more")
    if scheme == "spatial_block" and spatial_block_km is None:
        raise ValueError("spatial_block_km: found none, expected the side of a block in km")


def _fold_problem(model: _Model, folds: int) -> tuple[str, str] | None:
    if model.status == "ok" and model.n < MIN_CELLS_PER_FOLD * folds:
        needed = MIN_CELLS_PER_FOLD * folds
        return "too_few_cells", f"{model.n} cells, {needed} needed for {folds} folds"
    return None


def _linear_r(observed: Floats, predicted: Floats) -> float:
    if observed.size < MIN_CELLS_PER_FOLD:
        return float("nan")
    if observed.min() == observed.max() or predicted.min() == predicted.max():
        return float("nan")
    return float(np.clip(np.corrcoef(observed, predicted)[0, 1], -1.0, 1.0))


def _held_out(
    growth: _Growth,
    model: _Model,
    y: Floats,
    cells: NDArray[np.int64],
    rng: np.random.Generator,
    permute: bool,
) -> tuple[float, Floats]:
    """r in one held-out fold, and each factor's rise of the summed squared error when permuted."""
    train = np.ones(model.n, dtype=bool)
    train[cells] = False
    x = model.x[cells]
    points = [x]
    if permute:
        for j in range(x.shape[1]):
            mixed = x.copy()
            mixed[:, j] = rng.permutation(mixed[:, j])
            points.append(mixed)
    predicted, _ = growth.fit_predict(model.x[train], y[train], np.concatenate(points), rng)
    predicted = predicted.reshape(len(points), cells.size)
    error = ((predicted - y[cells]) ** 2).sum(axis=1)
    return _linear_r(y[cells], predicted[0]), error[1:] - error[0]


def forest_cross_validation(
    frame: pl.DataFrame | pl.LazyFrame,
    *,
    features: Sequence[str],
    runs: int,
    folds: int = 10,
    scheme: Scheme = "random",
    spatial_block_km: float | None = None,
    trees: int,
    max_features: float,
    min_samples_leaf: int,
    seed: int,
    workers: int,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """How well forests predict cells they have not seen, and what each factor adds to that.

    r of a run = mean over folds of Pearson's r of predicted and actual values within the fold
    permutation importance of a run
        = sum over all cells of [(y - prediction with the factor permuted in its fold)^2
                                 - (y - prediction)^2] / sum of (y - mean y)^2,
    the R^2 lost without the factor. Folds are of the original cells; only the forests' own
    bootstrap resamples, inside the training folds. A fold with fewer than 3 cells, or constant
    values or predictions, has no r: it is left out of the mean and counted.

    Args:
        frame: see `forest_importance`.
        features: factors.
        runs: repetitions with other folds.
        folds: groups of cells, each held out once per run.
        scheme: `random` folds, or `spatial_block`: square blocks of the grid shuffled into folds.
            Neighbours resemble each other, so random folds flatter the forest.
        spatial_block_km: side of a block.
        trees, max_features, min_samples_leaf, seed, workers: see `forest_importance`.
    Returns:
        One row per model x run (`FOREST_CROSS_VALIDATION_OUTPUT`), status `ok`, that of the model,
        `too_few_cells` (fewer than 3 per fold), `too_few_blocks` (fewer than folds) or
        `no_defined_fold`; one row per model x factor (`FOREST_PERMUTATION_OUTPUT`).
    Raises:
        ValueError: see `forest_importance`; unknown scheme, fewer than 2 folds, no block side.

    Sources: Breiman 2001, doi:10.1023/A:1010933404324 (permutation); Roberts et al. 2017,
    doi:10.1111/ecog.02881 (spatial blocks).

    >>> rng = np.random.default_rng(1)
    >>> cells = pl.DataFrame({
    ...     "variant": "base", "target": "delta_r", "layer": "ssm",
    ...     "gridcell_id": [f"c{i:02d}" for i in range(80)], "grid_row": range(80), "grid_col": 0,
    ...     "rain": rng.normal(size=80), "clay": rng.normal(size=80),
    ... }).with_columns(value=pl.col("rain") * 2)
    >>> found, added = forest_cross_validation(
    ...     cells, features=["clay", "rain"], runs=1, folds=4, trees=20, max_features=1.0,
    ...     min_samples_leaf=3, seed=1, workers=1,
    ... )
    >>> bool(found["r"][0] > 0.9), (added["permutation_importance"] > 0.5).to_list()
    (True, [False, True])
    """
    growth = _Growth(trees, max_features, min_samples_leaf)
    _check_scheme(scheme, folds, spatial_block_km)
    _check_runs(runs=runs)
    models = list(_models(_checked(frame, features), features))
    tasks, plans = [], {}
    for m, model in enumerate(models):
        problem = _fold_problem(model, folds)
        if model.status != "ok" or problem:
            plans[m] = problem
            continue
        splits = [
            _folds(model, scheme, folds, b, seed, spatial_block_km) for b in range(1, runs + 1)
        ]
        if splits[0] is None:
            told = f"fewer than {folds} blocks of {spatial_block_km:g} km"
            plans[m] = ("too_few_blocks", told)
            continue
        plans[m] = splits
        for b, split in enumerate(splits, start=1):
            for k, cells in enumerate(split):
                rng = model.random(seed, scheme, b, k)
                tasks.append((growth, model, model.y, cells, rng, True))
    done = iter(_in_parallel(_held_out, tasks, workers))
    rows, added = [], []
    for m, model in enumerate(models):
        splits = plans[m] if isinstance(plans[m], list) else None
        problem = plans[m] if isinstance(plans[m], tuple) else (None, None)
        lost = np.zeros((runs, len(model.factors)))
        for b in range(runs):
            row = {"scheme": scheme, "run": b + 1, "n_folds": 0, "n_folds_undefined": 0}
            status, message = problem
            if splits:
                found = [next(done) for _ in range(folds)]
                r = np.array([value for value, _ in found])
                lost[b] = sum(rise for _, rise in found)
                defined = np.isfinite(r)
                row |= {
                    "r": r[defined].mean() if defined.any() else None,
                    "n_folds": folds,
                    "n_folds_undefined": int((~defined).sum()),
                    "n_cells_smallest_fold": min(cells.size for cells in splits[b]),
                }
                if not defined.any():
                    status, message = "no_defined_fold", "no fold has a correlation"
            rows.append(model.entry(status=status, message=message, **row))
        for name in features:
            entry = {**dict(zip(_MODEL, model.key, strict=True)), "factor": name}
            entry["n_permutation_runs"] = 0
            if splits and name in model.factors:
                share = lost[:, model.factors.index(name)] / ((model.y - model.y.mean()) ** 2).sum()
                entry |= {
                    "permutation_importance": share.mean(),
                    "permutation_importance_sd": share.std(ddof=1) if runs > 1 else None,
                    "n_permutation_runs": runs,
                }
            added.append(entry)
    return (
        _frame(rows, FOREST_CROSS_VALIDATION_OUTPUT),
        _frame(added, FOREST_PERMUTATION_OUTPUT),
    )


def forest_null(
    frame: pl.DataFrame | pl.LazyFrame,
    *,
    features: Sequence[str],
    runs: int = 10,
    folds: int = 10,
    trees: int,
    max_features: float,
    min_samples_leaf: int,
    seed: int,
    workers: int,
) -> pl.DataFrame:
    """What the forests report where there is nothing to find.

    `shuffled_target`: the target is permuted over the cells, then everything is done as for the
    real one: `r` by random folds and `importance_pct` on resampled cells. `noise_column`: a column
    of standard normal noise joins the factors; its `importance_pct` is what a useless factor gets.
    Shuffling also destroys the target's spatial pattern; the noise has none.

    Args:
        frame: see `forest_importance`.
        features: factors.
        runs: shuffles, and noise columns.
        folds: random folds of a shuffled target.
        trees, max_features, min_samples_leaf, seed, workers: see `forest_importance`.
    Returns:
        One row per model x kind (`shuffled_target`, `noise_column`) x measure (`r`,
        `importance_pct`) x run x factor (`FOREST_NULL_OUTPUT`); the factor of `r` is `all`, that of
        the noise `noise`. A model without status `ok` has one row of kind `shuffled_target`.
    Raises:
        ValueError: see `forest_importance`; fewer than 2 folds.

    >>> rng = np.random.default_rng(1)
    >>> cells = pl.DataFrame({
    ...     "variant": "base", "target": "delta_r", "layer": "ssm",
    ...     "gridcell_id": [f"c{i:02d}" for i in range(80)], "grid_row": range(80), "grid_col": 0,
    ...     "rain": rng.normal(size=80),
    ... }).with_columns(value=pl.col("rain") * 2)
    >>> found = forest_null(
    ...     cells, features=["rain"], runs=1, folds=4, trees=20, max_features=1.0,
    ...     min_samples_leaf=3, seed=1, workers=1,
    ... )
    >>> found.select("kind", "measure", "factor").rows()[:2]
    [('shuffled_target', 'r', 'all'), ('shuffled_target', 'importance_pct', 'rain')]
    """
    growth = _Growth(trees, max_features, min_samples_leaf)
    _check_scheme("random", folds, None)
    _check_runs(runs=runs)

    def importances(model: _Model, y: Floats, kind: str, run: int) -> Floats:
        rng = model.random(seed, kind, run)
        cells = rng.integers(0, model.n, size=model.n)
        x = model.x
        if kind == "noise_column":
            x = np.column_stack([x, rng.normal(size=model.n)])
        return growth.fit_predict(x[cells], y[cells], x[:0], rng)[1]

    models = list(_models(_checked(frame, features), features))
    fold_tasks, importance_tasks = [], []
    for model in models:
        if model.status != "ok" or _fold_problem(model, folds):
            continue
        for b in range(1, runs + 1):
            shuffled = model.random(seed, "shuffled_order", b).permutation(model.y)
            for k, cells in enumerate(_folds(model, "random", folds, b, seed, None)):
                rng = model.random(seed, "shuffled_random", b, k)
                fold_tasks.append((growth, model, shuffled, cells, rng, False))
            importance_tasks.append((model, shuffled, "shuffled_target", b))
            importance_tasks.append((model, model.y, "noise_column", b))
    fold_done = iter(_in_parallel(_held_out, fold_tasks, workers))
    importance_done = iter(_in_parallel(importances, importance_tasks, workers))
    rows = []
    for model in models:
        status, message = _fold_problem(model, folds) or (None, None)
        if model.status != "ok" or status:
            row = {"kind": "shuffled_target", "measure": "r", "run": 1, "factor": ALL}
            rows.append(model.entry(status=status, message=message, **row))
            continue
        for b in range(1, runs + 1):
            r = np.array([next(fold_done)[0] for _ in range(folds)])
            row = {"kind": "shuffled_target", "run": b}
            mean = r[np.isfinite(r)].mean() if np.isfinite(r).any() else None
            rows.append(model.entry(**row, measure="r", factor=ALL, null_value=mean))
            for kind, extra in (("shuffled_target", []), ("noise_column", [NOISE])):
                named = zip([*model.factors, *extra], next(importance_done), strict=True)
                for name, value in named:
                    row = {"kind": kind, "run": b, "measure": "importance_pct", "factor": name}
                    rows.append(model.entry(**row, null_value=value))
    return _frame(rows, FOREST_NULL_OUTPUT)


def _bins(values: Floats, bins: int) -> tuple[Floats, NDArray[np.int64]]:
    edges = np.unique(np.quantile(values, np.linspace(0, 1, bins + 1)))
    if edges.size == 1:
        edges = np.repeat(edges, 2)
    inside = np.clip(np.searchsorted(edges, values, side="left") - 1, 0, edges.size - 2)
    return edges, inside


def _accumulated_effect(
    at_lower: Floats, at_upper: Floats, inside: NDArray[np.int64], bins: int
) -> Floats:
    """Effect of each bin: accumulated mean steps, at the bin's middle, centred over the cells."""
    cells = np.bincount(inside, minlength=bins)
    step = np.bincount(inside, weights=at_upper - at_lower, minlength=bins) / np.maximum(cells, 1)
    edge = np.concatenate([[0.0], np.cumsum(step)])
    middle = (edge[:-1] + edge[1:]) / 2
    return middle - (cells * middle).sum() / cells.sum()


def forest_effect(
    frame: pl.DataFrame | pl.LazyFrame,
    *,
    features: Sequence[str],
    runs: int = 10,
    bins: int = 10,
    trees: int,
    max_features: float,
    min_samples_leaf: int,
    seed: int,
    workers: int,
) -> pl.DataFrame:
    """Direction and size of each factor's effect: first-order accumulated local effects.

    step of bin k = mean over its cells of f(factor at the bin's upper edge) - f(at its lower edge)
    effect of bin k = (sum of steps before k) + step k / 2, minus the mean of that over all cells

    f is a forest on resampled cells, every other factor stays at the cell's own value, so no
    combination far from the data is asked for; a partial dependence would ask, as the factors go
    together. Bins are quantiles of the factor, equal ones merged.

    Args:
        frame: see `forest_importance`.
        features: factors.
        runs: forests per model.
        bins: bins per factor.
        trees, max_features, min_samples_leaf, seed, workers: see `forest_importance`.
    Returns:
        One row per model x factor x bin (`FOREST_EFFECT_OUTPUT`): bin from 1, its edges, `effect`
        and `effect_sd` (ddof 1) over runs in the target's unit, n_cells of the bin; per factor
        `effect_range` = largest minus smallest effect and `direction` = Spearman's correlation of
        effect and bin (+1 rises, -1 falls, 0 neither; null with fewer than 3 bins). A factor
        without an effect has one row with its status.
    Raises:
        ValueError: see `forest_importance`; fewer than 2 bins.

    Source: Apley and Zhu 2020, doi:10.1111/rssb.12377.

    >>> rng = np.random.default_rng(1)
    >>> cells = pl.DataFrame({
    ...     "variant": "base", "target": "delta_r", "layer": "ssm",
    ...     "gridcell_id": [f"c{i:02d}" for i in range(80)], "grid_row": range(80), "grid_col": 0,
    ...     "rain": rng.normal(size=80),
    ... }).with_columns(value=pl.col("rain") * -2)
    >>> found = forest_effect(
    ...     cells, features=["rain"], runs=2, bins=4, trees=20, max_features=1.0,
    ...     min_samples_leaf=3, seed=1, workers=1,
    ... )
    >>> found.select("bin", "n_cells", "direction").row(0)
    (1, 20, -1.0)
    """
    growth = _Growth(trees, max_features, min_samples_leaf)
    _check_runs(runs=runs)
    if bins < 2:
        raise ValueError(f"bins: found {bins}, expected 2 or more")

    def one_run(model: _Model, binned: list, run: int) -> list[Floats]:
        rng = model.random(seed, "effect", run)
        cells = rng.integers(0, model.n, size=model.n)
        points = []
        for j, (edges, inside) in enumerate(binned):
            for end in (0, 1):
                moved = model.x.copy()
                moved[:, j] = edges[inside + end]
                points.append(moved)
        found, _ = growth.fit_predict(model.x[cells], model.y[cells], np.concatenate(points), rng)
        ends = found.reshape(len(binned), 2, model.n)
        return [
            _accumulated_effect(ends[j, 0], ends[j, 1], inside, edges.size - 1)
            for j, (edges, inside) in enumerate(binned)
        ]

    models = list(_models(_checked(frame, features), features))
    binned = [
        [_bins(m.x[:, j], bins) for j in range(m.x.shape[1])] if m.status == "ok" else []
        for m in models
    ]
    tasks = [
        (model, binned[m], b)
        for m, model in enumerate(models)
        if model.status == "ok"
        for b in range(1, runs + 1)
    ]
    done = iter(_in_parallel(one_run, tasks, workers))
    rows = []
    for m, model in enumerate(models):
        found = [next(done) for _ in range(runs)] if model.status == "ok" else []
        for name in features:
            status, message = _factor_state(model, name)
            told = {"status": status, "message": message, "factor": name}
            if status != "ok":
                rows.append(model.entry(**told, bin=1))
                continue
            j = model.factors.index(name)
            edges, inside = binned[m][j]
            effects = np.array([run[j] for run in found])
            effect = effects.mean(axis=0)
            direction = None
            if effect.size >= 3 and effect.min() < effect.max():
                direction = float(spearmanr(effect, np.arange(effect.size)).statistic)
            for k in range(effect.size):
                rows.append(
                    model.entry(
                        **told,
                        bin=k + 1,
                        factor_lower=edges[k],
                        factor_upper=edges[k + 1],
                        effect=effect[k],
                        effect_sd=effects[:, k].std(ddof=1) if runs > 1 else None,
                        effect_range=effect.max() - effect.min(),
                        direction=direction,
                    )
                    | {"n_cells": int((inside == k).sum())}
                )
    return _frame(rows, FOREST_EFFECT_OUTPUT)


def attribution_key(frame: pl.DataFrame, settings: Mapping[str, object]) -> str:
    """Fingerprint of everything a model's results depend on: rows, settings, versions, this code.

    Args:
        frame: the model's rows; their order does not matter, their columns and types do.
        settings: options by name, anything JSON can hold.
    Returns:
        64 hexadecimal digits of a SHA-256.

    >>> rows = pl.DataFrame({"gridcell_id": ["a", "b"], "value": [1.0, None]})
    >>> one = attribution_key(rows, {"trees": 100})
    >>> one == attribution_key(rows.reverse(), {"trees": 100}), len(one)
    (True, 64)
    >>> one == attribution_key(rows, {"trees": 101})
    False
    """
    digest = hashlib.sha256()
    libraries = {m.__name__: m.__version__ for m in (np, numba, scipy, sklearn)}
    told = {"settings": dict(settings), "libraries": libraries}
    digest.update(json.dumps(told, sort_keys=True, default=list).encode())
    digest.update(inspect.getsource(sys.modules[__name__]).encode())
    digest.update(inspect.getsource(spatial_blocks).encode())
    frame = frame.select(sorted(frame.columns))
    for column in frame.sort(frame.columns):
        digest.update(f"|{column.name}|{column.dtype}|{column.len()}|".encode())
        if column.dtype.is_numeric():
            digest.update(column.is_null().to_numpy().tobytes())
            digest.update(column.fill_null(0).to_numpy().tobytes())
        else:
            digest.update(json.dumps(column.cast(pl.String).to_list()).encode())
    return digest.hexdigest()


def attribute(
    frame: pl.DataFrame | pl.LazyFrame,
    *,
    features: Sequence[str],
    headline_runs: int = 50,
    runs: int = 10,
    folds: int = 10,
    spatial_block_km: float,
    trees: int = 100,
    max_features: float = 1.0,
    min_samples_leaf: int = 3,
    seed: int,
    workers: int,
    earlier: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """The whole attribution of every model in one frame, reusing what was computed before.

    Variant `base` gets `headline_runs` importance runs, and its target `delta_r` as many random
    cross-validations; the null, the effects and the noise are made for `base` only. Everything
    else has `runs`.

    Args:
        frame, features, folds, trees, max_features, min_samples_leaf, seed, workers: see
            `forest_importance` and `forest_cross_validation`.
        spatial_block_km: side of the blocks of the spatial folds.
        earlier: what an earlier call returned. A model whose `attribution_key` is found there is
            taken over; a frame of another schema, or None, is not used.
    Returns:
        `FOREST_OUTPUT`: column `part` says which rows and columns belong together: `importance`
        (with permutation importance and the noise column's mean importance, `noise_floor_pct`),
        `importance_run`, `cross_validation`, `null`, `effect`.
    Raises:
        ValueError: see the functions called.

    >>> rng = np.random.default_rng(1)
    >>> cells = pl.DataFrame({
    ...     "variant": "base", "target": "delta_r", "layer": "ssm",
    ...     "gridcell_id": [f"c{i:02d}" for i in range(60)], "grid_row": range(60), "grid_col": 0,
    ...     "rain": rng.normal(size=60),
    ... }).with_columns(value=pl.col("rain") * -2)
    >>> options = dict(features=["rain"], headline_runs=2, runs=1, folds=3, spatial_block_km=36,
    ...                trees=5, seed=1, workers=1)
    >>> found = attribute(cells, **options)
    >>> found["part"].unique().sort().to_list()
    ['cross_validation', 'effect', 'importance', 'importance_run', 'null']
    >>> found.equals(attribute(cells, earlier=found, **options))
    True
    """
    checked = _checked(frame, features)
    settings = {
        "features": list(features),
        "headline_runs": headline_runs,
        "runs": runs,
        "folds": folds,
        "spatial_block_km": spatial_block_km,
        "trees": trees,
        "max_features": max_features,
        "min_samples_leaf": min_samples_leaf,
        "seed": seed,
    }
    model_keys = pl.DataFrame(
        [(*key, attribution_key(rows, settings)) for key, rows in checked.group_by(list(_MODEL))],
        schema={**_MODEL, "attribution_key": pl.String},
        orient="row",
    )
    if earlier is None or dict(earlier.schema) != FOREST_OUTPUT:
        earlier = pl.DataFrame(schema=FOREST_OUTPUT)
    known = earlier.join(model_keys, on=model_keys.columns, how="semi")
    fresh = checked.join(known.select(list(_MODEL)).unique(), on=list(_MODEL), how="anti")
    grown = {
        "features": features,
        "trees": trees,
        "max_features": max_features,
        "min_samples_leaf": min_samples_leaf,
        "seed": seed,
        "workers": workers,
    }
    base = fresh.filter(pl.col("variant") == "base")
    headline = base.filter(pl.col("target") == "delta_r")
    parts: dict[str, list[pl.DataFrame]] = {"importance": [], "importance_run": []}
    for rows, count in ((base, headline_runs), (fresh.filter(pl.col("variant") != "base"), runs)):
        summary, each = forest_importance(rows, runs=count, **grown)
        parts["importance"].append(summary)
        parts["importance_run"].append(each)
    parts["cross_validation"], permutation = [], []
    for rows, count in (
        (headline, headline_runs),
        (fresh.join(headline, on=list(_MODEL), how="anti"), runs),
    ):
        found, added = forest_cross_validation(rows, runs=count, folds=folds, **grown)
        parts["cross_validation"].append(found)
        permutation.append(added)
    spatial = {"scheme": "spatial_block", "spatial_block_km": spatial_block_km}
    found, _ = forest_cross_validation(fresh, runs=runs, folds=folds, **spatial, **grown)
    parts["cross_validation"].append(found)
    parts["null"] = [forest_null(base, runs=runs, folds=folds, **grown)]
    parts["effect"] = [forest_effect(base, runs=runs, **grown)]
    floor = (
        parts["null"][0]
        .filter(pl.col("kind") == "noise_column", pl.col("factor") == NOISE)
        .group_by(list(_MODEL))
        .agg(pl.col("null_value").mean().alias("noise_floor_pct"))
    )
    parts["importance"] = [
        pl.concat(parts["importance"])
        .join(pl.concat(permutation), on=[*_MODEL, "factor"], how="left")
        .join(floor, on=list(_MODEL), how="left")
    ]
    stacked = pl.concat(
        [pl.DataFrame(schema=FOREST_OUTPUT)]
        + [
            rows.with_columns(pl.lit(part).alias("part")).join(model_keys, on=list(_MODEL))
            for part, frames in parts.items()
            for rows in frames
        ],
        how="diagonal",
    )
    order = ["part", *_MODEL, "scheme", "kind", "measure", "run", "factor", "bin"]
    return pl.concat([known, stacked.select(list(FOREST_OUTPUT))]).sort(order)
