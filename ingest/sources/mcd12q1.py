"""MODIS land cover MCD12Q1 (500 m, IGBP): pixels per class of each cell, class at each station.

Tiles of the sinusoidal grid, as HDF4-EOS or as GeoTIFF (a tile, a part or a mosaic, placed by its
own georeferencing). A cell that crosses tiles has rows from each; their counts add up. A station
has the class of the pixel that holds it; a station in no tile has no row.

Each pixel of a cell that a file holds has one reason: `ok` (1 to 17), `fill` (255), `out_of_range`.
Each station is `ok`, `fill`, `out_of_range` or `outside_raster` in each file.

Source: Friedl and Sulla-Menashe 2019, doi:10.5067/MODIS/MCD12Q1.006.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
import rasterio
from numpy.typing import NDArray
from pyhdf.error import HDF4Error
from pyhdf.SD import SD, SDC
from rasterio.errors import RasterioError
from rasterio.windows import Window as RasterWindow

from ingest.reader import BadInput, Extract, RawFile, Reader, SourceSettings
from ingest.sources.raster_cells import (
    MODIS_COLS,
    MODIS_PIXEL_M,
    MODIS_ROWS,
    MODIS_X0_M,
    MODIS_Y0_M,
    TILE_PIXELS,
    SinusoidalPixels,
    modis_pixel,
    tile_corner,
    tile_name,
)

LAYER = "LC_Type1"
FILL = 255
CLASSES = range(1, 18)
_TILE = re.compile(
    r"MCD12Q1\.A(?P<year>\d{4})\d{3}\.(?P<tile>h[0-3]\dv[01]\d)\.(?P<collection>\d{3})"
    r"(?:\.(?P<made>\d+))?.*\.(?P<kind>hdf|tiff?)$",
    re.IGNORECASE,
)
_YEAR = re.compile(r"(?:\.A|doy|_)((?:19|20)\d{2})(?=\d{3}(?!\d)|_\d{3}(?!\d)|[_.-]|$)")
_OTHER_LAYER = re.compile(r"LC_Type[2-5]|LC_Prop|LC[2-5]_|[._]QC[._]|[._]LW[._]", re.IGNORECASE)
_CORNER = re.compile(r"UpperLeftPointMtrs\s*=\s*\(\s*([-+\d.eE]+)\s*,\s*([-+\d.eE]+)\s*\)")


class Mcd12q1(SourceSettings):
    """Settings of an MCD12Q1 source.

    `year` is the year of land cover; left out, that of the files nearest to the study's first year
    (the earlier of two). One year only is ever read.
    """

    format: Literal["mcd12q1"]
    year: int | None = None


@dataclass(frozen=True)
class _Piece:
    """An open raster on the 500 m grid: global row and column of its corner, shape, reading."""

    row: int
    col: int
    shape: tuple[int, int]
    read: Callable[[slice, slice], NDArray]


class Mcd12q1Reader(Reader):
    """Reads one file to classes of cells and stations.

    Args:
        stations: (station_id, latitude, longitude) of every station of the study.
    """

    tables: ClassVar = {
        "cell_class": pa.schema(
            [
                pa.field("grid_row", pa.int32(), nullable=False),
                pa.field("grid_col", pa.int32(), nullable=False),
                pa.field("tile", pa.string(), nullable=False),
                pa.field("igbp_class", pa.int16(), nullable=False),
                pa.field("n_pixels", pa.int32(), nullable=False),
            ]
        ),
        "station_class": pa.schema(
            [
                pa.field("station_id", pa.string(), nullable=False),
                pa.field("igbp_class", pa.int16(), nullable=False),
                pa.field("tile", pa.string(), nullable=False),
            ]
        ),
    }
    sort_key: ClassVar = {
        "cell_class": ("grid_row", "grid_col", "igbp_class", "tile"),
        "station_class": ("station_id",),
    }
    version: ClassVar = "1"

    def __init__(self, *, stations: list[tuple[str, float, float]], **kwargs: Any):
        super().__init__(**kwargs)
        self.stations = sorted((str(name), float(lat), float(lon)) for name, lat, lon in stations)

    def fingerprint(self) -> dict[str, Any]:
        """Also the stations: their pixels are picked while reading."""
        return super().fingerprint() | {"stations": [list(s) for s in self.stations]}

    def find(self) -> list[RawFile]:
        """One file per tile and place, of one year: newest collection, then HDF4 before GeoTIFF.

        A GeoTIFF whose name holds no tile is placed by its header; one that overlaps a file already
        taken is a `duplicate`, since its pixels would count twice.
        """
        root, paths = self.expand_paths()
        files, tiles, others = [], [], []
        for path in paths:
            raw = self.raw_file(root, path, partition="")
            name = _TILE.match(path.name)
            if path.suffix.lower() not in (".hdf", ".tif", ".tiff"):
                files.append(replace(raw, status="not_recognised", reason="not_a_raster"))
            elif _OTHER_LAYER.search(path.name):
                files.append(replace(raw, status="not_recognised", reason="other_layer"))
            elif name:
                tiles.append((raw, name))
            else:
                others.append(raw)
        years = [int(name["year"]) for _, name in tiles]
        years += [y for raw in others if (y := _year(raw.location))]
        first = self.period[0].year
        year = self.settings.year or min(years, key=lambda y: (abs(y - first), y), default=None)

        def other_year(raw: RawFile, found: int | None) -> bool:
            if found is None or found == year:
                return False
            files.append(replace(raw, status="outside_period", reason=f"land cover of {found}"))
            return True

        best: dict[str, tuple[tuple, RawFile]] = {}
        tiles = [(r, n) for r, n in tiles if not other_year(r, int(n["year"]))]
        for raw, name in sorted(tiles, key=lambda pair: _rank(pair[1]), reverse=True):
            tile, rank = name["tile"].lower(), _rank(name)
            if tile not in best:
                raw = replace(raw, partition=tile)
                best[tile] = rank, raw
            else:
                rank_of_best, kept = best[tile]
                same = rank[0] == rank_of_best[0]
                status, word = ("duplicate", "of") if same else ("superseded", "by")
                raw = replace(raw, status=status, reason=f"{status} {word} {kept.path}")
            files.append(raw)
        taken = [
            (*tile_corner(tile), TILE_PIXELS, TILE_PIXELS, raw.path)
            for tile, (_, raw) in best.items()
        ]
        for raw in others:
            if other_year(raw, _year(raw.location)):
                continue
            raw = replace(raw, partition=re.sub(r"\W+", "_", raw.location.stem))
            if (place := _place(raw.location)) is not None:
                clash = [box[4] for box in taken if _overlap(place, box)]
                if clash:
                    raw = replace(raw, status="duplicate", reason=f"overlaps {clash[0]}")
                else:
                    taken.append((*place, raw.path))
            files.append(raw)
        return sorted(files, key=lambda raw: raw.path)

    def read(self, raw: RawFile) -> Extract:
        opened = _open_hdf if raw.location.suffix.lower() == ".hdf" else _open_tif
        with opened(raw.location) as piece:
            cells, cell_counts = self._cells(piece)
            stations, station_counts = self._stations(piece)
        return Extract(
            {"cell_class": cells, "station_class": stations},
            [("igbp_class", reason, n) for reason, n in sorted(cell_counts.items()) if n]
            + [("station_class", reason, n) for reason, n in sorted(station_counts.items()) if n],
        )

    def _cells(self, piece: _Piece) -> tuple[pa.Table, Counter[str]]:
        """Pixels per cell, tile and class."""
        pixels = SinusoidalPixels(piece.row, piece.col, piece.shape, self.cells)
        counts: Counter[str] = Counter()
        tally: Counter[tuple[int, int, int]] = Counter()
        for window in pixels.windows():
            value = piece.read(window.rows, window.cols)
            inside = window.cell >= 0
            known = inside & (value >= CLASSES.start) & (value < CLASSES.stop)
            fill = inside & (value == FILL)
            counts["ok"] += int(known.sum())
            counts["fill"] += int(fill.sum())
            counts["out_of_range"] += int((inside & ~known & ~fill).sum())
            i, j = np.nonzero(known)
            tile_v = (piece.row + window.rows.start + i) // TILE_PIXELS
            tile_h = (piece.col + window.cols.start + j) // TILE_PIXELS
            code = (window.members[window.cell[i, j]] * 18 + tile_v) * 36 + tile_h
            code, n = np.unique(code * 32 + value[i, j], return_counts=True)
            tally.update(dict(zip(code.tolist(), n.tolist(), strict=True)))
        rows = sorted(
            (
                *pixels.cells[code // (32 * 36 * 18)].tolist(),
                code % 32,
                tile_name(code // (32 * 36) % 18 * TILE_PIXELS, code // 32 % 36 * TILE_PIXELS),
                n,
            )
            for code, n in tally.items()
        )
        row, col, igbp, tile, n = zip(*rows, strict=True) if rows else ([],) * 5
        schema = self.tables["cell_class"]
        return pa.table([row, col, tile, igbp, n], schema=schema), counts

    def _stations(self, piece: _Piece) -> tuple[pa.Table, Counter[str]]:
        """Class of the pixel that holds each station."""
        counts: Counter[str] = Counter()
        rows = []
        for name, latitude, longitude in self.stations:
            row, col = (int(v) for v in modis_pixel(latitude, longitude))
            i, j = row - piece.row, col - piece.col
            if not (0 <= i < piece.shape[0] and 0 <= j < piece.shape[1]):
                counts["outside_raster"] += 1
                continue
            value = int(piece.read(slice(i, i + 1), slice(j, j + 1))[0, 0])
            if value in CLASSES:
                counts["ok"] += 1
                rows.append((name, value, tile_name(row, col)))
            else:
                counts["fill" if value == FILL else "out_of_range"] += 1
        columns = zip(*rows, strict=True) if rows else ([],) * 3
        return pa.table(list(columns), schema=self.tables["station_class"]), counts


def _rank(name: re.Match[str]) -> tuple[tuple[int, int], bool]:
    """Larger is better; equal first parts are one product in two formats."""
    return (int(name["collection"]), int(name["made"] or 0)), name["kind"].lower() == "hdf"


def _year(path: Path) -> int | None:
    found = _YEAR.search(path.name)
    return int(found[1]) if found else None


def _overlap(a: tuple, b: tuple) -> bool:
    return all(a[k] < b[k] + b[k + 2] and b[k] < a[k] + a[k + 2] for k in (0, 1))


def _place(path: Path) -> tuple[int, int, int, int] | None:
    """Global row and column and shape of a GeoTIFF; None where reading will tell what is wrong."""
    if path.suffix.lower() == ".hdf":
        return None
    try:
        with _open_tif(path) as piece:
            return piece.row, piece.col, *piece.shape
    except BadInput:
        return None


def _corner(x: float, y: float, shape: tuple[int, ...], path: Path) -> tuple[int, int]:
    """Global row and column of a raster whose upper-left corner lies at x, y (metres)."""
    col, row = (x - MODIS_X0_M) / MODIS_PIXEL_M, (MODIS_Y0_M - y) / MODIS_PIXEL_M
    whole = round(row), round(col)
    inside = 0 <= whole[0] <= MODIS_ROWS - shape[0] and 0 <= whole[1] <= MODIS_COLS - shape[1]
    if max(abs(row - whole[0]), abs(col - whole[1])) > 0.05 or not inside:
        raise BadInput(
            f"corner ({x:.3f}, {y:.3f}) m, {shape} pixels",
            file=path,
            remedy="expected whole pixels of the MODIS sinusoidal 500 m grid",
            reason="wrong_grid",
        )
    return whole


@contextmanager
def _open_hdf(path: Path) -> Iterator[_Piece]:
    try:
        file = SD(str(path), SDC.READ)
    except HDF4Error as error:
        raise BadInput(
            f"not a readable HDF4 file ({error})", file=path, remedy="fetch it again"
        ) from error
    try:
        if LAYER not in file.datasets():
            raise BadInput(
                f"no {LAYER}; found {', '.join(sorted(file.datasets())) or 'no data set'}",
                file=path,
                key=LAYER,
                remedy="expected MCD12Q1 of collection 6 or later",
                reason="missing_variable",
            )
        data = file.select(LAYER)
        _, rank, shape, kind, _ = data.info()
        if rank != 2 or kind not in (SDC.UINT8, SDC.UCHAR8):
            raise BadInput(
                f"{LAYER} has {rank} dimensions and HDF4 type {kind}",
                file=path,
                key=LAYER,
                remedy="expected unsigned bytes (row, column)",
                reason="wrong_dtype",
            )
        row, col = _hdf_corner(file, shape, path)

        try:
            whole = np.asarray(data.get()).astype(np.int64)  # a tile is small
        except (HDF4Error, ValueError) as error:
            raise BadInput(
                f"{LAYER} breaks off ({error})",
                file=path,
                key=LAYER,
                remedy="fetch the file again",
            ) from error
        yield _Piece(row, col, tuple(shape), lambda rows, cols: whole[rows, cols])
    finally:
        file.end()


def _hdf_corner(file: SD, shape: list[int], path: Path) -> tuple[int, int]:
    """Corner by the file's StructMetadata and by the tile in its name, which must agree."""
    name = _TILE.match(path.name)
    named = tile_corner(name["tile"].lower()) if name else None
    told = _CORNER.search(str(file.attributes().get("StructMetadata.0", "")))
    if told is None and named is None:
        raise BadInput(
            "neither StructMetadata.0 nor the name tells the tile",
            file=path,
            remedy="keep the name MCD12Q1.AYYYYDDD.hXXvYY.CCC.*.hdf",
            reason="wrong_grid",
        )
    corner = _corner(float(told[1]), float(told[2]), tuple(shape), path) if told else named
    whole = tuple(shape) == (TILE_PIXELS, TILE_PIXELS)
    if (named and corner != named) or (told is None and not whole):
        raise BadInput(
            f"{tuple(shape)} pixels at row {corner[0]}, column {corner[1]} are not {name['tile']}",
            file=path,
            remedy=f"expected {TILE_PIXELS} x {TILE_PIXELS} pixels of 500 m from the tile's corner",
            reason="wrong_grid",
        )
    return corner


