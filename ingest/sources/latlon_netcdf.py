"""Regular latitude/longitude grids, and CF NetCDF files on them.

Boxes have one global numbering, whatever part of the globe a file covers and whichever way it runs:

    box_row = floor((90 - latitude) / height)     box_col = floor((longitude + 180) / width)

counted from the north and from 180 degrees west, with longitudes wrapped to [-180, 180). Centres on
whole multiples of the spacing (ERA5-Land) keep that very multiple, so that noise in the last digits
of a coordinate moves no box.

Packed values: fill values and valid_range are compared with the numbers in the file, then
value = packed x scale_factor + add_offset. Source: CF Conventions 1.11, sections 2.5.1, 4 and 8.1.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import ClassVar

import netCDF4
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ingest import grid
from ingest.reader import BadInput, RawFile, Reader

REASONS = ("ok", "fill", "out_of_range", "outside_period")
REACH = 1.5  # box widths from a study cell's centre within which boxes are kept
CALENDARS = ("standard", "gregorian", "proleptic_gregorian", "noleap", "365_day")
BOX_SCHEMA = pa.schema(
    [
        ("box_row", pa.int32()),
        ("box_col", pa.int32()),
        ("latitude", pa.float64()),
        ("longitude", pa.float64()),
        ("width_lat_deg", pa.float64()),
        ("width_lon_deg", pa.float64()),
    ]
)
BOX_KEY = ("box_row", "box_col")
_EVEN = 0.02  # largest departure of a coordinate from its place, in box widths
_CENTRED = 0.05  # centres this near the middle or the edge of a box, in box widths, are there
_ROUNDING_DEG = 5e-4  # coordinates may be rounded to three decimals or kept as 32-bit floats
_NAMES = {
    "latitude": ("lat", "latitude", "nav_lat", "y"),
    "longitude": ("lon", "longitude", "long", "nav_lon", "x"),
    "time": ("time", "valid_time", "t"),
}
_UNITS = {
    "latitude": "degrees?_?n(orth)?",
    "longitude": "degrees?_?e(ast)?",
    "time": r".*\bsince\b.*",
}
_AXIS = {"latitude": "Y", "longitude": "X", "time": "T"}


@dataclass(frozen=True)
class Axis:
    """One axis of a regular grid: the global index of each of its places, and their spacing."""

    index: NDArray[np.int64]
    width_deg: float
    offset: float  # where centres lie within a box: 0.5 in the middle, 0 on its edge

    def centre(self, index: NDArray) -> NDArray:
        """Distance of box centres from the axis's origin (north pole, 180 W), degrees."""
        return (index + self.offset) * self.width_deg


def regular_axis(distance: NDArray[np.float64]) -> Axis:
    """The axis of equally spaced places.

    Args:
        distance: (n,) degrees from the origin (90 - latitude, or longitude + 180), any way.

    Raises:
        ValueError: fewer than two places, or spacing that is not regular.

    >>> axis = regular_axis(90 - np.array([19.0, 19.1, 19.2]))
    >>> axis.index.tolist(), round(axis.width_deg, 6), axis.offset
    ([710, 709, 708], 0.1, 0.0)
    """
    if len(distance) < 2 or not np.isfinite(distance).all():
        raise ValueError("needs at least two finite places")
    step = abs(distance[-1] - distance[0]) / (len(distance) - 1)
    if step == 0:
        raise ValueError("spacing is zero")
    # coordinates are rounded: of the spacings that they allow and that divide 180 degrees, the one
    # with most in common with minutes of arc (0.25 rather than 180 / 719); any other as measured
    rounding = min(_ROUNDING_DEG / (step * (len(distance) - 1)), 0.01)
    n_min, n_max = np.ceil(180 / step * (1 - rounding)), np.floor(180 / step * (1 + rounding))
    numbers = sorted(
        range(max(int(n_min), 1), int(n_max) + 1),
        key=lambda n: (-math.gcd(n, 180 * 120), abs(180 / n - step)),
    )
    for width in [180 / n for n in numbers[:4]] + [round(step, 9)]:
        place = distance / width
        turn = np.angle(np.exp(2j * np.pi * place).mean()) / (2 * np.pi)
        offset = turn % 1
        if abs(offset - 0.5) < _CENTRED:
            offset = 0.5
        elif abs(turn) < _CENTRED:
            offset = 0.0
        index = np.rint(place - offset)
        even = np.abs(place - offset - index).max() <= _EVEN
        if even and (np.abs(np.diff(index)) == 1).all():
            return Axis(index.astype(np.int64), width, float(offset))
    raise ValueError(f"spacing is irregular (about {step:g} degrees)")


