"""Control factors computed cell by cell: instrumental variables and vertical coupling beside plain loops.

The loops are what one would write with numpy and scipy: every bootstrap member of the double instrumental
variable resampled and estimated in turn, and Spearman's r and two standard deviations per cell. Both
sides on one core; the loop's members are a sample, scaled.
"""

from __future__ import annotations

import datetime as dt

import numba
import numpy as np
import polars as pl
from scipy.stats import spearmanr

from analysis.bootstrap import block_draws, entity_seed
from analysis.instrumental_variables import double_instrumental_variable
from analysis.vertical_coupling import vertical_coupling
from benchmarks.record import Record, alternate, peak_rss_mb

MEMBERS, BLOCK_DAYS, LEVEL, SEED, LAG = 1000, 30, 0.95, 1, 1
START = dt.date(2017, 1, 1)


def pairs_frame(*, n_cells: int, n_days: int) -> pl.DataFrame:
    """Two products of one truth with memory, per cell and day (W m-2)."""
    rng = np.random.default_rng(SEED)
    noise = rng.normal(size=(3, n_cells, n_days))
    truth = noise[0]
    for t in range(1, n_days):
        truth[:, t] += 0.8 * truth[:, t - 1]
    return _long(
        {"candidate": 10 * (truth + noise[1]), "benchmark": 12 * (truth + 0.8 * noise[2])}
    ).with_columns(grid_row=290)


def layers_frame(*, n_cells: int, n_days: int) -> pl.DataFrame:
    """Surface and root-zone anomalies of one product, per cell and day (m3 m-3)."""
    rng = np.random.default_rng(SEED)
    surface = rng.normal(scale=0.03, size=(n_cells, n_days))
    rootzone = 0.5 * surface + rng.normal(scale=0.01, size=surface.shape)
    return _long({"ssm_anomaly_m3m3": surface, "rzsm_anomaly_m3m3": rootzone}).with_columns(
        product=pl.lit("l4")
    )


def _long(columns: dict[str, np.ndarray]) -> pl.DataFrame:
    n_cells, n_days = next(iter(columns.values())).shape
    col = np.repeat(3000 + np.arange(n_cells), n_days)
    day = pl.date_range(START, START + dt.timedelta(n_days - 1), eager=True)
    return pl.DataFrame(
        {
            "grid_col": col,
            "obs_date": pl.concat([day] * n_cells),
            **{name: values.ravel() for name, values in columns.items()},
        }
    ).with_columns(gridcell_id=pl.format("M09-r290-c{}", "grid_col"))


def our_instrumental_variables(frame: pl.DataFrame) -> pl.DataFrame:
    """Our double instrumental variable with its intervals, on one core."""
    numba.config.NUMBA_NUM_THREADS = 1
    return double_instrumental_variable(
        frame,
        lag_days=LAG,
        min_pairs=100,
        members=MEMBERS,
        block_days=BLOCK_DAYS,
        level=LEVEL,
        seed=SEED,
    )


def our_coupling(frame: pl.DataFrame) -> pl.DataFrame:
    """Our vertical coupling."""
    return vertical_coupling(frame, keys=["product", "gridcell_id"], min_days=100)


def our_factors_of(n_cells: int, n_days: int) -> None:
    """Both with their input made in the same process, to measure memory."""
    our_instrumental_variables(pairs_frame(n_cells=n_cells, n_days=n_days))
    our_coupling(layers_frame(n_cells=n_cells, n_days=n_days))


def looped_instrumental_variable(
    x: np.ndarray, y: np.ndarray, *, grid_col: int, members: int
) -> np.ndarray:
    """r of the candidate in the first members of a cell, one after the other."""
    now_x, past_x, now_y, past_y = x[LAG:], x[:-LAG], y[LAG:], y[:-LAG]
    n = now_x.size
    entity = entity_seed(SEED, grid_row=290, grid_col=grid_col, layer="pairs", scheme=f"lag{LAG}")
    start = block_draws(entity, n=n, members=MEMBERS, block_days=BLOCK_DAYS)[:members]
    days = (start[:, :, None] + np.arange(BLOCK_DAYS)).reshape(members, -1)[:, :n] % n
    r = np.empty(members)
    for b, drawn in enumerate(days):
        covariance = np.cov([now_x[drawn], now_y[drawn], past_x[drawn], past_y[drawn]], ddof=0)
        scale = np.sqrt(covariance[0, 2] / covariance[1, 3])
        r[b] = np.sqrt(min(covariance[0, 1] * scale / covariance[0, 0], 1.0))
    return r


def looped_coupling(frame: pl.DataFrame) -> list[float]:
    """Coupling of every cell, one after the other."""
    found = []
    for cell in frame.partition_by("gridcell_id"):
        ssm, rzsm = cell["ssm_anomaly_m3m3"].to_numpy(), cell["rzsm_anomaly_m3m3"].to_numpy()
        r, alpha = spearmanr(ssm, rzsm).statistic, ssm.std() / rzsm.std()
        found.append(1 - np.hypot(r - 1, alpha - 1))
    return found


def measure(*, small: bool = False) -> list[Record]:
    """Both factors beside their loops.

    Raises:
        AssertionError: an estimate or an interval differs from the loop's.
    """
    n_cells, n_days, sample, runs = (20, 730, 50, 5) if small else (200, 730, 200, 5)
    pairs = pairs_frame(n_cells=n_cells, n_days=n_days)
    x, y = (pairs[name].to_numpy().reshape(n_cells, n_days)[0] for name in pairs.columns[2:4])
    found = our_instrumental_variables(pairs).sort("gridcell_id").row(0, named=True)
    r = looped_instrumental_variable(x, y, grid_col=3000, members=MEMBERS)
    ends = np.percentile(r, [2.5, 97.5])
    difference = float(np.abs(ends - [found["ci_lower"], found["ci_upper"]]).max())
    ours, loop_s = alternate(
        lambda: our_instrumental_variables(pairs),
        lambda: looped_instrumental_variable(x, y, grid_col=3000, members=sample),
        runs=runs,
    )
    shared = {
        "cells": n_cells,
        "days": n_days,
        "runs": runs,
        "peak_rss_mb": peak_rss_mb(our_factors_of, n_cells, n_days),
    }
    records = [
        Record(
            "instrumental_variables_loop",
            seconds=ours / n_cells,
            peer="numpy loop",
            peer_seconds=loop_s * MEMBERS / sample,
            max_difference=difference,
            note=f"per cell, one core, {MEMBERS} members of {BLOCK_DAYS}-day blocks; loop: {sample}"
            " members, scaled",
            **shared,
        )
    ]
    layers = layers_frame(n_cells=n_cells, n_days=n_days)
    coupling = our_coupling(layers)["coupling"].to_numpy()
    difference = float(np.abs(coupling - looped_coupling(layers)).max())
    ours, loop_s = alternate(
        lambda: our_coupling(layers), lambda: looped_coupling(layers), runs=runs
    )
    records.append(
        Record(
            "vertical_coupling_loop",
            seconds=ours / n_cells,
            peer="scipy loop",
            peer_seconds=loop_s / n_cells,
            max_difference=difference,
            note="per product and cell, one core",
            **shared,
        )
    )
    for record in records:
        if not record.max_difference < 1e-9:
            raise AssertionError(f"{record.name}: differs by {record.max_difference}")
    return records
