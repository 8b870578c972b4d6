"""HWSD 1.2 and 2.0: units to clay by hand, pixels to cells by the literal rule, damage."""

import datetime as dt
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio

from ingest.grid import M09
from ingest.lake import Lake
from ingest.reader import BadInput
from ingest.sources.hwsd import (
    HwsdV1,
    HwsdV1Reader,
    HwsdV2,
    HwsdV2Reader,
    depth_mean,
    unit_clay,
)

ROOT = Path(__file__).resolve().parents[2]
REALDATA = Path(os.environ.get("SKILLHOUSE_REALDATA", ROOT / "../shared/realdata"))
STEP = 1 / 120
CELL = (290, 3174)
PERIOD = (dt.date(2017, 1, 1), dt.date(2018, 12, 31))
V1 = """ID,MU_GLOBAL,SEQ,SHARE,SU_SYM90,T_CLAY,S_CLAY
1,11001,1,60,CMc,20,40
2,11001,2,40,LVh,30,
3,11002,1,100,WR,,
4,11003,1,100,LPe,10,
5,11004,1,30,LVh,50,60
6,11004,2,70,GG,,
"""


def corner(cell=CELL, margin=5):
    lat, lon = (float(v) for v in M09.centre(*cell))
    return np.floor((lon + 180) / STEP - 6 - margin) * STEP - 180, 90 - np.floor(
        (90 - lat) / STEP - 6 - margin
    ) * STEP


def write_bil(path, units, west, north, dtype="<u2", header=None):
    """The raster and header as distributed: ULXMAP and ULYMAP are the first pixel's centre."""
    path.write_bytes(np.ascontiguousarray(units, dtype=dtype).tobytes())
    rows, cols = units.shape
    path.with_suffix(".hdr").write_text(
        header
        or f"BYTEORDER      I\nLAYOUT         BIL\nNROWS          {rows}\nNCOLS          {cols}\n"
        f"NBANDS         1\nNBITS          {np.dtype(dtype).itemsize * 8}\n"
        f"BANDROWBYTES   {cols * 2}\nTOTALROWBYTES  {cols * 2}\nBANDGAPBYTES   0\n"
        f"ULXMAP         {west + STEP / 2:.14f}\nULYMAP         {north - STEP / 2:.14f}\n"
        f"XDIM           {STEP:.17f}\nYDIM           {STEP:.17f}\n"
    )
    return path


def write_tif(path, units, west, north, *, step=STEP, crs="EPSG:4326", nodata=None, bands=1):
    with rasterio.open(
        path, "w", driver="GTiff", height=units.shape[0], width=units.shape[1], count=bands,
        dtype=units.dtype, crs=crs, nodata=nodata,
        transform=rasterio.Affine(step, 0, west, 0, -step, north),
    ) as raster:  # fmt: skip
        for band in range(bands):
            raster.write(units, band + 1)
    return path


@pytest.fixture
def world(tmp_path):
    """A folder with table and raster; units at random."""
    west, north = corner()
    units = np.random.default_rng(8).choice([11001, 11004], (22, 22)).astype("u2")
    (tmp_path / "HWSD_DATA.csv").write_text(V1)
    write_bil(tmp_path / "hwsd.bil", units, west, north)
    return tmp_path, units, west, north


def pixels(units, west, north, cell=CELL):
    lat = north - (np.arange(units.shape[0]) + 0.5) * STEP
    lon = west + (np.arange(units.shape[1]) + 0.5) * STEP
    row, col = M09.index(*np.meshgrid(lat, lon, indexing="ij"))
    mine = (row == cell[0]) & (col == cell[1])
    return mine, np.broadcast_to(np.cos(np.deg2rad(lat))[:, None], units.shape)


def reader(folder, name="hwsd.bil", cells=(CELL,), version=1, table=None, **settings):
    kinds = {1: (HwsdV1, HwsdV1Reader, "HWSD_DATA.csv"), 2: (HwsdV2, HwsdV2Reader, "LAYERS.csv")}
    model, kind, default = kinds[version]
    return kind(
        key="soil", source="hwsd", period=PERIOD, cells=np.array(cells),
        settings=model(
            format=f"hwsd_v{version}", path=str(folder / name),
            table=str(folder / (table or default)), **settings,
        ),
    )  # fmt: skip


