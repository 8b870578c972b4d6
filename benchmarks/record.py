"""The shape of a measured figure, and how it is measured.

Ours and the peer take turns within one run, the median of several rounds counts, and the ratio is
the peer's seconds over ours: above 1 is faster than the peer. Peak memory is that of a new process
that does nothing but our work.
"""

from __future__ import annotations

import json
import operator
import os
import pickle
import platform
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

RESULTS = Path(__file__).resolve().parent / "results"
COMPARED = ("duckdb", "numpy", "numba", "polars", "pyarrow", "h5py", "isal", "dbt-core")
PEERS = ("pandas", "scipy", "scikit-learn", "xarray", "h5netcdf", "pytesmo")
_CONDITION = re.compile(r"(\w+) (>=|<=|<|>) ([\d.]+)")
_OPERATOR = {">=": operator.ge, "<=": operator.le, "<": operator.lt, ">": operator.gt}


@dataclass(frozen=True)
class Record:
    """One figure beside its peer and its bar.

    Args:
        name: unique among all records.
        seconds: of our work, the median of `runs` rounds; null where nothing is timed.
        peer, peer_seconds: what else does the same, and its seconds for the same work.
        bar: what is asked, as `ratio >= 5` or `seconds <= 240 and peak_rss_mb <= 8590`.
        runs: rounds behind the median.
        peak_rss_mb, disk_mb: peak memory of our work and bytes it leaves, in 10^6 bytes.
        cells, days: size of the work.
        slope: of log seconds against log size, for growth.
        max_difference: largest difference from the peer's answer, found before timing.
        note: what else must be known to read the figure.
    Derived: `ratio` = peer_seconds / seconds, `met` = whether the bar is.

    >>> found = Record("sorting", seconds=0.5, peer="bubble sort", peer_seconds=4, bar="ratio >= 5")
    >>> found.ratio, found.met
    (8.0, True)
    """

    name: str
    seconds: float | None = None
    peer: str | None = None
    peer_seconds: float | None = None
    ratio: float | None = field(init=False, default=None)
    bar: str | None = None
    met: bool | None = field(init=False, default=None)
    peak_rss_mb: float | None = None
    disk_mb: float | None = None
    cells: int | None = None
    days: int | None = None
    slope: float | None = None
    runs: int = 1
    max_difference: float | None = None
    note: str = ""

    def __post_init__(self) -> None:
        if self.seconds and self.peer_seconds is not None:
            object.__setattr__(self, "ratio", self.peer_seconds / self.seconds)
        if self.bar is not None:
            object.__setattr__(self, "met", all(self._holds(c) for c in self.bar.split(" and ")))

    def _holds(self, condition: str) -> bool:
        found = _CONDITION.fullmatch(condition)
        if not found:
            raise ValueError(f"bar: found {condition!r}, expected as in 'ratio >= 5'")
        value = getattr(self, found[1])
        if value is None:
            raise ValueError(f"{self.name}: the bar asks for {found[1]}, which was not measured")
        return _OPERATOR[found[2]](value, float(found[3]))


def alternate(*ways: Callable[[], object], runs: int) -> list[float]:
    """Median seconds of each way over `runs` rounds, the ways taking turns within a round."""
    seconds: list[list[float]] = [[] for _ in ways]
    for _ in range(runs):
        for way, times in zip(ways, seconds, strict=True):
            start = time.perf_counter()
            way()
            times.append(time.perf_counter() - start)
    return [statistics.median(times) for times in seconds]


def peak_rss_mb(work: Callable[..., object], *arguments) -> float:
    """Peak resident memory of a new process that does `work(*arguments)`, in 10^6 bytes.

    The high-water mark of the process's own memory is read, since the peak that `getrusage` tells
    includes what its parent held when it started it.

    Args:
        work: a function that can be imported, with arguments that can be pickled.
    Raises:
        CalledProcessError: the work failed.
    """
    script = "from benchmarks import record; record.tell_peak_of_standard_input()"
    done = subprocess.run(
        [sys.executable, "-c", script],
        input=pickle.dumps((work, arguments)),
        cwd=RESULTS.parents[1],
        stdout=subprocess.PIPE,
        check=True,
    )
    return float(done.stdout.split()[-1])


def tell_peak_of_standard_input() -> None:
    """Do the pickled work of standard input and print this process's peak memory, in 10^6 bytes."""
    work, arguments = pickle.load(sys.stdin.buffer)
    work(*arguments)
    kib = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]
    print(f"\n{int(kib) * 1024 / 1e6:.1f}")


def machine() -> dict[str, object]:
    """Processor, cores and memory that the figures were taken with."""
    processor = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": processor[1] if processor else platform.machine(),
        "cores": os.cpu_count(),
        "memory_gb": round(memory / 1e9, 1),
        "system": f"{platform.system()} {platform.machine()}",
    }


def versions() -> dict[str, str]:
    """Versions of Python, of the packages that compute and of the peers; absent ones left out."""
    found = {"python": platform.python_version()}
    for package in (*COMPARED, *PEERS):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def write_results(path: Path, records: Iterable[Record], *, keep: Iterable[dict] = ()) -> None:
    """Write {machine, versions, records}; of `keep`, records of other names stay, in their order."""
    fresh = {record.name: _rounded(asdict(record)) for record in records}
    merged = {old["name"]: fresh.pop(old["name"], old) for old in keep}
    content = {
        "machine": machine(),
        "versions": versions(),
        "records": [*merged.values(), *fresh.values()],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".tmp-{os.getpid()}-{path.name}")
    temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    os.replace(temporary, path)


def read_results(path: Path) -> list[dict]:
    """Records of a results file, none where there is no file."""
    return json.loads(path.read_text())["records"] if path.exists() else []


def _rounded(values: dict) -> dict:
    """Four significant digits: what a timing is worth."""
    return {
        k: float(f"{v:.4g}") if isinstance(v, float) and not isinstance(v, bool) else v
        for k, v in values.items()
    }


COLUMNS = {
    "name": "figure",
    "seconds": "seconds",
    "peer": "peer",
    "peer_seconds": "peer s",
    "ratio": "ratio",
    "bar": "bar",
    "met": "met",
    "peak_rss_mb": "peak MB",
    "disk_mb": "disk MB",
    "cells": "cells",
    "days": "days",
    "slope": "slope",
}


def rows(records: Iterable[dict]) -> list[list[str]]:
    """Header and one row of text per record; columns that no record fills are left out."""
    records = list(records)
    used = [c for c in COLUMNS if any(record.get(c) is not None for record in records)]
    return [[COLUMNS[c] for c in used], *([_text(r.get(c)) for c in used] for r in records)]


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "NO"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return str(value)


def text_table(records: Iterable[dict]) -> str:
    """The records as an aligned table, notes below it."""
    records = list(records)
    table = rows(records)
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    left = {COLUMNS[c] for c in ("name", "peer", "bar", "met")}
    lines = []
    for row in table:
        cells = zip(row, widths, table[0], strict=True)
        lines.append("  ".join(f"{t:<{w}}" if h in left else f"{t:>{w}}" for t, w, h in cells))
    notes = [f"{r['name']}: {r['note']}" for r in records if r.get("note")]
    return "\n".join(line.rstrip() for line in [*lines, "", *notes])


def markdown_table(records: Iterable[dict]) -> str:
    """The records as a Markdown table, names as code, with a column of notes."""
    records = list(records)
    header, *body = rows(records)
    lines = [[*header, "note"], ["---"] * (len(header) + 1)]
    for record, row in zip(records, body, strict=True):
        lines.append([f"`{row[0]}`", *row[1:], record.get("note", "")])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
