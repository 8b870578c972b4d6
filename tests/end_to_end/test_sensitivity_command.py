"""`sensitivity` through the command line: against plain builds, staleness, lock, interruption."""

import fcntl
import os
import signal
import subprocess
import time
from pathlib import Path

import duckdb
import numpy as np
import polars as pl
import pytest
import scipy.stats

from ingest.reader import PROJECT_ROOT

FIELDS = ["ssm_m3m3", "rzsm_m3m3", "precipitation_mmd", "latent_heat_wm2", "lai_m2m2"]
FIELDS += ["soil_temperature_k"]  # the twin writes no snow


def table(home, query: str) -> pl.DataFrame:
    with duckdb.connect(str(home.warehouse), read_only=True) as connection:
        return connection.execute(query).pl()


def expected(gain: pl.DataFrame, base: pl.DataFrame, layer: str) -> dict:
    """The numbers of one row from two tables of gains, cell by cell."""
    here = gain.filter(layer=layer, status="ok")
    both = here.join(base.filter(status="ok"), on=["gridcell_id", "layer"], suffix="_base")
    with_it, without = both["delta_r"].to_numpy(), both["delta_r_base"].to_numpy()
    return {
        "status": "ok",
        "n_cells": here.height,
        "n_cells_common": both.height,
        "share_improved": pytest.approx(np.mean(here["delta_r"].to_numpy() > 0)),
        "mean_delta_r": pytest.approx(np.mean(here["delta_r"].to_numpy()), abs=1e-12),
        "mean_change": pytest.approx(np.mean(with_it - without), abs=1e-12),
        "share_significant_block": pytest.approx(here["is_significant_block"].mean()),
        "kendall_tau_with_base": pytest.approx(
            scipy.stats.kendalltau(with_it, without).statistic, abs=1e-12
        ),
    }


def row(result: pl.DataFrame, switch: str, value: str, layer: str) -> dict:
    return result.row(
        by_predicate=(pl.col("switch") == switch)
        & (pl.col("value") == value)
        & (pl.col("layer") == layer),
        named=True,
    )


def literal_gain(wide: pl.DataFrame, suffix: str) -> pl.DataFrame:
    """delta_r per cell and layer with scipy, from series side by side."""
    rows = []
    for (cell,), part in wide.group_by("gridcell_id"):
        for layer in ("ssm", "rzsm"):
            names = [f"{layer}{suffix}_{p}" for p in ("insitu", "open_loop", "l4")]
            x = part.select(names).drop_nulls().to_numpy().astype(float)
            if len(x) >= 100:
                r = [scipy.stats.spearmanr(x[:, 0], x[:, k])[0] for k in (1, 2)]
                rows.append((cell, layer, r[1] - r[0]))
    return pl.DataFrame(rows, schema=["gridcell_id", "layer", "delta_r"], orient="row")