def read(*args, **kwargs):
    source = reader(*args, **kwargs)
    extract = source.read(source.find()[0])
    counts = {}
    for column, reason, n in extract.counts:
        counts.setdefault(column, {})[reason] = n
    return extract.tables["soil"].to_pylist(), counts


class TestVersion1:
    def test_cell_mean_by_hand(self, world):
        folder, units, west, north = world
        (row,), counts = read(folder)
        mine, weight = pixels(units, west, north)
        # 11001: (60 * 20 + 40 * 30) / 100 = 24 above; 40 below, where only one soil has data
        # 11004: the glacier has no clay, so the soil stands for the unit
        top, sub = np.where(units == 11001, 24.0, 50.0), np.where(units == 11001, 40.0, 60.0)
        mean = [np.average(v[mine], weights=weight[mine]) / 100 for v in (top, sub)]
        assert row == {
            "grid_row": 290, "grid_col": 3174,
            "clay_topsoil_frac": pytest.approx(mean[0], rel=1e-7),
            "clay_subsoil_frac": pytest.approx(mean[1], rel=1e-7),
            "valid_area_frac": 1.0, "n_pixels": int(mine.sum()), "n_valid": int(mine.sum()),
        }  # fmt: skip
        assert counts["clay_topsoil_frac"] == counts["clay_subsoil_frac"] == {"ok": mine.sum()}

    def test_weights_are_cos_latitude(self, world):
        folder, units, west, north = world
        units[:] = 11001
        mine, weight = pixels(units, west, north)
        units[: np.flatnonzero(mine.any(axis=1))[5]] = 11004
        write_bil(folder / "hwsd.bil", units, west, north)
        (row,), _ = read(folder)
        top = np.where(units == 11001, 24.0, 50.0)[mine]
        weighted = np.average(top, weights=weight[mine]) / 100
        assert abs(weighted - top.mean() / 100) > 2e-5  # the plain mean would be told apart
        assert row["clay_topsoil_frac"] == pytest.approx(weighted, rel=1e-7)

    def test_dominant_is_the_largest_soil_with_clay(self, world):
        folder, units, west, north = world
        units[:] = 11004
        units[11:] = 11001
        write_bil(folder / "hwsd.bil", units, west, north)
        (row,), _ = read(folder, component="dominant")
        mine, weight = pixels(units, west, north)
        top, sub = np.where(units == 11001, 20.0, 50.0), np.where(units == 11001, 40.0, 60.0)
        assert row["clay_topsoil_frac"] == pytest.approx(
            np.average(top[mine], weights=weight[mine]) / 100, rel=1e-7
        )
        assert row["clay_subsoil_frac"] == pytest.approx(
            np.average(sub[mine], weights=weight[mine]) / 100, rel=1e-7
        )

    def test_every_pixel_has_a_reason_for_each_depth(self, world):
        folder, units, west, north = world
        mine, weight = pixels(units, west, north)
        where = np.argwhere(mine)
        units[:] = 11001
        for k, unit in enumerate([0, 0, 11002, 11003, 11003, 11003, 999]):
            units[tuple(where[k])] = unit
        write_bil(folder / "hwsd.bil", units, west, north)
        (row,), counts = read(folder)
        n = int(mine.sum())
        common = {"ok": n - 7, "sea": 2, "unit_not_in_table": 1}
        assert counts["clay_topsoil_frac"] == common | {"no_clay": 1, "other_depth_missing": 3}
        assert counts["clay_subsoil_frac"] == common | {"no_clay": 4}
        assert row["n_valid"] == n - 7 and row["n_pixels"] == n
        good = mine & (units == 11001)
        assert row["valid_area_frac"] == pytest.approx(weight[good].sum() / weight[mine].sum())
        # both depths over the same pixels: the thin soil's 10 % must not pull the topsoil alone
        assert row["clay_topsoil_frac"] == pytest.approx(0.24)

    @pytest.mark.parametrize("more, is_null", [(0, True), (1, False)])
    def test_a_quarter_of_the_area_must_be_valid(self, world, more, is_null):
        folder, units, west, north = world
        mine, weight = pixels(units, west, north)
        units[:] = 0
        order = np.argwhere(mine)[::-1]
        share = np.cumsum([weight[tuple(p)] for p in order]) / weight[mine].sum()
        n = int((share < 0.25).sum()) + more
        for p in order[:n]:
            units[tuple(p)] = 11001
        write_bil(folder / "hwsd.bil", units, west, north)
        (row,), _ = read(folder)
        assert (row["clay_topsoil_frac"] is None) == is_null == (row["clay_subsoil_frac"] is None)
        assert row["n_valid"] == n
        assert read(folder, min_valid_frac=0)[0][0]["clay_topsoil_frac"] == pytest.approx(0.24)

    def test_no_valid_pixel_is_null_whatever_the_minimum(self, world):
        folder, units, west, north = world
        write_bil(folder / "hwsd.bil", units * 0, west, north)
        (row,), _ = read(folder, min_valid_frac=0)
        assert row["clay_topsoil_frac"] is None and row["n_valid"] == 0

    def test_geotiff_equals_bil(self, world):
        folder, units, west, north = world
        units[4, 4] = 65535
        write_bil(folder / "hwsd.bil", units, west, north)
        write_tif(folder / "hwsd.tif", units, west, north)
        (bil,), _ = read(folder)
        (tif,), _ = read(folder, "hwsd.tif")
        assert tif == bil
        write_tif(folder / "hwsd.tif", np.where(units == 11004, 65535, units), west, north,
                  nodata=65535)  # fmt: skip
        (row,), counts = read(folder, "hwsd.tif")
        assert row["clay_topsoil_frac"] == pytest.approx(0.24)
        assert counts["clay_topsoil_frac"].keys() == {"ok", "nodata"}

    def test_cells_beyond_the_raster_are_counted(self, world):
        folder, units, west, north = world
        mine, _ = pixels(units, west, north)
        last = np.flatnonzero(mine.any(axis=1))[1]
        write_bil(folder / "hwsd.bil", units[: last + 1], west, north)
        rows, counts = read(folder, cells=[(500, 3000), CELL])
        assert [(r["grid_row"], r["grid_col"]) for r in rows] == [CELL]
        assert rows[0]["n_pixels"] == mine.sum() and rows[0]["clay_topsoil_frac"] is None
        kept = int(mine[: last + 1].sum())
        lost = mine.sum() - kept
        got = counts["clay_topsoil_frac"]
        assert got["ok"] == kept and lost + 80 < got["outside_raster"] < lost + 150

    def test_schema_and_order(self, world):
        folder, *_ = world
        source = reader(folder, cells=[(291, 3174), (290, 3175), CELL])
        table = source.read(source.find()[0]).tables["soil"]
        assert table.schema == source.tables["soil"]
        keys = list(zip(*(table[c].to_pylist() for c in source.sort_key["soil"]), strict=True))
        assert keys == sorted(keys) and len(keys) == 3


