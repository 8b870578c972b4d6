"""Maps of cells: extent, coastlines, the map itself and the histogram that serves as its legend."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import altair as alt
import numpy as np
import polars as pl
import shapely

COASTLINES = Path(__file__).with_name("coastlines.json")
CELL_DEGREES = 360 / 3856  # width of a cell of the 9 km EASE-Grid 2.0
MUTED = "#9b9b9b"
_MIN_SPAN_DEGREES = 1.6
_MARGIN = 0.05
_BINS = 24
_AXIS_WIDTH = 46
_CROSS = "M-1,-1L1,1M-1,1L1,-1"


@dataclass(frozen=True)
class Extent:
    """Window of a map in degrees, shown with equal scale along its middle parallel."""

    west: float
    east: float
    south: float
    north: float

    @property
    def aspect(self) -> float:
        """Height over width."""
        middle = math.radians((self.south + self.north) / 2)
        return (self.north - self.south) / ((self.east - self.west) * math.cos(middle))


def extent_of(cells: pl.DataFrame) -> Extent:
    """Window around all cells with a margin, neither tiny nor a ribbon.

    >>> extent_of(pl.DataFrame({"latitude": [0.0, 0.0], "longitude": [10.0, 20.0]}))
    Extent(west=9.5, east=20.5, south=-3.3, north=3.3)
    """
    latitude, longitude = cells["latitude"], cells["longitude"]
    y, x = (latitude.min() + latitude.max()) / 2, (longitude.min() + longitude.max()) / 2
    shrink = math.cos(math.radians(y))
    height = max((latitude.max() - latitude.min()) * (1 + 2 * _MARGIN), _MIN_SPAN_DEGREES)
    width = max((longitude.max() - longitude.min()) * (1 + 2 * _MARGIN) * shrink, _MIN_SPAN_DEGREES)
    height, width = max(height, 0.6 * width), max(width, 0.6 * height)
    half_x, half_y = width / shrink / 2, height / 2
    return Extent(*(round(v, 4) for v in (x - half_x, x + half_x, y - half_y, y + half_y)))


def outlines(extent: Extent) -> dict[str, pl.DataFrame]:
    """Land and borders inside a window, as points of numbered parts in drawing order.

    Args:
        extent: window of the map.
    Returns:
        frames `land` (closed rings) and `borders` with part, longitude, latitude.
    """
    topology = json.loads(COASTLINES.read_text())
    (step_x, step_y), objects = topology["transform"]["scale"], topology["objects"]
    arcs = [np.cumsum(arc, axis=0) * (step_x, step_y) for arc in topology["arcs"]]

    def joined(numbers: list[int]) -> np.ndarray:
        return np.concatenate([arcs[n] if n >= 0 else arcs[~n][::-1] for n in numbers])

    window = shapely.box(extent.west, extent.south, extent.east, extent.north)
    rings = [shapely.Polygon(joined(ring)) for part in objects["land"]["arcs"] for ring in part[:1]]
    lines = [shapely.LineString(joined(line)) for line in objects["borders"]["arcs"]]
    land = [
        shapely.get_coordinates(polygon.exterior)
        for ring in rings
        if ring.intersects(window)
        for polygon in shapely.get_parts(shapely.make_valid(ring).intersection(window))
        if polygon.geom_type == "Polygon"
    ]
    borders = [
        shapely.get_coordinates(part)
        for line in lines
        if line.intersects(window)
        for part in shapely.get_parts(line.intersection(window))
        if part.geom_type == "LineString"
    ]
    return {"land": _parts(land), "borders": _parts(borders)}


def _parts(parts: list[np.ndarray]) -> pl.DataFrame:
    points = np.concatenate([*parts, np.empty((0, 2))]).round(2)
    number = np.repeat(np.arange(len(parts)), [len(p) for p in parts])
    frame = pl.DataFrame({"part": number, "longitude": points[:, 0], "latitude": points[:, 1]})
    return frame.with_columns(pl.int_range(pl.len()).alias("order"))


@dataclass(frozen=True)
class ColourScale:
    """Colours of a quantity: its range, beyond which the end colours hold, and its unit."""

    low: float
    high: float
    scheme: str
    title: str
    reverse: bool = False

    def encoding(self, field: str) -> alt.Color:
        dark_end_left_out = alt.SchemeParams(self.scheme, extent=[0 if self.reverse else 0.14, 1])
        scale = alt.Scale(
            domain=[self.low, self.high],
            scheme=dark_end_left_out,
            clamp=True,
            reverse=self.reverse,
        )
        return alt.Color(f"{field}:Q", scale=scale, legend=None)

    @property
    def edges(self) -> np.ndarray:
        """Edges of the histogram's bins."""
        return np.linspace(self.low, self.high, _BINS + 1)


