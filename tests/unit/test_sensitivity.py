"""Switches of the sensitivity runs, their comparison with the base, and what results belong to."""

import subprocess
import sys
from datetime import datetime
from itertools import combinations
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml

import skillhouse.sensitivity as module
from ingest.lake import MANIFEST, MANIFEST_SCHEMA
from ingest.reader import PROJECT_ROOT, BadInput
from ingest.study import Study, load_study
from skillhouse.dbt_run import BuildFailed
from skillhouse.dbt_vars import dbt_vars
from skillhouse.sensitivity import (
    BASE,
    COLUMNS,
    Switch,
    compare_with_base,
    current_results,
    frozen_days,
    made_for,
    results_path,
    shown,
    switches,
)


def edited(change=lambda s: None, name: str = "twin") -> Study:
    content = yaml.safe_load((PROJECT_ROOT / "studies" / f"{name}.yml").read_text())
    change(content)
    return Study.model_validate(content)


def listed(study: Study, *only: str) -> list[tuple[str, str, str]]:
    return [(s.name, s.value, s.value_of_base) for s in switches(study, only)]


# -- switches


def test_switches_of_the_default_study():
    assert listed(load_study("twin")) == [
        ("base", "base", "base"),
        ("clim_window", "21", "31"),
        ("clim_window", "61", "31"),
        ("clim_min_samples", "5", "10"),
        ("clim_min_samples", "20", "10"),
        ("cross_mask", "true", "false"),
        ("min_hours", "6", "12"),
        ("min_hours", "18", "12"),
        ("cell_mean", "simple", "bias_adjusted"),
        ("min_pairs", "60", "100"),
        ("min_pairs", "200", "100"),
        ("qc_plateau", "true", "false"),
        ("block_days", "10", "30"),
        ("block_days", "auto", "30"),
        ("min_samples_per_day", "4", "6"),
        ("min_samples_per_day", "8", "6"),
        ("skill_series", "raw", "anomaly"),
        ("frozen_mask", "true", "false"),
    ]


def test_a_switch_changes_one_rule_and_nothing_else():
    study = load_study("twin")
    runs = switches(study)
    assert len({run.folder for run in runs}) == len(runs)
    assert runs[0].study == study
    for run in runs[1:]:
        if run.study is None:
            assert run.name in ("skill_series", "frozen_mask")
            continue
        assert run.study.folder == study.folder and run.study.seed == study.seed
        told, base = (dbt_vars(s, Path("lake"))["study"] for s in (run.study, study))
        part = "products" if run.name == "min_samples_per_day" else "rules"
        assert [key for key in base if told[key] != base[key]] == [part]
        if run.name == "min_samples_per_day":
            assert {p.min_samples for p in run.study.products.values()} == {int(run.value)}
            assert run.study.rules == study.rules
        else:
            assert run.study.products == study.products
            before, after = study.rules.model_dump(), run.study.rules.model_dump()
            assert [key for key in before if before[key] != after[key]] == [run.name]
            assert str(after[run.name]).lower() == run.value


def test_the_own_value_is_no_switch_and_the_usual_one_becomes_one():
    study = edited(lambda s: s["rules"].update(clim_window=61, cross_mask=True))
    assert listed(study, "clim_window", "cross_mask")[1:] == [
        ("clim_window", "21", "61"),
        ("clim_window", "31", "61"),
        ("cross_mask", "false", "true"),
    ]


def test_blocks_stay_within_half_of_the_pairs():
    """A lower min_pairs takes shorter blocks along; blocks too long for min_pairs are not run."""
    study = edited(lambda s: s["rules"].update(block_days=45))
    shorter = {s.value: s.study.rules for s in switches(study, ["min_pairs"])[1:]}
    assert (shorter["60"].block_days, shorter["200"].block_days) == (30, 45)
    study = edited(lambda s: s["rules"].update(min_pairs=40, block_days="auto"))
    assert [value for _, value, _ in listed(study, "block_days")[1:]] == ["10"]
    assert {s.study.rules.block_days for s in switches(study, ["min_pairs"])} == {"auto"}


