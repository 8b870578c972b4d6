"""The report's parts that need no warehouse: packed series, coastlines, scales, histograms."""

import re
import zlib

import numpy as np
import polars as pl
import pytest
import shapely
import vl_convert
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.reader import BadInput
from report.gallery import complete_spec
from report.maps import (
    CELL_DEGREES,
    COASTLINES,
    Extent,
    cell_map,
    diverging,
    extent_of,
    histogram_rows,
    legend_histogram,
    outlines,
    sequential,
)
from report.reading import read_findings
from report.series import MAX_BYTES, STEPS_M3M3, pack, unpack

VALUES = st.one_of(st.floats(-0.6, 0.6), st.just(float("nan")))


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 3).flatmap(
        lambda n: st.lists(VALUES, min_size=2 * n * 11, max_size=2 * n * 11).map(
            lambda values: np.reshape(values, (2, n, 11))
        )
    )
)
def test_packed_series_come_back_within_half_a_step(values):
    step = STEPS_M3M3[0]
    back = unpack(pack(values, step=step), shape=values.shape, step=step)
    assert (np.isnan(back) == np.isnan(values)).all()
    assert np.nanmax(np.abs(back - values), initial=0) <= step / 2 + 1e-12


def test_layout_of_packed_bytes_by_hand():
    """Known days as bits, then low bytes, then high bytes of folded day-to-day changes."""
    raw = zlib.decompress(pack(np.array([[[0.01, np.nan, -0.29]]]), step=0.001))
    # 10, held 10, then -290: changes +10, 0, -300, folded to 20, 0, 599 = 2 * 256 + 87
    assert raw == bytes([0b10100000, 20, 0, 87, 0, 0, 2])


def test_the_last_product_is_held_as_difference_to_the_one_before_it():
    raw = zlib.decompress(pack(np.array([[[0.01, 0.02], [0.012, np.nan]]]), step=0.001))
    # 10, 20: changes +10, +10; 12, held 12: differences 2, -8, changes +2, -10
    assert raw == bytes([0b11100000, 20, 20, 4, 19, 0, 0, 0, 0])


def test_values_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="does not fit 16 bits"):
        pack(np.array([[[-20.0, 20.0]]]), step=0.0005)


def test_series_of_a_study_of_the_published_size_fit_the_page():
    """2287 cells x 730 days x 3 products x 2 layers, with the noise and memory of real soil."""
    rng, n_cells, days = np.random.default_rng(1), 40, 730
    scale = np.array([0.043, 0.031, 0.031, 0.033, 0.022, 0.022])[:, None]  # m3 m-3, as in the twin
    memory = np.array([0.75, 0.85, 0.85, 0.92, 0.98, 0.98])
    sizes = dict.fromkeys(STEPS_M3M3, 0)
    for _ in range(n_cells):
        noise = rng.normal(size=(6, days))
        for day in range(1, days):
            noise[:, day] = memory * noise[:, day - 1] + np.sqrt(1 - memory**2) * noise[:, day]
        for step in STEPS_M3M3:
            packed = pack((noise * scale).reshape(2, 3, days), step=step)
            sizes[step] += -(-len(packed) // 3) * 4  # base64
    whole = {step: size * 2287 / n_cells for step, size in sizes.items()}
    assert min(whole.values()) < MAX_BYTES  # with the coarser step for sure
    assert whole[STEPS_M3M3[0]] < 13_500_000  # and nearly so with the finer one


@pytest.mark.parametrize(
    ("place", "longitude", "latitude", "is_land"),
    [
        ("Beijing", 116.4, 39.9, True),
        ("Alice Springs", 133.88, -23.7, True),
        ("Big Island of Hawaii", -155.5, 19.6, True),
        ("Gulf of Guinea", 0.5, 0.5, False),
        ("North Pacific", -170.5, 35.0, False),
    ],
)
def test_land_is_where_it_is(place, longitude, latitude, is_land):
    land = outlines(Extent(longitude - 1, longitude + 1, latitude - 1, latitude + 1))["land"]
    rings = [
        shapely.Polygon(part.select("longitude", "latitude").to_numpy())
        for part in land.partition_by("part")
    ]
    point = shapely.Point(longitude, latitude)
    assert any(ring.contains(point) for ring in rings) is is_land, place


def test_borders_are_drawn_between_countries_only():
    pyrenees = outlines(Extent(-1.5, 2.5, 42.0, 43.5))["borders"]
    assert pyrenees.height > 5
    assert pyrenees["latitude"].is_between(42.0, 43.5).all()
    assert outlines(Extent(-156.5, -154.5, 19.0, 20.5))["borders"].is_empty()


def test_the_shipped_outlines_stay_small():
    assert COASTLINES.stat().st_size < 800_000


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.floats(-60, 70), st.floats(-170, 170)), min_size=1, max_size=20))
def test_window_holds_all_cells_and_is_no_ribbon(places):
    latitude, longitude = zip(*places, strict=True)
    extent = extent_of(pl.DataFrame({"latitude": latitude, "longitude": longitude}))
    half = CELL_DEGREES / 2
    assert extent.west <= min(longitude) - half and max(longitude) + half <= extent.east
    assert extent.south <= min(latitude) - half and max(latitude) + half <= extent.north
    assert 0.55 <= extent.aspect <= 1 / 0.55


