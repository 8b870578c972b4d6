"""Skill gain over many cells: shares, means and relative improvement, with spatial intervals.

Neighbouring cells share weather, model errors and even satellite observations, so cells are not
independent. Intervals resample whole square blocks of the grid instead of cells.
"""

from __future__ import annotations

import hashlib

import numpy as np
import polars as pl
from numpy.typing import NDArray

from analysis.bootstrap import percentile_interval
from analysis.schema import Schema, check_columns, sorted_groups

CELL_M = 9008.055210146
MIN_BLOCKS = 5
MIN_R_BASELINE = 0.1

SKILL_SUMMARY_INPUT: Schema = {
    "layer": "text",
    "stratum": "text",
    "gridcell_id": "text",
    "grid_row": "integer",
    "grid_col": "integer",
    "r_baseline": "number",
    "r_candidate": "number",
    "delta_r": "number",
    "is_significant_iid": "boolean",
    "is_significant_block": "boolean",
}
SKILL_SUMMARY_OUTPUT = {
    "layer": pl.String,
    "stratum": pl.String,
    "n_cells": pl.Int64,
    "n_spatial_blocks": pl.Int64,
    "share_improved": pl.Float64,
    "share_improved_ci_lower": pl.Float64,
    "share_improved_ci_upper": pl.Float64,
    "mean_delta_r": pl.Float64,
    "mean_delta_r_ci_lower": pl.Float64,
    "mean_delta_r_ci_upper": pl.Float64,
    "mean_r_baseline": pl.Float64,
    "mean_r_candidate": pl.Float64,
    "relative_improvement_ratio_of_means": pl.Float64,
    "relative_improvement_mean_of_ratios": pl.Float64,
    "relative_improvement_median_of_ratios": pl.Float64,
    "n_cells_median_of_ratios": pl.Int64,
    "share_significant_iid": pl.Float64,
    "share_significant_block": pl.Float64,
    "share_improved_significant_iid": pl.Float64,
    "share_improved_significant_block": pl.Float64,
    "share_degraded_significant_iid": pl.Float64,
    "share_degraded_significant_block": pl.Float64,
    "status": pl.String,
}


def spatial_blocks(
    grid_row: NDArray[np.int64], grid_col: NDArray[np.int64], *, spatial_block_km: float
) -> NDArray[np.int64]:
    """Index of the square block each cell centre falls in, from the grid's north-west corner.

    block = floor((index + 0.5) * cell_m / (1000 * spatial_block_km))   for rows and columns

    Args:
        grid_row, grid_col: (n,) cells of the 9 km EASE-Grid 2.0.
        spatial_block_km: side of a block, at least one cell.
    Returns:
        (n,) 0 .. number of occupied blocks - 1, ordered by block row, then block column.
    Raises:
        ValueError: the side is smaller than a cell.

    >>> spatial_blocks(np.array([0, 7, 8, 0]), np.array([0, 7, 0, 8]), spatial_block_km=72).tolist()
    [0, 0, 2, 1]
    """
    if not spatial_block_km * 1000 >= CELL_M:
        raise ValueError(
            f"spatial_block_km: found {spatial_block_km}, expected {CELL_M / 1000:.3f} or more"
        )
    side = spatial_block_km * 1000 / CELL_M
    corners = np.floor((np.column_stack([grid_row, grid_col]) + 0.5) / side)
    return np.unique(corners, axis=0, return_inverse=True)[1].ravel()


