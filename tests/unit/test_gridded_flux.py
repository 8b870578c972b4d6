"""Daily precipitation and latent heat grids: written files against literal values."""

from __future__ import annotations

import datetime as dt
import gzip
from pathlib import Path

import netCDF4
import numpy as np
import pytest
from pydantic import ValidationError

from ingest import grid
from ingest.reader import BadInput
from ingest.sources.gridded_flux import GriddedFlux, GriddedFluxReader, read_esri_ascii

PERIOD = (dt.date(2017, 1, 3), dt.date(2017, 12, 31))
CELL = np.array([[290, 3174]])  # centre 39.904580 N, 116.374481 E
LAT, LON = np.arange(38.875, 41.2, 0.25), np.arange(114.875, 117.9, 0.25)
N_DAYS = 40
START = dt.datetime(2017, 1, 1)


def rain(lat, lon, day):
    return 1.0 + (lat - 38) + 0.1 * (lon - 114) + 0.01 * day


def write(
    path: Path,
    *,
    name="pre",
    lat=LAT,
    lon=LON,
    n_days=N_DAYS,
    units="mm/day",
    time_units="hours since 1900-01-01",
    calendar="standard",
    start=START,
    step=1,
    factor=1.0,
    change=lambda values: values,
    missing=None,
) -> Path:
    with netCDF4.Dataset(path, "w") as data:
        for dimension, n in (("time", n_days), ("lat", len(lat)), ("lon", len(lon))):
            data.createDimension(dimension, n)
        for dimension, values, unit in (
            ("lat", lat, "degrees_north"),
            ("lon", lon, "degrees_east"),
        ):
            data.createVariable(dimension, "f4", (dimension,))[:] = values
            data[dimension].units = unit
        time = data.createVariable("time", "f8", ("time",))
        time.units, time.calendar = time_units, calendar
        if calendar == "360_day":
            time[:] = np.arange(n_days)
        else:
            moments = [start + dt.timedelta(days=step * i) for i in range(n_days)]
            time[:] = netCDF4.date2num(moments, time_units, calendar)
        variable = data.createVariable(name, "f4", ("time", "lat", "lon"))
        variable.set_auto_maskandscale(False)
        if units:
            variable.units = units
        if missing is not None:
            variable.missing_value = np.float32(missing)
        day = np.arange(n_days)[:, None, None]
        wrapped = (np.asarray(lon) + 180) % 360 - 180
        values = rain(np.asarray(lat)[None, :, None], wrapped[None, None, :], day) * factor
        variable[:] = change(values)
    return path


def make_reader(path, *, period=PERIOD, cells=CELL, **changes) -> GriddedFluxReader:
    settings = {
        "path": str(path),
        "format": "gridded_flux",
        "quantity": "precipitation",
        "unit": "mm d-1",
        "variable": "pre",
    }
    return GriddedFluxReader(
        key="products.cgdpa",
        source="cgdpa",
        settings=GriddedFlux.model_validate(settings | changes),
        period=period,
        cells=cells,
    )


def read(path, **changes):
    reader = make_reader(path, **changes)
    [raw] = reader.find()
    return reader.read(raw)


def rows_of(extract) -> dict:
    table = extract.tables["grid_day"]
    value = table.column_names[3]
    return {(r["box_row"], r["box_col"], r["obs_date"]): r[value] for r in table.to_pylist()}


def counts_of(extract) -> dict[str, int]:
    [column] = {entity for entity, _, _ in extract.counts}
    assert column == extract.tables["grid_day"].column_names[3]
    return {reason: n for _, reason, n in extract.counts}


