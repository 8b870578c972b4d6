"""`sensitivity`: what each choice that the published study leaves open does to the skill gain.

Each switch changes one rule of the study and runs the models from the lake to `fct_skill_gain`
again, in a folder of its own; raw files are not read for it. Two switches change no rule and start
from the base's series side by side: `skill_series: raw` compares values instead of anomalies,
`frozen_mask: true` leaves out the days on which the candidate's mean soil temperature is below
273.15 K or it has snow (the climatology keeps those days).

Not here: `sm_max` is applied when stations are read, so another value needs another lake; build a
copy of the study with it. `headline_interval` says which column is repeated and moves no number.

The results go to `sensitivity.parquet` in the study's folder, which names the settings, inputs and
code it was made for. The build shows it as `fct_sensitivity` while these are still the same, and
shows no row otherwise. So the command ends with a build: the table then passes the same tests, in
a warehouse whose every table has one origin, published in the same one rename.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
from scipy.stats import kendalltau

from analysis.random_forest import forest_importance
from analysis.skill import skill_gain
from ingest.lake import Lake
from ingest.progress import Progress
from ingest.reader import PROJECT_ROOT, STATE_ROOT, BadInput
from ingest.run import ingest
from ingest.study import Product, Rules, Study, load_study
from ingest.twin import generate
from skillhouse.dbt_run import BuildFailed
from skillhouse.dbt_vars import dbt_vars
from skillhouse.lock import build_lock, end_with_parent
from skillhouse.provenance import code_hash, input_hash

BASE = "base"
LAYERS = ("ssm", "rzsm")
#: rule -> values worth a run; the study's own is left out
RULE_VALUES: dict[str, tuple[Any, ...]] = {
    "clim_window": (21, 31, 61),
    "clim_min_samples": (5, 10, 20),
    "cross_mask": (False, True),
    "min_hours": (6, 12, 18),
    "cell_mean": ("bias_adjusted", "simple"),
    "min_pairs": (60, 100, 200),
    "qc_plateau": (False, True),
    "block_days": (10, 30, "auto"),
}
#: shares of a day's samples that a product's day needs
SAMPLE_SHARES = (0.5, 0.75, 1.0)
SWITCHES = (*RULE_VALUES, "min_samples_per_day", "skill_series", "frozen_mask")
COLUMNS: dict[str, Any] = {
    "switch": pl.String,
    "value": pl.String,
    "value_of_base": pl.String,
    "layer": pl.String,
    "status": pl.String,
    "n_cells": pl.Int32,
    "n_cells_common": pl.Int32,
    "share_improved": pl.Float64,
    "mean_delta_r": pl.Float64,
    "mean_change": pl.Float64,
    "share_significant_block": pl.Float64,
    "kendall_tau_with_base": pl.Float64,
    "kendall_tau_of_factors": pl.Float64,
    "top_three_factors": pl.String,
}
_FROZEN_K = 273.15
_ROLES = ("insitu", "baseline", "candidate")


@dataclass(frozen=True, eq=False)
class Outcome:
    """What one run gave: gains of the cells with a result, and, where asked for, their factors."""

    gains: pl.DataFrame | None
    factors: pl.DataFrame | None = None


@dataclass(frozen=True, eq=False)
class Switch:
    """One run: the changed setting, and the study with it (None: made from the base's series)."""

    name: str
    value: str
    value_of_base: str
    study: Study | None

    @property
    def folder(self) -> str:
        return f"{self.name}-{self.value}".replace(", ", "-")


def switches(study: Study, only: Iterable[str] = ()) -> list[Switch]:
    """The base and every switch of a study, or those named; values that the study has are left out.

    Raises:
        BadInput: a name that is no switch.
    """
    wanted = set(only) or set(SWITCHES)
    if unknown := sorted(wanted - set(SWITCHES)):
        raise BadInput(
            f"no switch {', '.join(unknown)}",
            key="--only",
            remedy=f"choose from {', '.join(SWITCHES)}",
            reason="invalid_study",
        )
    found = [Switch(BASE, BASE, BASE, study)]
    for key, values in RULE_VALUES.items():
        own = getattr(study.rules, key)
        for value in values:
            if key in wanted and value != own and (rules := _rules(study.rules, key, value)):
                changed = study.model_copy(update={"rules": rules})
                found.append(Switch(key, _text(value), _text(own), changed))
    if "min_samples_per_day" in wanted:
        own = _minimum_samples(study.products.values())
        seen = {own}
        for share in SAMPLE_SHARES:
            products = {
                name: product.model_copy(
                    update={"min_samples_per_day": math.ceil(share * product.samples_per_day)}
                )
                for name, product in study.products.items()
            }
            value = _minimum_samples(products.values())
            if value not in seen:
                seen.add(value)
                changed = study.model_copy(update={"products": products})
                found.append(Switch("min_samples_per_day", value, own, changed))
    if "skill_series" in wanted:
        found.append(Switch("skill_series", "raw", "anomaly", None))
    if "frozen_mask" in wanted:
        found.append(Switch("frozen_mask", "true", "false", None))
    return found


def _rules(rules: Rules, key: str, value: Any) -> Rules | None:
    """The rules with one changed; blocks shrink with `min_pairs`; None if blocks are too long."""
    changed = rules.model_dump() | {key: value}
    block, longest = changed["block_days"], changed["min_pairs"] // 2
    if isinstance(block, int) and block > longest:
        if key == "block_days":
            return None
        changed["block_days"] = longest
    return Rules.model_validate(changed)


def _minimum_samples(products: Iterable[Product]) -> str:
    """Minimum samples of a day, product by product, once where all are equal."""
    counts = [product.min_samples for product in products]
    return ", ".join(map(str, counts if len(set(counts)) > 1 else counts[:1]))


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


# -- what results belong to


def results_path(study: Study) -> Path:
    """Where the results of a study's last sensitivity run are kept."""
    return study.folder / "sensitivity.parquet"


def made_for(study: Study) -> str:
    """Hash of all that a result depends on: the study's settings, the lake's inputs, the code."""
    text = json.dumps([study.hash, code_hash(), input_hash(study)])
    return hashlib.sha256(text.encode()).hexdigest()


def current_results(study: Study, say: Callable[[str], None] = print) -> str:
    """Path of the results if they were made for the study, inputs and code of now, else empty."""
    path = results_path(study)
    if not path.exists():
        return ""
    if _kept_for(path) == made_for(study):
        return str(path)
    say(
        "  fct_sensitivity stays empty: settings, raw files or code changed since it was made,"
        f" or its file is damaged; make sensitivity STUDY={study.study}"
    )
    return ""


def _kept_for(path: Path) -> str | None:
    """What kept results were made for; None when there are none, or they cannot be read."""
    try:
        return pl.read_parquet_metadata(path).get("made_for")
    except (FileNotFoundError, pl.exceptions.PolarsError):
        return None


# -- runs


def sensitivity(
    name: str,
    *,
    only: Sequence[str] = (),
    attribution: bool = False,
    workers: int,
    memory: str,
    verbose: bool = False,
    say: Callable[[str], None] = print,
) -> pl.DataFrame:
    """Run the base and every switch of a study; keep and return one row per switch and layer.

    The study's build lock is held: a build would sweep the runs' folders away, and change the lake
    they read. Readers of the published warehouse notice nothing. Rows of switches that were not
    asked for stay if they are still current.

    Args:
        name: study by name or path.
        only: names of switches; none means all.
        attribution: also rank the control factors by the forest's importance for delta_r.
        workers: processor cores to use.
        memory: memory limit of each run's database, as `3GiB`; as many run at once as cores and the
            free memory allow.
        verbose: show the output of every run.
        say: where plain lines of progress go.
    Raises:
        BadInput: the study, its files or a switch's name cannot be used, or a build is running.
        BuildFailed: a run failed; its folder stays and nothing is written.
    """
    study = load_study(name)
    runs = switches(study, only)
    processes = _processes(workers, memory)
    lake = study.folder / "lake"
    folder = STATE_ROOT / ".build" / study.study
    with build_lock(folder / "lock", study.study):
        say("raw files and lake")
        if study.twin:
            period = (study.period.start, study.period.end)
            generate(study.twin, period, study.folder / "raw", study.folder / "truth", _silent)
        with Lake(lake, workers=workers, say=say) as opened:
            ingest(study, opened, say=say)
        made = made_for(study)
        shutil.rmtree(folder / "sensitivity", ignore_errors=True)
        say(f"{len(runs)} runs of the models up to fct_skill_gain, {processes} at a time")
        progress = Progress("sensitivity", len(runs), "runs", say=say)
        outcomes: dict[Switch, Outcome] = {}

        def take(switch: Switch, built: Path) -> None:
            factors = _factors(built) if attribution else None
            outcomes[switch] = Outcome(_gains(built), factors)
            if switch.name == BASE:
                for derived in (s for s in runs if s.study is None):
                    outcomes[derived] = Outcome(_from_base(derived, study, built, lake), factors)
                    progress.advance()
            progress.advance()

        environment = {
            "SKILLHOUSE_MEMORY": memory,
            "SKILLHOUSE_THREADS": str(max(1, workers // processes)),
            "NUMBA_NUM_THREADS": str(max(1, workers // processes)),
            "POLARS_MAX_THREADS": str(max(1, workers // processes)),
        }
        _run(
            [run for run in runs if run.study],
            folder=folder / "sensitivity",
            lake=lake,
            processes=processes,
            environment=environment,
            models=["+fct_skill_gain", *(["+fct_control_factor"] if attribution else [])],
            take=take,
            say=say if verbose else _silent,
        )
        progress.close()
        base = outcomes[runs[0]]
        rankings = {run: _ranking(outcomes[run], study, workers) for run in runs}
        rows = [
            row | _compare_rankings(rankings[run], rankings[runs[0]], row["layer"])
            for run in runs
            for row in compare_with_base(run, outcomes[run].gains, base.gains)
        ]
        result = pl.DataFrame(rows, schema=COLUMNS, orient="row")
        path = results_path(study)
        if _kept_for(path) == made:
            keys = ["switch", "value", "layer"]
            earlier = pl.read_parquet(path)
            ranked = ["kendall_tau_of_factors", "top_three_factors"]
            if not attribution:  # what an earlier run ranked is still current
                result = result.update(earlier.select(*keys, *ranked), on=keys)
            result = pl.concat([result, earlier.join(result, on=keys, how="anti")])
        result = result.sort("switch", "value", "layer")
        temporary = path.with_name(".tmp-sensitivity.parquet")
        result.write_parquet(temporary, metadata={"made_for": made})
        os.replace(temporary, path)
        shutil.rmtree(folder / "sensitivity", ignore_errors=True)
    return result


def _silent(*_: Any) -> None:
    """Say nothing."""


def _processes(workers: int, memory: str) -> int:
    """Runs at once: as many as there are cores, and as fit into the free memory; at least one."""
    found = re.fullmatch(r"([\d.]+)\s*(K|M|G|T)(i?)B", memory.strip())
    if not found:
        raise BadInput(
            f"memory {memory!r}", key="--memory", remedy="give it like 3GiB", reason="invalid_study"
        )
    limit = float(found[1]) * (1024 if found[3] else 1000) ** ("KMGT".index(found[2]) + 1)
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if (listed := Path("/proc/meminfo")).exists():  # counts what the page cache would give back
        free = int(re.search(r"MemAvailable:\s+(\d+)", listed.read_text())[1]) * 1024
    return max(1, min(workers, int(free // limit)))


def _run(
    switches: list[Switch],
    *,
    folder: Path,
    lake: Path,
    processes: int,
    environment: dict[str, str],
    models: list[str],
    take: Callable[[Switch, Path], None],
    say: Callable[[str], None],
) -> None:
    """Run switches, a few at a time, hand each finished folder to `take`, then remove it."""
    waiting = list(switches)
    running: dict[Switch, subprocess.Popen] = {}
    try:
        while waiting or running:
            while waiting and len(running) < processes:
                switch = waiting.pop(0)
                running[switch] = _start(switch, folder / switch.folder, lake, environment, models)
            time.sleep(0.1)
            for switch in [s for s, process in running.items() if process.poll() is not None]:
                process = running.pop(switch)
                built = folder / switch.folder
                said = (built / "output.txt").read_text()
                say(said)
                if process.returncode:
                    raise BuildFailed(
                        f"switch {switch.name} = {switch.value} failed, its folder stays: {built}\n"
                        + "\n".join(said.splitlines()[-30:])
                    )
                take(switch, built)
                shutil.rmtree(built)
    finally:
        for process in running.values():
            process.kill()
        for process in running.values():
            process.wait()


def _start(switch: Switch, built: Path, lake: Path, environment: dict[str, str], models: list[str]):
    built.mkdir(parents=True)
    command = [sys.executable, "-m", "dbt.cli.main", "--no-use-colors", "run"]
    command += ["--select", *models, "--threads", "1"]
    command += ["--project-dir", str(PROJECT_ROOT), "--profiles-dir", str(PROJECT_ROOT)]
    command += ["--log-path", str(built / "logs"), "--target-path", str(built / "target")]
    command += ["--vars", json.dumps(dbt_vars(switch.study, lake))]
    own = {"SKILLHOUSE_BUILD": str(built), "DO_NOT_TRACK": "1", "NO_COLOR": "1"}
    with open(built / "output.txt", "w") as output:
        return subprocess.Popen(
            command,
            cwd=PROJECT_ROOT,
            env=os.environ | environment | own,
            stdout=output,
            stderr=subprocess.STDOUT,
            preexec_fn=partial(end_with_parent, os.getpid()),
        )


# -- numbers


def _gains(built: Path) -> pl.DataFrame:
    """Cells with a result of one run: gridcell_id, layer, delta_r, is_significant_block."""
    with duckdb.connect(str(built / "warehouse.duckdb"), read_only=True) as connection:
        return _with_a_result(connection.execute("from fct_skill_gain").pl())


def _with_a_result(gain: pl.DataFrame) -> pl.DataFrame:
    columns = ["gridcell_id", "layer", "delta_r", "is_significant_block"]
    return gain.filter(pl.col("status") == "ok").select(columns).sort("gridcell_id", "layer")


def _from_base(switch: Switch, study: Study, built: Path, lake: Path) -> pl.DataFrame | None:
    """Gains of a switch made from the base's series; None where the lake lacks what it needs."""
    with duckdb.connect(str(built / "scratch.duckdb"), read_only=True) as connection:
        series = connection.execute("from int_skill_input").pl()
    if switch.name == "skill_series":
        series = series.with_columns(pl.col(f"{r}_m3m3").alias(f"{r}_anomaly_m3m3") for r in _ROLES)
    else:
        frozen = frozen_days(study, lake)
        if frozen is None:
            return None
        series = series.join(frozen, on=["grid_row", "grid_col", "obs_date"], how="anti")
    rules = study.rules
    gain = skill_gain(
        series,
        min_pairs=rules.min_pairs,
        members=rules.members,
        block_days=rules.block_days,
        level=rules.level,
        seed=study.seed,
    )
    return _with_a_result(gain)


def frozen_days(study: Study, lake: Path) -> pl.DataFrame | None:
    """Cell days with frozen or snow-covered soil in the candidate; None without soil temperature.

    A day is frozen when its mean soil temperature of layer 1 is below 273.15 K or it has snow.
    """
    key = study.product("candidate")
    if "soil_temperature_k" not in getattr(study.products[key].source, "fields", {}):
        return None
    label = getattr(study.products[key].source, "time_label", "window_centre")
    shift = pl.duration(microseconds=1 if label == "hour_ending" else 0)
    is_frozen = (pl.col("soil_temperature_k").cast(pl.Float64).mean() < _FROZEN_K).fill_null(False)
    is_snowy = (pl.col("snow_mass_kgm2").max() > 0).fill_null(False)
    with Lake(lake) as opened:
        land = opened.scan(key, "land")
    return (
        land.group_by("grid_row", "grid_col", (pl.col("observed_at") - shift).dt.date())
        .agg((is_frozen | is_snowy).alias("is_frozen"))
        .filter("is_frozen")
        .select("grid_row", "grid_col", pl.col("observed_at").alias("obs_date"))
        .collect()
    )


def _factors(built: Path) -> pl.DataFrame:
    """The control factors of one run, with the cells' places."""
    with duckdb.connect(str(built / "warehouse.duckdb"), read_only=True) as connection:
        connection.execute(f"attach '{built / 'scratch.duckdb'}' as scratch (read_only)")
        return connection.execute(
            "from fct_control_factor join (select gridcell_id, grid_row, grid_col"
            " from scratch.int_gridcell) using (gridcell_id)"
        ).pl()


def _ranking(outcome: Outcome, study: Study, workers: int) -> pl.DataFrame | None:
    """Rank of each factor by the forest's importance for delta_r, per layer; None if not asked."""
    if outcome.gains is None or outcome.factors is None:
        return None
    rules = study.rules
    cells = outcome.gains.join(outcome.factors, on="gridcell_id").with_columns(
        pl.lit(BASE).alias("variant"),
        pl.lit("delta_r").alias("target"),
        pl.col("delta_r").alias("value"),
    )
    places = {"gridcell_id", "grid_row", "grid_col"}
    importance, _ = forest_importance(
        cells,
        features=[name for name in outcome.factors.columns if name not in places],
        runs=rules.forest_runs,
        trees=rules.forest_trees,
        max_features=rules.forest_max_features,
        min_samples_leaf=rules.forest_min_leaf,
        seed=study.seed,
        workers=workers,
    )
    return importance.drop_nulls("importance_rank").sort("layer", "factor")


def _compare_rankings(
    ranking: pl.DataFrame | None, base: pl.DataFrame | None, layer: str
) -> dict[str, Any]:
    """Kendall's tau of the factors' ranking with that of the base, and the three on top."""
    if ranking is None or base is None:
        return {}
    here = ranking.filter(pl.col("layer") == layer)
    both = here.join(base, on=["layer", "factor"], suffix="_base")
    if both.height < 2:
        return {}
    tau = float(kendalltau(both["importance_rank"], both["importance_rank_base"]).statistic)
    return {
        "kendall_tau_of_factors": None if math.isnan(tau) else tau,
        "top_three_factors": ", ".join(here.sort("importance_rank")["factor"].head(3)),
    }


def compare_with_base(
    switch: Switch, gains: pl.DataFrame | None, base: pl.DataFrame
) -> list[dict[str, Any]]:
    """One row per layer: level of the gain, its change, and how the cells' ranking moved.

    kendall_tau_with_base = Kendall's tau-b of delta_r with and without the switch
    mean_change           = mean of delta_r with the switch minus delta_r without
    both over the cells that have both

    Args:
        switch: what was changed.
        gains: gridcell_id, layer, delta_r, is_significant_block of the cells with a result; None
            where the switch could not be run.
        base: the same of the base.
    Returns:
        Rows of `COLUMNS`; statistics are null without a cell, tau also where a ranking is all ties.

    Source: Kendall 1945, doi:10.1093/biomet/33.3.239.
    """
    rows = []
    for layer in LAYERS:
        row = {name: None for name in COLUMNS} | {
            "switch": switch.name,
            "value": switch.value,
            "value_of_base": switch.value_of_base,
            "layer": layer,
            "status": "needs_soil_temperature" if gains is None else "no_cells",
            "n_cells": 0,
            "n_cells_common": 0,
        }
        rows.append(row)
        here = None if gains is None else gains.filter(pl.col("layer") == layer)
        if here is None or here.is_empty():
            continue
        both = here.join(base, on=["gridcell_id", "layer"], suffix="_base")
        row |= {
            "status": "ok",
            "n_cells": here.height,
            "n_cells_common": both.height,
            "share_improved": (here["delta_r"] > 0).mean(),
            "mean_delta_r": here["delta_r"].mean(),
            "share_significant_block": here["is_significant_block"].mean(),
        }
        if both.height:
            row["mean_change"] = (both["delta_r"] - both["delta_r_base"]).mean()
        if both.height > 1:
            tau = float(kendalltau(both["delta_r"], both["delta_r_base"]).statistic)
            row["kendall_tau_with_base"] = None if math.isnan(tau) else tau
        rows[-1] = row
    return rows


def shown(result: pl.DataFrame) -> str:
    """The results as a table for people: the base first, the strongest change of ranking next."""
    head = ("switch", "value", "layer", "cells", "improved", "mean gain", "change", "tau")
    lines = ["{:<20} {:>8} {:>5} {:>6} {:>9} {:>10} {:>8} {:>6}".format(*head)]
    ordered = result.sort(
        pl.col("switch") != BASE, pl.col("layer") != "ssm", "kendall_tau_with_base", nulls_last=True
    )
    for row in ordered.iter_rows(named=True):
        left = f"{row['switch']:<20} {row['value']:>8} {row['layer']:>5}"
        if row["status"] != "ok":
            lines.append(f"{left} {row['status']}")
            continue
        change, tau = (
            " " * width if row[name] is None else format(round(row[name], 4) + 0.0, form)
            for name, form, width in (
                ("mean_change", "+8.4f", 8),
                ("kendall_tau_with_base", "6.3f", 6),
            )
        )
        lines.append(
            f"{left} {row['n_cells']:>6} {row['share_improved']:>9.1%}"
            f" {row['mean_delta_r']:>+10.4f} {change} {tau}"
        )
    return "\n".join(lines)
