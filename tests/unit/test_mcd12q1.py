"""MCD12Q1: HDF4-EOS and GeoTIFF tiles to class counts of cells and classes of stations."""

import datetime as dt
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import rasterio
from pyhdf.SD import SD, SDC

from ingest.grid import M09
from ingest.reader import BadInput
from ingest.sources.mcd12q1 import Mcd12q1, Mcd12q1Reader

ROOT = Path(__file__).resolve().parents[2]
REALDATA = Path(os.environ.get("SKILLHOUSE_REALDATA", ROOT / "../shared/realdata"))
R, TILE_M, X0, Y0 = 6371007.181, 1111950.5197, -20015109.354, 10007554.677
PIXEL_M = TILE_M / 2400
PERIOD = (dt.date(2017, 1, 1), dt.date(2018, 12, 31))
H, V = 26, 5
NAME = "MCD12Q1.A2017001.h26v05.006.2019196133753"
SINUSOIDAL = "+proj=sinu +lon_0=0 +x_0=0 +y_0=0 +R=6371007.181 +units=m +no_defs"
BEIJING = ("beijing", 39.5, 116.4)
BORDER = 40.0  # latitude of the edge between v04 and v05


@pytest.fixture(scope="module")
def tile():
    """A tile of random classes with fills; read only."""
    value = np.random.default_rng(4).integers(1, 18, (2400, 2400)).astype("u1")
    value[::50, ::7] = 255
    value.flags.writeable = False
    return value


def write_hdf(path, value, h=H, v=V, *, corner=None, layer="LC_Type1", kind=SDC.UINT8, meta=True):
    file = SD(str(path), SDC.WRITE | SDC.CREATE)
    if meta:
        x, y = corner or (X0 + h * TILE_M, Y0 - v * TILE_M)
        file.attr("StructMetadata.0").set(
            SDC.CHAR8,
            f'GROUP=GridStructure\n\tGROUP=GRID_1\n\t\tGridName="MCD12Q1"\n\t\tXDim=2400\n'
            f"\t\tYDim=2400\n\t\tUpperLeftPointMtrs=({x:.6f},{y:.6f})\n"
            f"\t\tLowerRightMtrs=({x + TILE_M:.6f},{y - TILE_M:.6f})\n\t\tProjection=GCTP_SNSOID\n",
        )
    data = file.create(layer, kind, value.shape)
    data.setcompress(SDC.COMP_DEFLATE, 4)
    data[:] = value
    data.endaccess()
    file.end()
    return path


def write_tif(path, value, x, y, *, step=PIXEL_M, crs=SINUSOIDAL, descriptions=None):
    value = value if value.ndim == 3 else value[None]
    with rasterio.open(
        path, "w", driver="GTiff", height=value.shape[1], width=value.shape[2],
        count=len(value), dtype=value.dtype, crs=crs, compress="deflate",
        transform=rasterio.Affine(step, 0, x, 0, -step, y),
    ) as raster:  # fmt: skip
        raster.write(value)
        for band, text in enumerate(descriptions or [], 1):
            raster.set_band_description(band, text)
    return path


def reader(folder, cells=((295, 3160),), stations=(BEIJING,), period=PERIOD, **settings):
    return Mcd12q1Reader(
        key="land_cover", source="modis", period=period, cells=np.array(cells).reshape(-1, 2),
        stations=list(stations), settings=Mcd12q1(format="mcd12q1", path=str(folder), **settings),
    )  # fmt: skip


def read(folder, **kwargs):
    source = reader(folder, **kwargs)
    tally, stations, counts = Counter(), {}, Counter()
    for raw in source.find():
        if raw.status != "ok":
            continue
        extract = source.read(raw)
        for row in extract.tables["cell_class"].to_pylist():
            tally[row["grid_row"], row["grid_col"], row["igbp_class"]] += row["n_pixels"]
        for row in extract.tables["station_class"].to_pylist():
            assert row["station_id"] not in stations
            stations[row["station_id"]] = row["igbp_class"], row["tile"]
        for column, reason, n in extract.counts:
            counts[column, reason] += n
    return tally, stations, counts


def literal(cells, values):
    """The rule itself, from the published constants; values is {(h, v): tile}."""
    tally = Counter()
    for (h, v), value in values.items():
        lat = np.rad2deg((Y0 - v * TILE_M - (np.arange(2400) + 0.5) * PIXEL_M) / R)
        x = X0 + h * TILE_M + (np.arange(2400) + 0.5) * PIXEL_M
        for r, c in cells:
            for i in np.flatnonzero(M09.index(lat, 0.0)[0] == r):
                lon = np.rad2deg(x / (R * np.cos(np.deg2rad(lat[i]))))
                mine = (M09.index(lat[i], lon)[1] == c) & (np.abs(lon) <= 180)
                tally.update((r, c, int(k)) for k in value[i, mine] if k != 255)
    return tally


