"""GEOSldas tile-space files: tiles to cells, labels of steps and joins, fills, choice of files."""

from __future__ import annotations

import datetime as dt

import netCDF4
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ingest.grid import M09, M36
from ingest.reader import BadInput, RawFile
from ingest.sources.geosldas_nc4 import (
    GeosldasNc4,
    GeosldasNc4Reader,
    match_tiles,
    parse_name,
)
from ingest.sources.spl4sm_gph import LAND_SCHEMA

PERIOD = (dt.date(2017, 1, 1), dt.date(2018, 12, 31))
CELLS = np.array([[290, 3174], [286, 3170], [291, 3177]])
TILES = np.array([[300, 3000], [291, 3177], [290, 3174], [286, 3170], [290, 3175]])
DAILY = "OL7.tavg24_1d_lnd_Nt.20170703_1200z.nc4"
LND = {  # variable: units, lowest and highest value
    "SFMC": ("m3 m-3", 0.05, 0.5),
    "RZMC": ("m3 m-3", 0.05, 0.5),
    "PRECTOTCORRLAND": ("kg m-2 s-1", 0, 1e-3),
    "LHLAND": ("W m-2", -50, 400),
    "LAI": ("1", 0, 6),
}
GPH = dict(
    zip(
        (
            "sm_surface",
            "sm_rootzone",
            "precipitation_total_surface_flux",
            "heat_flux_latent",
            "leaf_area_index",
        ),
        LND.values(),
        strict=True,
    )
)
COLUMNS = ["ssm_m3m3", "rzsm_m3m3", "precipitation_mmd", "latent_heat_wm2", "lai_m2m2"]


def make_values(variables, n_steps, seed=1):
    rng = np.random.default_rng(seed)
    return {
        name: rng.uniform(low, high, (n_steps, len(TILES))).astype(np.float32)
        for name, (_, low, high) in variables.items()
    }


def write(
    path,
    variables,
    values,
    *,
    times=(0,),
    time_units="minutes since 2017-07-03 12:00:00",
    tiles=TILES,
    grid=M09,
    base=1,
    latlon=None,
):
    """A file as MAPL writes it: neutral scale and offset, 1e15 for undefined."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lat, lon = latlon or grid.centre(tiles[:, 0], tiles[:, 1])
    with netCDF4.Dataset(path, "w") as f:
        f.createDimension("time", None)
        f.createDimension("tile", len(lat))
        for name, kind, data in (
            ("lat", "f4", lat),
            ("lon", "f4", lon),
            ("IG", "i4", tiles[:, 1] + base),
            ("JG", "i4", tiles[:, 0] + base),
        ):
            f.createVariable(name, kind, ("tile",))[:] = data
        if times is not None:
            f.createVariable("time", "i4", ("time",))[:] = times
            f["time"].units = time_units
        for name, data in values.items():
            variable = f.createVariable(
                name, "f4", ("time", "tile"), fill_value=np.float32(1e15), zlib=True
            )
            variable.units = variables[name][0]
            variable.setncatts({"scale_factor": np.float32(1), "add_offset": np.float32(0)})
            variable.set_auto_maskandscale(False)
            variable[:] = data
    return path


def make_reader(path, collection="tavg24_1d_lnd_Nt", *, cells=CELLS, period=PERIOD, **settings):
    return GeosldasNc4Reader(
        key="products.open_loop.source",
        source="open_loop",
        settings=GeosldasNc4(
            format="geosldas_nc4", path=str(path), collection=collection, **settings
        ),
        period=period,
        cells=cells,
    )


def read(path, collection="tavg24_1d_lnd_Nt", **kwargs):
    return make_reader(path, collection, **kwargs).read(RawFile(path.name, path, 0, 0, ""))


def refused(path, reason, *words, collection="tavg24_1d_lnd_Nt", **kwargs):
    with pytest.raises(BadInput) as error:
        read(path, collection, **kwargs)
    assert error.value.reason == reason, error.value
    for word in (str(path), *words):
        assert word in str(error.value)


def expected_rows(values, times):
    """Rows a person reads off: cells in order, each step's tile, float64 conversion."""
    rows = []
    for step, time in enumerate(times):
        for cell in sorted(map(tuple, CELLS.tolist())):
            tile = [tuple(t) for t in TILES.tolist()].index(cell)
            row = [float(array[step, tile]) for array in values.values()]
            row[2] = float(np.float32(row[2] * 86400.0))
            rows.append((*cell, time, *row))
    return rows


