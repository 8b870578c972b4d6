"""Latitude/longitude NetCDF: written files of every orientation and packing, and real ones."""

from __future__ import annotations

import datetime as dt
import os
import pickle
from pathlib import Path

import netCDF4
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import ValidationError

from ingest import grid
from ingest.reader import PROJECT_ROOT, BadInput
from ingest.sources.gridded_netcdf import GriddedNetcdf, GriddedNetcdfReader, SoilLayer
from ingest.sources.latlon_netcdf import (
    LatLonGrid,
    month_in_name,
    open_netcdf,
    regular_axis,
    same_unit,
    time_in_name,
    unpack,
)

REALDATA = PROJECT_ROOT / os.environ.get("SKILLHOUSE_REALDATA", "../shared/realdata")
PERIOD = (dt.date(2017, 1, 1), dt.date(2017, 1, 2))
CELL = np.array([[290, 3174]])  # centre 39.904580 N, 116.374481 E
TIMES = [dt.datetime(2016, 12, 31, 21) + dt.timedelta(hours=3 * i) for i in range(20)]
LAT, LON = np.arange(38.875, 41.2, 0.25), np.arange(114.875, 117.9, 0.25)


def field(lat, lon, time):
    """A value in 0.1 to 0.4 that identifies its box and time."""
    t = (time - TIMES[0]).total_seconds() / 3600
    return 0.1 + (lat - 38) * 0.05 + (lon - 114) * 0.01 + t * 1e-4


def write(
    path: Path,
    *,
    lat=LAT,
    lon=LON,
    times=TIMES,
    units="m3 m-3",
    dtype="f4",
    attributes=None,
    calendar="standard",
    time_units="hours since 2000-01-01",
    change=lambda values: values,
    factor=1.0,
    dims=("time", "lat", "lon"),
    coordinate_attributes=True,
) -> Path:
    names = dict(zip(("time", "lat", "lon"), dims, strict=True))
    with netCDF4.Dataset(path, "w") as data:
        for name, n in zip(dims, (len(times), len(lat), len(lon)), strict=True):
            data.createDimension(name, n)
        for kind, values in (("lat", lat), ("lon", lon)):
            variable = data.createVariable(names[kind], "f8", (names[kind],))
            variable[:] = values
            if coordinate_attributes:
                variable.units = {"lat": "degrees_north", "lon": "degrees_east"}[kind]
        variable = data.createVariable(names["time"], "f8", (names["time"],))
        variable.units, variable.calendar = time_units, calendar
        if calendar in ("360_day", "julian"):
            variable[:] = np.arange(len(times))
        else:
            variable[:] = netCDF4.date2num(times, time_units, calendar)
        attributes = dict(attributes or {})
        fill = attributes.pop("_FillValue", None)
        variable = data.createVariable("sm", dtype, dims, fill_value=fill)
        variable.set_auto_maskandscale(False)
        if units:
            variable.units = units
        for name, value in attributes.items():
            variable.setncattr(name, value)
        wrapped = (np.asarray(lon) + 180) % 360 - 180
        values = np.array([[[field(a, o, t) for o in wrapped] for a in lat] for t in times])
        variable[:] = change(values * factor)
    return path


def make_reader(path, *, period=PERIOD, cells=CELL, layer=None, **changes):
    layer = {"variable": "sm", "top_m": 0, "bottom_m": 0.1, "unit": "m3 m-3"} | (layer or {})
    settings = {
        "path": str(path),
        "format": "gridded_netcdf",
        "samples_per_day": 8,
        "soil_moisture": [layer],
    }
    return GriddedNetcdfReader(
        key="products.gldas",
        source="gldas",
        settings=GriddedNetcdf.model_validate(settings | changes),
        period=period,
        cells=cells,
    )


def read(path, **changes):
    reader = make_reader(path, **changes)
    [raw] = reader.find()
    return reader.read(raw)


def counts_of(extract) -> dict[str, int]:
    assert {entity for entity, _, _ in extract.counts} == {"sm_1_m3m3"}
    return {reason: n for _, reason, n in extract.counts}


def refusal(path, **changes) -> BadInput:
    with pytest.raises(BadInput) as caught:
        read(path, **changes)
    assert Path(caught.value.file).name == path.name and caught.value.found
    return caught.value


# -- rows


