"""What must emerge from the simulated errors, whatever the seed: the median of three worlds.

The worlds stay in memory; factors are what the models make of the raw files, by literal formulas.
"""

import warnings
from dataclasses import dataclass

import numpy as np
import polars as pl
import pytest
from scipy.stats import spearmanr

from analysis.instrumental_variables import instrumental_variable
from analysis.random_forest import forest_importance
from analysis.rank_correlation import spearman
from analysis.vertical_coupling import coupling_strength
from ingest.grid import M09
from ingest.twin import TwinSettings, simulate
from ingest.twin.radiative_transfer import W_DRY, W_WET
from ingest.twin.random_fields import stream
from ingest.twin.raw_files.latlon_grids import Boxes, benchmark_latent_heat, benchmark_rain
from ingest.twin.raw_files.leaf_area import dekads
from ingest.twin.world import World

pytestmark = pytest.mark.slow

SEEDS = (7, 11, 3)
HUNDRED = {"n_cells": 100, "n_stations": 112}
LAYERS = ("ssm", "rzsm")
FIELDS = {"ssm": "surface", "rzsm": "rootzone"}
PRECIPITATION, INNOVATION = "precipitation_skill", "tb_innovation_sd_k"


# ---------------------------------------------------------------- worlds as the models see them


@dataclass(frozen=True)
class Series:
    """Daily anomalies of the period, (n_days, n_cells), nan where missing."""

    in_situ: dict[str, np.ndarray]
    open_loop: dict[str, np.ndarray]
    assimilation: dict[str, np.ndarray]


@dataclass(frozen=True, repr=False)
class Findings:
    """One value a cell: factors by name, and targets by (target, layer)."""

    factors: dict[str, np.ndarray]
    targets: dict[tuple[str, str], np.ndarray]
    importance: pl.DataFrame


def anomaly(values, day, minimum=10):
    """Departure from the mean of all values within 15 days of the year's day, all years pooled."""
    apart = np.abs(day[:, None] - day)
    near = (np.minimum(apart, 365 - apart) <= 15).astype(float)
    valid = np.isfinite(values)
    count = near @ valid
    mean = near @ np.where(valid, values, 0.0) / np.maximum(count, 1)
    return np.where(valid & (count >= minimum), values - mean, np.nan)


def daily(steps, world: World):
    return steps.reshape(len(steps), -1, 8).mean(axis=2, dtype=float).T[world.days]


def cell_mean(values, cell):
    """Mean over the stations of each cell, each about its own mean."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # days on which all stations are silent
        centred = values - np.nanmean(values, axis=0)
        return np.stack([np.nanmean(centred[:, cell == c], axis=1) for c in np.unique(cell)], 1)


def by_cell(score, *series):
    """A score of the days that all series have, cell by cell; nan below 100 of them."""
    out = np.full(series[0].shape[1], np.nan)
    valid = np.isfinite(sum(series))
    for i in np.flatnonzero(valid.sum(axis=0) >= 100):
        out[i] = score(*(s[valid[:, i], i] for s in series))
    return out


def anomalies(world: World) -> Series:
    day, cell = world.day_of_year[world.days], world.stations.cell
    layers = world.daily_stations()
    layers = np.where(layers > 0, layers, np.nan)
    observed = {"ssm": layers[:, :, 0], "rzsm": layers.mean(axis=2)}

    def run(one):
        return {k: anomaly(daily(getattr(one, f), world), day) for k, f in FIELDS.items()}

    return Series(
        in_situ={k: anomaly(cell_mean(v, cell), day) for k, v in observed.items()},
        open_loop=run(world.open_loop),
        assimilation=run(world.assimilation),
    )


def skill_targets(series: Series) -> dict[tuple[str, str], np.ndarray]:
    out = {}
    for layer in LAYERS:
        low = by_cell(spearman, series.open_loop[layer], series.in_situ[layer])
        high = by_cell(spearman, series.assimilation[layer], series.in_situ[layer])
        out |= {("r_baseline", layer): low, ("r_candidate", layer): high}
        out["delta_r", layer] = high - low
    return out


def coupling_error(series: Series):
    runs = (series.open_loop, series.in_situ)
    common = np.isfinite(sum(run[layer] for run in runs for layer in LAYERS))

    def strength(ssm, rzsm):
        return coupling_strength(spearman(ssm, rzsm), ssm.std() / rzsm.std())

    model, real = (
        by_cell(strength, *(np.where(common, run[layer], np.nan) for layer in LAYERS))
        for run in runs
    )
    return model - real


def precipitation_skill(world: World):
    """Against the 0.25-degree box that holds the cell's centre."""
    boxes = Boxes.over(world, 4)
    box = boxes.index(*M09.centre(world.cells.row, world.cells.col))
    model = world.weather.rain_model[world.days]
    gauges = benchmark_rain(world, boxes, "gauge rain").reshape(len(model), -1)
    return by_cell(spearman, model, gauges[:, box])