def rows_of(extract):
    table = extract.tables["land"]
    assert table.schema.equals(LAND_SCHEMA)
    names = ["grid_row", "grid_col", "observed_at", *COLUMNS]
    return [tuple(row[name] for name in names) for row in table.to_pylist()]


@pytest.mark.parametrize("base", [0, 1])
def test_daily_mean_belongs_to_the_day_of_its_label(tmp_path, base):
    values = make_values(LND, 1)
    extract = read(write(tmp_path / DAILY, LND, values, base=base))
    assert rows_of(extract) == expected_rows(values, [dt.datetime(2017, 7, 3, 12)])
    assert extract.counts == [(column, "ok", 3) for column in COLUMNS]


def test_single_three_hourly_steps(tmp_path):
    for collection, variables in (("SMAP_L4_SM_gph", GPH), ("tavg3_1d_lnd_Nt", LND)):
        values = make_values(variables, 1)
        path = write(
            tmp_path / f"OL7.{collection}.20170703_2230z.nc4", variables, values, times=None
        )
        found = rows_of(read(path, collection))
        assert found == expected_rows(values, [dt.datetime(2017, 7, 3, 22, 30)])


def test_daily_join_takes_labels_from_the_time_axis(tmp_path):
    values = make_values(GPH, 8)
    path = write(
        tmp_path / "OL7.SMAP_L4_SM_gph.20170703.nc4",
        GPH,
        values,
        times=[180 * i + 2880 for i in range(8)],
        time_units="minutes since 2017-07-01 01:30:00",
    )
    labels = [dt.datetime(2017, 7, 3, 1, 30) + dt.timedelta(hours=3 * i) for i in range(8)]
    extract = read(path, "SMAP_L4_SM_gph")
    assert rows_of(extract) == expected_rows(values, labels)
    assert extract.counts == [(column, "ok", 24) for column in COLUMNS]


@pytest.mark.parametrize("hour", [12, 0])
def test_monthly_join_of_daily_means(tmp_path, hour):
    values = make_values(LND, 31)
    path = write(
        tmp_path / "OL7.tavg24_1d_lnd_Nt.monthly.201707.nc4",
        LND,
        values,
        times=range(31),
        time_units=f"days since 2017-07-01 {hour}:00:00",
    )
    labels = [dt.datetime(2017, 7, 1 + i, 12) for i in range(31)]
    assert rows_of(read(path)) == expected_rows(values, labels)


def test_a_join_is_clipped_to_the_period(tmp_path):
    values = make_values(LND, 31)
    path = write(
        tmp_path / "OL7.tavg24_1d_lnd_Nt.201707.nc4",
        LND,
        values,
        times=range(31),
        time_units="days since 2017-07-01 12:00:00",
    )
    period = (dt.date(2017, 7, 30), dt.date(2018, 7, 30))
    reader = make_reader(tmp_path, period=period)
    assert [file.status for file in reader.find()] == ["ok"]
    extract = read(path, period=period)
    assert set(extract.tables["land"]["observed_at"].to_pylist()) == {
        dt.datetime(2017, 7, 30, 12),
        dt.datetime(2017, 7, 31, 12),
    }
    assert ("ssm_m3m3", "ok", 6) in extract.counts
    assert ("ssm_m3m3", "outside_period", 87) in extract.counts


BAD_TIMES = {
    "another month": ("monthly.201708", range(31), "days since 2017-07-01 12:00:00", "wrong_time"),
    "end labels": ("201707", range(1, 32), "days since 2017-07-01 00:00:00", "wrong_time"),
    "one value repeated": ("201707", [0] * 31, "days since 2017-07-01 12:00:00", "wrong_time"),
    "backwards": ("201707", range(30, -1, -1), "days since 2017-07-01 12:00:00", "wrong_time"),
    "no units": ("201707", range(31), "fortnights", "wrong_time"),
    "local time": ("201707", range(31), "days since 2017-07-01 00:00:00 +08:00", "wrong_time"),
    "no axis": ("201707", None, "", "wrong_time"),
    "a mean": ("monthly.201707", [0], "days since 2017-07-01 12:00:00", "period_mean"),
}


@pytest.mark.parametrize("case", BAD_TIMES)
def test_joins_with_unusable_times_are_refused(tmp_path, case):
    stamp, times, units, reason = BAD_TIMES[case]
    n_steps = 31 if times is None else len(times)
    path = write(
        tmp_path / f"OL7.tavg24_1d_lnd_Nt.{stamp}.nc4",
        LND,
        make_values(LND, n_steps),
        times=times,
        time_units=units,
    )
    refused(path, reason)


