"""Harmonized World Soil Database (1.2 and 2.0), 30 arc seconds, reduced to clay of 9 km cells.

A raster of mapping units and a table of their soils. For each unit, over its soils with clay data,

    clay = sum(share x clay) / sum(share)

for the topsoil (0-30 cm) and the subsoil (30-100 cm) separately. Version 2 has layers; a depth
range takes the mean of its layers that have soil, weighted by thickness. A cell's two values are
means, weighted by cos(latitude), over the same pixels: those whose centre lies in the cell and
whose unit has both. Were each depth averaged over its own pixels, a cell part thin, part deep soil
would show as a difference between depths what is one between places. Percent become fractions.

Each pixel of a cell has one reason for each depth: `ok`, `sea` (0), `nodata`, `unit_not_in_table`,
`no_clay` (water, rock, ice), `other_depth_missing` (this depth has clay, the other has not) or
`outside_raster`. A cell that no pixel of the raster touches has no row.

Sources: FAO/IIASA/ISRIC/ISSCAS/JRC 2012, HWSD 1.2; FAO and IIASA 2023, doi:10.4060/cc3823en (2.0).
"""

from __future__ import annotations

import csv
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import polars as pl
import pyarrow as pa
import rasterio
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from rasterio.errors import RasterioError
from rasterio.windows import Window as RasterWindow

from ingest.reader import BadInput, Extract, RawFile, Reader, SourceSettings, expand
from ingest.sources.raster_cells import LatLonPixels

LAYERS_CM = {
    "D1": (0, 20),
    "D2": (20, 40),
    "D3": (40, 60),
    "D4": (60, 80),
    "D5": (80, 100),
    "D6": (100, 150),
    "D7": (150, 200),
}
TOPSOIL_CM, SUBSOIL_CM = (0, 30), (30, 100)
_RASTERS = (".bil", ".tif", ".tiff")
_NULLS = ("", "NULL", "null", "NA", "NaN", "nan", "None")
_COARSEST_DEG = 0.05


