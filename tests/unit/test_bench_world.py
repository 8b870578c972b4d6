"""The world of the benchmarks: what its lake holds is what its tiles hold, and ingest takes it for its own."""

import datetime as dt
import doctest
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import duckdb
import h5py
import numpy as np
import polars as pl
import pytest
import yaml
from polars.testing import assert_frame_equal

from benchmarks import world
from benchmarks.world import (
    CORNERS,
    N_CELLS,
    N_STATIONS,
    STUDY,
    TURN_COLS,
    WINDOW,
    make_world,
    study_of,
    tiles_of,
)
from benchmarks.world_granules import write_last_day
from ingest.grid import M09
from ingest.lake import Lake
from ingest.reader import PROJECT_ROOT, BadInput
from ingest.run import ingest, reader_of
from ingest.sources.gridded_flux import GriddedFluxReader
from ingest.study import load_study
from ingest.twin import TwinSettings

SETTINGS = [
    TwinSettings(
        seed=10 + k,
        n_cells=12,
        n_stations=21 + k,
        window_size=16,
        window_row=row,
        window_col=col,
        spin_up_days=60,
        n_members=8,
    )
    for k, (row, col) in enumerate(CORNERS[:2])
]
LAST = dt.date(2017, 6, 30)
SCRIPT = """
import sys
from pathlib import Path
from benchmarks.world import make_world
from ingest.study import load_study
from tests.unit.test_bench_world import SETTINGS
if __name__ == "__main__":
    study = load_study(sys.argv[1])
    make_world(study, SETTINGS, study.folder.parent / "pool", workers=2)
"""


def study_file(root: Path, *, name="small", start=dt.date(2017, 6, 1), end=LAST, **changes) -> Path:
    content = yaml.safe_load(STUDY.read_text())
    content |= {"study": name, "period": {"start": start, "end": end}} | changes
    path = root / f"{name}.yml"
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        root = tmp_path_factory.mktemp("world")
        patch.setattr("ingest.study.STATE_ROOT", root)
        yield root


@pytest.fixture(scope="module")
def small(home):
    """A study of two tiles of twelve cells, one month long, its lake and its tiles."""
    study = load_study(str(study_file(home)))
    tiles = make_world(study, SETTINGS, home / "pool", workers=1, say=lambda line: None)
    return study, tiles


def make_again(study, home, **options) -> list[str]:
    said: list[str] = []
    make_world(study, SETTINGS, home / "pool", workers=1, say=said.append, **options)
    return said


def tables(study):
    for source in study.sources():
        reader = reader_of(study, source)
        for table in reader.tables:
            yield source, table, [*reader.sort_key[table], "source_file"]


def rows(lake: Path, source: str, table: str) -> pl.DataFrame:
    return pl.read_parquet(lake / source / table / "*.parquet")


def named(frame: pl.DataFrame, tile: int) -> pl.DataFrame:
    if "station_id" not in frame.columns:
        return frame
    return frame.with_columns(station_id=pl.format("P{}{}", pl.lit(f"{tile:02d}"), "station_id"))


def tree(folder: Path) -> dict[str, str]:
    return {
        str(f.relative_to(folder)): hashlib.sha256(f.read_bytes()).hexdigest()
        for f in sorted(folder.rglob("*.parquet"))
    }


# ---------------------------------------------------------------- the lake


def test_lake_is_the_tiles_rows_one_after_the_other(small):
    study, tiles = small
    for source, table, key in tables(study):
        found = rows(study.folder / "lake", source, table)
        parts = [named(rows(t.folder / "lake", source, table), k) for k, t in enumerate(tiles)]
        assert_frame_equal(found.sort(key), pl.concat(parts).sort(key))
        assert found.select(key).n_unique() == found.height > 0, (source, table)


def test_partitions_are_sorted_and_named_as_ingest_does(small):
    study, _ = small
    for source, table, key in tables(study):
        for path in (study.folder / "lake" / source / table).glob("*-*.parquet"):
            frame = pl.read_parquet(path)
            assert_frame_equal(frame, frame.sort(key))