def sequential(values: pl.Series, title: str, scheme: str = "viridis") -> ColourScale:
    """Scale from the 2nd to the 98th percentile, widened to round numbers."""
    values = values.drop_nulls()
    if values.is_empty():
        return ColourScale(0, 1, scheme, title)
    low, high = values.quantile(0.02, "linear"), values.quantile(0.98, "linear")
    if high - low < 1e-9:
        low, high = low - 0.05, high + 0.05
    step = _round_step(high - low)
    low, high = math.floor(low / step) * step, math.ceil(high / step) * step
    return ColourScale(float(f"{low:.6g}"), float(f"{high:.6g}"), scheme, title)


def diverging(values: pl.Series, title: str) -> ColourScale:
    """Scale centred on zero up to the 98th percentile of the size, widened to a round number."""
    values = values.drop_nulls().abs()
    size = 0.1 if values.is_empty() else (values.quantile(0.98, "linear") or 0.1)
    step = _round_step(size)
    size = float(f"{math.ceil(size / step) * step:.6g}")
    return ColourScale(-size, size, "blueorange", title, reverse=True)


def _round_step(span: float) -> float:
    """A twentieth to a half of a span: 1, 2 or 5 times a power of ten."""
    power = 10 ** math.floor(math.log10(span / 4))
    return power * max(m for m in (1, 2, 5) if m * power <= span / 4)


def histogram_rows(cells: pl.DataFrame, field: str, scale: ColourScale, layer: str | None):
    """Cells per bin of a field; the end bins hold what lies beyond the scale.

    Args:
        cells: one row per cell.
        field: column to count.
        scale: its colours, whose edges are the bins'.
        layer: of a gain, to count significant cells too; None for anything else.
    Returns:
        frame with low, high, middle, n and, of a gain, n_iid and n_block.
    """
    edges = scale.edges
    known = cells.filter(pl.col(field).is_not_null())
    place = np.clip(np.searchsorted(edges, known[field].to_numpy(), side="right") - 1, 0, _BINS - 1)
    counts = {"n": np.bincount(place, minlength=_BINS)}
    if layer:
        for scheme in ("iid", "block"):
            marked = known[f"{layer}_{scheme}_significant"].fill_null(False).to_numpy()
            counts[f"n_{scheme}"] = np.bincount(place[marked], minlength=_BINS)
    return pl.DataFrame(
        {"low": edges[:-1], "high": edges[1:], "middle": (edges[:-1] + edges[1:]) / 2, **counts}
    )


