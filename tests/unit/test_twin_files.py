"""The twin's raw files: layouts, agreement with their world, all or nothing, repeatable."""

import csv
import datetime as dt
import hashlib
import os
import pickle
import subprocess
import sys
from collections import Counter
from pathlib import Path

import h5py
import netCDF4
import numpy as np
import polars as pl
import pytest
import rasterio

from ingest.grid import M09
from ingest.reader import PROJECT_ROOT
from ingest.twin import TwinSettings, generate, simulate
from ingest.twin.raw_files import leaf_area
from ingest.twin.raw_files.granules import gph_sources
from ingest.twin.raw_files.stations import HIGHEST, LAYERS, LOWEST, MISSING, month_table

SETTINGS = TwinSettings(n_cells=40, n_stations=52, spin_up_days=20)
PERIOD = dt.date(2017, 6, 25), dt.date(2017, 7, 12)
N_DAYS = 18
ROW0, COL0 = SETTINGS.window_row, SETTINGS.window_col


@pytest.fixture(scope="module")
def world():
    return simulate(SETTINGS, PERIOD)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = tmp_path_factory.mktemp("twin")
    generate(SETTINGS, PERIOD, home / "raw", home / "truth")
    return home


@pytest.fixture(scope="module")
def raw(home):
    return home / "raw"


def local(world):
    return world.cells.row - ROW0, world.cells.col - COL0


def tree(folder):
    return {
        str(f.relative_to(folder)): hashlib.sha256(f.read_bytes()).hexdigest()
        for f in sorted(folder.rglob("*"))
        if f.is_file() and f.name != "twin_stamp.json"
    }


# ---------------------------------------------------------------- granules

GPH = {  # name -> units, valid range, as the product's field list says
    "sm_surface": ("m3 m-3", 0, 0.9),
    "sm_rootzone": ("m3 m-3", 0, 0.9),
    "sm_profile": ("m3 m-3", 0, 0.9),
    "surface_temp": ("K", 180, 350),
    "soil_temp_layer1": ("K", 210, 340),
    "heat_flux_latent": ("W m-2", -2500, 3000),
    "precipitation_total_surface_flux": ("kg m-2 s-1", 0, 0.05),
    "leaf_area_index": ("m2 m-2", 0, 10),
}


def check_plane(dataset, dtype, fill):
    assert dataset.shape == dataset.chunks == (64, 64) and dataset.dtype == dtype
    assert dataset.compression == "gzip" and dataset.compression_opts == 3 and not dataset.shuffle
    assert dataset.fillvalue == fill
    assert {dataset.attrs[k] for k in ("_FillValue", "missing_value", "fmissing_value")} == {fill}
    assert dataset.attrs["DIMENSION_LABELS"].tolist() == [b"y", b"x"]


def test_gph_granule_has_the_products_layout(raw, world):
    path = raw / "l4/2017/SMAP_L4_SM_gph_20170626T043000_Vv4030_001.h5"
    with h5py.File(path) as f:
        assert set(f["Geophysical_Data"]) == set(GPH)
        for name, (units, low, high) in GPH.items():
            dataset = f["Geophysical_Data"][name]
            check_plane(dataset, "f4", np.float32(-9999))
            assert dataset.attrs["units"] == units.encode()
            assert (dataset.attrs["valid_min"], dataset.attrs["valid_max"]) == (
                np.float32(low),
                np.float32(high),
            )
            assert dataset.attrs["coordinates"] == b"/cell_lat /cell_lon"
            assert dataset.attrs["grid_mapping"] == b"EASE2_global_projection"
            values = dataset[:]
            assert (values != -9999).sum() == 40
            inside = values[local(world)]
            assert (inside >= low).all() and (inside <= high).all()
        for name in ("cell_lat", "cell_lon"):
            check_plane(f[name], "f4", np.float32(-9999))
        for name in ("cell_row", "cell_column"):
            check_plane(f[name], "u4", 4294967294)
        row, col = np.meshgrid(ROW0 + np.arange(64), COL0 + np.arange(64), indexing="ij")
        np.testing.assert_array_equal(f["cell_row"], row)
        np.testing.assert_array_equal(f["cell_column"], col)
        lat, lon = M09.centre(row, col)
        np.testing.assert_allclose(f["cell_lat"], lat, atol=1e-5)
        np.testing.assert_allclose(f["cell_lon"], lon, atol=1e-5)
        assert f["EASE2_global_projection"].shape == (1,)
        assert f["EASE2_global_projection"].dtype == "S1"
        name = f["EASE2_global_projection"].attrs["grid_mapping_name"]
        assert name == b"lambert_cylindrical_equal_area"
        assert f["x"].is_scale and f["y"].is_scale
        assert f["x"][0] == pytest.approx(-17367530.445161488 + (COL0 + 0.5) * 9008.055210146)
        assert f["y"][0] == pytest.approx(7314540.830638552 - (ROW0 + 0.5) * 9008.055210146)
        label = (dt.datetime(2017, 6, 26, 4, 30) - dt.datetime(2000, 1, 1, 12)).total_seconds()
        assert f["time"][:].tolist() == [label]
        assert f["time"].attrs["units"] == b"seconds since 2000-01-01 11:58:55.816"