class _Columns(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class HwsdV1Columns(_Columns):
    """Names of the columns needed from HWSD_DATA."""

    unit: str = "MU_GLOBAL"
    sequence: str = "SEQ"
    share: str = "SHARE"
    clay_topsoil: str = "T_CLAY"
    clay_subsoil: str = "S_CLAY"


class HwsdV2Columns(_Columns):
    """Names of the columns needed from HWSD2_LAYERS."""

    unit: str = "HWSD2_SMU_ID"
    sequence: str = "SEQUENCE"
    share: str = "SHARE"
    layer: str = "LAYER"
    clay: str = "CLAY"


class _Hwsd(SourceSettings):
    """Keys of both versions.

    `table` is the soil table exported to CSV. `component: dominant` takes the soil with the largest
    share among those with topsoil clay (the first of equals) instead of the share-weighted mean, so
    that both choices cover the same pixels.
    """

    table: str
    component: Literal["share_weighted", "dominant"] = "share_weighted"
    min_valid_frac: float = Field(default=0.25, ge=0, le=1)


class HwsdV1(_Hwsd):
    """Settings of HWSD 1.2: `path` is the .bil (its .hdr beside it) or a GeoTIFF of MU_GLOBAL."""

    format: Literal["hwsd_v1"]
    columns: HwsdV1Columns = HwsdV1Columns()


class HwsdV2(_Hwsd):
    """Settings of HWSD 2.0: `path` is the raster of HWSD2_SMU_ID, `table` HWSD2_LAYERS as CSV."""

    format: Literal["hwsd_v2"]
    columns: HwsdV2Columns = HwsdV2Columns()


@dataclass(frozen=True)
class UnitClay:
    """Clay (%) of mapping units: sorted unit numbers, topsoil and subsoil, nan where unknown."""

    unit: NDArray[np.int64]
    topsoil: NDArray[np.float64]
    subsoil: NDArray[np.float64]


def depth_mean(clay: NDArray, *, range_cm: tuple[float, float]) -> NDArray[np.float64]:
    """Thickness-weighted mean over a depth range of the layers D1 to D7 that have soil.

    Args:
        clay: (n, 7) clay of each layer, nan where there is no soil.
        range_cm: top and bottom of the range.

    Returns:
        (n,) means, nan where no layer of the range has soil.

    >>> depth_mean(np.array([[10.0, 40.0, 50.0, 60.0, 70.0, 0.0, 0.0]]), range_cm=(0, 30)).tolist()
    [20.0]
    """
    bounds = np.array(list(LAYERS_CM.values()), dtype=np.float64)
    overlap = np.minimum(bounds[:, 1], range_cm[1]) - np.maximum(bounds[:, 0], range_cm[0])
    weight = np.where(np.isnan(clay), 0.0, np.maximum(overlap, 0.0))
    total = weight.sum(axis=1)
    with np.errstate(invalid="ignore"):
        return np.where(total > 0, (weight * np.nan_to_num(clay)).sum(axis=1) / total, np.nan)


def unit_clay(
    unit: NDArray,
    sequence: NDArray,
    share: NDArray,
    topsoil: NDArray,
    subsoil: NDArray,
    *,
    component: Literal["share_weighted", "dominant"],
) -> UnitClay:
    """Clay of mapping units from their soils (rows of equal length; clay nan where unknown).

    >>> one = unit_clay(
    ...     np.array([7, 7]), np.array([1, 2]), np.array([60.0, 40.0]),
    ...     np.array([20.0, 30.0]), np.array([np.nan, 50.0]), component="share_weighted",
    ... )
    >>> one.topsoil.tolist(), one.subsoil.tolist()
    ([24.0], [50.0])
    """
    order = np.lexsort((sequence, -share, unit))
    if component == "dominant":
        kept = order[~np.isnan(topsoil[order])]
        first = np.unique(unit[kept], return_index=True)[1]
        chosen = kept[first]
        units = np.unique(unit)
        place = np.searchsorted(units, unit[chosen])
        clay = np.full((2, len(units)), np.nan)
        clay[0, place], clay[1, place] = topsoil[chosen], subsoil[chosen]
        return UnitClay(units, clay[0], clay[1])
    units, place = np.unique(unit[order], return_inverse=True)
    means = []
    for values in (topsoil[order], subsoil[order]):
        weight = np.where(np.isnan(values), 0.0, share[order])
        top = np.bincount(place, weight * np.nan_to_num(values), minlength=len(units))
        bottom = np.bincount(place, weight, minlength=len(units))
        means.append(np.divide(top, bottom, out=np.full(len(units), np.nan), where=bottom > 0))
    return UnitClay(units, means[0], means[1])


def _stamp(path: Path) -> list[int] | None:
    """Size and time of a file that belongs to a raster; None when it is not there."""
    if not path.is_file():
        return None
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns]