class TestTable:
    @pytest.mark.parametrize(
        "text",
        [
            V1.replace(",", ";"),
            "\ufeff" + V1,
            V1.replace("\n", "\r\n"),
            V1.replace("MU_GLOBAL", '"MU_GLOBAL"').replace("LVh", '"L, ""h"""'),
            V1.replace(",,\n", ",NULL,NA\n").replace(",11001,", ",11001.0,"),
            V1.rstrip("\n"),
            V1.replace("WR,,", 'WR,"",-9'),
        ],
    )
    def test_exports_of_many_tools(self, world, text):
        folder, *_ = world
        before = read(folder)
        (folder / "HWSD_DATA.csv").write_text(text, encoding="utf-8", newline="")
        assert read(folder) == before

    def test_columns_can_be_named(self, world):
        folder, *_ = world
        before = read(folder)
        (folder / "HWSD_DATA.csv").write_text(V1.replace("T_CLAY", "CLAY_T"))
        assert read(folder, columns={"clay_topsoil": "CLAY_T"}) == before

    @pytest.mark.parametrize(
        "old, new, reason, word",
        [
            ("S_CLAY", "S_KLAY", "missing_column", "S_CLAY"),
            ("11004,1,30", "11004,1,", "out_of_range", "SHARE"),
            ("11004,1,30", "11004,1,130", "out_of_range", "SHARE"),
            ("LVh,50,60", "LVh,500,60", "out_of_range", "clay"),
            ("LVh,50,60", "LVh,many,60", "wrong_dtype", "many"),
            ("2,11001", "2,", "wrong_dtype", "MU_GLOBAL"),
            ("70,GG,,\n", "70", "damaged_file", "last line"),
        ],
    )
    def test_bad_tables(self, world, old, new, reason, word):
        folder, *_ = world
        assert old in V1
        (folder / "HWSD_DATA.csv").write_text(V1.replace(old, new))
        with pytest.raises(BadInput, match=word) as caught:
            read(folder)
        assert caught.value.reason == reason and "HWSD_DATA.csv" in caught.value.file

    def test_missing_table(self, world):
        folder, *_ = world
        with pytest.raises(BadInput) as caught:
            read(folder, table="elsewhere.csv")
        assert caught.value.reason == "missing_table" and caught.value.key == "soil.table"

    def test_another_table_changes_the_fingerprint(self, world):
        folder, *_ = world
        before = reader(folder).fingerprint()
        assert before == reader(folder).fingerprint()
        (folder / "HWSD_DATA.csv").write_text(V1 + "7,11005,1,100,LVh,1,2\n")
        assert reader(folder).fingerprint() != before

    def test_the_same_files_elsewhere_have_the_same_fingerprint(self, world, tmp_path):
        folder, *_ = world
        moved = shutil.copytree(folder, tmp_path / "moved")
        assert reader(moved).fingerprint() == reader(folder).fingerprint()

    def test_find_lists_raster_and_table_and_the_table_has_no_rows(self, world):
        folder, *_ = world
        source = reader(folder)
        files = source.find()
        assert [f.path for f in files] == ["hwsd.bil", "HWSD_DATA.csv"]
        assert {(f.status, f.partition) for f in files} == {("ok", "static")}
        table = source.read(files[1])
        assert table.tables["soil"].num_rows == 0 and table.counts == []

    def test_find_in_a_folder(self, world):
        folder, units, west, north = world
        write_tif(folder / "later.tif", units, west, north)
        got = {f.path: (f.status, f.reason) for f in reader(folder, "").find()}
        assert got == {
            "hwsd.bil": ("ok", ""), "hwsd.hdr": ("not_recognised", "not_a_raster"),
            "later.tif": ("superseded", "superseded by hwsd.bil"), "HWSD_DATA.csv": ("ok", ""),
        }  # fmt: skip
        assert reader(folder, "nothing.bil").find() == []