@dataclass(frozen=True)
class LatLonGrid:
    """A regular grid, or the part of one that a file covers."""

    rows: Axis
    cols: Axis

    @classmethod
    def from_coordinates(cls, latitude: NDArray, longitude: NDArray) -> LatLonGrid:
        """The grid of 1-D coordinates, running any way, longitudes 0..360 or -180..180.

        Raises:
            ValueError: coordinates that are impossible or irregular.
        """
        lat = np.asarray(latitude, np.float64)
        lon = np.asarray(longitude, np.float64)
        if lat.ndim != 1 or lon.ndim != 1:
            raise ValueError("latitude and longitude are not one-dimensional")
        if not (np.abs(lat) <= 90.0001).all() or not (np.abs(lon) <= 540).all():
            raise ValueError("latitudes or longitudes are out of range")
        unrolled = np.rad2deg(np.unwrap(np.deg2rad(lon)))
        rows, cols = regular_axis(90.0 - lat), regular_axis(unrolled + 180.0)
        turn = 360.0 / cols.width_deg
        if abs(turn - round(turn)) < 1e-6:
            n_cols = round(turn)
            cols = Axis(cols.index % n_cols, cols.width_deg, cols.offset)
        else:  # boxes that do not divide the globe are counted from 180 W as far as they go
            shift = np.floor(cols.centre(cols.index[:1]) / 360.0) * 360.0
            if shift[0]:
                cols = regular_axis(unrolled - shift[0] + 180.0)
        return cls(rows, cols)

    @property
    def n_cols(self) -> int:
        return round(360.0 / self.cols.width_deg)

    def latitude(self, row: NDArray) -> NDArray:
        return np.round(90.0 - self.rows.centre(row), 9)

    def longitude(self, col: NDArray) -> NDArray:
        return np.round(self.cols.centre(col) - 180.0, 9)

    def boxes_near(
        self, cells: NDArray[np.int_], *, reach: float = REACH
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Row and column of every box of the whole globe near a study cell, in order.

        Near: the centres are at most `reach` apart, sqrt(dlat^2 + dlon^2) in box widths.

        Args:
            cells: (n, 2) M09 row, column.
            reach: distance in box widths.
        """
        latitude, longitude = grid.M09.centre(cells[:, 0], cells[:, 1])
        u = (90.0 - latitude) / self.rows.width_deg - self.rows.offset
        v = (longitude + 180.0) / self.cols.width_deg - self.cols.offset
        span = np.arange(-int(reach) - 1, int(reach) + 2)
        row = np.rint(u).astype(np.int64)[:, None, None] + span[None, :, None]
        col = np.rint(v).astype(np.int64)[:, None, None] + span[None, None, :]
        near = (row - u[:, None, None]) ** 2 + (col - v[:, None, None]) ** 2 <= reach**2 + 1e-9
        near &= (row >= 0) & (self.rows.centre(row) <= 180.0 + 1e-6)
        keys = np.unique((row * self.n_cols + col % self.n_cols)[near])
        return keys // self.n_cols, keys % self.n_cols

    def select(self, cells: NDArray[np.int_], *, reach: float = REACH) -> Boxes:
        """The boxes near study cells that this file covers, with their places in its arrays."""
        row, col = self.boxes_near(cells, reach=reach)
        # the first of repeated columns (0 and 360 degrees) is taken
        place_row = {int(i): p for p, i in reversed(list(enumerate(self.rows.index)))}
        place_col = {int(i): p for p, i in reversed(list(enumerate(self.cols.index)))}
        i = np.array([place_row.get(int(r), -1) for r in row], np.int64)
        j = np.array([place_col.get(int(c), -1) for c in col], np.int64)
        inside = (i >= 0) & (j >= 0)
        return Boxes(self, row[inside], col[inside], i[inside], j[inside])


@dataclass(frozen=True)
class Boxes:
    """Boxes that are read: global row and column, and places `i`, `j` in the file's arrays."""

    grid: LatLonGrid
    row: NDArray[np.int64]
    col: NDArray[np.int64]
    i: NDArray[np.int64]
    j: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.row)

    def table(self) -> pa.Table:
        """The lake table `box`."""
        n = len(self)
        return pa.Table.from_arrays(
            [
                pa.array(self.row, pa.int32()),
                pa.array(self.col, pa.int32()),
                pa.array(self.grid.latitude(self.row)),
                pa.array(self.grid.longitude(self.col)),
                pa.repeat(float(self.grid.rows.width_deg), n),
                pa.repeat(float(self.grid.cols.width_deg), n),
            ],
            schema=BOX_SCHEMA,
        )

    def rows_by_time(self, times: NDArray) -> list[pa.Array]:
        """Columns box_row, box_col and time of one row per box and time, boxes first."""
        return [
            pa.array(np.repeat(self.row, len(times)), pa.int32()),
            pa.array(np.repeat(self.col, len(times)), pa.int32()),
            pa.array(np.tile(times, len(self))),
        ]