@pytest.mark.parametrize(
    ("folder", "version", "run"),
    [("l4", "Vv4030", "assimilation"), ("open_loop", "OL4001", "open_loop")],
)
def test_every_run_has_eight_granules_a_day_with_its_own_values(raw, world, folder, version, run):
    files = sorted((raw / folder).rglob("*.h5"))
    assert len(files) == 8 * N_DAYS
    hours = [f"{h:02d}3000" for h in range(1, 24, 3)]
    assert [f.name.split("T")[1].split("_")[0] for f in files[:8]] == hours
    assert {f.name.split("_")[5] for f in files} == {version}
    surface = np.empty((len(files), 40), dtype=np.float32)
    rain = np.empty((len(files), 40))
    for i, path in enumerate(files):
        with h5py.File(path) as f:
            surface[i] = f["Geophysical_Data/sm_surface"][:][local(world)]
            flux = f["Geophysical_Data/precipitation_total_surface_flux"]
            rain[i] = flux[:][local(world)]
    first = world.first_day * 8
    np.testing.assert_array_equal(surface.T, getattr(world, run).surface[:, first:])
    daily = rain.reshape(N_DAYS, 8, 40).mean(axis=1) * 86400
    np.testing.assert_allclose(daily, world.weather.rain_model[world.days], rtol=1e-5, atol=1e-6)


def test_aup_posts_one_pixel_value_on_sixteen_cells(raw, world):
    files = sorted((raw / "aup").rglob("*.h5"))
    assert len(files) == 8 * N_DAYS
    assert files[0].name == "SMAP_L4_SM_aup_20170625T000000_Vv4030_001.h5"
    more, seen = 0, Counter()
    for path in files:
        hour = int(path.name.split("T")[1][:2])
        with h5py.File(path) as f:
            obs = f["Observations_Data/tb_v_obs_assim"][:]
            forecast = f["Forecast_Data/tb_v_forecast"][:]
            orbit = f["Observations_Data/tb_v_orbit_flag"][:]
            time = f["Observations_Data/tb_v_obs_time_sec"]
            check_plane(time, "f8", -9999.0)
            check_plane(f["Observations_Data/tb_v_resolution_flag"], "u4", 4294967294)
            raw_obs = f["Observations_Data/tb_v_obs"][:]
        for values in (obs, forecast, orbit):
            blocks = values.reshape(16, 4, 16, 4).transpose(0, 2, 1, 3).reshape(256, 16)
            assert (blocks == blocks[:, :1]).all()
        assert set(np.unique(orbit[orbit < 9])) <= ({1} if hour == 9 else {2})
        if hour not in (9, 21):
            assert (forecast == -9999).all() and (obs == -9999).all()
        assert (forecast[obs != -9999] != -9999).all() and (raw_obs[obs != -9999] != -9999).all()
        more += ((forecast != -9999) & (obs == -9999)).sum()
        seen[hour] += (obs != -9999).sum()
        if hour == 9:
            day = (dt.date(2017, int(path.name[19:21]), int(path.name[21:23])) - PERIOD[0]).days
            t = world.first_day + day
            expected = world.tb_assim[t, world.cells.pixel, 0, 1]
            found = np.where(obs == -9999, np.nan, obs)[local(world)]
            np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert more > 0 and seen[9] > 0 and seen[21] > 0


