"""The default study: its public tables recomputed by literal formulas, and its designed errors recovered."""

import duckdb
import h5py
import numpy as np
import polars as pl
import pytest
from scipy.stats import spearmanr

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def table(twin):
    """Query of the published warehouse, as a frame."""

    connection = duckdb.connect(str(twin.warehouse), read_only=True)
    yield lambda query: connection.execute(query).pl()
    connection.close()


@pytest.fixture(scope="module")
def factors(table):
    return table("from fct_control_factor order by gridcell_id")


@pytest.fixture(scope="module")
def truth(twin, table):
    """Designed error levels of each cell beside its factors."""
    cells = pl.read_parquet(twin.data / "truth" / "cells.parquet")
    keys = table("select gridcell_id, grid_row, grid_col from dim_gridcell")
    return keys.join(cells, on=["grid_row", "grid_col"])


def series(frame: pl.DataFrame, value: str) -> dict[tuple, np.ndarray]:
    """(product, cell) -> values ordered by date, NaN where null."""
    return {
        key: part.sort("obs_date")[value].cast(pl.Float64).to_numpy()
        for key, part in frame.group_by("product", "gridcell_id")
    }


def anomaly(x: np.ndarray, minimum: int = 10) -> np.ndarray:
    """Literal pooled circular climatology of two years that start on 1 January."""
    k = np.arange(len(x)) % 365
    out = np.full(len(x), np.nan)
    for i in np.flatnonzero(np.isfinite(x)):
        near = np.minimum((k - k[i]) % 365, (k[i] - k) % 365) <= 15
        window = x[near & np.isfinite(x)]
        if len(window) >= minimum:
            out[i] = x[i] - window.mean()
    return out


def value_of(factors, name):
    return dict(factors.select("gridcell_id", name).rows())


def test_assimilation_helps_and_more_at_the_surface(table):
    rows = dict(
        table("select layer, mean_delta_r from fct_skill_summary where stratum = 'all'").rows()
    )
    assert rows["ssm"] > rows["rzsm"] > 0


def test_precipitation_skill(table, factors):
    rain = series(table("from fct_daily_precipitation"), "precipitation_mm")
    found = value_of(factors, "precipitation_skill")
    for cell, value in found.items():
        x, y = rain["l4", cell], rain["cgdpa", cell]
        both = np.isfinite(x) & np.isfinite(y)
        assert value == pytest.approx(spearmanr(x[both], y[both])[0], abs=1e-11)
    lags = dict(
        table("select lag_days, median_r from fct_precipitation_lag where product = 'cgdpa'").rows()
    )
    assert max(lags, key=lags.get) == 0
    shifted = []
    for cell in found:
        x, y = rain["l4", cell][:-1], rain["cgdpa", cell][1:]
        both = np.isfinite(x) & np.isfinite(y)
        shifted.append(spearmanr(x[both], y[both])[0])
    assert lags[1] == pytest.approx(np.median(shifted), abs=1e-9)


def test_coupling(table, factors):
    frame = table("from fct_daily_anomaly")
    ssm, rzsm = series(frame, "ssm_anomaly_m3m3"), series(frame, "rzsm_anomaly_m3m3")
    found = {
        (r["product"], r["gridcell_id"]): r
        for r in table("from fct_vertical_coupling").iter_rows(named=True)
    }
    error = value_of(factors, "coupling_error")
    for cell in error:
        common = np.logical_and.reduce(
            [np.isfinite(s[p, cell]) for s in (ssm, rzsm) for p in ("insitu", "open_loop")]
        )
        strength = {}
        for product in ("insitu", "open_loop", "l4"):
            days = common & np.isfinite(ssm[product, cell]) & np.isfinite(rzsm[product, cell])
            row = found[product, cell]
            assert row["n_days"] == days.sum()
            if days.sum() < 100:
                assert row["status"] == "too_few_days" and row["coupling"] is None
                continue
            a, b = ssm[product, cell][days], rzsm[product, cell][days]
            r, alpha = spearmanr(a, b)[0], a.std() / b.std()
            strength[product] = 1 - np.sqrt((r - 1) ** 2 + (alpha - 1) ** 2)
            assert row["coupling"] == pytest.approx(strength[product], abs=1e-10)
        if strength:
            expected = strength["open_loop"] - strength["insitu"]
            assert error[cell] == pytest.approx(expected, abs=1e-10)
        else:
            assert error[cell] is None
    assert any(v is not None and v < 0 for v in error.values())  # negatives are kept


