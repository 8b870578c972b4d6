"""Runs dbt as a subprocess, shows its progress, and explains what failed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import duckdb

from ingest.progress import Progress
from ingest.reader import PROJECT_ROOT
from skillhouse.lock import end_with_parent

_STEP = re.compile(r"(\d+) of (\d+) (OK|PASS|ERROR|FAIL|WARN|SKIP)\s*\d*\s*(.*?)\s*\.{3,}")
DISK_FULL = "No space left on device"
_ANSI = re.compile(r"\x1b\[[0-9;]*m")


class BuildFailed(Exception):
    """A model or test failed; the message names it and shows its failing rows."""


def dbt_build(
    *,
    build: Path,
    variables: dict[str, Any],
    threads: int,
    memory: str,
    unit_tests: bool,
    verbose: bool,
    say: Callable[[str], None],
) -> None:
    """Build every model and run every data test into `build`, the models' unit tests only where asked.

    Raises:
        BuildFailed: naming each failed model or test.
    """
    environment = os.environ | {
        "SKILLHOUSE_BUILD": str(build),
        "SKILLHOUSE_THREADS": str(threads),
        "SKILLHOUSE_MEMORY": memory,
        "DO_NOT_TRACK": "1",
        "NO_COLOR": "1",
    }
    command = [sys.executable, "-m", "dbt.cli.main", "--no-use-colors", "build"]
    command += ["--project-dir", str(PROJECT_ROOT), "--profiles-dir", str(PROJECT_ROOT)]
    command += ["--log-path", str(build / "logs"), "--target-path", str(build / "target")]
    command += ["--vars", json.dumps(variables)]
    if not unit_tests:
        command += ["--exclude-resource-type", "unit_test"]
    process = subprocess.Popen(
        command,
        cwd=PROJECT_ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=partial(end_with_parent, os.getpid()),
    )
    assert process.stdout is not None
    lines = []
    progress = None
    for line in process.stdout:
        line = _ANSI.sub("", line.rstrip())
        lines.append(line)
        if verbose:
            say(line)
        if step := _STEP.search(line):
            progress = progress or Progress("models and tests", int(step[2]), "steps", say=say)
            progress.advance()
    if progress:
        progress.close()
    if process.wait():
        raise BuildFailed(_explain(build, lines))


def _explain(build: Path, lines: list[str]) -> str:
    if full := [line.strip() for line in lines if DISK_FULL in line]:
        return full[0]  # dbt then fails to write its log, too, and says so at length
    results = build / "target" / "run_results.json"
    if not results.exists():
        return "dbt stopped before the first model:\n" + "\n".join(lines[-30:])
    failed = [
        r
        for r in json.loads(results.read_text())["results"]
        if r["status"] in ("error", "fail", "runtime error")
    ]
    if not failed:
        return "dbt failed:\n" + "\n".join(lines[-30:])
    return "\n\n".join(_explain_one(build, result) for result in failed[:10])


def _explain_one(build: Path, result: dict[str, Any]) -> str:
    kind, _, name = result["unique_id"].split(".")[:3]
    text = f"{kind} {name}: {result['message']}"
    if kind == "test" and result["status"] == "fail" and result.get("compiled_code"):
        text += "\nfailing rows (first 20):\n" + failing_rows(build, result["compiled_code"])
    return text


def failing_rows(build: Path, query: str) -> str:
    """Rows that a data test returned, from the databases of an unfinished build."""
    try:
        with duckdb.connect(str(build / "warehouse.duckdb"), read_only=True) as connection:
            connection.execute(f"attach '{build / 'scratch.duckdb'}' as scratch (read_only)")
            return str(connection.sql(f"select * from ({query}) limit 20"))
    except duckdb.Error as error:
        return f"(not readable: {error})"