class TestUnits:
    def test_shares_need_not_sum_to_100(self):
        got = unit_clay(
            np.array([5, 5, 3]), np.array([1, 2, 1]), np.array([20.0, 10.0, 50.0]),
            np.array([30.0, 60.0, np.nan]), np.array([np.nan, 9.0, np.nan]),
            component="share_weighted",
        )  # fmt: skip
        assert got.unit.tolist() == [3, 5]
        assert got.topsoil[1] == 40 and got.subsoil[1] == 9
        assert np.isnan([got.topsoil[0], got.subsoil[0]]).all()

    def test_dominant_ties_go_to_the_first_and_one_soil_gives_both_depths(self):
        got = unit_clay(
            np.array([5, 5, 5]), np.array([3, 2, 1]), np.array([40.0, 40.0, 20.0]),
            np.array([30.0, 60.0, 1.0]), np.array([7.0, np.nan, 2.0]), component="dominant",
        )  # fmt: skip
        assert got.topsoil.tolist() == [60.0] and np.isnan(got.subsoil).all()

    def test_depth_mean_by_hand(self):
        nan = np.nan
        clay = np.array(
            [[10, 40, 50, 60, 70, 90, 90], [10, nan, nan, nan, nan, nan, nan],
             [nan, 40, 50, nan, nan, 1, 1], [nan] * 7]
        )  # fmt: skip
        top = depth_mean(clay, range_cm=(0, 30))
        sub = depth_mean(clay, range_cm=(30, 100))
        assert top[:3].tolist() == [(20 * 10 + 10 * 40) / 30, 10.0, 40.0] and np.isnan(top[3])
        assert sub[0] == (10 * 40 + 20 * (50 + 60 + 70)) / 70
        assert sub[2] == (10 * 40 + 20 * 50) / 30 and np.isnan(sub[[1, 3]]).all()


