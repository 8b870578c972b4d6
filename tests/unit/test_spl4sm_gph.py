"""SPL4SM gph granules: names and choice, grid checks, values, layouts, damage."""

from __future__ import annotations

import datetime as dt
import hashlib
import multiprocessing
import os
import pickle
import shutil
import zlib
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ingest.grid import M09
from ingest.reader import BadInput, RawFile
from ingest.sources import spl4sm_granule
from ingest.sources.spl4sm_gph import LAND_SCHEMA, Spl4smGph, Spl4smGphReader
from ingest.sources.spl4sm_granule import canonical_units, classify, parse_name, read_points

NAME = "SMAP_L4_SM_gph_20170101T013000_Vv4030_001.h5"
REAL_DATA = Path(__file__).parents[2] / os.environ.get("SKILLHOUSE_REALDATA", "../shared/realdata")
PERIOD = (dt.date(2017, 1, 1), dt.date(2018, 12, 31))
ROW, COL, ROWS, COLS = 286, 3170, 6, 8
CELLS = np.array([[290, 3174], [286, 3170], [291, 3177], [288, 3171]])
SOURCES = {  # dataset: units, valid_min, valid_max
    "sm_surface": ("m3 m-3", 0.0, 0.9),
    "sm_rootzone": ("m3 m-3", 0.0, 0.9),
    "precipitation_total_surface_flux": ("kg m-2 s-1", 0.0, 0.05),
    "heat_flux_latent": ("W m-2", -2500.0, 3000.0),
    "leaf_area_index": ("m2 m-2", 0.0, 10.0),
}
COLUMNS = dict(
    ssm_m3m3="sm_surface",
    rzsm_m3m3="sm_rootzone",
    precipitation_mmd="precipitation_total_surface_flux",
    latent_heat_wm2="heat_flux_latent",
    lai_m2m2="leaf_area_index",
)
GZIP = {"compression": "gzip", "compression_opts": 3}


def make_fields(rows=ROWS, cols=COLS, seed=5):
    """Plausible values inside every valid range."""
    rng = np.random.default_rng(seed)
    return {
        name: (low + (high - low) * rng.uniform(0.1, 0.9, (rows, cols))).astype(np.float32)
        for name, (_, low, high) in SOURCES.items()
    }


def write_granule(
    path, fields=None, *, row=ROW, col=COL, attributes=None, coordinates=None, layout=None
):
    """A granule; `attributes` and `coordinates` replace the usual ones (None removes).

    Fields are datasets of Geophysical_Data with their usual attributes, or `group/name` without.
    """
    fields = make_fields() if fields is None else fields
    n_rows, n_cols = next(iter(fields.values())).shape
    rows, cols = row + np.arange(n_rows), (col + np.arange(n_cols)) % M09.cols
    lat, _ = M09.centre(rows, 0 * rows)
    _, lon = M09.centre(0 * cols, cols)
    usual = {
        "cell_lat": np.repeat(lat.astype(np.float32)[:, None], n_cols, axis=1),
        "cell_lon": np.repeat(lon.astype(np.float32)[None, :], n_rows, axis=0),
        "cell_row": (rows[:, None] + 0 * cols).astype(np.uint32),
        "cell_column": (cols + 0 * rows[:, None]).astype(np.uint32),
        "y": M09.y0_m - (rows + 0.5) * M09.cell_m,
        "x": M09.x0_m + (cols + 0.5) * M09.cell_m,
        "time": np.array([536500000.0]),  # another time than the name's
    }
    usual.update(coordinates or {})
    path.parent.mkdir(parents=True, exist_ok=True)
    layout = {"chunks": (n_rows, n_cols), **GZIP} if layout is None else layout
    with h5py.File(path, "w") as file:
        for name, values in usual.items():
            if values is not None:
                file.create_dataset(
                    name, data=values, **(layout if np.shape(values) == (n_rows, n_cols) else {})
                )
        for name, values in fields.items():
            path_in_file = name if "/" in name else f"Geophysical_Data/{name}"
            dataset = file.create_dataset(path_in_file, data=values, **layout)
            given = {}
            if name in SOURCES:
                units, low, high = SOURCES[name]
                given = {
                    "units": np.bytes_(units),
                    "_FillValue": np.array([-9999.0], np.float32),
                    "valid_min": np.array([low], np.float32),
                    "valid_max": np.array([high], np.float32),
                }
            given.update((attributes or {}).get(name, {}))
            for key, value in given.items():
                if value is not None:
                    dataset.attrs[key] = value
    return path


