"""`python -m benchmarks.paper_scale`: a study of the published size on this machine, step by step.

The lake is made by `benchmarks.world` below SKILLHOUSE_STATE. Every step is a single run of the real
commands as a child process; its figures are merged by name into benchmarks/results/paper-scale.json, so
the steps may be run one at a time, in any order that has a world before it and a build before what reads
the warehouse:

    build      everything computed again from a complete lake
    unchanged  a second build with nothing changed
    one_day    one more day of granules and station text, after `benchmarks.world --without-last-day`
    report     the report page      export  the default bundle      queries  the worked queries
    peers      readers, anomalies, statistics and forest beside their peers, as `make bench` at full size
    cells      growth of models and skill with a quarter, once and four times the cells
    years      the same with the years

Run: python -m benchmarks.paper_scale --steps build,unchanged,queries [--memory 6GiB]
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks import queries, report_and_export
from benchmarks.__main__ import benchmarks
from benchmarks.dbt_steps import Step, nodes_of, run_models, steps_of
from benchmarks.page import update_page
from benchmarks.process_tree import Watched, folder_bytes, watch
from benchmarks.queries import size_of
from benchmarks.record import RESULTS, Record, read_results, text_table, write_results
from ingest.reader import PROJECT_ROOT, STATE_ROOT, BadInput
from ingest.study import Study, load_study
from skillhouse.publish import warehouse_path

PAPER_SCALE = RESULTS / "paper-scale.json"
WORLD = PROJECT_ROOT / "benchmarks" / "paper_scale.yml"
EIGHT_GIB = "peak_rss_mb <= 8590"
SKILL_STEP = ("staging", "soil_moisture", "skill")
DEFAULT_MEMORY = "3GiB"
SIZES = {"cells": (0.25, 1, 4), "years": (0.25, 1, 4)}
SLOPE_BAR = "slope <= 1.1"


@dataclass(frozen=True)
class Setting:
    """What is measured, and with what.

    Args:
        study: its study file, or name.
        memory: limit of the database, as the build's `--memory`.
        threads: of the database and the statistics.
    """

    study: str
    memory: str = DEFAULT_MEMORY
    threads: int = os.cpu_count() or 1

    @property
    def suffix(self) -> str:
        """Ends the names of figures taken with another memory limit than the build's own."""
        return "" if self.memory == DEFAULT_MEMORY else f"_memory_{self.memory.lower()}"

    def loaded(self) -> Study:
        return load_study(self.study)

    @property
    def told(self) -> str:
        return f"memory limit of the database {self.memory}, {self.threads} threads"


def command(setting: Setting, *options: str) -> Watched:
    """A real build of the study, watched.

    Raises:
        RuntimeError: the build failed; the message ends with its own words.
    """
    folder = STATE_ROOT / ".build" / setting.loaded().study
    line = [sys.executable, "-m", "skillhouse", "build", "--study", setting.study]
    line += ["--memory", setting.memory, "--threads", str(setting.threads), *options]
    watched = watch(
        line, cwd=PROJECT_ROOT, env=os.environ, folders=[folder, folder / "spill"], echo=True
    )
    if watched.code:
        raise RuntimeError(f"the build failed:\n{watched.output[-3000:]}")
    return watched


def build(setting: Setting) -> list[Record]:
    """Everything computed again from a complete lake; whole, and by step of the models."""
    study = setting.loaded()
    watched = command(setting, "--fresh")
    warehouse = warehouse_path(study)
    shared = size_of(warehouse)
    steps = steps_of(nodes_of(STATE_ROOT / ".build" / study.study / "target"), watched)
    reading_s = watched.said_at("[3/4]") - watched.said_at("[2/4]")
    spill_mb = watched.peak_folder_mb(1)
    records = [
        Record(
            f"build{setting.suffix}",
            seconds=watched.seconds,
            bar=f"seconds <= 1200 and {EIGHT_GIB}",
            peak_rss_mb=watched.peak_rss_mb,
            disk_mb=watched.peak_folder_mb(0),
            note=f"whole `make build` from a complete lake, attribution and tests included, files found"
            f" unchanged in {reading_s:.0f} s; {setting.told}; most spilled {spill_mb:,.0f} MB;"
            f" warehouse {warehouse.stat().st_size / 1e6:,.0f} MB,"
            f" lake {folder_bytes(study.folder / 'lake') / 1e6:,.0f} MB",
            **shared,
        ),
        skill_record(f"models_and_skill{setting.suffix}", steps, setting, shared),
    ]
    for name, step in sorted(steps.items()):
        records.append(
            Record(
                f"step_{name}{setting.suffix}",
                seconds=step.models_s + step.tests_s,
                peak_rss_mb=step.peak_rss_mb,
                disk_mb=step.disk_mb,
                note=f"models {step.models_s:.1f} s, tests {step.tests_s:.1f} s",
                **shared,
            )
        )
    in_nodes = sum(step.models_s + step.tests_s for step in steps.values())
    return [
        *records,
        Record(
            f"step_rest{setting.suffix}",
            seconds=watched.seconds - in_nodes,
            note="finding the files unchanged, dbt's start, verifying, publishing",
            **shared,
        ),
    ]


def skill_record(
    name: str, steps: dict[str, Step], setting: Setting, shared: dict[str, int]
) -> Record:
    """Models, skill and bootstraps together, with their tests."""
    own = [steps[folder] for folder in SKILL_STEP if folder in steps]
    return Record(
        name,
        seconds=sum(step.models_s + step.tests_s for step in own),
        bar=f"seconds <= 240 and {EIGHT_GIB}",
        peak_rss_mb=max(step.peak_rss_mb for step in own),
        disk_mb=sum(step.disk_mb for step in own),
        note=f"folders {', '.join(SKILL_STEP)} of the build, their tests included"
        f" ({sum(step.tests_s for step in own):.0f} s); {setting.told}",
        **shared,
    )