@contextmanager
def open_netcdf(path: Path) -> Iterator[netCDF4.Dataset]:
    """A NetCDF file whose variables give the numbers as stored.

    Raises:
        BadInput: the file cannot be opened, or reading from it fails.
    """
    try:
        with netCDF4.Dataset(path) as dataset:
            dataset.set_auto_maskandscale(False)
            yield dataset
    except (OSError, RuntimeError) as error:
        raise BadInput(
            f"not a readable NetCDF file ({error})", file=path, remedy="fetch the file again"
        ) from None


def find_coordinate(
    dataset: netCDF4.Dataset, kind: str, *, name: str | None = None, key: str = "", file: Path
) -> netCDF4.Variable:
    """The coordinate variable of a kind: as named in the study, by CF attributes, by usual names.

    Args:
        kind: `latitude`, `longitude` or `time`.

    Raises:
        BadInput: none is found.
    """
    variables = dataset.variables
    if name is not None:
        if name in variables:
            return variables[name]
        raise BadInput(
            f"no variable {name!r}; the file has {', '.join(variables)}",
            file=file,
            key=key,
            remedy=f"give the name of the {kind} variable",
            reason="missing_variable",
        )
    tests = (
        lambda n, v: getattr(v, "standard_name", "") == kind,
        lambda n, v: re.fullmatch(_UNITS[kind], str(getattr(v, "units", "")).strip(), re.I),
        lambda n, v: str(getattr(v, "axis", "")).upper() == _AXIS[kind],
        lambda n, v: n.lower() in _NAMES[kind],
    )
    for test in tests:
        found = [v for n, v in variables.items() if v.ndim <= 1 and test(n, v)]
        own = [v for v in found if v.dimensions == (v.name,)]
        if own or found:
            return (own or found)[0]
    raise BadInput(
        f"no {kind} coordinate; the file has {', '.join(variables)}",
        file=file,
        key=key,
        remedy=f"name the {kind} variable in the study file; 2-D coordinates are not read",
        reason="missing_variable",
    )


def read_grid(
    dataset: netCDF4.Dataset,
    *,
    file: Path,
    key: str,
    latitude: str | None = None,
    longitude: str | None = None,
) -> tuple[LatLonGrid, str, str]:
    """The grid of a file, and the names of its latitude and longitude dimensions.

    Raises:
        BadInput: missing, two-dimensional or irregular coordinates.
    """
    lat = find_coordinate(dataset, "latitude", name=latitude, key=f"{key}.latitude", file=file)
    lon = find_coordinate(dataset, "longitude", name=longitude, key=f"{key}.longitude", file=file)
    try:
        values = [unpack(v)[0] for v in (lat, lon)]
        return LatLonGrid.from_coordinates(*values), lat.dimensions[0], lon.dimensions[0]
    except (ValueError, IndexError) as error:
        raise BadInput(
            f"{lat.name} and {lon.name}: {error}",
            file=file,
            key=key,
            remedy="only regular latitude/longitude grids are read; regrid the file",
            reason="irregular_grid",
        ) from None


def decode_times(variable: netCDF4.Variable, *, file: Path, key: str) -> NDArray:
    """Times of a CF time variable as datetime64[us], rounded to seconds.

    Raises:
        BadInput: a calendar whose dates are not real ones, or units that cannot be read.
    """
    import cftime

    calendar = str(getattr(variable, "calendar", "standard")).lower()
    units = str(getattr(variable, "units", "")).strip()
    if calendar not in CALENDARS:
        raise BadInput(
            f"calendar {calendar!r} has dates that do not exist",
            file=file,
            key=key,
            remedy=f"convert the times to one of {', '.join(CALENDARS)}",
            reason="bad_calendar",
        )
    values = np.ma.masked_invalid(np.atleast_1d(unpack(variable)[0]))
    try:
        if values.mask.any():
            raise ValueError("missing times")
        moments = cftime.num2date(values.data, units, calendar, only_use_cftime_datetimes=True)
        text = [f"{m.year:04d}-{m.month:02d}-{m.day:02d}T{m.strftime('%H:%M:%S')}" for m in moments]
        micro = np.array([m.microsecond for m in moments])
    except (ValueError, OverflowError, TypeError) as error:
        raise BadInput(
            f"time {variable.name!r} with units {units!r}: {error}",
            file=file,
            key=key,
            remedy="times need CF units such as 'hours since 1900-01-01 00:00:00'",
            reason="bad_time",
        ) from None
    return np.array(text, "M8[us]") + np.where(micro >= 500_000, 1, 0) * np.timedelta64(1, "s")