def make_reader(path, *, cells=CELLS, period=PERIOD, **settings):
    return Spl4smGphReader(
        key="products.l4",
        source="l4",
        settings=Spl4smGph(format="spl4sm_gph", path=str(path), **settings),
        period=period,
        cells=cells,
    )


def raw(path):
    return RawFile(path.name, path, path.stat().st_size, 0, "2017-01")


def read(path, **kwargs):
    return make_reader(path, **kwargs).read(raw(path))


def refused(path, reason, *words, **kwargs):
    with pytest.raises(BadInput) as error:
        read(path, **kwargs)
    assert error.value.reason == reason
    assert str(path) in str(error.value)
    for word in words:
        assert word in str(error.value)
    return error.value


def counts_of(extract):
    return {(column, reason): n for column, reason, n in extract.counts}


# ---------------------------------------------------------------- names and choice of files


@pytest.mark.parametrize(
    "name, stream",
    [
        (NAME, "Vv4030"),
        ("SMAP_L4_SM_gph_20170101T013000_Vv8010_001.h5", "Vv8010"),
        ("SMAP_L4_SM_gph_20170101T013000_Vb1010_001.h5", "Vb1010"),
        ("SMAP_L4_SM_gph_20170101T013000_OL4001_002.h5", "OL4001"),
        ("SMAP_L4_SM_gph_20170101T013000_NR5000_001.h5", "NR5000"),
    ],
)
def test_names_of_all_runs(name, stream):
    parsed = parse_name(name)
    assert (parsed.stream, parsed.time) == (stream, dt.datetime(2017, 1, 1, 1, 30))


@pytest.mark.parametrize(
    "name",
    [
        NAME + ".iso.xml",
        NAME.replace(".h5", ".qa"),
        "SMAP_L4_SM_gph_20170230T013000_Vv4030_001.h5",
        "SMAP_L4_SM_gph_20170101T013000_Xv4030_001.h5",
        "SMAP_L2_SM_P_02801_A_20150811T013002_R18290_001.h5",
        NAME.replace(".h5", ".h5.part"),
    ],
)
def test_other_names_are_not_granules(name):
    assert parse_name(name) is None


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


def statuses(reader):
    return {file.path: file.status for file in reader.find()}


def test_highest_counter_wins_and_the_rest_is_recorded(tmp_path):
    stem = "SMAP_L4_SM_gph_20170101T"
    touch(
        tmp_path,
        f"a/{stem}013000_Vv4030_001.h5",
        f"a/{stem}013000_Vv4030_010.h5",
        f"b/{stem}013000_Vv4030_010.h5",
        f"b/{stem}013000_Vv4030_009.h5",
        f"b/{stem}043000_Vv4030_001.h5",
        f"b/{stem}043000_Vv4030_001.qa",
        f"b/{stem}043000_Vv4030_001.h5.iso.xml",
        "b/SMAP_L4_SM_aup_20170101T030000_Vv4030_001.h5",
        "b/other.h5",
    )
    assert statuses(make_reader(tmp_path)) == {
        f"a/{stem}013000_Vv4030_001.h5": "superseded",
        f"a/{stem}013000_Vv4030_010.h5": "ok",
        f"b/{stem}013000_Vv4030_010.h5": "duplicate",
        f"b/{stem}013000_Vv4030_009.h5": "superseded",
        f"b/{stem}043000_Vv4030_001.h5": "ok",
        "b/SMAP_L4_SM_aup_20170101T030000_Vv4030_001.h5": "other_collection",
        "b/other.h5": "not_recognised",
    }


def test_period_is_half_open_on_the_utc_day(tmp_path):
    stamps = ["20161231T223000", "20170101T013000", "20181231T223000", "20190101T013000"]
    names = [f"SMAP_L4_SM_gph_{stamp}_Vv4030_001.h5" for stamp in stamps]
    touch(tmp_path, *names)
    files = {file.path: file for file in make_reader(tmp_path).find()}
    assert [files[name].status for name in names] == [
        "outside_period",
        "ok",
        "ok",
        "outside_period",
    ]
    assert [files[name].partition for name in names[1:3]] == ["2017-01", "2018-12"]


