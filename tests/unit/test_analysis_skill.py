"""Skill and skill gain of whole frames, recomputed plainly from the documented rules."""

import datetime as dt
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from arch.bootstrap import optimal_block_length
from scipy import stats

from analysis.bootstrap import entity_seed
from analysis.skill import (
    METRICS,
    PRODUCT_SKILL_OUTPUT,
    SKILL_GAIN_OUTPUT,
    product_skill,
    skill_gain,
)

GAIN = {"min_pairs": 100, "members": 200, "block_days": 30, "level": 0.95, "seed": 11}
SKILL = {"min_pairs": 100, "members": 200, "block_days": 30, "level": 0.95, "seed": 11}
START = dt.date(2017, 1, 1)


def gain_days(cell=(290, 3174), layer="ssm", *, n=160, seed=1, gaps=True):
    rng = np.random.default_rng([seed, *cell, len(layer)])
    observed, noise, other = rng.normal(size=(3, n)).round(2)
    frame = pl.DataFrame(
        {
            "obs_date": [START + dt.timedelta(days=d) for d in range(n)],
            "insitu_anomaly_m3m3": observed,
            "baseline_anomaly_m3m3": observed + 1.5 * noise,
            "candidate_anomaly_m3m3": observed + other,
        }
    ).with_columns(
        gridcell_id=pl.lit(f"M09-r{cell[0]}-c{cell[1]}"),
        grid_row=cell[0],
        grid_col=cell[1],
        layer=pl.lit(layer),
    )
    if not gaps:
        return frame
    day = pl.int_range(pl.len())
    return frame.with_columns(
        pl.when(day % 11 != 0).then("insitu_anomaly_m3m3").alias("insitu_anomaly_m3m3"),
        pl.when(day % 13 != 0).then("baseline_anomaly_m3m3").alias("baseline_anomaly_m3m3"),
        pl.when(day % 17 != 0)
        .then("candidate_anomaly_m3m3")
        .otherwise(float("nan"))
        .alias("candidate_anomaly_m3m3"),
    )


def plain_members(series, entity, *, block_days, members, method):
    n = len(series[0])
    size = (members, int(np.ceil(n / block_days)))
    starts = np.random.default_rng(entity).integers(0, n, size=size)
    days = ((starts[:, :, None] + np.arange(block_days)) % n).reshape(members, -1)[:, :n]
    oracle = {"spearman": stats.spearmanr, "pearson": stats.pearsonr}[method]
    observed, baseline, candidate = series
    return np.array(
        [oracle(observed[d], candidate[d])[0] - oracle(observed[d], baseline[d])[0] for d in days]
    )


