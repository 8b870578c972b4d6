"""Ranks and correlations against scipy, at their limits, and in groups."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from analysis.rank_correlation import correlate_groups, mid_ranks, pearson, spearman

# few distinct values, so that ties are common
tied = st.lists(st.sampled_from([-1.5, -0.0, 0.0, 0.1, 0.2, 0.3, 7.0]), min_size=2, max_size=40)


@given(tied)
def test_mid_ranks_are_scipys(values):
    assert mid_ranks(values).tolist() == stats.rankdata(values, method="average").tolist()


@given(tied, st.integers(0, 1000))
def test_spearman_is_scipys_bounded_and_exact_on_itself(values, seed):
    other = np.random.default_rng(seed).permutation(values)
    found = spearman(values, other)
    if np.unique(values).size == 1:
        assert np.isnan(found)
        return
    assert found == pytest.approx(stats.spearmanr(values, other).statistic, abs=1e-12)
    assert -1 <= found <= 1
    assert spearman(values, values) == 1.0
    assert spearman(values, [-v for v in values]) == -1.0


@given(st.integers(0, 10_000))
def test_spearman_does_not_depend_on_the_order_of_days(seed):
    rng = np.random.default_rng(seed)
    x, y = rng.integers(0, 30, size=(2, 200)) / 100
    order = rng.permutation(200)
    assert spearman(x, y) == spearman(x[order], y[order])


@pytest.mark.parametrize("offset", [0.0, 1e3, 1e6])
def test_pearson_is_scipys_far_from_zero_too(offset):
    x, y = np.random.default_rng(3).normal(size=(2, 300))
    expected = stats.pearsonr(x, x + y).statistic
    assert pearson(x + offset, x + y) == pytest.approx(expected, abs=1e-9)


def test_pearson_of_a_constant_is_undefined_though_its_mean_is_not_exact():
    assert np.isnan(pearson([0.1] * 3 + [0.1] * 7, range(10)))


def test_array_functions_refuse_gaps_and_unequal_lengths():
    with pytest.raises(ValueError, match="missing or infinite"):
        spearman([1.0, np.nan, 2.0], [1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="expected two series of one length"):
        pearson([1.0, 2.0], [1.0, 2.0, 3.0])


@pytest.mark.parametrize("method", ["spearman", "pearson"])
def test_groups_use_pairs_where_both_are_valid(method):
    rng = np.random.default_rng(5)
    frame = pl.DataFrame(
        {
            "product": np.repeat(["b", "a"], 300),
            "lag_days": np.tile(np.repeat([0, 1], 150), 2),
            "x": rng.normal(size=600).astype(np.float32),
            "y": rng.normal(size=600),
        }
    ).with_columns(
        pl.when(pl.int_range(pl.len()) % 7 != 0).then("x").alias("x"),
        pl.when(pl.int_range(pl.len()) % 5 != 0).then("y").otherwise(float("nan")).alias("y"),
    )
    found = correlate_groups(
        frame.sample(fraction=1, shuffle=True, seed=1),
        keys=["product", "lag_days"],
        x="x",
        y="y",
        method=method,
        min_pairs=50,
    )
    assert found.select("product", "lag_days").rows() == [("a", 0), ("a", 1), ("b", 0), ("b", 1)]
    oracle = {"spearman": stats.spearmanr, "pearson": stats.pearsonr}[method]
    for product, lag, r, n, status in found.iter_rows():
        part = frame.filter(product=product, lag_days=lag).drop_nulls().drop_nans()
        assert (n, status) == (part.height, "ok")
        assert r == pytest.approx(oracle(part["x"], part["y"]).statistic, abs=1e-12)


def test_groups_without_an_answer_keep_n_and_say_why():
    frame = pl.DataFrame(
        {
            "cell": ["few"] * 3 + ["flat"] * 4 + ["none"],
            "x": [1.0, 2.0, None, 1.0, 2.0, 3.0, 4.0, None],
            "y": [1.0, 2.0, 3.0, 0.3, 0.3, 0.3, 0.3, None],
        }
    )
    found = correlate_groups(frame, keys=["cell"], x="x", y="y", min_pairs=3)
    assert found.rows() == [
        ("few", None, 2, "too_few_days"),
        ("flat", None, 4, "zero_variance"),
        ("none", None, 0, "too_few_days"),
    ]


def test_the_minimum_is_enough():
    frame = pl.DataFrame({"cell": ["a"] * 4, "x": [1, 2, 3, 4], "y": [1, 2, 3, 4]})
    at = correlate_groups(frame, keys=["cell"], x="x", y="y", min_pairs=4)
    below = correlate_groups(frame, keys=["cell"], x="x", y="y", min_pairs=5)
    assert (at["status"][0], at["r"][0]) == ("ok", 1.0)
    assert (below["status"][0], below["r"][0], below["n"][0]) == ("too_few_days", None, 4)


def test_options_are_checked():
    frame = pl.DataFrame({"cell": ["a"], "x": [1.0], "y": [1.0]})
    with pytest.raises(ValueError, match="method: found 'kendall'"):
        correlate_groups(frame, keys=["cell"], x="x", y="y", method="kendall", min_pairs=3)
    with pytest.raises(ValueError, match="min_pairs: found 1"):
        correlate_groups(frame, keys=["cell"], x="x", y="y", min_pairs=1)
    with pytest.raises(ValueError, match="column y: missing"):
        correlate_groups(frame.drop("y"), keys=["cell"], x="x", y="y", min_pairs=3)
