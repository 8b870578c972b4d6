"""Which pixels of a raster finer than the study grid lie in which study cells, block by block.

A pixel belongs to the M09 cell that holds its centre (`ingest.grid`, floor), however much of it
lies outside. Two kinds of raster are known: regular latitude/longitude, where a cell is a rectangle
of pixels, and the MODIS sinusoidal grid,

    x = R lambda cos(phi),   y = R phi,   col = floor((x - x0) / p),   row = floor((y0 - y) / p)

Both yield `Window`s that hold only pixels near study cells, so no raster is whole in memory.

Sources: Wolfe et al. 1998, doi:10.1109/36.701082 (the MODIS land grid); Brodzik et al. 2012,
doi:10.3390/ijgi1010032 (EASE-Grid 2.0).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ingest.grid import M09, unproject

MODIS_RADIUS_M = 6371007.181
MODIS_PIXEL_M = 463.312716528
MODIS_X0_M = -20015109.354
MODIS_Y0_M = 10007554.677
TILE_PIXELS = 2400
MODIS_ROWS, MODIS_COLS = 18 * TILE_PIXELS, 36 * TILE_PIXELS


def sinusoidal(latitude: ArrayLike, longitude: ArrayLike) -> tuple[NDArray, NDArray]:
    """Latitude and longitude (degrees) to MODIS sinusoidal x and y (metres).

    >>> x, y = sinusoidal(39.90, 116.40)
    >>> round(float(x), 3), round(float(y), 3)
    (9929498.384, 4436682.574)
    """
    phi = np.deg2rad(np.asarray(latitude, dtype=np.float64))
    lam = np.deg2rad(np.asarray(longitude, dtype=np.float64))
    return MODIS_RADIUS_M * lam * np.cos(phi), MODIS_RADIUS_M * phi


def sinusoidal_inverse(x: ArrayLike, y: ArrayLike) -> tuple[NDArray, NDArray]:
    """MODIS sinusoidal x and y (metres) to latitude and longitude (degrees), nan off the globe.

    >>> [round(float(v), 6) for v in sinusoidal_inverse(*sinusoidal(39.90, 116.40))]
    [39.9, 116.4]
    """
    phi = np.asarray(y, dtype=np.float64) / MODIS_RADIUS_M
    with np.errstate(divide="ignore", invalid="ignore"):
        longitude = np.rad2deg(np.asarray(x, dtype=np.float64) / (MODIS_RADIUS_M * np.cos(phi)))
    on_globe = (np.abs(phi) <= np.pi / 2) & (np.abs(longitude) <= 180.0)
    return np.rad2deg(phi), np.where(on_globe, longitude, np.nan)


def modis_pixel(latitude: ArrayLike, longitude: ArrayLike) -> tuple[NDArray, NDArray]:
    """Row and column (0-based, over the whole globe) of the 500 m pixel that holds each point.

    >>> row, col = modis_pixel(39.90, 116.40)
    >>> tile_name(int(row), int(col))
    'h26v05'
    """
    x, y = sinusoidal(latitude, longitude)
    row = np.floor((MODIS_Y0_M - y) / MODIS_PIXEL_M)
    col = np.floor((x - MODIS_X0_M) / MODIS_PIXEL_M)
    return (
        np.clip(row, 0, MODIS_ROWS - 1).astype(np.int64),
        np.clip(col, 0, MODIS_COLS - 1).astype(np.int64),
    )


def modis_centre(row: ArrayLike, col: ArrayLike) -> tuple[NDArray, NDArray]:
    """Latitude and longitude (degrees) of 500 m pixel centres from global row and column."""
    x = MODIS_X0_M + (np.asarray(col, dtype=np.float64) + 0.5) * MODIS_PIXEL_M
    y = MODIS_Y0_M - (np.asarray(row, dtype=np.float64) + 0.5) * MODIS_PIXEL_M
    return sinusoidal_inverse(x, y)


def tile_name(row: int, col: int) -> str:
    """Name of the tile that holds a global pixel.

    >>> tile_name(0, 2400)
    'h01v00'
    """
    return f"h{col // TILE_PIXELS:02d}v{row // TILE_PIXELS:02d}"


def tile_corner(name: str) -> tuple[int, int]:
    """Global row and column of the upper-left pixel of a tile.

    >>> tile_corner("h26v05")
    (12000, 62400)
    """
    return int(name[4:6]) * TILE_PIXELS, int(name[1:3]) * TILE_PIXELS


@dataclass(frozen=True)
class Window:
    """A part of a raster worth reading, and where its pixels belong.

    `cell` has the shape of the window: for each pixel the position in `members` of the cell that
    holds its centre, -1 for none. `members` are positions in the study's list of cells, each once.
    """

    rows: slice
    cols: slice
    cell: NDArray[np.intp]
    members: NDArray[np.intp]

    def add(self, total: NDArray, chosen: NDArray[np.bool_], values: NDArray | None = None) -> None:
        """Add to `total` (one number per study cell) the chosen pixels' count, or sum of values."""
        label = self.cell[chosen]
        weights = None if values is None else values[chosen].astype(np.float64)
        sums = np.bincount(label, weights=weights, minlength=len(self.members))
        total[self.members] += sums.astype(total.dtype)


