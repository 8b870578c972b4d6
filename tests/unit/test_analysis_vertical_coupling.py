"""Coupling by its formula, its limits and its groups."""

import numpy as np
import polars as pl
import pytest
from scipy import stats

from analysis.vertical_coupling import coupling_strength, vertical_coupling

SSM = [0.1, 0.3, 0.2, 0.5, 0.4, 0.2]
RZSM = [0.2, 0.3, 0.25, 0.4, 0.35, 0.2]


def days(ssm, rzsm, product="insitu"):
    return pl.DataFrame(
        {"ssm_anomaly_m3m3": ssm, "rzsm_anomaly_m3m3": rzsm},
        schema_overrides={"ssm_anomaly_m3m3": pl.Float64, "rzsm_anomaly_m3m3": pl.Float64},
    ).with_columns(product=pl.lit(product))


def test_published_vector_and_its_inverse_ratio():
    row = vertical_coupling(days(SSM, RZSM), keys=["product"], min_days=5).row(0, named=True)
    assert row["r"] == pytest.approx(0.955882, abs=1e-6)
    assert row["alpha"] == pytest.approx(1.802776, abs=1e-6)
    assert row["coupling"] == pytest.approx(0.196013, abs=1e-6)
    inverse = vertical_coupling(
        days(SSM, RZSM), keys=["product"], min_days=5, alpha_definition="rzsm_over_ssm"
    ).row(0, named=True)
    assert inverse["alpha"] == pytest.approx(1 / row["alpha"])
    assert inverse["coupling"] == pytest.approx(
        1 - np.hypot(row["r"] - 1, 1 / row["alpha"] - 1), abs=1e-12
    )


def test_landmarks_of_the_formula():
    assert coupling_strength(1.0, 1.0) == 1.0
    assert coupling_strength(0.0, 1.0) == 0.0
    assert coupling_strength(1.0, 2.0) == 0.0


def test_strong_surface_variance_gives_a_negative_value_that_is_kept():
    row = vertical_coupling(days([0.0, 4.0, 8.0], [0.0, 1.0, 2.0]), keys=["product"], min_days=3)
    assert row["coupling"][0] == pytest.approx(-2.0)


def test_days_with_one_layer_only_do_not_count():
    rng = np.random.default_rng(6)
    ssm, rzsm = rng.normal(size=(2, 50))
    holed_ssm, holed_rzsm = ssm.tolist(), rzsm.tolist()
    holed_ssm[3], holed_ssm[4], holed_rzsm[10] = None, float("nan"), None
    kept = np.delete(np.arange(50), [3, 4, 10])
    row = vertical_coupling(days(holed_ssm, holed_rzsm), keys=["product"], min_days=40).row(
        0, named=True
    )
    assert row["n_days"] == 47
    assert row["r"] == pytest.approx(stats.spearmanr(ssm[kept], rzsm[kept]).statistic, abs=1e-12)
    assert row["alpha"] == pytest.approx(
        np.std(ssm[kept], ddof=1) / np.std(rzsm[kept], ddof=1), abs=1e-12
    )


def test_reasons_for_no_answer():
    frame = pl.concat(
        [days(SSM[:4], RZSM[:4], "few"), days(SSM, [0.3] * 6, "flat"), days(SSM, RZSM, "good")]
    )
    found = vertical_coupling(frame, keys=["product"], min_days=5)
    assert found.select("product", "coupling", "n_days", "status").rows()[:2] == [
        ("few", None, 4, "too_few_days"),
        ("flat", None, 6, "zero_variance"),
    ]
    assert found["status"][2] == "ok"


def test_unknown_ratio_is_refused():
    with pytest.raises(ValueError, match="alpha_definition: found 'ssm'"):
        vertical_coupling(days(SSM, RZSM), keys=["product"], min_days=5, alpha_definition="ssm")


def test_the_minimum_is_enough():
    for min_days, status in ((6, "ok"), (7, "too_few_days")):
        found = vertical_coupling(days(SSM, RZSM), keys=["product"], min_days=min_days)
        assert found.select("n_days", "status").row(0) == (6, status)
