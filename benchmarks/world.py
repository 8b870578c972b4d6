"""A lake as large as the published study's: 2287 cells, 2474 stations, 5840 granules a product.

Simulated tile by tile (`benchmarks.world_tile`), each read by the ordinary readers; then the tiles' lakes become
one lake through the ordinary `Lake.ingest`, with rows taken from the tiles instead of raw files. Beside it lie
placeholders for the raw files (right name, size and time, no content), so that a build finds every file unchanged.
After a reader's change a build would read them, and refuse: make the world again first, which takes its rows from
the tiles. Only the last day's raw files have content, in `last_day/`, to be added to a world without that day.

More cells than the published study has are copies of its tiles, each 22.5 degrees further east: 241 whole M09
columns, and whole boxes of every latitude/longitude grid. More than two years are copies two calendar years later.

Run: python -m benchmarks.world [--cells 2287] [--years 2] [--without-last-day] [--remove]
"""

from __future__ import annotations

import argparse
import datetime as dt
import os
import re
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl
import yaml

from benchmarks.station_text_reading import write_month
from benchmarks.world_granules import write_last_day
from benchmarks.world_tile import Tile, make_tile
from ingest.grid import M09
from ingest.lake import Lake
from ingest.reader import PROJECT_ROOT, STATE_ROOT, BadInput, Extract, RawFile
from ingest.run import reader_of, study_cells, study_stations, write_study_tables
from ingest.study import Period, Study, load_study
from ingest.twin import TwinSettings
from skillhouse.lock import build_lock

NAME = "paper_scale"
STUDY = PROJECT_ROOT / "benchmarks" / f"{NAME}.yml"
N_CELLS, N_STATIONS = 2287, 2474
#: north-western corners (M09) of the tiles over China; columns keep clear of each other in every turn
CORNERS = [(row, col) for col in (3136, 2736, 3296) for row in (304, 168, 440)]
WINDOW = 64
TURN_COLS, TURN_DEG, TURNS = 241, 22.5, 16
CYCLE_YEARS = 2
MODIFIED_NS = 1_577_836_800_000_000_000  # 2020-01-01, every placeholder's time
_YEAR = re.compile(r"(?<!\d)20[12]\d")


@dataclass(frozen=True)
class Piece:
    """A tile put at its place: `turn` times 22.5 degrees east of where it was simulated."""

    index: int
    tile: Tile
    turn: int

    def placed(self, rows: pl.DataFrame, *, boxes_a_turn: int) -> pl.DataFrame:
        """Lake rows of the tile as rows of the world; `P03T0001` is station T0001 of piece 3."""
        east = {
            "grid_col": (pl.col("grid_col") + self.turn * TURN_COLS) % M09.cols,
            "box_col": (pl.col("box_col") + self.turn * boxes_a_turn) % (TURNS * boxes_a_turn),
            "longitude": (pl.col("longitude") + self.turn * TURN_DEG + 180) % 360 - 180,
        }
        changes = {c: change for c, change in east.items() if self.turn and c in rows.columns}
        if "station_id" in rows.columns:
            changes["station_id"] = pl.lit(f"P{self.index:02d}") + pl.col("station_id")
        return rows.with_columns(**changes)