def test_manifest_sums_the_tiles(small):
    study, tiles = small
    for source in study.sources():
        of_tiles = [pl.read_parquet(t.folder / "lake" / source / "manifest.parquet") for t in tiles]
        expected = (
            pl.concat(of_tiles)
            .filter(status="ok")
            .group_by("source_file")
            .agg(
                pl.col("n_rows", "size_bytes").sum(),
                pl.col("first_time").min(),
                pl.col("last_time").max(),
            )
        )
        found = pl.read_parquet(study.folder / "lake" / source / "manifest.parquet")
        assert found["source_file"].is_unique().all()
        assert_frame_equal(
            found.select(expected.columns).sort("source_file"), expected.sort("source_file")
        )
        n = [sum(c["n"] for counts in m["counts"] for c in counts) for m in (found, *of_tiles)]
        assert n[0] == n[1] + n[2]
    counted = pl.read_parquet(study.folder / "lake" / "insitu" / "manifest.parquet")["counts"]
    stations = {c["entity"] for counts in counted for c in counts}
    listed = set(rows(study.folder / "lake", "insitu", "station")["station_id"])
    assert stations <= listed and {s[:3] for s in stations} == {"P00", "P01"}


def test_ordinary_ingest_finds_every_file_unchanged(small):
    study, _ = small
    before = tree(study.folder / "lake")
    with Lake(study.folder / "lake", say=print) as lake:
        done = ingest(study, lake)
    assert {d.source: d.n_read for d in done} == dict.fromkeys(study.sources(), 0)
    assert {d.source: d.n_refused for d in done} == dict.fromkeys(study.sources(), 0)
    assert tree(study.folder / "lake") == before


def test_placeholders_take_no_room_and_nothing_lies_beside_them(small, home):
    study, _ = small
    raw = study.folder / "raw"
    (raw / "stray.csv").write_text("1")
    make_again(study, home)
    files = [f.stat() for f in raw.rglob("*") if f.is_file()]
    assert sum(f.st_blocks for f in files) == 0 < sum(f.st_size for f in files)
    assert not (raw / "stray.csv").exists()


def test_second_run_reads_and_writes_nothing(small, home):
    study, _ = small
    folder = study.folder / "lake"
    before = {f: f.stat().st_mtime_ns for f in folder.rglob("*-*.parquet")}
    said = make_again(study, home)
    assert {f: f.stat().st_mtime_ns for f in folder.rglob("*-*.parquet")} == before
    assert not any("raw files written" in line for line in said)
    assert sum(" 0 files merged" in line for line in said) == len(study.sources())


def test_refused_placeholders_are_mended(small, home, monkeypatch):
    """After a reader's change ingest reads the placeholders: the next run puts the rows back."""
    study, _ = small
    before = rows(study.folder / "lake", "cgdpa", "grid_day")
    plain = GriddedFluxReader.fingerprint
    with monkeypatch.context() as changed:
        changed.setattr(GriddedFluxReader, "fingerprint", lambda self: plain(self) | {"new": 1})
        with Lake(study.folder / "lake", say=print) as lake, pytest.raises(BadInput):
            ingest(study, lake)
        make_again(study, home)
        assert_frame_equal(rows(study.folder / "lake", "cgdpa", "grid_day"), before)
    make_again(study, home)
    assert_frame_equal(rows(study.folder / "lake", "cgdpa", "grid_day"), before)


# ---------------------------------------------------------------- the last day


def test_without_last_day_only_its_files_are_missing_and_are_all_that_is_read(small, home):
    study, tiles = small
    day = dt.datetime(2017, 6, 30)
    whole = {(s, t): rows(study.folder / "lake", s, t) for s, t, _ in tables(study)}
    make_again(study, home, last_day=False)
    try:
        for source, table in (("l4", "land"), ("open_loop", "land"), ("insitu", "reading")):
            found = rows(study.folder / "lake", source, table)
            on_day = (
                pl.col("observed_at") > day if source == "insitu" else pl.col("observed_at") >= day
            )
            assert_frame_equal(found, whole[source, table].filter(~on_day))
            assert found.height < whole[source, table].height
        chosen = {
            "l4/2017/SMAP_L4_SM_gph_20170630T133000_Vv4030_001.h5",
            "aup/2017/SMAP_L4_SM_aup_20170630T210000_Vv4030_001.h5",
            "stations/soil_moisture_20170630.csv",
        }
        some = [replace(tile, last_day=tile.last_day & chosen) for tile in tiles]
        write_last_day(some, study.folder / "last_day", workers=2)
        for path in chosen:
            shutil.copyfile(study.folder / "last_day" / path, study.folder / "raw" / path)
        with Lake(study.folder / "lake", say=print) as lake:
            done = {d.source: d.n_read for d in ingest(study, lake)}
        read = {"insitu": 1, "l4": 1, "tb_innovation": 1}
        assert done == dict.fromkeys(study.sources(), 0) | read
        hour = dt.datetime(2017, 6, 30, 13, 30)
        for source, table, is_new in (
            ("l4", "land", pl.col("observed_at") == hour),
            ("insitu", "reading", pl.col("observed_at") > day),
        ):
            key = [k for s, t, k in tables(study) if (s, t) == (source, table)][0]
            new = rows(study.folder / "lake", source, table).filter(is_new)
            assert_frame_equal(new.sort(key), whole[source, table].filter(is_new).sort(key))
            assert new.height > 0
        check_global_aup(study, tiles)
    finally:
        make_again(study, home)
    assert_frame_equal(rows(study.folder / "lake", "l4", "land"), whole["l4", "land"])