class LatLonPixels:
    """The pixels of a regular latitude/longitude raster whose centres lie in study cells.

    A cell at the raster's rim keeps its full count: the raster is thought to go on, and what it
    lacks is not valid.

    Args:
        latitude, longitude: (n,) and (m,) pixel centres in degrees, even, rising or falling.
        cells: (k, 2) M09 row and column, each cell once.

    Attributes:
        n_pixels: (k,) pixels in each cell, those beyond the raster included.
        n_inside: (k,) pixels in each cell that the raster holds.
        area: (k,) sum of cos(latitude) over `n_pixels`.

    >>> lat, lon = 40 - (np.arange(240) + 0.5) / 120, 116 + (np.arange(240) + 0.5) / 120
    >>> pixels = LatLonPixels(lat, lon, np.array([[290, 3174]]))
    >>> int(pixels.n_pixels[0]), [w.cell.shape for w in pixels.windows()]
    (132, [(11, 12)])
    """

    def __init__(self, latitude: ArrayLike, longitude: ArrayLike, cells: ArrayLike):
        self.latitude = np.asarray(latitude, dtype=np.float64)
        self.longitude = np.asarray(longitude, dtype=np.float64)
        self.cells = np.asarray(cells, dtype=np.int64).reshape(-1, 2)
        rows, row_of = np.unique(self.cells[:, 0], return_inverse=True)
        cols, col_of = np.unique(self.cells[:, 1], return_inverse=True)

        south, north = _row_edges(rows)
        first, last = _members(
            self.latitude, south, north, rows, lambda lat: M09.index(lat, 0.0)[0]
        )
        cosine = np.array(
            [
                np.cos(np.deg2rad(_centres(self.latitude, np.arange(a, b)))).sum()
                for a, b in zip(first, last, strict=True)
            ]
        )
        self._row = np.stack([first, last], axis=1)[row_of]

        west, east = _col_edges(cols)
        middle = (self.longitude[0] + self.longitude[-1]) / 2
        turn = 360.0 * np.round((middle - (west + east) / 2) / 360.0)  # 0..360 rasters
        first, last = _members(
            self.longitude, west + turn, east + turn, cols, lambda lon: M09.index(0.0, lon)[1]
        )
        self._col = np.stack([first, last], axis=1)[col_of]

        self.n_pixels = _length(self._row) * _length(self._col)
        self.area = cosine[row_of] * _length(self._col)
        self._row = np.clip(self._row, 0, len(self.latitude))
        self._col = np.clip(self._col, 0, len(self.longitude))
        self.n_inside = _length(self._row) * _length(self._col)

    def windows(self, *, block_cells: int = 32) -> Iterator[Window]:
        """The parts of the raster to read, in its order of rows: one per block of grid cells."""
        held = np.flatnonzero(self.n_inside)
        if len(held) == 0:
            return
        block = self.cells[held] // block_cells
        downward = 1 if self.latitude[-1] < self.latitude[0] else -1
        order = np.lexsort(
            (held, block[:, 1], downward * block[:, 0])
        )  # compressed chunks met once
        edges = np.flatnonzero(np.any(np.diff(block[order], axis=0) != 0, axis=1)) + 1
        for part in np.split(held[order], edges):
            row, col = self._row[part], self._col[part]
            rows = slice(int(row[:, 0].min()), int(row[:, 1].max()))
            cols = slice(int(col[:, 0].min()), int(col[:, 1].max()))
            cell = np.full((rows.stop - rows.start, cols.stop - cols.start), -1, dtype=np.intp)
            for i in range(len(part)):
                cell[
                    row[i, 0] - rows.start : row[i, 1] - rows.start,
                    col[i, 0] - cols.start : col[i, 1] - cols.start,
                ] = i
            yield Window(rows, cols, cell, part)


