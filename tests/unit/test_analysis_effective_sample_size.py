"""Effective sample size by hand, and the coverage of the interval built on it."""

import numpy as np
import pytest
from scipy import stats
from scipy.signal import lfilter

from analysis.effective_sample_size import (
    effective_sample_size,
    fisher_interval,
    lag_one_autocorrelation,
)
from analysis.rank_correlation import pearson, spearman


def autoregressive(rng, *, phi, n, spin_up=300):
    noise = rng.normal(size=n + spin_up) * np.sqrt(1 - phi**2)
    return lfilter([1.0], [1.0, -phi], noise)[spin_up:]


def test_only_consecutive_days_count():
    rng = np.random.default_rng(1)
    values = autoregressive(rng, phi=0.8, n=100)
    days = np.concatenate([np.arange(50), np.arange(60, 110)])
    pairs = [(values[i], values[i - 1]) for i in range(1, 100) if i != 50]
    expected = stats.pearsonr(*zip(*pairs, strict=True)).statistic
    assert lag_one_autocorrelation(values, days) == pytest.approx(expected, abs=1e-12)
    bridged = stats.pearsonr(values[1:], values[:-1]).statistic
    assert abs(expected - bridged) > 1e-6


def test_a_product_every_second_day_has_no_lag_one():
    values = np.random.default_rng(1).normal(size=100)
    assert np.isnan(lag_one_autocorrelation(values, 2 * np.arange(100)))
    assert np.isnan(effective_sample_size(values, values, 2 * np.arange(100)))
    assert np.isfinite(lag_one_autocorrelation(values[:31], np.arange(31)))
    assert np.isnan(lag_one_autocorrelation(values[:30], np.arange(30)))


def test_days_must_rise():
    with pytest.raises(ValueError, match="expected rising days"):
        lag_one_autocorrelation([1.0, 2.0, 3.0], [1, 3, 2])


@pytest.mark.parametrize("method", ["pearson", "spearman"])
def test_formula(method):
    rng = np.random.default_rng(2)
    x, y = autoregressive(rng, phi=0.8, n=200), autoregressive(rng, phi=0.5, n=200)
    a, b = (x, y) if method == "pearson" else (stats.rankdata(x), stats.rankdata(y))
    product = np.corrcoef(a[1:], a[:-1])[0, 1] * np.corrcoef(b[1:], b[:-1])[0, 1]
    expected = 200 * (1 - product) / (1 + product)
    found = effective_sample_size(x, y, np.arange(200), method=method)
    assert found == pytest.approx(expected, abs=1e-9)


def test_never_above_n_nor_below_two():
    wave = np.tile([0.0, 1.0], 50) + np.arange(100) / 1e6
    memory = np.arange(100.0)
    assert effective_sample_size(wave, memory, np.arange(100)) == 100.0
    assert effective_sample_size(memory, memory, np.arange(100)) == 2.0


def test_pearson_interval_is_scipys():
    x, y = np.random.default_rng(7).normal(size=(2, 100))
    result = stats.pearsonr(x, x + y)
    found = fisher_interval(result.statistic, 100, level=0.9, method="pearson")
    assert found == pytest.approx(tuple(result.confidence_interval(0.9)), abs=1e-12)


def test_spearman_interval_of_a_published_example():
    # the example of the R function ci.spear by Bonett: n = 15, r = 0.8699639
    found = fisher_interval(0.8699639, 15, level=0.95, method="spearman")
    assert found == pytest.approx((0.5840951, 0.9638297), abs=1e-6)


def test_interval_at_its_limits():
    assert fisher_interval(0.6, 3.0, level=0.95) == (-1.0, 1.0)
    assert fisher_interval(1.0, 100.0, level=0.95) == (1.0, 1.0)
    assert np.isnan(fisher_interval(np.nan, 100.0, level=0.95)).all()
    assert np.isnan(fisher_interval(0.5, np.nan, level=0.95)).all()


def cover(*, phi, rho, series=400, n=700, seed=3):
    rng = np.random.default_rng(seed)
    hits = {"spearman": 0, "pearson": 0, "ignoring memory": 0}
    truth = {"spearman": 6 / np.pi * np.arcsin(rho / 2), "pearson": rho}
    days = np.arange(n)
    for _ in range(series):
        x = autoregressive(rng, phi=phi, n=n)
        y = rho * x + np.sqrt(1 - rho**2) * autoregressive(rng, phi=phi, n=n)
        for method, correlation in (("spearman", spearman), ("pearson", pearson)):
            r = correlation(x, y)
            effective = effective_sample_size(x, y, days, method=method)
            lower, upper = fisher_interval(r, effective, level=0.95, method=method)
            hits[method] += lower <= truth[method] <= upper
        lower, upper = fisher_interval(r, n, level=0.95, method="pearson")
        hits["ignoring memory"] += lower <= rho <= upper
    return {name: hit / series for name, hit in hits.items()}


# Nominal 95 %; three binomial standard errors of 400 series are 3.3 points, and slight
# over-coverage of strong correlations (measured up to 97 %) is allowed for above.
@pytest.mark.parametrize("rho", [0.0, 0.6])
@pytest.mark.parametrize("phi", [0.0, 0.5, 0.9])
def test_coverage_on_first_order_series(phi, rho):
    found = cover(phi=phi, rho=rho)
    assert 0.917 <= found["spearman"] <= 0.995
    assert 0.917 <= found["pearson"] <= 0.995
    if phi == 0.9:
        assert found["ignoring memory"] < 0.65


def test_under_coverage_where_noise_hides_memory_is_as_documented():
    rng = np.random.default_rng(4)
    n, series, hits = 700, 300, 0
    for _ in range(series):
        slow = autoregressive(rng, phi=0.97, n=n)
        x = (slow + rng.normal(size=n)) / np.sqrt(2)
        other = 0.6 * slow + 0.8 * autoregressive(rng, phi=0.97, n=n)
        y = (other + rng.normal(size=n)) / np.sqrt(2)
        effective = effective_sample_size(x, y, np.arange(n), method="pearson")
        lower, upper = fisher_interval(pearson(x, y), effective, level=0.95, method="pearson")
        hits += lower <= 0.3 <= upper
    assert 0.5 < hits / series < 0.72