def test_latent_heat_anomalies_and_double_instrumental_variable(table, factors):
    frame = table("from fct_daily_latent_heat")
    raw = series(frame, "latent_heat_wm2")
    stored = series(frame, "latent_heat_anomaly_wm2")
    for key in list(raw)[:6]:
        assert np.allclose(stored[key], anomaly(raw[key]), rtol=0, atol=1e-10, equal_nan=True)
    for lag in (1, 2):
        rows = table(f"from fct_instrumental_variables where method = 'ivd' and lag_days = {lag}")
        for row in rows.iter_rows(named=True):
            x, y = (stored[p, row["gridcell_id"]] for p in ("l4", "fluxcom"))
            ok = (
                np.isfinite(x[lag:])
                & np.isfinite(y[lag:])
                & np.isfinite(x[:-lag])
                & np.isfinite(y[:-lag])
            )
            assert row["n_pairs"] == ok.sum()
            xt, yt, xl, yl = x[lag:][ok], y[lag:][ok], x[:-lag][ok], y[:-lag][ok]

            def cov(a, b):
                return np.mean((a - a.mean()) * (b - b.mean()))

            s = np.sqrt(cov(xt, xl) / cov(yt, yl))
            r2 = cov(xt, yt) * s / cov(xt, xt)
            assert row["r_squared_raw"] == pytest.approx(r2, abs=1e-10)
            assert row["r_candidate"] == pytest.approx(np.sqrt(min(r2, 1)), abs=1e-10)
            if lag == 1:
                assert (
                    value_of(factors, "latent_heat_skill")[row["gridcell_id"]] == row["r_candidate"]
                )


def test_leaf_area(table, factors):
    frame = table("from fct_leaf_area_index")
    error, mean = value_of(factors, "lai_error"), value_of(factors, "lai_mean")
    dekads = frame.filter(product="geov2_lai")
    assert set(dekads["obs_date"].dt.day()) == {5, 15, 25}
    for (cell,), part in dekads.group_by("gridcell_id"):
        part = part.sort("obs_date")
        k = (part["obs_date"].dt.ordinal_day() - 1).to_numpy().astype(int)
        x = part["lai_m2m2"].cast(pl.Float64).to_numpy()
        away = np.abs(k[:, None] - k[None, :])
        near = np.minimum(away, 365 - away) <= 15
        clim = np.array([x[n & np.isfinite(x)].mean() for n in near])
        assert error[cell] == pytest.approx(np.nanstd(x - clim, ddof=1), abs=1e-10)
    for (cell,), part in frame.filter(product="l4").group_by("gridcell_id"):
        assert mean[cell] == pytest.approx(part["lai_m2m2"].cast(pl.Float64).mean(), abs=1e-10)


def test_tb_innovation(table, factors):
    frame = table("from fct_tb_innovation")
    assert (
        frame["innovation_k"] - (frame["observed_k"].cast(pl.Float64) - frame["forecast_k"])
    ).abs().max() < 1e-12
    assert frame["observed_at"].min().year == 2017 and frame["observed_at"].max().year == 2018
    pooled = (
        frame.filter(pl.col("orbit").is_in([1, 2]))
        .group_by("gridcell_id", "polarization", "orbit")
        .agg(n=pl.len(), var=pl.col("innovation_k").var(ddof=1))
        .filter(pl.col("n") >= 30)
        .group_by("gridcell_id")
        .agg(sd=((pl.col("n") * pl.col("var")).sum() / pl.col("n").sum()).sqrt())
    )
    found = value_of(factors, "tb_innovation_sd_k")
    assert pooled.height == len(found)
    for cell, sd in pooled.rows():
        assert found[cell] == pytest.approx(sd, abs=1e-10)


def test_cells_of_one_coarse_pixel_share_their_innovations(table):
    frame = table(
        "select grid_row // 4 as r, grid_col // 4 as c, observed_at, polarization,"
        " count(*) as n, max(innovation_k) - min(innovation_k) as spread"
        " from fct_tb_innovation join dim_gridcell using (gridcell_id) group by all"
    )
    assert frame.filter(pl.col("n") > 1).height > 1000
    assert frame["spread"].max() == 0


