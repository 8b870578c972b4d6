"""Groups and exclusions by hand, tests against scipy and statsmodels, levels where nothing is."""

import numpy as np
import polars as pl
import pytest
from scipy import stats
from scipy.spatial.distance import pdist, squareform
from statsmodels.stats.oneway import anova_oneway
from threadpoolctl import threadpool_limits

from analysis.group_tests import (
    EXCLUSION_RULES,
    FACTOR_ANOVA_OUTPUT,
    FACTOR_GROUP_OUTPUT,
    factor_groups,
    factor_tests,
    fit_spatial_correlation,
    group_of,
    kept_cells,
    mean_above_zero,
    welch_anova,
)

CELL_KM = 9.008055210146


def cells(factor_value, value, *, factor="lai_mean", target="delta_r", rows=None, cols=None):
    n = len(value)
    return pl.DataFrame(
        {
            "factor": [factor] * n,
            "target": [target] * n,
            "layer": ["ssm"] * n,
            "gridcell_id": [f"cell-{i:05d}" for i in range(n)],
            "grid_row": list(range(n)) if rows is None else list(rows),
            "grid_col": [0] * n if cols is None else list(cols),
            "factor_value": pl.Series(factor_value, dtype=pl.Float64, strict=False),
            "value": pl.Series(value, dtype=pl.Float64, strict=False),
        }
    )


def study(n=400, seed=1, effect=0.3):
    rng = np.random.default_rng(seed)
    factor = rng.normal(size=n)
    where = {"rows": rng.integers(0, 90, n).tolist(), "cols": rng.integers(0, 90, n).tolist()}
    return cells(factor, effect * factor + rng.normal(size=n), **where)


def literal_exclusion(name, f):
    if name in ("precipitation_skill", "latent_heat_skill"):
        return f >= np.percentile(f, 20)
    if name == "coupling_error":
        return np.abs(f) <= np.percentile(np.abs(f), 80)
    return np.ones(f.size, bool) if name == "lai_mean" else f <= np.percentile(f, 80)


@pytest.mark.parametrize("name", EXCLUSION_RULES)
def test_each_factor_loses_its_large_errors(name):
    rng = np.random.default_rng(3)
    frame = study(203).with_columns(
        factor=pl.lit(name), factor_value=pl.Series(rng.normal(-0.2, 1, size=203).round(2))
    )
    f = frame["factor_value"].to_numpy()
    kept = literal_exclusion(name, f)
    found = factor_groups(frame)
    assert found["n_cells"].sum() == kept.sum()
    assert found["factor_lower"].min() == f[kept].min()
    assert found["factor_upper"].max() == f[kept].max()
    row = factor_tests(frame, members=9, seed=1).row(0, named=True)
    assert (row["n_cells"], row["n_cells_excluded"]) == (kept.sum(), 203 - kept.sum())


def test_a_cell_on_the_percentile_stays():
    f = np.arange(11.0)
    assert kept_cells(f, rule="high", drop_frac=0.2).sum() == 9  # P80 is 8 itself
    assert kept_cells(f, rule="low", drop_frac=0.2).sum() == 9
    assert kept_cells(f - 5, rule="magnitude", drop_frac=0.2).sum() == 9  # P80 of |f| is 4
    with pytest.raises(ValueError, match="rule: found 'top'"):
        kept_cells(f, rule="top", drop_frac=0.2)


def test_percentiles_are_of_cells_with_factor_and_target():
    frame = cells(range(20), [None] * 10 + list(range(10)), factor="lai_error")
    row = factor_tests(frame, groups=2, members=9, seed=1).row(0, named=True)
    assert (row["n_cells"], row["n_cells_excluded"], row["n_cells_missing"]) == (8, 2, 10)


def test_groups_are_array_split_of_factor_then_cell():
    factor = [1.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0]
    value = [10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0]
    found = factor_groups(cells(factor, value).sample(fraction=1, shuffle=True, seed=2), groups=2)
    # order: cells 1, 4 (factor 0), then 0, 2, 3, 5, 6; the first group takes the odd one
    assert found["n_cells"].to_list() == [4, 3]
    assert found["mean"].to_list() == pytest.approx([(20 + 50 + 10 + 30) / 4, (40 + 60 + 70) / 3])
    assert found["factor_lower"].to_list() == [0.0, 1.0]


def test_ties_are_split_in_the_order_of_cells():
    group = group_of(np.tile([1.0, 0.0], 100), groups=4, binning="equal_count")
    assert group[1::2].tolist() == [0] * 50 + [1] * 50
    assert group[::2].tolist() == [2] * 50 + [3] * 50


def test_equal_width_groups_and_an_empty_one():
    assert group_of([0.0, 1.9, 2.0, 10.0], groups=5, binning="equal_width").tolist() == [0, 0, 1, 4]
    frame = cells([0.0] * 10 + [10.0] * 10, range(20))
    found = factor_groups(frame, binning="equal_width")
    assert found["status"].to_list()[1:4] == ["empty_group"] * 3
    assert found["n_cells"].to_list() == [10, 0, 0, 0, 10]
    row = factor_tests(frame, binning="equal_width", members=9, seed=1).row(0, named=True)
    expected = stats.f_oneway(np.arange(10), np.arange(10, 20))
    assert row["f_statistic"] == pytest.approx(expected.statistic)
    assert row["p_value"] == pytest.approx(expected.pvalue)


