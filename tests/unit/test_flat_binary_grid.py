"""Flat binary precipitation: written files of every layout, and a real day of the CPC analysis."""

from __future__ import annotations

import datetime as dt
import gzip
import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from ingest import grid
from ingest.reader import PROJECT_ROOT, BadInput
from ingest.sources.flat_binary_grid import (
    LAYOUTS,
    FlatBinaryGrid,
    FlatBinaryGridReader,
    moment_in_name,
)

REALDATA = PROJECT_ROOT / os.environ.get("SKILLHOUSE_REALDATA", "../shared/realdata")
REAL_DAY = REALDATA / "cpcu" / "PRCP_CU_GAUGE_V1.0GLB_0.50deg.lnx.20200701.RT"
PERIOD = (dt.date(2017, 7, 1), dt.date(2017, 7, 31))
CELL = np.array([[290, 3174]])
NAMES = {
    "cma_hourly": "SEVP_CLI_CHN_MERGE_CMP_PRE_HOUR_GRID_0.10-2017070203.grd",
    "cpc_unified": "PRCP_CU_GAUGE_V1.0GLB_0.50deg.lnx.20170702",
    "cmorph_daily": "CMORPH_V1.0_ADJ_0.25deg-DLY_00Z_20170702",
}
SHAPES = {  # records, rows, columns, first latitude, first longitude, step, stored per mm
    "cma_hourly": (2, 440, 700, 15.05, 70.05, 0.1, 1),
    "cpc_unified": (2, 360, 720, -89.75, 0.25, 0.5, 10),
    "cmorph_daily": (1, 480, 1440, -59.875, 0.125, 0.25, 1),
}


def stored_values(layout: str) -> np.ndarray:
    records, rows, cols, *_ = SHAPES[layout]
    values = (np.arange(rows)[:, None] * 0.01 + np.arange(cols) * 0.001).astype("f4")
    gauges = np.full((records - 1, rows, cols), 3, "f4")
    return np.concatenate([values[None], gauges])


def write(folder: Path, layout: str, *, values=None, name=None, order="<", cut=None) -> Path:
    values = stored_values(layout) if values is None else values
    path = folder / (name or NAMES[layout])
    content = values.astype(f"{order}f4").tobytes()[:cut]
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def make_reader(path, layout, *, period=PERIOD, cells=CELL, **changes) -> FlatBinaryGridReader:
    settings = {"path": str(path), "format": "flat_binary_grid", "layout": layout}
    return FlatBinaryGridReader(
        key="products.rain",
        source="rain",
        settings=FlatBinaryGrid.model_validate(settings | changes),
        period=period,
        cells=cells,
    )


def read(path, layout, **changes):
    reader = make_reader(path, layout, **changes)
    [raw] = reader.find()
    assert raw.status == "ok"
    return reader.read(raw)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("order", ["little", "big"])
def test_values_stand_where_the_product_says(tmp_path, layout, suffix, order):
    path = write(
        tmp_path, layout, name=NAMES[layout] + suffix, order={"little": "<", "big": ">"}[order]
    )
    extract = read(path, layout, byte_order=order)
    hourly = layout == "cma_hourly"
    table = extract.tables["grid_hour" if hourly else "grid_day"]
    column = "precipitation_mmh" if hourly else "precipitation_mm"
    time = "observed_at" if hourly else "obs_date"
    moment = dt.datetime(2017, 7, 2, 3) if hourly else dt.date(2017, 7, 2)
    assert table.column_names == ["box_row", "box_col", time, column]
    _, rows, cols, lat0, lon0, step, per_mm = SHAPES[layout]
    stored = stored_values(layout)[0].astype("f8")
    literal = {}
    centre_lat, centre_lon = (float(v) for v in grid.M09.centre(290, 3174))
    for i in range(rows):
        for j in range(cols):
            lat, lon = lat0 + i * step, lon0 + j * step
            if (lat - centre_lat) ** 2 + (lon - centre_lon) ** 2 <= (1.5 * step) ** 2:
                key = int((90 - lat) / step), int((lon + 180) / step)
                literal[key] = (moment, float(np.float32(stored[i, j] / per_mm)))
    got = {(r["box_row"], r["box_col"]): (r[time], r[column]) for r in table.to_pylist()}
    assert got.keys() == literal.keys()
    assert all(
        got[k][0] == literal[k][0] and got[k][1] == pytest.approx(literal[k][1], rel=1e-6)
        for k in got
    )
    assert extract.counts == [(column, "ok", len(got))]
    assert extract.tables["box"].num_rows == len(got)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("change", [-4, 4, None])
def test_a_file_of_another_size_is_refused(tmp_path, layout, change):
    values = stored_values(layout)
    if change is None:
        values = values[:0]
    elif change > 0:
        values = np.append(values, np.float32(0))
    path = write(tmp_path, layout, values=values, cut=change if change and change < 0 else None)
    with pytest.raises(BadInput) as caught:
        read(path, layout)
    assert caught.value.reason == "wrong_size"
    assert f"bytes instead of {LAYOUTS[layout].size}" in caught.value.found


def test_the_hourly_size_is_the_documented_one():
    assert LAYOUTS["cma_hourly"].size == 2_464_000


