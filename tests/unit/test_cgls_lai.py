"""Copernicus 1 km LAI: packed flags, QFLAG, registration, clipped and global layouts, damage."""

import datetime as dt
import os
import pickle
import subprocess
import sys
from pathlib import Path

import h5py
import netCDF4
import numpy as np
import pytest

from ingest.grid import M09
from ingest.reader import BadInput
from ingest.sources.cgls_lai import CglsLai, CglsLaiReader, dekad_day

ROOT = Path(__file__).resolve().parents[2]
STEP = 1 / 112
PERIOD = (dt.date(2017, 1, 1), dt.date(2018, 12, 31))
NAME = "c_gls_LAI-RT6_201701100000_GLOBE_PROBAV_V2.0.2.nc"
CELL = (290, 3174)  # Beijing


def write(
    path, packed, qflag=None, *, lat, lon, ascending=False, geotransform=None, dtype="u1",
    attributes=None, drop=(), model="NETCDF4",
):  # fmt: skip
    """A file as the service writes it; lat, lon are those that the file states, north first."""
    with netCDF4.Dataset(path, "w", format=model) as data:
        data.createDimension("time", 1)
        data.createDimension("lat", len(lat))
        data.createDimension("lon", len(lon))
        turn = slice(None, None, -1) if ascending else slice(None)
        data.createVariable("lat", "f8", ("lat",))[:] = lat[turn]
        data.createVariable("lon", "f8", ("lon",))[:] = lon
        crs = data.createVariable("crs", "i4", ())
        if geotransform:
            crs.GeoTransform = " ".join(str(v) for v in geotransform)
        dims = ("time", "lat", "lon")
        given = {"scale_factor": np.float32(1 / 30), "add_offset": np.float32(0),
                 "valid_range": np.array([0, 210], "u1"), "grid_mapping": "crs"}  # fmt: skip
        given |= attributes or {}
        if "LAI" not in drop:
            fill = given.pop("_FillValue", 255)
            variable = data.createVariable("LAI", dtype, dims, fill_value=fill)
            variable.set_auto_maskandscale(False)
            variable.setncatts({k: v for k, v in given.items() if v is not None})
            variable[:] = packed[None, turn]
        if "QFLAG" not in drop:
            kind = "u2" if model == "NETCDF4" else "i4"
            variable = data.createVariable("QFLAG", kind, dims)
            variable[:] = np.zeros(packed.shape) if qflag is None else qflag[None, turn]
    return path


def corners(cell=CELL, margin=4):
    """Upper-left corners, on the product's lattice, of a window that holds a cell and a margin."""
    lat, lon = (float(v) for v in M09.centre(*cell))
    top, left = np.ceil(lat / STEP) * STEP, np.floor(lon / STEP) * STEP
    half = 6 + margin
    return top + (half - np.arange(2 * half)) * STEP, left + (np.arange(2 * half) - half) * STEP


def inside(lat, lon, cell=CELL):
    """The rule itself: which pixels, given by centre, lie in the cell."""
    row, col = M09.index(*np.meshgrid(lat, lon, indexing="ij"))
    return (row == cell[0]) & (col == cell[1])


def reader(folder, cells=(CELL,), period=PERIOD, **settings):
    return CglsLaiReader(
        key="lai", source="cgls", period=period, cells=np.array(cells),
        settings=CglsLai(format="cgls_lai", path=str(folder), **settings),
    )  # fmt: skip


def read(folder, **kwargs):
    source = reader(folder, **kwargs)
    (raw,) = [f for f in source.find() if f.status == "ok"]
    extract = source.read(raw)
    return extract.tables["lai"].to_pylist(), {r: n for _, r, n in extract.counts}


@pytest.fixture
def field():
    lat, lon = corners()
    packed = np.random.default_rng(3).integers(0, 211, (len(lat), len(lon))).astype("u1")
    return packed, lat, lon, inside(lat - STEP / 2, lon + STEP / 2)


