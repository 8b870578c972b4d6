"""Forests against scikit-learn's, folds that never leak, nulls, effects of known shape, reuse."""

import hashlib
import inspect

import numpy as np
import polars as pl
import pytest
from scipy.stats import pearsonr
from sklearn.ensemble import RandomForestRegressor
from sklearn.inspection import permutation_importance
from sklearn.model_selection import KFold
from sklearn.tree import DecisionTreeRegressor

from analysis import random_forest
from analysis.random_forest import (
    FOREST_CROSS_VALIDATION_OUTPUT,
    FOREST_EFFECT_OUTPUT,
    FOREST_IMPORTANCE_OUTPUT,
    FOREST_IMPORTANCE_RUN_OUTPUT,
    FOREST_NULL_OUTPUT,
    FOREST_OUTPUT,
    FOREST_PERMUTATION_OUTPUT,
    attribute,
    attribution_key,
    forest_cross_validation,
    forest_effect,
    forest_fit_predict,
    forest_importance,
    forest_null,
)

FEATURES = ["rain", "clay", "lai"]
GROWN = {
    "features": FEATURES,
    "trees": 20,
    "max_features": 1.0,
    "min_samples_leaf": 3,
    "seed": 5,
    "workers": 2,
}


def single(x):
    """Values exact in 32 bits, as scikit-learn's trees read them."""
    return x.astype(np.float32).astype(np.float64)


def cells(n=120, seed=1, *, signal=1.0, target="delta_r", variant="base"):
    rng = np.random.default_rng(seed)
    x = single(rng.normal(size=(n, 3)))
    return pl.DataFrame(
        {
            "variant": variant,
            "target": target,
            "layer": "ssm",
            "gridcell_id": [f"cell-{i:04d}" for i in range(n)],
            "grid_row": rng.integers(300, 400, size=n),
            "grid_col": rng.integers(3000, 3100, size=n),
            "value": signal * (2 * x[:, 0] - x[:, 1]) + rng.normal(size=n),
            **{name: x[:, j] for j, name in enumerate(FEATURES)},
        }
    )


def number(text):
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


@pytest.mark.parametrize(("n", "leaf"), [(400, 12), (150, 15)])
def test_trees_are_those_of_scikit_learn(n, leaf):
    # With large leaves no two columns split a node alike, and no choice between equals is left.
    rng = np.random.default_rng(n)
    x, new = single(rng.normal(size=(n, 6))), single(rng.normal(size=(80, 6)))
    y = x[:, 0] - x[:, 1] * x[:, 2] + rng.normal(size=n)
    found, importance = forest_fit_predict(
        x, y, new, trees=15, max_features=1.0, min_samples_leaf=leaf, seed=9
    )
    draws = np.random.default_rng(9).integers(0, n, size=(15, n))
    grown = [
        DecisionTreeRegressor(min_samples_leaf=leaf, random_state=1).fit(
            x, y, sample_weight=np.bincount(draw, minlength=n)
        )
        for draw in draws
    ]
    expected = np.mean([tree.predict(new) for tree in grown], axis=0)
    assert found == pytest.approx(expected, abs=1e-10)
    shares = np.mean([tree.feature_importances_ for tree in grown], axis=0)
    assert importance == pytest.approx(100 * shares, abs=1e-8)


@pytest.mark.parametrize("max_features", [1.0, 0.5])
def test_forest_of_the_published_settings_predicts_as_scikit_learn_does(max_features):
    rng = np.random.default_rng(3)
    x, new = single(rng.normal(size=(500, 8))), single(rng.normal(size=(300, 8)))
    y = np.sin(2 * x[:, 0]) + x[:, 1] * x[:, 2] + 0.5 * rng.normal(size=500)
    options = {"max_features": max_features, "min_samples_leaf": 3}
    one, importance = forest_fit_predict(x, y, new, trees=200, seed=1, **options)
    grown = RandomForestRegressor(200, random_state=1, **options).fit(x, y)
    other = RandomForestRegressor(200, random_state=2, **options).fit(x, y)
    # no further from scikit-learn's forest than another of its forests
    apart = np.std(grown.predict(new) - other.predict(new))
    assert np.std(one - grown.predict(new)) < 1.3 * apart
    assert abs((one - grown.predict(new)).mean()) < 0.02
    assert importance == pytest.approx(100 * grown.feature_importances_, abs=1.5)