class SinusoidalPixels:
    """The pixels of a piece of the MODIS sinusoidal 500 m grid whose centres lie in study cells.

    A cell that crosses the rim of the piece gets what lies inside; the neighbours hold the rest.

    Args:
        row, col: global row and column of the piece's upper-left pixel.
        shape: rows and columns of the piece.
        cells: (k, 2) M09 row and column, each cell once.
    """

    def __init__(self, row: int, col: int, shape: tuple[int, int], cells: ArrayLike):
        self.row, self.col, self.shape = row, col, shape
        self.cells = np.asarray(cells, dtype=np.int64).reshape(-1, 2)
        code = self.cells[:, 0] * M09.cols + self.cells[:, 1]
        self._order = np.argsort(code, kind="stable")
        self._code = code[self._order]

    def windows(self, *, block_pixels: int = 400_000) -> Iterator[Window]:
        """The parts of the piece to read, from the top: strips cut to the study's cells."""
        if len(self._code) == 0:
            return
        height = max(1, block_pixels // self.shape[1])
        wanted = np.unique(self.cells[:, 0])
        for top in range(0, self.shape[0], height):
            row = np.arange(top, min(top + height, self.shape[0]))
            latitude = modis_centre(self.row + row, MODIS_COLS // 2)[0]
            if not np.isin(M09.index(latitude, 0.0)[0], wanted).any():
                continue
            position = self._positions(row)
            hit_rows = np.flatnonzero((position >= 0).any(axis=1))
            hit_cols = np.flatnonzero((position >= 0).any(axis=0))
            if len(hit_rows) == 0:
                continue
            rows = slice(int(hit_rows[0]), int(hit_rows[-1]) + 1)
            cols = slice(int(hit_cols[0]), int(hit_cols[-1]) + 1)
            position = position[rows, cols]
            members, label = np.unique(position, return_inverse=True)
            label = label.reshape(position.shape).astype(np.intp)
            if members[0] < 0:
                members, label = members[1:], label - 1
            yield Window(slice(top + rows.start, top + rows.stop), cols, label, members)

    def _positions(self, row: NDArray) -> NDArray[np.intp]:
        """Position in `cells` of each pixel of some rows of the piece, -1 for none."""
        latitude, longitude = modis_centre(
            self.row + row[:, None], self.col + np.arange(self.shape[1])[None, :]
        )
        grid_row, grid_col = M09.index(latitude, longitude)
        code = np.where(grid_row >= 0, grid_row.astype(np.int64) * M09.cols + grid_col, -1)
        place = np.minimum(np.searchsorted(self._code, code), len(self._code) - 1)
        return np.where(self._code[place] == code, self._order[place], -1)


def _length(span: NDArray) -> NDArray[np.int64]:
    return span[:, 1] - span[:, 0]


def _row_edges(rows: NDArray) -> tuple[NDArray, NDArray]:
    """Southern and northern latitude of grid rows."""
    north = unproject(0.0, M09.y0_m - rows * M09.cell_m)[0]
    south = unproject(0.0, M09.y0_m - (rows + 1) * M09.cell_m)[0]
    return south, north


def _col_edges(cols: NDArray) -> tuple[NDArray, NDArray]:
    """Western and eastern longitude of grid columns."""
    width = 360.0 / M09.cols
    return -180.0 + cols * width, -180.0 + (cols + 1) * width


def _centres(axis: NDArray, index: NDArray) -> NDArray:
    """Pixel centres of an axis; beyond its ends the spacing goes on."""
    step = (axis[-1] - axis[0]) / (len(axis) - 1)
    inside = axis[np.clip(index, 0, len(axis) - 1)]
    return np.where((index >= 0) & (index < len(axis)), inside, axis[0] + index * step)


def _members(
    axis: NDArray,
    low: NDArray,
    high: NDArray,
    wanted: NDArray,
    grid_index: Callable[[NDArray], NDArray],
) -> tuple[NDArray, NDArray]:
    """First and last + 1 index of the pixels of an axis whose centre has the wanted grid index."""
    step = (axis[-1] - axis[0]) / (len(axis) - 1)
    ends = np.stack([(low - axis[0]) / step, (high - axis[0]) / step])
    first = np.floor(ends.min(axis=0)).astype(np.int64) - 1
    count = int(np.ceil((ends.max(axis=0) - ends.min(axis=0)).max(initial=0.0))) + 4
    index = first[:, None] + np.arange(count)
    hit = grid_index(_centres(axis, index)) == wanted[:, None]
    start = first + hit.argmax(axis=1)
    return start, start + hit.sum(axis=1)