def expected_rows(convert=lambda v: v, *, n_days=N_DAYS) -> dict:
    lat0, lon0 = (float(v) for v in grid.M09.centre(290, 3174))
    rows = {}
    for lat in LAT:
        for lon in LON:
            if (lat - lat0) ** 2 + (lon - lon0) ** 2 > (1.5 * 0.25) ** 2:
                continue
            for day in range(2, n_days):
                date = (START + dt.timedelta(days=day)).date()
                key = int((90 - lat) // 0.25), int((lon + 180) // 0.25), date
                rows[key] = convert(rain(lat, lon, day))
    return rows


ORIENTATIONS = {
    "south first": {},
    "north first": {"lat": LAT[::-1]},
    "longitudes 0 to 360": {"lon": np.arange(0.125, 360, 0.25), "lat": LAT[::-1]},
    "stamped at noon": {"start": dt.datetime(2017, 1, 1, 12)},
    "days since year 1": {"time_units": "days since 0001-01-01 00:00:00"},
    "no leap days": {"calendar": "noleap"},
    "no units": {"units": ""},
}


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_every_orientation_gives_the_same_days(tmp_path, orientation):
    extract = read(write(tmp_path / "precip.2017.nc", **ORIENTATIONS[orientation]))
    got, expected = rows_of(extract), expected_rows()
    assert got.keys() == expected.keys() and list(got) == sorted(got)
    assert all(got[k] == pytest.approx(v, rel=1e-6) for k, v in expected.items())
    n_boxes = extract.tables["box"].num_rows
    assert counts_of(extract) == {"ok": (N_DAYS - 2) * n_boxes, "outside_period": 2 * n_boxes}


def test_a_label_at_the_end_of_the_day(tmp_path):
    path = write(tmp_path / "a.nc", start=dt.datetime(2017, 1, 2))
    shifted = rows_of(read(path, time_label="day_ending"))
    assert shifted.keys() == expected_rows().keys()
    plain = rows_of(read(path))
    assert min(k[2] for k in plain) == dt.date(2017, 1, 3)
    assert max(k[2] for k in plain) == dt.date(2017, 2, 10)


@pytest.mark.parametrize(
    ("quantity", "unit", "written", "factor"),
    [
        ("precipitation", "mm d-1", "mm", 1.0),
        ("precipitation", "kg m-2 s-1", "kg m-2 s-1", 86400.0),
        ("precipitation", "mm h-1", "mm/hr", 24.0),
        ("precipitation", "0.1 mm d-1", "0.1 mm/day", 0.1),
        ("latent_heat", "MJ m-2 d-1", "MJ m-2 d-1", 11.574074074),
        ("latent_heat", "MJ m-2 d-1", "MJ m^-2 day^-1", 11.574074074),
        ("latent_heat", "W m-2", "W m**-2", 1.0),
        ("latent_heat", "mm d-1", "mm d-1", 28.356481481),
    ],
)
def test_units(tmp_path, quantity, unit, written, factor):
    path = write(tmp_path / "a.nc", units=written, factor=1 / factor)
    extract = read(path, quantity=quantity, unit=unit)
    got = rows_of(extract)
    expected = expected_rows()
    assert all(got[k] == pytest.approx(v, rel=1e-6) for k, v in expected.items())
    column = {"precipitation": "precipitation_mm", "latent_heat": "latent_heat_wm2"}[quantity]
    assert extract.tables["grid_day"].column_names[3] == column


def test_fills_and_impossible_values(tmp_path):
    def spoil(values):
        values[3], values[4], values[5], values[6] = np.nan, -9.96921e36, -99.9, 2500
        return values

    extract = read(write(tmp_path / "a.nc", change=spoil, missing=-9.96921e36))
    n = extract.tables["box"].num_rows
    assert counts_of(extract) == {
        "ok": (N_DAYS - 6) * n,
        "fill": 2 * n,
        "out_of_range": 2 * n,
        "outside_period": 2 * n,
    }
    bad = {START.date() + dt.timedelta(days=d) for d in (3, 4, 5, 6)}
    assert {k[2] for k, v in rows_of(extract).items() if v is None} == bad


def test_boxes_that_are_always_zero_are_sea(tmp_path):
    i, j = int(np.argmin(np.abs(LAT - 39.875))), int(np.argmin(np.abs(LON - 116.375)))

    def sea(values):
        values[:, i, j] = 0
        values[5, i, j] = np.nan  # still always zero where valid
        values[:, i, j + 1] = 0
        values[7, i, j + 1] = 2.0  # a dry place, not the sea
        return values

    path = write(tmp_path / "a.nc", change=sea, units="W m-2")
    latent = read(path, quantity="latent_heat", unit="W m-2")
    n = latent.tables["box"].num_rows
    assert counts_of(latent) == {
        "ok": (N_DAYS - 2) * (n - 1),
        "always_zero": N_DAYS - 3,
        "fill": 1,
        "outside_period": 2 * n,
    }
    assert {k[:2] for k, v in rows_of(latent).items() if v is None} == {(200, 1185)}
    # rain may well be zero all the time, and a short file proves nothing
    path = write(tmp_path / "a.nc", change=sea, units="")
    wet = read(path)
    assert counts_of(wet)["ok"] == (N_DAYS - 2) * wet.tables["box"].num_rows - 1
    path = write(tmp_path / "a.nc", change=sea, units="W m-2", n_days=29)
    assert "always_zero" not in counts_of(read(path, quantity="latent_heat", unit="W m-2"))


def test_latent_heat_reaches_stations_anywhere_in_the_cell(tmp_path):
    lat, lon = np.arange(38 + 1 / 24, 42, 1 / 12), np.arange(114 + 1 / 24, 119, 1 / 12)
    path = write(tmp_path / "a.nc", lat=lat[::-1], lon=lon, units="MJ m-2 d-1")
    extract = read(path, quantity="latent_heat", unit="MJ m-2 d-1")
    box = extract.tables["box"].to_pandas()
    have = set(zip(box["box_row"], box["box_col"], strict=True))
    lat0, lon0 = (float(v) for v in grid.M09.centre(290, 3174))
    for dy in np.linspace(-0.0455, 0.0455, 9):
        for dx in np.linspace(-0.0466, 0.0466, 9):
            near = (
                np.hypot(*np.meshgrid(lat - lat0 - dy, lon - lon0 - dx, indexing="ij")) * 12 <= 1.5
            )
            for i, j in np.argwhere(near):
                assert (int((90 - lat[i]) * 12), int((lon[j] + 180) * 12)) in have
    assert box["width_lat_deg"][0] == pytest.approx(1 / 12, rel=1e-12)


def test_eight_daily_steps_keep_their_stamp(tmp_path):
    path = write(tmp_path / "LE.8daily.2017.nc", step=8, units="MJ m-2 d-1")
    extract = read(path, quantity="latent_heat", unit="MJ m-2 d-1", days_per_step=8)
    days = sorted(set(extract.tables["grid_day"]["obs_date"].to_pylist()))
    assert days[:2] == [dt.date(2017, 1, 9), dt.date(2017, 1, 17)] and len(days) == N_DAYS - 1


def test_a_benchmark_that_covers_part_of_the_period(tmp_path):
    path = write(tmp_path / "a.nc", n_days=10)
    assert rows_of(read(path)).keys() == expected_rows(n_days=10).keys()
    early = read(path, period=(dt.date(2018, 1, 1), dt.date(2018, 12, 31)))
    assert rows_of(early) == {} and set(counts_of(early)) == {"outside_period"}


@pytest.mark.parametrize(
    ("written", "changes", "reason"),
    [
        ({"units": "mm/month"}, {}, "unit_mismatch"),
        ({"units": "kg m-2 s-1"}, {}, "unit_mismatch"),
        ({"name": "precip"}, {}, "missing_variable"),
        ({}, {"variable": None}, "missing_variable"),
        ({"calendar": "360_day"}, {}, "bad_calendar"),
        ({"lat": LAT - 30}, {}, "outside_region"),
        ({"lat": np.append(LAT[:-1], 41.0)}, {}, "irregular_grid"),
        ({"step": 0.125}, {}, "duplicate_time"),
        ({}, {"time_in_name": "%Y%m%d"}, "bad_time"),
    ],
)
def test_files_that_cannot_be_used(tmp_path, written, changes, reason):
    path = write(tmp_path / "a.nc", **written)
    with pytest.raises(BadInput) as caught:
        read(path, **changes)
    assert caught.value.reason == reason and caught.value.file == str(path)


def test_a_unit_of_another_quantity_is_refused():
    with pytest.raises(ValidationError, match="MJ m-2 d-1, W m-2, mm d-1"):
        make_reader(Path("x"), quantity="latent_heat", unit="kg m-2 s-1")


# -- ESRI ASCII


def esri(path: Path, *, registration="corner", values=None, **header) -> Path:
    """0.5 degree boxes of 72-136 E, 18-54 N, north row first."""
    if values is None:
        values = np.arange(72 * 128, dtype=float).reshape(72, 128) / 100
    first = {"corner": (72.0, 18.0), "center": (72.25, 18.25)}[registration]
    lines = {
        "ncols": 128,
        "nrows": 72,
        f"xll{registration}": first[0],
        f"yll{registration}": first[1],
        "cellsize": 0.5,
        "NODATA_value": -9999.0,
    } | header
    text = "".join(f"{k}    {v}\n" for k, v in lines.items())
    text += "\n".join(" ".join(f"{v:.2f}" for v in row) for row in values) + "\n"
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


@pytest.mark.parametrize("registration", ["corner", "center"])
@pytest.mark.parametrize("suffix", ["txt", "asc.gz"])
def test_text_grid(tmp_path, registration, suffix):
    values = np.arange(72 * 128, dtype=float).reshape(72, 128) / 100
    values[28, 88] = -9999  # 39.75 N, 116.25 E: the box of the cell
    path = esri(tmp_path / f"PRE_DAY_GRID_0.5-20170704.{suffix}", registration=registration)
    path = esri(path, registration=registration, values=values)
    extract = read(path, time_in_name="%Y%m%d", variable=None)
    got = rows_of(extract)
    assert {k[2] for k in got} == {dt.date(2017, 7, 4)}
    for (row, col, _), value in got.items():
        lat, lon = 90 - (row + 0.5) * 0.5, (col + 0.5) * 0.5 - 180
        stored = values[int((53.75 - lat) / 0.5), int((lon - 72.25) / 0.5)]
        assert value == (None if stored == -9999 else pytest.approx(stored, rel=1e-6))
    n = len(got)
    assert counts_of(extract) == {"ok": n - 1, "fill": 1} and n >= 7
    assert make_reader(path).find()[0].partition == "2017-07"


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ({"nrows": 73}, "9216 values instead of 73 x 128"),
        ({"ncols": "many"}, "not an ESRI ASCII grid"),
        ({"cellsize": 0}, "zero"),
    ],
)
def test_damaged_text_grids(tmp_path, header, found):
    with pytest.raises(BadInput, match=found):
        read_esri_ascii(esri(tmp_path / "a.txt", **header))
    for content in (b"", b"\xff\xfe\x00", b"ncols 2\nnrows 1\n1 x\n"):
        (tmp_path / "b.txt").write_bytes(content)
        with pytest.raises(BadInput):
            read_esri_ascii(tmp_path / "b.txt")


def test_a_text_grid_needs_its_date(tmp_path):
    path = esri(tmp_path / "rain.txt")
    for changes in ({}, {"time_in_name": "%Y%m%d"}):
        with pytest.raises(BadInput) as caught:
            read(path, **changes)
        assert caught.value.reason == "bad_time" and "time_in_name" in str(caught.value)
