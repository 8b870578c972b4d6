"""Correlation with the truth: reference vectors, simulated truths, bookkeeping."""

import datetime as dt

import numpy as np
import polars as pl
import pytest
from scipy.signal import lfilter

from analysis.bootstrap import entity_seed
from analysis.instrumental_variables import (
    INSTRUMENTAL_VARIABLE_OUTPUT,
    TRIPLE_COLLOCATION_OUTPUT,
    collocate_cells,
    double_instrumental_variable,
    instrumental_variable,
    lagged_pairs,
    single_instrumental_variable,
    triple_collocation,
)

X = [0.20, 0.25, 0.23, 0.30, 0.28, 0.26, 0.35, 0.33, 0.29, 0.27]
Y = [10, 14, 12, 19, 15, 16, 22, 20, 17, 13]
OPTIONS = {
    "lag_days": 1,
    "min_pairs": 100,
    "members": 200,
    "block_days": 30,
    "level": 0.95,
    "seed": 5,
}
START = dt.date(2017, 1, 1)


def autoregressive(rng, *, phi, n, series, spin_up=200):
    noise = rng.normal(size=(series, n + spin_up)) * np.sqrt(1 - phi**2)
    return lfilter([1.0], [1.0, -phi], noise, axis=1)[:, spin_up:]


def two_products(*, error_x=0.0, error_y=0.0, n=730, series=300, seed=1, truth_phi=0.8):
    rng = np.random.default_rng(seed)
    truth = autoregressive(rng, phi=truth_phi, n=n, series=series)
    x = 0.8 * truth + 0.6 * autoregressive(rng, phi=error_x, n=n, series=series)
    y = 0.7 * truth + np.sqrt(0.51) * autoregressive(rng, phi=error_y, n=n, series=series)
    return x, 40 * y + 100


def frame_of(x, y, *, cell=(290, 3174), step=1, **more):
    days = [START + dt.timedelta(days=step * d) for d in range(len(x))]
    return pl.DataFrame({"obs_date": days, "candidate": x, "benchmark": y, **more}).with_columns(
        gridcell_id=pl.lit(f"M09-r{cell[0]}-c{cell[1]}"), grid_row=cell[0], grid_col=cell[1]
    )


def plain_covariances(x, y, pairs):
    now = [p for p, _ in pairs]
    past = [p for _, p in pairs]
    cov = lambda a, b: np.cov(a, b, ddof=0)[0, 1]  # noqa: E731
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    return {
        "xx": cov(x[now], x[now]),
        "yy": cov(y[now], y[now]),
        "xy": cov(x[now], y[now]),
        "xi": cov(x[now], x[past]),
        "yj": cov(y[now], y[past]),
        "xj": cov(x[now], y[past]),
        "yi": cov(y[now], x[past]),
    }


def test_reference_vector():
    found = instrumental_variable(X, Y, range(10))
    c = plain_covariances(X, Y, [(t, t - 1) for t in range(1, 10)])
    assert c["xi"] == pytest.approx(0.000614815, abs=1e-9)
    assert c["yj"] == pytest.approx(3.28395, abs=1e-5)
    assert np.sqrt(c["xi"] / c["yj"]) == pytest.approx(0.0136828, abs=1e-7)
    assert found.r_squared_candidate == pytest.approx(1.132818, abs=1e-6)
    assert found.r_squared_benchmark == pytest.approx(0.779450, abs=1e-6)
    r_xy = c["xy"] / np.sqrt(c["xx"] * c["yy"])
    assert r_xy == pytest.approx(0.939667, abs=1e-6)
    identity = found.r_squared_candidate * found.r_squared_benchmark
    assert np.sqrt(identity) == pytest.approx(r_xy, abs=1e-12)
    assert (found.sign, found.status) == (1, "ok")


