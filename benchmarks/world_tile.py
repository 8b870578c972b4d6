"""One tile of the full-size world: a twin experiment, read by the ordinary readers into a lake of its own.

<folder>/lake/       what ingest made of the tile's raw files, which are removed once read
<folder>/last_day/   the raw files of the period's last day, kept
<folder>/tile.json   written last: the tile is complete; its raw files with size and partition
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from ingest.lake import Lake
from ingest.run import ingest, reader_of
from ingest.study import Period, Study
from ingest.twin import TwinSettings, generate
from ingest.twin.generate import fingerprint
from ingest.twin.raw_files.stations import LOCAL_HOURS

VERSION = "1"  # bump when the same settings would give another tile
MARK = "tile.json"


@dataclass(frozen=True)
class Tile:
    """A complete tile.

    Args:
        folder: where its lake and the raw files of its last day are.
        files: path below `raw/` -> (bytes, partition) of every raw file that was read.
        last_day: those of them that hold the last day alone.
    """

    folder: Path
    files: dict[str, tuple[int, str]]
    last_day: frozenset[str]


def tile_study(study: Study, folder: Path, period: Period) -> Study:
    """The study as a tile is read by: its own raw files, its own period, nothing else changed."""
    moved = study.model_dump_json().replace(str(study.folder), str(folder))
    return Study.model_validate_json(moved).model_copy(update={"period": period})


def make_tile(
    study: Study,
    settings: TwinSettings,
    period: Period,
    pool: Path,
    *,
    workers: int,
    say: Callable[[str], None] = print,
) -> Tile:
    """Simulate a tile and read it into its lake, unless that was done before.

    May be killed at any moment: the next call goes on from the last complete step.

    Args:
        study: the study whose readers and settings are used.
        settings: of the twin; each tile has its own seed and window.
        period: first and last day simulated.
        pool: folder of all tiles; this one's name in it follows from all that decides its content.
        workers: processes that read raw files.
    """
    started = time.monotonic()
    folder = pool / _key(study, settings, period)
    local = tile_study(study, folder, period)
    mark = folder / MARK
    if not mark.exists():
        raw = folder / "raw"
        made = generate(settings, (period.start, period.end), raw, folder / "truth")
        last_day = [_cut_last_day(raw / "stations", period.end)]
        with Lake(folder / "lake", workers=workers, say=lambda line: None) as lake:
            rows = sum(done.n_rows for done in ingest(local, lake))
            last_day += _granules_of(raw, period.end)
            files = _files(local, raw, lake)
        for path in last_day:
            kept = folder / "last_day" / path
            kept.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(raw / path, kept)
        temporary = mark.with_suffix(".tmp")
        temporary.write_text(json.dumps({"files": files, "last_day": sorted(last_day)}))
        os.replace(temporary, mark)
        say(
            f"    {made.n_bytes / 1e6:,.0f} MB of raw files written, read and removed;"
            f" {rows:,} rows ({time.monotonic() - started:.0f} s)"
        )
    for left in ("raw", "truth"):
        shutil.rmtree(folder / left, ignore_errors=True)
    known = json.loads(mark.read_text())
    return Tile(
        folder=folder,
        files={path: (size, partition) for path, (size, partition) in known["files"].items()},
        last_day=frozenset(known["last_day"]),
    )


def _key(study: Study, settings: TwinSettings, period: Period) -> str:
    """Name of a tile: a hash of what decides its rows."""
    readers = {source: reader_of(study, source).version for source in study.sources()}
    twin = fingerprint(settings, (period.start, period.end))
    text = json.dumps([VERSION, twin, readers, study.rules.sm_max])
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _cut_last_day(stations: Path, last: dt.date) -> str:
    """Move the last UTC day's rows of the monthly station files to a file of that day alone.

    Hours are labelled by their end: the day's are those after 00:00 UTC up to 00:00 of the next.
    """
    start = dt.datetime.combine(last, dt.time()) + dt.timedelta(hours=LOCAL_HOURS)
    months = sorted({f"{moment:%Y%m}" for moment in (start, start + dt.timedelta(days=1))})
    monthly = [stations / f"soil_moisture_{month}.csv" for month in months]
    of_day = stations / f"soil_moisture_{last:%Y%m%d}.csv"
    is_later = (
        pl.datetime(*(pl.col(c).cast(pl.Int32) for c in ("Year", "Mon", "Day", "Hour"))) > start
    )
    tables = [(path, pl.read_csv(path, infer_schema=False)) for path in monthly if path.exists()]
    if not of_day.exists():
        _write_csv(pl.concat([table.filter(is_later) for _, table in tables]), of_day)
    for path, table in tables:
        rest = table.filter(~is_later)
        if rest.is_empty():
            path.unlink()
        elif rest.height < table.height:
            _write_csv(rest, path)
    return f"stations/{of_day.name}"


def _write_csv(table: pl.DataFrame, path: Path) -> None:
    temporary = path.with_suffix(".tmp")
    table.write_csv(temporary)
    os.replace(temporary, path)


def _granules_of(raw: Path, day: dt.date) -> list[str]:
    return sorted(
        str(f.relative_to(raw)) for f in raw.glob(f"*/{day:%Y}/SMAP_L4_SM_*_{day:%Y%m%d}T*.h5")
    )


def _files(study: Study, raw: Path, lake: Lake) -> dict[str, tuple[int, str]]:
    """Every raw file that was read, with its size and partition."""
    found = {}
    for source in study.sources():
        read = lake.manifest(source).filter(pl.col("status") == "ok")["source_file"].to_list()
        reader = reader_of(study, source, cells=np.empty((0, 2), np.int32))
        for file in reader.find():
            if file.path in read:
                found[str(file.location.relative_to(raw))] = (file.size, file.partition)
    return found
