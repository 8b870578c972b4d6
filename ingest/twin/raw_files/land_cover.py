"""Land cover like MCD12Q1: IGBP classes on the 500-m sinusoidal grid, one GeoTIFF a tile."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import rasterio
from rasterio.crs import CRS
from rasterio.transform import Affine
from scipy.ndimage import gaussian_filter
from scipy.special import ndtr

from ingest.grid import M09
from ingest.twin.random_fields import smooth_field, stream
from ingest.twin.raw_files.latlon_grids import window_centres
from ingest.twin.world import World

RADIUS_M = 6371007.181
TILE_M = 1111950.5197
TILE_PIXELS = 2400
PIXEL_M = TILE_M / TILE_PIXELS
X0_M, Y0_M = -20015109.354, 10007554.677
PROJECTION = f"+proj=sinu +lon_0=0 +x_0=0 +y_0=0 +R={RADIUS_M} +units=m +no_defs"
FILL = 255
BY_WETNESS = (16, 10, 12, 12, 14, 4, 2)  # barren, grass, crops, mosaic, broadleaf, evergreen
SECOND, THIRD = {16: 10, 10: 16, 12: 14, 14: 12, 4: 5, 2: 4}, (13, 17)
MAIN_SHARE = (0.3, 0.85)  # of a cell's main class: about half of all stations stand in a majority


def write_land_cover(world: World, folder: Path) -> int:
    """Write the window's part of each tile; returns the number of tiles."""
    folder.mkdir(parents=True, exist_ok=True)
    lat, lon = (np.deg2rad(v) for v in window_centres(world))
    x, y = RADIUS_M * lon * np.cos(lat), RADIUS_M * lat
    margin = 20  # pixels around the outermost centres
    cols = (np.floor((x - X0_M) / PIXEL_M).min() - margin, np.floor((x - X0_M) / PIXEL_M).max())
    rows = (np.floor((Y0_M - y) / PIXEL_M).min() - margin, np.floor((Y0_M - y) / PIXEL_M).max())
    col0, row0 = int(cols[0]), int(rows[0])
    width, height = int(cols[1]) + margin - col0, int(rows[1]) + margin - row0
    classes = classify(world, row0, col0, height, width)
    n = 0
    for v in range(row0 // TILE_PIXELS, (row0 + height - 1) // TILE_PIXELS + 1):
        for h in range(col0 // TILE_PIXELS, (col0 + width - 1) // TILE_PIXELS + 1):
            top, left = max(row0, v * TILE_PIXELS), max(col0, h * TILE_PIXELS)
            bottom = min(row0 + height, (v + 1) * TILE_PIXELS)
            right = min(col0 + width, (h + 1) * TILE_PIXELS)
            part = classes[top - row0 : bottom - row0, left - col0 : right - col0]
            name = f"MCD12Q1.A{world.period[0].year}001.h{h:02d}v{v:02d}.006.LC_Type1.tif"
            corner = X0_M + left * PIXEL_M, Y0_M - top * PIXEL_M
            with rasterio.open(
                folder / name, "w", driver="GTiff", dtype="uint8", count=1, nodata=FILL,
                height=part.shape[0], width=part.shape[1], compress="deflate",
                crs=CRS.from_proj4(PROJECTION),
                transform=Affine(PIXEL_M, 0, corner[0], 0, -PIXEL_M, corner[1]),
            ) as tile:  # fmt: skip
                tile.write(part, 1)
                tile.set_band_description(1, "LC_Type1")
            n += 1
    return n


def classify(world: World, row0: int, col0: int, height: int, width: int) -> np.ndarray:
    """Class of each pixel: a main class by the cell's wetness, patches of others, fill outside."""
    s = world.settings
    y = Y0_M - (row0 + np.arange(height)[:, None] + 0.5) * PIXEL_M
    x = X0_M + (col0 + np.arange(width) + 0.5) * PIXEL_M
    lat = np.broadcast_to(y / RADIUS_M, (height, width))
    lon = x / (RADIUS_M * np.cos(lat))
    row, col = M09.index(np.rad2deg(lat), np.rad2deg(lon))
    row, col = row - s.window_row, col - s.window_col
    inside = (row >= 0) & (row < s.window_size) & (col >= 0) & (col < s.window_size)
    cell = np.where(inside, row * s.window_size + col, 0)

    rng = stream(s.seed, "land cover")
    patches = gaussian_filter(rng.standard_normal((height, width), dtype=np.float32), 2.0)
    score = ndtr(patches / patches.std())
    low, high = MAIN_SHARE
    share = rng.uniform(low, high, s.window_size**2)
    centre_lat, centre_lon = window_centres(world)
    drift = 0.08 * smooth_field(rng, centre_lon, centre_lat, length_deg=0.3)
    band = np.clip((world.climate.wetness + drift) * len(BY_WETNESS), 0, len(BY_WETNESS) - 1)
    main = np.array(BY_WETNESS, dtype=np.uint8)[band.astype(int)]
    second = np.array([SECOND[int(c)] for c in main], dtype=np.uint8)
    third = rng.choice(np.array(THIRD, dtype=np.uint8), main.size)
    limit = share[cell]
    rest = limit + 0.8 * (1 - limit)
    classes = np.where(score < limit, main[cell], np.where(score < rest, second[cell], third[cell]))
    return np.where(inside, classes, FILL).astype(np.uint8)