@pytest.mark.parametrize("lag_days", [1, 2, 3])
def test_all_instruments_by_the_literal_formulas_over_gaps(lag_days):
    x, y = (one[0] for one in two_products(series=1, n=300))
    rng = np.random.default_rng(3)
    days = np.sort(rng.choice(400, size=300, replace=False))
    where = {day: k for k, day in enumerate(days)}
    pairs = [(k, where[day - lag_days]) for k, day in enumerate(days) if day - lag_days in where]
    now, past = lagged_pairs(days, lag_days=lag_days)
    assert list(zip(now, past, strict=True)) == pairs
    c = plain_covariances(x, y, pairs)
    scale = {
        "double": np.sqrt(c["xi"] / c["yj"]),
        "benchmark": c["xj"] / c["yj"],
        "candidate": c["xi"] / c["yi"],
    }
    for instrument, s in scale.items():
        found = instrumental_variable(x, y, days, lag_days=lag_days, instrument=instrument)
        assert found.r_squared_candidate == pytest.approx(c["xy"] * s / c["xx"], rel=1e-9)
        assert found.r_squared_benchmark == pytest.approx(c["xy"] / (c["yy"] * s), rel=1e-9)
        s, shared = scale["double"], (c["xj"] + c["yi"]) / 2
        assert found.error_autocorrelation_candidate == pytest.approx(
            (c["xi"] - s * shared) / (c["xx"] - s * c["xy"]), rel=1e-9
        )
        assert found.error_autocorrelation_benchmark == pytest.approx(
            (c["yj"] - shared / s) / (c["yy"] - c["xy"] / s), rel=1e-9
        )


def skill(x, y, **options):
    found = [
        instrumental_variable(a, b, range(x.shape[1]), **options) for a, b in zip(x, y, strict=True)
    ]
    r = np.array([f.r_squared_candidate if f.status == "ok" else np.nan for f in found])
    return np.sqrt(np.minimum(r, 1)), found


def test_acceptance_unbiased_under_its_assumptions():
    x, y = two_products(series=500)
    r, found = skill(x, y)
    assert abs(np.nanmean(r) - 0.8) < 0.01
    assert 0.022 < np.nanstd(r) < 0.035
    assert all(f.status == "ok" for f in found)
    r_y = np.sqrt([f.r_squared_benchmark for f in found])
    assert abs(r_y.mean() - 0.7) < 0.012
    for name in ("candidate", "benchmark"):
        memory = [getattr(f, f"error_autocorrelation_{name}") for f in found]
        assert abs(np.mean(memory)) < 0.02


# Bias of r and diagnosed error memory measured with 500 series; the bias of the double instrument
# agrees with the table of the specification (-0.030, +0.073, -0.112).
@pytest.mark.parametrize(
    ("error_x", "error_y", "bias", "memory_x", "memory_y"),
    [(0.3, 0.3, -0.030, 0.35, 0.26), (0.6, 0.0, 0.073, 0.49, 0.10), (0.0, 0.6, -0.112, 0.24, 0.5)],
)
def test_memory_of_errors_biases_and_is_diagnosed(error_x, error_y, bias, memory_x, memory_y):
    r, found = skill(*two_products(error_x=error_x, error_y=error_y))
    assert np.nanmean(r) - 0.8 == pytest.approx(bias, abs=0.01)
    found_x = np.median([f.error_autocorrelation_candidate for f in found])
    found_y = np.median([f.error_autocorrelation_benchmark for f in found])
    assert (found_x, found_y) == pytest.approx((memory_x, memory_y), abs=0.04)


def test_a_single_instrument_suffers_only_from_its_own_product():
    x, y = two_products(error_x=0.6)
    by_benchmark, _ = skill(x, y, instrument="benchmark")
    by_candidate, _ = skill(x, y, instrument="candidate")
    assert abs(np.nanmean(by_benchmark) - 0.8) < 0.012
    assert np.nanmean(by_candidate) - 0.8 > 0.1


def test_frame_equals_the_series_and_a_plain_bootstrap():
    x, y = (one[0] for one in two_products(series=1, n=300))
    frame = frame_of(x, y).filter(pl.int_range(pl.len()) % 10 != 3)  # absent days
    frame = frame.with_columns(
        benchmark=pl.when(pl.int_range(pl.len()) % 17 != 0).then("benchmark")  # null days
    )
    row = double_instrumental_variable(frame, **OPTIONS).row(0, named=True)
    assert double_instrumental_variable(frame, **OPTIONS).schema == INSTRUMENTAL_VARIABLE_OUTPUT
    kept = frame.drop_nulls()
    days = kept["obs_date"].to_physical().to_numpy()
    x, y = kept["candidate"].to_numpy(), kept["benchmark"].to_numpy()
    found = instrumental_variable(x, y, days)
    assert row["r_squared_raw"] == pytest.approx(found.r_squared_candidate, abs=1e-12)
    assert row["r_candidate"] == pytest.approx(np.sqrt(found.r_squared_candidate), abs=1e-12)
    assert row["r_benchmark"] == pytest.approx(np.sqrt(found.r_squared_benchmark), abs=1e-12)
    assert (row["method"], row["lag_days"], row["sign"], row["is_capped"]) == ("ivd", 1, 1, False)

    now, past = lagged_pairs(days, lag_days=1)
    n = row["n_pairs"]
    assert n == now.size
    entity = entity_seed(5, grid_row=290, grid_col=3174, layer="pairs", scheme="lag1")
    starts = np.random.default_rng(entity).integers(0, n, size=(200, int(np.ceil(n / 30))))
    members = []
    for start in starts:
        drawn = np.concatenate([(s + np.arange(30)) % n for s in start])[:n]
        c = plain_covariances(x, y, list(zip(now[drawn], past[drawn], strict=True)))
        members.append(np.sqrt(min(c["xy"] * np.sqrt(c["xi"] / c["yj"]) / c["xx"], 1)))
    expected = np.percentile(members, [2.5, 97.5])
    assert (row["ci_lower"], row["ci_upper"]) == pytest.approx(expected, abs=1e-9)
    assert row["n_undefined"] == 0