@pytest.mark.slow
def test_switches_give_what_a_build_with_that_rule_gives(home):
    home.edit(lambda s: s["products"]["l4"]["source"].update(fields=FIELDS))
    for month, missing in (("03", 3), ("06", 1)):  # days of five values, days of seven
        for day in range(1, 29):
            granules = sorted((home.data / "raw" / "l4").rglob(f"*_2017{month}{day:02d}T*.h5"))
            for path in granules[:missing]:
                path.unlink()
    command = ("sensitivity", "--study", str(home.study_file), "--workers", "2", "--only")
    done = home.run(*command, "clim_window,cell_mean,min_samples_per_day,skill_series,frozen_mask")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "clim_window" in done.stdout.split("Published")[1]
    assert not (home.path / ".build" / "mini" / "sensitivity").exists()
    result, base = table(home, "from fct_sensitivity"), table(home, "from fct_skill_gain")
    assert set(result.select("switch", "value").rows()) == {
        ("base", "base"),
        ("clim_window", "21"),
        ("clim_window", "61"),
        ("cell_mean", "simple"),
        ("min_samples_per_day", "4"),
        ("min_samples_per_day", "8"),
        ("skill_series", "raw"),
        ("frozen_mask", "true"),
    }
    summary = table(home, "from fct_skill_summary where stratum = 'all'")
    for layer in ("ssm", "rzsm"):
        found = row(result, "base", "base", layer)
        assert found["kendall_tau_with_base"] == pytest.approx(1)
        assert found["mean_change"] == 0
        published = summary.row(by_predicate=pl.col("layer") == layer, named=True)
        for name in ("n_cells", "share_improved", "mean_delta_r", "share_significant_block"):
            assert found[name] == pytest.approx(published[name], abs=1e-12)

    changed = result.filter(pl.col("switch").is_in(["clim_window", "min_samples_per_day"]))
    assert changed.height == 8 and changed["mean_change"].abs().min() > 0

    # the two switches that are no rule, from the published series alone
    keys = ["gridcell_id", "obs_date"]
    values = table(home, "from fct_daily_soil_moisture").pivot(
        on="product", index=keys, values=["ssm_m3m3", "rzsm_m3m3"]
    )
    anomalies = table(home, "from fct_daily_anomaly").pivot(
        on="product", index=keys, values=["ssm_anomaly_m3m3", "rzsm_anomaly_m3m3"]
    )
    frozen = table(
        home,
        "select gridcell_id, observed_at::date as obs_date from dim_gridcell join"
        f" read_parquet('{home.data}/lake/l4/land/*.parquet') using (grid_row, grid_col)"
        " group by all having avg(soil_temperature_k::double) < 273.15",
    )
    assert 50 < frozen.height < 0.5 * anomalies.height
    for switch, value, gain in (
        ("skill_series", "raw", literal_gain(values, "_m3m3")),
        (
            "frozen_mask",
            "true",
            literal_gain(anomalies.join(frozen, on=keys, how="anti"), "_anomaly_m3m3"),
        ),
    ):
        for layer in ("ssm", "rzsm"):
            found = row(result, switch, value, layer)
            mine = gain.with_columns(
                pl.lit("ok").alias("status"), pl.lit(None).alias("is_significant_block")
            )
            wanted = expected(mine, base, layer)
            wanted.pop("share_significant_block")
            assert {name: found[name] for name in wanted} == wanted
            assert found["mean_change"] != 0

    # another switch is added to what is there
    done = home.run(*command, "block_days")
    assert done.returncode == 0, done.stdout + done.stderr
    more = table(home, "from fct_sensitivity")
    assert more.height == result.height + 4
    assert more.filter(pl.col("switch") != "block_days").equals(result)
    assert more.filter(switch="block_days")["kendall_tau_with_base"].min() > 1 - 1e-12
    shares = more.filter(pl.col("switch").is_in(["base", "block_days"]))
    assert shares["share_significant_block"].n_unique() > 1

    # plain builds with the rule give the same; and what was made for other settings is gone
    for key, value in (("clim_window", 21), ("cell_mean", "simple")):
        changed = {"clim_window": 31, "cell_mean": "bias_adjusted", key: value}
        home.edit(lambda s, rules=changed: s["rules"].update(rules))
        done = home.build()
        assert done.returncode == 0, done.stdout + done.stderr
        assert "fct_sensitivity stays empty" in done.stdout
        assert home.ask("select count(*) from fct_sensitivity") == [(0,)]
        gain = table(home, "from fct_skill_gain")
        for layer in ("ssm", "rzsm"):
            wanted = expected(gain, base, layer)
            found = row(result, key, str(value), layer)
            assert {name: found[name] for name in wanted} == wanted


def test_refused_while_a_build_runs(home):
    before = home.warehouse.stat().st_mtime_ns
    lock = home.path / ".build" / "mini" / "lock"
    with open(lock, "a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        done = home.run("sensitivity", "--study", str(home.study_file))
    assert done.returncode == 2
    assert "is running" in done.stderr and "Traceback" not in done.stderr
    assert home.warehouse.stat().st_mtime_ns == before
    assert not (home.data / "sensitivity.parquet").exists()
    done = home.run("sensitivity", "--study", str(home.study_file), "--only", "nonsense")
    assert done.returncode == 2 and "no switch nonsense" in done.stderr


def children(folder: Path) -> list[int]:
    """Processes whose environment builds below a folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"SKILLHOUSE_BUILD={folder}".encode() in (process / "environ").read_bytes():
                found.append(int(process.name))
        except OSError:
            continue
    return found


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_stopped_in_the_middle(home, how):
    """The published warehouse stays, no process is left behind, and the lock is free again."""
    before = home.warehouse.stat()
    runs = home.path / ".build" / "mini" / "sensitivity"
    process = subprocess.Popen(
        home.command("sensitivity", "--study", str(home.study_file), "--workers", "2"),
        cwd=PROJECT_ROOT,
        env=home.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    while not children(runs) and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.2)
    assert children(runs)
    os.kill(process.pid, how)
    process.wait(timeout=60)
    deadline = time.monotonic() + 20
    while children(runs) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert children(runs) == []
    assert home.warehouse.stat().st_ino == before.st_ino
    assert not (home.data / "sensitivity.parquet").exists()
    with open(home.path / ".build" / "mini" / "lock") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