def test_equal_columns_share_their_importance():
    x = np.repeat(np.random.default_rng(1).normal(size=(200, 1)), 2, axis=1)
    _, importance = forest_fit_predict(
        x, x[:, 0], x[:0], trees=100, max_features=1.0, min_samples_leaf=3, seed=1
    )
    assert importance == pytest.approx([50, 50], abs=8)


def test_scale_and_ties_do_not_matter():
    rng = np.random.default_rng(2)
    x = rng.integers(0, 3, size=(90, 2)).astype(float)
    y, options = x[:, 0] + rng.normal(size=90), {"trees": 10, "max_features": 1.0, "seed": 4}
    small, share = forest_fit_predict(x, y * 1e-9, x, min_samples_leaf=3, **options)
    large, same = forest_fit_predict(x, y * 1e9 + 1e12, x, min_samples_leaf=3, **options)
    assert small * 1e18 + 1e12 == pytest.approx(large)
    assert share == pytest.approx(same)
    single_leaf, none = forest_fit_predict(x, y, x, min_samples_leaf=60, **options)
    assert np.ptp(single_leaf) == 0
    assert none.tolist() == [0.0, 0.0]


def test_leaves_hold_distinct_cells():
    x = np.arange(30.0)[:, None]
    y = np.r_[np.zeros(28), 100.0, 100.0]
    found, _ = forest_fit_predict(
        x, y, x[-1:], trees=200, max_features=1.0, min_samples_leaf=3, seed=1
    )
    assert found[0] < 95  # two high cells, however often drawn, never fill a leaf of their own


def test_importance_is_the_mean_of_documented_runs():
    frame = cells()
    large = {**GROWN, "min_samples_leaf": 15}  # no equal splits to draw lots between
    summary, each = forest_importance(frame.sample(fraction=1, shuffle=True), runs=4, **large)
    assert summary.schema == FOREST_IMPORTANCE_OUTPUT
    assert each.schema == FOREST_IMPORTANCE_RUN_OUTPUT
    x, y = frame.select(FEATURES).to_numpy(), frame["value"].to_numpy()
    expected = []
    for run in range(1, 5):
        rng = np.random.default_rng(number(f"5|base|delta_r|ssm|importance|{run}|0"))
        drawn = rng.integers(0, 120, size=120)
        tree_draws = rng.integers(0, 120, size=(20, 120))
        shares = [
            DecisionTreeRegressor(min_samples_leaf=15, random_state=0)
            .fit(x[drawn], y[drawn], sample_weight=np.bincount(draw, minlength=120))
            .feature_importances_
            for draw in tree_draws
        ]
        expected.append(100 * np.mean(shares, axis=0))
    expected = np.array(expected)
    runs = each.pivot(on="factor", index="run", values="importance_pct").select(FEATURES)
    assert runs.to_numpy() == pytest.approx(expected, abs=1e-8)
    assert runs.to_numpy().sum(axis=1) == pytest.approx(np.full(4, 100))
    values = runs.to_numpy()
    assert summary["importance_pct"].to_numpy() == pytest.approx(values.mean(axis=0))
    assert summary["importance_sd_pct"].to_numpy() == pytest.approx(values.std(axis=0, ddof=1))
    assert summary["importance_rank"].to_list() == [1, 2, 3]
    assert summary["n_cells"].to_list() == [120] * 3


def test_rank_stability_by_hand():
    assert random_forest._ranks(np.array([[10.0, 30.0, 60.0], [40.0, 40.0, 20.0]])).tolist() == [
        [3, 2, 1],
        [1, 2, 3],
    ]
    frame = cells(signal=0.0)
    summary, each = forest_importance(frame, runs=12, **GROWN)
    runs = each.with_columns(
        own=pl.col("importance_pct").rank(method="ordinal", descending=True).over("run")
    ).join(summary.select("factor", "importance_rank"), on="factor")
    moved = runs.group_by("factor").agg(
        same=(pl.col("own") == pl.col("importance_rank")).mean(),
        change=(pl.col("own").cast(pl.Int64) - pl.col("importance_rank")).abs().mean(),
    )
    both = summary.join(moved, on="factor")
    assert both["rank_stability_frac"].to_list() == pytest.approx(both["same"].to_list())
    assert both["rank_change_mean"].to_list() == pytest.approx(both["change"].to_list())
    assert 0 < both["rank_stability_frac"].min() < 1