class _HwsdReader(Reader):
    tables: ClassVar = {
        "soil": pa.schema(
            [
                pa.field("grid_row", pa.int32(), nullable=False),
                pa.field("grid_col", pa.int32(), nullable=False),
                pa.field("clay_topsoil_frac", pa.float32()),
                pa.field("clay_subsoil_frac", pa.float32()),
                pa.field("valid_area_frac", pa.float32(), nullable=False),
                pa.field("n_pixels", pa.int32(), nullable=False),
                pa.field("n_valid", pa.int32(), nullable=False),
            ]
        )
    }
    sort_key: ClassVar = {"soil": ("grid_row", "grid_col")}
    version: ClassVar = "1"

    def fingerprint(self) -> dict[str, Any]:
        """Also size and time of soil table and headers: another one re-reads the raster."""
        table = expand(self.settings.table)
        rasters = [p for p in self.expand_paths()[1] if p.suffix.lower() in _RASTERS]
        found = super().fingerprint() | {
            "table": _stamp(table) if table is not None else None,
            "headers": [_stamp(raster.with_suffix(".hdr")) for raster in rasters],
        }
        del found["settings"]["table"]  # a path: the same table elsewhere changes nothing
        return found

    def find(self) -> list[RawFile]:
        """The raster and the table; other files of a folder are not recognised."""
        root, paths = self.expand_paths()
        table = expand(self.settings.table)
        files, raster = [], None
        for path in paths:
            raw = self.raw_file(root, path, partition="static")
            if table is not None and table.exists() and path.samefile(table):
                continue
            if path.suffix.lower() not in _RASTERS:
                raw = replace(raw, status="not_recognised", reason="not_a_raster")
            elif raster is not None:
                raw = replace(raw, status="superseded", reason=f"superseded by {raster.path}")
            else:
                raster = raw
            files.append(raw)
        if raster is not None and table is not None and table.is_file():
            files.append(self.raw_file(root, table, partition="static"))
        return files

    def read(self, raw: RawFile) -> Extract:
        """The raster gives all rows; the table, read with it, gives none of its own."""
        table = self._table_path()
        if raw.location.samefile(table):
            return Extract({"soil": self.tables["soil"].empty_table()})
        clay = self.read_table(table)
        path = raw.location
        try:
            with rasterio.Env(GDAL_CACHEMAX=256 * 2**20), rasterio.open(path) as raster:
                _check_raster(raster, path)
                return self._reduce(raster, clay)
        except RasterioError as error:
            beside = path.with_suffix(".hdr")
            headless = path.suffix.lower() == ".bil" and not beside.exists()
            raise BadInput(
                f"no header {beside.name} beside it" if headless else f"not readable ({error})",
                file=path,
                remedy="fetch raster and header again",
            ) from error

    def _reduce(self, raster: rasterio.DatasetReader, clay: UnitClay) -> Extract:
        """Cell means of both depths."""
        grid = raster.transform
        latitude = grid.f + grid.e * (np.arange(raster.height) + 0.5)
        longitude = grid.c + grid.a * (np.arange(raster.width) + 0.5)
        pixels = LatLonPixels(latitude, longitude, self.cells)
        n = len(pixels.cells)
        topsoil, subsoil, area = np.zeros(n), np.zeros(n), np.zeros(n)
        n_valid = np.zeros(n, dtype=np.int64)
        counts: Counter[tuple[str, str]] = Counter()
        outside = int((pixels.n_pixels - pixels.n_inside).sum())
        for window in pixels.windows():
            unit = raster.read(1, window=RasterWindow.from_slices(window.rows, window.cols))
            inside = window.cell >= 0
            top, sub, known = _look_up(clay, unit)
            valid = inside & ~np.isnan(top) & ~np.isnan(sub)
            weight = np.broadcast_to(np.cos(np.deg2rad(latitude[window.rows]))[:, None], unit.shape)
            window.add(area, valid, weight)
            window.add(topsoil, valid, weight * top)
            window.add(subsoil, valid, weight * sub)
            window.add(n_valid, valid)
            nodata = inside & (unit == raster.nodata) if raster.nodata else np.zeros_like(inside)
            sea = inside & (unit == 0) & ~nodata
            absent = inside & ~known & ~sea & ~nodata
            for column, mine, other in (
                ("clay_topsoil_frac", top, sub),
                ("clay_subsoil_frac", sub, top),
            ):
                soil = inside & known & ~sea & ~nodata
                for reason, where in {
                    "ok": soil & valid,
                    "sea": sea,
                    "nodata": nodata,
                    "unit_not_in_table": absent,
                    "no_clay": soil & np.isnan(mine),
                    "other_depth_missing": soil & ~np.isnan(mine) & np.isnan(other),
                }.items():
                    counts[column, reason] += int(where.sum())
        for column in ("clay_topsoil_frac", "clay_subsoil_frac"):
            counts[column, "outside_raster"] = outside
        return Extract({"soil": self._table(pixels, topsoil, subsoil, area, n_valid)}, [
            (column, reason, k) for (column, reason), k in sorted(counts.items()) if k
        ])  # fmt: skip

    def _table(
        self,
        pixels: LatLonPixels,
        topsoil: NDArray,
        subsoil: NDArray,
        area: NDArray,
        n_valid: NDArray,
    ) -> pa.Table:
        touched = np.flatnonzero(pixels.n_inside)
        order = touched[np.lexsort((pixels.cells[touched, 1], pixels.cells[touched, 0]))]
        frac = area[order] / pixels.area[order]
        enough = (n_valid[order] > 0) & (frac >= self.settings.min_valid_frac)
        clay = [
            np.divide(total[order], area[order], out=np.zeros(len(order)), where=enough) / 100
            for total in (topsoil, subsoil)
        ]
        return pa.table(
            [
                pa.array(pixels.cells[order, 0], pa.int32()),
                pa.array(pixels.cells[order, 1], pa.int32()),
                pa.array(clay[0].astype(np.float32), pa.float32(), mask=~enough),
                pa.array(clay[1].astype(np.float32), pa.float32(), mask=~enough),
                pa.array(frac.astype(np.float32), pa.float32()),
                pa.array(pixels.n_pixels[order], pa.int32()),
                pa.array(n_valid[order], pa.int32()),
            ],
            schema=self.tables["soil"],
        )

    def _table_path(self) -> Path:
        path = expand(self.settings.table)
        if path is None or not path.is_file():
            raise BadInput(
                f"the soil table {self.settings.table} is not there",
                key=f"{self.key}.table",
                remedy="export it from the database to CSV, with its header line",
                reason="missing_table",
            )
        return path

    def read_table(self, path: Path) -> UnitClay:
        """Clay of every mapping unit of the soil table."""
        raise NotImplementedError


