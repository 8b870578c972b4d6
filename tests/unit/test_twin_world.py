"""The twin: physics against plain versions, geometry, determinism, and what must emerge."""

import datetime as dt

import numba
import numpy as np
import pytest
from scipy.stats import spearmanr

from ingest.grid import M09, M36
from ingest.twin import TwinSettings, simulate
from ingest.twin.model_ensemble import Forcing, Parameters, run_ensemble
from ingest.twin.radiative_transfer import brightness_temperature, radiometer, roughness
from ingest.twin.random_fields import autoregressive, daily_fields, stream
from ingest.twin.raw_files.latlon_grids import Boxes, benchmark_latent_heat, benchmark_rain
from ingest.twin.soil_column import DIURNAL, ROOTS, THICKNESS_MM, soil_columns
from ingest.twin.weather import gamma_amount
from ingest.twin.world import calendar, pooled_climatology

HUNDRED = {"n_cells": 100, "n_stations": 112}
SMALL = {"n_cells": 40, "n_stations": 52, "spin_up_days": 30}
SHORT = dt.date(2017, 6, 1), dt.date(2017, 7, 30)


@pytest.fixture(scope="module")
def world():
    return simulate(TwinSettings(**HUNDRED))


def daily(steps, world):
    return steps.reshape(len(steps), -1, 8).mean(axis=2).T[world.days].astype(float)


def anomaly(values, world):
    doy = world.day_of_year[world.days]
    return values - pooled_climatology(values, doy, min_count=10)


def skill(a, b):
    """Spearman by column on the days both have; nan below 100 of them."""
    out = np.full(a.shape[1], np.nan)
    for i in range(a.shape[1]):
        ok = np.isfinite(a[:, i]) & np.isfinite(b[:, i])
        if ok.sum() >= 100:
            out[i] = spearmanr(a[ok, i], b[ok, i]).statistic
    return out


def in_situ(world):
    """Daily surface and root-zone series of the first station of each cell."""
    layers = world.daily_stations()[:, np.unique(world.stations.cell, return_index=True)[1]]
    layers = np.where(layers > 0, layers, np.nan)
    return layers[:, :, 0], layers.mean(axis=2)


def gains(world):
    """Skill of the open loop, and gain of the assimilation, by layer."""
    out = {}
    fields = (("ssm", "surface"), ("rzsm", "rootzone"))
    for (layer, field), observed in zip(fields, in_situ(world), strict=True):
        reference = anomaly(observed, world)
        runs = (world.open_loop, world.assimilation)
        low, high = (
            skill(anomaly(daily(getattr(r, field), world), world), reference) for r in runs
        )
        out[layer] = low, high - low
    return out


# ---------------------------------------------------------------- invariants


def test_assimilation_helps_and_for_the_right_reasons(world):
    gain = gains(world)
    r_open, d_ssm = gain["ssm"]
    _, d_rzsm = gain["rzsm"]
    assert np.nanmean(d_ssm) > np.nanmean(d_rzsm) > 0
    assert 0.6 <= np.nanmean(d_ssm > 0) <= 0.95
    assert np.nanmean(d_rzsm > 0) > 0.5
    rain = skill(world.weather.rain_model[world.days], world.weather.rain[world.days])
    innovation = (world.tb_assim - world.assimilation.tb_forecast)[world.days]
    spread = np.sqrt(np.nanvar(innovation, axis=0).mean(axis=(1, 2)))[world.cells.pixel]
    valid = {"nan_policy": "omit"}
    assert spearmanr(rain, d_ssm, **valid).statistic < -0.2
    assert spearmanr(spread, d_ssm, **valid).statistic > 0.2
    assert spearmanr(rain, r_open, **valid).statistic > 0.2


def test_no_weight_on_tb_gives_no_gain():
    gain = gains(simulate(TwinSettings(**HUNDRED, obs_error_k=1e6)))
    assert abs(np.nanmean(gain["ssm"][1])) < 0.003
    assert abs(np.nanmean(gain["rzsm"][1])) < 0.003