def check_global_aup(study, tiles):
    """What the tiles' granules hold stands at its place on the whole grid, all else is fill."""
    path = "aup/2017/SMAP_L4_SM_aup_20170630T210000_Vv4030_001.h5"
    with h5py.File(study.folder / "last_day" / path) as found:
        for name in ("tb_h_obs", "tb_v_orbit_flag"):
            dataset = found["Observations_Data"][name]
            assert dataset.shape == dataset.chunks == (M09.rows, M09.cols)
            assert (dataset.compression, dataset.compression_opts) == ("gzip", 3)
            expected = np.full(dataset.shape, dataset.fillvalue, dataset.dtype)
            for tile, settings in zip(tiles, SETTINGS, strict=True):
                row, col, n = settings.window_row, settings.window_col, settings.window_size
                with h5py.File(tile.folder / "last_day" / path) as window:
                    own = window["Observations_Data"][name][()]
                assert (own != dataset.fillvalue).any()
                expected[row : row + n, col : col + n] = own
            assert (dataset[()] == expected).all()


# ---------------------------------------------------------------- larger and smaller worlds


def test_copies_lie_east_and_years_repeat(small, home):
    study, _ = small
    path = study_file(home, name="large", end=dt.date(2021, 6, 30), region=None)
    large = load_study(str(path))
    make_again(large, home, turns=2, cycles=3)
    n = {(s, t): rows(large.folder / "lake", s, t) for s, t, _ in tables(large)}
    for source, table, key in tables(study):
        one = rows(study.folder / "lake", source, table)
        times = {"observed_at", "obs_date"} & set(one.columns)
        factor = 6 if times or table == "box" else 2  # the boxes stand in each year's file
        assert n[source, table].height == factor * one.height, (source, table)
        assert n[source, table].select(key).n_unique() == n[source, table].height
    cells = pl.read_parquet(large.folder / "lake" / "study_cell.parquet")
    small_cells = pl.read_parquet(study.folder / "lake" / "study_cell.parquet")
    east = small_cells.with_columns(pl.col("grid_col") + TURN_COLS)
    both = (
        pl.concat([small_cells, east]).select("grid_row", "grid_col").sort("grid_row", "grid_col")
    )
    assert_frame_equal(cells.select(both.columns).sort(both.columns), both)
    key = ["observed_at", "grid_row", "grid_col"]
    first = rows(study.folder / "lake", "l4", "land").drop("source_file").sort(key)
    moved = first.with_columns(
        pl.col("grid_col") + TURN_COLS, pl.col("observed_at").dt.offset_by("4y")
    )
    found = (
        n["l4", "land"].drop("source_file").join(moved.select(key), on=key, how="semi").sort(key)
    )
    assert_frame_equal(found, moved.sort(key))
    with Lake(large.folder / "lake", say=print) as lake:
        assert {d.n_read for d in ingest(large, lake)} == {0}
    for source in ("cgdpa", "precipitation_01deg", "fluxcom"):
        box = rows(large.folder / "lake", source, "box").unique(["box_row", "box_col"])
        inside = duckdb.sql(
            "select count(*) from cells semi join box on abs(cells.latitude - box.latitude)"
            " <= box.width_lat_deg / 2 + 1e-9 and abs(cells.longitude - box.longitude)"
            " <= box.width_lon_deg / 2 + 1e-9"
        ).fetchone()
        assert inside == (cells.height,)
        numbered = ((box["longitude"] + 180) / box["width_lon_deg"]).floor()
        assert (numbered == box["box_col"]).all()  # the readers' numbering


def test_no_world_has_windows_that_share_boxes():
    """A quarter-degree box reaches 1.5 widths from a cell: at most 11 M09 cells on both sides."""
    turned = [(r, (c + k * TURN_COLS) % M09.cols) for k in range(16) for r, c in CORNERS]
    for (row_a, col_a), (row_b, col_b) in combinations(turned, 2):
        cols = abs(col_a - col_b)
        apart = max(abs(row_a - row_b), min(cols, M09.cols - cols))
        assert apart >= WINDOW + 12