def test_land_constants_give_back_the_models_roughness(raw, world):
    with h5py.File(raw / "lmc/SMAP_L4_SM_lmc_00000000T000000_Vv4030_001.h5") as f:
        group = f["Land-Model-Constants_Data"]
        value = {k: group[k][:][local(world)] for k in group}
        for name, dataset in group.items():
            low, high = dataset.attrs["valid_min"], dataset.attrs["valid_max"]
            assert ((value[name] >= low) & (value[name] <= high)).all(), name
    np.testing.assert_allclose(value["mwrtm_rghhmax"], world.model.h_max, rtol=1e-6)
    np.testing.assert_allclose(value["mwrtm_rghhmin"], world.model.h_min, rtol=1e-6)
    ratio = value["mwrtm_poros"] / value["clsm_poros"]
    np.testing.assert_allclose(ratio, world.model.porosity_ratio, rtol=1e-6)
    assert ratio.std() > 0.01


# ---------------------------------------------------------------- stations


def test_station_tables_lead_back_to_the_daily_series(raw, world):
    months = sorted(f.name for f in (raw / "stations").glob("soil_moisture_*.csv"))
    assert months == ["soil_moisture_201706.csv", "soil_moisture_201707.csv"]
    table = pl.concat([pl.read_csv(raw / "stations" / name) for name in months])
    layers = ["0_10cm", "10_20cm", "20_30cm", "30_40cm", "40_50cm"]
    keys = ["Station_Id_C", "Year", "Mon", "Day", "Hour"]
    assert table.columns == keys + [f"VWC_{k}" for k in layers] + [f"Q_{k}" for k in layers]
    assert table["Hour"].min() == 0 and table["Hour"].max() == 23
    hour_end_utc = pl.datetime("Year", "Mon", "Day", "Hour") - pl.duration(hours=8)
    table = table.with_columns(day=(hour_end_utc - pl.duration(minutes=30)).dt.date())
    expected = world.daily_stations()
    errors = []
    for k, layer in enumerate(layers):
        good = table.filter((pl.col(f"Q_{layer}") == 0) & pl.col(f"VWC_{layer}").is_between(0, 100))
        daily = good.group_by("Station_Id_C", "day").agg(pl.col(f"VWC_{layer}").mean(), n=pl.len())
        found = {(s, d): v / 100 for s, d, v, n in daily.rows() if n >= 20}
        for i, station in enumerate(world.stations.station_id):
            if world.stations.defect[i]:
                continue
            for t in range(N_DAYS):
                truth = expected[t, i, k]
                value = found.get((station, PERIOD[0] + dt.timedelta(days=t)))
                if np.isnan(truth):
                    assert value is None
                elif value is not None and truth > 0.01:
                    errors.append(abs(value - truth))
    # a few hours are missing, and a day's rain may have fallen in them
    assert len(errors) > 3000 and np.mean(errors) < 0.001 and np.max(errors) < 0.03
    assert (table.filter(pl.col("Q_0_10cm") == 8)["VWC_0_10cm"] == 999999).all()


def test_station_files_hold_the_problems_of_real_archives(raw, world):
    with open(raw / "stations/station_list.csv") as f:
        stations = list(csv.DictReader(f))
    assert list(stations[0]) == ["Station_Id_C", "Station_Name", "Network", "Lat", "Lon", "Alti"]
    assert len(stations) == 52 and len({s["Network"] for s in stations}) == 2
    table = pl.read_csv(raw / "stations/soil_moisture_201707.csv")
    median = dict(
        table.filter(pl.col("VWC_0_10cm") < 9e5)
        .group_by("Station_Id_C")
        .agg(pl.col("VWC_0_10cm").median())
        .rows()
    )
    kind = dict(zip(world.stations.station_id, world.stations.defect, strict=True))
    assert all(median[s] < 1 for s in median if kind[s] == "fractions")
    assert all(median[s] > 60 for s in median if kind[s] == "tenths")
    assert all(3 < median[s] < 60 for s in median if kind[s] == "")
    assert table.filter(pl.col("VWC_0_10cm") == 999999).height > 0
    rows = table.select(pl.struct("Station_Id_C", "Day").n_unique()).item()
    assert table.height < 24 * rows  # whole hours are missing