def test_capped_keeps_the_raw_value():
    row = double_instrumental_variable(
        frame_of(X, Y), **OPTIONS | {"min_pairs": 9, "block_days": 3}
    ).row(0, named=True)
    assert row["r_squared_raw"] == pytest.approx(1.132818, abs=1e-6)
    assert (row["r_squared_capped"], row["r_candidate"], row["is_capped"]) == (1.0, 1.0, True)
    assert row["error_autocorrelation_candidate"] is None  # no error variance is left


WAVE = np.sin(np.arange(200) / 5)
SWITCH = np.tile([1.0, -1.0], 100) + WAVE / 10


@pytest.mark.parametrize(
    ("x", "y", "status", "sign"),
    [
        (WAVE, -WAVE, "negative_covariance", -1),
        (SWITCH, WAVE, "negative_lag_covariance_candidate", 1),
        (WAVE, SWITCH, "negative_lag_covariance_benchmark", 1),
        (np.full(200, 0.1), WAVE, "zero_variance", 0),
        (WAVE, np.full(200, 0.1), "zero_variance", 0),
        (WAVE[:100], WAVE[:100], "too_few_pairs", None),
    ],
)
def test_reasons_for_no_answer(x, y, status, sign):
    row = double_instrumental_variable(frame_of(x, y), **OPTIONS).row(0, named=True)
    assert (row["status"], row["sign"]) == (status, sign)
    assert row["n_pairs"] == len(x) - 1
    empty = ("r_candidate", "r_squared_capped", "r_benchmark", "ci_lower", "ci_upper", "is_capped")
    assert all(row[name] is None for name in empty)
    if status == "negative_covariance":
        assert row["r_squared_raw"] == pytest.approx(-1.0)


def test_the_pairs_are_counted_not_the_days():
    options = OPTIONS | {"min_pairs": 100}
    assert double_instrumental_variable(frame_of(WAVE[:101], WAVE[:101]), **options)["status"][
        0
    ] == ("ok")
    every_second = frame_of(WAVE, WAVE, step=2)
    assert double_instrumental_variable(every_second, **options)["n_pairs"][0] == 0
    at_two = double_instrumental_variable(every_second, **options | {"lag_days": 2})
    assert (at_two["n_pairs"][0], at_two["status"][0]) == (199, "ok")


def test_an_eight_daily_benchmark_is_named():
    x, y = (one[0] for one in two_products(series=1))
    frame = frame_of(x, y).with_columns(
        benchmark=pl.when(pl.int_range(pl.len()) % 8 == 0).then("benchmark")
    )
    row = double_instrumental_variable(frame, **OPTIONS).row(0, named=True)
    assert (row["status"], row["n_pairs"]) == ("benchmark_not_daily", 0)


def test_cells_are_independent_and_lags_and_methods_are_labelled():
    x, y = two_products(series=3, n=300)
    frames = [frame_of(a, b, cell=(k, 7)) for k, (a, b) in enumerate(zip(x, y, strict=True))]
    together = double_instrumental_variable(pl.concat(frames[::-1]), **OPTIONS)
    assert together["gridcell_id"].to_list() == ["M09-r0-c7", "M09-r1-c7", "M09-r2-c7"]
    alone = double_instrumental_variable(frames[1], **OPTIONS)
    assert together.row(1) == alone.row(0)
    single = single_instrumental_variable(frames[1], **OPTIONS | {"lag_days": 2})
    other = single_instrumental_variable(
        frames[1], **OPTIONS | {"lag_days": 2}, instrument="candidate"
    )
    assert (single["method"][0], single["lag_days"][0]) == ("ivs", 2)
    assert other["method"][0] == "ivs_candidate"