def test_cell_mean_is_the_mean_of_its_pixels(tmp_path, field):
    packed, lat, lon, mine = field
    write(tmp_path / NAME, packed, lat=lat, lon=lon)
    (row,), counts = read(tmp_path)
    expected = np.float32((packed[mine].astype(np.float64) * np.float64(np.float32(1 / 30))).mean())
    assert row == {
        "grid_row": 290, "grid_col": 3174, "obs_date": dt.date(2017, 1, 5),
        "lai_m2m2": pytest.approx(float(expected), rel=1e-7), "n_valid": int(mine.sum()),
        "n_pixels": int(mine.sum()), "valid_area_frac": 1.0,
    }  # fmt: skip
    assert counts == {"ok": int(mine.sum())}
    assert 80 < mine.sum() < 130


def test_schema_key_and_pickling(tmp_path, field):
    packed, lat, lon, _ = field
    write(tmp_path / NAME, packed, lat=lat, lon=lon)
    source = pickle.loads(pickle.dumps(reader(tmp_path)))
    assert source.read(source.find()[0]).tables["lai"].schema == source.tables["lai"]
    assert source.sort_key["lai"] == ("obs_date", "grid_row", "grid_col")


def test_flags_above_the_valid_range_never_become_leaf_area(tmp_path, field):
    packed, lat, lon, mine = field
    where = np.argwhere(mine)
    for k, flag in enumerate([241, 250, 252, 254, 211, 255, 255]):
        packed[tuple(where[k])] = flag
    write(tmp_path / NAME, packed, lat=lat, lon=lon)
    (row,), counts = read(tmp_path)
    good = packed[mine][packed[mine] <= 210]
    assert row["lai_m2m2"] == pytest.approx(good.mean() / 30, rel=1e-6)
    assert counts == {"ok": len(good), "outside_valid_range": 5, "fill": 2}


def test_without_valid_range_the_physical_maximum_stands_in(tmp_path, field):
    packed, lat, lon, mine = field
    packed[mine] = 211
    packed[tuple(np.argwhere(mine)[0])] = 210
    write(tmp_path / NAME, packed, lat=lat, lon=lon, attributes={"valid_range": None})
    (row,), counts = read(tmp_path)
    assert counts == {"ok": 1, "outside_valid_range": int(mine.sum()) - 1}
    assert row["lai_m2m2"] is None


def test_qflag_rejects_sea_and_invalid_but_keeps_and_counts_gap_filled(tmp_path, field):
    packed, lat, lon, mine = field
    qflag = np.zeros(packed.shape, "u2")
    where = [tuple(p) for p in np.argwhere(mine)]
    for k, bits in enumerate([1, 32, 64, 4, 4 + 64, 65535, 2048]):
        qflag[where[k]] = bits
    write(tmp_path / NAME, packed, qflag, lat=lat, lon=lon)
    (row,), counts = read(tmp_path)
    n = int(mine.sum())
    assert counts == {"ok": n - 6, "ok_gap_filled": 1, "qflag_1": 2, "qflag_32": 1, "qflag_64": 2}
    kept = mine & ((qflag & 97) == 0)
    assert row["lai_m2m2"] == pytest.approx(packed[kept].mean() / 30, rel=1e-6)
    (row,), counts = read(tmp_path, lai_qflag_mask=65535)
    assert row["n_valid"] == counts["ok"] == n - 7 and counts["qflag_4"] == 2
    (row,), counts = read(tmp_path, lai_qflag_mask=0)
    assert row["n_valid"] == n and counts == {"ok": n}


