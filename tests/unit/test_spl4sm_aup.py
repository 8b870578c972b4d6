"""SPL4SM analysis updates: pairs, orbit flags, the fate of every cell, the period."""

from __future__ import annotations

import datetime as dt

import h5py
import numpy as np
import pytest
from test_spl4sm_gph import CELLS, COL, COLS, PERIOD, ROW, ROWS, raw, touch, write_granule

from ingest.reader import BadInput
from ingest.sources.spl4sm_aup import TB_SCHEMA, Spl4smAup, Spl4smAupReader

NAME = "SMAP_L4_SM_aup_20170701T090000_Vv4030_001.h5"
FLAG_FILL = 4294967294
PLACES = [tuple(place) for place in (CELLS - (ROW, COL)).tolist()]


def make_fields():
    """An instant without any observation; the forecast is there everywhere."""
    fields = {}
    for p in "hv":
        observations = "Observations_Data/tb_" + p
        fields[f"{observations}_obs_assim"] = np.full((ROWS, COLS), -9999.0, np.float32)
        fields[f"{observations}_orbit_flag"] = np.full((ROWS, COLS), FLAG_FILL, np.uint32)
        fields[f"{observations}_resolution_flag"] = np.full((ROWS, COLS), FLAG_FILL, np.uint32)
        forecast = np.arange(ROWS * COLS, dtype=np.float32).reshape(ROWS, COLS) / 7 + 230
        fields[f"Forecast_Data/tb_{p}_forecast"] = forecast + (5 if p == "v" else 0)
    return fields


def observe(fields, p, place, *, value=250.5, orbit=1, resolution=1):
    fields[f"Observations_Data/tb_{p}_obs_assim"][place] = value
    fields[f"Observations_Data/tb_{p}_orbit_flag"][place] = orbit
    fields[f"Observations_Data/tb_{p}_resolution_flag"][place] = resolution


def write(path, fields, **kwargs):
    attributes = {
        name: {"units": np.bytes_("dimensionless"), "_FillValue": np.uint32(FLAG_FILL)}
        if "flag" in name
        else {
            "units": np.bytes_("K"),
            "_FillValue": np.float32(-9999),
            "valid_min": np.float32(100),
            "valid_max": np.float32(350),
        }
        for name in fields
    }
    return write_granule(path, fields, attributes=attributes, **kwargs)


def make_reader(path, *, cells=CELLS, period=PERIOD, **settings):
    return Spl4smAupReader(
        key="factors.innovation",
        source="aup",
        settings=Spl4smAup(format="spl4sm_aup", path=str(path), **settings),
        period=period,
        cells=cells,
    )


def read(path, **kwargs):
    return make_reader(path, **kwargs).read(raw(path))


def fates(extract, entity):
    return {reason: n for name, reason, n in extract.counts if name == entity}


def test_pairs_of_both_polarizations(tmp_path):
    fields = make_fields()
    observe(fields, "h", PLACES[0], value=251.25, orbit=1)
    observe(fields, "v", PLACES[0], value=262.5, orbit=2, resolution=2)
    observe(fields, "v", PLACES[3], value=240.125, orbit=2)
    table = read(write(tmp_path / NAME, fields)).tables["tb"]
    assert table.schema.equals(TB_SCHEMA)
    at = dt.datetime(2017, 7, 1, 9)
    forecast = fields["Forecast_Data/tb_h_forecast"]
    expected = [
        (288, 3171, at, "v", 2, 1, 240.125, float(forecast[PLACES[3]] + np.float32(5))),
        (290, 3174, at, "h", 1, 1, 251.25, float(forecast[PLACES[0]])),
        (290, 3174, at, "v", 2, 2, 262.5, float(forecast[PLACES[0]] + np.float32(5))),
    ]
    assert [tuple(row.values()) for row in table.to_pylist()] == expected