def test_hours_repeat_contradict_and_leave_the_possible_range_now_and_then(world):
    hours = np.arange(world.first_day * 24 + 1, len(world.dates) * 24 + 1)
    text = pl.Series([f"{v / 100:.2f}" for v in range(LOWEST, HIGHEST + 1)] + [MISSING])
    tables = [month_table(world, hours, f"test {i}", text) for i in range(25)]
    same, other, flagged, impossible = 0, 0, 0, 0
    for table in tables:
        value = table["VWC_0_10cm"].cast(pl.Float64)
        flagged += table["Q_0_10cm"].is_in([1, 2]).sum()
        impossible += ((value < 0) | (value == 131.2)).sum()
        groups = table.group_by(table.columns[:5]).agg(pl.all(), n=pl.len()).filter(pl.col("n") > 1)
        for row in groups.rows(named=True):
            pairs = [row[f"VWC_{k}"] for k in LAYERS]
            differs = [len(set(pair)) > 1 for pair in pairs]
            assert row["n"] == 2 and len(set(differs)) == 1
            if not differs[0]:
                same += 1
                continue
            other += 1
            assert all(abs(float(a) - float(b)) == pytest.approx(7.0) for a, b in pairs)
            assert not any(sum(row[f"Q_{k}"]) for k in LAYERS)
    assert 5 < same < 60 and 2 < other < 35 and 3 < impossible < 40 and 150 < flagged < 600


# ---------------------------------------------------------------- other grids


def test_tile_space_matches_the_open_loop(raw, world):
    root = raw / "geosldas/TWIN_OL4001/output/SMAP_EASEv2_M09_GLOBAL/cat/ens_avg/Y2017"
    assert len(list(root.rglob("*.tavg24_1d_lnd_Nt.*"))) == N_DAYS
    path = root / "M07/TWIN_OL4001.tavg24_1d_lnd_Nt.20170703_1200z.nc4"
    with netCDF4.Dataset(path) as f:
        assert f.dimensions["time"].isunlimited() and f["SFMC"].dimensions == ("time", "tile")
        assert f["SFMC"]._FillValue == np.float32(1e15)
        when = netCDF4.num2date(f["time"][0], f["time"].units)
        assert (when.month, when.day, when.hour) == (7, 3, 12)
        row, col = M09.index(f["lat"][:].filled(), f["lon"][:].filled())
        np.testing.assert_array_equal(row, f["JG"][:])
        np.testing.assert_array_equal(col, f["IG"][:])
        found = {
            (r, c): v
            for r, c, v in zip(row, col, f["SFMC"][0].filled(np.nan), strict=True)
            if np.isfinite(v)
        }
    step = (world.first_day + 8) * 8
    expected = world.open_loop.surface[:, step : step + 8].mean(axis=1)
    assert len(found) == 40
    for r, c, value in zip(world.cells.row, world.cells.col, expected, strict=True):
        assert found[(r, c)] == pytest.approx(value, rel=1e-6)
    joined = next(root.rglob("*.SMAP_L4_SM_gph.20170625.nc4"), None)
    assert joined is None or netCDF4.Dataset(joined)["sm_surface"].shape[0] == 8


def test_precipitation_text_and_netcdf_agree(raw):
    with netCDF4.Dataset(raw / "cgdpa/netcdf/CGDPA_0.25_2017.nc") as f:
        values, lat, lon = f["pre"][:].filled(-9999), f["lat"][:], f["lon"][:]
        assert values.shape[0] == N_DAYS and f["pre"].units == "mm/day"
    texts = sorted((raw / "cgdpa/text").glob("*.txt"))
    assert texts[0].name == "SURF_CLI_CHN_PRE_DAY_GRID_0.25-20170625.txt"
    header = dict(line.split() for line in texts[0].read_text().splitlines()[:6])
    assert float(header["xllcorner"]) + 0.125 == lon[0]
    assert float(header["yllcorner"]) + 0.125 == lat[0]
    grid = np.loadtxt(texts[0], skiprows=6)[::-1]
    np.testing.assert_allclose(grid, values[0], atol=0.0051)
    with netCDF4.Dataset(raw / "precipitation_01deg/PRE_0.10_2017.nc") as f:
        np.testing.assert_allclose(np.diff(f["lat"][:]), 0.1)


def test_latent_heat_is_there_for_every_station_north_first(raw, world):
    path = raw / "fluxcom/LE.RS.EBC-ALL.MLM-ALL.METEO-NONE.4320_2160.daily.2017.nc"
    with netCDF4.Dataset(path) as f:
        lat, lon, le = f["lat"][:].filled(), f["lon"][:].filled(), f["LE"][:].filled(np.nan)
        assert f["LE"].dimensions == ("time", "lat", "lon") and (np.diff(lat) < 0).all()
    st = world.stations
    at = le[
        :,
        np.abs(lat[:, None] - st.lat).argmin(axis=0),
        np.abs(lon[:, None] - st.lon).argmin(axis=0),
    ]
    assert np.isfinite(at).all()
    truth = world.true_latent_heat[world.days][:, st.cell]
    assert np.abs(at / 0.0864 - truth).mean() < 20 and np.isnan(le).any()