@contextmanager
def _open_tif(path: Path) -> Iterator[_Piece]:
    try:
        with rasterio.Env(GDAL_CACHEMAX=256 * 2**20), rasterio.open(path) as raster:
            band = _band(raster, path)
            grid = raster.transform
            projection = raster.crs.to_dict().get("proj") if raster.crs else None
            size = max(abs(grid.a / MODIS_PIXEL_M - 1), abs(-grid.e / MODIS_PIXEL_M - 1))
            if projection != "sinu" or grid.b or grid.d or size > 1e-5:
                raise BadInput(
                    f"projection {projection}, pixels of {grid.a:.6g} x {-grid.e:.6g}",
                    file=path,
                    remedy="expected MCD12Q1 on its own sinusoidal grid, 463.3127 m; MCD12C1 and"
                    " reprojected files are another grid",
                    reason="wrong_grid",
                )
            row, col = _corner(grid.c, grid.f, raster.shape, path)

            def read(rows: slice, cols: slice) -> NDArray:
                part = raster.read(band, window=RasterWindow.from_slices(rows, cols))
                return part.astype(np.int64)

            yield _Piece(row, col, raster.shape, read)
    except RasterioError as error:
        raise BadInput(f"not readable ({error})", file=path, remedy="fetch it again") from error


def _band(raster: rasterio.DatasetReader, path: Path) -> int:
    """The only band, or the one described as LC_Type1."""
    described = [k for k, text in enumerate(raster.descriptions, 1) if LAYER in (text or "")]
    bands = described or ([1] if raster.count == 1 else [])
    if len(bands) != 1:
        raise BadInput(
            f"{raster.count} bands, described {raster.descriptions}",
            file=path,
            key=LAYER,
            remedy=f"expected one band, or one described as {LAYER}",
            reason="missing_variable",
        )
    if raster.dtypes[bands[0] - 1] not in ("uint8", "int16", "uint16", "int32"):
        raise BadInput(
            f"{LAYER} is stored as {raster.dtypes[bands[0] - 1]}",
            file=path,
            key=LAYER,
            remedy="expected whole class numbers",
            reason="wrong_dtype",
        )
    return bands[0]
