"""Soil moisture of gridded products in CF NetCDF on latitude/longitude (GLDAS, ERA5-Land, others).

Soil moisture in kg m-2 becomes m3 m-3 by theta = m / (1000 x thickness in metres). Fill values,
values outside the file's valid range and outside 0..1 m3 m-3 become null; every value is counted
with one reason (`ok`, `fill`, `out_of_range`, `outside_period`) under its lake column.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import netCDF4
import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, model_validator

from ingest.reader import BadInput, Extract, RawFile, SourceSettings
from ingest.sources.latlon_netcdf import (
    BOX_KEY,
    BOX_SCHEMA,
    REASONS,
    Boxes,
    GridReader,
    decode_times,
    find_coordinate,
    open_netcdf,
    read_boxes,
    read_grid,
    same_unit,
    time_blocks,
    time_in_name,
)

_SPELLINGS = {"m3 m-3": ("m3 m-3", "1", "cm3 cm-3"), "kg m-2": ("kg m-2", "mm")}


class SoilLayer(BaseModel):
    """One soil layer of a product."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    variable: str
    top_m: Annotated[float, Field(ge=0, le=10)]
    bottom_m: Annotated[float, Field(gt=0, le=10)]
    unit: Literal["m3 m-3", "kg m-2"]

    @model_validator(mode="after")
    def _downwards(self) -> SoilLayer:
        if self.bottom_m <= self.top_m:
            raise ValueError("bottom_m must lie below top_m")
        return self

    @property
    def divisor(self) -> float:
        """What a value is divided by to give m3 m-3: the layer's thickness in mm, or 1."""
        return round((self.bottom_m - self.top_m) * 1000, 6) if self.unit == "kg m-2" else 1.0


class GriddedNetcdf(SourceSettings):
    """Settings of a gridded soil moisture product."""

    format: Literal["gridded_netcdf"]
    soil_moisture: Annotated[tuple[SoilLayer, ...], Field(min_length=1)]
    samples_per_day: Annotated[int, Field(ge=1, le=48)]
    time_label: Literal["instant", "window_centre", "hour_ending"] = "instant"
    time_variable: str | None = None
    latitude: str | None = None
    longitude: str | None = None
    time_in_name: str | None = None  # for files without a time variable, e.g. %Y%m%d%H