def test_leaf_area_is_packed_with_upper_left_coordinates(raw, world):
    files = sorted((raw / "lai").glob("*.nc"))
    names = [f"c_gls_LAI-RT6_{d}0000_GLOBE_PROBAV_V2.0.1.nc" for d in ("20170630", "20170710")]
    assert [f.name for f in files] == names
    with netCDF4.Dataset(files[1]) as f:
        f.set_auto_maskandscale(False)
        dn, flag = f["LAI"][0], f["QFLAG"][0]
        assert dn.dtype == np.uint8 and f["LAI"]._FillValue == 255
        assert f["LAI"].scale_factor == 1 / 30 and f["LAI"].valid_range.tolist() == [0, 210]
        lat, lon = f["lat"][:] - 0.5 / 112, f["lon"][:] + 0.5 / 112
    assert {251, 255} <= set(np.unique(dn[dn > 210])) and (flag > 0).any()
    row, col = M09.index(*np.meshgrid(lat, lon, indexing="ij"))
    truth = world.weather.lai_grid[world.first_day + 6 : world.first_day + 16].mean(axis=0)
    ratio = []
    for r, c, place in zip(world.cells.row, world.cells.col, world.cells.place, strict=True):
        inside = (row == r) & (col == c)
        assert 80 <= inside.sum() <= 125
        ratio.append(dn[inside & (dn <= 210)].mean() / 30 / truth[place])
    assert np.mean(ratio) == pytest.approx(1.0, abs=0.04) and np.std(ratio) < 0.1


def test_dekads_end_on_10_20_and_the_months_last_day():
    found = leaf_area.dekads((dt.date(2016, 2, 5), dt.date(2016, 3, 10)))
    assert [b for _, b in found] == [
        dt.date(2016, 2, 10),
        dt.date(2016, 2, 20),
        dt.date(2016, 2, 29),
        dt.date(2016, 3, 10),
    ]


def test_soil_maps_hold_the_true_clay(raw, world):
    header = dict(line.split() for line in (raw / "hwsd1/hwsd.hdr").read_text().splitlines())
    units = np.fromfile(raw / "hwsd1/hwsd.bil", "<u2")
    units = units.reshape(int(header["NROWS"]), int(header["NCOLS"]))
    with rasterio.open(raw / "hwsd1/hwsd.bil") as f:
        np.testing.assert_array_equal(f.read(1), units)
        assert f.transform.a == pytest.approx(1 / 120)
        assert f.transform.c + 0.5 / 120 == pytest.approx(float(header["ULXMAP"]))
    data = pl.read_csv(raw / "hwsd1/HWSD_DATA.csv")
    assert data.filter(pl.col("T_CLAY").is_null())["MU_GLOBAL"].to_list() == [7001]
    assert (units == 7001).mean() == pytest.approx(0.03, abs=0.01)
    share = pl.col("SHARE") / pl.col("SHARE").sum()
    mean = data.drop_nulls().group_by("MU_GLOBAL").agg((pl.col("T_CLAY", "S_CLAY") * share).sum())
    clay = {u: (t, s) for u, t, s in mean.rows()}
    second = pl.read_csv(raw / "hwsd2/HWSD2_LAYERS.csv")
    assert (second.filter(pl.col("CLAY") < 0)["HWSD2_SMU_ID"] == 7001).all()
    assert set(second["LAYER"]) == {f"D{k}" for k in range(1, 8)}
    climate = world.climate
    for place in world.cells.place[:10]:
        top, sub = clay[11000 + place]
        assert top / 100 == pytest.approx(climate.clay_top[place], abs=0.006)
        assert sub / 100 == pytest.approx(climate.clay_sub[place], abs=0.006)
        column = second.filter(pl.col("HWSD2_SMU_ID") == 11000 + place)
        deep = column.filter(pl.col("LAYER") == "D4")
        found = (deep["CLAY"] * deep["SHARE"]).sum() / deep["SHARE"].sum()
        assert found / 100 == pytest.approx(climate.clay_sub[place], abs=0.006)


