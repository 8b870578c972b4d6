"""`build`: raw files to published warehouse, in one go or not at all."""

from __future__ import annotations

import datetime as dt
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import duckdb
import polars as pl

from ingest.lake import Lake
from ingest.progress import Progress
from ingest.reader import STATE_ROOT, BadInput, expand
from ingest.run import files_found, ingest
from ingest.study import Study, load_study
from ingest.twin import generate
from skillhouse.dbt_run import dbt_build
from skillhouse.dbt_vars import dbt_vars
from skillhouse.lock import build_lock
from skillhouse.provenance import build_id
from skillhouse.publish import is_published, publish, stamp, verify, warehouse_path
from skillhouse.sensitivity import current_results


def build(
    name: str,
    *,
    workers: int,
    threads: int,
    memory: str,
    fresh: bool = False,
    unit_tests: bool = False,
    verbose: bool = False,
    say: Callable[[str], None] = print,
) -> Path:
    """Build and publish the warehouse of a study; returns its path.

    Results whose settings, raw files, code and packages are the same as before are reused: the
    whole warehouse, or else single forests. `fresh` computes everything again from the lake.

    Raises:
        BadInput: the study or its raw files cannot be used.
        BuildFailed: a model, a test or the final check failed; the last published warehouse stays.
    """
    started = dt.datetime.now(dt.UTC)
    clock = time.monotonic()
    study = load_study(name)
    folder = STATE_ROOT / ".build" / study.study
    with build_lock(folder / "lock", study.study):
        if study.twin:
            say(f"[1/4] raw files of the synthetic twin, in {_shown(study.folder / 'raw')}")
            period = (study.period.start, study.period.end)
            generate(study.twin, period, study.folder / "raw", study.folder / "truth", _told(say))
        else:
            say("[1/4] raw files")
        require_sources(study)
        say(f"[2/4] reading raw files into the lake, {_shown(study.folder / 'lake')}")
        with Lake(study.folder / "lake", workers=workers, say=say) as lake:
            for done in ingest(study, lake, say=say):
                refused = f", {done.n_refused:,} refused" if done.n_refused else ""
                say(
                    f"  {done.source}: {done.n_read:,} files read, {done.n_kept:,} unchanged{refused};"
                    f" {done.n_rows:,} rows ({done.seconds:.0f} s)"
                )
        sensitivity = current_results(study, say)
        identity = build_id(study, sensitivity)
        if is_published(study, identity) and not (fresh or unit_tests):
            say("[3/4] [4/4] nothing to do: settings, raw files, code and packages are unchanged")
            say(summary(warehouse_path(study), time.monotonic() - clock, is_new=False))
            return warehouse_path(study)
        say("[3/4] models, statistics and tests")
        _clear(folder)
        if fresh:
            shutil.rmtree(study.folder / "reuse", ignore_errors=True)
        forget_damaged_results(study.folder / "reuse", say)
        dbt_build(
            build=folder,
            variables=dbt_vars(study, study.folder / "lake") | {"sensitivity": sensitivity},
            threads=threads,
            memory=memory,
            unit_tests=unit_tests,
            verbose=verbose,
            say=say,
        )
        say("[4/4] verify and publish")
        verify(folder)
        keep_results(folder, study.folder / "reuse")
        stamp(folder, study, identity, started)
        target = publish(folder, study, identity)
    say(summary(target, time.monotonic() - clock))
    return target


def _told(say: Callable[[str], None]) -> Callable[[str, int, int], None]:
    """Turn (what, done, total) calls into progress lines, one counter per step."""
    steps: dict[str, Progress] = {}

    def advance(what: str, done: int, total: int) -> None:
        step = steps.setdefault(what, Progress(what, total, "items", say=say))
        step.advance(done - step.done)
        if done == total:
            step.close()

    return advance


def require_sources(study: Study) -> None:
    """Check that every source has files.

    Raises:
        BadInput: listing each missing source, its key and where to get the data.
    """
    missing = []
    for source, (key, n_files, _) in files_found(study).items():
        if n_files:
            continue
        settings = study.sources()[source][1]
        path = expand(settings.path)
        where = f"no file at {path}" if path else "the environment variable in it is not set"
        missing.append(
            f"  {source}: key {key}.path = {settings.path}: {where}\n"
            f"    get it: {settings.obtain or 'ask the owner of the study file'}"
        )
    if missing:
        raise BadInput(
            f"raw files are missing for {len(missing)} of {len(study.sources())} sources:\n"
            + "\n".join(missing),
            key="path",
            remedy=f"\nPut the files there or change the path in the study file of {study.study}",
            reason="missing_source",
        )


def _clear(folder: Path) -> None:
    """Start from nothing: what an unfinished build left is removed, the lock stays."""
    for left in folder.iterdir():
        if left.name == "lock":
            continue
        shutil.rmtree(left) if left.is_dir() else left.unlink()