class HwsdV1Reader(_HwsdReader):
    """Reads HWSD 1.2: one row per soil of a unit, topsoil and subsoil clay side by side."""

    def read_table(self, path: Path) -> UnitClay:
        names = self.settings.columns
        frame = _read_csv(path, names, f"{self.key}.columns")
        return unit_clay(
            _whole(frame, names.unit, path),
            _whole(frame, names.sequence, path),
            _share(frame, names.share, path),
            _clay(frame, names.clay_topsoil, path),
            _clay(frame, names.clay_subsoil, path),
            component=self.settings.component,
        )


class HwsdV2Reader(_HwsdReader):
    """Reads HWSD 2.0: one row per layer (D1 to D7) of a unit's soil; negative clay is no soil."""

    def read_table(self, path: Path) -> UnitClay:
        names = self.settings.columns
        frame = _read_csv(path, names, f"{self.key}.columns")
        layer = frame[names.layer].fill_null("").str.strip_chars()
        needed = {name for name, (top, _) in LAYERS_CM.items() if top < SUBSOIL_CM[1]}
        found = set(layer)
        if not needed <= found <= set(LAYERS_CM):
            raise BadInput(
                f"column {names.layer} has {', '.join(sorted(found))[:100]}",
                file=path,
                key=f"{self.key}.columns.layer",
                remedy=f"expected the layers {', '.join(LAYERS_CM)}",
                reason="missing_layer",
            )
        soil = np.stack(
            [_whole(frame, names.unit, path), _whole(frame, names.sequence, path)], axis=1
        )
        soils, first, place = np.unique(soil, axis=0, return_index=True, return_inverse=True)
        place = place.ravel()
        position = {name: k for k, name in enumerate(LAYERS_CM)}
        level = np.array([position[name] for name in layer])
        if (twice := len(level) - len(np.unique(place * len(LAYERS_CM) + level))) > 0:
            raise BadInput(
                f"{twice} layers of a soil come twice",
                file=path,
                key=f"{self.key}.columns.sequence",
                remedy="expected each unit, soil and layer once",
                reason="duplicate_rows",
            )
        clay = np.full((len(soils), len(LAYERS_CM)), np.nan)
        clay[place, level] = _clay(frame, names.clay, path)
        return unit_clay(
            soils[:, 0],
            soils[:, 1],
            _share(frame, names.share, path)[first],
            depth_mean(clay, range_cm=TOPSOIL_CM),
            depth_mean(clay, range_cm=SUBSOIL_CM),
            component=self.settings.component,
        )


def _check_raster(raster: rasterio.DatasetReader, path: Path) -> None:
    grid = raster.transform
    found = ""
    if raster.crs is not None and not raster.crs.is_geographic:
        found = f"projection {raster.crs.to_string()[:60]}"
    elif grid.b or grid.d or grid.a <= 0 or grid.e >= 0:
        found = f"orientation {tuple(grid)[:6]}"
    elif max(grid.a, -grid.e) > _COARSEST_DEG or min(raster.shape) < 2:
        found = f"pixels of {grid.a:g} x {-grid.e:g} degrees, {raster.shape}"
    if found:
        raise BadInput(
            found,
            file=path,
            remedy="expected latitude/longitude, north up, 30 arc seconds",
            reason="wrong_grid",
        )
    if raster.count != 1 or np.dtype(raster.dtypes[0]).kind not in "ui":
        raise BadInput(
            f"{raster.count} bands of {raster.dtypes[0]}",
            file=path,
            remedy="expected one band of whole mapping unit numbers",
            reason="wrong_dtype",
        )
    if raster.driver == "EHdr":  # missing rows would read as zeros, that is as sea
        wanted = raster.width * raster.height * np.dtype(raster.dtypes[0]).itemsize
        if path.stat().st_size != wanted:
            raise BadInput(
                f"{path.stat().st_size} bytes, its header asks for {wanted}",
                file=path,
                remedy="fetch raster and header again",
            )


