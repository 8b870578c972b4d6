"""Precipitation in flat binary files without a header, whose layout is known from the product.

Layouts: `cma_hourly` (CMA merged 0.1 degree hourly, GrADS .grd), `cpc_unified` (CPC Unified gauge
analysis 0.5 degree daily, .lnx), `cmorph_daily` (CMORPH 0.25 degree daily). A file must have the
layout's size to the byte; numbers that rain cannot have mean the wrong byte order or another
product. Hourly values stay hourly: `observed_at` is the end of the hour in UTC, and 00:00 belongs
to the day before.
"""

from __future__ import annotations

import gzip
import re
import zlib
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa

from ingest.reader import BadInput, Extract, RawFile, SourceSettings
from ingest.sources.latlon_netcdf import BOX_KEY, BOX_SCHEMA, Boxes, GridReader, LatLonGrid

REASONS = ("ok", "fill", "out_of_range")


@dataclass(frozen=True)
class Layout:
    """What a headerless file holds: float32 records of (n_lat, n_lon), the first one rain."""

    n_records: int
    first_latitude: float
    n_lat: int
    first_longitude: float
    n_lon: int
    step_deg: float
    factor: float  # stored number -> mm
    largest_mm: float
    hourly: bool

    @property
    def size(self) -> int:
        return self.n_records * self.n_lat * self.n_lon * 4

    def grid(self) -> LatLonGrid:
        return LatLonGrid.from_coordinates(
            self.first_latitude + self.step_deg * np.arange(self.n_lat),
            self.first_longitude + self.step_deg * np.arange(self.n_lon),
        )


LAYOUTS = {
    "cma_hourly": Layout(2, 15.05, 440, 70.05, 700, 0.1, 1.0, 500.0, True),
    "cpc_unified": Layout(2, -89.75, 360, 0.25, 720, 0.5, 0.1, 2000.0, False),
    "cmorph_daily": Layout(1, -59.875, 480, 0.125, 1440, 0.25, 1.0, 2000.0, False),
}
_UNDEFINED = -999.0
_DAY = re.compile(r"(?<!\d)((?:19|20)\d{6})(?!\d)")
_HOUR = re.compile(r"(?<!\d)((?:19|20)\d{6})(\d{2})(?!\d)")


class FlatBinaryGrid(SourceSettings):
    """Settings of a product in flat binary files."""

    format: Literal["flat_binary_grid"]
    layout: Literal["cma_hourly", "cpc_unified", "cmorph_daily"]
    byte_order: Literal["little", "big"] = "little"


def moment_in_name(name: str, *, hourly: bool) -> datetime | None:
    """The day, or the end of the hour, that a file name carries; None without exactly one.

    >>> moment_in_name("SURF_CLI_CHN_MERGE_CMP_PRE_HOUR_GRID_0.10-2017070224.grd", hourly=True)
    datetime.datetime(2017, 7, 3, 0, 0)
    """
    found = set()
    for match in (_HOUR if hourly else _DAY).finditer(name):
        try:
            day = datetime.strptime(match[1], "%Y%m%d")
        except ValueError:
            continue
        hour = int(match[2]) if hourly else 0
        if hour <= 24:
            found.add(day + timedelta(hours=hour))
    return found.pop() if len(found) == 1 else None