def test_cross_validation_is_the_mean_r_of_documented_folds():
    frame = cells()
    large = {**GROWN, "min_samples_leaf": 15}  # no equal splits to draw lots between
    found, _ = forest_cross_validation(frame, runs=2, folds=5, **large)
    assert found.schema == FOREST_CROSS_VALIDATION_OUTPUT
    x, y = frame.select(FEATURES).to_numpy(), frame["value"].to_numpy()
    for run in (1, 2):
        state = number(f"5|folds|{run}") >> 32
        r = []
        split = KFold(5, shuffle=True, random_state=state).split(y)
        for k, (train, held_out) in enumerate(split):
            rng = np.random.default_rng(number(f"5|base|delta_r|ssm|random|{run}|{k}"))
            for j in range(3):
                rng.permutation(x[held_out, j])
            draws = rng.integers(0, train.size, size=(20, train.size))
            predicted = np.mean(
                [
                    DecisionTreeRegressor(min_samples_leaf=15, random_state=0)
                    .fit(x[train], y[train], sample_weight=np.bincount(d, minlength=train.size))
                    .predict(x[held_out])
                    for d in draws
                ],
                axis=0,
            )
            r.append(pearsonr(predicted, y[held_out]).statistic)
        assert found["r"][run - 1] == pytest.approx(np.mean(r), abs=1e-10)
    assert found["n_folds"].to_list() == [5, 5]
    assert found["n_cells_smallest_fold"].to_list() == [24, 24]
    assert found["r"][0] != found["r"][1]


def test_no_cell_is_predicted_by_a_forest_that_has_seen_it():
    # Noise cannot be predicted. Drawing cells before splitting predicts it well: copies leak.
    frame = cells(200, signal=0.0)
    found, _ = forest_cross_validation(frame, runs=3, folds=10, **GROWN)
    assert found["r"].abs().max() < 0.25
    x, y = frame.select(FEATURES).to_numpy(), frame["value"].to_numpy()
    drawn = np.random.default_rng(1).integers(0, 200, size=200)
    leaky = []
    for train, held_out in KFold(10, shuffle=True, random_state=1).split(drawn):
        predicted, _ = forest_fit_predict(
            x[drawn][train],
            y[drawn][train],
            x[drawn][held_out],
            trees=20,
            max_features=1.0,
            min_samples_leaf=3,
            seed=1,
        )
        leaky.append(pearsonr(predicted, y[drawn][held_out]).statistic)
    assert np.mean(leaky) > 0.4