def _look_up(clay: UnitClay, unit: NDArray) -> tuple[NDArray, NDArray, NDArray[np.bool_]]:
    """Topsoil and subsoil clay (%) of pixels, and whether the table has their unit."""
    units, place = np.unique(unit, return_inverse=True)
    at = np.minimum(np.searchsorted(clay.unit, units), len(clay.unit) - 1)
    known = (clay.unit[at] == units) & (units != 0)
    place = place.reshape(unit.shape)
    return (
        np.where(known, clay.topsoil[at], np.nan)[place],
        np.where(known, clay.subsoil[at], np.nan)[place],
        known[place],
    )


def _read_csv(path: Path, columns: _Columns, key: str) -> pl.DataFrame:
    """The wanted columns as text; the delimiter is the header's, the last line must be whole."""
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        first = file.readline()
    delimiter = max(",;\t|", key=first.count)
    header = next(csv.reader([first], delimiter=delimiter), [])
    wanted = columns.model_dump()
    for name, column in wanted.items():
        if column not in header:
            raise BadInput(
                f"no column {column}; found {', '.join(header)[:300] or 'an empty file'}",
                file=path,
                key=f"{key}.{name}",
                remedy=f"name the column with `columns: {{{name}: …}}`",
                reason="missing_column",
            )
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 2**16))
        last = file.read().decode("utf-8", "replace").rstrip("\r\n").splitlines()[-1]
    if len(next(csv.reader([last], delimiter=delimiter), [])) != len(header):
        raise BadInput(
            f"the last line has another number of values than the header ({last[:80]!r})",
            file=path,
            remedy="export the table again",
        )
    try:
        return pl.read_csv(
            path,
            separator=delimiter,
            columns=sorted(set(wanted.values())),
            infer_schema=False,
            encoding="utf8-lossy",
        )
    except pl.exceptions.PolarsError as error:
        raise BadInput(f"not a table ({error})", file=path, remedy="export it again") from error


def _number(frame: pl.DataFrame, column: str, path: Path) -> NDArray[np.float64]:
    text = frame[column].fill_null("").str.strip_chars()
    value = text.cast(pl.Float64, strict=False)
    if (bad := value.is_null() & ~text.is_in(_NULLS)).any():
        raise BadInput(
            f"{text.filter(bad)[0]!r} in column {column} is not a number",
            file=path,
            key=column,
            remedy="export the table with a decimal point",
            reason="wrong_dtype",
        )
    return value.to_numpy().astype(np.float64)


def _whole(frame: pl.DataFrame, column: str, path: Path) -> NDArray[np.int64]:
    value = _number(frame, column, path)
    if not (np.isfinite(value) & (value == np.round(value))).all():
        raise BadInput(
            f"column {column} has empty or broken numbers",
            file=path,
            key=column,
            remedy="expected whole numbers in every row",
            reason="wrong_dtype",
        )
    return value.astype(np.int64)


def _share(frame: pl.DataFrame, column: str, path: Path) -> NDArray[np.float64]:
    """Share of the unit (%)."""
    value = _number(frame, column, path)
    if not ((value >= 0) & (value <= 100)).all():
        raise BadInput(
            f"column {column} has values that are no percentage",
            file=path,
            key=column,
            remedy="expected 0 to 100 in every row",
            reason="out_of_range",
        )
    return value


def _clay(frame: pl.DataFrame, column: str, path: Path) -> NDArray[np.float64]:
    """Clay in %, nan where empty or negative."""
    value = _number(frame, column, path)
    if (value > 100).any():
        raise BadInput(
            f"{np.nanmax(value):g} % clay",
            file=path,
            key=column,
            remedy="expected percent of weight, 0 to 100",
            reason="out_of_range",
        )
    return np.where(value < 0, np.nan, value)