@dataclass
class TileRows:
    """Takes the place of `Reader.read`: a raw file's rows and counts are those that the tiles' lakes have of it.

    Args:
        source: folder in the lakes. tables: its lake tables.
        pieces: all tiles, each at its place.
        cycles: how often the tiles' years are repeated.
    """

    source: str
    tables: Sequence[str]
    pieces: Sequence[Piece]
    cycles: int
    _partition: str | None = None
    _empty: dict[str, pl.DataFrame] = field(default_factory=dict)
    _rows: dict[str, dict[str, pl.DataFrame]] = field(default_factory=dict)
    _counts: dict[str, Counter[tuple[str, str]]] = field(default_factory=dict)

    def __call__(self, raw: RawFile) -> Extract:
        if raw.partition != self._partition:
            self._load(raw.partition)
        tables = {}
        for name in self.tables:
            rows = self._rows[name].get(raw.path, self._empty[name])
            tables[name] = rows.drop("source_file").to_arrow()
        counts = [(*key, n) for key, n in sorted(self._counts.get(raw.path, {}).items())]
        return Extract(tables, counts)

    def _load(self, partition: str) -> None:
        """All tiles' rows and counts of one partition, by the world's raw file."""
        parts: dict[str, list[pl.DataFrame]] = {name: [] for name in self.tables}
        self._partition, self._counts, self._empty = partition, {}, {}
        for piece in self.pieces:
            lake = piece.tile.folder / "lake" / self.source
            manifest = pl.read_parquet(lake / "manifest.parquet").filter(pl.col("status") == "ok")
            boxes_a_turn = _boxes_a_turn(lake)
            for name in self.tables:
                self._empty[name] = pl.read_parquet(lake / name / "_schema.parquet")
            for cycle in range(self.cycles):
                original = shifted(partition, -cycle)
                if cycle and original == partition:
                    continue
                found = manifest.filter(pl.col("partition") == original)
                for file, counts in found.select("source_file", "counts").rows():
                    total = self._counts.setdefault(shifted(file, cycle), Counter())
                    for count in counts:
                        entity = count["entity"]
                        if self.source == "insitu":
                            entity = f"P{piece.index:02d}{entity}"
                        total[entity, count["reason"]] += count["n"]
                for digest in found["digest"].unique().sort():
                    for name in self.tables:
                        path = lake / name / f"{original}-{digest}.parquet"
                        if path.exists():
                            rows = later(pl.read_parquet(path), cycle)
                            parts[name].append(piece.placed(rows, boxes_a_turn=boxes_a_turn))
        self._rows = {
            name: {
                key[0]: rows
                for key, rows in pl.concat([self._empty[name], *frames])
                .partition_by("source_file", as_dict=True)
                .items()
            }
            for name, frames in parts.items()
        }


def shifted(name: str, cycle: int) -> str:
    """A file or partition name with its year two years later per cycle; without a year, as it is.

    >>> shifted("2017/SMAP_L4_SM_gph_20171231T013000_Vv4030_001.h5", 1)
    '2019/SMAP_L4_SM_gph_20191231T013000_Vv4030_001.h5'
    >>> shifted("LE.METEO-NONE.4320_2160.daily.2018.nc", 2), shifted("h26v05", 3)
    ('LE.METEO-NONE.4320_2160.daily.2022.nc', 'h26v05')
    """
    return _YEAR.sub(lambda year: str(int(year[0]) + CYCLE_YEARS * cycle), name)


def later(rows: pl.DataFrame, cycle: int) -> pl.DataFrame:
    """Rows with their times two calendar years later per cycle, and their file renamed with them."""
    if not cycle:
        return rows
    years = f"{CYCLE_YEARS * cycle}y"
    times = [c for c in ("observed_at", "obs_date") if c in rows.columns]
    names = rows["source_file"].unique().to_list()
    return rows.with_columns(
        *(pl.col(c).dt.offset_by(years) for c in times),
        pl.col("source_file").replace({name: shifted(name, cycle) for name in names}),
    )


def _boxes_a_turn(lake: Path) -> int:
    """How many boxes of a source's latitude/longitude grid make a turn; 0 for a source without boxes."""
    if not (lake / "box").exists():
        return 0
    width = pl.scan_parquet(lake / "box" / "*.parquet").select(pl.col("width_lon_deg").first())
    return round(TURN_DEG / width.collect().item())