def test_minimum_samples_follow_each_products_day():
    """GLDAS has eight values a day, ERA5-Land as many as its study says."""
    study = load_study("hawaii")
    counts = [p.samples_per_day for p in study.products.values()]
    found = [s for s in switches(study, ["min_samples_per_day"])[1:]]
    for run in found:
        minima = [p.min_samples for p in run.study.products.values()]
        assert all(1 <= m <= n for m, n in zip(minima, counts, strict=True))
        assert minima != [p.min_samples for p in study.products.values()]
    once_a_day = edited(
        lambda s: [p["source"].update(samples_per_day=1) for p in s["products"].values()], "hawaii"
    )
    assert listed(once_a_day, "min_samples_per_day") == [(BASE, BASE, BASE)]


def test_an_unknown_switch_is_named():
    with pytest.raises(BadInput, match="no switch clim_windows.*choose from clim_window,"):
        switches(load_study("twin"), ["clim_windows"])


# -- comparison


def literal_tau_b(x, y) -> float:
    """Kendall's tau-b by its definition, pair by pair."""
    concordant = untied_x = untied_y = 0
    for i, j in combinations(range(len(x)), 2):
        a, b = np.sign(x[i] - x[j]), np.sign(y[i] - y[j])
        concordant += a * b
        untied_x += a != 0
        untied_y += b != 0
    return concordant / np.sqrt(untied_x * untied_y)


def gains(layer: str, values: dict[str, float]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "gridcell_id": list(values),
            "layer": layer,
            "delta_r": list(values.values()),
            "is_significant_block": [abs(v) > 0.25 for v in values.values()],
        },
        schema_overrides={"delta_r": pl.Float64, "is_significant_block": pl.Boolean},
    )


SWITCH = Switch("clim_window", "21", "31", None)


def test_comparison_by_hand():
    """Cell d is lost and e new; of the pairs of a, b, c two agree and one does not: tau = 1/3."""
    base = gains("ssm", {"a": 0.1, "b": 0.2, "c": 0.3, "d": -0.5})
    here = gains("ssm", {"c": 0.4, "a": 0.3, "b": 0.1, "e": -0.2})
    ssm, rzsm = compare_with_base(SWITCH, here, base)
    assert ssm == {
        "switch": "clim_window",
        "value": "21",
        "value_of_base": "31",
        "layer": "ssm",
        "status": "ok",
        "n_cells": 4,
        "n_cells_common": 3,
        "share_improved": 0.75,
        "mean_delta_r": pytest.approx(0.15),
        "mean_change": pytest.approx((0.2 - 0.1 + 0.1) / 3),
        "share_significant_block": 0.5,
        "kendall_tau_with_base": pytest.approx(1 / 3),
        "kendall_tau_of_factors": None,
        "top_three_factors": None,
    }
    assert (rzsm["layer"], rzsm["status"], rzsm["n_cells"]) == ("rzsm", "no_cells", 0)
    assert all(rzsm[name] is None for name in ("share_improved", "mean_delta_r", "mean_change"))


def test_tau_counts_ties_and_ignores_the_order_of_cells():
    rng = np.random.default_rng(4)
    x, y = rng.integers(-4, 5, 40) / 8, rng.integers(-4, 5, 40) / 8
    names = [f"c{i:02d}" for i in range(40)]
    here, base = (gains("rzsm", dict(zip(names, v, strict=True))) for v in (x, y))
    _, row = compare_with_base(SWITCH, here.sample(fraction=1, shuffle=True, seed=1), base)
    assert row["kendall_tau_with_base"] == pytest.approx(literal_tau_b(x, y), abs=1e-12)
    assert row["share_improved"] == pytest.approx(np.mean(x > 0))  # no gain is no improvement


def test_the_base_agrees_with_itself_and_no_ranking_has_no_tau():
    base = gains("ssm", {"a": 0.1, "b": 0.2, "c": 0.2})
    row, _ = compare_with_base(SWITCH, base, base)
    assert (row["kendall_tau_with_base"], row["mean_change"]) == (pytest.approx(1), 0.0)
    for flat in ({"a": 0.1}, {"a": 0.1, "b": 0.1}):
        row, _ = compare_with_base(SWITCH, gains("ssm", flat), base)
        assert row["status"] == "ok" and row["kendall_tau_with_base"] is None
    apart, _ = compare_with_base(SWITCH, gains("ssm", {"x": 0.1, "y": 0.2}), base)
    assert (apart["n_cells_common"], apart["mean_change"]) == (0, None)


