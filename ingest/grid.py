"""EASE-Grid 2.0 global grids (9 km `M09`, 36 km `M36`) and regular latitude/longitude grids.

Projection: cylindrical equal area, standard parallel 30 degrees, WGS84 (EPSG:6933), in closed form:

    k0 = cos(30) / sqrt(1 - e2 sin(30)^2)
    q(phi) = (1 - e2) [ sin(phi) / (1 - e2 sin(phi)^2) - ln((1 - e sin(phi)) / (1 + e sin(phi))) / (2 e) ]
    x = a k0 lambda,   y = a q / (2 k0)
    col = floor((x - x0) / c),   row = floor((y0 - y) / c)        (row 0 is the northernmost)

Source: Brodzik et al. 2012, doi:10.3390/ijgi1010032, with the 2014 correction doi:10.3390/ijgi3031154.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

SEMI_MAJOR_AXIS_M = 6378137.0
ECCENTRICITY = 0.081819190843
_E2 = ECCENTRICITY**2
_K0 = float(np.cos(np.pi / 6) / np.sqrt(1.0 - _E2 * np.sin(np.pi / 6) ** 2))
LATITUDE_LIMIT_DEG = 85.0445664


def _authalic_q(sin_phi: NDArray[np.float64]) -> NDArray[np.float64]:
    es = ECCENTRICITY * sin_phi
    return (1 - _E2) * (sin_phi / (1 - es**2) - np.log((1 - es) / (1 + es)) / (2 * ECCENTRICITY))


def project(latitude: ArrayLike, longitude: ArrayLike) -> tuple[NDArray, NDArray]:
    """Latitude and longitude (degrees, WGS84) to EASE-Grid 2.0 x and y (metres).

    >>> x, y = project(39.90, 116.40)
    >>> round(float(x), 4), round(float(y), 4)
    (11231003.0212, 4697250.1263)
    """
    lat = np.asarray(latitude, dtype=np.float64)
    lon = (np.asarray(longitude, dtype=np.float64) + 180.0) % 360.0 - 180.0
    x = SEMI_MAJOR_AXIS_M * _K0 * np.deg2rad(lon)
    y = SEMI_MAJOR_AXIS_M * _authalic_q(np.sin(np.deg2rad(lat))) / (2 * _K0)
    return x, y


def unproject(x: ArrayLike, y: ArrayLike) -> tuple[NDArray, NDArray]:
    """EASE-Grid 2.0 x and y (metres) to latitude and longitude (degrees).

    Newton's iteration on the authalic function; converges to the last bit in a few steps.
    """
    lon = np.rad2deg(np.asarray(x, dtype=np.float64) / (SEMI_MAJOR_AXIS_M * _K0))
    q = np.asarray(y, dtype=np.float64) * 2 * _K0 / SEMI_MAJOR_AXIS_M
    q_pole = float(_authalic_q(np.float64(1.0)))
    phi = np.arcsin(np.clip(q / q_pole, -1.0, 1.0))
    for _ in range(6):
        s = np.sin(phi)
        slope = 2 * (1 - _E2) * np.cos(phi) / (1 - _E2 * s**2) ** 2
        phi = phi - (_authalic_q(s) - q) / slope
    return np.rad2deg(phi), lon


@dataclass(frozen=True)
class EaseGrid:
    """One global EASE-Grid 2.0 grid: `rows` x `cols` square cells of `cell_m` metres."""

    name: str
    rows: int
    cols: int
    cell_m: float

    @property
    def x0_m(self) -> float:
        return -self.cell_m * self.cols / 2

    @property
    def y0_m(self) -> float:
        return self.cell_m * self.rows / 2

    def index(self, latitude: ArrayLike, longitude: ArrayLike) -> tuple[NDArray, NDArray]:
        """Row and column (0-based) of the cell holding each point; -1, -1 outside the grid.

        A point on an edge belongs to the cell east or south of it.

        >>> [int(i) for i in M09.index(39.90, 116.40)]
        [290, 3174]
        """
        lat = np.asarray(latitude, dtype=np.float64)
        lon = np.asarray(longitude, dtype=np.float64)
        x, y = project(np.clip(lat, -90, 90), np.where(np.isfinite(lon), lon, 0.0))
        col = np.clip(np.floor((x - self.x0_m) / self.cell_m), 0, self.cols - 1)
        row = np.floor((self.y0_m - y) / self.cell_m)
        inside = (
            np.isfinite(lon)
            & (np.abs(lat) <= 90)
            & (np.abs(lon) <= 360)
            & (row >= 0)
            & (row < self.rows)
        )
        return (
            np.where(inside, row, -1).astype(np.int32),
            np.where(inside, col, -1).astype(np.int32),
        )

    def centre(self, row: ArrayLike, col: ArrayLike) -> tuple[NDArray, NDArray]:
        """Latitude and longitude (degrees) of cell centres.

        >>> [round(float(v), 6) for v in M09.centre(290, 3174)]
        [39.90458, 116.374481]
        """
        x = self.x0_m + (np.asarray(col, dtype=np.float64) + 0.5) * self.cell_m
        y = self.y0_m - (np.asarray(row, dtype=np.float64) + 0.5) * self.cell_m
        return unproject(x, y)


M09 = EaseGrid("M09", 1624, 3856, 9008.055210146)
M36 = EaseGrid("M36", 406, 964, 36032.220840584)


def gridcell_id(row: int, col: int) -> str:
    """Text key of an M09 cell.

    >>> gridcell_id(290, 3174)
    'M09-r290-c3174'
    """
    return f"M09-r{row}-c{col}"