def make_world(
    study: Study,
    settings: Sequence[TwinSettings],
    pool: Path,
    *,
    turns: int = 1,
    cycles: int = 1,
    last_day: bool = True,
    workers: int,
    say: Callable[[str], None] = print,
) -> list[Tile]:
    """Write a study's lake and the placeholders of its raw files, from tiles simulated where missing.

    Args:
        study: its period is that of the world.
        settings: one twin per tile.
        pool: folder of the tiles.
        turns: how often every tile is placed, each time 22.5 degrees further east.
        cycles: how often the simulated years are repeated.
        last_day: false leaves the period's last day of granules and stations out.
        workers: processes that read and write.
    """
    end = study.period.end.replace(year=study.period.end.year - CYCLE_YEARS * (cycles - 1))
    period = Period(start=study.period.start, end=end)
    say(f"[1/3] {len(settings)} tiles, {period.start} to {period.end}")
    tiles = []
    for k, one in enumerate(settings, start=1):
        say(f"  tile {k} of {len(settings)}: {one.n_cells} cells, {one.n_stations} stations")
        tiles.append(make_tile(study, one, period, pool, workers=workers, say=say))
    pieces = [
        Piece(index, tiles[index % len(tiles)], index // len(tiles))
        for index in range(turns * len(tiles))
    ]
    say("[2/3] placeholders of the raw files")
    files = world_files(pieces, cycles=cycles, last_day=last_day)
    write_placeholders(study.folder / "raw", files)
    say(f"  {len(files):,} files, {sum(files.values()) / 1e9:.1f} GB if they had content")
    say(f"[3/3] the lake, from {len(pieces)} tiles")
    # of four times the cells a year of the finest grid takes 10 GB: one such partition at a time
    with Lake(study.folder / "lake", workers=workers if turns == 1 else 1, say=say) as lake:
        merge(study, lake, pieces, cycles=cycles, say=say)
    return tiles


def world_files(pieces: Sequence[Piece], *, cycles: int, last_day: bool) -> dict[str, int]:
    """Path below `raw/` -> bytes of every raw file of the world; a file of several tiles is as large as all."""
    files: Counter[str] = Counter()
    for piece in pieces:
        for path, (size, partition) in piece.tile.files.items():
            if path in piece.tile.last_day and not last_day:
                continue
            for cycle in range(cycles if shifted(partition, 1) != partition else 1):
                files[shifted(path, cycle) if cycle else path] += size
    return dict(files)


def write_placeholders(raw: Path, files: dict[str, int]) -> None:
    """Files without content, of the right size (sparse: they take no room) and one fixed time; nothing beside them."""
    raw.mkdir(parents=True, exist_ok=True)
    for path in raw.rglob("*"):
        if path.is_file() and str(path.relative_to(raw)) not in files:
            path.unlink()
    for name, size in files.items():
        path = raw / name
        if path.exists():
            found = path.stat()
            if (found.st_size, found.st_mtime_ns) == (size, MODIFIED_NS):
                continue
            path.unlink()
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "wb") as file:
            file.truncate(size)
        os.utime(path, ns=(MODIFIED_NS, MODIFIED_NS))


def merge(
    study: Study,
    lake: Lake,
    pieces: Sequence[Piece],
    *,
    cycles: int,
    say: Callable[[str], None] = print,
) -> None:
    """Bring the world's lake up to date as `ingest.run.ingest` does, with rows taken from the tiles."""
    cells, stations = None, ()
    for source in study.sources():
        reader = reader_of(study, source, cells=cells, stations=stations)
        reader.read = TileRows(source, list(reader.tables), pieces, cycles)
        if "refused" in lake.manifest(source)["status"]:  # placeholders were read: begin anew
            shutil.rmtree(lake.root / source)
        done = lake.ingest(reader)
        say(
            f"  {source}: {done.n_read:,} files merged, {done.n_kept:,} unchanged;"
            f" {done.n_rows:,} rows ({done.seconds:.0f} s)"
        )
        if source == "insitu":
            stations = study_stations(study, lake)
            cells = study_cells(stations)
            write_study_tables(study, lake, cells)


