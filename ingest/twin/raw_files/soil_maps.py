"""Soil maps like HWSD 1 and 2: a raster of mapping units, and a table of their components."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from ingest.grid import M09
from ingest.twin.random_fields import stream
from ingest.twin.raw_files.latlon_grids import Boxes
from ingest.twin.world import World

PER_DEGREE = 120  # 30 arc-seconds
FIRST_UNIT = 11000  # unit of the window's first cell
WATER_UNIT = 7001
NO_SOIL = -9  # HWSD 2 writes negative codes where there is no soil
LAYERS_CM = (0, 20, 40, 60, 80, 100, 150, 200)
TOPSOIL_CM = 30


def unit_raster(world: World) -> tuple[Boxes, np.ndarray]:
    """Mapping unit of each pixel, north row first: one unit a cell, ragged borders, some water."""
    s = world.settings
    boxes = Boxes.over(world, PER_DEGREE)
    lon, lat = np.meshgrid(boxes.lon, boxes.lat[::-1])
    rng = stream(s.seed, "soil map")
    ragged = rng.normal(0, 0.02, (2, *lat.shape))  # a fifth of a cell
    row, col = M09.index(lat + ragged[0], lon + ragged[1])
    row, col = row - s.window_row, col - s.window_col
    inside = (row >= 0) & (row < s.window_size) & (col >= 0) & (col < s.window_size)
    unit = np.where(inside, FIRST_UNIT + row * s.window_size + col, 0)
    unit[inside & (rng.random(unit.shape) < 0.03)] = WATER_UNIT
    return boxes, unit.astype("<u2")


def write_soil_maps(world: World, raw: Path) -> int:
    """Write both soil data sets; returns the number of files."""
    boxes, units = unit_raster(world)
    for folder, name in (("hwsd1", "hwsd"), ("hwsd2", "HWSD2")):
        (raw / folder).mkdir(parents=True, exist_ok=True)
        units.tofile(raw / folder / f"{name}.bil")
        (raw / folder / f"{name}.hdr").write_text(_header(boxes))
    components = unit_components(world)
    first_version(components).write_csv(raw / "hwsd1" / "HWSD_DATA.csv")
    second_version(components).write_csv(raw / "hwsd2" / "HWSD2_LAYERS.csv")
    return 6


def _header(boxes: Boxes) -> str:
    size = 1 / boxes.per_degree
    width = boxes.cols * 2
    lines = {
        "BYTEORDER": "I",
        "LAYOUT": "BIL",
        "NROWS": boxes.rows,
        "NCOLS": boxes.cols,
        "NBANDS": 1,
        "NBITS": 16,
        "BANDROWBYTES": width,
        "TOTALROWBYTES": width,
        "BANDGAPBYTES": 0,
        "NODATA": 0,
        "ULXMAP": f"{boxes.lon[0]:.14f}",
        "ULYMAP": f"{boxes.lat[-1]:.14f}",
        "XDIM": f"{size:.17f}",
        "YDIM": f"{size:.17f}",
    }
    return "".join(f"{key:<14}{value}\n" for key, value in lines.items())


def unit_components(world: World) -> pl.DataFrame:
    """One row per mapping unit and soil: two soils, whose share-weighted clay is the true one."""
    climate = world.climate
    n = climate.clay_top.size
    rng = stream(world.settings.seed, "soil components")
    share = rng.integers(55, 85, n)
    spread = rng.uniform(0.7, 1.0, n)  # the dominant soil holds less clay, the other one more
    other = (100 - share * spread) / (100 - share)
    return pl.DataFrame(
        {
            "unit": np.repeat(FIRST_UNIT + np.arange(n), 2),
            "sequence": np.tile([1, 2], n),
            "share": np.stack([share, 100 - share], axis=1).ravel(),
            "top": (100 * climate.clay_top[:, None] * np.stack([spread, other], 1)).ravel(),
            "sub": (100 * climate.clay_sub[:, None] * np.stack([spread, other], 1)).ravel(),
        }
    ).with_columns(pl.col("top", "sub").clip(1, 90))


def first_version(components: pl.DataFrame) -> pl.DataFrame:
    """The table of HWSD 1: whole percents of topsoil (0-30 cm) and subsoil (to 100 cm)."""
    top, sub = (pl.col(c).round().cast(pl.Int64) for c in ("top", "sub"))
    table = components.select(
        MU_GLOBAL="unit",
        SEQ="sequence",
        SHARE="share",
        SU_SYM90=pl.lit("CM"),
        T_SAND=((100 - top) * 0.6).round().cast(pl.Int64),
        T_CLAY=top,
        S_SAND=((100 - sub) * 0.6).round().cast(pl.Int64),
        S_CLAY=sub,
    ).with_columns(T_SILT=100 - pl.col("T_SAND") - pl.col("T_CLAY"))
    water = {"MU_GLOBAL": [WATER_UNIT], "SEQ": [1], "SHARE": [100], "SU_SYM90": ["WR"]}
    table = pl.concat([table, pl.DataFrame(water)], how="diagonal_relaxed")
    return table.with_row_index("ID", offset=1)


def second_version(components: pl.DataFrame) -> pl.DataFrame:
    """The table of HWSD 2: seven layers to 2 m; the one across 30 cm mixes topsoil and subsoil."""
    layers = []
    for k, (upper, lower) in enumerate(zip(LAYERS_CM[:-1], LAYERS_CM[1:], strict=True), start=1):
        weight = min(max((TOPSOIL_CM - upper) / (lower - upper), 0.0), 1.0)
        clay = (weight * pl.col("top") + (1 - weight) * pl.col("sub")).round().cast(pl.Int64)
        layers.append(
            components.select(
                HWSD2_SMU_ID="unit",
                SEQUENCE="sequence",
                SHARE="share",
                LAYER=pl.lit(f"D{k}"),
                TOPDEP=pl.lit(upper),
                BOTDEP=pl.lit(lower),
                SAND=((100 - clay) * 0.6).round().cast(pl.Int64),
                CLAY=clay,
            )
        )
        water = dict(HWSD2_SMU_ID=WATER_UNIT, SEQUENCE=1, SHARE=100, LAYER=f"D{k}", TOPDEP=upper,
                     BOTDEP=lower, SAND=NO_SOIL, CLAY=NO_SOIL)  # fmt: skip
        layers.append(pl.DataFrame([water]).cast(layers[-1].schema))
    table = pl.concat(layers).with_columns(
        SILT=pl.when(pl.col("CLAY") < 0)
        .then(NO_SOIL)
        .otherwise(100 - pl.col("SAND") - pl.col("CLAY"))
    )
    return table.sort("HWSD2_SMU_ID", "SEQUENCE", "LAYER")