CELLS = [(295, 3160), (295, 3161), (330, 3100), (300, 3163)]


class TestCells:
    def test_counts_are_the_literal_rule(self, tmp_path, tile):
        write_hdf(tmp_path / f"{NAME}.hdf", tile)
        tally, _, counts = read(tmp_path, cells=CELLS)
        truth = literal(CELLS, {(H, V): tile})
        assert tally == truth and len({k[:2] for k in tally}) == 4
        for cell in CELLS:
            n = sum(v for k, v in truth.items() if k[:2] == cell)
            assert 320 < n < 420
        assert counts["igbp_class", "ok"] == sum(truth.values())
        assert counts["igbp_class", "fill"] > 0

    @pytest.mark.parametrize("axis", ["row", "column"])
    def test_a_cell_across_tiles_adds_up(self, tmp_path, tile, axis):
        if axis == "row":
            row = int(M09.index(BORDER, 116.0)[0])
            cells, h, v = [(row, 3170)], H, 4
        else:  # the edge of h26 and h27 at 35 N
            lon = float(np.rad2deg((X0 + 27 * TILE_M) / (R * np.cos(np.deg2rad(35.0)))))
            cells, h, v = [tuple(int(i) for i in M09.index(35.0, lon))], 27, V
        other = tile[::-1]
        write_hdf(tmp_path / f"{NAME}.hdf", tile)
        neighbour = NAME.replace("h26v05", f"h{h:02d}v{v:02d}")
        write_hdf(tmp_path / f"{neighbour}.hdf", other, h, v)
        tally, _, _ = read(tmp_path, cells=cells)
        parts = [literal(cells, {(H, V): tile}), literal(cells, {(h, v): other})]
        assert all(parts) and tally == parts[0] + parts[1]
        assert 320 < sum(tally.values()) < 420

    def test_values_that_are_no_class_are_counted(self, tmp_path, tile):
        value = tile.copy()
        value[tile == 3] = 0
        value[tile == 4] = 18
        write_hdf(tmp_path / f"{NAME}.hdf", value)
        tally, _, counts = read(tmp_path, cells=CELLS)
        truth = literal(CELLS, {(H, V): tile})
        lost = sum(n for k, n in truth.items() if k[2] in (3, 4))
        assert counts["igbp_class", "out_of_range"] == lost > 0
        assert {k[2] for k in tally} == set(range(1, 18)) - {3, 4}

    def test_schemas_keys_and_order(self, tmp_path, tile):
        write_hdf(tmp_path / f"{NAME}.hdf", tile)
        source = reader(tmp_path, cells=CELLS[::-1])
        (raw,) = source.find()
        assert raw.partition == "h26v05"
        tables = source.read(raw).tables
        for name, table in tables.items():
            assert table.schema == source.tables[name]
            key = list(zip(*(table[c].to_pylist() for c in source.sort_key[name]), strict=True))
            assert key == sorted(set(key)) and key
        assert set(tables["cell_class"]["tile"].to_pylist()) == {"h26v05"}

    def test_no_cells_in_the_tile(self, tmp_path, tile):
        write_hdf(tmp_path / f"{NAME}.hdf", tile)
        tally, stations, counts = read(tmp_path, cells=[(800, 100)], stations=[])
        assert not tally and not stations and not counts


