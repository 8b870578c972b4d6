"""The bootstrap against scipy on the same days, its draws as described, its coverage."""

import hashlib

import numpy as np
import pytest
from scipy import stats
from scipy.signal import lfilter

from analysis.bootstrap import (
    block_draws,
    bootstrap_correlations,
    bootstrap_means,
    bootstrap_p_value,
    check_options,
    entity_seed,
    for_each_group,
    iid_draws,
    percentile_interval,
)
from analysis.rank_correlation import spearman

ORACLE = {"spearman": stats.spearmanr, "pearson": stats.pearsonr}


def positions(starts, *, n, block_days):
    """The days of a member, block by block, as a person would write them down."""
    days = [(s + j) % n for s in starts for j in range(block_days)]
    return days[:n]


def three_series(n, *, seed=1, decimals=1):
    rng = np.random.default_rng(seed)
    observed = rng.normal(size=n)
    series = observed, observed + rng.normal(size=n), observed + 0.7 * rng.normal(size=n)
    return [np.round(one, decimals) for one in series]


def autoregressive(rng, *, phi, n, spin_up=200):
    noise = rng.normal(size=n + spin_up) * np.sqrt(1 - phi**2)
    return lfilter([1.0], [1.0, -phi], noise)[spin_up:]


def test_seed_is_the_documented_hash():
    digest = hashlib.sha256(b"7|290|3174|rzsm|block").digest()
    expected = int(digest.hex()[:16], 16)
    found = entity_seed(7, grid_row=290, grid_col=3174, layer="rzsm", scheme="block")
    assert found == expected


def test_seeds_differ_by_every_part():
    base = {"grid_row": 1, "grid_col": 2, "layer": "ssm", "scheme": "iid"}
    others = [{"grid_row": 2}, {"grid_col": 1}, {"layer": "rzsm"}, {"scheme": "block"}]
    seeds = {entity_seed(1, **base | other) for other in [{}, *others]}
    assert len(seeds | {entity_seed(2, **base)}) == 6


def test_draws_are_the_documented_ones():
    single = np.random.default_rng(5).integers(0, 101, size=(7, 101))
    assert (iid_draws(5, n=101, members=7) == single).all()
    starts = np.random.default_rng(5).integers(0, 101, size=(7, 4))
    assert (block_draws(5, n=101, members=7, block_days=30) == starts).all()


@pytest.mark.parametrize("method", ["spearman", "pearson"])
@pytest.mark.parametrize(("n", "block_days"), [(120, 1), (120, 30), (121, 30), (119, 7), (100, 99)])
@pytest.mark.parametrize("decimals", [0, 1, 9])
def test_members_equal_scipy_on_the_same_days(method, n, block_days, decimals):
    series = three_series(n, decimals=decimals)
    draws = block_draws(3, n=n, members=15, block_days=block_days)
    found = bootstrap_correlations(*series, draws=draws, block_days=block_days, method=method)
    for b, starts in enumerate(draws):
        days = positions(starts, n=n, block_days=block_days)
        observed, baseline, candidate = (one[days] for one in series)
        assert found[0, b] == pytest.approx(ORACLE[method](observed, baseline)[0], abs=1e-12)
        assert found[1, b] == pytest.approx(ORACLE[method](observed, candidate)[0], abs=1e-12)


def test_pearson_members_keep_their_digits_far_from_zero():
    series = [one + 1e4 for one in three_series(100, decimals=9)]
    draws = iid_draws(3, n=100, members=10)
    found = bootstrap_correlations(*series, draws=draws, method="pearson")
    near = bootstrap_correlations(*(s - 1e4 for s in series), draws=draws, method="pearson")
    assert np.abs(found - near).max() < 1e-10


def test_means_equal_the_plain_ones():
    columns = np.random.default_rng(2).normal(size=(3, 50))
    draws = block_draws(2, n=50, members=20, block_days=8)
    found = bootstrap_means(columns, draws=draws, block_days=8)
    for b, starts in enumerate(draws):
        days = positions(starts, n=50, block_days=8)
        assert found[b] == pytest.approx(columns[:, days].mean(axis=1), abs=1e-14)


def test_equal_products_never_differ():
    observed, baseline, _ = three_series(200)
    draws = iid_draws(3, n=200, members=50)
    r = bootstrap_correlations(observed, baseline, 3 * baseline + 1, draws=draws)
    delta = r[1] - r[0]
    assert (delta == 0).all()
    assert bootstrap_p_value(delta) == 1.0


@pytest.mark.parametrize("method", ["spearman", "pearson"])
@pytest.mark.parametrize("constant", [0, 1, 2])
def test_a_resample_with_a_constant_series_is_undefined(method, constant):
    series = three_series(6, decimals=6)
    series[constant][:] = [0.1, 0.1, 0.1, 0.7, 0.8, 0.9]
    draws = np.array([[0, 1, 2, 0, 1, 2], [0, 1, 2, 3, 4, 5]])
    found = bootstrap_correlations(*series, draws=draws, method=method)
    assert np.isnan(found[:, 0]).all()
    assert np.isfinite(found[:, 1]).all()