@pytest.mark.parametrize("layout", LAYOUTS)
def test_swapped_bytes_are_noticed(tmp_path, layout):
    path = write(tmp_path, layout, order=">")
    with pytest.raises(BadInput) as caught:
        read(path, layout)
    assert caught.value.reason == "implausible_values" and "byte_order" in str(caught.value)


def test_another_product_of_the_same_size_is_noticed(tmp_path):
    values = stored_values("cpc_unified")
    values[0, :200] = 30_000  # temperature in 0.01 K, not rain
    with pytest.raises(BadInput) as caught:
        read(write(tmp_path, "cpc_unified", values=values), "cpc_unified")
    assert caught.value.reason == "implausible_values"


def test_undefined_and_impossible_numbers(tmp_path):
    values = stored_values("cpc_unified")
    i, j = int((39.75 + 89.75) / 0.5), int((116.25 - 0.25) / 0.5)
    values[0, i, j], values[0, i, j + 1], values[0, i + 1, j] = -999, -3, np.nan
    extract = read(write(tmp_path, "cpc_unified", values=values), "cpc_unified")
    n = extract.tables["box"].num_rows
    assert {why: k for _, why, k in extract.counts} == {"ok": n - 3, "fill": 1, "out_of_range": 2}
    assert extract.tables["grid_day"]["precipitation_mm"].null_count == 3


def test_hours_end_at_their_label_and_files_outside_are_not_read(tmp_path):
    stem = "SURF_CLI_CHN_MERGE_CMP_PRE_HOUR_GRID_0.10-"
    for hour in ("2017070100", "2017070101", "2017073124", "2017080100", "2017080101"):
        (tmp_path / f"{stem}{hour}.grd").touch()
    (tmp_path / "grid.ctl").touch()
    (tmp_path / f"{stem}20170701.grd").touch()
    found = make_reader(tmp_path, "cma_hourly").find()
    assert {r.path.removeprefix(stem): (r.status, r.partition[:7]) for r in found} == {
        "2017070100.grd": ("outside_period", "2017-06"),
        "2017070101.grd": ("ok", "2017-07"),
        "2017073124.grd": ("ok", "2017-07"),
        "2017080100.grd": ("ok", "2017-07"),
        "2017080101.grd": ("outside_period", "2017-08"),
        "20170701.grd": ("not_recognised", "2017-07"),
        "grid.ctl": ("not_recognised", "grid"),
    }
    daily = make_reader(tmp_path, "cpc_unified", period=(dt.date(2017, 7, 2), dt.date(2017, 7, 2)))
    assert {r.status for r in daily.find()} == {"outside_period", "not_recognised"}


def test_moments_in_names():
    assert moment_in_name("x-2017070224.grd", hourly=True) == dt.datetime(2017, 7, 3)
    for name in ("x-2017070225.grd", "x-20170702.grd", "x", "x-2017070203-2017070204"):
        assert moment_in_name(name, hourly=True) is None
    assert moment_in_name("lnx.20200701.RT", hourly=False) == dt.datetime(2020, 7, 1)
    assert moment_in_name("lnx.20201301.RT", hourly=False) is None


def test_a_truncated_archive_and_a_far_study(tmp_path):
    path = write(tmp_path, "cma_hourly", name=NAMES["cma_hourly"] + ".gz")
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(BadInput, match="cannot be read"):
        read(path, "cma_hourly")
    path.unlink()
    path = write(tmp_path, "cma_hourly")
    with pytest.raises(BadInput, match="no box"):
        read(path, "cma_hourly", cells=np.array([[535, 262]]))


def test_reader_crosses_process_borders(tmp_path):
    reader = make_reader(write(tmp_path, "cma_hourly"), "cma_hourly")
    first = reader.read(reader.find()[0])
    again = pickle.loads(pickle.dumps(reader))
    assert again.read(again.find()[0]).tables["box"].equals(first.tables["box"])


@pytest.mark.skipif(not REAL_DAY.exists(), reason=f"no real sample at {REAL_DAY}")
def test_a_real_day_of_the_cpc_analysis():
    cells = np.array([[290, 3174], [410, 2903], [493, 3141], [535, 262]])
    extract = read(
        REAL_DAY, "cpc_unified", cells=cells, period=(dt.date(2020, 7, 1), dt.date(2020, 7, 1))
    )
    stored = np.fromfile(REAL_DAY, "<f4").reshape(2, 360, 720)[0]
    box = {(b["box_row"], b["box_col"]): b for b in extract.tables["box"].to_pylist()}
    rows = extract.tables["grid_day"].to_pylist()
    assert len(rows) == len(box) > 20 and {r["obs_date"] for r in rows} == {dt.date(2020, 7, 1)}
    for r in rows:
        b = box[r["box_row"], r["box_col"]]
        i = round((b["latitude"] + 89.75) / 0.5)
        j = round((b["longitude"] % 360 - 0.25) / 0.5)
        value = stored[i, j]
        expected = None if value == -999 else float(np.float32(float(value) * 0.1))
        assert r["precipitation_mm"] == expected
    assert any(r["precipitation_mm"] for r in rows)
