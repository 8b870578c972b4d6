"""Daily precipitation and latent heat on latitude/longitude: CF NetCDF and ESRI ASCII grids.

Units become mm a day and W m-2. Latent heat from energy: 1 MJ m-2 d-1 = 1e6 / 86400 W m-2;
from water: 1 mm d-1 = 2.45e6 / 86400 W m-2. Products such as FLUXCOM write 0 over the sea: a box
that is zero at every valid time of a file of 30 times or more is missing there (`always_zero`).
Every value is counted with one reason under its lake column.
"""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from ingest.reader import BadInput, Extract, RawFile, SourceSettings
from ingest.sources.latlon_netcdf import (
    BOX_KEY,
    BOX_SCHEMA,
    REACH,
    Boxes,
    GridReader,
    LatLonGrid,
    decode_times,
    find_coordinate,
    open_netcdf,
    read_boxes,
    read_grid,
    same_unit,
    time_blocks,
    time_in_name,
)

REASONS = ("ok", "fill", "out_of_range", "outside_period", "always_zero")
COLUMN = {"precipitation": "precipitation_mm", "latent_heat": "latent_heat_wm2"}
RANGE = {"precipitation": (0.0, 2000.0), "latent_heat": (-2500.0, 3000.0)}
#: quantity -> declared unit -> (factor, spellings that a file may have)
UNITS: dict[str, dict[str, tuple[float, tuple[str, ...]]]] = {
    "precipitation": {
        "mm d-1": (1.0, ("mm d-1", "mm", "kg m-2 d-1", "kg m-2")),
        "0.1 mm d-1": (0.1, ("0.1 mm d-1", "0.1 mm", "0.1mm d-1", "0.1mm")),
        "mm h-1": (24.0, ("mm h-1", "kg m-2 h-1")),
        "kg m-2 s-1": (86400.0, ("kg m-2 s-1", "mm s-1")),
    },
    "latent_heat": {
        "MJ m-2 d-1": (1e6 / 86400, ("MJ m-2 d-1",)),
        "W m-2": (1.0, ("W m-2", "J m-2 s-1")),
        "mm d-1": (2.45e6 / 86400, ("mm d-1", "kg m-2 d-1")),
    },
}
_MIN_TIMES_FOR_SEA = 30
# half an M09 cell, up to 60 degrees from the equator: stations stand so far off
_HALF_CELL_DEG = (0.08, 0.0467)


class GriddedFlux(SourceSettings):
    """Settings of a daily precipitation or latent heat product."""

    format: Literal["gridded_flux"]
    quantity: Literal["precipitation", "latent_heat"]
    unit: str
    variable: str | None = None  # required for NetCDF files
    days_per_step: Annotated[int, Field(ge=1, le=8)] = 1  # 8: obs_date is the stamp's day
    time_label: Literal["day", "day_ending"] = "day"  # day_ending: 00:00 belongs to the day before
    time_variable: str | None = None
    latitude: str | None = None
    longitude: str | None = None
    time_in_name: str | None = None  # required for ESRI ASCII grids, e.g. %Y%m%d

    @model_validator(mode="after")
    def _known_unit(self) -> GriddedFlux:
        if self.unit not in UNITS[self.quantity]:
            allowed = ", ".join(UNITS[self.quantity])
            raise ValueError(f"unit {self.unit!r} of {self.quantity}: allowed are {allowed}")
        return self

    @property
    def factor(self) -> float:
        return UNITS[self.quantity][self.unit][0]