@pytest.mark.parametrize("scheme", ["random", "spatial_block"])
def test_training_and_held_out_cells_never_meet(scheme, monkeypatch):
    frame = cells().with_columns(value=pl.int_range(120).cast(pl.Float64))  # names each cell
    seen = []

    def spy(self, x, y, new, rng):
        seen.append((set(y.tolist()), y.size, new[: len(new) // (len(FEATURES) + 1)]))
        return np.arange(len(new), dtype=float), np.ones(x.shape[1])

    monkeypatch.setattr(random_forest._Growth, "fit_predict", spy)
    options = {"scheme": scheme, "spatial_block_km": 200}
    forest_cross_validation(frame, runs=2, folds=5, **options, **{**GROWN, "workers": 1})
    cell_of = {tuple(row[1:]): row[0] for row in frame.select("value", *FEATURES).iter_rows()}
    assert len(seen) == 2 * 5
    for run in (seen[:5], seen[5:]):
        every = []
        for train, size, points in run:
            held_out = {cell_of[tuple(point)] for point in points}
            assert size == len(train)  # each training cell once
            assert not train & held_out
            assert train | held_out == set(range(120))
            every += sorted(held_out)
        assert sorted(every) == list(range(120))


def test_spatial_blocks_stay_together_and_move_between_runs():
    frame = cells()
    model = next(random_forest._models(random_forest._checked(frame, FEATURES), FEATURES))
    groups = []
    for run in (1, 2):
        folds = random_forest._folds(model, "spatial_block", 10, run, 5, 200.0)
        fold_of = np.empty(120, dtype=int)
        for k, held_out in enumerate(folds):
            fold_of[held_out] = k
        block = np.floor(
            (frame.select("grid_row", "grid_col").to_numpy() + 0.5) * 9008.055210146 / 200e3
        )
        for one in np.unique(block, axis=0):
            assert np.ptp(fold_of[(block == one).all(axis=1)]) == 0
        groups.append(fold_of)
    assert (groups[0] != groups[1]).any()


def test_blocks_hold_back_what_neighbours_give_away():
    rng = np.random.default_rng(4)
    frame = cells(250, signal=0.0)
    row, col = (frame[name].to_numpy() for name in ("grid_row", "grid_col"))
    patch = rng.normal(size=(5, 5))[(row - 300) // 20, (col - 3000) // 20]
    frame = frame.with_columns(
        value=pl.Series(patch),
        rain=pl.Series(row + rng.normal(size=250)),
        clay=pl.Series(col + rng.normal(size=250)),
    )
    random, _ = forest_cross_validation(frame, runs=2, folds=5, **GROWN)
    blocks = {"scheme": "spatial_block", "spatial_block_km": 180}
    spatial, _ = forest_cross_validation(frame, runs=2, folds=5, **blocks, **GROWN)
    assert random["r"].mean() > spatial["r"].mean() + 0.3


def test_undefined_folds_are_left_out_and_counted():
    # Two values only: in some folds of five cells they do not differ.
    frame = cells(60).with_columns(value=(pl.int_range(60) < 8).cast(pl.Float64))
    found, _ = forest_cross_validation(frame, runs=3, folds=12, **GROWN)
    assert found["n_folds_undefined"].min() > 0
    assert found["r"].null_count() == 0
    assert set(found["status"]) == {"ok"}
    one = pl.Series([1.0] + [0.0] * 59)
    # the cell that differs is always held out alone among equals, or never seen
    found, _ = forest_cross_validation(
        frame.with_columns(value=one), runs=1, folds=20, **{**GROWN, "min_samples_leaf": 50}
    )
    assert (found["r"][0], found["n_folds_undefined"][0]) == (None, 20)
    assert found["status"][0] == "no_defined_fold"


def test_two_cells_have_no_correlation():
    corner = np.repeat([0, 20, 40, 60], [50, 40, 28, 2])
    frame = cells().with_columns(grid_row=pl.Series(corner), grid_col=pl.lit(0))
    blocks = {"scheme": "spatial_block", "spatial_block_km": 100}
    found, _ = forest_cross_validation(frame, runs=1, folds=4, **blocks, **GROWN)
    row = found.row(0, named=True)
    assert (row["n_cells_smallest_fold"], row["n_folds"], row["n_folds_undefined"]) == (2, 4, 1)
    assert row["status"] == "ok"


def test_permutation_importance_is_that_of_held_out_cells():
    frame = cells(400)
    _, added = forest_cross_validation(frame, runs=3, folds=5, **GROWN)
    assert added.schema == FOREST_PERMUTATION_OUTPUT
    x, y = frame.select(FEATURES).to_numpy(), frame["value"].to_numpy()
    lost = []
    for train, held_out in KFold(5, shuffle=True, random_state=0).split(y):
        grown = RandomForestRegressor(50, min_samples_leaf=3, random_state=0)
        grown.fit(x[train], y[train])
        lost.append(
            permutation_importance(
                grown, x[held_out], y[held_out], n_repeats=3, random_state=0
            ).importances_mean
        )
    expected = np.mean(lost, axis=0)
    assert added["permutation_importance"].to_numpy() == pytest.approx(expected, abs=0.12)
    assert added["permutation_importance"][0] > 0.8
    assert abs(added["permutation_importance"][2]) < 0.05


def test_nulls_find_nothing():
    frame = cells(200)
    found = forest_null(frame, runs=6, folds=5, **GROWN)
    assert found.schema == FOREST_NULL_OUTPUT
    r = found.filter(measure="r")
    assert r["null_value"].to_numpy() == pytest.approx(np.zeros(6), abs=0.3)
    assert abs(r["null_value"].mean()) < 0.12
    shuffled = found.filter(kind="shuffled_target", measure="importance_pct")
    assert shuffled.group_by("factor").agg(pl.col("null_value").mean())[
        "null_value"
    ].to_list() == pytest.approx([100 / 3] * 3, abs=6)
    noise = found.filter(kind="noise_column").pivot(
        on="factor", index="run", values="null_value", aggregate_function="first"
    )
    assert noise.columns == ["run", *FEATURES, "noise"]
    assert noise["noise"].mean() == pytest.approx(noise["lai"].mean(), abs=2)  # as useless
    assert noise["noise"].max() < noise["rain"].min()


@pytest.mark.parametrize(("sign", "factor"), [(1, "rain"), (-1, "clay")])
def test_effects_of_a_linear_target_are_its_slopes(sign, factor):
    rng = np.random.default_rng(6)
    frame = cells(600).with_columns(
        rain=pl.Series(rng.uniform(size=600)), clay=pl.Series(rng.uniform(size=600))
    )
    frame = frame.with_columns(value=3 * pl.col("rain") - 2 * pl.col("clay"))
    found = forest_effect(frame, runs=3, bins=8, **GROWN)
    assert found.schema == FOREST_EFFECT_OUTPUT
    own = found.filter(factor=factor)
    slope = {"rain": 3, "clay": -2}[factor]
    middle = (own["factor_lower"] + own["factor_upper"]) / 2
    expected = slope * (middle - 0.5)
    assert own["effect"].to_numpy() == pytest.approx(expected.to_numpy(), abs=0.25)
    assert own["direction"].to_list() == [sign] * 8
    assert own["n_cells"].to_list() == [75] * 8
    assert (own["effect"] * own["n_cells"]).sum() == pytest.approx(0, abs=1e-9)
    ends = own["effect"].max() - own["effect"].min()
    assert own["effect_range"].to_list() == pytest.approx([ends] * 8)
    assert found.filter(factor="lai")["effect_range"][0] < 0.15 * ends


def test_accumulated_effect_by_hand():
    lower, upper = np.array([0.0, 1.0, 1.0, 4.0]), np.array([2.0, 1.0, 4.0, 9.0])
    inside = np.array([0, 0, 1, 2])
    # steps 1, 3, 5; edges 0, 1, 4, 9; middles 0.5, 2.5, 6.5; mean over cells 2.5
    found = random_forest._accumulated_effect(lower, upper, inside, 3)
    assert found.tolist() == [-2.0, 0.0, 4.0]
    edges, inside = random_forest._bins(np.array([1.0, 1.0, 1.0, 2.0, 3.0]), 4)
    assert edges.tolist() == [1.0, 2.0, 3.0]
    assert inside.tolist() == [0, 0, 0, 0, 1]


def test_order_of_rows_workers_and_other_models_change_nothing():
    frame = cells()
    other = cells(seed=2, target="r_baseline")
    options = {**GROWN, "workers": 1}
    for function, extra in (
        (forest_importance, {"runs": 2}),
        (forest_cross_validation, {"runs": 2, "folds": 4}),
        (forest_null, {"runs": 2, "folds": 4}),
        (forest_effect, {"runs": 2}),
    ):
        alone = function(frame, **extra, **options)
        mixed = pl.concat([other, frame]).sample(fraction=1, shuffle=True, seed=1)
        together = function(mixed, **extra, **{**options, "workers": 3})
        alone, together = ([r] if isinstance(r, pl.DataFrame) else r for r in (alone, together))
        for one, both in zip(alone, together, strict=True):
            assert both.filter(pl.col("target") == "delta_r").equals(one)
        reseeded = function(frame, **extra, **{**options, "seed": 6})
        first = reseeded if isinstance(reseeded, pl.DataFrame) else reseeded[0]
        assert not first.equals(alone[0])


def test_missing_and_constant_factors_are_told():
    frame = cells().with_columns(clay=pl.lit(None, dtype=pl.Float64), lai=pl.lit(0.25))
    frame = frame.with_columns(rain=pl.when(pl.int_range(120) > 4).then("rain"))
    summary, _ = forest_importance(frame, runs=2, **GROWN)
    rows = {row["factor"]: row for row in summary.iter_rows(named=True)}
    assert (rows["rain"]["importance_pct"], rows["rain"]["status"]) == (pytest.approx(100), "ok")
    assert (rows["clay"]["importance_pct"], rows["clay"]["status"]) == (None, "missing_factor")
    assert rows["clay"]["message"] == "clay is null in all 120 cells"
    assert (rows["lai"]["importance_pct"], rows["lai"]["status"]) == (0, "zero_variance")
    assert (rows["rain"]["n_cells"], rows["rain"]["n_cells_left_out"]) == (115, 5)
    effect = forest_effect(frame, runs=2, **GROWN)
    told = effect.filter(pl.col("factor") != "rain").select("factor", "bin", "effect", "status")
    assert told.rows() == [("clay", 1, None, "missing_factor"), ("lai", 1, None, "zero_variance")]
    found, added = forest_cross_validation(frame, runs=1, folds=4, **GROWN)
    assert found["r"][0] > 0.5
    assert added.filter(factor="clay")["permutation_importance"].to_list() == [None]


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"value": pl.lit(1.0)}, "zero_variance"),
        ({"value": pl.when(pl.int_range(120) < 29).then("value")}, "too_few_cells"),
        ({"value": pl.lit(None, dtype=pl.Float64)}, "too_few_cells"),
        ({name: pl.lit(float("nan")) for name in FEATURES}, "missing_factor"),
        ({"grid_row": pl.lit(5), "grid_col": pl.lit(5)}, "too_few_blocks"),
    ],
)
def test_models_that_cannot_be_made_have_rows_that_say_so(change, status):
    frame = cells().with_columns(**change)
    blocks = {"scheme": "spatial_block", "spatial_block_km": 72}
    found, _ = forest_cross_validation(frame, runs=2, folds=4, **blocks, **GROWN)
    assert found["status"].to_list() == [status] * 2
    assert found["r"].null_count() == 2
    assert found["message"].null_count() == 0
    if status != "too_few_blocks":
        summary, each = forest_importance(frame, runs=2, **GROWN)
        assert (summary.height, each.height) == (3, 0)
        assert set(summary["status"]) == {status}
        assert forest_null(frame, runs=2, **GROWN)["status"].to_list() == [status]
        assert set(forest_effect(frame, runs=2, **GROWN)["status"]) == {status}