def test_every_cell_has_one_fate_per_polarization(tmp_path):
    fields = make_fields()
    observe(fields, "h", PLACES[0], orbit=0)
    observe(fields, "h", PLACES[1], orbit=FLAG_FILL, resolution=FLAG_FILL)
    observe(fields, "h", PLACES[2])
    fields["Forecast_Data/tb_h_forecast"][PLACES[2]] = -9999.0
    observe(fields, "h", PLACES[3], value=90.0)
    observe(fields, "v", PLACES[0], orbit=2)
    cells = np.vstack([CELLS, [[1, 1]]])
    extract = read(write(tmp_path / NAME, fields), cells=cells)
    assert fates(extract, "tb_h") == {
        "ok": 0,
        "orbit_averaged": 1,
        "orbit_unknown": 1,
        "forecast_missing": 1,
        "out_of_range": 1,
        "outside_window": 1,
    }
    assert fates(extract, "tb_v") == {"ok": 1, "fill": 3, "outside_window": 1}
    rows = {(r["grid_row"], r["polarization"]): r for r in extract.tables["tb"].to_pylist()}
    assert rows[(290, "h")]["orbit"] == 0  # kept in the lake; the model drops it
    assert rows[(286, "h")]["orbit"] is None and rows[(286, "h")]["resolution"] is None
    assert set(rows) == {(290, "h"), (286, "h"), (290, "v")}


def test_an_unheard_of_orbit_flag_is_unknown(tmp_path):
    fields = make_fields()
    observe(fields, "h", PLACES[0], orbit=3)
    extract = read(write(tmp_path / NAME, fields))
    assert extract.tables["tb"]["orbit"].to_pylist() == [None]
    assert fates(extract, "tb_h") == {"ok": 0, "fill": 3, "orbit_unknown": 1}


def test_flags_decoded_to_float_by_other_tools(tmp_path):
    fields = make_fields()
    observe(fields, "v", PLACES[0], orbit=2)
    for name in [n for n in fields if "flag" in n]:
        values = fields[name].astype(np.float64)
        values[values == FLAG_FILL] = np.nan
        fields[name] = values
    rows = read(write(tmp_path / NAME, fields)).tables["tb"].to_pylist()
    assert [(r["orbit"], r["resolution"]) for r in rows] == [(2, 1)]


def test_an_instant_without_observation_reads_no_forecast(tmp_path, monkeypatch):
    path = write(tmp_path / NAME, make_fields())
    from ingest.sources import spl4sm_aup

    read_datasets = []
    original = spl4sm_aup.read_variable
    monkeypatch.setattr(
        spl4sm_aup,
        "read_variable",
        lambda d, *a, **k: read_datasets.append(d) or original(d, *a, **k),
    )
    extract = read(path)
    assert extract.tables["tb"].num_rows == 0
    assert extract.tables["tb"].schema.equals(TB_SCHEMA)
    assert len(read_datasets) == 2
    assert fates(extract, "tb_h") == {"ok": 0, "fill": len(CELLS)}


def test_period_is_half_open_on_the_label(tmp_path):
    stamps = ["20161231T210000", "20170101T000000", "20181231T210000", "20190101T000000"]
    names = [f"SMAP_L4_SM_aup_{stamp}_Vv4030_001.h5" for stamp in stamps]
    touch(tmp_path, *names)
    found = {file.path: file for file in make_reader(tmp_path).find()}
    assert [found[n].status for n in names] == ["outside_period", "ok", "ok", "outside_period"]
    assert found[names[1]].partition == "2017-01"


def test_refusals(tmp_path):
    fields = make_fields()
    for missing in fields:
        path = write(tmp_path / NAME, {n: v for n, v in fields.items() if n != missing})
        with pytest.raises(BadInput) as error:
            read(path)
        assert error.value.reason == "missing_variable"
        assert missing in str(error.value)
    path = write(tmp_path / NAME, fields)
    with h5py.File(path, "a") as file:
        file["Observations_Data/tb_v_obs_assim"].attrs["units"] = "Celsius"
    with pytest.raises(BadInput) as error:
        read(path)
    assert error.value.reason == "unit_mismatch"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(BadInput) as error:
        read(path)
    assert error.value.reason == "damaged_file"