def tiles_of(n_cells: int) -> tuple[list[TwinSettings], int]:
    """Settings of the tiles that have so many cells in all, and how often each is placed.

    Raises:
        BadInput: more than the published study's cells, and no multiple of them.

    >>> tiles, turns = tiles_of(2287)
    >>> len(tiles), sum(t.n_cells for t in tiles), sum(t.n_stations for t in tiles), turns
    (9, 2287, 2474, 1)
    """
    turns = max(1, n_cells // N_CELLS)
    if n_cells < 10 or n_cells // turns > N_CELLS or n_cells % turns or turns > TURNS:
        raise BadInput(
            f"{n_cells} cells",
            key="--cells",
            remedy=f"give 10 to {N_CELLS}, or {N_CELLS} times 2 to {TURNS}",
            reason="invalid_size",
        )
    n_cells //= turns
    n_stations = round(n_cells * N_STATIONS / N_CELLS)
    n = min(max(1, round(n_cells / N_CELLS * len(CORNERS))), len(CORNERS))
    shares = [
        [total * (k + 1) // n - total * k // n for k in range(n)] for total in (n_cells, n_stations)
    ]
    return [
        TwinSettings(
            seed=1000 + k,
            n_cells=cells,
            n_stations=max(stations, cells + 9),
            window_row=CORNERS[k][0],
            window_col=CORNERS[k][1],
            window_size=WINDOW,
        )
        for k, (cells, stations) in enumerate(zip(*shares, strict=True))
    ], turns


def study_of(n_cells: int, years: float) -> tuple[Study, int]:
    """The study of a world of another size or length, and how often its years are repeated.

    Raises:
        BadInput: more than two years, and an odd number.
    """
    if years > CYCLE_YEARS and years % CYCLE_YEARS or years <= 0:
        raise BadInput(
            f"{years:g} years",
            key="--years",
            remedy="give up to 2 years, or an even number",
            reason="invalid_size",
        )
    if (n_cells, years) == (N_CELLS, CYCLE_YEARS):
        return load_study(str(STUDY)), 1
    content = yaml.safe_load(STUDY.read_text())
    start, cycles = content["period"]["start"], max(1, int(years // CYCLE_YEARS))
    if cycles > 1:
        end = start.replace(year=start.year + int(years)) - dt.timedelta(days=1)
    else:
        end = start + dt.timedelta(days=round(365 * years) - 1)
    name = f"{NAME}_{n_cells}_cells_{years:g}_years".replace(".", "_")
    content |= {"study": name, "period": {"start": start, "end": end}}
    if n_cells > N_CELLS:
        del content["region"]  # copies lie further east
    path = STATE_ROOT / "data" / name / f"{name}.yml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return load_study(str(path)), cycles


def write_station_month(folder: Path) -> None:
    """A month of all stations' text, for measuring their reader."""
    path = folder / "soil_moisture_201707.csv"
    if path.exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    write_month(temporary, stations=N_STATIONS)
    os.replace(temporary, path)


def remove() -> None:
    """Remove every world and its tiles."""
    for parent in (STATE_ROOT / "data", STATE_ROOT / ".build"):
        for folder in parent.glob(f"{NAME}*"):
            shutil.rmtree(folder)
            print(f"removed {os.path.relpath(folder)}")


def disk_mb(folder: Path) -> float:
    """Room that a folder takes, in MB; placeholders take none."""
    return sum(f.stat().st_blocks for f in folder.rglob("*") if f.is_file()) * 512 / 1e6


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, default=N_CELLS)
    parser.add_argument("--years", type=float, default=CYCLE_YEARS)
    parser.add_argument(
        "--without-last-day", action="store_true", help="leave out what a benchmark then adds"
    )
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--remove", action="store_true", help="remove all worlds and tiles")
    options = parser.parse_args()
    if options.remove:
        remove()
        return 0
    started = time.monotonic()
    try:
        settings, turns = tiles_of(options.cells)
        study, cycles = study_of(options.cells, options.years)
        pool = STATE_ROOT / "data" / f"{NAME}_tiles"
        with (
            build_lock(STATE_ROOT / ".build" / pool.name / "lock", pool.name),
            build_lock(STATE_ROOT / ".build" / study.study / "lock", study.study),
        ):
            tiles = make_world(
                study,
                settings,
                pool,
                turns=turns,
                cycles=cycles,
                last_day=not options.without_last_day,
                workers=options.workers,
            )
            if study.study == NAME:
                print("raw files of the last day, and a month of station text")
                write_last_day(tiles, study.folder / "last_day", workers=options.workers)
                write_station_month(study.folder / "samples")
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    file = STUDY if study.study == NAME else study.folder / f"{study.study}.yml"
    print(
        f"{os.path.relpath(study.folder)}: {disk_mb(study.folder):,.0f} MB,"
        f" tiles {disk_mb(pool):,.0f} MB, after {time.monotonic() - started:.0f} s."
        f" Next: python -m skillhouse build --study {os.path.relpath(file)}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