def test_a_switch_that_could_not_run_says_so():
    rows = compare_with_base(SWITCH, None, gains("ssm", {"a": 0.1}))
    assert {(r["status"], r["n_cells"], r["mean_delta_r"]) for r in rows} == {
        ("needs_soil_temperature", 0, None)
    }
    table = shown(pl.DataFrame(rows, schema=COLUMNS))
    assert table.count("needs_soil_temperature") == 2


# -- what results belong to


@pytest.fixture
def study(tmp_path, monkeypatch) -> Study:
    monkeypatch.setattr("ingest.study.STATE_ROOT", tmp_path)
    return load_study("twin")


def write_manifest(study: Study, **changes) -> None:
    row = {name: None for name in MANIFEST_SCHEMA} | {
        "source_file": "a.h5",
        "digest": "d",
        "size_bytes": 1,
        "modified_ns": 1,
        "sha256": "s",
        "fingerprint": "f",
        "status": "ok",
    }
    folder = study.folder / "lake" / "l4"
    folder.mkdir(parents=True, exist_ok=True)
    pl.DataFrame([row | changes], schema=MANIFEST_SCHEMA).write_parquet(folder / MANIFEST)


def test_results_belong_to_settings_inputs_and_code(study, monkeypatch):
    write_manifest(study)
    first = made_for(study)
    write_manifest(study, modified_ns=2)  # touched, same content
    assert made_for(study) == first
    for change in ({"sha256": "t"}, {"status": "refused"}, {"source_file": "b.h5"}):
        write_manifest(study, **change)
        assert made_for(study) != first
    write_manifest(study, sha256=None)
    not_hashed = made_for(study)
    write_manifest(study, sha256=None, modified_ns=2)
    assert made_for(study) != not_hashed
    write_manifest(study)
    assert made_for(study.model_copy(update={"seed": 1})) != first
    assert made_for(study) == first
    monkeypatch.setattr(module, "code_hash", lambda: "other")
    assert made_for(study) != first


def test_results_of_another_time_are_not_shown(study):
    said: list[str] = []
    assert current_results(study, said.append) == ""
    write_manifest(study)
    pl.DataFrame(schema=COLUMNS).write_parquet(
        results_path(study), metadata={"made_for": made_for(study)}
    )
    assert current_results(study, said.append) == str(results_path(study))
    assert said == []
    write_manifest(study, sha256="t")
    assert current_results(study, said.append) == ""
    assert "make sensitivity STUDY=twin" in said[0]
    pl.DataFrame(schema=COLUMNS).write_parquet(results_path(study))  # says nothing of itself
    assert current_results(study, said.append) == ""
    results_path(study).write_bytes(b"cut off")
    assert current_results(study, said.append) == ""


# -- frozen days


def test_frozen_days(study, tmp_path):
    """Mean below 273.15 K, or snow at any hour; a day without a temperature is not frozen."""
    rows = [
        (1, "2017-01-01T01:30", 270.0, 0.0),
        (1, "2017-01-01T22:30", 276.0, 0.0),  # mean 273.0
        (1, "2017-01-02T01:30", 270.0, 0.0),
        (1, "2017-01-02T22:30", 276.4, 0.0),  # mean 273.2
        (1, "2017-01-03T01:30", 280.0, 0.0),
        (1, "2017-01-03T22:30", 280.0, 0.5),  # snow
        (1, "2017-01-04T01:30", None, None),
        (2, "2017-01-02T01:30", 273.25, 0.0),  # not below
    ]
    land = pl.DataFrame(
        {
            "grid_row": [r[0] for r in rows],
            "grid_col": 5,
            "observed_at": [datetime.fromisoformat(r[1]) for r in rows],
            "soil_temperature_k": [r[2] for r in rows],
            "snow_mass_kgm2": [r[3] for r in rows],
        }
    ).cast(
        {"grid_row": pl.Int32, "grid_col": pl.Int32, "snow_mass_kgm2": pl.Float32}
        | {"soil_temperature_k": pl.Float32, "observed_at": pl.Datetime("us")}
    )
    (tmp_path / "l4" / "land").mkdir(parents=True)
    land.write_parquet(tmp_path / "l4" / "land" / "p.parquet")
    assert frozen_days(study, tmp_path) is None
    fields = ["ssm_m3m3", "rzsm_m3m3", "soil_temperature_k", "snow_mass_kgm2"]
    reads = edited(lambda s: s["products"]["l4"]["source"].update(fields=fields))
    found = frozen_days(reads, tmp_path).sort("obs_date")
    assert found.rows() == [(1, 5, day) for day in found["obs_date"]]
    assert found["obs_date"].dt.day().to_list() == [1, 3]