@pytest.mark.parametrize("method", ["spearman", "pearson"])
@pytest.mark.parametrize("block_days", [30, "auto"])
def test_gain_equals_a_plain_recomputation(method, block_days):
    frame = gain_days()
    row = skill_gain(frame, **GAIN | {"block_days": block_days}, method=method).row(0, named=True)
    common = frame.sort("obs_date").drop_nulls().drop_nans()
    series = [
        common[f"{name}_anomaly_m3m3"].to_numpy() for name in ("insitu", "baseline", "candidate")
    ]
    n = common.height
    oracle = {"spearman": stats.spearmanr, "pearson": stats.pearsonr}[method]
    assert row["n_days"] == n < 160
    assert row["r_baseline"] == pytest.approx(oracle(series[0], series[1])[0], abs=1e-12)
    assert row["r_candidate"] == pytest.approx(oracle(series[0], series[2])[0], abs=1e-12)
    assert row["delta_r"] == pytest.approx(row["r_candidate"] - row["r_baseline"], abs=1e-15)
    length = 30
    if block_days == "auto":
        ranks = [stats.rankdata(one) for one in series]
        best = optimal_block_length(ranks[0] * (ranks[2] - ranks[1]))["circular"].iloc[0]
        length = min(int(np.ceil(best)), n // 4)
    assert row["block_length_days"] == length
    for scheme, used in (("iid", 1), ("block", length)):
        entity = entity_seed(11, grid_row=290, grid_col=3174, layer="ssm", scheme=scheme)
        delta = plain_members(series, entity, block_days=used, members=200, method=method)
        lower, upper = np.percentile(delta, [2.5, 97.5])
        assert row[f"delta_r_{scheme}_ci_lower"] == pytest.approx(lower, abs=1e-12)
        assert row[f"delta_r_{scheme}_ci_upper"] == pytest.approx(upper, abs=1e-12)
        assert row[f"is_significant_{scheme}"] == (lower > 0 or upper < 0)
        p = min(1, 2 * (1 + min((delta <= 0).sum(), (delta >= 0).sum())) / 201)
        assert row[f"p_{scheme}"] == pytest.approx(p, abs=1e-12)
        assert row[f"n_undefined_{scheme}"] == 0


@pytest.mark.parametrize("schemes", [(), ("block",), ("iid",)])
def test_a_bootstrap_left_out_leaves_nulls_and_changes_nothing_else(schemes):
    whole = skill_gain(many_cells(), **GAIN)
    part = skill_gain(many_cells(), **GAIN, schemes=schemes)
    left_out = [
        name
        for name in whole.columns
        for scheme in {"iid", "block"} - set(schemes)
        if scheme in name.split("_")
    ]
    assert len(left_out) == {(): 13, ("block",): 6, ("iid",): 7}[schemes]
    assert part.select(left_out).null_count().sum_horizontal().item() == part.height * len(left_out)
    assert part.drop(left_out).equals(whole.drop(left_out))


def many_cells():
    frames = [gain_days((row, 3000 + row), layer) for row in range(6) for layer in ("ssm", "rzsm")]
    few = gain_days((40, 3000), "ssm").head(101)  # 80-odd common days are left
    flat = gain_days((41, 3000), "ssm").with_columns(
        baseline_anomaly_m3m3=pl.lit(0.1, dtype=pl.Float64)
    )
    return pl.concat([*frames, few, flat], how="diagonal")


def test_gain_has_every_cell_and_keeps_n_without_a_result():
    found = skill_gain(many_cells(), **GAIN)
    assert found.schema == SKILL_GAIN_OUTPUT
    assert found.height == 14
    few = found.filter(gridcell_id="M09-r40-c3000").row(0, named=True)
    flat = found.filter(gridcell_id="M09-r41-c3000").row(0, named=True)
    assert (few["status"], few["n_days"] < 100) == ("too_few_days", True)
    assert (flat["status"], flat["n_days"] > 100) == ("zero_variance", True)
    for row in (few, flat):
        rest = set(row) - {"gridcell_id", "layer", "n_days", "status"}
        assert all(row[name] is None for name in rest)


def test_q_values_are_per_layer_and_over_tested_cells_only():
    found = skill_gain(many_cells(), **GAIN)
    for (_layer,), part in found.filter(status="ok").group_by("layer"):
        for scheme in ("iid", "block"):
            expected = stats.false_discovery_control(part[f"p_{scheme}"].to_numpy(), method="bh")
            assert part[f"q_{scheme}"].to_numpy() == pytest.approx(expected, abs=1e-12)
    assert found.filter(pl.col("status") != "ok")["q_block"].null_count() == 2


def test_a_cell_does_not_depend_on_its_neighbours_or_on_row_order():
    everything = skill_gain(many_cells().sample(fraction=1, shuffle=True, seed=1), **GAIN)
    alone = skill_gain(gain_days((3, 3003), "rzsm"), **GAIN)
    own = everything.filter(gridcell_id="M09-r3-c3003", layer="rzsm")
    q = ["q_iid", "q_block"]
    assert own.drop(q).equals(alone.drop(q))


def test_results_do_not_depend_on_threads(tmp_path):
    many_cells().write_parquet(tmp_path / "days.parquet")
    program = (
        "import sys, polars as pl; from analysis.skill import skill_gain;"
        "skill_gain(pl.scan_parquet(sys.argv[1]), min_pairs=100, members=200, block_days=30,"
        " level=0.95, seed=11).write_parquet(sys.argv[2])"
    )
    for threads in ("1", "3"):
        subprocess.run(
            [
                sys.executable,
                "-c",
                program,
                str(tmp_path / "days.parquet"),
                str(tmp_path / f"{threads}.parquet"),
            ],
            check=True,
            env={**os.environ, "NUMBA_NUM_THREADS": threads},
            cwd=Path(__file__).parents[2],
        )
    one, three = (pl.read_parquet(tmp_path / f"{n}.parquet") for n in ("1", "3"))
    assert one.equals(three)


def test_undefined_members_are_counted():
    # two spells of change in a constant record: a resample of blocks may miss them both
    frame = gain_days(n=120, gaps=False).with_columns(
        insitu_anomaly_m3m3=pl.when(pl.int_range(pl.len()) < 2)
        .then("insitu_anomaly_m3m3")
        .otherwise(0.0)
    )
    row = skill_gain(frame, **GAIN | {"members": 400}).row(0, named=True)
    assert row["status"] == "ok"
    # a block of 30 out of 120 misses both days with chance 89 / 120, four blocks with (89/120)^4
    assert row["n_undefined_block"] == pytest.approx(400 * (89 / 120) ** 4, abs=45)
    assert row["p_block"] is not None


def test_bad_options_and_columns_are_refused():
    frame = gain_days()
    with pytest.raises(ValueError, match="block_days: found 60"):
        skill_gain(frame, **GAIN | {"block_days": 60})
    with pytest.raises(ValueError, match="method: found 'kendall'"):
        skill_gain(frame, **GAIN, method="kendall")
    with pytest.raises(ValueError, match="column grid_row: missing"):
        skill_gain(frame.drop("grid_row"), **GAIN)
    with pytest.raises(ValueError, match="column obs_date: found two rows"):
        skill_gain(pl.concat([frame, frame.head(1)]), **GAIN)


def skill_days(product="l4", *, n=200, seed=2):
    rng = np.random.default_rng([seed, len(product)])
    truth, noise, third, fourth = rng.normal(size=(4, n))
    day = np.arange(n)
    frame = pl.DataFrame(
        {
            "obs_date": [START + dt.timedelta(days=int(d)) for d in day],
            "insitu_m3m3": (0.25 + 0.05 * truth).astype(np.float32),
            "product_m3m3": (0.30 + 0.05 * truth + 0.03 * noise).astype(np.float32),
            "insitu_anomaly_m3m3": truth + 0.3 * third,
            "product_anomaly_m3m3": truth + fourth,
        }
    ).with_columns(
        product=pl.lit(product),
        gridcell_id=pl.lit("M09-r290-c3174"),
        grid_row=290,
        grid_col=3174,
        layer=pl.lit("ssm"),
    )
    holes = pl.int_range(pl.len())
    return frame.with_columns(
        pl.when(holes % 9 != 0).then("insitu_m3m3").alias("insitu_m3m3"),
        pl.when(~holes.is_in([70, 71, 72]))
        .then("product_anomaly_m3m3")
        .alias("product_anomaly_m3m3"),
    )


def test_skill_equals_a_plain_recomputation():
    frame = skill_days()
    found = product_skill(frame, **SKILL)
    assert found.schema == PRODUCT_SKILL_OUTPUT
    assert found["metric"].to_list() == list(METRICS)
    row = {line["metric"]: line for line in found.iter_rows(named=True)}

    both = frame.drop_nulls(["insitu_anomaly_m3m3", "product_anomaly_m3m3"])
    x, y = both["insitu_anomaly_m3m3"].to_numpy(), both["product_anomaly_m3m3"].to_numpy()
    day = both["obs_date"].to_physical().to_numpy()
    later = np.flatnonzero(np.diff(day) == 1) + 1
    for metric, oracle in (("spearman", stats.spearmanr), ("pearson", stats.pearsonr)):
        r = oracle(x, y)[0]
        assert row[metric]["value"] == pytest.approx(r, abs=1e-12)
        assert row[metric]["n_days"] == 197
        assert row[metric]["block_length_days"] is None
        a, b = (x, y) if metric == "pearson" else (stats.rankdata(x), stats.rankdata(y))
        product = (
            np.corrcoef(a[later], a[later - 1])[0, 1] * np.corrcoef(b[later], b[later - 1])[0, 1]
        )
        effective = min(197, 197 * (1 - product) / (1 + product))
        assert row[metric]["n_effective"] == pytest.approx(effective, abs=1e-9)
        c = 1 + r * r / 2 if metric == "spearman" else 1
        half = stats.norm.ppf(0.975) * np.sqrt(c / (effective - 3))
        assert row[metric]["ci_lower"] == pytest.approx(np.tanh(np.arctanh(r) - half), abs=1e-12)
        assert row[metric]["ci_upper"] == pytest.approx(np.tanh(np.arctanh(r) + half), abs=1e-12)

    valid = frame.drop_nulls(["insitu_m3m3", "product_m3m3"]).cast({"insitu_m3m3": pl.Float64})
    d = (valid["product_m3m3"].cast(pl.Float64) - valid["insitu_m3m3"]).to_numpy()
    n = d.size
    entity = entity_seed(11, grid_row=290, grid_col=3174, layer="ssm", scheme="difference")
    starts = np.random.default_rng(entity).integers(0, n, size=(200, int(np.ceil(n / 30))))
    days = ((starts[:, :, None] + np.arange(30)) % n).reshape(200, -1)[:, :n]
    plain = {
        "bias_m3m3": lambda v: v.mean(),
        "rmsd_m3m3": lambda v: np.sqrt((v**2).mean()),
        "ubrmsd_m3m3": lambda v: v.std(),
    }
    for metric, statistic in plain.items():
        line = row[metric]
        assert (line["n_days"], line["n_effective"], line["status"]) == (n, None, "ok")
        assert line["value"] == pytest.approx(statistic(d), abs=1e-14)
        drawn = [statistic(d[m]) for m in days]
        assert line["ci_lower"] == pytest.approx(np.percentile(drawn, 2.5), abs=1e-12)
        assert line["ci_upper"] == pytest.approx(np.percentile(drawn, 97.5), abs=1e-12)
        assert line["block_length_days"] == 30
    assert row["ubrmsd_m3m3"]["value"] == pytest.approx(
        np.sqrt(row["rmsd_m3m3"]["value"] ** 2 - row["bias_m3m3"]["value"] ** 2), abs=1e-12
    )


def test_ubrmsd_survives_a_large_bias():
    spread = np.tile([1e-7, -1e-7], 100)
    frame = skill_days().with_columns(
        insitu_m3m3=pl.Series(np.full(200, 0.1)), product_m3m3=pl.Series(0.9 + spread)
    )
    found = product_skill(frame, **SKILL).filter(metric="ubrmsd_m3m3")
    assert found["value"][0] == pytest.approx(1e-7, rel=1e-6)


def test_products_do_not_touch_each_other_and_auto_blocks_follow_the_difference():
    two = pl.concat([skill_days("open_loop"), skill_days("l4")])
    found = product_skill(two, **SKILL | {"block_days": "auto"})
    assert found["product"].unique(maintain_order=True).to_list() == ["l4", "open_loop"]
    alone = product_skill(skill_days("l4"), **SKILL | {"block_days": "auto"})
    assert found.filter(product="l4").equals(alone)
    frame = skill_days("l4").drop_nulls(["insitu_m3m3"])
    d = (frame["product_m3m3"].cast(pl.Float64) - frame["insitu_m3m3"].cast(pl.Float64)).to_numpy()
    expected = int(np.ceil(optimal_block_length(d)["circular"].iloc[0]))
    assert alone.filter(metric="bias_m3m3")["block_length_days"][0] == min(expected, d.size // 4)


def test_each_metric_has_its_own_days_and_status():
    frame = skill_days().with_columns(
        product_anomaly_m3m3=pl.lit(0.0),
        insitu_m3m3=pl.when(pl.int_range(pl.len()) < 99).then("product_m3m3"),
    )
    found = product_skill(frame, **SKILL)
    assert found["status"].to_list() == ["zero_variance"] * 2 + ["too_few_days"] * 3
    assert found["n_days"].to_list() == [200] * 2 + [99] * 3
    for name in ("value", "ci_lower", "ci_upper", "n_effective", "block_length_days"):
        assert found[name].null_count() == 5


def test_a_product_every_third_day_has_skill_but_no_effective_sample_size():
    frame = skill_days(n=400).filter(pl.int_range(pl.len()) % 3 == 0)
    found = product_skill(frame, **SKILL).filter(metric="spearman").row(0, named=True)
    assert (found["status"], found["value"] > 0) == ("ok", True)
    assert found["n_effective"] is None and found["ci_lower"] is None


def test_empty_input_gives_empty_tables():
    assert product_skill(skill_days().head(0), **SKILL).schema == PRODUCT_SKILL_OUTPUT
    assert skill_gain(gain_days().head(0), **GAIN).schema == SKILL_GAIN_OUTPUT


@pytest.mark.parametrize(("n", "status"), [(99, "too_few_days"), (100, "ok")])
def test_the_minimum_is_enough(n, status):
    gain = skill_gain(gain_days(gaps=False).head(n), **GAIN)
    assert gain.select("n_days", "status").row(0) == (n, status)
    full = skill_days().with_columns(insitu_m3m3="product_m3m3")
    full = full.with_columns(product_anomaly_m3m3="insitu_anomaly_m3m3").head(n)
    skill = product_skill(full, **SKILL)
    assert skill.select("n_days", "status").rows() == [(n, status)] * 5