def test_every_fold_needs_three_cells():
    found, _ = forest_cross_validation(cells(35), runs=1, folds=12, **GROWN)
    assert (found["status"][0], found["message"][0]) == (
        "too_few_cells",
        "35 cells, 36 needed for 12 folds",
    )
    found, _ = forest_cross_validation(cells(36), runs=1, folds=12, **GROWN)
    assert (found["status"][0], found["n_cells_smallest_fold"][0]) == ("ok", 3)


def test_bad_frames_and_options_are_refused():
    frame = cells()
    with pytest.raises(ValueError, match="two rows for variant base.*cell-0000"):
        forest_importance(pl.concat([frame, frame.head(1)]), runs=1, **GROWN)
    with pytest.raises(ValueError, match="column clay: missing"):
        forest_null(frame.drop("clay"), **GROWN)
    for wrong, told in (
        ({"trees": 0}, "trees: found 0"),
        ({"max_features": 1.5}, "max_features: found 1.5"),
        ({"workers": 0}, "workers: found 0"),
        ({"features": ["rain", "rain"]}, "features: found"),
    ):
        with pytest.raises(ValueError, match=told):
            forest_effect(frame, **{**GROWN, **wrong})
    with pytest.raises(ValueError, match="scheme: found 'blocks'"):
        forest_cross_validation(frame, runs=1, scheme="blocks", **GROWN)
    with pytest.raises(ValueError, match="spatial_block_km: found none"):
        forest_cross_validation(frame, runs=1, scheme="spatial_block", **GROWN)
    with pytest.raises(ValueError, match="folds: found 1"):
        forest_null(frame, folds=1, **GROWN)