def test_nearly_perfect_rain_leaves_less_than_half_of_the_gain(world):
    perfect = simulate(TwinSettings(**HUNDRED, precipitation_error_level=0.02))
    assert np.nanmean(gains(perfect)["ssm"][1]) < 0.5 * np.nanmean(gains(world)["ssm"][1])
    assert (perfect.climate.error_level == 0.02).all()


def test_precipitation_error_is_recovered_through_the_quarter_degree_grid(world):
    boxes = Boxes.over(world, 4)
    gauge = benchmark_rain(world, boxes, "gauge rain").reshape(len(world.dates[world.days]), -1)
    box = boxes.index(*M09.centre(world.cells.row, world.cells.col))
    found = skill(world.weather.rain_model[world.days], gauge[:, box])
    designed = world.climate.error_level[world.cells.place]
    assert np.corrcoef(found, designed)[0, 1] < -0.8


def test_rain_of_truth_and_model_agree_best_without_a_lag(world):
    weather = world.weather

    def three_hourly(rain, slot):
        step = np.arange(8)[:, None]
        parts = 0.6 * (step == slot[:, None]) + 0.4 * (step == slot[:, None] + 1)
        return (parts * rain[:, None]).reshape(-1, rain.shape[1])

    truth = three_hourly(weather.rain, weather.slot)
    model = three_hourly(weather.rain_model, weather.slot_model)
    r = [
        np.corrcoef(truth[5:-5, 0], np.roll(model[:, 0], k)[5:-5])[0, 1] for k in (-2, -1, 0, 1, 2)
    ]
    assert np.argmax(r) == 2
    np.testing.assert_allclose(weather.rain_model.sum(axis=0), weather.rain.sum(axis=0))


def test_latent_heat_skill_is_recovered_by_lagged_instruments(world):
    boxes = Boxes.over(world, 12)
    grid = benchmark_latent_heat(world, boxes).reshape(len(world.dates[world.days]), -1)
    benchmark = grid[:, boxes.index(*M09.centre(world.cells.row, world.cells.col))]
    x = anomaly(daily(world.assimilation.latent_heat, world), world)
    y = anomaly(benchmark, world)
    truth = anomaly(world.true_latent_heat[world.days], world)

    def cov(a, b):
        return ((a - a.mean(axis=0)) * (b - b.mean(axis=0))).mean(axis=0)

    now, before = slice(1, None), slice(None, -1)
    ratio = np.sqrt(cov(x[now], x[before]) / cov(y[now], y[before]))
    found = np.sqrt(cov(x[now], y[now]) * ratio / cov(x[now], x[now]))
    real = [np.corrcoef(a, b)[0, 1] for a, b in zip(x.T, truth.T, strict=True)]
    assert np.corrcoef(found, real)[0, 1] > 0.75


# ---------------------------------------------------------------- geometry


