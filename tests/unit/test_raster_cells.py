"""Pixels to cells: geometry against pyproj and against the rule spelled out pixel by pixel."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyproj
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.grid import M09
from ingest.sources import raster_cells as rc

ROOT = Path(__file__).resolve().parents[2]
REALDATA = Path(os.environ.get("SKILLHOUSE_REALDATA", ROOT / "../shared/realdata"))
SPHERE = pyproj.Proj("+proj=sinu +R=6371007.181 +units=m")

latitudes = st.floats(-84.9, 84.9)
longitudes = st.floats(-179.99, 179.99)


def pixel_by_pixel(lat, lon, cells):
    """The rule itself: project every pixel centre, floor, compare."""
    row, col = M09.index(*np.meshgrid(lat, lon, indexing="ij"))
    return [np.argwhere((row == r) & (col == c)) for r, c in cells]


def from_windows(windows, n_cells):
    found = [set() for _ in range(n_cells)]
    for w in windows:
        for i, j in np.argwhere(w.cell >= 0):
            pixel = (w.rows.start + i, w.cols.start + j)
            cell = w.members[w.cell[i, j]]
            assert pixel not in found[cell]
            found[cell].add(pixel)
    return found


@given(latitudes, longitudes)
def test_sinusoidal_agrees_with_proj_on_the_sphere(lat, lon):
    assert np.allclose(rc.sinusoidal(lat, lon), SPHERE(lon, lat), atol=1e-6, rtol=0)


@given(latitudes, longitudes)
def test_sinusoidal_round_trip(lat, lon):
    assert np.allclose(
        rc.sinusoidal_inverse(*rc.sinusoidal(lat, lon)), (lat, lon), atol=1e-9, rtol=0
    )


def test_off_the_globe_is_nan():
    lat, lon = rc.sinusoidal_inverse(-20_000_000.0, 9_000_000.0)
    assert np.isfinite(lat) and np.isnan(lon)


@given(st.integers(0, rc.MODIS_ROWS - 1), st.floats(0.0001, 0.9999))
def test_pixel_of_a_pixels_centre_is_itself(row, across):
    lat = rc.modis_centre(row, rc.MODIS_COLS // 2)[0]
    half = rc.sinusoidal(lat, 180.0)[0] / rc.MODIS_PIXEL_M  # pixels from the meridian to the rim
    col = int(rc.MODIS_COLS // 2 - half + 1 + across * max(0.0, 2 * half - 3))
    lat, lon = rc.modis_centre(row, col)
    if np.isfinite(lon):
        assert [int(i) for i in rc.modis_pixel(lat, lon)] == [row, col]


@given(latitudes, longitudes)
def test_a_point_lies_within_half_a_pixel_of_its_pixels_centre(lat, lon):
    x, y = rc.sinusoidal(lat, lon)
    row, col = rc.modis_pixel(lat, lon)
    centre_x = rc.MODIS_X0_M + (col + 0.5) * rc.MODIS_PIXEL_M
    centre_y = rc.MODIS_Y0_M - (row + 0.5) * rc.MODIS_PIXEL_M
    assert abs(x - centre_x) <= rc.MODIS_PIXEL_M / 2 + 1e-6
    assert abs(y - centre_y) <= rc.MODIS_PIXEL_M / 2 + 1e-6


@given(st.integers(0, 35), st.integers(0, 17), st.integers(0, 2399), st.integers(0, 2399))
def test_tile_arithmetic(h, v, row, col):
    name = f"h{h:02d}v{v:02d}"
    top, left = rc.tile_corner(name)
    assert rc.tile_name(top + row, left + col) == name
    # the published tile width, not the code's own pixel
    assert abs(left * rc.MODIS_PIXEL_M - h * 1111950.5197) < 0.01
    assert abs(top * rc.MODIS_PIXEL_M - v * 1111950.5197) < 0.01


@pytest.mark.parametrize(
    "lat, lon, tile",  # places whose tile is well known
    [
        (39.9, 116.4, "h26v05"),
        (31.23, 121.47, "h28v05"),
        (20.7, -156.3, "h03v06"),
        (40.4, -3.7, "h17v04"),
    ],
)
def test_known_tiles(lat, lon, tile):
    assert rc.tile_name(*(int(i) for i in rc.modis_pixel(lat, lon))) == tile


def test_a_cell_has_378_modis_pixels_on_average():
    # both grids keep areas, on slightly different earths: 9008.055^2 / 463.3127^2
    rows, cols = np.meshgrid(np.arange(300, 330), np.arange(3050, 3080), indexing="ij")
    cells = np.stack([rows.ravel(), cols.ravel()], axis=1)
    lat, lon = M09.centre(cells[:, 0], cells[:, 1])
    row, col = rc.modis_pixel(lat, lon)
    top, left = int(row.min()) - 30, int(col.min()) - 60
    shape = (int(row.max()) - top + 30, int(col.max()) - left + 60)
    n = np.zeros(len(cells), dtype=np.int64)
    for w in rc.SinusoidalPixels(top, left, shape, cells).windows():
        w.add(n, w.cell >= 0)
    assert abs(n.mean() - 378.0) < 1.5
    assert n.min() > 320 and n.max() < 440


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 1622),
    st.integers(0, 3855),
    st.sampled_from([1 / 112, 1 / 120, 0.05]),
    st.booleans(),
    st.randoms(use_true_random=False),
)
def test_latlon_windows_are_the_rule_itself(row, col, step, ascending, rng):
    lat0, lon0 = M09.centre(row, col)
    n = int(0.6 / step)
    lat = float(lat0) + step * (n / 2 - 0.37 - np.arange(n))
    lon = float(lon0) + step * (np.arange(n) - n / 2 + 0.21)
    lat = lat[::-1] if ascending else lat
    box = [(row + i, col + j) for i in range(-1, 2) for j in range(-1, 2)]
    cells = np.array([c for c in box if 0 <= c[0] < 1624 and 0 <= c[1] < 3856])
    cells = cells[rng.sample(range(len(cells)), max(1, len(cells) - 3))]
    pixels = rc.LatLonPixels(lat, lon, cells)
    truth = pixel_by_pixel(lat, lon, cells)
    found = from_windows(pixels.windows(block_cells=2), len(cells))
    assert found == [{tuple(p) for p in t} for t in truth]
    assert pixels.n_inside.tolist() == [len(t) for t in truth]
    assert (pixels.n_pixels >= pixels.n_inside).all()


def test_latlon_counts_go_on_beyond_the_rim():
    step = 1 / 120
    lat = 41 - (np.arange(240) + 0.5) * step
    lon = 116 + (np.arange(240) + 0.5) * step
    row, col = (int(i) for i in M09.index(40.0, 117.0))
    cells = np.array([[row, col], [row - 3, col + 2]])
    whole = rc.LatLonPixels(lat, lon, cells)
    half = rc.LatLonPixels(lat[: np.searchsorted(-lat, -40.02)], lon, cells)
    assert half.n_pixels.tolist() == whole.n_pixels.tolist() == whole.n_inside.tolist()
    assert 0 < half.n_inside[0] < half.n_pixels[0]
    assert np.allclose(half.area, whole.area, rtol=1e-12)
    weights = [np.cos(np.deg2rad(lat[p[:, 0]])).sum() for p in pixel_by_pixel(lat, lon, cells)]
    assert np.allclose(whole.area, weights, rtol=1e-12)


def test_longitudes_from_0_to_360_and_the_date_line():
    step = 0.05
    lat = 1 - (np.arange(40) + 0.5) * step
    east = (np.arange(7200) + 0.5) * step
    west = -180 + east
    cells = np.array([[812, 0], [812, 3855], [811, 1000]])
    a, b = rc.LatLonPixels(lat, east, cells), rc.LatLonPixels(lat, west, cells)
    assert a.n_inside.tolist() == b.n_inside.tolist() == a.n_pixels.tolist()
    assert all(a.n_inside > 0)


@settings(max_examples=10, deadline=None)
@given(st.floats(-60, 60), st.floats(-170, 170), st.randoms(use_true_random=False))
def test_sinusoidal_windows_are_the_rule_itself(lat, lon, rng):
    row, col = (int(i) for i in M09.index(lat, lon))
    top, left = (int(i) for i in rc.modis_pixel(lat, lon))
    top, left, shape = top - rng.randrange(60), left - rng.randrange(60), (70, 70)
    cells = np.array([[row + i, col + j] for i in range(-1, 3) for j in (-1, 0, 2)])
    pixel_lat, pixel_lon = rc.modis_centre(
        top + np.arange(70)[:, None], left + np.arange(70)[None, :]
    )
    got = M09.index(np.broadcast_to(pixel_lat, shape), pixel_lon)
    truth = [set(map(tuple, np.argwhere((got[0] == r) & (got[1] == c)))) for r, c in cells]
    windows = list(rc.SinusoidalPixels(top, left, shape, cells).windows(block_pixels=700))
    assert from_windows(windows, len(cells)) == truth


def test_scattered_cells_are_read_in_small_blocks_not_one_box():
    lat = 90 - (np.arange(21600) + 0.5) / 120
    lon = -180 + (np.arange(43200) + 0.5) / 120
    cells = np.array([[160, 2720], [300, 3000], [301, 3001], [560, 3370]])
    windows = list(rc.LatLonPixels(lat, lon, cells).windows())
    assert len(windows) == 3
    assert sum(w.cell.size for w in windows) < 2000
    assert [w.rows.start for w in windows] == sorted(w.rows.start for w in windows)
    upward = list(rc.LatLonPixels(lat[::-1], lon, cells).windows())
    assert [w.rows.start for w in upward] == sorted(w.rows.start for w in upward)


def test_window_sums_are_plain_sums():
    window = rc.Window(
        slice(0, 2), slice(0, 3), np.array([[0, 0, -1], [1, 1, 1]]), np.array([4, 2])
    )
    values = np.array([[1.0, 2.0, 100.0], [5.0, 6.0, 7.0]])
    total, count = np.zeros(5), np.zeros(5, dtype=np.int64)
    chosen = (window.cell >= 0) & (values != 6.0)
    window.add(total, chosen, values)
    window.add(count, chosen)
    assert total.tolist() == [0, 0, 12, 0, 3] and count.tolist() == [0, 0, 2, 0, 2]


def test_no_cells_inside_gives_no_windows():
    lat, lon = 40 - np.arange(20) / 120, 116 + np.arange(20) / 120
    pixels = rc.LatLonPixels(lat, lon, np.array([[800, 100]]))
    assert list(pixels.windows()) == [] and pixels.n_inside.tolist() == [0]
    assert pixels.n_pixels[0] > 80
    assert list(rc.SinusoidalPixels(0, 0, (10, 10), np.empty((0, 2))).windows()) == []


def peak_of(code: str) -> float:
    """Peak memory (MiB) of a fresh interpreter that runs `code` in the project."""
    done = subprocess.run(
        # not ru_maxrss: it starts from the memory of the process that forked this one
        [sys.executable, "-c", code + "\n"
         "peak = next(w for w in open('/proc/self/status') if w.startswith('VmHWM'))\n"
         "print(int(peak.split()[1]) / 1024)"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return float(done.stdout.split()[-1])


def test_windows_of_a_global_raster_stay_small_in_memory():
    peak = peak_of(
        "import numpy as np\n"
        "from ingest.sources.raster_cells import LatLonPixels\n"
        "lat = 90 - (np.arange(21600) + 0.5) / 120\n"
        "lon = -180 + (np.arange(43200) + 0.5) / 120\n"
        "r, c = np.meshgrid(np.arange(156, 562, 5), np.arange(2715, 3376, 5), indexing='ij')\n"
        "cells = np.stack([r.ravel(), c.ravel()], axis=1)\n"
        "n = np.zeros(len(cells), dtype=np.int64)\n"
        "p = LatLonPixels(lat, lon, cells)\n"
        "for w in p.windows(): w.add(n, w.cell >= 0)\n"
        "assert n.tolist() == p.n_pixels.tolist()\n"
    )
    assert peak < 400


def test_real_mcd12c1_windows_equal_the_whole_array():
    path = REALDATA / "mcd12c1/MCD12C1.A2019001.006.2020220162300.tif"
    if not path.exists():
        pytest.skip("real MCD12C1 sample not at SKILLHOUSE_REALDATA")
    rasterio = pytest.importorskip("rasterio")
    with rasterio.open(path) as raster:
        lat = raster.transform.f + raster.transform.e * (np.arange(raster.height) + 0.5)
        lon = raster.transform.c + raster.transform.a * (np.arange(raster.width) + 0.5)
        cells = np.array([[290, 3174], [390, 3229], [410, 2903], [812, 1928], [0, 0], [1200, 700]])
        pixels = rc.LatLonPixels(lat, lon, cells)
        total = np.zeros(len(cells))
        for w in pixels.windows():
            part = raster.read(1, window=((w.rows.start, w.rows.stop), (w.cols.start, w.cols.stop)))
            w.add(total, w.cell >= 0, part)
        whole = raster.read(1)
    truth = []
    for cell in cells:  # the rule on a box of 3 degrees around each cell
        centre_lat, centre_lon = M09.centre(*cell)
        i = np.flatnonzero(np.abs(lat - centre_lat) < 1.5)
        j = np.flatnonzero(np.abs(lon - centre_lon) < 1.5)
        (pixel,) = pixel_by_pixel(lat[i], lon[j], [cell])
        truth.append(float(whole[i[pixel[:, 0]], j[pixel[:, 1]]].sum()))
    assert total.tolist() == truth and sum(truth) > 0