def test_several_versions_are_refused_until_one_is_named(tmp_path):
    stem = "SMAP_L4_SM_gph_20170101T"
    touch(tmp_path, f"{stem}013000_Vv4030_001.h5", f"{stem}013000_OL4001_001.h5")
    with pytest.raises(BadInput) as error:
        make_reader(tmp_path).find()
    assert (error.value.key, error.value.reason) == ("products.l4.version", "several_versions")
    assert "OL4001, Vv4030" in str(error.value)
    with pytest.raises(BadInput):
        make_reader(tmp_path, version="*4*").find()
    assert statuses(make_reader(tmp_path, version="OL4001")) == {
        f"{stem}013000_Vv4030_001.h5": "other_version",
        f"{stem}013000_OL4001_001.h5": "ok",
    }


def test_a_pattern_joins_minor_versions_and_the_newer_wins(tmp_path):
    stem = "SMAP_L4_SM_gph_20170101T"
    touch(
        tmp_path,
        f"{stem}013000_Vv7030_009.h5",
        f"{stem}013000_Vv7032_001.h5",
        f"{stem}043000_Vv7030_001.h5",
    )
    assert statuses(make_reader(tmp_path, version="Vv703?")) == {
        f"{stem}013000_Vv7030_009.h5": "superseded",
        f"{stem}013000_Vv7032_001.h5": "ok",
        f"{stem}043000_Vv7030_001.h5": "ok",
    }


def test_other_versions_outside_the_period_do_not_matter(tmp_path):
    touch(tmp_path, NAME, "SMAP_L4_SM_gph_20150101T013000_Vv5030_001.h5")
    assert sorted(statuses(make_reader(tmp_path)).values()) == ["ok", "outside_period"]


def test_no_files_is_no_error(tmp_path):
    assert make_reader(tmp_path).find() == []
    assert make_reader("${NOT_SET_ANYWHERE}/x").find() == []


# ---------------------------------------------------------------- settings


def test_fields_as_list_take_the_usual_datasets(tmp_path):
    settings = Spl4smGph(format="spl4sm_gph", path="x", fields=["rzsm_m3m3", "snow_mass_kgm2"])
    assert settings.fields == {"rzsm_m3m3": "sm_rootzone", "snow_mass_kgm2": "snow_mass"}
    assert Spl4smGph(format="spl4sm_gph", path="x").fields == COLUMNS
    for wrong in (["clay"], [], {"clay": "sm_surface"}):
        with pytest.raises(ValidationError):
            Spl4smGph(format="spl4sm_gph", path="x", fields=wrong)


def test_fewer_fields_leave_null_columns_and_need_no_variable(tmp_path):
    fields = make_fields()
    path = write_granule(tmp_path / NAME, {"sm_surface": fields["sm_surface"]})
    extract = read(path, fields=["ssm_m3m3"])
    table = extract.tables["land"]
    assert table.schema.equals(LAND_SCHEMA)
    assert table["ssm_m3m3"].null_count == 0
    assert table["rzsm_m3m3"].null_count == len(CELLS)
    assert extract.counts == [("ssm_m3m3", "ok", len(CELLS))]
    refused(path, "missing_variable", "Geophysical_Data/sm_rootzone", "sm_surface")


# ---------------------------------------------------------------- values


def expected_rows(fields):
    """What a person reads off the arrays: cells in order, float64 conversion, float32 rounding."""
    rows = []
    for row, col in sorted(map(tuple, CELLS.tolist())):
        i, j = row - ROW, col - COL
        values = []
        for column, name in COLUMNS.items():
            value = float(fields[name][i, j])
            factor = 86400.0 if column == "precipitation_mmd" else 1.0
            values.append(float(np.float32(value * factor)))
        rows.append((row, col, *values))
    return rows


