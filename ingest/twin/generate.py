"""Write the twin's raw files and truth: aside, all or nothing, and only when something changed."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from ingest.reader import PROJECT_ROOT, BadInput
from ingest.twin.raw_files.analysis_updates import aup_source
from ingest.twin.raw_files.granules import gph_sources
from ingest.twin.raw_files.land_constants import write_land_constants
from ingest.twin.raw_files.land_cover import write_land_cover
from ingest.twin.raw_files.latlon_grids import write_latent_heat, write_precipitation
from ingest.twin.raw_files.leaf_area import write_leaf_area
from ingest.twin.raw_files.soil_maps import write_soil_maps
from ingest.twin.raw_files.stations import write_stations
from ingest.twin.raw_files.tile_space import write_tile_space
from ingest.twin.raw_files.truth import write_truth
from ingest.twin.settings import TwinSettings
from ingest.twin.world import Period, World, simulate

STAMP = "twin_stamp.json"
WORKERS = 2
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Summary:
    """What `generate` did; `is_new` is false when the files on disk were already right."""

    is_new: bool
    n_files: int
    n_bytes: int
    n_cells: int
    n_pixels: int
    n_stations: int
    n_days: int
    seconds: float


def fingerprint(settings: TwinSettings, period: Period) -> str:
    """SHA-256 of the settings, the period and the twin's source code."""
    digest = hashlib.sha256(settings.model_dump_json().encode())
    digest.update(f"{period[0]} {period[1]}".encode())
    here = Path(__file__).parent
    for source in [*sorted(here.rglob("*.py")), here.parent / "grid.py"]:
        digest.update(source.name.encode() + source.read_bytes())
    return digest.hexdigest()


def generate(
    settings: TwinSettings,
    period: Period,
    raw: Path,
    truth: Path,
    progress: Progress | None = None,
) -> Summary:
    """Write the twin's raw files and its truth, unless the same ones are there already.

    Everything goes into a folder beside `raw` first and is renamed at the end: a killed run leaves
    the last complete files untouched, and the next run clears its remains away.

    Args:
        settings: the twin's settings.
        period: first and last UTC day, both included.
        raw: folder of the raw files. truth: folder of the truth, not inside `raw`.
        progress: called with (what, done, total).

    Raises:
        BadInput: a writer process failed; the last line of its message is included.
    """
    started = time.perf_counter()
    raw, truth = Path(raw), Path(truth)
    key = fingerprint(settings, period)
    known = [_read_stamp(folder) for folder in (raw, truth)]
    if all(stamp and stamp["key"] == key for stamp in known):
        summary = Summary(**known[0]["summary"])
        return replace(summary, is_new=False, seconds=time.perf_counter() - started)

    report = progress or (lambda what, done, total: None)
    aside = raw.parent / f".{raw.name}.twin"
    shutil.rmtree(aside, ignore_errors=True)
    (aside / "raw").mkdir(parents=True)
    try:
        report("simulation", 0, 1)
        world = simulate(settings, period)
        report("simulation", 1, 1)
        n_files = write_everything(world, aside, report)
        summary = Summary(
            is_new=True,
            n_files=n_files,
            n_bytes=sum(f.stat().st_size for f in (aside / "raw").rglob("*") if f.is_file()),
            n_cells=world.cells.row.size,
            n_pixels=world.pixels.row36.size,
            n_stations=world.stations.cell.size,
            n_days=world.dates.size - world.first_day,
            seconds=time.perf_counter() - started,
        )
        stamp = json.dumps({"key": key, "summary": asdict(summary)}, indent=1)
        for name, target in (("truth", truth), ("raw", raw)):
            (aside / name / STAMP).write_text(stamp)
            _swap(aside / name, target, aside / f"old-{name}")
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return summary


def write_everything(world: World, aside: Path, report: Progress) -> int:
    """Write all sources below `aside/raw`, the truth below `aside/truth`; count the raw files.

    Granules go through worker processes, the other sources are written here meanwhile.
    """
    raw = aside / "raw"
    l4, open_loop = gph_sources(world, raw)
    sources = [l4, open_loop, aup_source(world, raw)]
    n_days = world.dates.size - world.first_day
    jobs = aside / "jobs.pickle"
    with open(jobs, "wb") as f:
        pickle.dump((sources, n_days), f, protocol=pickle.HIGHEST_PROTOCOL)
    workers = [_start_worker(jobs, rank, aside) for rank in range(WORKERS)]
    try:
        n_files = 0
        writers = {
            "stations": lambda: write_stations(world, raw / "stations"),
            "land constants": lambda: write_land_constants(world, raw / "lmc"),
            "tile space": lambda: write_tile_space(world, open_loop, raw / "geosldas"),
            "precipitation": lambda: write_precipitation(world, raw),
            "latent heat": lambda: write_latent_heat(world, raw / "fluxcom"),
            "leaf area": lambda: write_leaf_area(world, raw / "lai"),
            "soil maps": lambda: write_soil_maps(world, raw),
            "land cover": lambda: write_land_cover(world, raw / "land_cover"),
        }
        for done, (what, write) in enumerate(writers.items()):
            report(what, done, len(writers))
            n_files += write()
        write_truth(world, aside / "truth")
        report("other sources", len(writers), len(writers))
        return n_files + _wait(workers, aside, len(sources) * n_days * 8, report)
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()


def _start_worker(jobs: Path, rank: int, aside: Path) -> subprocess.Popen:
    path = os.pathsep.join(p for p in (str(PROJECT_ROOT), os.environ.get("PYTHONPATH")) if p)
    with open(aside / f"worker-{rank}.log", "wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "ingest.twin.worker", str(jobs), str(rank), str(WORKERS)],
            stdin=subprocess.PIPE,  # its end tells the worker that we are gone
            stdout=subprocess.PIPE,
            stderr=log,
            env={**os.environ, "PYTHONPATH": path},
        )


def _wait(workers: list[subprocess.Popen], aside: Path, total: int, report: Progress) -> int:
    """Follow the workers to their end; each prints the number of files after every few days."""
    done = 0
    for rank, worker in enumerate(workers):
        for line in worker.stdout:
            done += int(line)
            report("granules", done, total)
        if worker.wait():
            log = (aside / f"worker-{rank}.log").read_text(errors="replace").strip()
            last = log.splitlines()[-1] if log else "it left no message, as when the disk is full"
            raise BadInput(
                f"a writer of the twin's granules ended with status {worker.returncode}: {last}",
                file=aside / "raw",
                remedy="mend the cause and build again; the raw files of before stay",
                reason="not_written",
            )
    return done


def _read_stamp(folder: Path) -> dict | None:
    try:
        return json.loads((folder / STAMP).read_text())
    except (OSError, ValueError):
        return None


def _swap(new: Path, target: Path, old: Path) -> None:
    """Put `new` in the place of `target`, whose former content goes to `old`."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        os.replace(target, old)
    os.replace(new, target)