def test_land_cover_tiles_are_sinusoidal_and_patchy(raw, world):
    files = sorted((raw / "land_cover").glob("*.tif"))
    assert [f.name.split(".")[2] for f in files] == ["h26v05", "h27v05"]
    counts = Counter()
    for path in files:
        with rasterio.open(path) as f:
            classes, t = f.read(1), f.transform
            assert f.nodata == 255 and f.crs.to_dict()["proj"] == "sinu"
        assert t.a == pytest.approx(463.312716528)
        steps = (t.c + 20015109.354) / 463.312716528
        assert steps == pytest.approx(round(steps), abs=1e-4)
        rows, cols = np.indices(classes.shape)
        x, y = t.c + (cols + 0.5) * t.a, t.f + (rows + 0.5) * t.e
        lat = y / 6371007.181
        lon = x / (6371007.181 * np.cos(lat))
        row, col = M09.index(np.rad2deg(lat), np.rad2deg(lon))
        valid = classes != 255
        assert set(np.unique(classes[valid])) <= set(range(1, 18))
        assert (row[valid] >= ROW0).all() and (col[valid] < COL0 + 64).all()
        places = (row - ROW0)[valid] * 64 + (col - COL0)[valid]
        for place, code, n in zip(*_pairs(places, classes[valid]), strict=True):
            counts[(place, code)] += n
    total, largest = Counter(), Counter()
    for (place, _), n in counts.items():
        total[place] += n
        largest[place] = max(largest[place], n)
    sizes = np.array(list(total.values()))
    assert len(total) == 4096 and sizes.mean() == pytest.approx(378, abs=1)
    share = np.array([largest[p] / total[p] for p in total])
    assert 0.4 < np.mean(share > 0.5) and share.min() < 0.45 < 0.8 < share.max()


def _pairs(places, codes):
    found, n = np.unique(places.astype(np.int64) * 256 + codes, return_counts=True)
    return found // 256, found % 256, n


# ---------------------------------------------------------------- all or nothing


def test_second_call_skips_and_another_setting_does_not(home, monkeypatch):
    before = os.stat(home / "raw").st_ino
    summary = generate(SETTINGS, PERIOD, home / "raw", home / "truth")
    assert not summary.is_new and summary.seconds < 0.5
    assert os.stat(home / "raw").st_ino == before
    assert summary.n_files == len(tree(home / "raw"))

    def broken(*_):
        raise OSError("disk full")

    module = sys.modules["ingest.twin.generate"]
    monkeypatch.setattr(module, "write_truth", broken)
    other = SETTINGS.model_copy(update={"seed": 8})
    with pytest.raises(OSError, match="disk full"):
        generate(other, PERIOD, home / "raw", home / "truth")
    assert os.stat(home / "raw").st_ino == before
    assert sorted(p.name for p in home.iterdir()) == ["raw", "truth"]


def test_two_runs_write_the_same_bytes(home, tmp_path):
    generate(SETTINGS, PERIOD, tmp_path / "raw", tmp_path / "truth")
    one, two = tree(home / "raw"), tree(tmp_path / "raw")
    assert one.keys() == two.keys()
    assert {k for k in one if one[k] != two[k]} == set()
    assert tree(home / "truth") == tree(tmp_path / "truth")


def test_truth_lies_outside_the_raw_files(home, world):
    assert sorted(p.name for p in (home / "truth").glob("*.parquet")) == [
        "cells.parquet",
        "daily.parquet",
        "stations.parquet",
    ]
    assert not list((home / "raw").rglob("*.parquet"))
    daily = pl.read_parquet(home / "truth/daily.parquet")
    assert daily.height == 40 * N_DAYS and daily.null_count().sum_horizontal()[0] == 0
    one = daily.filter(
        (pl.col("grid_row") == world.cells.row[3]) & (pl.col("grid_col") == world.cells.col[3])
    ).sort("obs_date")
    np.testing.assert_allclose(one["ssm_m3m3"], world.true_surface[world.days, 3], rtol=1e-6)
    assert one["obs_date"][0] == PERIOD[0]


def test_a_worker_ends_when_its_parent_is_gone(world, tmp_path):
    jobs = tmp_path / "jobs.pickle"
    jobs.write_bytes(pickle.dumps((gph_sources(world, tmp_path) * 20, N_DAYS)))
    worker = subprocess.Popen(
        [sys.executable, "-m", "ingest.twin.worker", str(jobs), "0", "1"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(PROJECT_ROOT)},
        cwd=Path(tmp_path),
    )
    worker.stdin.close()
    assert worker.wait(timeout=60) == 1
    assert len(list(tmp_path.rglob("*.h5"))) < 2 * 8 * N_DAYS