def lai_error(world: World):
    """Standard deviation of the benchmark's ten-daily anomalies."""
    start, here = world.dates[world.first_day], world.cells.place
    means, days = [], []
    for first, last in dekads(world.period):
        a, b = (
            world.first_day + int((np.datetime64(d) - start).astype(int)) for d in (first, last)
        )
        means.append(world.weather.lai_grid[a : b + 1, here].mean(axis=0))
        days.append(world.day_of_year[a + 4])
    noise = stream(world.settings.seed, "lai invariants").standard_normal((len(means), here.size))
    benchmark = np.array(means) * (1 + world.settings.lai_noise * noise)
    return anomaly(benchmark, np.array(days), minimum=3).std(axis=0, ddof=1)


def latent_heat_skill(world: World):
    """By lagged instruments, against the mean of the boxes that hold the cell's stations."""
    day, stations = world.day_of_year[world.days], world.stations
    boxes = Boxes.over(world, 12)
    grid = benchmark_latent_heat(world, boxes).reshape(len(day), -1)
    seen = grid[:, boxes.index(stations.lat, stations.lon)]
    benchmark = np.stack(
        [seen[:, stations.cell == c].mean(axis=1) for c in np.unique(stations.cell)], axis=1
    )
    model = daily(world.assimilation.latent_heat, world)
    out = np.full(model.shape[1], np.nan)
    for i, (x, y) in enumerate(zip(anomaly(model, day).T, anomaly(benchmark, day).T, strict=True)):
        found = instrumental_variable(x, y, np.arange(len(day)))
        if found.status == "ok":
            out[i] = np.sqrt(min(found.r_squared_candidate, 1.0))
    return out


def innovation_sd(world: World):
    """Polarisations and overpasses each about their own mean, pooled."""
    innovation = (world.tb_assim - world.assimilation.tb_forecast)[world.days]
    n = np.isfinite(innovation).sum(axis=0)
    variance = np.nanvar(innovation, axis=0, ddof=1)
    pooled = (n * variance).sum(axis=(1, 2)) / n.sum(axis=(1, 2))
    return np.sqrt(pooled)[world.cells.pixel]


def roughness(world: World):
    model = world.model
    w = daily(world.assimilation.surface, world) * model.porosity_ratio
    share = np.clip((w - W_DRY) / (W_WET - W_DRY), 0, 1)
    return (model.h_max + (model.h_min - model.h_max) * share).mean(axis=0)


def control_factors(world: World, series: Series) -> dict[str, np.ndarray]:
    climate, here = world.climate, world.cells.place
    return {
        PRECIPITATION: precipitation_skill(world),
        "coupling_error": coupling_error(series),
        "clay_variability": np.abs(0.7 * (climate.clay_top - climate.clay_sub))[here],
        "lai_error": lai_error(world),
        "latent_heat_skill": latent_heat_skill(world),
        INNOVATION: innovation_sd(world),
        "microwave_roughness": roughness(world),
        "lai_mean": world.weather.lai_climatology[world.days].mean(axis=0),
    }


def forest(world: World, factors, targets) -> pl.DataFrame:
    place = world.cells.row, world.cells.col
    cells = {
        "gridcell_id": [f"{r:04d}{c:04d}" for r, c in zip(*place, strict=True)],
        "grid_row": world.cells.row,
        "grid_col": world.cells.col,
        **factors,
    }
    frames = [
        pl.DataFrame({"variant": "base", "target": t, "layer": k, "value": v} | cells)
        for (t, k), v in targets.items()
        if t != "delta_r"
    ]
    importance, _ = forest_importance(
        pl.concat(frames).fill_nan(None),
        features=list(factors),
        runs=50,
        trees=100,
        max_features=1.0,
        min_samples_leaf=3,
        seed=1,
        workers=2,
    )
    return importance


