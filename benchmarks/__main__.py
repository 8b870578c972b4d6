"""`python -m benchmarks`: every measurement as a table and as benchmarks/results/latest.json."""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from collections.abc import Callable
from dataclasses import asdict

from benchmarks.page import update_page
from benchmarks.record import RESULTS, Record, read_results, text_table, write_results
from ingest.reader import PROJECT_ROOT, BadInput
from ingest.study import load_study
from skillhouse.publish import warehouse_path

LATEST = RESULTS / "latest.json"
WITH_PEERS = (
    "station_text_reading",
    "granule_reading",
    "daily_anomalies",
    "rank_correlation_bootstrap",
    "control_factors",
    "attribution",
)
ON_A_WAREHOUSE = ("queries", "report_and_export")


def benchmarks(names: list[str]) -> dict[str, Callable[..., list[Record]]]:
    """The `measure` of each named benchmark; all of those with peers where none is named.

    Raises:
        BadInput: a name is unknown, or a peer is not installed.
    """
    for name in names:
        if name not in WITH_PEERS:
            raise BadInput(
                f"benchmark {name!r} does not exist",
                remedy=f"choose among {', '.join((*WITH_PEERS, *ON_A_WAREHOUSE))}",
            )
    try:
        importlib.import_module("pytesmo")
    except ModuleNotFoundError as error:
        raise BadInput(
            "pytesmo, one of the peers, is not installed",
            file="requirements-bench.txt",
            remedy="run it through make, or install that file's packages",
        ) from error
    return {
        name: importlib.import_module(f"benchmarks.{name}").measure for name in names or WITH_PEERS
    }


def on_warehouse(names: list[str], study: str) -> dict[str, Callable[..., list[Record]]]:
    """Queries, report and export on a study's published warehouse, which has one size only.

    Raises:
        BadInput: the study has no published warehouse.
    """
    if not names:
        return {}
    warehouse = warehouse_path(load_study(study))
    if not warehouse.exists():
        raise BadInput(
            f"study {study} has no warehouse yet",
            file=str(warehouse),
            remedy=f"run make build STUDY={study}, or leave out {', '.join(names)} with ONLY=",
        )
    from benchmarks import queries, report_and_export

    found = {
        "queries": lambda small: queries.measure_on(warehouse),
        "report_and_export": lambda small: report_and_export.measure_on(study, warehouse),
    }
    return {name: found[name] for name in names}


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, and keep full-size figures beside those of earlier runs."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("--only", default="", help="benchmarks to run, comma-separated")
    parser.add_argument("--small", action="store_true", help="small sizes, nothing written")
    parser.add_argument("--study", default="twin", help="whose warehouse queries and report use")
    options = parser.parse_args(arguments)
    only = [name for name in options.only.split(",") if name]
    late = [n for n in ON_A_WAREHOUSE if n in only or not (only or options.small)]
    early = [n for n in only or WITH_PEERS if n not in ON_A_WAREHOUSE]
    records: list[Record] = []
    try:
        measures = on_warehouse(late, options.study) | (benchmarks(early) if early else {})
        for name, measure in measures.items():
            start = time.monotonic()
            found = measure(small=options.small)
            records += found
            print(f"{name}: {time.monotonic() - start:.0f} s", file=sys.stderr)
            if not options.small:
                write_results(LATEST, found, keep=read_results(LATEST))
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(text_table(map(asdict, records)))
    if not options.small:
        update_page()
        print(f"\nwritten: {LATEST.relative_to(PROJECT_ROOT)}, and the table in docs/benchmarks.md")
    return 0


if __name__ == "__main__":
    sys.exit(main())
