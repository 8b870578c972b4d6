"""The macros of a published warehouse, against the project's own grid, plain SQL and great circles."""

from __future__ import annotations

import re

import duckdb
import numpy as np
import pytest
from pyproj import Geod

from ingest.grid import M09, gridcell_id
from ingest.reader import PROJECT_ROOT

MACROS = {"factors_of", "gridcell_at", "series", "skill_at", "why"}


@pytest.fixture
def connection(built):
    with duckdb.connect(str(built.warehouse), read_only=True) as connection:
        yield connection


def one_cell(connection) -> tuple[str, float, float]:
    return connection.execute(
        "select gridcell_id, latitude, longitude from dim_gridcell order by gridcell_id limit 1"
    ).fetchone()


def records(found) -> list[dict]:
    names = [d[0] for d in found.description]
    return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def test_every_macro_is_published_and_says_what_it_does(connection):
    found = connection.execute(
        "select function_name, comment from duckdb_functions()"
        " where database_name = 'warehouse' and not internal"
    ).fetchall()
    assert {name for name, _ in found} == MACROS
    assert all(comment and comment.endswith(".") for _, comment in found)
    page = (PROJECT_ROOT / "docs" / "queries.md").read_text()
    assert all(f"`{name}(" in page for name in MACROS)


def test_comments_of_tables_and_columns_are_readable(connection):
    assert connection.execute("describe fct_skill_gain").fetchall()
    bare = connection.execute(
        "select table_name, column_name from duckdb_columns()"
        " where not internal and comment is null"
    ).fetchall()
    assert bare == []
    assert not connection.execute(
        "select table_name from duckdb_tables() where comment is null"
    ).fetchall()


# -- gridcell_at


def test_gridcell_at_is_the_grid_of_the_project(connection):
    rng = np.random.default_rng(1)
    latitude = np.concatenate([rng.uniform(-90, 90, 3000), [85.2, -90, 90, 0, 0, 0, 0]])
    longitude = np.concatenate([rng.uniform(-360, 360, 3000), [0, 0, 0, 180, -180, 360, -360]])
    row, col = M09.index(latitude, longitude)
    wanted = [gridcell_id(r, c) if r >= 0 else None for r, c in zip(row, col, strict=True)]
    found = [
        connection.execute("select gridcell_at(?, ?)", [lat, lon]).fetchone()[0]
        for lat, lon in zip(latitude[::10], longitude[::10], strict=True)
    ]
    assert found == wanted[::10]
    edges = [
        connection.execute("select gridcell_at(?, ?)", [lat, lon]).fetchone()[0]
        for lat, lon in zip(latitude[-7:], longitude[-7:], strict=True)
    ]
    assert edges == wanted[-7:] and None in edges


@pytest.mark.parametrize("point", ["null, 1", "1, null", "91, 0", "0, 361", "'nan'::double, 0"])
def test_gridcell_at_is_null_where_there_is_no_cell(connection, point):
    assert connection.execute(f"select gridcell_at({point})").fetchone() == (None,)


# -- skill_at


def test_skill_at_gives_the_cell_that_holds_the_point(connection):
    for cell, latitude, longitude in connection.execute(
        "select gridcell_id, latitude, longitude from dim_gridcell"
    ).fetchall():
        # near the cell's corner, where a neighbour's centre is nearly as close
        found = records(
            connection.execute("from skill_at(?, ?)", [latitude + 0.035, longitude - 0.045])
        )
        assert {r["gridcell_id"] for r in found} == {cell}
        assert all(r["is_inside"] for r in found)
        assert [r["layer"] for r in found] == ["ssm", "rzsm"]
        stored = dict(
            connection.execute(
                "select layer, (delta_r, n_days, status) from fct_skill_gain where gridcell_id = ?",
                [cell],
            ).fetchall()
        )
        assert {r["layer"]: (r["delta_r"], r["n_days"], r["status"]) for r in found} == stored


def test_skill_at_prefers_the_cell_that_holds_the_point_to_a_nearer_centre(tmp_path, built):
    """A cell moved so that another centre is nearer to a point that lies in it."""
    import shutil

    path = shutil.copy(built.warehouse, tmp_path / "warehouse.duckdb")
    with duckdb.connect(str(path)) as connection:
        cell, latitude, longitude = one_cell(connection)
        connection.execute(
            "update dim_gridcell set latitude = ?, longitude = ? where gridcell_id ="
            " (select max(gridcell_id) from dim_gridcell)",
            [latitude, longitude],
        )
        connection.execute(
            "update dim_gridcell set latitude = latitude + 1 where gridcell_id = ?", [cell]
        )
        found = records(connection.execute("from skill_at(?, ?)", [latitude, longitude]))
    assert {(r["gridcell_id"], r["is_inside"]) for r in found} == {(cell, True)}