def study(seed: int) -> Findings:
    world = simulate(TwinSettings(seed=seed))
    series = anomalies(world)
    factors, targets = control_factors(world, series), skill_targets(series)
    return Findings(factors, targets, forest(world, factors, targets))


@pytest.fixture(scope="module")
def findings():
    return [study(seed) for seed in SEEDS]


@pytest.fixture(scope="module")
def small_gain():
    """Mean gain of a hundred cells by layer, median over the seeds, for any change of settings."""

    def gain(**change):
        found = [
            skill_targets(anomalies(simulate(TwinSettings(seed=seed, **HUNDRED, **change))))
            for seed in SEEDS
        ]
        return {k: np.median([np.nanmean(f["delta_r", k]) for f in found]) for k in LAYERS}

    return gain


# ---------------------------------------------------------------- invariants


def median(findings, measure):
    return np.median([measure(f) for f in findings])


def over_cells(factor, target):
    """Rank correlation over cells of a factor with a surface target."""

    def measure(f):
        return spearmanr(f.factors[factor], f.targets[target, "ssm"], nan_policy="omit").statistic

    return measure


def group_trend(factor, target):
    """Rank correlation of the means of five equal groups of cells with their order."""

    def measure(f):
        x, y = f.factors[factor], f.targets[target, "ssm"]
        valid = np.isfinite(x + y)
        groups = np.array_split(y[valid][np.argsort(x[valid])], 5)
        return spearman(np.arange(5), [g.mean() for g in groups])

    return measure


def gain(layer):
    return lambda f: np.nanmean(f.targets["delta_r", layer])


def improved(layer):
    def measure(f):
        d = f.targets["delta_r", layer]
        return (d[np.isfinite(d)] > 0).mean()

    return measure


def importance(findings, target, layer) -> dict[str, float]:
    """Median importance of each factor, most important first."""
    found = pl.concat([f.importance for f in findings]).filter(target=target, layer=layer)
    by_factor = found.group_by("factor").agg(pl.col("importance_pct").median())
    return dict(by_factor.sort("importance_pct", descending=True).rows())


def test_every_cell_but_the_silent_ones_is_scored(findings):
    for f in findings:
        for values in (*f.factors.values(), *f.targets.values()):
            assert np.isfinite(values).mean() > 0.97


def test_assimilation_helps_more_at_the_surface_than_below(findings):
    assert median(findings, gain("rzsm")) > 0
    assert median(findings, lambda f: gain("ssm")(f) - gain("rzsm")(f)) > 0


def test_most_cells_improve_but_not_all(findings):
    assert 0.6 <= median(findings, improved("ssm")) <= 0.95
    assert median(findings, improved("rzsm")) > 0.5


def test_gain_falls_with_precipitation_skill(findings):
    assert median(findings, over_cells(PRECIPITATION, "delta_r")) < -0.2
    assert median(findings, group_trend(PRECIPITATION, "delta_r")) < -0.5


def test_gain_rises_with_innovation(findings):
    assert median(findings, over_cells(INNOVATION, "delta_r")) > 0.2
    assert median(findings, group_trend(INNOVATION, "delta_r")) > 0.5


def test_open_loop_skill_rises_with_precipitation_skill(findings):
    assert median(findings, over_cells(PRECIPITATION, "r_baseline")) > 0.2
    assert median(findings, group_trend(PRECIPITATION, "r_baseline")) > 0.5


@pytest.mark.parametrize("layer", LAYERS)
def test_precipitation_leads_for_the_open_loop_and_loses_weight_once_tb_is_assimilated(
    findings, layer
):
    """First by its median importance; in a single world a factor that varies with the error of the
    model's rain, such as leaf area, may come before its measurement on a coarse, noisy grid."""
    before = importance(findings, "r_baseline", layer)
    after = importance(findings, "r_candidate", layer)
    assert len(before) == len(after) == 8
    assert next(iter(before)) == PRECIPITATION
    assert after[PRECIPITATION] < before[PRECIPITATION]


# ---------------------------------------------------------------- negative controls


def test_without_assimilation_nothing_is_gained(small_gain):
    found = small_gain(obs_error_k=1e6)
    assert abs(found["ssm"]) < 0.003 and abs(found["rzsm"]) < 0.003


def test_nearly_perfect_rain_leaves_less_than_half_of_the_surface_gain(small_gain):
    assert small_gain(precipitation_error_level=0.02)["ssm"] < 0.5 * small_gain()["ssm"]