class TestStations:
    def test_class_of_the_pixel_that_holds_it(self, tmp_path, tile):
        rng = np.random.default_rng(9)
        stations = [(f"s{k}", rng.uniform(31, 39), rng.uniform(105, 112)) for k in range(40)]
        write_hdf(tmp_path / f"{NAME}.hdf", tile)
        _, found, counts = read(tmp_path, stations=stations)
        truth = {}
        for name, lat, lon in stations:
            x, y = R * np.deg2rad(lon) * np.cos(np.deg2rad(lat)), R * np.deg2rad(lat)
            j = int((x - X0 - H * TILE_M) // PIXEL_M)
            i = int((Y0 - V * TILE_M - y) // PIXEL_M)
            if 0 <= i < 2400 and 0 <= j < 2400 and tile[i, j] != 255:
                truth[name] = int(tile[i, j]), "h26v05"
        assert found == truth and len(truth) > 20
        assert counts["station_class", "ok"] == len(truth)
        assert sum(n for (c, _), n in counts.items() if c == "station_class") == 40

    def test_fill_and_missing_tile_give_no_row_but_a_count(self, tmp_path, tile):
        value = np.full_like(tile, 255)
        write_hdf(tmp_path / f"{NAME}.hdf", value)
        _, found, counts = read(tmp_path, stations=[BEIJING, ("lima", -12.0, -77.0)])
        assert found == {}
        assert counts["station_class", "fill"] == 1
        assert counts["station_class", "outside_raster"] == 1

    def test_stations_are_part_of_the_fingerprint_whatever_their_order(self, tmp_path):
        two = [BEIJING, ("a", 1.0, 2.0)]
        assert reader(tmp_path).fingerprint() != reader(tmp_path, stations=two).fingerprint()
        one, other = (reader(tmp_path, stations=s).fingerprint() for s in (two, two[::-1]))
        assert one == other


class TestGeoTiff:
    def test_whole_tile_equals_hdf(self, tmp_path, tile):
        (tmp_path / "hdf").mkdir(), (tmp_path / "tif").mkdir()
        write_hdf(tmp_path / "hdf" / f"{NAME}.hdf", tile)
        write_tif(tmp_path / "tif" / f"{NAME}.tif", tile, X0 + H * TILE_M, Y0 - V * TILE_M)
        assert read(tmp_path / "hdf", cells=CELLS) == read(tmp_path / "tif", cells=CELLS)

    def test_part_and_mosaic_of_two_tiles(self, tmp_path, tile):
        row = int(M09.index(BORDER, 116.0)[0])
        cells = [(row, 3170), (row + 4, 3171)]
        both = np.concatenate([tile[::-1], tile])[1800:3200, 1000:]  # v04 above v05
        write_tif(tmp_path / "mosaic_2017.tif", both, X0 + H * TILE_M + 1000 * PIXEL_M,
                  Y0 - 4 * TILE_M - 1800 * PIXEL_M)  # fmt: skip
        tally, stations, _ = read(tmp_path, cells=cells, stations=[BEIJING, ("n", 40.1, 116.4)])
        assert tally == literal(cells, {(H, 4): tile[::-1], (H, V): tile})
        assert {k: v[1] for k, v in stations.items()} == {"beijing": "h26v05", "n": "h26v04"}
        source = reader(tmp_path, cells=cells)
        table = source.read(source.find()[0]).tables["cell_class"].to_pylist()
        assert {(r["grid_row"], r["tile"]) for r in table} == {
            (row, "h26v04"), (row, "h26v05"), (row + 4, "h26v05"),
        }  # fmt: skip

    def test_the_described_band_is_taken(self, tmp_path, tile):
        bands = np.stack([tile * 0, tile])[:, :600, :600]
        x, y = X0 + H * TILE_M + 1500 * PIXEL_M, Y0 - V * TILE_M
        path = tmp_path / "a_2017.tif"
        write_tif(path, bands, x, y, descriptions=["LC_Type2", "LC_Type1"])
        tally, _, counts = read(tmp_path, cells=[(295, 3140)])
        assert sum(tally.values()) > 0 and ("igbp_class", "out_of_range") not in counts
        write_tif(path, bands, x, y)
        with pytest.raises(BadInput) as caught:
            read(tmp_path)
        assert caught.value.reason == "missing_variable"

    @pytest.mark.parametrize(
        "change",
        [
            {"crs": "EPSG:4326", "step": 0.05, "x": -180, "y": 90},
            {"crs": "EPSG:6933"},
            {"crs": None},
            {"step": 500.0},
            {"x": X0 + H * TILE_M + 200.0},
            {"x": X0 - 10 * PIXEL_M},
        ],
    )
    def test_another_grid_is_refused(self, tmp_path, tile, change):
        given = {"x": X0 + H * TILE_M, "y": Y0 - V * TILE_M} | change
        write_tif(tmp_path / "a.tif", tile[:50, :50], **given)
        with pytest.raises(BadInput) as caught:
            read(tmp_path)
        assert caught.value.reason == "wrong_grid"

    def test_real_mcd12c1_is_refused(self):
        path = REALDATA / "mcd12c1/MCD12C1.A2019001.006.2020220162300.tif"
        if not path.exists():
            pytest.skip("real MCD12C1 sample not at SKILLHOUSE_REALDATA")
        with pytest.raises(BadInput, match="MCD12C1") as caught:
            read(path)
        assert caught.value.reason == "wrong_grid"

    def test_float_classes_are_refused(self, tmp_path, tile):
        write_tif(tmp_path / f"{NAME}.tif", tile[:9, :9].astype("f4"), X0, Y0 - V * TILE_M)
        with pytest.raises(BadInput) as caught:
            read(tmp_path)
        assert caught.value.reason == "wrong_dtype"


class TestFind:
    def status(self, folder, names, **kwargs):
        for name in names:
            (folder / name).write_bytes(b"")
        return {f.path: (f.status, f.reason) for f in reader(folder, **kwargs).find()}

    def test_formats_collections_and_other_files(self, tmp_path):
        got = self.status(
            tmp_path,
            names := [
                f"{NAME}.hdf",
                f"{NAME}.tif",
                "MCD12Q1.A2017001.h26v05.006.2018150000000.hdf",
                "MCD12Q1.A2017001.h26v05.005.2020150000000.hdf",
                "MCD12Q1.A2017001.h27v05.006.2018150000000.tif",
                f"{NAME}.hdf.xml",
                "MCD12Q1.006_LC_Type3_doy2017001_aid0001.tif",
                "MCD12Q1.A2018001.h26v05.006.2019196133753.hdf",
            ],
        )
        assert [got[n] for n in names] == [
            ("ok", ""), ("duplicate", f"duplicate of {NAME}.hdf"),
            ("superseded", f"superseded by {NAME}.hdf"),
            ("superseded", f"superseded by {NAME}.hdf"),
            ("ok", ""), ("not_recognised", "not_a_raster"), ("not_recognised", "other_layer"),
            ("outside_period", "land cover of 2018"),
        ]  # fmt: skip

    def test_the_year_can_be_chosen_and_defaults_to_the_nearest(self, tmp_path):
        names = [f"MCD12Q1.A{y}001.h26v05.006.2019196133753.hdf" for y in (2015, 2016, 2018)]
        ok = {n for n, s in self.status(tmp_path, names).items() if s[0] == "ok"}
        assert ok == {names[1]}
        ok = {n for n, s in self.status(tmp_path, names, year=2018).items() if s[0] == "ok"}
        assert ok == {names[2]}
        assert not any(s[0] == "ok" for s in self.status(tmp_path, names, year=2001).values())

    def test_overlapping_parts_would_count_twice(self, tmp_path, tile):
        x, y = X0 + H * TILE_M, Y0 - V * TILE_M
        part = tile[:100, :100]
        write_tif(tmp_path / "a_2017.tif", part, x, y)
        write_tif(tmp_path / "b_2017.tif", part, x + 99 * PIXEL_M, y - 99 * PIXEL_M)
        write_tif(tmp_path / "c_2017.tif", part, x + 100 * PIXEL_M, y)
        got = {f.path: (f.status, f.reason) for f in reader(tmp_path).find()}
        assert got == {
            "a_2017.tif": ("ok", ""), "b_2017.tif": ("duplicate", "overlaps a_2017.tif"),
            "c_2017.tif": ("ok", ""),
        }  # fmt: skip
        write_hdf(tmp_path / f"{NAME}.hdf", tile)
        got = {f.path: f.status for f in reader(tmp_path).find()}
        assert sorted(got.values()) == ["duplicate"] * 3 + ["ok"] and got[f"{NAME}.hdf"] == "ok"


class TestBadHdf:
    def refused(self, folder):
        with pytest.raises(BadInput) as caught:
            read(folder)
        return caught.value

    @pytest.mark.parametrize("keep", [0.0, 0.0001, 0.5, 0.95])
    def test_truncated(self, tmp_path, tile, keep):
        path = write_hdf(tmp_path / f"{NAME}.hdf", tile)
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
        assert self.refused(tmp_path).reason == "damaged_file"

    def test_truncated_geotiff(self, tmp_path, tile):
        path = write_tif(tmp_path / f"{NAME}.tif", tile, X0 + H * TILE_M, Y0 - V * TILE_M)
        path.write_bytes(path.read_bytes()[:20000])
        assert self.refused(tmp_path).reason == "damaged_file"

    def test_missing_layer(self, tmp_path, tile):
        write_hdf(tmp_path / f"{NAME}.hdf", tile, layer="Land_Cover_Type_1")
        error = self.refused(tmp_path)
        assert error.reason == "missing_variable" and "Land_Cover_Type_1" in error.found

    def test_wrong_dtype(self, tmp_path, tile):
        write_hdf(tmp_path / f"{NAME}.hdf", tile.astype("f4"), kind=SDC.FLOAT32)
        assert self.refused(tmp_path).reason == "wrong_dtype"

    def test_metadata_of_another_tile(self, tmp_path, tile):
        write_hdf(tmp_path / f"{NAME}.hdf", tile, h=27)
        assert self.refused(tmp_path).reason == "wrong_grid"

    def test_the_name_alone_places_a_whole_tile_only(self, tmp_path, tile):
        path = write_hdf(tmp_path / f"{NAME}.hdf", tile, meta=False)
        assert read(tmp_path, cells=CELLS)[0] == literal(CELLS, {(H, V): tile})
        path.unlink()
        write_hdf(path, tile[:1200], meta=False)
        assert self.refused(tmp_path).reason == "wrong_grid"
        path.rename(tmp_path / "cover.hdf")
        assert self.refused(tmp_path).reason == "wrong_grid"