@pytest.mark.parametrize("point", [(36.0, 112.0), (0.0, -170.0), (-89.0, 10.0), (37.0, 112 - 360)])
def test_skill_at_gives_else_the_nearest_cell_and_its_distance(connection, point):
    cells = connection.execute(
        "select gridcell_id, latitude, longitude from dim_gridcell"
    ).fetchall()
    sphere = Geod(a=6371008.8, b=6371008.8)
    distance = {
        cell: sphere.inv(point[1], point[0], longitude, latitude)[2] / 1000
        for cell, latitude, longitude in cells
    }
    nearest = min(distance, key=distance.get)
    found = records(connection.execute("from skill_at(?, ?)", list(point)))
    assert {r["gridcell_id"] for r in found} == {nearest}
    assert not any(r["is_inside"] for r in found)
    assert found[0]["distance_km"] == pytest.approx(distance[nearest], rel=1e-9)


def test_skill_at_without_a_point_is_empty(connection):
    assert connection.execute("from skill_at(null, 112)").fetchall() == []


@pytest.mark.parametrize(
    ("point", "told"),
    [("91, 0", "latitude 91"), ("0, -361", "longitude -361"), ("'nan'::double, 0", "latitude nan")],
)
def test_skill_at_refuses_a_point_outside_the_world(connection, point, told):
    with pytest.raises(duckdb.Error, match=f"{told} lies outside"):
        connection.execute(f"from skill_at({point})").fetchall()


# -- series, factors_of


@pytest.mark.parametrize("spelled", [str, str.lower, str.upper, lambda cell: f" {cell} "])
def test_series_has_every_day_of_every_product(connection, spelled):
    cell, *_ = one_cell(connection)
    found = records(connection.execute("from series(?)", [spelled(cell)]))
    assert len(found) == 243 * 3
    assert [(r["obs_date"], r["product"]) for r in found] == sorted(
        (r["obs_date"], r["product"]) for r in found
    )
    for table, column in (
        ("fct_daily_soil_moisture", "ssm_m3m3"),
        ("fct_daily_soil_moisture", "n_obs_rzsm"),
        ("fct_daily_anomaly", "rzsm_anomaly_m3m3"),
    ):
        wanted = connection.execute(
            f"select {column} from {table} where gridcell_id = ? order by obs_date, product", [cell]
        ).fetchall()
        assert [r[column] for r in found] == [row[0] for row in wanted]
    roles = dict((r["product"], r["role"]) for r in found)
    assert roles == {"insitu": "insitu", "l4": "candidate", "open_loop": "baseline"}


def test_factors_of_a_cell(connection):
    cell, *_ = one_cell(connection)
    found = records(connection.execute("from factors_of(?)", [cell]))
    (stored,) = records(connection.execute("from fct_control_factor where gridcell_id = ?", [cell]))
    assert {r["factor"]: r["value"] for r in found} == {
        name: value for name, value in stored.items() if name != "gridcell_id"
    }
    for r in found:
        values = [
            row[0]
            for row in connection.execute(
                f"select {r['factor']} from fct_control_factor where {r['factor']} is not null"
            ).fetchall()
        ]
        if r["value"] is None:
            assert r["share_below"] is None and r["status"] != "ok"
        else:
            below = sum(v < r["value"] for v in values) / (len(values) - 1)
            assert r["share_below"] == pytest.approx(below)


@pytest.mark.parametrize(
    "call", ["series({})", "factors_of({})", "why({}, 'ssm')"], ids=["series", "factors_of", "why"]
)
@pytest.mark.parametrize(
    "cell",
    [
        "'M09-r1-c1'",
        "'nonsense'",
        "null",
        "''",
        "17",
        "(select replace(min(gridcell_id), 'M09', 'M36') from dim_gridcell)",
    ],
)
def test_an_unknown_cell_is_an_error(connection, call, cell):
    """A cell of the same row and column in another grid is another cell."""
    with pytest.raises(duckdb.Error, match="no study cell .*see dim_gridcell"):
        connection.execute(f"from {call.format(cell)}").fetchall()


# -- why