def time_in_name(name: str, pattern: str) -> datetime:
    """The time that a file name carries.

    Args:
        name: the file's name.
        pattern: strptime codes, e.g. `%Y%m%d%H`.

    Raises:
        ValueError: the name holds no such time, or several.

    >>> time_in_name("precip_0.10-2017070203.grd", "%Y%m%d%H")
    datetime.datetime(2017, 7, 2, 3, 0)
    """
    widths = {"%Y": r"\d{4}", "%j": r"\d{3}"}
    digits = re.sub(r"%[A-Za-z]", lambda code: widths.get(code[0], r"\d{2}"), pattern)
    found = set()
    for match in re.findall(rf"(?<!\d){digits}(?!\d)", name):
        try:
            found.add(datetime.strptime(match, pattern))
        except ValueError:
            continue
    if len(found) != 1:
        raise ValueError(f"{len(found)} times like {pattern} in the name {name!r}")
    return found.pop()


def month_in_name(name: str) -> str | None:
    """The month (2017-07) of the one day in a file name, None if there is none or several.

    >>> month_in_name("GLDAS_NOAH025_3H.A20170702.0300.021.nc4")
    '2017-07'
    """
    days = set()
    dates = r"(?<!\d)((?:19|20)\d{2})[-_.]?(\d{2})[-_.]?(\d{2})(?:\d{2,6})?(?!\d)"
    for words in re.findall(dates, name):
        try:
            days.add(datetime(*map(int, words)))
        except ValueError:
            continue
    return f"{days.pop():%Y-%m}" if len(days) == 1 else None


def unpack(
    variable: netCDF4.Variable, where: tuple | slice = slice(None)
) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    """Values of a variable in its units, and why some are missing.

    Args:
        where: index into the variable.

    Returns:
        float64 values (NaN where missing) and uint8 places in `REASONS`.
    """
    raw = np.asarray(variable[where])
    attributes = {name: variable.getncattr(name) for name in variable.ncattrs()}
    if raw.dtype.kind == "i" and str(attributes.get("_Unsigned", "")).lower() == "true":
        raw = raw.view(raw.dtype.str.replace("i", "u"))
    reason = np.zeros(raw.shape, np.uint8)

    def same_type(value) -> NDArray:
        numbers = np.atleast_1d(np.asarray(value)).astype(variable.dtype)
        return numbers.view(raw.dtype) if numbers.dtype.itemsize == raw.dtype.itemsize else numbers

    low, high = attributes.get("valid_range", (None, None))
    low, high = attributes.get("valid_min", low), attributes.get("valid_max", high)
    with np.errstate(invalid="ignore"):
        if low is not None:
            reason[raw < same_type(low)[0]] = 2
        if high is not None:
            reason[raw > same_type(high)[0]] = 2
        fills = [
            same_type(attributes[n]) for n in ("_FillValue", "missing_value") if n in attributes
        ]
        if "_FillValue" not in attributes and raw.dtype.itemsize > 1:
            code = raw.dtype.str[1:]
            if code in netCDF4.default_fillvals:
                fills.append(np.atleast_1d(np.asarray(netCDF4.default_fillvals[code], raw.dtype)))
        for fill in np.concatenate(fills) if fills else ():
            # a float fill may have been written with other digits than its attribute
            close = 1e-6 * abs(float(fill)) if raw.dtype.kind == "f" else 0
            reason[np.abs(raw - fill) <= close if close else raw == fill] = 1
    if raw.dtype.kind == "f":
        reason[~np.isfinite(raw)] = 1
    values = raw.astype(np.float64)
    scale, offset = attributes.get("scale_factor"), attributes.get("add_offset")
    if scale is not None:
        values = values * float(np.squeeze(scale))
    if offset is not None:
        values = values + float(np.squeeze(offset))
    values[reason > 0] = np.nan
    return values, reason