def keep_results(build: Path, reuse: Path) -> None:
    """Keep what took long and says of itself what it was made from, for the next build to reuse."""
    reuse.mkdir(parents=True, exist_ok=True)
    temporary = reuse / ".tmp-forest.parquet"
    with duckdb.connect(str(build / "scratch.duckdb"), read_only=True) as connection:
        connection.sql("from int_forest").pl().write_parquet(temporary)
    os.replace(temporary, reuse / "forest.parquet")


def forget_damaged_results(reuse: Path, say: Callable[[str], None]) -> None:
    """Remove kept results that cannot be read: they are computed again."""
    kept = reuse / "forest.parquet"
    try:
        if kept.exists():
            pl.read_parquet(kept)
    except pl.exceptions.PolarsError:
        say(f"  {_shown(kept)} is damaged: forests are computed again")
        kept.unlink()


def summary(warehouse: Path, seconds: float, *, is_new: bool = True) -> str:
    """What a build ended with: the headline numbers, warnings, and where to look next."""
    with duckdb.connect(str(warehouse), read_only=True) as connection:
        study, synthetic = connection.execute(
            "select study, is_synthetic from meta_build"
        ).fetchone()
        by_layer = connection.execute(
            "select layer, n_cells, mean_r_baseline, mean_r_candidate, mean_delta_r,"
            " mean_delta_r_ci_lower, mean_delta_r_ci_upper, share_improved, share_significant_block"
            " from fct_skill_summary where stratum = 'all' order by layer desc"
        ).fetchall()
        lags = connection.execute(
            "select product, arg_max(lag_hours, median_r) from fct_time_lag"
            " group by product having arg_max(lag_hours, median_r) <> 0 order by product"
        ).fetchall()
        rain_lags = connection.execute(
            "select product, arg_max(lag_days, median_r) from fct_precipitation_lag"
            " group by product having arg_max(lag_days, median_r) <> 0 order by product"
        ).fetchall()
        negative = connection.execute(
            "select product, count(*) from fct_vertical_coupling where coupling < 0"
            " group by product order by product"
        ).fetchall()
        factors = connection.execute(
            "select count(distinct gridcell_id), count(distinct gridcell_id)"
            " - count(distinct gridcell_id) filter (where status <> 'ok') from fct_factor_status"
        ).fetchone()
        left_out = connection.execute(
            "select entity, reason, n from fct_ledger where stage = 'match_station'"
            " and entity = 'station' and reason <> 'ok' order by n desc"
        ).fetchall()
        refused = connection.execute(
            "select source, reason, count(*) from meta_input_file where status = 'refused'"
            " group by all order by all"
        ).fetchall()
        n_rows = connection.execute(
            "select sum(estimated_size) from duckdb_tables() where not internal"
        ).fetchone()[0]
    lines = [""]
    if synthetic:
        lines.append(
            f"Study {study} is SYNTHETIC: its numbers say nothing about the real products."
        )
    for layer, n, r_base, r_cand, gain, low, high, improved, significant in by_layer:
        interval = f" [{low:+.3f}, {high:+.3f}]" if low is not None else ""
        lines.append(
            f"{layer:>5}: {n} cells, R {r_base:.3f} -> {r_cand:.3f}, mean gain {gain:+.3f}{interval},"
            f" {improved:.0%} improved, {significant:.0%} significant (block bootstrap)"
        )
    if any(factors):
        lines.append(f"all eight control factors known in {factors[1]} of {factors[0]} cells")
    if not by_layer:
        lines.append(
            "No cell has enough common days in any layer: see fct_ledger and fct_skill_gain.status."
        )
    for product, lag in rain_lags:
        lines.append(
            f"WARNING: precipitation of {product} agrees best at a lag of {lag:+d} d, not 0:"
            " check its day boundary and precip_day_offset (fct_precipitation_lag)."
        )
    if negative:
        lines.append(
            "vertical coupling below 0 (kept as it is): "
            + ", ".join(f"{n} cells of {product}" for product, n in negative)
        )
    for product, lag in lags:
        lines.append(
            f"WARNING: stations and {product} agree best at a lag of {lag:+d} h, not 0:"
            " check the time zone and time label of the stations (fct_time_lag)."
        )
    lines += [f"left out: {n} {entity}s, {reason}" for entity, reason, n in left_out]
    lines += [f"refused: {n} files of {source}, {reason}" for source, reason, n in refused]
    lines.append(
        f"{'Published' if is_new else 'Unchanged:'} {_shown(warehouse)}: {n_rows:,} rows,"
        f" {warehouse.stat().st_size / 1e6:.0f} MB, after {seconds:.0f} s."
    )
    lines.append(
        f"Next: make report STUDY={study}, make sql STUDY={study}, make export STUDY={study}"
    )
    return "\n".join(lines)


def _shown(path: Path) -> str:
    return os.path.relpath(path, Path.cwd())