def test_box_by_hand():
    value = [0.0, 1.0, 2.0, 3.0, 4.0, 10.0] + [1.0, 1.0, 2.0, 2.0, 2.0, 3.0]
    row = factor_groups(cells(range(12), value), groups=2).row(0, named=True)
    assert (row["median"], row["q25"], row["q75"]) == (2.5, 1.25, 3.75)
    # whiskers end at values: 1.25 - 3.75 = -2.5 and 3.75 + 3.75 = 7.5 are only limits
    assert (row["whisker_low"], row["whisker_high"], row["n_outliers"]) == (0.0, 4.0, 1)
    assert row["mean"] == pytest.approx(20 / 6)
    expected = stats.ttest_1samp(value[:6], 0, alternative="greater").pvalue
    assert row["p_mean_above_zero"] == pytest.approx(expected)


def test_plain_tests_agree_with_their_oracles():
    frame = study()
    row = factor_tests(frame, members=9, seed=1).row(0, named=True)
    ordered = frame.sort("factor_value", "gridcell_id")["value"].to_numpy()
    samples = np.array_split(ordered, 5)
    plain, welch = stats.f_oneway(*samples), anova_oneway(samples, use_var="unequal")
    assert row["f_statistic"] == pytest.approx(plain.statistic, rel=1e-10)
    assert row["p_value"] == pytest.approx(plain.pvalue, rel=1e-8)
    assert row["welch_f_statistic"] == pytest.approx(welch.statistic, rel=1e-10)
    assert row["welch_p_value"] == pytest.approx(welch.pvalue, rel=1e-8)
    assert row["kruskal_p_value"] == pytest.approx(stats.kruskal(*samples).pvalue, rel=1e-8)
    total = ((ordered - ordered.mean()) ** 2).sum()
    within = sum(((s - s.mean()) ** 2).sum() for s in samples)
    assert row["eta_squared"] == pytest.approx(1 - within / total)
    rho, p = stats.spearmanr(frame["factor_value"], frame["value"])
    assert (row["trend_rho"], row["trend_p_value"]) == pytest.approx((rho, p))


def test_welch_needs_variance_in_every_group():
    assert np.isnan(welch_anova([np.array([1.0, 1.0, 1.0]), np.array([1.0, 2.0, 3.0])])).all()


def test_mean_with_independent_and_with_equal_cells():
    values = np.random.default_rng(1).normal(0.2, 1, size=50)
    plain, spatial, n_eff = mean_above_zero(values, 0.0)
    assert plain == pytest.approx(stats.ttest_1samp(values, 0, alternative="greater").pvalue)
    assert (spatial, n_eff) == (pytest.approx(plain), 50)
    assert mean_above_zero(values, 0.1)[1] > plain
    assert np.isnan(mean_above_zero(values, 0.9)[1:]).all()  # worth fewer than two cells


def field(rng, n, length_km, share):
    where = np.unique(rng.integers(0, 110, size=(n, 2)), axis=0)
    found = share * np.exp(-squareform(pdist(where * CELL_KM)) / length_km)
    np.fill_diagonal(found, 1.0)
    with threadpool_limits(1):  # small matrices: threads would only wait for one another
        return where, np.linalg.cholesky(found)


def test_correlation_of_a_known_field_is_found():
    rng = np.random.default_rng(5)
    found = []
    for _ in range(20):
        where, root = field(rng, 300, 120.0, 0.7)
        values = root @ rng.normal(size=len(where))
        found.append(fit_spatial_correlation(where * CELL_KM, values))
    length, share = np.median(found, axis=0)
    assert 80 < length < 180
    assert 0.55 < share < 0.85


def test_level_of_the_tests_where_factor_and_target_are_unrelated_fields():
    rng = np.random.default_rng(11)
    plain, spatial, trend, mean_plain, mean_spatial = [], [], [], [], []
    for repetition in range(400):
        where, root = field(rng, 150, 300.0, 0.7)
        factor, value = root @ rng.normal(size=(len(where), 2)).T[:, :, None]
        frame = cells(factor[:, 0], value[:, 0], rows=where[:, 0], cols=where[:, 1])
        row = factor_tests(frame, members=99, seed=repetition).row(0, named=True)
        plain.append(row["p_value"])
        spatial.append(row["p_value_spatial"])
        trend.append(row["trend_p_value_spatial"])
        group = factor_groups(frame).row(0, named=True)
        mean_plain.append(group["p_mean_above_zero"])
        unknown = group["p_mean_above_zero_spatial"] is None
        mean_spatial.append(1.0 if unknown else group["p_mean_above_zero_spatial"])

    def rejected(p_values):
        return (np.array(p_values) <= 0.05).mean()

    assert rejected(plain) > 0.2
    assert rejected(mean_plain) > 0.2
    # 5 % with a binomial error of 1.1 % for 400 repetitions
    assert rejected(spatial) < 0.085
    assert rejected(trend) < 0.085
    assert rejected(mean_spatial) < 0.085