def test_roughness(twin, table, factors):
    (path,) = (twin.data / "raw" / "lmc").glob("*.h5")
    with h5py.File(path) as file:
        group = file["Land-Model-Constants_Data"]
        names = ("mwrtm_rghhmin", "mwrtm_rghhmax", "mwrtm_rghwmin", "mwrtm_rghwmax")
        fields = [group[n][:].astype(float) for n in (*names, "mwrtm_poros", "clsm_poros")]
        place = {
            (r, c): i
            for i, (r, c) in enumerate(
                zip(file["cell_row"][:].ravel(), file["cell_column"][:].ravel(), strict=True)
            )
        }
    soil = table(
        "select grid_row, grid_col, h.roughness, s.ssm_m3m3, gridcell_id from fct_daily_roughness h"
        " join fct_daily_soil_moisture s using (gridcell_id, obs_date)"
        " join dim_gridcell using (gridcell_id) where s.product = 'l4' order by obs_date"
    )
    found = value_of(factors, "microwave_roughness")
    for (row, col, cell), part in soil.group_by("grid_row", "grid_col", "gridcell_id"):
        h_min, h_max, w_min, w_max, p_rtm, p_lsm = (f.ravel()[place[row, col]] for f in fields)
        w = part["ssm_m3m3"].cast(pl.Float64).to_numpy() * p_rtm / p_lsm
        share = np.clip((w - w_min) / (w_max - w_min), 0, 1)
        h = h_max + (h_min - h_max) * share
        assert np.abs(part["roughness"].to_numpy() - h).max() < 1e-12
        assert found[cell] == pytest.approx(h.mean(), abs=1e-12)


def test_clay(table, factors):
    frame = table("from fct_soil_texture")
    difference = frame["clay_topsoil_frac"] - frame["clay_rootzone_frac"]
    assert (difference - frame["clay_difference_frac"]).abs().max() < 1e-15
    found = value_of(factors, "clay_variability")
    for cell, signed in frame.select("gridcell_id", "clay_difference_frac").rows():
        assert found[cell] == pytest.approx(abs(signed), abs=1e-15)


def test_designed_errors_are_recovered(twin, truth, factors, table):
    """The factors see the errors that the simulated world was given."""
    both = truth.join(factors, on="gridcell_id")
    eps = both["precipitation_error_level"]
    assert np.corrcoef(both["precipitation_skill"], eps)[0, 1] < -0.8
    known = both.drop_nulls("coupling_error")
    assert spearmanr(known["coupling_error"], known["log_coupling_bias"])[0] > 0.4
    daily = pl.read_parquet(twin.data / "truth" / "daily.parquet")
    daily = daily.join(
        truth.select("grid_row", "grid_col", "gridcell_id"), on=["grid_row", "grid_col"]
    )
    stored = series(table("from fct_daily_latent_heat"), "latent_heat_anomaly_wm2")
    skill = value_of(factors, "latent_heat_skill")
    estimated, true = [], []
    for (cell,), part in daily.group_by("gridcell_id"):
        real = anomaly(part.sort("obs_date")["latent_heat_wm2"].cast(pl.Float64).to_numpy())
        x = stored["l4", cell]
        ok = np.isfinite(real) & np.isfinite(x)
        estimated.append(skill[cell])
        true.append(np.corrcoef(real[ok], x[ok])[0, 1])
    assert np.corrcoef(estimated, true)[0, 1] > 0.85
    # the candidate's errors have memory, which the method takes for signal: known bias, upwards
    assert 0 < np.mean(np.subtract(estimated, true)) < 0.15


def test_representativeness(table):
    frame = table("from dim_station")
    known = frame.drop_nulls("representativeness_frac")
    assert known.height == frame.filter(status="ok").height or known.height >= 0.98 * frame.height
    assert 0.3 < (known["representativeness_frac"] > 0.5).mean() < 0.7


def test_every_number_leads_back_to_a_file(table):
    """The ledger's file counts are those of meta_input_file, and every file is accounted for once."""
    files = table("select source, reason, count(*) as n from meta_input_file group by all")
    ledger = table("select stage, reason, n from fct_ledger where entity = 'file'")
    assert files["n"].sum() == ledger["n"].sum() > 17_000
    assert set(files["reason"]) == {"ok"}