def test_undefined_members_are_left_out_up_to_half():
    members = np.array([np.nan] * 4 + [0.1, 0.2, 0.3, 0.4])
    assert percentile_interval(members, level=0.5) == pytest.approx((0.175, 0.325))
    assert bootstrap_p_value(members) == pytest.approx(2 * 1 / 5)
    members[4] = np.nan
    assert np.isnan(percentile_interval(members, level=0.5)).all()
    assert np.isnan(bootstrap_p_value(members))


@pytest.mark.parametrize("level", [0.5, 0.9, 0.95])
def test_percentiles_are_numpys_linear_ones(level):
    members = np.random.default_rng(1).normal(size=1000)
    expected = np.quantile(members, [(1 - level) / 2, (1 + level) / 2], method="linear")
    assert percentile_interval(members, level=level) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("below", "zero", "above", "expected"),
    [
        (0, 0, 99, 2 / 100),  # never zero, so long as members are finite
        (3, 0, 96, 2 * 4 / 100),
        (96, 0, 3, 2 * 4 / 100),
        (3, 2, 94, 2 * 6 / 100),  # a tie counts on both sides
        (50, 0, 49, 1.0),
    ],
)
def test_p_value_by_hand(below, zero, above, expected):
    members = np.array([-0.1] * below + [0.0] * zero + [0.1] * above)
    assert bootstrap_p_value(members) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"min_pairs": 3}, "min_pairs: found 3"),
        ({"members": 0}, "members: found 0"),
        ({"level": 95}, "level: found 95"),
        ({"block_days": 51}, "block_days: found 51, expected 1 to min_pairs / 2 = 50"),
        ({"block_days": 0}, "block_days: found 0"),
        ({"block_days": "automatic"}, "block_days: found 'automatic'"),
    ],
)
def test_options_are_checked(change, words):
    good = {"min_pairs": 100, "members": 10, "level": 0.95, "block_days": 50}
    check_options(**good)
    check_options(**good | {"block_days": "auto"})
    with pytest.raises(ValueError, match=words):
        check_options(**good | change)


def test_wrong_draws_and_gaps_are_refused():
    series = three_series(20)
    with pytest.raises(ValueError, match=r"draws: found shape \(2, 20\), expected \(members, 4\)"):
        bootstrap_correlations(*series, draws=iid_draws(1, n=20, members=2), block_days=5)
    with pytest.raises(ValueError, match="draws: found positions outside 0 to 19"):
        bootstrap_correlations(*series, draws=np.full((2, 20), 20))
    series[1][3] = np.nan
    with pytest.raises(ValueError, match="missing or infinite"):
        bootstrap_correlations(*series, draws=iid_draws(1, n=20, members=2))


def test_an_error_in_a_thread_is_not_lost():
    with pytest.raises(ZeroDivisionError):
        for_each_group(lambda g: 1 / (g - 3), 6)


# Nominal 95 %, n = 700, 30-day blocks. The floors lie three binomial standard errors (200 series)
# below the coverage measured with 500 series: blocks 93, 93, 89 %; single days 95, 87, 50 %. At 0.9
# the block bootstrap under-covers (a block holds some three memories); that is stated, not hidden.
@pytest.mark.parametrize(
    ("phi", "block_floor", "iid_range"),
    [(0.0, 0.88, (0.90, 1.0)), (0.5, 0.88, (0.79, 0.94)), (0.9, 0.82, (0.35, 0.63))],
)
def test_coverage_of_the_gain(phi, block_floor, iid_range):
    rng = np.random.default_rng(20170101)
    n, series, members = 700, 200, 300
    true_gain = 6 / np.pi * (np.arcsin(0.7 / 2) - np.arcsin(0.6 / 2))
    hits = {1: 0, 30: 0}
    for k in range(series):
        observed = autoregressive(rng, phi=phi, n=n)
        baseline = 0.6 * observed + 0.8 * autoregressive(rng, phi=phi, n=n)
        candidate = 0.7 * observed + np.sqrt(0.51) * autoregressive(rng, phi=phi, n=n)
        for block_days in hits:
            draws = block_draws(k, n=n, members=members, block_days=block_days)
            r = bootstrap_correlations(
                observed, baseline, candidate, draws=draws, block_days=block_days
            )
            lower, upper = percentile_interval(r[1] - r[0], level=0.95)
            hits[block_days] += lower <= true_gain <= upper
    assert block_floor <= hits[30] / series <= 0.99
    assert iid_range[0] <= hits[1] / series <= iid_range[1]


def test_the_spread_of_members_is_the_spread_of_estimates():
    rng = np.random.default_rng(4)
    estimates, spreads = [], []
    for k in range(150):
        observed, noise, other = rng.normal(size=(3, 200))
        baseline, candidate = observed + noise, observed + 0.8 * other
        estimates.append(spearman(observed, candidate) - spearman(observed, baseline))
        r = bootstrap_correlations(
            observed, baseline, candidate, draws=iid_draws(k, n=200, members=200)
        )
        spreads.append((r[1] - r[0]).std())
    assert np.mean(spreads) == pytest.approx(np.std(estimates), rel=0.2)
