"""Report and export of a published warehouse: seconds, peak memory, size of what they write."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from benchmarks.process_tree import folder_bytes
from benchmarks.queries import size_of
from benchmarks.record import Record, peak_rss_mb
from ingest.study import load_study, study_path

BARS = {"report": "disk_mb <= 15", "export": None}
FORMATS = ["parquet", "csv", "netcdf"]


def report(study: str, warehouse: Path, out: Path) -> None:
    """The report page, as `make report` writes it."""
    from report.page import write_report

    write_report(warehouse, out, say=_silent)


def export(study: str, warehouse: Path, out: Path) -> None:
    """The default bundle in every format, as `make export` writes it."""
    from skillhouse.export import export as write_bundle

    write_bundle(
        load_study(study),
        warehouse,
        study_file=study_path(study),
        tables=None,
        formats=FORMATS,
        version="2000.1.0",
        out=out,
        say=_silent,
    )


def _silent(_: str) -> None:
    pass


def measure_on(study: str, warehouse: Path, *, only: str | None = None) -> list[Record]:
    """Report and export of a study's warehouse, once each in a new process."""
    shared = size_of(warehouse)
    records = []
    for work in (report, export):
        name = work.__name__
        if only not in (None, name):
            continue
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            peak = peak_rss_mb(work, study, warehouse, Path(folder, "out"))
            seconds = time.perf_counter() - start
            size = folder_bytes(Path(folder)) / 1e6
        records.append(
            Record(
                name,
                seconds=seconds,
                bar=BARS[name],
                peak_rss_mb=peak,
                disk_mb=size,
                note="one run, start of the process included",
                **shared,
            )
        )
    return records