class TestVersion2:
    def table(self, soils):
        """HWSD2_LAYERS: soils is {(unit, sequence): (share, seven clays)}."""
        lines = ["ID,HWSD2_SMU_ID,SEQUENCE,SHARE,LAYER,TOPDEP,BOTDEP,CLAY"]
        for (unit, sequence), (share, clay) in soils.items():
            for k, value in enumerate(clay):
                lines.append(f"{len(lines)},{unit},{sequence},{share},D{k + 1},0,0,{value}")
        return "\n".join(lines) + "\n"

    SOILS = {
        (40001, 1): (75, [10, 40, 50, 60, 70, 90, 90]),
        (40001, 2): (25, [30, 30, 30, 30, 30, 30, 30]),
        (40002, 1): (100, [-9] * 7),
    }

    @pytest.fixture
    def second(self, tmp_path):
        west, north = corner()
        units = np.full((22, 22), 40001, "u2")  # above 32767: unsigned
        units[:3] = 40002
        write_bil(tmp_path / "HWSD2.bil", units, west, north)
        (tmp_path / "LAYERS.csv").write_text(self.table(self.SOILS))
        return tmp_path, units, west, north

    def test_layers_to_depths_to_units(self, second):
        folder, units, west, north = second
        units[10] = 40002
        write_bil(folder / "HWSD2.bil", units, west, north)
        (row,), counts = read(folder, "HWSD2.bil", version=2)
        top = 0.75 * (20 * 10 + 10 * 40) / 30 + 0.25 * 30
        sub = 0.75 * (10 * 40 + 20 * (50 + 60 + 70)) / 70 + 0.25 * 30
        assert row["clay_topsoil_frac"] == pytest.approx(top / 100, rel=1e-6)
        assert row["clay_subsoil_frac"] == pytest.approx(sub / 100, rel=1e-6)
        mine, _ = pixels(units, west, north)
        assert counts["clay_topsoil_frac"]["no_clay"] == (mine & (units == 40002)).sum() > 0

    def test_dominant(self, second):
        folder, *_ = second
        (row,), _ = read(folder, "HWSD2.bil", version=2, component="dominant")
        assert row["clay_topsoil_frac"] == pytest.approx(0.20)

    @pytest.mark.parametrize(
        "old, new, reason",
        [
            ("D3", "L3", "missing_layer"),
            (",D2,", ",,", "missing_layer"),
            ("CLAY", "CLAI", "missing_column"),
            ("40001,2,25", "40001,1,25", "duplicate_rows"),
        ],
    )
    def test_bad_tables(self, second, old, new, reason):
        folder, *_ = second
        path = folder / "LAYERS.csv"
        path.write_text(path.read_text().replace(old, new))
        with pytest.raises(BadInput) as caught:
            read(folder, "HWSD2.bil", version=2)
        assert caught.value.reason == reason


