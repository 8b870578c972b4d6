"""Models over readings keep to a memory limit far below their input: what does not fit goes to disk."""

import copy

import duckdb
import jinja2
import pytest

from ingest.reader import PROJECT_ROOT
from tests.sql_context import VARS, config, ref

SOIL_MOISTURE = PROJECT_ROOT / "models" / "soil_moisture"
N_STATIONS, N_DAYS, N_HOURS = 300, 800, 24


def rendered(model: str, **insitu) -> str:
    """A model's SQL, its inputs by their bare names, for stations of another kind."""
    variables = copy.deepcopy(VARS)
    variables["study"]["insitu"] |= insitu
    variables["study"]["rules"]["qc_plateau"] = False
    macros = "".join(path.read_text() for path in sorted((PROJECT_ROOT / "macros").glob("*.sql")))
    environment = jinja2.Environment(extensions=["jinja2.ext.do"])
    environment.globals |= {"ref": ref, "config": config, "var": variables.get}
    return environment.from_string(macros + (SOIL_MOISTURE / f"{model}.sql").read_text()).render()


@pytest.fixture
def small(tmp_path):
    """A database with little memory and a folder to spill to."""
    with duckdb.connect(str(tmp_path / "small.duckdb")) as connection:
        connection.execute("set threads = 1; set memory_limit = '100MiB'")
        connection.execute(f"set temp_directory = '{tmp_path / 'spill'}'")
        connection.execute("set preserve_insertion_order = false")
        yield connection


def test_days_of_stations(small):
    """1.2 million daily values of five depths: the weighted mean of each station and day."""
    small.execute(f"""
        create table int_station_layer as
        select 's' || s as station_id, d / 10 - 0.05 as depth_m, d = 1 as is_surface, 0.1 as rzsm_weight_m
        from range({N_STATIONS}) as station (s), range(1, 6) as depth (d)
    """)
    small.execute(f"""
        create table int_station_depth_day as
        select 's' || s as station_id, d / 10 - 0.05 as depth_m, date '2017-01-01' + t::integer as obs_date,
            (d / 20)::float as sm_m3m3, 24::bigint as n_hours
        from range({N_STATIONS}) as station (s), range({N_DAYS}) as day (t), range(1, 6) as depth (d)
    """)
    small.execute(f"create table found as {rendered('int_station_day')}")
    mean = (
        sum(duckdb.sql(f"select ({d} / 20)::float::double").fetchone()[0] for d in range(1, 6)) / 5
    )
    found = small.execute(
        "select count(*), min(ssm_m3m3), max(ssm_m3m3), min(rzsm_m3m3), max(rzsm_m3m3) from found"
    ).fetchone()
    assert found[0] == N_STATIONS * N_DAYS
    assert found[1:] == pytest.approx((0.05, 0.05, mean, mean), abs=1e-8)


def test_days_of_sensors(small):
    """Hourly values of two sensors at one depth, 4.8 million: the mean of the hours' means."""
    n_stations, n_days = 50, 2000
    small.execute(f"""
        create table stg_reading as
        select 's' || s as station_id, k as sensor_id, date '2017-01-01' + t::integer as obs_date,
            timestamp '2017-01-01' + interval 1 hour * (24 * t + h) as observed_at,
            (0.1 * k + h / 1000)::float as sm_m3m3
        from range({n_stations}) as station (s), range(1, 3) as sensor (k), range({n_days}) as day (t),
            range({N_HOURS}) as hour (h)
    """)
    small.execute(
        "create table int_station as select distinct station_id, 'ok' as status from stg_reading"
    )
    small.execute("""
        create table stg_sensor as
        select distinct station_id, sensor_id, 0.05 as depth_top_m, 0.05 as depth_bottom_m from stg_reading
    """)
    small.execute(
        "create table int_shared_day as from stg_reading select station_id, sensor_id, obs_date limit 0"
    )
    small.execute(f"create table found as {rendered('int_station_depth_day', format='ismn')}")
    found = small.execute(
        "select count(*), min(sm_m3m3), max(sm_m3m3), min(n_hours) from found"
    ).fetchone()
    assert found == pytest.approx((n_stations * n_days, 0.1615, 0.1615, N_HOURS), abs=1e-7)