def read_boxes(
    variable: netCDF4.Variable,
    boxes: Boxes,
    *,
    dimensions: tuple[str | None, str, str],
    times: slice,
    file: Path,
) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    """Values and reasons (see `unpack`) of a variable at boxes: (n_boxes, n_times) arrays.

    Args:
        dimensions: names of the time (None without one), latitude and longitude dimensions; other
            dimensions must have length one.
        times: which times.

    Raises:
        BadInput: the variable has other dimensions.
    """
    time_name, lat_name, lon_name = dimensions
    sizes = dict(zip(variable.dimensions, variable.shape, strict=True))
    extra = [n for n, size in sizes.items() if n not in dimensions and size != 1]
    if extra or lat_name not in sizes or lon_name not in sizes:
        raise BadInput(
            f"variable {variable.name!r} has dimensions {', '.join(variable.dimensions)}",
            file=file,
            remedy=f"it needs {', '.join(n for n in dimensions if n)}, and others of length one",
            reason="bad_dimensions",
        )
    window = {
        lat_name: slice(int(boxes.i.min()), int(boxes.i.max()) + 1),
        lon_name: slice(int(boxes.j.min()), int(boxes.j.max()) + 1),
    }
    if time_name:
        window[time_name] = times
    where = tuple(window.get(name, 0) for name in variable.dimensions)
    values, reason = unpack(variable, where)
    kept = [name for name in variable.dimensions if name in window]
    if time_name not in kept:
        values, reason, kept = values[None], reason[None], [time_name, *kept]
    order = [kept.index(name) for name in dimensions]
    i, j = boxes.i - boxes.i.min(), boxes.j - boxes.j.min()
    return tuple(np.transpose(a, order)[:, i, j].T for a in (values, reason))


def time_blocks(n_times: int, n_values_each: int, *, at_once: int = 8_000_000) -> Iterator[slice]:
    """Slices over times that keep about `at_once` values in memory."""
    step = max(1, at_once // max(1, n_values_each))
    for start in range(0, n_times, step):
        yield slice(start, min(start + step, n_times))


def same_unit(found: str, allowed: Sequence[str]) -> bool:
    """Whether two spellings of a unit mean the same (m**3 m**-3, m^3/m^3, m3 m-3).

    >>> same_unit("m**3 m**-3", ["m3 m-3"]), same_unit("m^3/m^3", ["m3 m-3"])
    (True, True)
    """

    def plain(unit: str) -> str:
        text = re.sub(r"\*\*|\^", "", unit.lower())
        text = re.sub(r"/\s*([a-z]+)(\d*)", lambda m: f" {m[1]}-{m[2] or 1}", text)
        for word, letter in (("days?", "d"), ("hours?|hr", "h"), ("seconds?|secs?", "s")):
            text = re.sub(rf"\b({word})(?![a-z])", letter, text)
        return " ".join(re.sub(r"[.*]", " ", text).split())

    return plain(found) in {plain(unit) for unit in allowed}


class GridReader(Reader):
    """What readers of grid files share: which files there are, which times and boxes are kept."""

    suffixes: ClassVar[tuple[str, ...]] = (".nc", ".nc4", ".cdf", ".netcdf")

    def find(self) -> list[RawFile]:
        root, locations = self.expand_paths()
        found = []
        for location in locations:
            known = location.name.lower().endswith(self.suffixes)
            stem = str(location.relative_to(root).with_suffix(""))
            found.append(
                self.raw_file(
                    root,
                    location,
                    partition=month_in_name(location.name) or re.sub(r"[^\w.-]+", "-", stem),
                    status="ok" if known else "not_recognised",
                    reason="" if known else f"not one of {' '.join(self.suffixes)}",
                )
            )
        return found

    def inside(self, times: NDArray, *, hour_ending: bool = False) -> NDArray[np.bool_]:
        """Which instants lie in the period; an hour-ending label belongs to the hour before."""
        first = np.datetime64(self.period[0], "us")
        end = np.datetime64(self.period[1] + timedelta(days=1), "us")
        if hour_ending:
            return (times > first) & (times <= end)
        return (times >= first) & (times < end)

    def boxes_of(self, latlon: LatLonGrid, *, file: Path, reach: float = REACH) -> Boxes:
        """The boxes of a file near the study's cells.

        Raises:
            BadInput: it has none.
        """
        if self.cells is None or not len(self.cells):
            raise ValueError("a grid source needs the study's cells")
        boxes = latlon.select(self.cells, reach=reach)
        if not len(boxes):
            raise BadInput(
                "no box lies near a cell of the study",
                file=file,
                key=f"{self.key}.path",
                remedy="fetch the part of the grid that covers the study's region",
                reason="outside_region",
            )
        return boxes