# -- runs


def test_as_many_runs_as_cores_and_memory_allow():
    assert module._processes(3, "1KiB") == 3
    assert module._processes(3, "900TiB") == 1
    with pytest.raises(BadInput, match="give it like 3GiB"):
        module._processes(3, "much")


def test_a_failed_run_is_named_and_takes_the_others_down(tmp_path, monkeypatch):
    started: dict[str, subprocess.Popen] = {}

    def start(switch: Switch, built: Path, *_) -> subprocess.Popen:
        built.mkdir(parents=True)
        (built / "output.txt").write_text("Runtime Error in model int_climatology")
        code = "import sys; sys.exit(1)" if switch.value == "61" else "import time; time.sleep(60)"
        started[switch.value] = subprocess.Popen([sys.executable, "-c", code])
        return started[switch.value]

    monkeypatch.setattr(module, "_start", start)
    runs = [Switch("clim_window", value, "31", None) for value in ("21", "61", "91")]
    with pytest.raises(BuildFailed, match="clim_window = 61 failed.*\n.*int_climatology"):
        module._run(
            runs,
            folder=tmp_path,
            lake=tmp_path,
            processes=2,
            environment={},
            models=["+fct_skill_gain"],
            take=lambda *_: pytest.fail("nothing finished"),
            say=lambda *_: None,
        )
    assert started.keys() == {"21", "61"}
    assert started["21"].returncode == -9
    assert (tmp_path / "clim_window-61").exists()


def test_factors_are_ranked_by_their_importance_for_the_gain():
    rng = np.random.default_rng(2)
    n = 60
    factors = pl.DataFrame(
        {
            "gridcell_id": [f"c{i:02d}" for i in range(n)],
            "grid_row": range(n),
            "grid_col": range(n),
            "rain": rng.normal(size=n),
            "clay": rng.normal(size=n),
            "lai": rng.normal(size=n),
        }
    )
    study = load_study("twin")
    rules = study.rules.model_copy(update={"forest_runs": 3, "forest_trees": 10})
    study = study.model_copy(update={"rules": rules})

    def ranking(*weights: float) -> pl.DataFrame:
        value = sum(w * factors[f] for w, f in zip(weights, ("rain", "clay", "lai"), strict=True))
        gains = factors.select("gridcell_id").with_columns(
            pl.lit("ssm").alias("layer"),
            value.alias("delta_r"),
            pl.lit(False).alias("is_significant_block"),
        )
        return module._ranking(module.Outcome(gains, factors), study, 1)

    base, other = ranking(4, 2, 1), ranking(1, 2, 4)
    assert module._compare_rankings(base, base, "ssm") == {
        "kendall_tau_of_factors": pytest.approx(1),
        "top_three_factors": "rain, clay, lai",
    }
    turned = module._compare_rankings(other, base, "ssm")
    assert turned["kendall_tau_of_factors"] == pytest.approx(-1)
    assert turned["top_three_factors"] == "lai, clay, rain"
    assert module._compare_rankings(other, base, "rzsm") == {}
    assert module._compare_rankings(None, base, "ssm") == {}
    assert module._ranking(module.Outcome(None, factors), study, 1) is None