def unchanged(setting: Setting) -> list[Record]:
    """A second build with nothing changed."""
    watched = command(setting)
    return [
        Record(
            "build_unchanged",
            seconds=watched.seconds,
            bar="seconds <= 30",
            peak_rss_mb=watched.peak_rss_mb,
            note="the same build again",
            **size_of(warehouse_path(setting.loaded())),
        )
    ]


def one_day(setting: Setting) -> list[Record]:
    """The files of one more day are put beside the others, and the study is built.

    Raises:
        BadInput: there is no such day, or its files are among the others already.
    """
    study = setting.loaded()
    day = study.folder / "last_day"
    n_files = sum(path.is_file() for path in day.rglob("*"))
    try:
        shutil.copytree(day, study.folder / "raw", dirs_exist_ok=True, copy_function=os.link)
    except (FileNotFoundError, shutil.Error) as error:
        raise BadInput(
            "no day to add, or it is there already",
            file=day,
            remedy="make the world anew: python -m benchmarks.world --without-last-day",
        ) from error
    watched = command(setting)
    ingest_s = watched.said_at("[3/4]") - watched.said_at("[2/4]")
    shared = {"peak_rss_mb": watched.peak_rss_mb, **size_of(warehouse_path(study))}
    return [
        Record(
            "one_day_ingest",
            seconds=ingest_s,
            bar="seconds < 10",
            note=f"{n_files} new files read into a full lake, all others found unchanged",
            **shared,
        ),
        Record(
            "one_day_rebuild",
            seconds=watched.seconds - ingest_s,
            note="the rest of that build",
            **shared,
        ),
    ]


def peers() -> list[Record]:
    """The figures with a peer, taken anew, so that one file tells of one machine and one version."""
    return [record for measure in benchmarks([]).values() for record in measure()]


def on_warehouse(name: str, setting: Setting) -> list[Record]:
    """Queries, or the report, or the export, of the study's warehouse."""
    warehouse = warehouse_path(setting.loaded())
    if name == "queries":
        return queries.measure_on(warehouse)
    return report_and_export.measure_on(setting.study, warehouse, only=name)


def growth(axis: str, setting: Setting) -> list[Record]:
    """Models and skill of worlds of other sizes, and the slope of log seconds on log size.

    Args:
        axis: `cells` or `years`.
    """
    from benchmarks.world import CYCLE_YEARS, N_CELLS, study_of

    records, work, seconds = [], [], []
    for factor in SIZES[axis]:
        cells = round(N_CELLS * factor) if axis == "cells" else N_CELLS
        years = CYCLE_YEARS * factor if axis == "years" else CYCLE_YEARS
        study, _ = study_of(cells, years)
        made = [sys.executable, "-m", "benchmarks.world", "--cells", str(cells)]
        watched = watch(
            [*made, "--years", f"{years:g}"], cwd=PROJECT_ROOT, env=os.environ, echo=True
        )
        if watched.code:
            raise RuntimeError(f"the world failed:\n{watched.output[-3000:]}")
        folder = STATE_ROOT / ".build" / f"growth_{axis}"
        try:
            nodes, watched = run_models(
                study,
                lake=study.folder / "lake",
                build=folder,
                select="+path:models/skill",
                threads=setting.threads,
                memory=setting.memory,
            )
            shared = size_of(folder / "warehouse.duckdb")
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        steps = steps_of(nodes, watched)
        found = skill_record(f"growth_{axis}_{factor:g}", steps, setting, shared)
        note = f"models alone, folders {', '.join(SKILL_STEP)}; {setting.told}"
        found = replace(found, bar=None, note=note)
        records.append(found)
        work.append(shared["cells"] * shared["days"])
        seconds.append(found.seconds)
        print(text_table([vars(found)]), flush=True)
    slope = float(np.polyfit(np.log(work), np.log(seconds), 1)[0])
    note = f"of models and skill, log seconds on log size, from {len(work)} sizes"
    return [*records, Record(f"growth_{axis}_slope", slope=slope, bar=SLOPE_BAR, note=note)]


STEPS = {
    "build": build,
    "unchanged": unchanged,
    "one_day": one_day,
    "queries": lambda setting: on_warehouse("queries", setting),
    "report": lambda setting: on_warehouse("report", setting),
    "export": lambda setting: on_warehouse("export", setting),
    "peers": lambda setting: peers(),
    "cells": lambda setting: growth("cells", setting),
    "years": lambda setting: growth("years", setting),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the steps asked for, each one's figures kept before the next begins."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.paper_scale",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--steps", required=True, help=f"comma-separated, of {', '.join(STEPS)}")
    parser.add_argument("--study", default=str(WORLD), help="study file; default the full-size one")
    parser.add_argument("--memory", default=DEFAULT_MEMORY, help="memory limit of the database")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--results", type=Path, default=PAPER_SCALE, help="file of the figures")
    options = parser.parse_args(arguments)
    setting = Setting(options.study, options.memory, options.threads)
    try:
        for name in options.steps.split(","):
            if name not in STEPS:
                raise BadInput(
                    f"step {name!r} does not exist",
                    key="--steps",
                    remedy=f"choose among {', '.join(STEPS)}",
                )
            records = STEPS[name](setting)
            write_results(options.results, records, keep=read_results(options.results))
            print(text_table(map(vars, records)), flush=True)
            if options.results == PAPER_SCALE:
                update_page()
    except (BadInput, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