class TestBadRasters:
    def refused(self, *args, **kwargs):
        with pytest.raises(BadInput) as caught:
            read(*args, **kwargs)
        return caught.value

    def test_truncated_bil_is_not_sea(self, world):
        folder, *_ = world
        path = folder / "hwsd.bil"
        path.write_bytes(path.read_bytes()[:-100])
        error = self.refused(folder)
        assert error.reason == "damaged_file" and "bytes" in error.found

    def test_a_mended_header_is_read_again(self, world, tmp_path):
        """The raster's own size and time stay what they were."""
        folder, *_ = world
        header = folder / "hwsd.hdr"
        right = header.read_text()
        header.write_text(right.replace("ULXMAP", "ULXMAPP"))
        with Lake(tmp_path / "lake", say=lambda _: None) as lake:
            with pytest.raises(BadInput):
                lake.ingest(reader(folder))
            header.write_text(right)
            assert lake.ingest(reader(folder)).n_refused == 0
            assert lake.n_rows("hwsd", "soil") == 1

    def test_no_header(self, world):
        folder, *_ = world
        (folder / "hwsd.hdr").unlink()
        assert "hwsd.hdr" in self.refused(folder).found

    def test_truncated_geotiff(self, world):
        folder, _, west, north = world
        units = np.random.default_rng(2).integers(0, 65535, (200, 200)).astype("u2")
        path = write_tif(folder / "a.tif", units, west, north)
        path.write_bytes(path.read_bytes()[:1500])
        assert self.refused(folder, "a.tif").reason == "damaged_file"

    def test_projected_south_up_coarse_float_or_many_bands(self, world):
        folder, units, west, north = world
        path = folder / "a.tif"
        write_tif(path, units, 500000, 4400000, step=1000, crs="EPSG:32650")
        assert self.refused(folder, "a.tif").reason == "wrong_grid"
        write_tif(path, units, west, north, step=-STEP)
        assert self.refused(folder, "a.tif").reason == "wrong_grid"
        write_tif(path, units, west, north, step=0.1)
        assert self.refused(folder, "a.tif").reason == "wrong_grid"
        write_tif(path, units.astype("f4"), west, north)
        assert self.refused(folder, "a.tif").reason == "wrong_dtype"
        write_tif(path, units, west, north, bands=2)
        assert self.refused(folder, "a.tif").reason == "wrong_dtype"

    def test_real_global_raster_windows(self, tmp_path):
        """A real 0.05 degree class map stands in for the raster: classes are units here."""
        path = REALDATA / "mcd12c1/MCD12C1.A2019001.006.2020220162300.tif"
        if not path.exists():
            pytest.skip("real MCD12C1 sample not at SKILLHOUSE_REALDATA")
        rows = "\n".join(f"{k},1,100,{k},{k + 20}" for k in range(1, 17))
        (tmp_path / "t.csv").write_text("MU_GLOBAL,SEQ,SHARE,T_CLAY,S_CLAY\n" + rows + "\n")
        source = HwsdV1Reader(
            key="soil", source="x", period=PERIOD, cells=np.array([CELL, (390, 3229), (812, 100)]),
            settings=HwsdV1(format="hwsd_v1", path=str(path), table=str(tmp_path / "t.csv")),
        )  # fmt: skip
        table = source.read(source.find()[0]).tables["soil"].to_pylist()
        with rasterio.open(path) as raster:
            whole = raster.read(1)
        lat, lon = 90 - (np.arange(3600) + 0.5) * 0.05, -180 + (np.arange(7200) + 0.5) * 0.05
        for row in table:
            # row and column of the grid depend on latitude and longitude alone
            i = np.flatnonzero(M09.index(lat, 0)[0] == row["grid_row"])
            j = np.flatnonzero(M09.index(0, lon)[1] == row["grid_col"])
            classes = whole[np.ix_(i, j)].astype(float)
            weight = np.broadcast_to(np.cos(np.deg2rad(lat[i]))[:, None], classes.shape)
            land = classes > 0
            assert row["n_pixels"] == classes.size and row["n_valid"] == land.sum()
            if land.any():
                mean = np.average(classes[land], weights=weight[land]) / 100
                assert row["clay_topsoil_frac"] == pytest.approx(mean, rel=1e-6)
            else:
                assert row["clay_topsoil_frac"] is None
        assert [r["n_valid"] > 0 for r in table] == [True, True, False]


def test_the_global_raster_is_read_in_little_memory(tmp_path):
    path = tmp_path / "hwsd.bil"
    write_bil(path, np.zeros((2, 2), "u2"), -180.0, 90.0)
    text = path.with_suffix(".hdr").read_text().replace("NROWS          2", "NROWS          21600")
    text = text.replace("NCOLS          2", "NCOLS          43200")
    text = text.replace("ROWBYTES   4", "ROWBYTES   86400").replace(
        "ROWBYTES  4", "ROWBYTES  86400"
    )
    path.with_suffix(".hdr").write_text(text)
    with path.open("wb") as file:  # sparse: 1.9 GB of sea with one piece of land
        file.truncate(43200 * 21600 * 2)
        for row in range(6000, 6030):
            file.seek((row * 43200 + 35550) * 2)
            file.write(np.full(60, 11001, "<u2").tobytes())
    (tmp_path / "HWSD_DATA.csv").write_text(V1)
    code = (
        "import sys; sys.path.insert(0, 'tests/unit')\n"
        "import pathlib, numpy as np, test_hwsd as t\n"
        "r, c = np.meshgrid(np.arange(160, 560, 20), np.arange(2734, 3374, 20), indexing='ij')\n"
        "cells = [*zip(r.ravel().tolist(), c.ravel().tolist()), (290, 3174)]\n"
        f"rows, counts = t.read(pathlib.Path({str(tmp_path)!r}), cells=cells)\n"
        "got = {(r['grid_row'], r['grid_col']): r['clay_topsoil_frac'] for r in rows}\n"
        "assert abs(got[290, 3174] - 0.24) < 1e-7 and len(rows) == len(cells)\n"
        "peak = next(w for w in open('/proc/self/status') if w.startswith('VmHWM'))\n"
        "print(int(peak.split()[1]) / 1024)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 1024  # MiB