@pytest.mark.parametrize("layer", ["ssm", "RZSM"])
def test_why_leads_from_the_number_to_every_file(connection, layer):
    cell, *_ = one_cell(connection)
    rows = connection.execute("from why(?, ?)", [cell, layer]).fetchall()
    steps = {step: {i: v for _, s, i, v in rows if s == step} for _, step, _, _ in rows}
    assert [row[0] for row in rows] == sorted(row[0] for row in rows)
    gain = connection.execute(
        "select delta_r, n_days from fct_skill_gain where gridcell_id = ? and layer = ?",
        [cell, layer.lower()],
    ).fetchone()
    assert (float(steps["number"]["delta_r"]), int(steps["number"]["n_days"])) == gain
    assert set(steps["series"]) == {"insitu", "l4", "open_loop"}
    stations = connection.execute(
        "select station_id from dim_station where gridcell_id = ?", [cell]
    ).fetchall()
    assert set(steps["station"]) == {s for (s,) in stations} != set()
    files = connection.execute(
        "select source || '/' || source_file, 'sha256 ' || sha256 from meta_input_file"
        " where status = 'ok' and source in ('insitu', 'l4', 'open_loop')"
    ).fetchall()
    assert steps["file"] == dict(files) and len(files) > 100
    build = connection.execute("select seed::varchar, code_hash from meta_build").fetchone()
    assert (steps["seed"]["seed"], steps["build"]["code_hash"]) == build
    assert steps["setting of the statistic"]["rules.members"] == "200"
    assert steps["setting of the series"]["insitu.source.timezone"] == "Asia/Shanghai"


def test_why_names_the_files_of_the_cell_s_stations_where_an_archive_tells_them(home):
    with duckdb.connect(str(home.warehouse)) as connection:
        cell, *_ = one_cell(connection)
        (station,) = connection.execute(
            "select min(station_id) from dim_station where gridcell_id = ?", [cell]
        ).fetchone()
        connection.execute(
            f"update meta_input_file set source_file = 'a.zip/{station}/x.stm' where source = 'insitu'"
            " and source_file = (select min(source_file) from meta_input_file where source = 'insitu'"
            " and status = 'ok')"
        )
        rows = connection.execute(
            "select item from why(?, 'ssm') where step = 'file' and item like 'insitu/%'", [cell]
        ).fetchall()
    assert rows == [(f"insitu/a.zip/{station}/x.stm",)]


def test_why_leaves_out_files_that_were_not_read(home):
    with duckdb.connect(str(home.warehouse)) as connection:
        cell, *_ = one_cell(connection)
        (refused,) = connection.execute(
            "update meta_input_file set status = 'refused' where source = 'l4' and source_file ="
            " (select min(source_file) from meta_input_file where source = 'l4') returning source_file"
        ).fetchone()
        files = connection.execute(
            "select item from why(?, 'ssm') where step = 'file' and item like 'l4/%'", [cell]
        ).fetchall()
    assert files and (f"l4/{refused}",) not in files


@pytest.mark.parametrize("layer", ["'deep'", "null"])
def test_why_refuses_an_unknown_layer(connection, layer):
    with pytest.raises(duckdb.Error, match="layer is ssm or rzsm"):
        connection.execute(
            f"from why((select min(gridcell_id) from dim_gridcell), {layer})"
        ).fetchall()


def test_why_names_every_rule_of_the_series_and_the_statistic():
    """A rule that a model of the gain uses is a link of the chain."""
    used = set()
    for folder in ("soil_moisture", "skill"):
        for path in (PROJECT_ROOT / "models" / folder).glob("*.*"):
            text = path.read_text()
            used |= set(re.findall(r"\brules\.([a-z_]+)", text))
            used |= set(re.findall(r'\brules\["([a-z_]+)"\]', text))
    used -= {"spatial_block_km"}  # of intervals over cells, not of a cell's gain
    text = (PROJECT_ROOT / "skillhouse" / "table_macros.sql").read_text()
    named = set(re.findall(r"'rules\.([a-z_]+)'", text))
    assert len(used) >= 10 and used <= named
    known = re.findall(
        r"^    ([a-z_]+): ", (PROJECT_ROOT / "ingest" / "study.py").read_text(), re.M
    )
    assert named <= set(known)


# -- attached


def test_macros_work_attached_under_the_file_s_own_name(built):
    with duckdb.connect() as connection:
        connection.execute(f"attach '{built.warehouse}' (read_only)")
        cell = connection.execute("select min(gridcell_id) from warehouse.dim_gridcell").fetchone()[
            0
        ]
        assert len(connection.execute(f"from warehouse.series('{cell}')").fetchall()) == 243 * 3
        assert connection.execute("from warehouse.skill_at(35, 114)").fetchall()
        assert connection.execute(f"from warehouse.why('{cell}', 'ssm')").fetchall()
        assert connection.execute(f"from warehouse.factors_of('{cell}')").fetchall()


def test_macros_under_another_name_say_what_they_miss(built):
    with duckdb.connect() as connection:
        connection.execute(f"attach '{built.warehouse}' as w (read_only)")
        assert connection.execute("select count(*) from w.dim_gridcell").fetchone()[0] > 0
        with pytest.raises(duckdb.Error, match='Catalog "warehouse" does not exist'):
            connection.execute("from w.skill_at(35, 114)")