def cell_map(
    field: str,
    *,
    extent: Extent,
    colour: alt.Color,
    status: str,
    tooltip: list[alt.Tooltip],
    layer: str | None = None,
) -> alt.LayerChart:
    """Map of one column of the cells; grey where the gain is not significant, a cross where unknown.

    Args:
        field: column of the cells.
        extent: window.
        colour: its encoding.
        status: column that says why a cell has no value.
        tooltip: what hovering shows.
        layer: of a gain, whose significance decides what is grey.
    Returns:
        chart of the data `cells`, `land` and `borders`; it uses the parameters cell_px, mask and
        picked.
    """
    x = alt.X(
        "longitude:Q",
        title=None,
        scale=alt.Scale(domain=[extent.west, extent.east], nice=False, zero=False),
        axis=_degrees("E", "W"),
    )
    y = alt.Y(
        "latitude:Q",
        title=None,
        scale=alt.Scale(domain=[extent.south, extent.north], nice=False, zero=False),
        axis=_degrees("N", "S"),
    )
    land = (
        alt.Chart(alt.NamedData("land"))
        .mark_line(style="land", clip=True)
        .encode(x=x, y=y, detail="part:N", order="order:Q")
    )
    borders = (
        alt.Chart(alt.NamedData("borders"))
        .mark_line(style="border", clip=True)
        .encode(x=x, y=y, detail="part:N", order="order:Q")
    )
    cells = alt.Chart(alt.NamedData("cells")).encode(x=x, y=y)
    size = alt.expr("cell_px * cell_px")
    grey = (
        f"(mask == 'iid' && !datum.{layer}_iid_significant)"
        f" || (mask == 'block' && !datum.{layer}_block_significant)"
        if layer
        else "false"
    )
    unknown = cells.transform_filter(f"datum.{field} === null").mark_point(
        style="unknown", size=size, shape=_CROSS, filled=False, opacity=1, clip=True
    )
    known = cells.transform_filter(f"datum.{field} !== null")
    muted = known.transform_filter(grey).mark_square(
        color=MUTED, opacity=0.75, clip=True, size=size
    )
    coloured = (
        known.transform_filter(f"!({grey})")
        .mark_square(style="gridcell", opacity=1, clip=True, size=size)
        .encode(color=colour)
    )
    ring = cells.transform_filter("datum.gridcell_id === picked").mark_point(
        style="picked",
        size=alt.expr("max(cell_px * cell_px, 60) * 2.2"),
        shape="square",
        filled=False,
        clip=True,
    )
    shown = [*tooltip, alt.Tooltip(f"{status}:N", title="status")]
    layers = [unknown.encode(tooltip=shown)]
    if layer:
        layers.append(muted.encode(tooltip=shown))
    layers.append(coloured.encode(tooltip=shown))
    return alt.layer(land, borders, *layers, ring.encode(tooltip=shown)).properties(
        usermeta={"kind": "map", "extent": [extent.west, extent.east], "aspect": extent.aspect}
    )


def _degrees(positive: str, negative: str) -> alt.Axis:
    text = f"format(abs(datum.value), '~r') + '°' + (datum.value < 0 ? '{negative}' : '{positive}')"
    north = positive == "N"
    return alt.Axis(
        labelExpr=text,
        labelFlush=False if north else 16,  # pixels from an end within which it is kept inside
        tickCount=4,
        grid=False,
        minExtent=_AXIS_WIDTH if north else 0,
    )


def legend_histogram(data: str, scale: ColourScale, *, gain: bool = False) -> alt.LayerChart:
    """Histogram of a map's values in the map's colours: its legend and its distribution.

    Args:
        data: name of the frame of `histogram_rows`.
        scale: the map's colours.
        gain: whether cells that are not significant are stacked in grey on top.
    Returns:
        chart that uses the parameter mask.
    """
    ticks = [scale.low, (scale.low + scale.high) / 2, scale.high]
    x = alt.X(
        "low:Q",
        title=scale.title,
        scale=alt.Scale(domain=[scale.low, scale.high], nice=False, zero=False),
        axis=alt.Axis(values=ticks, format=".3~g", grid=False, labelFlush=True),
    )
    whole = "datum.value % 1 ? '' : format(datum.value, ',d')"
    axis = alt.Axis(tickCount=2, labelExpr=whole, minExtent=_AXIS_WIDTH, grid=False)
    shown = "mask == 'iid' ? datum.n_iid : mask == 'block' ? datum.n_block : datum.n"
    base = alt.Chart(alt.NamedData(data)).transform_calculate(
        coloured=shown if gain else "datum.n", zero="0"
    )
    tooltip = [
        alt.Tooltip("low:Q", title="from", format=".3~g"),
        alt.Tooltip("high:Q", title="to", format=".3~g"),
        alt.Tooltip("n:Q", title="cells"),
    ]
    base = base.encode(x=x, x2="high:Q", tooltip=tooltip)
    layers = [
        base.mark_rect(style="bin").encode(
            y=alt.Y("coloured:Q", title="cells", axis=axis),
            y2="zero:Q",
            color=scale.encoding("middle"),
        )
    ]
    if gain:
        grey = base.mark_rect(style="bin", color=MUTED, opacity=0.75)
        layers.append(grey.encode(y=alt.Y("n:Q", title="cells", axis=axis), y2="coloured:Q"))
    return alt.layer(*layers).properties(usermeta={"kind": "legend", "height": 58})