def test_spatial_tests_keep_power_and_agree_with_plain_ones_without_correlation():
    row = factor_tests(study(effect=0.4), members=199, seed=1).row(0, named=True)
    assert row["p_value_spatial"] == row["trend_p_value_spatial"] == 1 / 200
    p_values = np.array(
        [
            factor_tests(study(150, seed, effect=0.0), members=99, seed=1)
            .select("p_value", "p_value_spatial")
            .row(0)
            for seed in range(40)
        ]
    )
    assert np.corrcoef(p_values.T)[0, 1] > 0.95
    assert np.abs(p_values[:, 0] - p_values[:, 1]).mean() < 0.06


def test_neither_rows_nor_other_factors_change_a_result():
    one = study(effect=0.0)
    other = one.with_columns(factor=pl.lit("lai_error"), factor_value=-pl.col("factor_value"))
    mixed = pl.concat([other, one]).sample(fraction=1, shuffle=True, seed=4)
    together = factor_tests(mixed, members=49, seed=1)
    alone = factor_tests(one, members=49, seed=1)
    assert together.filter(pl.col("factor") == "lai_mean").equals(alone)
    assert factor_groups(one.reverse()).equals(factor_groups(one))
    assert not alone.equals(factor_tests(one, members=49, seed=2))


def test_what_cannot_be_tested_says_why():
    n = 40
    values = np.random.default_rng(1).normal(size=n)
    constant = cells([2.5] * n, values, factor="microwave_roughness")
    missing = cells([None] * n, values, factor="latent_heat_skill")
    flat = cells(values, [0.0] * n, target="r_baseline")
    few = cells(values[:14], values[:14], target="r_candidate")
    frame = pl.concat([constant, missing, flat, few])
    tests = factor_tests(frame, members=9, seed=1)
    groups = factor_groups(frame)
    assert tests.schema == FACTOR_ANOVA_OUTPUT
    assert groups.schema == FACTOR_GROUP_OUTPUT
    expected = {
        ("microwave_roughness", "delta_r"): ("zero_variance", "microwave_roughness is 2.5"),
        ("latent_heat_skill", "delta_r"): ("missing_factor", "null in all 40 cells"),
        ("lai_mean", "r_baseline"): ("zero_variance", "r_baseline is 0"),
        ("lai_mean", "r_candidate"): ("too_few_cells", "14 cells, 15 needed"),
    }
    for row in tests.iter_rows(named=True):
        status, told = expected[row["factor"], row["target"]]
        assert row["status"] == status
        assert told in row["message"]
        assert row["p_value"] is row["p_value_spatial"] is None
    assert groups.height == 4 * 5
    assert (groups["n_cells"] == 0).all()
    assert set(groups["status"]) == {"zero_variance", "missing_factor", "too_few_cells"}


def test_few_places_have_plain_tests_only():
    frame = cells(range(25), np.random.default_rng(1).normal(size=25))
    row = factor_tests(frame, members=9, seed=1).row(0, named=True)
    assert (row["status"], row["p_value_spatial"]) == ("no_spatial_test", None)
    assert row["p_value"] is not None
    groups = factor_groups(frame)
    assert set(groups["status"]) == {"no_spatial_test"}
    assert groups["p_mean_above_zero"].null_count() == 0


def test_a_group_without_variance_has_no_p_value():
    value = [1.0] * 10 + list(np.random.default_rng(1).normal(size=40))
    groups = factor_groups(cells(range(50), value))
    assert groups["status"].to_list()[0] == "zero_variance"
    assert groups["p_mean_above_zero"][0] is None
    row = factor_tests(cells(range(50), value), members=9, seed=1).row(0, named=True)
    assert row["welch_p_value"] is None
    assert row["p_value"] is not None


def test_cells_of_one_place_and_endless_ties():
    rng = np.random.default_rng(2)
    n = 80
    frame = cells(rng.integers(0, 2, n), rng.integers(0, 3, n), rows=[i // 2 for i in range(n)])
    row = factor_tests(frame, members=19, seed=1).row(0, named=True)
    assert row["status"] == "ok"
    assert 0 < row["p_value_spatial"] <= 1


def test_bad_frames_are_refused():
    frame = study(20)
    with pytest.raises(ValueError, match="column factor_value: missing"):
        factor_groups(frame.drop("factor_value"))
    with pytest.raises(ValueError, match="two rows for factor lai_mean"):
        factor_tests(pl.concat([frame, frame]), members=9, seed=1)
    other = frame.with_columns(factor=pl.lit("lai_error"), value=pl.col("value") + 1)
    with pytest.raises(ValueError, match="several values or places for target delta_r"):
        factor_groups(pl.concat([frame, other]))
    with pytest.raises(ValueError, match="members: found 0"):
        factor_tests(frame, members=0, seed=1)
    assert factor_groups(frame.head(0)).height == factor_tests(frame.head(0), seed=1).height == 0