def summarise(
    frame: pl.DataFrame | pl.LazyFrame,
    *,
    spatial_block_km: float,
    members: int,
    level: float,
    seed: int,
) -> pl.DataFrame:
    """Summary of the skill gain per layer and stratum.

    share_improved = #(delta_r > 0) / n_cells, significance not required
    ratio_of_means   = mean(delta_r) / mean(r_baseline)                    (headline)
    mean_of_ratios   = mean(delta_r / r_baseline), cells with r_baseline = 0 left out
    median_of_ratios = median(delta_r / r_baseline) over cells with r_baseline > 0.1

    Intervals of share_improved and mean_delta_r: as many occupied blocks as there are, drawn with
    replacement, all their cells taken; percentiles of the members. With fewer than 5 blocks there
    are fewer distinct resamples (35 for 4) than a 95 % interval needs, and the intervals are null.
    Draws: numpy.random.default_rng(first 8 bytes of SHA-256 of "{seed}|{layer}|{stratum}|spatial")
    .integers(0, blocks, size=(members, blocks)), blocks ordered as in `spatial_blocks`.

    Args:
        frame: one row per cell x layer x stratum it belongs to, cells of status `ok` only
            (`SKILL_SUMMARY_INPUT`). A null significance counts as not significant.
        spatial_block_km: side of a block.
        members: resamples.
        level: coverage of the intervals.
        seed: the study's seed.
    Returns:
        One row per layer x stratum (`SKILL_SUMMARY_OUTPUT`); status `ok` or `too_few_blocks` (the
        intervals alone are null).
    Raises:
        ValueError: a column is missing or of the wrong kind, a cell repeats, a correlation is
        null, or
            an option is not allowed.

    Sources: Qiu et al. 2021, doi:10.5194/hess-25-1569-2021; resampling in space: Lahiri 2003,
    doi:10.1007/978-1-4757-3803-2.

    >>> cells = pl.DataFrame({
    ...     "layer": "ssm", "stratum": "all", "gridcell_id": ["a", "b"], "grid_row": [0, 9],
    ...     "grid_col": [0, 0], "r_baseline": [0.4, 0.6], "r_candidate": [0.6, 0.55],
    ...     "delta_r": [0.2, -0.05], "is_significant_iid": [True, False],
    ...     "is_significant_block": [True, False],
    ... })
    >>> row = summarise(cells, spatial_block_km=72, members=100, level=0.95, seed=1)
    >>> row.select("share_improved", "relative_improvement_ratio_of_means", "status").row(0)
    (0.5, 0.15000000000000002, 'too_few_blocks')
    """
    if members < 1:
        raise ValueError(f"members: found {members}, expected 1 or more")
    if not 0 < level < 1:
        raise ValueError(f"level: found {level}, expected a number between 0 and 1")
    checked = check_columns(frame, SKILL_SUMMARY_INPUT)
    for name in ("r_baseline", "r_candidate", "delta_r"):
        if nulls := checked[name].null_count():
            raise ValueError(f"column {name}: found {nulls} nulls, expected status ok only")
    groups = sorted_groups(checked, keys=["layer", "stratum"], order="gridcell_id")
    found = []
    for g, (layer, stratum) in enumerate(groups.keys.iter_rows()):
        cells = groups.rows[int(groups.offsets[g]) : int(groups.offsets[g + 1])]
        baseline, gain = cells["r_baseline"].to_numpy(), cells["delta_r"].to_numpy()
        improved = (gain > 0).astype(np.float64)
        block = spatial_blocks(
            cells["grid_row"].to_numpy(),
            cells["grid_col"].to_numpy(),
            spatial_block_km=spatial_block_km,
        )
        blocks = int(block.max()) + 1
        share_ci = mean_ci = (float("nan"), float("nan"))
        if blocks >= MIN_BLOCKS:
            text = f"{seed}|{layer}|{stratum}|spatial"
            entity = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
            draws = np.random.default_rng(entity).integers(0, blocks, size=(members, blocks))
            size = np.bincount(block)[draws].sum(axis=1)
            share = np.bincount(block, weights=improved)[draws].sum(axis=1) / size
            mean = np.bincount(block, weights=gain)[draws].sum(axis=1) / size
            share_ci = percentile_interval(share, level=level)
            mean_ci = percentile_interval(mean, level=level)
        ratio = gain[baseline != 0] / baseline[baseline != 0]
        sound = gain[baseline > MIN_R_BASELINE] / baseline[baseline > MIN_R_BASELINE]
        row = {
            "layer": layer,
            "stratum": stratum,
            "n_cells": cells.height,
            "n_spatial_blocks": blocks,
            "share_improved": improved.mean(),
            "share_improved_ci_lower": share_ci[0],
            "share_improved_ci_upper": share_ci[1],
            "mean_delta_r": gain.mean(),
            "mean_delta_r_ci_lower": mean_ci[0],
            "mean_delta_r_ci_upper": mean_ci[1],
            "mean_r_baseline": baseline.mean(),
            "mean_r_candidate": cells["r_candidate"].to_numpy().mean(),
            "relative_improvement_ratio_of_means": (
                gain.mean() / baseline.mean() if baseline.mean() != 0 else float("nan")
            ),
            "relative_improvement_mean_of_ratios": ratio.mean() if ratio.size else float("nan"),
            "relative_improvement_median_of_ratios": (
                np.median(sound) if sound.size else float("nan")
            ),
            "n_cells_median_of_ratios": sound.size,
            "status": "ok" if blocks >= MIN_BLOCKS else "too_few_blocks",
        }
        for scheme in ("iid", "block"):
            significant = cells[f"is_significant_{scheme}"].fill_null(False).to_numpy()
            row[f"share_significant_{scheme}"] = significant.mean()
            row[f"share_improved_significant_{scheme}"] = (significant & (gain > 0)).mean()
            row[f"share_degraded_significant_{scheme}"] = (significant & (gain < 0)).mean()
        found.append(row)
    numbers = [name for name, kind in SKILL_SUMMARY_OUTPUT.items() if kind == pl.Float64]
    return pl.DataFrame(found, schema=SKILL_SUMMARY_OUTPUT, strict=False).with_columns(
        pl.col(numbers).fill_nan(None)
    )