class GriddedNetcdfReader(GridReader):
    """Reads soil moisture grids: tables `land` and `box`."""

    sort_key: ClassVar[dict[str, tuple[str, ...]]] = {
        "land": (*BOX_KEY, "observed_at"),
        "box": BOX_KEY,
    }
    version: ClassVar[str] = "1"
    settings: GriddedNetcdf

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        n_layers = len(self.settings.soil_moisture)
        self.columns = [f"sm_{i}_m3m3" for i in range(1, n_layers + 1)]
        self.tables = {
            "land": pa.schema(
                [
                    ("box_row", pa.int32()),
                    ("box_col", pa.int32()),
                    ("observed_at", pa.timestamp("us")),
                    *((column, pa.float32()) for column in self.columns),
                ]
            ),
            "box": BOX_SCHEMA,
        }

    def read(self, raw: RawFile) -> Extract:
        file, settings = raw.location, self.settings
        with open_netcdf(file) as dataset:
            latlon, lat_name, lon_name = read_grid(
                dataset,
                file=file,
                key=self.key,
                latitude=settings.latitude,
                longitude=settings.longitude,
            )
            boxes = self.boxes_of(latlon, file=file)
            times, time_name = self._times(dataset, file)
            dimensions = (time_name, lat_name, lon_name)
            order = np.argsort(times, kind="stable")
            if (np.diff(times[order]) == np.timedelta64(0)).any():
                raise BadInput(
                    "a time stands twice in the file",
                    file=file,
                    remedy="remove one of the two",
                    reason="duplicate_time",
                )
            inside = self.inside(times, hour_ending=settings.time_label == "hour_ending")
            kept = order[inside[order]]
            columns, counts = [], []
            for column, layer in zip(self.columns, settings.soil_moisture, strict=True):
                variable = self._variable(dataset, layer, file)
                values, n = self._layer(variable, layer, boxes, dimensions, inside, file)
                n["outside_period"] = int((~inside).sum()) * len(boxes)
                counts += [(column, reason, n[reason]) for reason in REASONS if n[reason]]
                values = values[:, np.searchsorted(np.flatnonzero(inside), kept)]
                columns.append(pa.array(values.ravel(), mask=np.isnan(values.ravel())))
            land = [*boxes.rows_by_time(times[kept]), *columns]
            tables = {
                "land": pa.Table.from_arrays(land, schema=self.tables["land"]),
                "box": boxes.table(),
            }
            return Extract(tables, counts)

    def _times(self, dataset: netCDF4.Dataset, file: Path) -> tuple[np.ndarray, str | None]:
        """Times of the file and the name of their dimension, None where it has none."""
        settings = self.settings
        if settings.time_in_name is not None:
            try:
                moment = time_in_name(file.name, settings.time_in_name)
            except ValueError as error:
                raise BadInput(
                    str(error), file=file, key=f"{self.key}.time_in_name", reason="bad_time"
                ) from None
            return np.array([moment], "M8[us]"), None
        key = f"{self.key}.time_variable"
        variable = find_coordinate(dataset, "time", name=settings.time_variable, key=key, file=file)
        times = decode_times(variable, file=file, key=key)
        return times, variable.dimensions[0] if variable.ndim else None

    def _variable(self, dataset: netCDF4.Dataset, layer: SoilLayer, file: Path) -> netCDF4.Variable:
        """The layer's variable, its unit checked."""
        if layer.variable not in dataset.variables:
            raise BadInput(
                f"no variable {layer.variable!r}; the file has {', '.join(dataset.variables)}",
                file=file,
                key=f"{self.key}.soil_moisture",
                remedy="name the file's soil moisture variables",
                reason="missing_variable",
            )
        variable = dataset.variables[layer.variable]
        unit = str(getattr(variable, "units", "")).strip()
        if unit and not same_unit(unit, _SPELLINGS[layer.unit]):
            raise BadInput(
                f"{layer.variable} is in {unit!r}, the study says {layer.unit!r}",
                file=file,
                key=f"{self.key}.soil_moisture",
                remedy="declare the unit that the file has",
                reason="unit_mismatch",
            )
        return variable

    def _layer(
        self,
        variable: netCDF4.Variable,
        layer: SoilLayer,
        boxes: Boxes,
        dimensions: tuple[str | None, str, str],
        inside: np.ndarray,
        file: Path,
    ) -> tuple[np.ndarray, dict[str, int]]:
        """Values of times inside the period, float32 (n_boxes, n_inside), and counts."""
        values = np.empty((len(boxes), int(inside.sum())), np.float32)
        total = np.zeros(len(REASONS), np.int64)
        wanted = np.flatnonzero(inside)
        first, end = (wanted[0], wanted[-1] + 1) if len(wanted) else (0, 0)
        window = np.ptp(boxes.i) + 1, np.ptp(boxes.j) + 1
        done = 0
        for block in time_blocks(end - first, int(np.prod(window))):
            times = slice(int(first + block.start), int(first + block.stop))
            stored, reason = read_boxes(
                variable, boxes, dimensions=dimensions, times=times, file=file
            )
            keep = inside[times]
            theta, reason = stored[:, keep] / layer.divisor, reason[:, keep]
            reason[(theta < 0) | (theta > 1)] = REASONS.index("out_of_range")
            theta[reason > 0] = np.nan
            total += np.bincount(reason.ravel(), minlength=len(REASONS))
            values[:, done : done + keep.sum()] = theta
            done += int(keep.sum())
        return values, dict(zip(REASONS, map(int, total), strict=True))