class FlatBinaryGridReader(GridReader):
    """Reads flat binary grids: table `grid_hour` or `grid_day`, and `box`."""

    version: ClassVar[str] = "1"
    settings: FlatBinaryGrid

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        self.layout = LAYOUTS[self.settings.layout]
        hourly = self.layout.hourly
        self.column = "precipitation_mmh" if hourly else "precipitation_mm"
        self.table = "grid_hour" if hourly else "grid_day"
        time = ("observed_at", pa.timestamp("us")) if hourly else ("obs_date", pa.date32())
        self.tables = {
            self.table: pa.schema(
                [
                    ("box_row", pa.int32()),
                    ("box_col", pa.int32()),
                    time,
                    (self.column, pa.float32()),
                ]
            ),
            "box": BOX_SCHEMA,
        }
        self.sort_key = {self.table: (*BOX_KEY, time[0]), "box": BOX_KEY}
        self._boxes: Boxes | None = None

    def find(self) -> list[RawFile]:
        return [self._described(raw) for raw in super().find()]

    def _described(self, raw: RawFile) -> RawFile:
        """A file with the partition and status that its name tells."""
        name = raw.location.name
        if name.lower().endswith((".ctl", ".txt", ".md", ".pdf", ".idx", ".reference")):
            return replace(raw, status="not_recognised", reason="description of the data")
        moment = moment_in_name(name, hourly=self.layout.hourly)
        if moment is None:
            what = "hour (yyyymmddhh)" if self.layout.hourly else "day (yyyymmdd)"
            return replace(raw, status="not_recognised", reason=f"no {what} in the name")
        inside = self.inside(np.array([moment], "M8[us]"), hour_ending=self.layout.hourly)[0]
        return replace(
            raw,
            partition=f"{self._day(moment):%Y-%m}",
            status="ok" if inside else "outside_period",
            reason="" if inside else "outside_period",
        )

    def _day(self, moment: datetime) -> date:
        return (moment - timedelta(seconds=int(self.layout.hourly))).date()

    def read(self, raw: RawFile) -> Extract:
        layout, file = self.layout, raw.location
        moment = moment_in_name(file.name, hourly=layout.hourly)
        assert moment is not None  # find() gave no other file as ok
        try:
            content = (
                gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
            )
        except (OSError, EOFError, zlib.error) as error:
            raise BadInput(
                f"cannot be read ({error})", file=file, remedy="fetch the file again"
            ) from None
        if len(content) != layout.size:
            raise BadInput(
                f"{len(content)} bytes instead of {layout.size}",
                file=file,
                key=f"{self.key}.layout",
                remedy=f"fetch the file again, or choose another layout than "
                f"{self.settings.layout}",
                reason="wrong_size",
            )
        order = "<" if self.settings.byte_order == "little" else ">"
        n_values = layout.n_lat * layout.n_lon
        stored = np.frombuffer(content, f"{order}f4", n_values).reshape(layout.n_lat, layout.n_lon)
        with np.errstate(invalid="ignore"):
            # every layout has rain somewhere between 0 and its largest; swapped bytes are noise
            defined = ~(np.abs(stored - _UNDEFINED) < 0.5)
            limit = layout.largest_mm / layout.factor
            strange = defined & ~((stored >= 0) & (stored <= limit))
            tiny = defined & (stored != 0) & (np.abs(stored) < 1e-6)
            if strange.sum() + tiny.sum() > 0.01 * stored.size:
                raise BadInput(
                    f"{int(strange.sum() + tiny.sum())} of {stored.size} numbers are no rain",
                    file=file,
                    key=f"{self.key}.byte_order",
                    remedy="check byte_order (little or big) and layout",
                    reason="implausible_values",
                )
        if self._boxes is None:
            self._boxes = self.boxes_of(layout.grid(), file=file)
        boxes = self._boxes
        reason = np.where(strange, 2, np.where(defined, 0, 1))[boxes.i, boxes.j].astype(np.uint8)
        rain = stored[boxes.i, boxes.j].astype(np.float64) * layout.factor
        time = np.array([moment], "M8[us]" if layout.hourly else "M8[D]")
        rows = [*boxes.rows_by_time(time), pa.array(rain.astype(np.float32), mask=reason > 0)]
        n = np.bincount(reason, minlength=len(REASONS))
        return Extract(
            {
                self.table: pa.Table.from_arrays(rows, schema=self.tables[self.table]),
                "box": boxes.table(),
            },
            [(self.column, word, int(k)) for word, k in zip(REASONS, n, strict=True) if k],
        )
