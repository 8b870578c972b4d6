"""Attribution tables of the default study against scipy and scikit-learn on the published tables."""

import duckdb
import numpy as np
import polars as pl
import pytest
from scipy.stats import f_oneway, kendalltau, kruskal, ttest_1samp
from sklearn.ensemble import RandomForestRegressor
from sklearn.model_selection import KFold

pytestmark = pytest.mark.slow
FACTORS = [
    "precipitation_skill",
    "coupling_error",
    "clay_variability",
    "lai_error",
    "latent_heat_skill",
    "tb_innovation_sd_k",
    "microwave_roughness",
    "lai_mean",
]


@pytest.fixture(scope="module")
def table(twin):
    """Query of the published warehouse, as a frame."""
    with duckdb.connect(str(twin.warehouse), read_only=True) as connection:
        yield lambda query: connection.execute(query).pl()


@pytest.fixture(scope="module")
def cells(table):
    return table(
        "from fct_control_factor join fct_skill_gain using (gridcell_id) where status = 'ok'"
    )


def test_every_model_is_there(table):
    importance = table("from fct_forest_importance")
    assert importance.height == 6 * 6 * 8  # variants, targets x layers, factors
    total = importance.group_by("variant", "target", "layer").agg(pl.col("importance_pct").sum())
    assert (total["importance_pct"] - 100).abs().max() < 1e-9
    runs = table(
        "select target, scheme, count(*) / 2 as n from fct_forest_cross_validation"
        " where variant = 'base' group by all order by all"
    )
    assert runs.rows() == [
        ("delta_r", "random", 50), ("delta_r", "spatial_block", 10),
        ("r_baseline", "random", 10), ("r_baseline", "spatial_block", 10),
        ("r_candidate", "random", 10), ("r_candidate", "spatial_block", 10),
    ]  # fmt: skip


def test_forest_agrees_with_scikit_learn(table, cells):
    """Importance and cross-validated r of scikit-learn's forest, its own seeds, within its noise."""
    found = table("from fct_forest_importance where variant = 'base' and target = 'delta_r'")
    part = cells.filter(layer="ssm").drop_nulls(FACTORS).sort("gridcell_id")
    x, y = part.select(FACTORS).to_numpy(), part["delta_r"].to_numpy()
    rng = np.random.default_rng(0)
    options = {"n_estimators": 100, "min_samples_leaf": 3, "max_features": 1.0, "n_jobs": -1}
    importance = []
    for run in range(12):
        drawn = rng.integers(0, len(y), len(y))
        forest = RandomForestRegressor(random_state=run, **options).fit(x[drawn], y[drawn])
        importance.append(100 * forest.feature_importances_)
    mine = found.filter(layer="ssm").rows_by_key("factor", named=True, unique=True)
    for i, factor in enumerate(FACTORS):
        sd = mine[factor]["importance_sd_pct"]
        theirs = np.mean([run[i] for run in importance])
        assert abs(theirs - mine[factor]["importance_pct"]) < 3 * sd * np.sqrt(1 / 12 + 1 / 50)
    r = []
    for run in range(3):
        for train, test in KFold(10, shuffle=True, random_state=run).split(x):
            forest = RandomForestRegressor(random_state=run, **options).fit(x[train], y[train])
            r.append(np.corrcoef(forest.predict(x[test]), y[test])[0, 1])
    cross = table(
        "select avg(r) from fct_forest_cross_validation where variant = 'base'"
        " and target = 'delta_r' and layer = 'ssm' and scheme = 'random'"
    ).item()
    assert cross == pytest.approx(np.mean(r), abs=0.06)


def test_shuffled_targets_are_not_predicted(table):
    r = table("select avg(null_value) from fct_forest_null where measure = 'r'").item()
    assert abs(r) < 0.05


def kept(cells: pl.DataFrame, factor: str) -> pl.DataFrame:
    """The exclusion rule of each factor, written out."""
    known = cells.drop_nulls([factor, "delta_r"])
    f = known[factor].to_numpy()
    if factor in ("precipitation_skill", "latent_heat_skill"):
        keep = f >= np.percentile(f, 20)
    elif factor == "coupling_error":
        keep = np.abs(f) <= np.percentile(np.abs(f), 80)
    elif factor == "lai_mean":
        keep = np.full(len(f), True)
    else:
        keep = f <= np.percentile(f, 80)
    return known.filter(pl.Series(keep)).sort(factor, "gridcell_id")


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("layer", ["ssm", "rzsm"])
def test_groups_and_tests(table, cells, factor, layer):
    rest = kept(cells.filter(layer=layer), factor)
    for target in ("delta_r", "r_baseline", "r_candidate"):
        groups = np.array_split(rest[target].to_numpy(), 5)
        where = f"where factor = '{factor}' and target = '{target}' and layer = '{layer}'"
        found = table(f"from fct_factor_group {where} order by group_index")
        assert found["n_cells"].to_list() == [len(g) for g in groups]
        for row, group in zip(found.iter_rows(named=True), groups, strict=True):
            assert row["mean"] == pytest.approx(group.mean(), abs=1e-12)
            assert row["q25"] == pytest.approx(np.percentile(group, 25), abs=1e-12)
            inside = group[group >= row["q25"] - 1.5 * (row["q75"] - row["q25"])]
            assert row["whisker_low"] == pytest.approx(inside.min(), abs=1e-12)
            p = ttest_1samp(group, 0, alternative="greater").pvalue
            assert row["p_mean_above_zero"] == pytest.approx(p, abs=1e-12)
        test = table(f"from fct_factor_anova {where}").row(0, named=True)
        assert test["p_value"] == pytest.approx(f_oneway(*groups).pvalue, abs=1e-10)
        assert test["kruskal_p_value"] == pytest.approx(kruskal(*groups).pvalue, abs=1e-10)
        every = np.concatenate(groups)
        between = sum(len(g) * (g.mean() - every.mean()) ** 2 for g in groups)
        assert test["eta_squared"] == pytest.approx(
            between / ((every - every.mean()) ** 2).sum(), abs=1e-10
        )


def test_robustness_is_kendalls_tau(table):
    ranks = table("from fct_forest_importance").sort("factor")
    for row in table("from fct_robustness").iter_rows(named=True):
        one, base = (
            ranks.filter(variant=v, target=row["target"], layer=row["layer"])
            for v in (row["variant"], "base")
        )
        tau = kendalltau(one["importance_rank"], base["importance_rank"]).statistic
        assert row["kendall_tau_with_base"] == pytest.approx(tau, abs=1e-12)
        top = one.sort("importance_rank")["factor"].head(3).to_list()
        assert row["top_three"] == ", ".join(top)