def test_labels_must_be_window_centres(tmp_path):
    path = write(tmp_path / "OL7.tavg3_1d_lnd_Nt.20170703_0000z.nc4", LND, make_values(LND, 1))
    refused(path, "wrong_time", "00:00", collection="tavg3_1d_lnd_Nt")
    path = write(tmp_path / "OL7.tavg24_1d_lnd_Nt.20170703_0000z.nc4", LND, make_values(LND, 1))
    refused(path, "wrong_time", "00:00")
    path = write(
        tmp_path / "OL7.SMAP_L4_SM_gph.20170703.nc4",
        GPH,
        make_values(GPH, 8),
        times=range(0, 1440, 180),
        time_units="minutes since 2017-07-03 00:00:00",
    )
    refused(path, "wrong_time", collection="SMAP_L4_SM_gph")


def test_a_single_step_file_with_more_steps_is_refused(tmp_path):
    path = write(tmp_path / DAILY, LND, make_values(LND, 2), times=[0, 1440])
    refused(path, "wrong_time", "2 time steps")


def test_fills_are_null_and_counted(tmp_path):
    values = make_values(LND, 1)
    values["SFMC"][0, 1], values["SFMC"][0, 2] = 1e15, 9.9999e14  # fill, and fill after averaging
    values["LAI"][0, 3] = np.nan
    extract = read(write(tmp_path / DAILY, LND, values), cells=np.vstack([CELLS, [[8, 8]]]))
    counts = {(column, reason): n for column, reason, n in extract.counts}
    assert counts[("ssm_m3m3", "ok")] == 1 and counts[("ssm_m3m3", "fill")] == 2
    assert counts[("lai_m2m2", "fill")] == 1
    for column in COLUMNS:
        assert counts[(column, "outside_window")] == 1
        assert sum(n for (entity, _), n in counts.items() if entity == column) == 4
    rows = {row[:2]: row for row in rows_of(extract)}
    assert rows[(291, 3177)][3] is None and rows[(290, 3174)][3] is None
    assert rows[(286, 3170)][3] == float(values["SFMC"][0, 3])


# ---------------------------------------------------------------- tiles


@given(st.integers(0, M09.rows - 1), st.integers(0, M09.cols - 1))
def test_a_tile_centre_matches_its_cell_alone(row, col):
    lat, lon = M09.centre(row, col)
    cells = np.array(
        [[row, col], [row, (col + 1) % M09.cols], [max(row - 1, 0) if row else 1, col]]
    )
    tiles, n_edge, n_shared = match_tiles(np.float32([lat]), np.float32([lon]), cells)
    assert tiles.tolist() == [0, -1, -1] and (n_edge, n_shared) == (0, 0)


def test_a_tile_more_than_half_a_cell_away_is_not_the_cell():
    lat, lon = M09.centre(290, 3174)
    width = 360 / M09.cols
    for shift, found in ((0.45, 0), (-0.45, 0), (0.55, -1), (-0.55, -1)):
        tiles, _, _ = match_tiles(
            np.array([lat]), np.array([lon + shift * width]), np.array([[290, 3174]])
        )
        assert tiles.tolist() == [found]


def test_undefined_places_match_nothing():
    lat, lon = np.array([1e15, np.nan, 95.0]), np.array([1e15, np.nan, 10.0])
    tiles, n_edge, _ = match_tiles(lat, lon, CELLS)
    assert (tiles == -1).all() and n_edge == 0


def test_a_36_km_run_is_refused(tmp_path):
    tiles = np.array([[72, 793], [71, 792], [72, 794], [70, 790], [69, 789]])
    path = write(tmp_path / DAILY, LND, make_values(LND, 1), tiles=tiles, grid=M36)
    refused(path, "wrong_grid", "5 of 5 tiles", cells=np.vstack([tiles * 4 + 1, tiles * 4 + 2]))


def test_two_tiles_in_a_study_cell_are_refused(tmp_path):
    tiles = np.vstack([TILES[:4], TILES[1:2]])
    refused(write(tmp_path / DAILY, LND, make_values(LND, 1), tiles=tiles), "wrong_grid", "several")


def test_no_tile_in_any_cell_is_refused(tmp_path):
    path = write(tmp_path / DAILY, LND, make_values(LND, 1))
    refused(path, "no_cell_in_file", cells=np.array([[5, 5]]))


@pytest.mark.parametrize("axis", [0, 1])
def test_tiles_of_each_file_are_its_own(tmp_path, axis):
    """Tiles in another order, which only lat or only lon tells, keep their own values."""
    tiles = np.tile([[290, 3174]], (5, 1))
    tiles[:, axis] += np.arange(5)
    values = make_values(LND, 1)
    order = [4, 2, 0, 3, 1]
    turned = {name: array[:, order] for name, array in values.items()}
    first = write(tmp_path / "a" / DAILY, LND, values, tiles=tiles)
    second = write(tmp_path / "b" / DAILY, LND, turned, tiles=tiles[order])
    assert rows_of(read(first, cells=tiles)) == rows_of(read(second, cells=tiles))