@pytest.mark.parametrize("short, is_null", [(0, False), (1, True)])
def test_half_of_the_pixels_must_be_valid(tmp_path, field, short, is_null):
    packed, lat, lon, mine = field
    where = np.argwhere(mine)
    n = len(where)
    for i, j in where[(n + 1) // 2 - short :]:
        packed[i, j] = 255
    write(tmp_path / NAME, packed, lat=lat, lon=lon)
    (row,), _ = read(tmp_path)
    assert (row["lai_m2m2"] is None) == is_null
    assert row["n_valid"] == (n + 1) // 2 - short and row["n_pixels"] == n
    (row,), _ = read(tmp_path, min_valid_frac=0.1)
    assert row["lai_m2m2"] is not None


def test_ascending_latitudes_give_the_same(tmp_path, field):
    packed, lat, lon, _ = field
    (tmp_path / "down").mkdir(), (tmp_path / "up").mkdir()
    write(tmp_path / "down" / NAME, packed, lat=lat, lon=lon)
    write(tmp_path / "up" / NAME, packed, lat=lat, lon=lon, ascending=True)
    assert read(tmp_path / "down") == read(tmp_path / "up")


def test_classic_netcdf_with_signed_bytes(tmp_path, field):
    packed, lat, lon, mine = field
    packed[tuple(np.argwhere(mine)[0])] = 252
    write(
        tmp_path / NAME, packed.view("i1"), lat=lat, lon=lon, dtype="i1", model="NETCDF3_CLASSIC",
        attributes={"_Unsigned": "true", "valid_range": np.array([0, 210], "u1").view("i1"),
                    "_FillValue": np.int8(-1)},
    )  # fmt: skip
    (row,), counts = read(tmp_path)
    assert counts == {"ok": int(mine.sum()) - 1, "outside_valid_range": 1}
    assert row["lai_m2m2"] == pytest.approx(packed[mine][1:].mean() / 30, rel=1e-6)


class TestRegistration:
    """What lat and lon mark: corners, unless the GeoTransform or the setting says otherwise."""

    def means(self, packed, lat, lon):
        centre = packed[inside(lat, lon)].mean() / 30
        corner = packed[inside(lat - STEP / 2, lon + STEP / 2)].mean() / 30
        assert abs(centre - corner) > 1e-3
        return {"centre": centre, "upper_left": corner}

    @pytest.fixture
    def ramp(self):
        lat, lon = corners()
        i, j = np.indices((len(lat), len(lon)))
        return (5 * i + 3 * j).astype("u1"), lat, lon

    def globe(self, shift):
        return (-180 - shift * STEP, STEP, 0, 80 + shift * STEP, 0, -STEP)

    @pytest.mark.parametrize(
        "shift, setting, mark",
        [
            (None, None, "upper_left"), (None, "centre", "centre"), (0, None, "upper_left"),
            (0.5, None, "centre"), (0.5, "centre", "centre"), (0, "upper_left", "upper_left"),
        ],
    )  # fmt: skip
    def test_marks(self, tmp_path, ramp, shift, setting, mark):
        packed, lat, lon = ramp
        transform = None if shift is None else self.globe(shift)
        write(tmp_path / NAME, packed, lat=lat, lon=lon, geotransform=transform)
        (row,), _ = read(tmp_path, pixel_registration=setting)
        assert row["lai_m2m2"] == pytest.approx(self.means(packed, lat, lon)[mark], rel=1e-6)

    @pytest.mark.parametrize("shift, setting", [(0.5, "upper_left"), (0, "centre"), (0.25, None)])
    def test_disagreement_refuses_the_file(self, tmp_path, ramp, shift, setting):
        packed, lat, lon = ramp
        write(tmp_path / NAME, packed, lat=lat, lon=lon, geotransform=self.globe(shift))
        with pytest.raises(BadInput, match="GeoTransform") as caught:
            read(tmp_path, pixel_registration=setting)
        assert caught.value.reason == "wrong_grid"


class TestOutside:
    def test_a_cell_on_the_rim_keeps_its_whole_count(self, tmp_path, field):
        packed, lat, lon, mine = field
        keep = np.flatnonzero(mine.any(axis=1))[3]  # cut the cell after four of ten rows
        write(tmp_path / NAME, packed[: keep + 1], lat=lat[: keep + 1], lon=lon)
        (row,), counts = read(tmp_path)
        left = mine[: keep + 1].sum()
        assert row["n_pixels"] == mine.sum() and row["n_valid"] == left
        assert counts == {"ok": left, "outside_raster": mine.sum() - left}
        assert row["lai_m2m2"] is None and row["valid_area_frac"] < 0.5

    def test_a_cell_the_file_does_not_touch_has_no_row_but_a_count(self, tmp_path, field):
        packed, lat, lon, mine = field
        write(tmp_path / NAME, packed, lat=lat, lon=lon)
        rows, counts = read(tmp_path, cells=(CELL, (500, 3000)))
        assert [(r["grid_row"], r["grid_col"]) for r in rows] == [CELL]
        assert counts["ok"] == mine.sum() and 80 < counts["outside_raster"] < 130

    def test_counts_cover_every_pixel_of_every_cell(self, tmp_path, field):
        packed, lat, lon, _ = field
        packed = packed + np.uint8(60)  # values, flags and fill
        qflag = np.random.default_rng(5).integers(0, 65536, packed.shape)
        write(tmp_path / NAME, packed, qflag, lat=lat, lon=lon)
        cells = [(289, 3173), CELL, (290, 3175), (291, 3174)]
        rows, counts = read(tmp_path, cells=cells)
        assert sum(counts.values()) == sum(r["n_pixels"] for r in rows) and len(rows) == 4
        assert [(r["grid_row"], r["grid_col"]) for r in rows] == cells


class TestFind:
    def status(self, folder, names, **kwargs):
        for name in names:
            (folder / name).write_bytes(b"")
        return {f.path: (f.status, f.reason, f.partition) for f in reader(folder, **kwargs).find()}

    def test_names(self, tmp_path):
        got = self.status(
            tmp_path,
            names := [
                "c_gls_LAI_201812310000_GLOBE_VGT_V2.0.1.nc",
                "c_gls_LAI-RT6_201702280000_WEST_PACIFIC_PROBAV_V2.0.2.nc",
                "c_gls_LAI-RT6_201702200000_CUSTOM_PROBAV_V2.0.2_subset.nc",
                "c_gls_LAI_201706100000_GLOBE_PROBAV_V1.5.1.nc",
                "c_gls_LAI300_201708100000_GLOBE_PROBAV_V1.0.1.nc",
                "c_gls_LAI300-RT0_201701310000_GLOBE_OLCI_V2.0.1.nc",
                "c_gls_LAI-RT6_201701110000_GLOBE_PROBAV_V2.0.2.nc",
                "c_gls_LAI-RT6_201612310000_GLOBE_PROBAV_V2.0.2.nc",
                "c_gls_FAPAR-RT6_201701100000_GLOBE_PROBAV_V2.0.2.nc",
                "c_gls_LAI-RT6_201701100000_GLOBE_PROBAV_V2.0.2.xml",
            ],
        )
        assert [got[n] for n in names] == [
            ("ok", "", "2018"), ("ok", "", "2017"), ("ok", "", "2017"),
            ("not_recognised", "other_algorithm", ""), ("not_recognised", "other_algorithm", ""),
            ("not_recognised", "other_algorithm", ""), ("not_recognised", "not_a_dekad", ""),
            ("outside_period", "outside_period", "2016"), ("not_recognised", "not_a_lai_file", ""),
            ("not_recognised", "not_a_lai_file", ""),
        ]  # fmt: skip

    @pytest.mark.parametrize(
        "best, worse",
        [
            ("-RT6_201701100000_GLOBE_PROBAV_V2.0.1", "-RT5_201701100000_GLOBE_PROBAV_V2.0.2"),
            ("-RT2_201701100000_GLOBE_PROBAV_V2.0.1", "-RT0_201701100000_GLOBE_PROBAV_V2.0.1"),
            ("-RT6_201701100000_GLOBE_PROBAV_V2.0.10", "-RT6_201701100000_GLOBE_PROBAV_V2.0.9"),
            ("_201701100000_GLOBE_PROBAV_V2.0.1", "_201701100000_GLOBE_VGT_V2.0.1"),
            ("_201701100000_GLOBE_PROBAV_V2.0.1", "-RT5_201701100000_GLOBE_PROBAV_V2.0.2"),
            ("-RT6_201701100000_GLOBE_PROBAV_V2.0.1", "-RT6_201701100000_CUSTOM_PROBAV_V2.0.1"),
        ],
    )
    def test_one_file_a_dekad(self, tmp_path, best, worse):
        best, worse = f"c_gls_LAI{best}.nc", f"c_gls_LAI{worse}.nc"
        got = self.status(tmp_path, [best, worse])
        assert got[best][0] == "ok"
        assert got[worse] == ("superseded", f"superseded by {best}", "2017")

    def test_the_nominal_day_decides_the_period(self, tmp_path):
        # label 2017-01-20 stands for 2017-01-15
        name = "c_gls_LAI-RT6_201701200000_GLOBE_PROBAV_V2.0.2.nc"
        day = dt.date(2017, 1, 15)
        assert self.status(tmp_path, [name], period=(day, day))[name][0] == "ok"
        late = (dt.date(2017, 1, 16), dt.date(2017, 1, 31))
        assert self.status(tmp_path, [name], period=late)[name][0] == "outside_period"


def test_dekad_days_of_a_leap_year():
    first = dt.date(2016, 1, 1)
    days = [first + dt.timedelta(days=k) for k in range(366)]
    nominal = []
    for day in days:
        try:
            nominal.append(dekad_day(day))
        except ValueError:
            continue
    assert nominal == [dt.date(2016, m, d) for m in range(1, 13) for d in (5, 15, 25)]


class TestBadFiles:
    def refused(self, folder, **kwargs):
        with pytest.raises(BadInput) as caught:
            read(folder, **kwargs)
        assert caught.value.file and caught.value.found
        return caught.value

    def test_truncated(self, tmp_path, field):
        packed, lat, lon, _ = field
        path = write(tmp_path / NAME, packed, lat=lat, lon=lon)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        assert self.refused(tmp_path).reason == "damaged_file"

    def test_not_netcdf(self, tmp_path):
        (tmp_path / NAME).write_text("<html>sign in</html>")
        assert self.refused(tmp_path).reason == "damaged_file"

    def test_broken_chunk(self, tmp_path):
        path = tmp_path / NAME
        lat, lon = corners(margin=60)
        packed = np.random.default_rng(1).integers(0, 200, (len(lat), len(lon))).astype("u1")
        write(path, packed, lat=lat, lon=lon)
        with netCDF4.Dataset(path, "a") as data:  # a compressed copy of LAI, then damaged
            old = data.variables["LAI"]
            data.renameVariable("LAI", "OLD")
            new = data.createVariable("LAI", "u1", old.dimensions, zlib=True, fill_value=255)
            new.setncatts({k: old.getncattr(k) for k in old.ncattrs() if k != "_FillValue"})
            new.set_auto_maskandscale(False)
            new[:] = np.random.default_rng(2).integers(0, 200, packed.shape).astype("u1")[None]
        with h5py.File(path) as file:
            info = file["LAI"].id.get_chunk_info(0)
        with path.open("r+b") as file:
            file.seek(info.byte_offset + 40)
            file.write(b"\xff" * 400)
        error = self.refused(tmp_path)
        assert error.reason == "damaged_file" and error.key == "LAI"

    @pytest.mark.parametrize("name", ["LAI", "QFLAG"])
    def test_missing_variable(self, tmp_path, field, name):
        packed, lat, lon, _ = field
        write(tmp_path / NAME, packed, lat=lat, lon=lon, drop=(name,))
        error = self.refused(tmp_path)
        assert error.reason == "missing_variable" and error.key == name
        if name == "QFLAG":
            assert "lai_qflag_mask" in str(error)
            assert read(tmp_path, lai_qflag_mask=0)[0][0]["lai_m2m2"] is not None

    @pytest.mark.parametrize("dtype", ["f4", "i1"])
    def test_unpacked_or_signed_values(self, tmp_path, field, dtype):
        packed, lat, lon, _ = field
        write(
            tmp_path / NAME, (packed / 30).astype(dtype), lat=lat, lon=lon, dtype=dtype,
            attributes={"_FillValue": -1, "valid_range": np.array([0, 7], "f4")},
        )  # fmt: skip
        assert self.refused(tmp_path).reason == "wrong_dtype"

    @pytest.mark.parametrize(
        "attributes, reason",
        [
            ({"scale_factor": None}, "missing_attribute"),
            ({"valid_range": np.array([0.0, 7.0], "f4")}, "wrong_units"),
            ({"scale_factor": np.float32(0.5)}, "wrong_units"),
            ({"valid_range": np.array([0, 7], "u1")}, "wrong_units"),
        ],
    )
    def test_packing_that_cannot_be(self, tmp_path, field, attributes, reason):
        packed, lat, lon, _ = field
        write(tmp_path / NAME, packed, lat=lat, lon=lon, attributes=attributes)
        assert self.refused(tmp_path).reason == reason

    def test_300_m_under_a_1_km_name(self, tmp_path, field):
        packed, lat, lon, _ = field
        lat, lon = lat[0] - (lat[0] - lat) / 3, lon[0] + (lon - lon[0]) / 3
        write(tmp_path / NAME, packed, lat=lat, lon=lon)
        assert self.refused(tmp_path).reason == "wrong_grid"

    def test_uneven_axis(self, tmp_path, field):
        packed, lat, lon, _ = field
        lon = lon + np.where(np.arange(len(lon)) > 8, STEP, 0)
        write(tmp_path / NAME, packed, lat=lat, lon=lon)
        assert self.refused(tmp_path).reason == "wrong_grid"


def test_a_global_file_is_read_in_little_memory(tmp_path):
    lat, lon = 80 - np.arange(15680) * STEP, -180 + np.arange(40320) * STEP
    with netCDF4.Dataset(tmp_path / NAME, "w") as data:  # chunks never written take no room
        for name, axis in (("lat", lat), ("lon", lon)):
            data.createDimension(name, len(axis))
            data.createVariable(name, "f8", (name,))[:] = axis
        data.createDimension("time", 1)
        dims, chunks = ("time", "lat", "lon"), (1, 1120, 2880)
        lai = data.createVariable("LAI", "u1", dims, zlib=True, chunksizes=chunks, fill_value=255)
        lai.setncatts({"scale_factor": 1 / 30, "valid_range": np.array([0, 210], "u1")})
        lai.set_auto_maskandscale(False)
        qflag = data.createVariable("QFLAG", "u2", dims, zlib=True, chunksizes=chunks, fill_value=0)
        qflag.set_auto_maskandscale(False)
        i, j = (int(v) for v in ((80 - 39.9) / STEP, (116.4 + 180) / STEP))
        lai[0, i - 30 : i + 30, j - 30 : j + 30] = 90
    code = (
        "import sys; sys.path.insert(0, 'tests/unit')\n"
        "import numpy as np, test_cgls_lai as t\n"
        "r, c = np.meshgrid(np.arange(160, 560, 40), np.arange(2734, 3374, 40), indexing='ij')\n"
        "cells = [*zip(r.ravel().tolist(), c.ravel().tolist()), (290, 3174)]\n"
        f"rows, counts = t.read({str(tmp_path)!r}, cells=cells)\n"
        "got = {(r['grid_row'], r['grid_col']): r['lai_m2m2'] for r in rows}\n"
        "assert abs(got[290, 3174] - 3) < 1e-6 and len(rows) == len(cells)\n"
        "assert sum(v is not None for v in got.values()) == 1\n"
        "peak = next(w for w in open('/proc/self/status') if w.startswith('VmHWM'))\n"
        "print(int(peak.split()[1]) / 1024)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 1024  # MiB; the two layers whole are 1.9 GB