def test_default_window_has_the_promised_geometry():
    s = TwinSettings()
    w = simulate(s, (dt.date(2017, 1, 1), dt.date(2017, 1, 2)))
    cells, pixels, stations = w.cells, w.pixels, w.stations
    assert len({*zip(cells.row, cells.col, strict=True)}) == 280
    assert pixels.row36.size >= 150
    np.testing.assert_array_equal(cells.row // 4, pixels.row36[cells.pixel])
    np.testing.assert_array_equal(cells.col // 4, pixels.col36[cells.pixel])
    shared = (np.diff(pixels.first)[cells.pixel] > 1).sum()
    assert 80 <= shared <= 140
    count = np.bincount(np.bincount(stations.cell))
    assert stations.cell.size == 300
    assert count[3:].tolist() == [1, 1, 1] and count[1] > 0.9 * 280 and count[0] == 0
    row, col = M09.index(stations.lat, stations.lon)
    np.testing.assert_array_equal(row, cells.row[stations.cell])
    np.testing.assert_array_equal(col, cells.col[stations.cell])
    row36, col36 = M36.index(stations.lat, stations.lon)
    np.testing.assert_array_equal(row36, pixels.row36[cells.pixel[stations.cell]])
    local = np.divmod(pixels.places, s.window_size)
    assert (((local[0] + s.window_row) // 4) == pixels.row36[:, None]).all()
    assert (((local[1] + s.window_col) // 4) == pixels.col36[:, None]).all()
    assert sorted(k for k in stations.defect if k) == ["fractions", "short", "short", "tenths"]


def test_dry_north_west_has_the_worse_rain(world):
    climate, n = world.climate, world.settings.window_size
    wet, eps = climate.wetness.reshape(n, n), climate.error_level.reshape(n, n)
    assert wet[:16, :16].mean() < 0.3 < 0.8 < wet[-16:, -16:].mean()
    assert eps[:16, :16].mean() > 2 * eps[-16:, -16:].mean()


@pytest.mark.parametrize(
    "wrong",
    [{"window_row": 321}, {"n_stations": 280}, {"window_col": 3850}, {"n_cells": 4000}, {"sed": 1}],
)
def test_settings_that_cannot_work_are_refused(wrong):
    with pytest.raises(ValueError):
        TwinSettings(**wrong)


# ---------------------------------------------------------------- determinism


def everything(world):
    """All arrays of a world, by name."""
    found = {}
    for name, value in vars(world).items():
        if isinstance(value, np.ndarray):
            found[name] = value
        elif isinstance(value, tuple) and hasattr(value, "_fields"):
            found |= {f"{name}.{k}": v for k, v in value._asdict().items()}
        elif hasattr(value, "__dataclass_fields__"):
            arrays = {k: v for k, v in vars(value).items() if isinstance(v, np.ndarray)}
            found |= {f"{name}.{k}": v for k, v in arrays.items()}
    return found


def test_same_world_whatever_the_threads_and_another_for_another_seed():
    n_threads = numba.get_num_threads()
    worlds = []
    try:
        for threads in (1, numba.config.NUMBA_NUM_THREADS):
            numba.set_num_threads(threads)
            worlds.append(everything(simulate(TwinSettings(**SMALL), SHORT)))
    finally:
        numba.set_num_threads(n_threads)
    one, two = worlds
    assert len(one) > 50
    for name, values in one.items():
        np.testing.assert_array_equal(values, two[name], err_msg=name)
    other = everything(simulate(TwinSettings(**SMALL, seed=8), SHORT))
    assert not np.array_equal(one["weather.rain"], other["weather.rain"])


def test_cells_of_a_pixel_share_one_innovation_and_frozen_pixels_have_none(world):
    assert world.tb_assim.shape == (world.dates.size, world.pixels.row36.size, 2, 2)
    assert np.isnan(world.tb_obs[world.frozen]).all() and world.frozen.any()
    seen = np.isfinite(world.tb_obs).mean(axis=0)[~world.frozen.any(axis=0)]
    np.testing.assert_allclose(seen, 3 / 8, atol=0.01)


# ---------------------------------------------------------------- parts against plain versions


def test_column_equals_a_plain_vector_version():
    rng = np.random.default_rng(3)
    days, n = 40, 3
    rain = rng.gamma(0.5, 20.0, (days, n)) * (rng.random((days, n)) < 0.5)
    slot, pet = rng.integers(0, 7, (days, n)), rng.uniform(1, 6, (days, n))
    lai, top, sub = (
        rng.uniform(0.3, 4, (days, n)),
        rng.uniform(0.1, 0.4, n),
        rng.uniform(0.1, 0.4, n),
    )
    kappa = rng.uniform(10, 60, n)
    water, heat = soil_columns(rain, slot, pet, lai, top, sub, kappa)

    dz = THICKNESS_MM[:, None]
    clay = np.vstack([np.tile(top, (4, 1)), np.tile(sub, (3, 1))])
    por, fc, wp = 0.40 + 0.12 * clay, 0.16 + 0.38 * clay, 0.03 + 0.32 * clay
    share = 1 - np.exp(-0.125 / (0.25 * (1 + 5 * clay)))
    theta = 0.6 * fc + 0.4 * wp
    for day in range(days):
        veg = 1 - np.exp(-0.5 * lai[day])
        for step in range(8):
            fall = rain[day] * np.where(
                step == slot[day], 0.6, np.where(step == slot[day] + 1, 0.4, 0)
            )
            wet = np.clip((theta[0] - wp[0]) / (por[0] - wp[0]), 0, 1)
            theta[0] += fall * (1 - wet**4) / 50
            for k in range(7):
                out = np.maximum(theta[k] - fc[k], 0) * share[k]
                out = out + 0.9 * np.maximum(theta[k] - por[k], 0)
                theta[k] -= out
                if k < 6:
                    theta[k + 1] += out * dz[k] / dz[k + 1]
            s = (theta - wp) / (por - wp)
            q = kappa * np.sqrt(50 / np.sqrt(dz[:-1] * dz[1:])) * 0.125 * (s[:-1] - s[1:])
            theta[:-1] -= q / dz[:-1]
            theta[1:] += q / dz[1:]
            demand = pet[day] * DIURNAL[step] / 8
            sf = np.clip((theta - wp) / (fc - wp), 0, 1)
            bare = demand * (1 - veg) * sf[0]
            roots = demand * veg * ROOTS[:, None] * np.clip((theta - wp) / (fc - wp) / 0.6, 0, 1)
            theta[0] -= 0.8 * bare / 50
            theta[1] -= 0.2 * bare / 50
            theta = np.clip(theta - roots / dz, 0.6 * wp, por)
            t = 8 * day + step
            np.testing.assert_allclose(water[:, t + 1], theta.T, rtol=2e-6)
            np.testing.assert_allclose(heat[:, t], (bare + roots.sum(0)) * 8 * 28.94, rtol=1e-5)
    assert DIURNAL.mean() == pytest.approx(1.0, abs=0.03) and np.argmax(DIURNAL) == 1


def plain_tb(w, temperature, h, lai, b, omega):
    """Section 3 of the science notes, written out."""
    theta = np.deg2rad(40.0)
    eps = 3.03 + 9.3 * w + 146 * w**2 - 76.7 * w**3
    bend = np.sqrt(eps - np.sin(theta) ** 2)
    smooth = {
        "h": abs((np.cos(theta) - bend) / (np.cos(theta) + bend)) ** 2,
        "v": abs((eps * np.cos(theta) - bend) / (eps * np.cos(theta) + bend)) ** 2,
    }
    gamma = np.exp(-b * lai / np.cos(theta))
    out = []
    for p, n in (("h", 1), ("v", 0)):
        rough = smooth[p] * np.exp(-h * np.cos(theta) ** n)
        emitted = (1 - rough) * gamma + (1 - omega) * (1 - gamma) * (1 + rough * gamma)
        out.append(temperature * emitted)
    return out


def test_brightness_temperature_and_roughness_follow_the_formulas():
    for w, h in ((0.05, 1.1), (0.2, 0.6), (0.4, 0.1)):
        gamma = np.exp(-0.1 * 2.0 / np.cos(np.deg2rad(40.0)))
        found = brightness_temperature(w, 290.0, h, gamma, 0.07)
        np.testing.assert_allclose(found, plain_tb(w, 290.0, h, 2.0, 0.1, 0.07))
    w = np.array([0.02, 0.03, 0.165, 0.30, 0.45])
    np.testing.assert_allclose([roughness(v, 0.2, 0.8) for v in w], [0.8, 0.8, 0.5, 0.2, 0.2])
    one = [np.full(1, v) for v in (0.1, 1.2, 0.12, 0.05)]  # hmin, hmax, b, omega
    seen = radiometer(np.full((1, 1, 2), 0.2), np.full((1, 1), 285.0), np.full((1, 1), 1.5), *one)
    expected = plain_tb(0.2, 285.0, 1.2 - 1.1 * 0.17 / 0.27, 1.5, 0.12, 0.05)
    np.testing.assert_allclose(seen[0, 0], [expected, expected])


def test_filter_equals_a_plain_version_with_matrices():
    """Two cells of one pixel, ten members, six days; numba draws numpy's own legacy stream."""
    s = TwinSettings(n_members=10)
    rng = np.random.default_rng(5)
    days, k, members = 6, 2, 10
    f = Forcing(
        rain=rng.gamma(0.7, 15, (days, k)),
        slot=rng.integers(0, 7, (days, k)),
        pet=rng.uniform(2, 5, (days, k)),
        lai=rng.uniform(0.5, 3, (days, k)),
        temperature=rng.uniform(285, 300, (days, k)),
    )
    ranges = ((0.2, 0.3), (0.8, 1.2), (8, 20), (0.03, 0.1), (1.0, 1.3), (0.95, 1.05))
    par = Parameters(*(rng.uniform(a, b, k) for a, b in ranges))
    tb = rng.uniform(200, 270, (days, 1, 2, 2))
    tb[2] = np.nan
    first = np.array([0, k])
    seeds = np.array([77], dtype=np.uint32)
    run = run_ensemble(f, par, first, seeds, settings=s, tb_assim=tb)

    np.random.seed(77)
    por, fc = (0.40 + 0.12 * par.clay)[:, None], (0.16 + 0.38 * par.clay)[:, None]
    wp = (0.03 + 0.32 * par.clay)[:, None]
    tau = (0.25 * (1 + 5 * par.clay) * par.drainage_factor)[:, None]
    w1 = np.repeat(0.6 * fc + 0.4 * wp, members, axis=1)
    w2, last1, last2 = w1.copy(), w1[:, 0], w1[:, 0]
    ar = np.zeros(members)
    for day in range(days):
        ar = 0.5 * ar + np.sqrt(0.75) * np.random.standard_normal(members)
        factor = np.exp(0.25 * ar - 0.25**2 / 2)
        veg = (1 - np.exp(-0.5 * f.lai[day]))[:, None]
        for step in range(8):
            noise = np.random.standard_normal((members, 2))
            here = np.where(step == f.slot[day], 0.6, np.where(step == f.slot[day] + 1, 0.4, 0.0))
            fall = (here * f.rain[day])[:, None] * factor
            w1 = w1 + fall * (1 - np.clip((w1 - wp) / (por - wp), 0, 1) ** 4) / 50
            out = np.maximum(w1 - fc, 0) * (1 - np.exp(-0.125 / tau)) + 0.9 * np.maximum(
                w1 - por, 0
            )
            w1, w2 = w1 - out, w2 + out * 50 / 950
            w2 = w2 - np.maximum(w2 - fc, 0) * (1 - np.exp(-0.125 / (10 * tau)))
            q = par.kappa[:, None] * 0.125 * (w1 - w2) / (por - wp)
            w1, w2 = w1 - q / 50, w2 + q / 950
            demand = (f.pet[day] * DIURNAL[step] / 8)[:, None]
            f1, f2 = (w1 - wp) / (fc - wp), (w2 - wp) / (fc - wp)
            bare = demand * (1 - veg) * np.clip(f1, 0, 1)
            up = 0.15 * demand * veg * np.clip(f1 / 0.6, 0, 1)
            down = 0.85 * demand * veg * np.clip(f2 / 0.6, 0, 1)
            w1 = np.clip(w1 - (bare + up) / 50 + 0.012 * noise[:, 0], 0.6 * wp, por)
            w2 = np.clip(w2 - down / 950 + 1e-4 * noise[:, 1], 0.6 * wp, por)
            t = 8 * day + step
            m1, m2 = w1.mean(axis=1), w2.mean(axis=1)
            np.testing.assert_allclose(run.surface[:, t], (last1 + m1) / 2, rtol=1e-5)
            root = (50 * (last1 + m1) + 950 * (last2 + m2)) / 2000
            np.testing.assert_allclose(run.rootzone[:, t], root, rtol=1e-5)
            last1, last2 = m1, m2
            if step not in (2, 6):
                continue
            p = (2, 6).index(step)
            y = np.zeros((2, members))
            for i in range(k):
                w = w1[i] * par.porosity_ratio[i]
                h = np.interp(w, [0.03, 0.30], [par.h_max[i], par.h_min[i]])
                y += np.array(plain_tb(w, f.temperature[day, i], h, f.lai[day, i], 0.1, 0.07)) / k
            np.testing.assert_allclose(run.tb_forecast[day, 0, p], y.mean(axis=1), rtol=1e-6)
            e = 5.0 * np.random.standard_normal((2, members))
            if np.isfinite(tb[day, 0, p]).all():
                for x in (w1, w2):
                    for i in range(k):
                        joint = np.cov(np.vstack([x[i], y]))
                        gain = joint[0, 1:] @ np.linalg.inv(joint[1:, 1:] + 25.0 * np.eye(2))
                        x[i] = np.clip(
                            x[i] + gain @ (tb[day, 0, p][:, None] + e - y), 0.6 * wp[i], por[i]
                        )
                last1, last2 = w1.mean(axis=1), w2.mean(axis=1)
            np.testing.assert_allclose(run.surface_analysis[day, :, p], last1, rtol=1e-5)


def test_climatology_equals_its_literal_definition():
    rng = np.random.default_rng(1)
    doy = np.arange(500) % 365
    x = np.where(rng.random((500, 2)) < 0.3, np.nan, rng.normal(size=(500, 2)))
    found = pooled_climatology(x, doy, min_count=20)
    for t in (0, 100, 364, 480):
        gap = np.abs(doy - doy[t])
        near = x[np.minimum(gap, 365 - gap) <= 15]
        n = np.isfinite(near).sum(axis=0)
        expected = np.where(n >= 20, np.nanmean(near, axis=0), np.nan)
        np.testing.assert_allclose(found[t], expected)
    assert np.isnan(pooled_climatology(x, doy, min_count=63)).all()


def test_calendar_maps_the_leap_day_onto_the_day_before():
    s = TwinSettings(spin_up_days=2)
    dates, doy = calendar(s, (dt.date(2016, 2, 28), dt.date(2016, 3, 1)))
    assert dates[0] == np.datetime64("2016-02-26")
    assert doy.tolist() == [56, 57, 58, 58, 59]
    assert calendar(s, (dt.date(2016, 12, 31), dt.date(2017, 1, 1)))[1].tolist() == [
        362,
        363,
        364,
        0,
    ]
    with pytest.raises(ValueError, match="before it starts"):
        calendar(s, (dt.date(2016, 2, 2), dt.date(2016, 2, 1)))


def test_noise_has_the_promised_correlation_and_distribution():
    fields = daily_fields(stream(1, "test"), 1500, 16, length_km=60.0).reshape(1500, 16, 16)
    assert fields.std() == pytest.approx(1.0, abs=0.05)
    apart = 5  # cells: 45 km
    r = np.corrcoef(fields[:, 4:8, 4].ravel(), fields[:, 4:8, 4 + apart].ravel())[0, 1]
    assert r == pytest.approx(np.exp(-((apart * 9.008 / 60) ** 2) / 2), abs=0.06)
    z = autoregressive(stream(2, "test").standard_normal((20000, 1)), rho=0.6)[:, 0]
    assert z.std() == pytest.approx(1.0, abs=0.03)
    assert np.corrcoef(z[1:], z[:-1])[0, 1] == pytest.approx(0.6, abs=0.02)
    amount = gamma_amount(stream(3, "test").standard_normal(200_000))
    assert amount.mean() == pytest.approx(1.0, abs=0.01)
    assert amount.var() == pytest.approx(1 / 0.7, abs=0.04)