class GriddedFluxReader(GridReader):
    """Reads daily flux grids: tables `grid_day` and `box`."""

    suffixes: ClassVar[tuple[str, ...]] = (
        *GridReader.suffixes,
        *(".txt", ".asc", ".txt.gz", ".asc.gz"),
    )
    sort_key: ClassVar[dict[str, tuple[str, ...]]] = {
        "grid_day": (*BOX_KEY, "obs_date"),
        "box": BOX_KEY,
    }
    version: ClassVar[str] = "1"
    settings: GriddedFlux

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        self.column = COLUMN[self.settings.quantity]
        self.tables = {
            "grid_day": pa.schema(
                [
                    ("box_row", pa.int32()),
                    ("box_col", pa.int32()),
                    ("obs_date", pa.date32()),
                    (self.column, pa.float32()),
                ]
            ),
            "box": BOX_SCHEMA,
        }

    def reach(self, latlon: LatLonGrid) -> float:
        """Box widths from a cell's centre; latent heat is taken at the stations."""
        if self.settings.quantity == "precipitation":
            return REACH
        lat, lon = _HALF_CELL_DEG
        return REACH + float(np.hypot(lat / latlon.rows.width_deg, lon / latlon.cols.width_deg))

    def read(self, raw: RawFile) -> Extract:
        if raw.location.name.lower().endswith(GridReader.suffixes):
            boxes, times, values, reason = self._read_netcdf(raw.location)
        else:
            boxes, times, values, reason = self._read_ascii(raw.location)
        low, high = RANGE[self.settings.quantity]
        values = values * self.settings.factor
        reason[(values < low) | (values > high)] = REASONS.index("out_of_range")
        if self.settings.quantity == "latent_heat" and len(times) >= _MIN_TIMES_FOR_SEA:
            valid = reason == 0
            sea = ~(valid & (values != 0)).any(axis=1)
            reason[sea[:, None] & valid] = REASONS.index("always_zero")
        if self.settings.time_label == "day_ending":
            times = times - np.timedelta64(1, "s")
        days = times.astype("M8[D]")
        reason[:, ~self.inside(days.astype("M8[us]"))] = REASONS.index("outside_period")
        order = np.argsort(days, kind="stable")
        if (np.diff(days[order]) == np.timedelta64(0)).any():
            raise BadInput(
                "a day stands twice in the file",
                file=raw.location,
                key=f"{self.key}.time_label",
                remedy="only daily files are read here; check the times",
                reason="duplicate_time",
            )
        kept = order[self.inside(days[order].astype("M8[us]"))]
        n = np.bincount(reason.ravel(), minlength=len(REASONS))
        flat, why = values[:, kept].ravel(), reason[:, kept].ravel()
        column = pa.array(flat.astype(np.float32), mask=why > 0)
        rows = [*boxes.rows_by_time(days[kept]), column]
        return Extract(
            {
                "grid_day": pa.Table.from_arrays(rows, schema=self.tables["grid_day"]),
                "box": boxes.table(),
            },
            [(self.column, word, int(k)) for word, k in zip(REASONS, n, strict=True) if k],
        )

    def _read_netcdf(self, file: Path) -> tuple[Boxes, np.ndarray, np.ndarray, np.ndarray]:
        settings = self.settings
        with open_netcdf(file) as dataset:
            if settings.variable not in dataset.variables:
                raise BadInput(
                    f"no variable {settings.variable!r} among {', '.join(dataset.variables)}",
                    file=file,
                    key=f"{self.key}.variable",
                    remedy=f"name the {settings.quantity} variable",
                    reason="missing_variable",
                )
            variable = dataset.variables[settings.variable]
            unit = str(getattr(variable, "units", "")).strip()
            if unit and not same_unit(unit, UNITS[settings.quantity][settings.unit][1]):
                raise BadInput(
                    f"{settings.variable} is in {unit!r}, the study says {settings.unit!r}",
                    file=file,
                    key=f"{self.key}.unit",
                    remedy="declare the unit that the file has",
                    reason="unit_mismatch",
                )
            latlon, lat_name, lon_name = read_grid(
                dataset,
                file=file,
                key=self.key,
                latitude=settings.latitude,
                longitude=settings.longitude,
            )
            boxes = self.boxes_of(latlon, file=file, reach=self.reach(latlon))
            if settings.time_in_name is not None:
                times, time_name = self._time_of_name(file), None
            else:
                key = f"{self.key}.time_variable"
                time = find_coordinate(
                    dataset, "time", name=settings.time_variable, key=key, file=file
                )
                times = decode_times(time, file=file, key=key)
                time_name = time.dimensions[0] if time.ndim else None
            dimensions = (time_name, lat_name, lon_name)
            window = int((np.ptp(boxes.i) + 1) * (np.ptp(boxes.j) + 1))
            parts = [
                read_boxes(variable, boxes, dimensions=dimensions, times=block, file=file)
                for block in time_blocks(len(times), window)
            ]
            values, reason = (np.concatenate(arrays, axis=1) for arrays in zip(*parts, strict=True))
            return boxes, times, values, reason

    def _read_ascii(self, file: Path) -> tuple[Boxes, np.ndarray, np.ndarray, np.ndarray]:
        times = self._time_of_name(file)
        latlon, stored, nodata = read_esri_ascii(file)
        boxes = self.boxes_of(latlon, file=file, reach=self.reach(latlon))
        values = stored[boxes.i, boxes.j][:, None]
        reason = np.zeros(values.shape, np.uint8)
        reason[(values == nodata) | ~np.isfinite(values)] = REASONS.index("fill")
        return boxes, times, np.where(reason > 0, np.nan, values), reason

    def _time_of_name(self, file: Path) -> np.ndarray:
        key = f"{self.key}.time_in_name"
        if self.settings.time_in_name is None:
            raise BadInput(
                "a text grid holds no date",
                file=file,
                key=key,
                remedy="say how its name does, for example %Y%m%d",
                reason="bad_time",
            )
        try:
            return np.array([time_in_name(file.name, self.settings.time_in_name)], "M8[us]")
        except ValueError as error:
            raise BadInput(str(error), file=file, key=key, reason="bad_time") from None


def read_esri_ascii(file: Path) -> tuple[LatLonGrid, np.ndarray, float]:
    """An ESRI ASCII grid: its grid, its values (rows from the north), its missing value.

    Raises:
        BadInput: a header or a number of values that does not fit.
    """

    def damaged(found: str) -> BadInput:
        return BadInput(found, file=file, remedy="fetch the file again")

    try:
        opener = gzip.open if file.suffix == ".gz" else open
        with opener(file, "rt", encoding="ascii") as stream:
            words = stream.read().split()
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise damaged(f"not a readable text grid ({error})") from None
    header, place = {}, 0
    while place + 1 < len(words) and words[place][0].isalpha() and words[place].lower() != "nan":
        header[words[place].lower()] = words[place + 1]
        place += 2
    try:
        n_cols, n_rows = int(header["ncols"]), int(header["nrows"])
        size, nodata = float(header["cellsize"]), float(header.get("nodata_value", "-9999"))
        west, south = (
            float(header[f"{axis}llcenter"])
            if f"{axis}llcenter" in header
            else float(header[f"{axis}llcorner"]) + size / 2
            for axis in "xy"
        )
        values = np.array(words[place:], np.float64)
    except (KeyError, ValueError) as error:
        raise damaged(f"not an ESRI ASCII grid ({error})") from None
    if len(values) != n_cols * n_rows:
        raise damaged(f"{len(values)} values instead of {n_rows} x {n_cols}")
    latitude = south + size * np.arange(n_rows)[::-1]
    longitude = west + size * np.arange(n_cols)
    try:
        latlon = LatLonGrid.from_coordinates(latitude, longitude)
    except ValueError as error:
        raise BadInput(str(error), file=file, reason="irregular_grid") from None
    return latlon, values.reshape(n_rows, n_cols), nodata
