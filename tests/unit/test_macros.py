"""The SQL macros against independent oracles: pyproj-checked grid points, a literal climatology."""

import datetime as dt
from pathlib import Path

import duckdb
import jinja2
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.grid import M09

MACROS = Path(__file__).parents[2] / "macros"

# places of the specification: latitude, longitude, row, column
PLACES = [
    (39.90, 116.40, 290, 3174),
    (31.23, 121.47, 390, 3229),
    (29.65, 91.10, 410, 2903),
    (43.80, 87.60, 249, 2866),
    (23.13, 113.26, 493, 3141),
    (45.75, 126.65, 229, 3284),
    (25.04, 102.71, 468, 3028),
    (20.02, 110.35, 534, 3109),
    (34.75, 113.62, 348, 3144),
    (0.0, 0.0, 812, 1928),
    (84.65641880, -179.95331950, 0, 0),
    (-84.65641880, 179.95331950, 1623, 3855),
]


def render(expression: str) -> str:
    """Text of an expression over the project's macros."""
    environment = jinja2.Environment(extensions=["jinja2.ext.do"])
    source = "".join((MACROS / f).read_text() for f in ("ease_grid.sql", "calendar.sql"))
    return environment.from_string(source + "{{ " + expression + " }}").render().strip()


@pytest.fixture(scope="module")
def ease():
    """Rows and columns of points by the SQL macros."""
    row, col = render("ease_row('lat')"), render("ease_col('lon')")
    query = f"select {row}, {col} from points order by i"

    def index(latitude, longitude):
        points = pl.DataFrame({"lat": latitude, "lon": longitude}).with_row_index("i")
        with duckdb.connect() as connection:
            connection.register("points", points.to_arrow())
            return connection.execute(query).fetchall()

    return index


def test_ease_grid_places(ease):
    found = ease([p[0] for p in PLACES], [p[1] for p in PLACES])
    assert found == [(p[2], p[3]) for p in PLACES]


def test_ease_grid_edges_of_the_world(ease):
    found = ease([90.0, -90.0, 85.05, 10.0, 10.0, 91.0], [0.0, 0.0, 0.0, 180.0, -180.0, 0.0])
    assert [row for row, _ in found] == [None, None, None, found[3][0], found[3][0], None]
    assert found[3][1] == found[4][1] == 0  # +180 is -180


def test_point_on_an_edge_belongs_south_and_east(ease):
    x_edge = M09.x0_m + 3000 * M09.cell_m
    lon = np.rad2deg(x_edge / (6378137.0 * 0.8667510025722055))
    (_, at), (_, west) = ease([0.0, 0.0], [lon + 1e-12, lon - 1e-9])
    assert (at, west) == (3000, 2999)
    assert ease([0.0], [0.0])[0] == (812, 1928)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.floats(-85, 85), st.floats(-180, 180)), min_size=1, max_size=50))
def test_sql_and_python_agree(ease, points):
    latitude, longitude = (list(v) for v in zip(*points, strict=True))
    row, col = M09.index(latitude, longitude)
    expected = [(None if r < 0 else r, c) for r, c in zip(row.tolist(), col.tolist(), strict=True)]
    found = ease(latitude, longitude)
    assert [f[0] for f in found] == [e[0] for e in expected]
    assert [f[1] for f, e in zip(found, expected, strict=True) if e[0] is not None] == [
        e[1] for e in expected if e[0] is not None
    ]


@pytest.mark.parametrize(
    ("day", "index"),
    [
        ("2017-01-01", 0),
        ("2017-12-31", 364),
        ("2016-02-28", 58),
        ("2016-02-29", 58),
        ("2016-03-01", 59),
        ("2017-03-01", 59),
        ("2016-12-31", 364),
    ],
)
def test_leap_day_shares_28_february(day, index):
    call = render("climatology_day('day')")
    assert duckdb.sql(f"select {call} from (select date '{day}' as day)").fetchone() == (index,)


@pytest.mark.parametrize(
    ("label", "stamp", "day"),
    [
        ("hour_ending", "2017-01-02 00:00:00", dt.date(2017, 1, 1)),
        ("hour_ending", "2017-01-02 01:00:00", dt.date(2017, 1, 2)),
        ("instant", "2017-01-02 00:00:00", dt.date(2017, 1, 2)),
        ("window_centre", "2017-01-01 22:30:00", dt.date(2017, 1, 1)),
    ],
)
def test_utc_day(label, stamp, day):
    call = render(f"utc_day('stamp', '{label}')")
    found = duckdb.sql(f"select {call} from (select timestamp '{stamp}' as stamp)").fetchone()
    assert found == (day,)


def climatology(frame: pl.DataFrame, window: int = 31, minimum: int = 10) -> dict[int, float]:
    call = f"circular_climatology('series', ['key'], ['x'], {window}, {minimum})"
    with duckdb.connect() as connection:
        connection.register("series", frame.to_arrow())
        return dict(
            connection.execute(
                f"select day_index, x_climatology from ({render(call)}) order by 1"
            ).fetchall()
        )


def daily(values, start=dt.date(2017, 1, 1)) -> pl.DataFrame:
    days = [start + dt.timedelta(days=i) for i in range(len(values))]
    return pl.DataFrame({"key": "a", "obs_date": days, "x": values}).with_columns(
        pl.col("x").cast(pl.Float32)
    )


def test_climatology_reference_values():
    k = np.arange(365.0)
    found = climatology(daily(np.concatenate([k, k + 10])))
    expected = {0: 181.61290, 1: 170.83871, 15: 20, 182: 187, 350: 343.22581, 364: 192.38710}
    assert len(found) == 365
    for day, value in expected.items():
        assert found[day] == pytest.approx(value, abs=5e-6)


def test_climatology_is_the_literal_pooled_mean():
    rng = np.random.default_rng(3)
    values = rng.normal(0.25, 0.05, 3 * 365 + 1).astype(np.float32).astype(float)
    values[rng.random(len(values)) < 0.4] = np.nan
    frame = daily([None if np.isnan(v) else v for v in values], dt.date(2015, 7, 1))
    found = climatology(frame, window=21, minimum=12)
    index = []
    for day in frame["obs_date"]:
        k = day.timetuple().tm_yday - 1
        leap = day.year % 4 == 0
        index.append(k - 1 if leap and k >= 59 else k)
    index = np.array(index)
    for k in range(365):
        near = np.minimum((index - k) % 365, (k - index) % 365) <= 10
        inside = values[near & ~np.isnan(values)]
        if len(inside) < 12:
            assert found[k] is None
        else:
            assert found[k] == pytest.approx(inside.mean(), abs=1e-14)


def test_climatology_needs_enough_samples():
    values = [0.2] * 9 + [None] * 356
    assert set(climatology(daily(values)).values()) == {None}
    values = [0.2] * 10 + [None] * 355
    assert climatology(daily(values))[5] == pytest.approx(0.2, abs=1e-8)
