"""SPL4SM land-model constants: columns, limits, what may be missing, which file."""

from __future__ import annotations

import numpy as np
import pytest
from test_spl4sm_gph import CELLS, COL, COLS, PERIOD, ROW, ROWS, raw, touch, write_granule

from ingest.reader import BadInput
from ingest.sources.spl4sm_lmc import CONSTANTS_SCHEMA, Spl4smLmc, Spl4smLmcReader

NAME = "SMAP_L4_SM_lmc_00000000T000000_Vv4030_001.h5"
GROUP = "Land-Model-Constants_Data"
PLACES = [tuple(place) for place in (CELLS - (ROW, COL)).tolist()]
FILE = {  # dataset: lake column, units, valid_min, valid_max, value of the first cell
    "mwrtm_rghhmin": ("roughness_h_min", "dimensionless", 0, 2, 0.2),
    "mwrtm_rghhmax": ("roughness_h_max", "dimensionless", 0, 3, 0.8),
    "mwrtm_rghwmin": ("roughness_w_min_m3m3", "m3 m-3", 0.1, 0.4, 0.1),
    "mwrtm_rghwmax": ("roughness_w_max_m3m3", "m3 m-3", 0.3, 0.9, 0.4),
    "mwrtm_poros": ("mwrtm_porosity_m3m3", "m3 m-3", 0.3, 0.9, 0.45),
    "clsm_poros": ("clsm_porosity_m3m3", "m3 m-3", 0.3, 0.9, 0.42),
    "clsm_wp": ("clsm_wilting_point_m3m3", "m3 m-3", 0.001, 0.3, 0.11),
    "mwrtm_sand": ("mwrtm_sand_frac", "dimensionless", 0, 1, 0.4),
    "mwrtm_clay": ("mwrtm_clay_frac", "dimensionless", 0, 1, 0.25),
    "clsm_dzsf": ("surface_layer_m", "m", 0.05, 0.05, 0.05),
    "clsm_dzrz": ("root_zone_layer_m", "m", 1, 1, 1.0),
    "cell_land_fraction": ("land_frac", "dimensionless", 0, 1, 0.97),
    "cell_elevation": ("elevation_m", "m", -500, 6000, 43.5),
}
REQUIRED = list(FILE)[:6]


def make_fields():
    return {
        f"{GROUP}/{name}": np.full((ROWS, COLS), value, np.float32)
        for name, (*_, value) in FILE.items()
    }


def write(path, fields, **kwargs):
    attributes = {}
    for name in fields:
        _, units, low, high, _ = FILE[name.split("/")[1]]
        attributes[name] = {
            "units": np.bytes_(units),
            "_FillValue": np.float32(-9999),
            "valid_min": np.float32(low),
            "valid_max": np.float32(high),
        }
    return write_granule(path, fields, attributes=attributes, **kwargs)


def make_reader(path, *, cells=CELLS, **settings):
    return Spl4smLmcReader(
        key="factors.roughness",
        source="lmc",
        settings=Spl4smLmc(format="spl4sm_lmc", path=str(path), **settings),
        period=PERIOD,
        cells=cells,
    )


def read(path, **kwargs):
    return make_reader(path, **kwargs).read(raw(path))


def test_one_row_per_cell_with_every_constant(tmp_path):
    fields = make_fields()
    fields[f"{GROUP}/cell_elevation"][PLACES[1]] = 1200
    extract = read(write(tmp_path / NAME, fields))
    table = extract.tables["constants"]
    assert table.schema.equals(CONSTANTS_SCHEMA)
    rows = table.to_pylist()
    assert [(r["grid_row"], r["grid_col"]) for r in rows] == sorted(map(tuple, CELLS.tolist()))
    assert [r["elevation_m"] for r in rows] == [1200, 43.5, 43.5, 43.5]
    for column, *_, value in FILE.values():
        if column != "elevation_m":
            assert {r[column] for r in rows} == {float(np.float32(value))}
    assert set(extract.counts) == {(column, "ok", 4) for column, *_ in FILE.values()}


def test_fill_and_range_are_null_and_counted(tmp_path):
    fields = make_fields()
    fields[f"{GROUP}/mwrtm_rghhmin"][PLACES[0]] = -9999
    fields[f"{GROUP}/mwrtm_rghhmax"][PLACES[1]] = 3.5
    fields[f"{GROUP}/clsm_dzsf"][:] = 0.05 * (1 - 2.0**-12)  # a shaved mantissa
    extract = read(write(tmp_path / NAME, fields), cells=np.vstack([CELLS, [[5, 5]]]))
    counts = {(column, reason): n for column, reason, n in extract.counts}
    assert counts[("roughness_h_min", "fill")] == 1
    assert counts[("roughness_h_max", "out_of_range")] == 1
    assert counts[("roughness_h_max", "outside_window")] == 1
    assert counts[("surface_layer_m", "ok")] == 4
    rows = {(r["grid_row"], r["grid_col"]): r for r in extract.tables["constants"].to_pylist()}
    assert rows[tuple(CELLS[0])]["roughness_h_min"] is None
    assert rows[tuple(CELLS[1])]["roughness_h_max"] is None


def test_descriptions_may_be_missing_roughness_may_not(tmp_path):
    for name, (column, *_) in FILE.items():
        fields = make_fields()
        del fields[f"{GROUP}/{name}"]
        path = write(tmp_path / NAME, fields)
        if name in REQUIRED:
            with pytest.raises(BadInput) as error:
                read(path)
            assert error.value.reason == "missing_variable" and name in str(error.value)
        else:
            extract = read(path)
            assert extract.tables["constants"][column].null_count == 4
            assert (column, "not_in_file", 4) in extract.counts


def test_the_highest_counter_of_the_one_version(tmp_path):
    newer = NAME.replace("_001", "_002")
    touch(tmp_path, NAME, newer, "SMAP_L4_SM_gph_20170101T013000_Vv4030_001.h5")
    found = {file.path: (file.status, file.partition) for file in make_reader(tmp_path).find()}
    assert found[NAME] == ("superseded", "static")
    assert found[newer] == ("ok", "static")
    assert found["SMAP_L4_SM_gph_20170101T013000_Vv4030_001.h5"][0] == "other_collection"
    touch(tmp_path, NAME.replace("Vv4030", "Vv7032"))
    with pytest.raises(BadInput) as error:
        make_reader(tmp_path).find()
    assert error.value.key == "factors.roughness.version"


def test_a_geophysical_granule_under_this_name_is_refused(tmp_path):
    with pytest.raises(BadInput) as error:
        read(write_granule(tmp_path / NAME))
    assert error.value.reason == "missing_variable"
    assert "Geophysical_Data" in str(error.value)