def test_scales_cover_the_data():
    values = pl.Series([0.011, *np.linspace(0.113, 0.787, 98), 0.99])
    scale = sequential(values, "R")
    assert scale.low <= values.quantile(0.02) and scale.high >= values.quantile(0.98)
    assert (scale.low, scale.high) == (0.1, 0.8)
    gain = diverging(pl.Series([-0.03, 0.049, 0.17, None]), "ΔR")
    assert gain.low == -gain.high and 0.15 < gain.high <= 0.25
    assert sequential(pl.Series([0.4, 0.4]), "R").low < 0.4 < sequential(pl.Series([0.4]), "R").high
    assert diverging(pl.Series([], dtype=pl.Float64), "ΔR").high > 0


def test_histogram_counts_every_known_cell_once():
    cells = pl.DataFrame(
        {
            "gain": [-9.0, -0.05, 0.0, 0.05, 0.051, 9.0, None],
            "ssm_iid_significant": [True, True, False, False, True, True, None],
            "ssm_block_significant": [True, False, False, None, False, True, None],
        }
    )
    scale = diverging(pl.Series([0.1]), "ΔR")
    rows = histogram_rows(cells, "gain", scale, "ssm")
    assert rows["n"].sum() == 6
    assert rows["n_iid"].sum() == 4
    assert rows["n_block"].sum() == 2
    assert (rows["n"][0], rows["n"][-1]) == (1, 1)  # beyond the scale
    at_zero = rows.filter((pl.col("low") <= 0.0) & (pl.col("high") > 0.0))
    assert at_zero["n"].sum() == 1


def test_a_histogram_of_few_cells_counts_them_in_whole_numbers():
    cells = pl.DataFrame({"r": [0.2, 0.5, 0.7]})
    scale = sequential(cells["r"], "R (–)")
    data = {"few": histogram_rows(cells, "r", scale, None)}
    svg = vl_convert.vegalite_to_svg(
        complete_spec(legend_histogram("few", scale), data, cell_px=3, mask="none")
    )
    counts = re.findall(r">(\d+)</text>", svg)
    assert sorted(counts) == ["0", "1"]


def test_a_cell_without_a_value_has_a_shape_of_its_own():
    """On any colour scale: its palest colour is that of the land, its darkest that of the night."""
    extent = Extent(100, 101, 30, 31)
    cells = pl.DataFrame(
        {"gridcell_id": ["a", "b"], "longitude": [100.3, 100.6], "latitude": [30.5, 30.5],
         "r": [0.4, None], "status": ["ok", "too_few_days"]}
    )  # fmt: skip
    colour = sequential(cells["r"], "R").encoding("r")
    chart = cell_map("r", extent=extent, colour=colour, status="status", tooltip=[])
    svg = vl_convert.vegalite_to_svg(
        complete_spec(chart, {"cells": cells, **outlines(extent)}, cell_px=6, mask="none")
    )
    shape = dict(re.findall(r'status: (\w+)"[^>]* d="([^"]+)"', svg))
    assert shape.keys() == {"ok", "too_few_days"}
    assert shape["ok"].endswith("Z") and not shape["too_few_days"].endswith("Z")  # square, cross


def test_no_warehouse_is_told(tmp_path):
    with pytest.raises(BadInput, match="make build STUDY"):
        read_findings(tmp_path / "warehouse.duckdb")