ATTRIBUTE = {
    "features": FEATURES,
    "headline_runs": 3,
    "runs": 2,
    "folds": 4,
    "spatial_block_km": 200,
    "trees": 8,
    "seed": 5,
    "workers": 2,
}


def models():
    return pl.concat(
        [
            cells(),
            cells(target="r_baseline", seed=2),
            cells(variant="pearson", seed=3),
            cells(20, target="r_candidate", seed=4),
        ]
    )


def test_attribution_is_its_parts():
    frame = models()
    found = attribute(frame, **ATTRIBUTE)
    assert found.schema == FOREST_OUTPUT
    grown = {**GROWN, "trees": 8}
    base = frame.filter(pl.col("variant") == "base")
    importance, _ = forest_importance(base, runs=3, **grown)
    keys = ["variant", "target", "layer", "factor"]
    same = found.filter(part="importance", variant="base").select(importance.columns)
    assert same.sort(keys).equals(importance.sort(keys))
    runs = found.filter(part="cross_validation").group_by("variant", "target", "scheme").len()
    assert {row[:3]: row[3] for row in runs.iter_rows()} == {
        (*model, scheme): 3 if (*model, scheme) == ("base", "delta_r", "random") else 2
        for model in frame.select("variant", "target").unique().iter_rows()
        for scheme in ("random", "spatial_block")
    }
    null = found.filter(part="null")
    assert set(null["variant"]) == set(found.filter(part="effect")["variant"]) == {"base"}
    floor = null.filter(kind="noise_column", factor="noise", target="delta_r")["null_value"].mean()
    told = found.filter(part="importance", variant="base", target="delta_r")
    assert told["noise_floor_pct"].to_list() == pytest.approx([floor] * 3)
    assert told["permutation_importance"].null_count() == 0
    few = found.filter(target="r_candidate")
    assert set(few["status"]) == {None, "too_few_cells"} - {None}