LAYOUTS = {
    "one_gzip_chunk": None,
    "contiguous": {},
    "shuffled": {"chunks": (ROWS, COLS), "shuffle": True, **GZIP},
    "checksummed": {"chunks": (ROWS, COLS), "fletcher32": True, **GZIP},
    "small_chunks": {"chunks": (4, 3), **GZIP},
    "unpacked_chunk": {"chunks": (ROWS, COLS)},
    "lzf": {"chunks": (ROWS, COLS), "compression": "lzf"},
    "wide_chunk": {"chunks": (ROWS, COLS), "maxshape": (None, None), **GZIP},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_values_of_every_layout(tmp_path, layout):
    fields = make_fields()
    extract = read(write_granule(tmp_path / NAME, fields, layout=LAYOUTS[layout]))
    table = extract.tables["land"]
    assert table.schema.equals(LAND_SCHEMA)
    columns = ["grid_row", "grid_col", *COLUMNS]
    found = [tuple(row[name] for name in columns) for row in table.to_pylist()]
    assert found == expected_rows(fields)
    assert set(table["observed_at"].to_pylist()) == {dt.datetime(2017, 1, 1, 1, 30)}
    assert extract.counts == [(column, "ok", len(CELLS)) for column in COLUMNS]


@pytest.mark.parametrize("dtype", [">f4", "<f8", ">f8"])
def test_other_number_types(tmp_path, dtype):
    fields = make_fields()
    cast = {name: values.astype(dtype) for name, values in fields.items()}
    table = read(write_granule(tmp_path / NAME, cast)).tables["land"]
    found = [tuple(r[n] for n in ("grid_row", "grid_col", *COLUMNS)) for r in table.to_pylist()]
    assert found == expected_rows(fields)


def test_only_the_usual_layout_is_read_raw(tmp_path):
    for layout, options in LAYOUTS.items():
        with h5py.File(write_granule(tmp_path / NAME, layout=options)) as file:
            raw_chunk = spl4sm_granule._whole_gzip_chunk(file["Geophysical_Data/sm_surface"])
        assert (raw_chunk is not None) == (layout in ("one_gzip_chunk", "wide_chunk")), layout


def test_fill_range_and_non_finite_values_are_null_and_counted(tmp_path):
    fields = make_fields()
    surface = fields["sm_surface"]
    places = CELLS - (ROW, COL)
    surface[tuple(places[0])] = -9999.0
    surface[tuple(places[1])] = np.nan
    surface[tuple(places[2])] = 0.90001
    fields["leaf_area_index"][tuple(places[0])] = -0.1
    fields["leaf_area_index"][tuple(places[1])] = np.inf
    fields["heat_flux_latent"][tuple(places[3])] = 1e15
    attributes = {"heat_flux_latent": {"_FillValue": np.float32(1e15)}}
    extract = read(write_granule(tmp_path / NAME, fields, attributes=attributes))
    counts = counts_of(extract)
    assert counts[("ssm_m3m3", "ok")] == 1
    assert counts[("ssm_m3m3", "fill")] == 2
    assert counts[("ssm_m3m3", "out_of_range")] == 1
    assert counts[("lai_m2m2", "fill")] == counts[("lai_m2m2", "out_of_range")] == 1
    assert counts[("latent_heat_wm2", "fill")] == 1
    rows = {(r["grid_row"], r["grid_col"]): r for r in extract.tables["land"].to_pylist()}
    assert len(rows) == len(CELLS)
    for cell in CELLS[:3]:
        assert rows[tuple(cell)]["ssm_m3m3"] is None
    assert rows[tuple(CELLS[3])]["ssm_m3m3"] is not None
    assert rows[tuple(CELLS[3])]["latent_heat_wm2"] is None


def test_attributes_are_not_required(tmp_path):
    fields = make_fields()
    places = CELLS - (ROW, COL)
    fields["sm_surface"][tuple(places[0])] = 0.95
    fields["sm_surface"][tuple(places[1])] = -9999.0
    bare = dict.fromkeys(("units", "_FillValue", "valid_min", "valid_max"))
    path = write_granule(tmp_path / NAME, fields, attributes={"sm_surface": bare})
    counts = counts_of(read(path))
    assert counts[("ssm_m3m3", "ok")] == 3  # no limit in the file, none applied
    assert counts[("ssm_m3m3", "fill")] == 1


def test_limits_belong_to_the_range_in_the_type_of_the_data():
    at_limit = np.array([0.05, 0.9, 0.0], np.float32)
    assert classify(at_limit, valid_min=0.0, valid_max=0.9).is_ok.all()
    assert classify(at_limit[:1], valid_min=0.0, valid_max=0.05).is_ok.all()
    shaved = np.array([0.05 * (1 - 2.0**-12), 0.0495], np.float32)
    assert classify(shaved, valid_min=0.05, valid_max=0.05).is_ok.tolist() == [True, False]


@given(
    st.lists(st.floats(width=32), min_size=1, max_size=30),
    st.floats(-1e4, 1e4, width=32),
    st.floats(0, 1e4, width=32),
)
def test_every_value_has_one_fate(values, low, span):
    high = float(np.float32(low + span))
    stored = np.array(values + [-9999.0], np.float32)
    reading = classify(stored, valid_min=low, valid_max=high)
    fates = reading.is_ok.astype(int) + reading.is_fill + reading.is_out_of_range
    assert (fates == 1).all()
    inside = [v for v, ok in zip(stored.tolist(), reading.is_ok, strict=True) if ok]
    assert all(np.isfinite(v) and v != -9999 for v in inside)
    if low != high:
        assert all(low <= v <= high for v in inside)
    assert np.isnan(reading.values).tolist() == (~reading.is_ok).tolist()


@pytest.mark.parametrize(
    "name, units, accepted",
    [
        ("sm_surface", "m^3 m^-3", True),
        ("sm_surface", "m3/m3", True),
        ("sm_surface", "percent", False),
        ("sm_surface", "dimensionless", False),  # a wetness, not a water content
        ("leaf_area_index", "1", True),
        ("leaf_area_index", "dimensionless", True),
        ("precipitation_total_surface_flux", "kg m^-2 s^-1", True),
        ("precipitation_total_surface_flux", "kg/m2/s", True),
        ("precipitation_total_surface_flux", "mm/day", False),
        ("precipitation_total_surface_flux", "kg m-2 s-2", False),
        ("heat_flux_latent", "W/m^2", True),
        ("heat_flux_latent", "MJ m-2", False),
    ],
)
def test_units(tmp_path, name, units, accepted):
    path = write_granule(tmp_path / NAME, attributes={name: {"units": units}})  # variable-length
    if accepted:
        assert read(path).counts
    else:
        refused(path, "unit_mismatch", name, repr(units))


def test_units_spellings_meet():
    assert canonical_units("KG M**-2 S**-1") == canonical_units("kg/m2/s") == "kg m-2 s-1"
    assert canonical_units("m s-1") != canonical_units("m s-2") != canonical_units("s m-2")


@pytest.mark.parametrize(
    "attribute", [{"scale_factor": np.float32(0.01)}, {"add_offset": np.float32(1)}]
)
def test_packed_values_are_refused(tmp_path, attribute):
    path = write_granule(tmp_path / NAME, attributes={"sm_rootzone": attribute})
    refused(path, "unit_mismatch", "sm_rootzone", "scale")
    neutral = {"scale_factor": np.float32(1), "add_offset": np.float32(0)}
    assert read(write_granule(tmp_path / NAME, attributes={"sm_rootzone": neutral})).counts


def test_a_limit_that_is_text_is_refused(tmp_path):
    path = write_granule(
        tmp_path / NAME, attributes={"sm_surface": {"valid_max": np.bytes_("0.9")}}
    )
    refused(path, "damaged_file", "valid_max")


# ---------------------------------------------------------------- grid


def test_cells_outside_the_window_are_absent_and_counted(tmp_path):
    cells = np.vstack([CELLS, [[285, 3170], [292, 3170], [286, 3169], [286, 3178]]])
    extract = read(write_granule(tmp_path / NAME), cells=cells)
    assert extract.tables["land"].num_rows == len(CELLS)
    counts = counts_of(extract)
    for column in COLUMNS:
        assert counts[(column, "outside_window")] == 4
        assert sum(n for (entity, _), n in counts.items() if entity == column) == len(cells)


def test_no_cell_inside_is_refused(tmp_path):
    path = write_granule(tmp_path / NAME)
    error = refused(path, "no_cell_in_file", "286..291", cells=np.array([[10, 10]]))
    assert error.key == "products.l4"


def test_a_window_over_the_180th_meridian(tmp_path):
    fields = make_fields()
    path = write_granule(tmp_path / NAME, fields, col=3852, coordinates={"x": None})
    table = read(path, cells=np.array([[286, 3855], [286, 0], [286, 3], [286, 4]])).tables["land"]
    assert table["grid_col"].to_pylist() == [0, 3, 3855]
    expected = fields["sm_surface"][0, [4, 7, 3]].tolist()
    assert table["ssm_m3m3"].to_pylist() == expected


def grid_of(values, dtype):
    return np.asarray(values + np.zeros((ROWS, COLS)), dtype)


def test_coordinates_are_not_required_and_may_hold_fill(tmp_path):
    fields = make_fields()
    rows = grid_of(np.arange(ROW, ROW + ROWS)[:, None], np.uint32)
    rows[0], rows[3, 2] = 4294967294, 4294967294
    lat, lon = M09.centre(grid_of(np.arange(ROW, ROW + ROWS)[:, None], int), COL)
    lat = lat.astype(np.float32)
    lat[1], lat[2, 2] = -9999, np.nan
    variants = [
        {"cell_lat": None, "cell_lon": None, "x": None, "y": None},
        {"cell_row": rows, "cell_lat": lat, "cell_lon": np.full_like(lat, -9999)},
    ]
    for coordinates in variants:
        path = write_granule(tmp_path / NAME, fields, coordinates=coordinates)
        table = read(path).tables["land"]
        assert [(r["grid_row"], r["grid_col"], r["ssm_m3m3"]) for r in table.to_pylist()] == [
            row[:3] for row in expected_rows(fields)
        ]


def flipped(name):
    rows = np.arange(ROW, ROW + ROWS)[:, None] + np.zeros((1, COLS), int)
    cols = np.arange(COL, COL + COLS)[None, :] + np.zeros((ROWS, 1), int)
    lat, lon = M09.centre(rows, cols)
    return {
        "cell_row": rows[::-1].astype(np.uint32),
        "cell_column": cols[:, ::-1].astype(np.uint32),
        "cell_lat": lat[::-1].astype(np.float32),
        "cell_lon": lon[:, ::-1].astype(np.float32),
        "y": (M09.y0_m - (rows[::-1, 0] + 0.5) * M09.cell_m),
        "x": (M09.x0_m + (cols[0, ::-1] + 0.5) * M09.cell_m),
    }[name]


@pytest.mark.parametrize("name", ["cell_row", "cell_column", "cell_lat", "cell_lon", "y", "x"])
def test_flipped_arrays_are_refused(tmp_path, name):
    path = write_granule(tmp_path / NAME, coordinates={name: flipped(name)})
    refused(path, "flipped_orientation", name)


WRONG_GRIDS = {
    "shift in latitude": {"cell_lat": grid_of(12.0, np.float32)},
    "just over the limit": {
        "cell_lon": (
            M09.centre(ROW, np.arange(COL, COL + COLS))[1] + 0.0011 + np.zeros((ROWS, 1))
        ).astype(np.float32)
    },
    "rows by two": {"cell_row": grid_of(2 * np.arange(143, 149)[:, None], np.uint32)},
    "one odd column": {
        "cell_column": grid_of([3170, 3171, 3172, 3173, 3174, 3175, 3176, 3170], "u4")
    },
    "rows beyond the grid": {"cell_row": grid_of(np.arange(1620, 1626)[:, None], np.uint32)},
    "no rows": {"cell_row": None},
    "no columns": {"cell_column": None},
    "only fill": {"cell_row": grid_of(4294967294, np.uint32)},
    "other shape": {"cell_lat": np.zeros((ROWS, COLS - 1), np.float32)},
    "other length": {"x": np.zeros(COLS + 1)},
    "shift in y": {"y": M09.y0_m - (ROW + 1 + np.arange(ROWS)) * M09.cell_m},
}


@pytest.mark.parametrize("case", WRONG_GRIDS)
def test_wrong_grids_are_refused(tmp_path, case):
    refused(write_granule(tmp_path / NAME, coordinates=WRONG_GRIDS[case]), "wrong_grid")


def test_a_36_km_file_is_refused_with_and_without_indices(tmp_path):
    fields = {"sm_surface": np.full((406, 964), 0.2, np.float32)}
    none = dict.fromkeys(("cell_row", "cell_column", "cell_lat", "cell_lon", "x", "y"))
    path = write_granule(tmp_path / NAME, fields, coordinates=none)
    refused(path, "wrong_grid", "(406, 964)", fields=["ssm_m3m3"])
    step = 36032.220840584
    x = -17367530.4451615 + (np.arange(964) + 0.5) * step
    path = write_granule(
        tmp_path / NAME,
        fields,
        row=0,
        col=0,
        coordinates={"cell_lat": None, "cell_lon": None, "y": None, "x": x},
    )
    refused(path, "wrong_grid", "x is", fields=["ssm_m3m3"])


def test_variables_of_two_shapes_are_refused(tmp_path):
    fields = make_fields()
    fields["sm_rootzone"] = fields["sm_rootzone"][:, 1:]
    refused(write_granule(tmp_path / NAME, fields, layout={}), "wrong_grid", "sm_rootzone")


def test_every_granule_is_checked_not_only_the_first(tmp_path):
    good = write_granule(tmp_path / NAME)
    bad = write_granule(
        tmp_path / "SMAP_L4_SM_gph_20170101T043000_Vv4030_001.h5",
        coordinates={"cell_lat": flipped("cell_lat")},
    )
    reader = make_reader(tmp_path)
    for _ in range(2):
        reader.read(raw(good))
        with pytest.raises(BadInput):
            reader.read(raw(bad))


def test_a_checked_grid_is_not_checked_again(tmp_path, monkeypatch):
    path = write_granule(tmp_path / NAME)
    spl4sm_granule._windows.clear()
    calls = []
    check = spl4sm_granule._check_coordinates
    monkeypatch.setattr(
        spl4sm_granule, "_check_coordinates", lambda *a: calls.append(1) or check(*a)
    )
    for _ in range(3):
        read(path)
    assert len(calls) == 1


# ---------------------------------------------------------------- global arrays


def place_value(row, col):
    """A soil moisture that differs between neighbours and compresses well."""
    return (31 * row + 17 * col) % 512 / 1024


@pytest.fixture(scope="module")
def global_granule(tmp_path_factory):
    """A whole-grid granule; soil moisture tells its own place."""
    surface = place_value(np.arange(M09.rows)[:, None], np.arange(M09.cols)).astype(np.float32)
    surface[:, 3000:3010] = -9999.0
    path = tmp_path_factory.mktemp("global") / NAME
    layout = {"chunks": (M09.rows, M09.cols), "compression": "gzip", "compression_opts": 1}
    return write_granule(path, {"sm_surface": surface}, row=0, col=0, layout=layout)


@pytest.mark.parametrize("south", [561, 1623])  # inflated in part, and whole
def test_global_arrays(global_granule, south):
    cells = np.array([[156, 2715], [290, 3174], [300, 3005], [south, 3375]])
    extract = read(global_granule, cells=cells, fields=["ssm_m3m3"])
    rows = extract.tables["land"].to_pylist()
    assert [(r["grid_row"], r["grid_col"]) for r in rows] == [tuple(c) for c in cells.tolist()]
    expected = [place_value(r, c) for r, c in cells.tolist()]
    expected[2] = None
    assert [r["ssm_m3m3"] for r in rows] == expected
    assert counts_of(extract) == {("ssm_m3m3", "ok"): 3, ("ssm_m3m3", "fill"): 1}
    with h5py.File(global_granule) as file:
        dataset = file["Geophysical_Data/sm_surface"]
        plain = dataset[...][cells[:, 0], cells[:, 1]]
        assert (read_points(dataset, cells[:, 0], cells[:, 1]) == plain).all()


def test_a_global_array_needs_no_indices(global_granule, tmp_path):
    path = tmp_path / NAME
    shutil.copy(global_granule, path)
    with h5py.File(path, "a") as file:
        for name in ("cell_row", "cell_column", "cell_lat", "cell_lon"):
            del file[name]
    assert read(path, fields=["ssm_m3m3"]).tables["land"].num_rows == len(CELLS)
    with h5py.File(path, "a") as file:
        file["y"][...] = file["y"][()][::-1]
    refused(path, "flipped_orientation", "y", fields=["ssm_m3m3"])


def test_a_global_array_with_other_indices_is_refused(global_granule, tmp_path):
    path = tmp_path / NAME
    shutil.copy(global_granule, path)
    with h5py.File(path, "a") as file:
        del file["cell_column"]
        turned = ((np.arange(M09.cols) + 1928) % M09.cols).astype(np.uint16)
        file["cell_column"] = np.tile(turned, (M09.rows, 1))
    refused(path, "wrong_grid", "cell_column starts at 1928", fields=["ssm_m3m3"])


# ---------------------------------------------------------------- damage


def test_empty_truncated_and_foreign_files(tmp_path):
    path = write_granule(tmp_path / NAME)
    whole = path.read_bytes()
    path.write_bytes(b"")
    refused(path, "damaged_file", "empty")
    for size in (1, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        refused(path, "damaged_file")
    path.write_bytes(b"<html>login required</html>" * 100)
    refused(path, "damaged_file")


def test_damaged_compressed_values_are_refused(tmp_path):
    path = write_granule(tmp_path / NAME)
    with h5py.File(path) as file:
        info = file["Geophysical_Data/sm_surface"].id.get_chunk_info(0)
    whole = path.read_bytes()
    for at in (3, info.size // 2, info.size - 2):  # the last is the checksum
        damaged = bytearray(whole)
        damaged[info.byte_offset + at] ^= 0xFF
        path.write_bytes(bytes(damaged))
        refused(path, "damaged_file")


@pytest.mark.parametrize("size", [8, 600])  # inflated whole with its checksum, and in part
def test_a_chunk_with_too_few_rows_is_refused(tmp_path, size):
    fields = {"sm_surface": np.full((size, size), 0.25, np.float32)}
    path = write_granule(tmp_path / NAME, fields)
    with h5py.File(path, "a") as file:
        short = zlib.compress(fields["sm_surface"][:4].tobytes())
        file["Geophysical_Data/sm_surface"].id.write_direct_chunk((0, 0), short)
    cells = np.array([[ROW + 5, COL]])
    refused(path, "damaged_file", "sm_surface ends", cells=cells, fields=["ssm_m3m3"])


def test_a_chunk_stored_without_its_filter(tmp_path):
    fields = make_fields()
    path = write_granule(tmp_path / NAME, fields)
    with h5py.File(path, "a") as file:
        plain = fields["sm_surface"].tobytes()
        file["Geophysical_Data/sm_surface"].id.write_direct_chunk((0, 0), plain, filter_mask=1)
    found = [row["ssm_m3m3"] for row in read(path).tables["land"].to_pylist()]
    assert found == [row[2] for row in expected_rows(fields)]


def test_random_damage_is_refused_or_harmless(tmp_path):
    path = write_granule(tmp_path / NAME)
    whole = path.read_bytes()
    rng = np.random.default_rng(3)
    refusals = 0
    for _ in range(150):
        damaged = bytearray(whole)
        for at in rng.integers(0, len(whole), 8):
            damaged[at] = rng.integers(0, 256)
        path.write_bytes(bytes(damaged))
        try:
            assert read(path).tables["land"].num_rows <= len(CELLS)
        except BadInput as error:
            refusals += 1
            assert error.file == str(path)
    assert refusals > 20


def test_another_product_is_refused(tmp_path):
    path = tmp_path / NAME
    with h5py.File(path, "w") as file:
        file["Soil_Moisture_Retrieval_Data/soil_moisture"] = np.zeros(5)
    refused(path, "missing_variable", "Soil_Moisture_Retrieval_Data", "not a SPL4SM gph file")


def test_a_real_level_2_granule_is_refused(tmp_path):
    files = sorted((REAL_DATA / "smap_l2").glob("*.h5"))
    if not files:
        pytest.skip("no real SPL2SMP granules (SKILLHOUSE_REALDATA)")
    reader = make_reader(files[0].parent)
    assert {file.status for file in reader.find()} == {"not_recognised"}
    (tmp_path / NAME).symlink_to(files[0].resolve())
    refused(tmp_path / NAME, "missing_variable", "Soil_Moisture_Retrieval_Data")


# ---------------------------------------------------------------- conduct


def test_files_are_neither_changed_nor_kept_open(tmp_path):
    path = write_granule(tmp_path / NAME)
    path.chmod(0o444)
    before = (hashlib.sha256(path.read_bytes()).digest(), path.stat().st_mtime_ns)
    read(path)
    if Path("/proc/self/fd").exists():
        opened = {os.path.realpath(fd) for fd in Path("/proc/self/fd").iterdir()}
        assert str(path.resolve()) not in opened
    assert (hashlib.sha256(path.read_bytes()).digest(), path.stat().st_mtime_ns) == before


def test_same_result_from_threads_and_processes(tmp_path):
    paths = [
        write_granule(
            tmp_path / f"SMAP_L4_SM_gph_2017010{day}T013000_Vv4030_001.h5", make_fields(seed=day)
        )
        for day in range(1, 7)
    ]
    reader = make_reader(tmp_path)
    files = [raw(path) for path in paths]
    alone = [reader.read(file).tables["land"] for file in files]
    with ThreadPoolExecutor(4) as pool:
        threaded = [extract.tables["land"] for extract in pool.map(reader.read, files * 5)]
    assert threaded == alone * 5
    copy = pickle.loads(pickle.dumps(reader))
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as pool:
        assert pool.submit(copy.read, files[0]).result().tables["land"] == alone[0]
