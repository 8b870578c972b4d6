"""EASE-Grid 2.0 against the specification's points and against PROJ."""

import numpy as np
import pyproj
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.grid import M09, M36, gridcell_id, project, unproject

CENTRES = {
    (290, 3174): (39.904580, 116.374481),
    (390, 3229): (31.253714, 121.509336),
    (410, 2903): (29.621326, 91.073651),
    (249, 2866): (43.767897, 87.619295),
    (812, 1928): (-0.035305, 0.046680),
    (0, 0): (84.65641880, -179.95331950),
    (1623, 3855): (-84.65641880, 179.95331950),
}
PARENTS = {(39.90, 116.40): (72, 793), (31.23, 121.47): (97, 807), (20.02, 110.35): (133, 777)}


@pytest.mark.parametrize(("cell", "centre"), CENTRES.items())
def test_centres(cell, centre):
    assert M09.centre(*cell) == pytest.approx(centre, abs=6e-7)


@pytest.mark.parametrize(("place", "cell"), PARENTS.items())
def test_coarse_parent(place, cell):
    row, col = M09.index(*place)
    assert (int(row) // 4, int(col) // 4) == cell
    assert tuple(int(i) for i in M36.index(*place)) == cell


def test_first_coarse_centre():
    assert M36.centre(0, 0) == pytest.approx((83.631975279, -179.813278008), abs=1e-8)


def test_projection_agrees_with_proj():
    rng = np.random.default_rng(1)
    lat, lon = rng.uniform(-84, 84, 2000), rng.uniform(-180, 180, 2000)
    x, y = pyproj.Transformer.from_crs(4326, 6933, always_xy=True).transform(lon, lat)
    found = project(lat, lon)
    assert np.abs(found[0] - x).max() < 1e-5
    assert np.abs(found[1] - y).max() < 1e-5


@given(st.integers(0, 1623), st.integers(0, 3855))
def test_round_trip(row, col):
    assert tuple(int(i) for i in M09.index(*M09.centre(row, col))) == (row, col)


@given(st.floats(-85, 85), st.floats(-179.9, 179.9))
def test_unproject_inverts(lat, lon):
    assert unproject(*project(lat, lon)) == pytest.approx((lat, lon), abs=1e-9)


def test_outside_the_grid():
    row, col = M09.index([86.0, -90.0, np.nan, 0.0, 91.0], [0.0, 0.0, 0.0, np.nan, 0.0])
    assert row.tolist() == [-1] * 5
    assert col.tolist() == [-1] * 5


def test_date_line():
    assert [int(v) for v in M09.index(10, 180.0)] == [int(v) for v in M09.index(10, -180.0)]
    assert int(M09.index(10, 179.9999)[1]) == 3855
    assert gridcell_id(1, 2) == "M09-r1-c2"