@pytest.mark.parametrize("n_cells", [572, N_CELLS, 4 * N_CELLS])
def test_sizes_are_exact_and_inside_china(n_cells):
    tiles, turns = tiles_of(n_cells)
    assert turns * sum(t.n_cells for t in tiles) == n_cells
    n_stations = turns * sum(t.n_stations for t in tiles)
    assert abs(n_stations - n_cells * N_STATIONS / N_CELLS) < 1
    region = load_study(str(STUDY)).region
    for tile in tiles:
        for row in (tile.window_row, tile.window_row + WINDOW - 1):
            for col in (tile.window_col, tile.window_col + WINDOW - 1):
                latitude, longitude = M09.centre(row, col)
                assert region.south < latitude - 0.2 and latitude + 0.2 < region.north
                assert region.west < longitude - 0.2 and longitude + 0.2 < region.east
    assert len({t.seed for t in tiles}) == len(tiles)


@pytest.mark.parametrize("n_cells", [9, N_CELLS + 1, 20 * N_CELLS])
def test_impossible_sizes_say_what_is_possible(n_cells):
    with pytest.raises(BadInput, match="give 10 to 2287, or 2287 times 2 to 16"):
        tiles_of(n_cells)


def test_doctests():
    result = doctest.testmod(world)
    assert result.attempted > 0 == result.failed


def test_years(home, monkeypatch):
    monkeypatch.setattr(world, "STATE_ROOT", home)
    assert study_of(N_CELLS, 2)[0].period.end == dt.date(2018, 12, 31)
    half, cycles = study_of(N_CELLS, 0.5)
    assert (half.period.end, cycles) == (dt.date(2017, 7, 1), 1)
    eight, cycles = study_of(N_CELLS, 8)
    assert (eight.period.end, cycles) == (dt.date(2024, 12, 31), 4)
    assert study_of(4 * N_CELLS, 2)[0].region is None
    with pytest.raises(BadInput, match="up to 2 years, or an even number"):
        study_of(N_CELLS, 3)


# ---------------------------------------------------------------- interrupted, and built


def start(study: Path) -> subprocess.Popen:
    environment = os.environ | {"SKILLHOUSE_STATE": str(study.parent)}
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(study)],
        cwd=PROJECT_ROOT,
        env=environment,
        start_new_session=True,
    )


def test_killed_runs_end_with_the_same_lake(small, home, tmp_path):
    study = study_file(tmp_path)
    lake, pool = tmp_path / "data" / "small" / "lake", tmp_path / "data" / "pool"
    for seen in ("*/raw/stations", "*/lake/l4/manifest.parquet", "*/tile.json"):
        run = start(study)
        while not any(pool.glob(seen)) and run.poll() is None:
            time.sleep(0.02)
        os.kill(run.pid, signal.SIGKILL)
        assert run.wait() == -signal.SIGKILL
    run = start(study)
    while not (lake / "l4" / "manifest.parquet").exists() and run.poll() is None:
        time.sleep(0.02)
    os.kill(run.pid, signal.SIGKILL)
    assert run.wait() == -signal.SIGKILL
    assert start(study).wait() == 0
    assert not any(pool.glob("*/raw")), "a tile's raw files are removed"
    expected = tree(small[0].folder / "lake")
    assert tree(lake) == expected


@pytest.mark.slow
def test_build_of_a_world_has_boxes_and_factors_for_every_cell(tmp_path):
    study = study_file(
        tmp_path,
        start=dt.date(2017, 1, 1),
        end=dt.date(2017, 8, 31),
        rules={"spatial_block_km": 36, "members": 200},
    )
    assert start(study).wait() == 0
    done = subprocess.run(
        [sys.executable, "-m", "skillhouse", "build", "--study", str(study)],
        cwd=PROJECT_ROOT,
        env=os.environ | {"SKILLHOUSE_STATE": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    with duckdb.connect(str(tmp_path / "data/small/warehouse.duckdb"), read_only=True) as built:
        status = built.sql("select status, count(*) from dim_station group by all order by all")
        assert status.fetchall() == [("ok", 41), ("unit_mismatch", 2)]  # one a tile, on purpose
        assert built.sql("select count(*) from dim_gridcell").fetchone() == (22,)
        boxes = built.sql(
            "select product, count(*) filter (where contains_centre), count(distinct gridcell_id)"
            " from bridge_gridcell_box group by all order by all"
        ).fetchall()
        assert boxes == [("cgdpa", 22, 22), ("precipitation_01deg", 22, 22)]
        status = built.sql("select distinct factor from fct_factor_status where status = 'ok'")
        assert len(status.fetchall()) == 8
