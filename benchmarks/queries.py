"""The worked queries of docs/queries.md on a published warehouse: median and slowest.

Each query is run several times through one read-only connection, its rows fetched; the first run, which
reads the file, is left out of the median.
"""

from __future__ import annotations

import re
import statistics
import time
from pathlib import Path

import duckdb

from benchmarks.record import Record, peak_rss_mb
from ingest.reader import PROJECT_ROOT, BadInput

PAGE = PROJECT_ROOT / "docs" / "queries.md"
BAR = "seconds < 1"


def worked_queries(page: Path = PAGE) -> list[tuple[str, str]]:
    """(heading, query) of every SQL block of a page."""
    found, heading = [], ""
    pattern = r"^#+ ([^\n]+)$|^```sql\n(.*?)^```"
    for match in re.finditer(pattern, page.read_text(), re.MULTILINE | re.DOTALL):
        if match[1]:
            heading = match[1]
        else:
            found.append((heading, match[2]))
    return found


def run_all(warehouse: Path, runs: int) -> dict[str, float]:
    """Median seconds of every query, by its number and heading.

    Raises:
        BadInput: the warehouse lacks a table or macro that a query asks for.
    """
    seconds = {}
    with duckdb.connect(str(warehouse), read_only=True) as connection:
        for number, (heading, query) in enumerate(worked_queries(), 1):
            times = []
            for _ in range(runs + 1):
                start = time.perf_counter()
                try:
                    connection.execute(query).fetchall()
                except duckdb.CatalogException as error:
                    raise BadInput(
                        f"query {number} ({heading}) does not run: {str(error).splitlines()[0]}",
                        file=warehouse,
                        remedy="the warehouse is older than the page; build it again",
                    ) from error
                times.append(time.perf_counter() - start)
            seconds[f"{number}: {heading}"] = statistics.median(times[1:])
    return seconds


def size_of(warehouse: Path) -> dict[str, int]:
    """Cells and days of a warehouse."""
    with duckdb.connect(str(warehouse), read_only=True) as connection:
        cells, days = connection.execute(
            "select count(distinct gridcell_id), count(distinct obs_date) from fct_daily_anomaly"
        ).fetchone()
    return {"cells": cells, "days": days}


def measure_on(warehouse: Path, *, runs: int = 5) -> list[Record]:
    """The median and the slowest query on a warehouse."""
    seconds = run_all(warehouse, runs)
    slowest = max(seconds, key=seconds.__getitem__)
    peak = peak_rss_mb(run_all, warehouse, 1)
    shared = {"runs": runs, "peak_rss_mb": peak, **size_of(warehouse)}
    return [
        Record(
            "queries_median",
            seconds=statistics.median(seconds.values()),
            note=f"of the {len(seconds)} queries of docs/queries.md",
            **shared,
        ),
        Record(
            "queries_slowest",
            seconds=seconds[slowest],
            bar=BAR,
            note=f"block {slowest}",
            **shared,
        ),
    ]