def test_reuse_equals_recomputation_and_computes_nothing_twice(monkeypatch):
    frame = models()
    earlier = attribute(frame, **ATTRIBUTE)
    # one cell of one model changes: only that model is made anew
    changed = frame.with_columns(
        value=pl.when((pl.col("variant") == "pearson") & (pl.col("gridcell_id") == "cell-0007"))
        .then(0.5)
        .otherwise("value")
    )
    expected = attribute(changed, **ATTRIBUTE)
    fitted = []
    whole = random_forest._Growth.fit_predict

    def count(self, x, y, new, rng):
        fitted.append(y.size)
        return whole(self, x, y, new, rng)

    monkeypatch.setattr(random_forest._Growth, "fit_predict", count)
    assert attribute(changed, earlier=earlier, **ATTRIBUTE).equals(expected)
    assert len(fitted) == 2 + 2 * 4 + 2 * 4  # importance, random and spatial folds of one model
    fitted.clear()
    assert attribute(frame, earlier=earlier, **{**ATTRIBUTE, "workers": 1}).equals(earlier)
    assert not fitted
    assert not attribute(frame, earlier=earlier, **{**ATTRIBUTE, "seed": 6}).equals(earlier)
    assert fitted
    fitted.clear()
    assert attribute(frame, earlier=earlier.drop("r"), **ATTRIBUTE).equals(earlier)
    assert fitted


def test_key_changes_with_all_that_matters(monkeypatch):
    frame, settings = cells(), {"trees": 100, "features": FEATURES}
    key = attribution_key(frame, settings)
    assert key == attribution_key(frame.sample(fraction=1, shuffle=True), dict(settings))
    assert key == attribution_key(frame.select(sorted(frame.columns)), settings)
    first = pl.int_range(120) > 0
    different = [
        attribution_key(frame.with_columns(rain=pl.when(first).then("rain")), settings),
        attribution_key(
            frame.with_columns(rain=pl.when(first).then("rain").otherwise(0.0)), settings
        ),
        attribution_key(frame.head(-1), settings),
        attribution_key(frame.rename({"rain": "snow"}), settings),
        attribution_key(frame.with_columns(pl.col("rain") + 1e-15), settings),
        attribution_key(frame.with_columns(pl.col("grid_row").cast(pl.Float64)), settings),
        attribution_key(frame, {**settings, "trees": 101}),
        attribution_key(frame, {**settings, "features": FEATURES[::-1]}),
    ]
    monkeypatch.setattr(random_forest.sklearn, "__version__", "0.0")
    different.append(attribution_key(frame, settings))
    monkeypatch.undo()
    source = inspect.getsource
    for changed in (random_forest, random_forest.spatial_blocks):
        monkeypatch.setattr(
            random_forest.inspect,
            "getsource",
            lambda code, changed=changed: "other" if code is changed else source(code),
        )
        different.append(attribution_key(frame, settings))
    assert len({key, *different}) == len(different) + 1
