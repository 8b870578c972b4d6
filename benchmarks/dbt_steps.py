"""Seconds, memory and disk of the steps of a dbt run: its models and tests by folder of `models/`."""

from __future__ import annotations

import datetime as dt
import json
import os
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from benchmarks.process_tree import Watched, watch
from ingest.reader import PROJECT_ROOT
from ingest.study import Study
from skillhouse.dbt_vars import dbt_vars


@dataclass(frozen=True)
class Node:
    """A model or test that ran: its name, folder and kind, seconds, and when."""

    name: str
    folder: str
    kind: str
    seconds: float
    start: float
    end: float


@dataclass(frozen=True)
class Step:
    """What the nodes of a folder took: memory is the highest while one ran, disk what they added."""

    models_s: float
    tests_s: float
    peak_rss_mb: float
    disk_mb: float


def nodes_of(target: Path) -> list[Node]:
    """The nodes of a dbt run, from the files it leaves in its target folder."""
    known = json.loads((target / "manifest.json").read_text())["nodes"]
    found = []
    for result in json.loads((target / "run_results.json").read_text())["results"]:
        node = known.get(result["unique_id"])
        if node is None:  # an exposure, of which nothing runs, or a unit test, which needs no data
            continue
        path = Path(node["original_file_path"])
        folder = path.parts[1] if path.parts[0] == "models" and len(path.parts) > 2 else "other"
        moments = [
            dt.datetime.fromisoformat(span[edge].replace("Z", "+00:00")).timestamp()
            for span in result["timing"]
            for edge in ("started_at", "completed_at")
        ]
        found.append(
            Node(
                name=node["name"],
                folder=folder,
                kind=node["resource_type"],
                seconds=result["execution_time"],
                start=min(moments, default=0.0),
                end=max(moments, default=0.0),
            )
        )
    return found


def steps_of(nodes: list[Node], watched: Watched) -> dict[str, Step]:
    """Nodes by folder; the first watched folder is the one whose growth counts as disk."""
    by_folder = defaultdict(list)
    for node in nodes:
        by_folder[node.folder].append(node)
    steps = {}
    for folder, own in by_folder.items():
        peak = disk = 0
        for node in own:
            samples = watched.during(node.start, node.end)
            if samples:
                peak = max(peak, *(rss for _, rss, _ in samples))
                disk += samples[-1][2][0] - samples[0][2][0]
        steps[folder] = Step(
            models_s=sum(node.seconds for node in own if node.kind == "model"),
            tests_s=sum(node.seconds for node in own if node.kind != "model"),
            peak_rss_mb=peak / 1e6,
            disk_mb=disk / 1e6,
        )
    return steps


def run_models(
    study: Study, *, lake: Path, build: Path, select: str, threads: int, memory: str
) -> tuple[list[Node], Watched]:
    """Run the selected models of the project on a lake, in a real dbt run of its own.

    Raises:
        RuntimeError: a model failed; the message ends with dbt's own words.
    """
    build.mkdir(parents=True, exist_ok=True)
    for old in build.glob("*.duckdb"):
        old.unlink()
    command = [sys.executable, "-m", "dbt.cli.main", "--no-use-colors", "run", "--select", select]
    command += ["--project-dir", str(PROJECT_ROOT), "--profiles-dir", str(PROJECT_ROOT)]
    command += ["--log-path", str(build / "logs"), "--target-path", str(build / "target")]
    command += ["--vars", json.dumps(dbt_vars(study, lake))]
    environment = os.environ | {
        "SKILLHOUSE_BUILD": str(build),
        "SKILLHOUSE_THREADS": str(threads),
        "SKILLHOUSE_MEMORY": memory,
        "NUMBA_NUM_THREADS": str(threads),
        "DO_NOT_TRACK": "1",
    }
    watched = watch(command, cwd=PROJECT_ROOT, env=environment, folders=[build])
    if watched.code:
        raise RuntimeError(watched.output[-3000:])
    return nodes_of(build / "target"), watched
