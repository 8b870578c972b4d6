"""The same build on other sources: real stations and reanalyses, and an open loop in tile space."""

import os
from pathlib import Path

import duckdb
import netCDF4
import numpy as np
import pytest

from ingest.reader import PROJECT_ROOT

REALDATA = PROJECT_ROOT / os.environ.get("SKILLHOUSE_REALDATA", "../shared/realdata")


@pytest.fixture(scope="module")
def hawaii(tmp_path_factory, built):
    """The real study, built in a folder of its own."""
    if not (REALDATA / "hawaii").exists():
        pytest.skip(f"needs the real samples in {REALDATA} (SKILLHOUSE_REALDATA)")
    home = type(built)(tmp_path_factory.mktemp("hawaii"))
    before = sorted(p.name for p in (REALDATA / "hawaii").iterdir())
    done = home.run("build", "--study", "hawaii")
    assert done.returncode == 0, done.stdout + done.stderr
    assert sorted(p.name for p in (REALDATA / "hawaii").iterdir()) == before  # read in place
    with duckdb.connect(str(home.path / "data/hawaii/warehouse.duckdb"), read_only=True) as c:
        yield c


def test_hawaii_has_skill_at_the_surface_only(hawaii):
    rows = hawaii.execute(
        "select layer, status, count(*), min(n_days), min(delta_r) from fct_skill_gain group by all"
    ).fetchall()
    by_layer = {row[0]: row[1:] for row in rows}
    assert by_layer["ssm"][:2] == ("ok", 3) and by_layer["ssm"][2] > 500
    # ERA5-Land as given has no root zone: a reason, and no number
    assert by_layer["rzsm"] == ("baseline_no_layer", 3, 0, None)
    assert hawaii.execute(
        "select distinct status, value from fct_skill where product = 'era5_land' and layer = 'rzsm'"
    ).fetchall() == [("no_layer", None)]
    assert hawaii.execute(
        "select count(*) from fct_skill where product = 'gldas_noah' and layer = 'rzsm'"
        " and metric = 'spearman' and status = 'ok'"
    ).fetchone() == (3,)


def test_hawaii_daily_values_from_the_netcdf(hawaii):
    """GLDAS root zone of a cell: layers of 0.1, 0.3, 0.6 m in kg m-2, eight times a day."""
    cell, lat, lon = hawaii.execute(
        "select gridcell_id, box_latitude, box_longitude from bridge_gridcell_box"
        " where product = 'gldas_noah' order by all limit 1"
    ).fetchone()
    (path,) = Path(REALDATA, "hawaii").glob("GLDAS*.nc4")
    with netCDF4.Dataset(path) as data:
        i = int(np.abs(data["lat"][:] - lat).argmin())
        j = int(np.abs(data["lon"][:] - lon).argmin())
        times = netCDF4.num2date(
            data["time"][:], data["time"].units, only_use_cftime_datetimes=False
        )
        day = np.array([t.date().isoformat() == "2018-05-17" for t in times])
        kgm2 = [
            np.asarray(data[f"SoilMoi{depth}cm_inst"][day, i, j], float)
            for depth in ("0_10", "10_40", "40_100")
        ]
    layers = [
        (v / t).astype(np.float32).astype(float) for v, t in zip(kgm2, (100, 300, 600), strict=True)
    ]
    expected = np.mean(0.1 * layers[0] + 0.3 * layers[1] + 0.6 * layers[2])
    ssm, rzsm, n = hawaii.execute(
        "select ssm_m3m3, rzsm_m3m3, n_obs_rzsm from fct_daily_soil_moisture where product ="
        f" 'gldas_noah' and gridcell_id = '{cell}' and obs_date = '2018-05-17'"
    ).fetchone()
    assert n == 8
    assert ssm == pytest.approx(layers[0].mean(), abs=2e-8)
    assert rzsm == pytest.approx(expected, abs=4e-8)


def test_hawaii_factors_say_that_there_is_no_source(hawaii):
    statuses = dict(
        hawaii.execute("select factor, min(status) from fct_factor_status group by all").fetchall()
    )
    assert len(statuses) == 8
    assert statuses.pop("coupling_error") == "no_common_days"
    assert set(statuses.values()) == {"no_source"}


def test_open_loop_in_tile_space_equals_the_granules(built, home):
    """GEOSldas daily tile files of the same run give the same daily values and skill."""
    home.edit(
        lambda s: s["products"].update(
            open_loop={
                "role": "baseline",
                "source": {
                    "format": "geosldas_nc4",
                    "path": "${STUDY_DATA}/raw/geosldas",
                    "collection": "tavg24_1d_lnd_Nt",
                    "fields": ["ssm_m3m3", "rzsm_m3m3"],
                },
            }
        )
    )
    done = home.build()
    assert done.returncode == 0, done.stdout + done.stderr
    with duckdb.connect(str(home.warehouse), read_only=True) as connection:
        connection.execute(f"attach '{built.warehouse}' as granules (read_only)")
        n, away, counts = connection.execute(
            "select count(*), max(abs(a.ssm_m3m3 - b.ssm_m3m3)), max(a.n_obs_ssm)"
            " from fct_daily_soil_moisture a join granules.fct_daily_soil_moisture b"
            " using (product, gridcell_id, obs_date) where product = 'open_loop'"
        ).fetchone()
        moved = connection.execute(
            "select max(abs(a.r_baseline - b.r_baseline)) from fct_skill_gain a"
            " join granules.fct_skill_gain b using (gridcell_id, layer)"
        ).fetchone()[0]
    assert n > 3000 and away < 1e-6 and counts == 1
    assert moved < 1e-3
