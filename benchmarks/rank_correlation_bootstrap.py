"""Rank correlation and its bootstraps: our kernels beside a scipy loop and pytesmo's metrics.

Cells of two years, three series with memory each, all on one core. The step is what a study runs per
cell: both correlations, 1000 members of single days and 1000 of blocks for both products, intervals,
p values. The scipy loop does the same with `spearmanr` on the same resamples, for a few members,
scaled; pytesmo has no blocks, so its bootstrap of single days stands beside ours of single days.
"""

from __future__ import annotations

import datetime as dt
import warnings

import numba
import numpy as np
import polars as pl
from scipy.stats import spearmanr

from analysis.bootstrap import (
    block_draws,
    bootstrap_correlations,
    entity_seed,
    iid_draws,
    percentile_interval,
)
from analysis.rank_correlation import spearman
from analysis.skill import skill_gain
from benchmarks.record import Record, alternate, peak_rss_mb

BAR = "ratio >= 50"
MEMBERS, BLOCK_DAYS, LEVEL, SEED = 1000, 30, 0.95, 1


def series(*, n_days: int, seed: int) -> np.ndarray:
    """Anomalies in situ, of baseline and candidate (3, n_days), with memory and a reading's steps."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(4, n_days))
    for t in range(1, n_days):
        noise[:, t] = 0.8 * noise[:, t - 1] + 0.6 * noise[:, t]
    truth = noise[0]
    return np.round(0.03 * np.array([truth, truth + 1.2 * noise[1], truth + noise[2]]), 4)


def skill_frame(*, n_cells: int, n_days: int) -> pl.DataFrame:
    """The input of `skill_gain`: one row per cell and day, one layer."""
    day = pl.date_range(
        dt.date(2017, 1, 1), dt.date(2017, 1, 1) + dt.timedelta(n_days - 1), eager=True
    )
    cells = []
    for c in range(n_cells):
        observed, baseline, candidate = series(n_days=n_days, seed=c)
        cells.append(
            pl.DataFrame(
                {
                    "obs_date": day,
                    "insitu_anomaly_m3m3": observed,
                    "baseline_anomaly_m3m3": baseline,
                    "candidate_anomaly_m3m3": candidate,
                }
            ).with_columns(
                gridcell_id=pl.lit(f"M09-r290-c{3000 + c}"),
                layer=pl.lit("ssm"),
                grid_row=290,
                grid_col=3000 + c,
            )
        )
    return pl.concat(cells)


def our_step(frame: pl.DataFrame) -> pl.DataFrame:
    """Skill gain of every cell, on one core."""
    numba.config.NUMBA_NUM_THREADS = 1
    return skill_gain(
        frame, min_pairs=100, members=MEMBERS, block_days=BLOCK_DAYS, level=LEVEL, seed=SEED
    )


def our_step_of(n_cells: int, n_days: int) -> None:
    """The step with its input made in the same process, to measure memory."""
    our_step(skill_frame(n_cells=n_cells, n_days=n_days))


def resamples(n_days: int, *, grid_col: int) -> tuple[np.ndarray, np.ndarray]:
    """The days of every member that the step draws for a cell, single and in blocks."""
    entity = {
        scheme: entity_seed(SEED, grid_row=290, grid_col=grid_col, layer="ssm", scheme=scheme)
        for scheme in ("iid", "block")
    }
    start = block_draws(entity["block"], n=n_days, members=MEMBERS, block_days=BLOCK_DAYS)
    days = (start[:, :, None] + np.arange(BLOCK_DAYS)).reshape(MEMBERS, -1)[:, :n_days] % n_days
    return iid_draws(entity["iid"], n=n_days, members=MEMBERS), days


def scipy_members(three: np.ndarray, days: np.ndarray) -> np.ndarray:
    """Both correlations in every resample (2, members) by `spearmanr`."""
    r = np.empty((2, len(days)))
    for b, drawn in enumerate(days):
        observed, baseline, candidate = three[:, drawn]
        r[0, b] = spearmanr(observed, baseline).statistic
        r[1, b] = spearmanr(observed, candidate).statistic
    return r


def pytesmo_intervals(three: np.ndarray) -> list[tuple[float, float, float]]:
    """r, lower and upper end of both products by pytesmo, single days."""
    from pytesmo.metrics import spearman_r, with_bootstrapped_ci

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [
            with_bootstrapped_ci(spearman_r, three[0], three[k], alpha=1 - LEVEL, nsamples=MEMBERS)
            for k in (1, 2)
        ]


def our_intervals(three: np.ndarray, draws: np.ndarray) -> list[tuple[float, float, float]]:
    """The same by our kernel."""
    r = bootstrap_correlations(*three, draws=draws)
    return [
        (spearman(three[0], three[k]), *percentile_interval(r[k - 1], level=LEVEL)) for k in (1, 2)
    ]


def measure(*, small: bool = False) -> list[Record]:
    """The step beside the scipy loop, and single days beside pytesmo where it is installed.

    Raises:
        AssertionError: a correlation or an interval differs from a peer's.
    """
    n_cells, n_days, sample, runs = (6, 730, 20, 3) if small else (20, 730, 100, 5)
    frame = skill_frame(n_cells=n_cells, n_days=n_days)
    three = series(n_days=n_days, seed=0)
    single, blocks = resamples(n_days, grid_col=3000)
    found = our_step(frame).row(0, named=True)

    both = {"iid": scipy_members(three, single), "block": scipy_members(three, blocks)}
    expected = {"r_baseline": spearmanr(three[0], three[1]).statistic}
    for scheme, r in both.items():
        lower, upper = np.percentile(r[1] - r[0], [2.5, 97.5])
        expected |= {f"delta_r_{scheme}_ci_lower": lower, f"delta_r_{scheme}_ci_upper": upper}
    difference = float(max(abs(found[name] - value) for name, value in expected.items()))
    if difference > 1e-9:
        raise AssertionError(f"the step differs from scipy's by {difference}")

    ours, scipy_s = alternate(
        lambda: our_step(frame),
        lambda: (scipy_members(three, single[:sample]), scipy_members(three, blocks[:sample])),
        runs=runs,
    )
    shared = {"days": n_days, "runs": runs}
    records = [
        Record(
            "rank_correlation_step_scipy",
            seconds=ours / n_cells,
            peer="scipy loop",
            peer_seconds=scipy_s * MEMBERS / sample,
            bar=BAR,
            cells=n_cells,
            max_difference=difference,
            peak_rss_mb=peak_rss_mb(our_step_of, n_cells, n_days),
            note=f"per cell and layer, one core: r of two products, {MEMBERS} members each of single"
            f" days and {BLOCK_DAYS}-day blocks, intervals, p; scipy: {sample} members of each, scaled",
            **shared,
        )
    ]
    np.random.seed(SEED)  # pytesmo draws from numpy's global state
    by_pytesmo = pytesmo_intervals(three)
    np.random.seed(SEED)
    drawn = [
        np.array([np.random.choice(n_days, size=n_days) for _ in range(MEMBERS)]) for _ in (1, 2)
    ]
    by_us = [our_intervals(three, draws)[k] for k, draws in enumerate(drawn)]
    difference = float(np.abs(np.array(by_us) - np.array(by_pytesmo)).max())
    if difference > 1e-9:
        raise AssertionError(f"single days differ from pytesmo's by {difference}")
    entity = entity_seed(SEED, grid_row=290, grid_col=3000, layer="ssm", scheme="iid")
    ours, pytesmo_s = alternate(
        lambda: our_intervals(three, iid_draws(entity, n=n_days, members=MEMBERS)),
        lambda: pytesmo_intervals(three),
        runs=runs,
    )
    records.append(
        Record(
            "rank_correlation_iid_pytesmo",
            seconds=ours,
            peer="pytesmo",
            peer_seconds=pytesmo_s,
            bar=BAR,
            cells=1,
            max_difference=difference,
            note=f"one cell and layer, one core: r of two products and intervals from {MEMBERS}"
            " members of single days, drawing included; pytesmo has no blocks",
            **shared,
        )
    )
    return records
