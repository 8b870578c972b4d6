"""Attribution of a paper-sized factor table, and one forest beside scikit-learn's.

2287 cells x 8 factors, correlated in space as factors are; 6 base models with the published runs
(50 of importance, 50 cross-validations for the skill gain, 10 of everything else). A fraction of
the runs is made and the time of all forests extrapolated from the mean time of one.
"""

from __future__ import annotations

import os
import time

import numpy as np
import polars as pl
from sklearn.ensemble import RandomForestRegressor

from analysis.group_tests import EXCLUSION_RULES, factor_groups, factor_tests
from analysis.random_forest import attribute, forest_fit_predict
from benchmarks.record import Record, alternate, peak_rss_mb

FEATURES = list(EXCLUSION_RULES)
TARGETS = ("delta_r", "r_baseline", "r_candidate")
LAYERS = ("ssm", "rzsm")
GROWN = {"trees": 100, "max_features": 1.0, "min_samples_leaf": 3}
HEADLINE_RUNS, RUNS, FOLDS = 50, 10, 10
OPTIONS = {"features": FEATURES, "folds": FOLDS, "spatial_block_km": 200.0, "seed": 1, **GROWN}
BAR = "seconds <= 600"


def factor_table(*, n_cells: int = 2287, seed: int = 1) -> pl.DataFrame:
    """One row per model x cell: smooth random factors plus noise, targets made of three of them."""
    rng = np.random.default_rng(seed)
    place = np.sort(rng.choice(400 * 500, size=n_cells, replace=False))
    row, col = 200 + place // 500, 2900 + place % 500
    wave = rng.normal(size=(8, 60, 2)) / 60
    phase = rng.uniform(0, 2 * np.pi, size=(8, 60, 1))
    smooth = np.cos(wave @ np.stack([row, col]) + phase).sum(axis=1) * np.sqrt(2 / 60)
    factor = smooth + 0.7 * rng.normal(size=smooth.shape)
    cells = pl.DataFrame(
        {
            "gridcell_id": [f"M09-r{r}-c{c}" for r, c in zip(row, col, strict=True)],
            "grid_row": row,
            "grid_col": col,
            **dict(zip(FEATURES, factor, strict=True)),
        }
    )
    models = []
    for target in TARGETS:
        for layer in LAYERS:
            signal = np.tanh(factor[5]) - 0.7 * factor[0] + 0.3 * factor[6] * factor[1]
            value = 0.05 * (signal + rng.normal(scale=1.0, size=n_cells))
            names = {"variant": "base", "target": target, "layer": layer}
            models.append(
                cells.with_columns(
                    *(pl.lit(text).alias(name) for name, text in names.items()),
                    pl.Series("value", value),
                )
            )
    return pl.concat(models)


def forests_of(*, headline_runs: int, runs: int) -> int:
    """Forests `attribute` grows for the six base models."""
    importance = 6 * headline_runs
    random = FOLDS * (2 * headline_runs + 4 * runs)
    spatial, null, effect = 6 * FOLDS * runs, 6 * (FOLDS + 2) * runs, 6 * runs
    return importance + random + spatial + null + effect


def attribute_fraction(fraction: float, workers: int) -> pl.DataFrame:
    """The attribution with a fraction of its runs."""
    return attribute(factor_table(), workers=workers, **runs_of(fraction), **OPTIONS)


def runs_of(fraction: float) -> dict[str, int]:
    """Runs of the published number that a fraction makes, at least one."""
    return {
        "headline_runs": max(1, round(HEADLINE_RUNS * fraction)),
        "runs": max(1, round(RUNS * fraction)),
    }


def measure(*, small: bool = False) -> list[Record]:
    """One forest beside scikit-learn's; the attribution, repeated, and its group tests.

    Raises:
        AssertionError: reused results differ from computed ones, or the two forests disagree.
    """
    fraction, runs, workers = 0.05, 3, os.cpu_count() or 1
    table = factor_table()
    n_cells = table["gridcell_id"].n_unique()
    one = table.head(n_cells)
    x, y = one.select(FEATURES).to_numpy(), one["value"].to_numpy()

    def ours() -> np.ndarray:
        return forest_fit_predict(x, y, x[:229], seed=0, **GROWN)[0]

    def by_scikit_learn() -> np.ndarray:
        forest = RandomForestRegressor(
            GROWN["trees"], max_features=1.0, min_samples_leaf=3, random_state=0, n_jobs=1
        )
        return forest.fit(x, y).predict(x[:229])

    agreement = float(np.corrcoef(ours(), by_scikit_learn())[0, 1])
    if agreement < 0.98:
        raise AssertionError(f"predictions of the two forests correlate only at {agreement:.3f}")
    forest_s, scikit_learn_s = alternate(ours, by_scikit_learn, runs=runs)
    records = [
        Record(
            "forest_scikit_learn",
            seconds=forest_s,
            peer="scikit-learn",
            peer_seconds=scikit_learn_s,
            cells=n_cells,
            runs=runs,
            note="100 trees, leaves of 3, 229 cells predicted, one core; other draws, so other trees:"
            f" predictions correlate at {agreement:.3f}",
        )
    ]
    if small:
        return records

    count = runs_of(fraction)
    start = time.perf_counter()
    found = attribute(table, workers=workers, **count, **OPTIONS)
    attribution_s = time.perf_counter() - start
    start = time.perf_counter()
    again = attribute(table, workers=workers, earlier=found, **count, **OPTIONS)
    reuse_s = time.perf_counter() - start
    if not again.equals(found):
        raise AssertionError("reused results differ from computed ones")

    long = table.unpivot(
        FEATURES,
        index=["target", "layer", "gridcell_id", "grid_row", "grid_col", "value"],
        variable_name="factor",
        value_name="factor_value",
    )

    def groups() -> None:
        factor_groups(long)
        factor_tests(long, seed=1)

    made, every = forests_of(**count), forests_of(headline_runs=HEADLINE_RUNS, runs=RUNS)
    return [
        *records,
        Record(
            "attribution",
            seconds=attribution_s * every / made,
            bar=BAR,
            cells=n_cells,
            peak_rss_mb=peak_rss_mb(attribute_fraction, fraction, workers),
            note=f"EXTRAPOLATED from {made} of {every} forests in {attribution_s:.0f} s; six base"
            f" models, {workers} threads",
        ),
        Record(
            "attribution_unchanged",
            seconds=reuse_s,
            cells=n_cells,
            note=f"the same {made} forests, all reused",
        ),
        Record(
            "factor_groups_and_tests",
            seconds=alternate(groups, runs=runs)[0],
            cells=n_cells,
            runs=runs,
            note="48 of factor x target x layer",
        ),
    ]