def expected_rows(factor=1.0) -> dict:
    """Literal: boxes of 0.25 degrees within 1.5 widths of the cell, times in the period."""
    lat0, lon0 = (float(v) for v in grid.M09.centre(290, 3174))
    rows = {}
    for lat in LAT:
        for lon in LON:
            if ((lat - lat0) / 0.25) ** 2 + ((lon - lon0) / 0.25) ** 2 > 1.5**2:
                continue
            key = int((90 - lat) // 0.25), int((lon + 180) // 0.25)
            for time in TIMES:
                if PERIOD[0] <= time.date() <= PERIOD[1]:
                    rows[(*key, time)] = float(np.float32(field(lat, lon, time) * factor))
    return rows


def rows_of(extract) -> dict:
    table = extract.tables["land"].to_pylist()
    assert len(table) == len({(r["box_row"], r["box_col"], r["observed_at"]) for r in table})
    return {(r["box_row"], r["box_col"], r["observed_at"]): r["sm_1_m3m3"] for r in table}


ORIENTATIONS = {
    "south first": {},
    "north first": {"lat": LAT[::-1]},
    "east first": {"lon": LON[::-1]},
    "longitudes 0 to 360, all round": {"lon": np.arange(0.125, 360, 0.25)},
    "last time first": {"times": TIMES[::-1]},
    "usual long names": {"dims": ("time", "latitude", "longitude")},
    "strange names with units": {"dims": ("when", "south_north", "west_east")},
    "names alone": {"coordinate_attributes": False},
    "days in float": {"time_units": "days since 1850-01-01"},
    "mixed calendar from year 1": {"time_units": "hours since 0001-01-01 00:00:00"},
    "no leap days": {"calendar": "noleap"},
}


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_every_orientation_gives_the_same_rows(tmp_path, orientation):
    changes = ORIENTATIONS[orientation]
    extract = read(write(tmp_path / "a.nc", dtype="f8", **changes))
    expected = expected_rows()
    got = rows_of(extract)
    assert got.keys() == expected.keys()
    assert all(got[k] == pytest.approx(expected[k], rel=1e-7) for k in expected)
    keys = list(got)
    assert keys == sorted(keys)
    n_boxes = extract.tables["box"].num_rows
    assert counts_of(extract) == {"ok": n_boxes * 16, "outside_period": n_boxes * 4}
    box = extract.tables["box"].to_pylist()
    assert {(b["box_row"], b["box_col"]) for b in box} == {k[:2] for k in expected}
    for b in box:
        assert b["latitude"] == 90 - (b["box_row"] + 0.5) * 0.25
        assert b["longitude"] == (b["box_col"] + 0.5) * 0.25 - 180
        assert b["width_lat_deg"] == b["width_lon_deg"] == 0.25


def test_hour_ending_labels_shift_the_clip(tmp_path):
    path = write(tmp_path / "a.nc")
    times = read(path, time_label="hour_ending").tables["land"]["observed_at"].to_pylist()
    assert (min(times), max(times)) == (dt.datetime(2017, 1, 1, 3), dt.datetime(2017, 1, 3))
    times = read(path).tables["land"]["observed_at"].to_pylist()
    assert (min(times), max(times)) == (dt.datetime(2017, 1, 1), dt.datetime(2017, 1, 2, 21))


def test_mass_becomes_volume_by_thickness(tmp_path):
    path = write(tmp_path / "a.nc", units="kg m-2", factor=300.0, dtype="f8")
    layer = {"top_m": 0.1, "bottom_m": 0.4, "unit": "kg m-2"}
    got = rows_of(read(path, layer=layer))
    expected = expected_rows()
    assert all(got[k] == pytest.approx(expected[k], rel=1e-7) for k in expected)
    assert SoilLayer(variable="x", top_m=0.1, bottom_m=0.4, unit="kg m-2").divisor == 300.0


def test_packed_integers_fills_and_valid_range(tmp_path):
    def pack(values):
        packed = np.rint((values - 0.1) / 0.0005).astype("i2")
        packed[2, :, :] = -1  # below the packed valid range
        packed[3, :, :] = 2001  # above it: would unpack to 1.1005
        packed[4, :, :] = -32768
        packed[5, :, :] = -32767
        return packed

    path = write(
        tmp_path / "a.nc",
        dtype="i2",
        change=pack,
        attributes={
            "_FillValue": np.int16(-32768),
            "missing_value": np.int16(-32767),
            "scale_factor": 0.0005,
            "add_offset": 0.1,
            "valid_range": np.array([0, 2000], "i2"),
        },
    )
    extract = read(path)
    n = extract.tables["box"].num_rows
    assert counts_of(extract) == {
        "ok": 12 * n,
        "out_of_range": 2 * n,
        "fill": 2 * n,
        "outside_period": 4 * n,
    }
    expected = expected_rows()
    for key, value in rows_of(extract).items():
        if key[2] in TIMES[2:6]:
            assert value is None
        else:
            assert value == pytest.approx(expected[key], abs=0.00026)


def test_unsigned_bytes_with_flags_above_the_valid_range(tmp_path):
    """As in Copernicus products: flags 241 to 254 are not the fill value."""
    path = tmp_path / "b.nc"
    with netCDF4.Dataset(path, "w") as data:
        data.createDimension("x", 5)
        variable = data.createVariable("v", "i1", ("x",), fill_value=-1)
        variable.setncatts(
            {"_Unsigned": "true", "scale_factor": 0.5, "valid_range": np.array([0, -56], "i1")}
        )
        variable.set_auto_maskandscale(False)
        variable[:] = np.array([0, 200, 201, 254, 255], "u1").view("i1")
    with open_netcdf(path) as data:
        values, reason = unpack(data["v"])
    np.testing.assert_array_equal(values, [0, 100, np.nan, np.nan, np.nan])
    assert reason.tolist() == [0, 0, 2, 2, 1]


def test_float_fills_nan_and_impossible_values(tmp_path):
    def spoil(values):
        values[2] = np.nan
        values[3] = -9.969207e36  # other digits than the attribute
        values[4] = 1.2
        values[5] = -0.01
        return values

    path = write(
        tmp_path / "a.nc", change=spoil, attributes={"missing_value": np.float32(-9.96921e36)}
    )
    extract = read(path)
    n = extract.tables["box"].num_rows
    assert counts_of(extract) == {
        "ok": 12 * n,
        "fill": 2 * n,
        "out_of_range": 2 * n,
        "outside_period": 4 * n,
    }


def test_a_file_outside_the_period_gives_boxes_and_counts(tmp_path):
    extract = read(write(tmp_path / "a.nc"), period=(dt.date(2020, 1, 1), dt.date(2020, 1, 2)))
    n = extract.tables["box"].num_rows
    assert n == 8 and counts_of(extract) == {"outside_period": 20 * n}
    assert extract.tables["land"].num_rows == 0


def test_single_time_files_and_partitions(tmp_path):
    for time in (TIMES[3], TIMES[4]):
        write(tmp_path / f"G.A{time:%Y%m%d.%H%M}.021.nc4", times=[time])
    write(tmp_path / "all_2017_2018.nc")
    (tmp_path / "readme.txt").write_text("x")
    found = make_reader(tmp_path).find()
    assert [(r.partition, r.status) for r in found] == [
        ("2017-01", "ok"),
        ("2017-01", "ok"),
        ("all_2017_2018", "ok"),
        ("readme", "not_recognised"),
    ]
    times = set(make_reader(tmp_path).read(found[0]).tables["land"]["observed_at"].to_pylist())
    assert times == {TIMES[3]}
    named = make_reader(tmp_path, time_in_name="%Y%m%d.%H%M")
    assert set(named.read(found[1]).tables["land"]["observed_at"].to_pylist()) == {TIMES[4]}
    with pytest.raises(BadInput, match="time_in_name"):
        named.read(found[2])


# -- refusals


@pytest.mark.parametrize(
    ("written", "changes", "reason", "found"),
    [
        ({"units": "kg m-2"}, {}, "unit_mismatch", "kg m-2"),
        ({"units": "percent"}, {}, "unit_mismatch", "percent"),
        ({}, {"layer": {"variable": "swvl1"}}, "missing_variable", "sm"),
        ({"lat": [38.9, 39.2, 39.7, 40.0]}, {}, "irregular_grid", "irregular"),
        ({"lat": LAT[:1]}, {}, "irregular_grid", "two finite places"),
        ({"lat": LAT + 60}, {}, "irregular_grid", "out of range"),
        ({"calendar": "360_day"}, {}, "bad_calendar", "360_day"),
        ({"lat": LAT - 30}, {}, "outside_region", "no box"),
        ({"times": [TIMES[4]] * 3}, {}, "duplicate_time", "twice"),
        ({}, {"latitude": "ylat"}, "missing_variable", "ylat"),
        ({"dims": ("when", "lat", "lon"), "calendar": "julian"}, {}, "bad_calendar", "julian"),
    ],
)
def test_files_that_cannot_be_used(tmp_path, written, changes, reason, found):
    bad = refusal(write(tmp_path / "a.nc", **written), **changes)
    assert bad.reason == reason and found in bad.found and bad.remedy


def test_a_damaged_file_and_units_of_time(tmp_path):
    path = write(tmp_path / "a.nc")
    path.write_bytes(path.read_bytes()[:2000])
    assert refusal(path).reason == "damaged_file"
    path = write(tmp_path / "b.nc")
    with netCDF4.Dataset(path, "a") as data:
        data["time"].units = "day as %Y%m%d"
    assert refusal(path, time_variable="time").reason == "bad_time"


def test_a_third_dimension_longer_than_one_is_refused(tmp_path):
    path = write(tmp_path / "a.nc")
    with netCDF4.Dataset(path, "a") as data:
        data.createDimension("depth", 2)
        data.createVariable("deep", "f4", ("time", "depth", "lat", "lon"))
    assert refusal(path, layer={"variable": "deep"}).reason == "bad_dimensions"


def test_settings_are_checked():
    with pytest.raises(ValidationError, match="below top_m"):
        SoilLayer(variable="x", top_m=0.4, bottom_m=0.1, unit="m3 m-3")
    with pytest.raises(ValidationError, match="kg m-2"):
        SoilLayer(variable="x", top_m=0, bottom_m=0.1, unit="mm")


def test_reader_crosses_process_borders(tmp_path):
    reader = make_reader(tmp_path)
    assert pickle.loads(pickle.dumps(reader)).tables == reader.tables


# -- the axes


@pytest.mark.parametrize("spelling", ["m3 m-3", "m**3 m**-3", "m^3/m^3", "m3/m3", "M3 M-3"])
def test_spellings_of_units(spelling):
    assert same_unit(spelling, ["m3 m-3"]) and not same_unit(spelling, ["kg m-2", "m3"])


@pytest.mark.parametrize("spelling", ["mm/day", "mm d-1", "mm day-1", "mm days^-1", "mm/d"])
def test_spellings_of_a_day(spelling):
    assert same_unit(spelling, ["mm d-1"]) and not same_unit(spelling, ["mm h-1"])


@hypothesis_settings(max_examples=150, deadline=None)
@given(
    st.sampled_from([1, 0.5, 0.25, 0.1, 0.05, 1 / 12, 2.5, 0.625]),
    st.sampled_from([0.0, 0.5]),
    st.integers(0, 60),
    st.integers(2, 60),
    st.booleans(),
    st.floats(-1, 1),
)
def test_clips_of_one_grid_agree_on_indices(width, offset, first, n, backwards, noise):
    n_all = round(180 / width)
    index = np.arange(first, min(first + n, n_all - 1))
    if len(index) < 2:
        index = np.array([0, 1])
    wave = np.sin(np.arange(len(index)) * 1.7) * noise
    distance = (index + offset) * width + wave * min(2e-4, 0.002 * width)
    axis = regular_axis(distance[::-1] if backwards else distance)
    assert axis.index.tolist() == (index[::-1] if backwards else index).tolist()
    assert axis.width_deg == pytest.approx(width, rel=1e-12) and axis.offset == offset


@hypothesis_settings(max_examples=40, deadline=None)
@given(st.integers(0, 359), st.floats(0.5, 3.0), st.integers(200, 1400), st.integers(0, 3855))
def test_boxes_near_is_the_literal_circle(start, reach, row, col):
    lon = (np.arange(360) + start) % 360 + 0.5
    latlon = LatLonGrid.from_coordinates(np.arange(-89.5, 90), lon)
    boxes = latlon.select(np.array([[row, col]]), reach=reach)
    lat0, lon0 = (float(v) for v in grid.M09.centre(row, col))
    apart = (np.arange(360) - 179.5 - lon0 + 180) % 360 - 180
    lat = 89.5 - np.arange(180)
    i, j = np.nonzero((lat[:, None] - lat0) ** 2 + apart[None, :] ** 2 <= reach**2)
    assert set(zip(boxes.row.tolist(), boxes.col.tolist(), strict=True)) == set(
        zip(i.tolist(), j.tolist(), strict=True)
    )
    assert np.allclose(np.arange(-89.5, 90)[boxes.i], latlon.latitude(boxes.row))
    assert np.allclose((lon[boxes.j] + 180) % 360 - 180, latlon.longitude(boxes.col))


def test_longitudes_across_the_date_line():
    latlon = LatLonGrid.from_coordinates(np.arange(0.5, 5), np.arange(177.5, 184))
    assert latlon.cols.index.tolist() == [357, 358, 359, 0, 1, 2, 3]
    assert latlon.longitude(latlon.cols.index).tolist()[2:4] == [179.5, -179.5]
    split = np.array([178.5, 179.5, -179.5, -178.5])
    latlon = LatLonGrid.from_coordinates(np.arange(3.0), split)
    assert latlon.cols.index.tolist() == [358, 359, 0, 1]


@pytest.mark.parametrize(
    "values", [[0.0], [0, 1, 3], [0, 0, 0], [0, 1, np.nan], [0, 1, 1.9, 2.8], [0, 1, 2.05, 3.05]]
)
def test_irregular_axes_are_refused(values):
    with pytest.raises(ValueError):
        regular_axis(np.array(values, float) + 30)


def test_times_in_names():
    assert time_in_name("PRE-2017070203.grd", "%Y%m%d%H") == dt.datetime(2017, 7, 2, 3)
    for name in ("PRE-20170702.grd", "2017070203-2017070204", "PRE-2017139903"):
        with pytest.raises(ValueError):
            time_in_name(name, "%Y%m%d%H")
    assert month_in_name("x_2017-07-02.nc") == "2017-07"
    assert month_in_name("x_20170702_20170703.nc") is None
    assert month_in_name("precip.2017.nc") is None


# -- real files


def need(path: Path) -> Path:
    if not path.exists():
        pytest.skip(f"no real sample at {path}")
    return path


HAWAII = np.array([[536, 261], [535, 262], [534, 261]])


def test_real_gldas_against_plain_reading():
    path = need(REALDATA / "hawaii" / "GLDAS_NOAH025_3H_hawaii_2017_2018.nc4")
    layer = {"variable": "SoilMoi10_40cm_inst", "top_m": 0.1, "bottom_m": 0.4, "unit": "kg m-2"}
    extract = read(
        path, layer=layer, cells=HAWAII, period=(dt.date(2017, 1, 1), dt.date(2018, 12, 31))
    )
    with netCDF4.Dataset(path) as data:
        stored = np.ma.filled(data["SoilMoi10_40cm_inst"][:].astype("f8"), np.nan)
        lat, lon = data["lat"][:].data, data["lon"][:].data
    table = extract.tables["land"].to_pandas()
    box = extract.tables["box"].to_pandas()
    assert len(table) == len(box) * 5839
    n_ok = 0
    for b in box.itertuples():
        i, j = np.abs(lat - b.latitude).argmin(), np.abs(lon - b.longitude).argmin()
        assert abs(lat[i] - b.latitude) < 1e-9 and abs(lon[j] - b.longitude) < 1e-9
        got = table[(table.box_row == b.box_row) & (table.box_col == b.box_col)]
        expected = (stored[:5839, i, j] / 300).astype("f4")
        np.testing.assert_array_equal(got["sm_1_m3m3"].to_numpy("f4"), expected)
        n_ok += int(np.isfinite(expected).sum())
    assert counts_of(extract)["ok"] == n_ok > 0
    assert table["observed_at"].min() == dt.datetime(2017, 1, 1, 3)


def test_real_era5_land_keeps_its_boxes_despite_noisy_longitudes():
    path = need(REALDATA / "hawaii" / "ERA5_Land_06UTC_hawaii_2017_2018.nc")
    layer = {"variable": "swvl1", "top_m": 0, "bottom_m": 0.07, "unit": "m3 m-3"}
    extract = read(path, layer=layer, cells=HAWAII, samples_per_day=1)
    box = extract.tables["box"].to_pandas()
    np.testing.assert_allclose(box["latitude"], np.round(box["latitude"], 1), atol=1e-9)
    np.testing.assert_allclose(box["longitude"], np.round(box["longitude"], 1), atol=1e-9)
    np.testing.assert_array_equal(box["box_row"], np.rint((90 - box["latitude"]) * 10))
    with netCDF4.Dataset(path) as data:
        lat, lon = data["latitude"][:].data, data["longitude"][:].data
        stored = data["swvl1"][:2].filled(np.nan)
    for b in box.itertuples():
        i, j = np.abs(lat - b.latitude).argmin(), np.abs(lon - b.longitude).argmin()
        land = extract.tables["land"].to_pandas()
        got = land[(land.box_row == b.box_row) & (land.box_col == b.box_col)]
        np.testing.assert_array_equal(got["sm_1_m3m3"].to_numpy("f4"), stored[:, i, j])


def test_real_granule():
    [path] = list(need(REALDATA / "gldas_granule").glob("*.nc4"))
    layer = {"variable": "SoilMoi0_10cm_inst", "unit": "kg m-2"}
    extract = read(path, layer=layer, period=(dt.date(2015, 1, 1), dt.date(2015, 1, 1)))
    assert set(extract.tables["land"]["observed_at"].to_pylist()) == {dt.datetime(2015, 1, 1)}
    assert counts_of(extract) == {"ok": 8}
    assert make_reader(path).find()[0].partition == "2015-01"