def test_interval_covers_the_truth():
    x, y = two_products(series=150, n=730)
    frame = pl.concat(
        frame_of(a, b, cell=(k, 7)) for k, (a, b) in enumerate(zip(x, y, strict=True))
    )
    found = double_instrumental_variable(frame, **OPTIONS)
    share = ((found["ci_lower"] <= 0.8) & (found["ci_upper"] >= 0.8)).mean()
    assert 0.87 <= share <= 0.995  # nominal 0.95, three standard errors 0.053, slight shortfall


def test_options_are_checked():
    frame = frame_of(WAVE, WAVE)
    with pytest.raises(ValueError, match="lag_days: found 0"):
        double_instrumental_variable(frame, **OPTIONS | {"lag_days": 0})
    with pytest.raises(ValueError, match="instrument: found 'double'"):
        single_instrumental_variable(frame, **OPTIONS, instrument="double")
    with pytest.raises(ValueError, match="column benchmark: missing"):
        double_instrumental_variable(frame.drop("benchmark"), **OPTIONS)


TRIPLE = {key: value for key, value in OPTIONS.items() if key != "lag_days"}


def three_products(n=730, series=1, seed=2):
    rng = np.random.default_rng(seed)
    truth, a, b, c = rng.normal(size=(4, series, n))
    return (
        0.8 * truth + 0.6 * a,
        5 * (0.7 * truth + np.sqrt(0.51) * b),
        3 + 0.9 * truth + np.sqrt(0.19) * c,
    )


def test_triple_collocation_by_the_literal_formula_and_against_the_truth():
    x, y, z = three_products(n=20_000)
    found = triple_collocation(x[0], y[0], z[0])
    c = np.cov([x[0], y[0], z[0]], ddof=0)
    expected = [
        c[0, 1] * c[0, 2] / (c[0, 0] * c[1, 2]),
        c[0, 1] * c[1, 2] / (c[1, 1] * c[0, 2]),
        c[0, 2] * c[1, 2] / (c[2, 2] * c[0, 1]),
    ]
    assert found == pytest.approx(expected, rel=1e-9)
    assert np.sqrt(found) == pytest.approx([0.8, 0.7, 0.9], abs=0.015)


def test_triple_collocation_per_cell():
    x, y, z = three_products()
    frame = frame_of(x[0], y[0], third=z[0])
    found = collocate_cells(frame, **TRIPLE)
    assert found.schema == TRIPLE_COLLOCATION_OUTPUT
    assert found["series"].to_list() == ["candidate", "benchmark", "third"]
    assert found["r_squared_raw"].to_numpy() == pytest.approx(
        triple_collocation(x[0], y[0], z[0]), abs=1e-12
    )
    assert ((found["ci_lower"] < found["r"]) & (found["r"] < found["ci_upper"])).all()
    assert (found["n_days"] == 730).all() and (found["status"] == "ok").all()


def test_triple_collocation_reasons_and_cap():
    x, y, z = (one[0] for one in three_products())
    flipped = collocate_cells(frame_of(x, y, third=-z), **TRIPLE)
    assert flipped["status"].to_list() == ["negative_covariance"] * 3
    assert flipped["sign"].to_list() == [1, 1, -1]
    assert flipped["r"].null_count() == 3 and flipped["r_squared_raw"].null_count() == 0
    flat = collocate_cells(frame_of(x, y, third=np.ones(730)), **TRIPLE)
    assert flat["status"].to_list() == ["zero_variance"] * 3
    few = collocate_cells(frame_of(x[:99], y[:99], third=z[:99]), **TRIPLE)
    assert few.select("n_days", "status").rows() == [(99, "too_few_days")] * 3
    shared = np.random.default_rng(1).normal(size=730)  # an error x shares with both others
    capped = collocate_cells(frame_of(x + z, y + x, third=z + x + 0.1 * shared), **TRIPLE)
    assert capped.filter(pl.col("r_squared_raw") > 1)["r"].to_list() == [1.0]
    assert capped.filter(pl.col("r_squared_raw") > 1)["is_capped"].to_list() == [True]