# ---------------------------------------------------------------- files and settings


def test_wrong_content_is_refused(tmp_path):
    values = make_values(LND, 1)
    path = write(tmp_path / DAILY, LND, {n: v for n, v in values.items() if n != "RZMC"})
    refused(path, "missing_variable", "RZMC", "SFMC")
    assert read(path, fields=["ssm_m3m3"]).tables["land"]["rzsm_m3m3"].null_count == 3
    wrong_units = {**LND, "SFMC": ("percent", 0, 1)}
    refused(write(tmp_path / DAILY, wrong_units, values), "unit_mismatch", "SFMC")
    path = write(tmp_path / DAILY, LND, values)
    with netCDF4.Dataset(path, "a") as f:
        f["RZMC"].scale_factor = np.float32(0.01)
    refused(path, "unit_mismatch", "RZMC")
    with netCDF4.Dataset(path, "a") as f:
        f.renameVariable("lat", "latitude")
    refused(path, "missing_variable", "lat")
    whole = path.read_bytes()
    for damaged in (b"", whole[: len(whole) // 2], b"not a file" * 50):
        path.write_bytes(damaged)
        refused(path, "damaged_file")


def test_fate_of_every_file(tmp_path):
    names = [
        "a/OL7.tavg24_1d_lnd_Nt.20170703_1200z.nc4",
        "b/OL7.tavg24_1d_lnd_Nt.20170703_1200z.nc4",
        "a/OL7.tavg24_1d_lnd_Nt.monthly.201707.nc4",
        "a/OL7.tavg24_1d_lnd_Nt.monthly.201708.nc4",
        "a/OL7.tavg24_1d_lnd_Nt.20161231_1200z.nc4",
        "a/OL7.tavg24_1d_lnd_Nt.20170231_1200z.nc4",
        "a/OL7.SMAP_L4_SM_gph.20170703.nc4",
        "a/OL7.inst3_1d_lndfcstana_Nt.20170703.nc4",
        "a/readme.txt",
    ]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    found = {file.path: file for file in make_reader(tmp_path).find()}
    assert [found[n].status for n in names if n in found] == [
        "ok",
        "duplicate",
        "superseded",
        "ok",
        "outside_period",
        "not_recognised",
        "other_collection",
        "not_recognised",
    ]
    assert names[-1] not in found
    assert found[names[0]].partition == "2017-07"


def test_single_steps_replace_the_day_and_two_runs_are_refused(tmp_path):
    steps, join = "OL7.SMAP_L4_SM_gph.20170703_0130z.nc4", "OL7.SMAP_L4_SM_gph.20170703.nc4"
    other = "OL7.SMAP_L4_SM_gph.20170704.nc4"
    for name in (steps, join, other):
        (tmp_path / name).write_bytes(b"x")
    reader = make_reader(tmp_path, "SMAP_L4_SM_gph")
    assert {f.path: f.status for f in reader.find()} == {
        steps: "ok",
        join: "superseded",
        other: "ok",
    }
    (tmp_path / "DA7.SMAP_L4_SM_gph.20170705.nc4").write_bytes(b"x")
    with pytest.raises(BadInput) as error:
        reader.find()
    assert error.value.key == "products.open_loop.source.experiment"
    chosen = make_reader(tmp_path, "SMAP_L4_SM_gph", experiment="DA*").find()
    assert {f.path: f.status for f in chosen}[steps] == "other_version"


def test_names():
    assert parse_name("e.x.SMAP_L4_SM_gph.20170703_0130z.nc4").experiment == "e.x"
    assert parse_name("OL7.tavg24_1d_lnd_Nt.201713.nc4") is None


def test_settings():
    daily = GeosldasNc4(format="geosldas_nc4", path="x", collection="tavg24_1d_lnd_Nt")
    assert list(daily.fields.values()) == list(LND) and daily.samples_per_day == 1
    joined = GeosldasNc4(format="geosldas_nc4", path="x", fields=["rzsm_m3m3"])
    assert joined.fields == {"rzsm_m3m3": "sm_rootzone"} and joined.samples_per_day == 8
    for wrong in ({"collection": "inst3"}, {"fields": ["clay"]}):
        with pytest.raises(ValidationError):
            GeosldasNc4(format="geosldas_nc4", path="x", **wrong)
