"""Shares, means and relative improvements by hand, and intervals that follow space."""

import hashlib

import numpy as np
import polars as pl
import pytest

from analysis.skill_summary import (
    SKILL_SUMMARY_OUTPUT,
    spatial_blocks,
    summarise,
)

OPTIONS = {"spatial_block_km": 72, "members": 400, "level": 0.95, "seed": 3}


def cells(delta, baseline, *, rows=None, cols=None, stratum="all", significant=None):
    n = len(delta)
    baseline = np.asarray(baseline, dtype=float)
    return pl.DataFrame(
        {
            "layer": ["ssm"] * n,
            "stratum": [stratum] * n,
            "gridcell_id": [f"cell-{i:04d}" for i in range(n)],
            "grid_row": list(range(0, 8 * n, 8)) if rows is None else rows,
            "grid_col": [0] * n if cols is None else cols,
            "r_baseline": baseline,
            "r_candidate": baseline + delta,
            "delta_r": np.asarray(delta, dtype=float),
            "is_significant_iid": [False] * n if significant is None else significant,
            "is_significant_block": [False] * n,
        }
    )


def test_every_number_by_hand():
    frame = cells(
        delta=[0.1, -0.2, 0.3, 0.0, 0.02],
        baseline=[0.5, 0.4, 0.1, 0.0, 0.2],
        significant=[True, True, None, False, False],
    )
    row = summarise(frame, **OPTIONS).row(0, named=True)
    assert summarise(frame, **OPTIONS).schema == SKILL_SUMMARY_OUTPUT
    assert (row["n_cells"], row["n_spatial_blocks"], row["status"]) == (5, 5, "ok")
    assert row["share_improved"] == pytest.approx(3 / 5)  # no change is no improvement
    assert row["mean_delta_r"] == pytest.approx(0.22 / 5)
    assert row["mean_r_baseline"] == pytest.approx(1.2 / 5)
    assert row["mean_r_candidate"] == pytest.approx(1.42 / 5)
    assert row["relative_improvement_ratio_of_means"] == pytest.approx(0.22 / 1.2)
    # the cell with r_baseline 0 has no ratio; the one at exactly 0.1 is not above 0.1
    assert row["relative_improvement_mean_of_ratios"] == pytest.approx((0.2 - 0.5 + 3 + 0.1) / 4)
    assert row["relative_improvement_median_of_ratios"] == pytest.approx(0.1)
    assert row["n_cells_median_of_ratios"] == 3
    assert row["share_significant_iid"] == pytest.approx(2 / 5)
    assert row["share_improved_significant_iid"] == pytest.approx(1 / 5)
    assert row["share_degraded_significant_iid"] == pytest.approx(1 / 5)
    assert row["share_significant_block"] == 0.0


def test_interval_is_the_documented_resampling_of_blocks():
    rng = np.random.default_rng(1)
    n = 120
    frame = cells(
        rng.normal(0.05, 0.1, size=n),
        rng.uniform(0.2, 0.6, size=n),
        rows=rng.integers(150, 210, size=n).tolist(),
        cols=rng.integers(3000, 3040, size=n).tolist(),
    )
    row = summarise(frame, **OPTIONS).row(0, named=True)
    side = 72_000 / 9008.055210146
    where = [
        (int((r + 0.5) // side), int((c + 0.5) // side))
        for r, c in frame.select("grid_row", "grid_col").iter_rows()
    ]
    blocks = sorted(set(where))
    digest = hashlib.sha256(b"3|ssm|all|spatial").digest()
    draws = np.random.default_rng(int.from_bytes(digest[:8], "big")).integers(
        0, len(blocks), size=(400, len(blocks))
    )
    gain = frame["delta_r"].to_numpy()
    members = [[i for k in draw for i in range(n) if where[i] == blocks[k]] for draw in draws]
    for name, values in (("mean_delta_r", gain), ("share_improved", gain > 0)):
        drawn = [values[member].mean() for member in members]
        expected = np.percentile(drawn, [2.5, 97.5])
        found = row[f"{name}_ci_lower"], row[f"{name}_ci_upper"]
        assert found == pytest.approx(expected, abs=1e-12)
    assert row["n_spatial_blocks"] == len(blocks)


def test_cells_that_move_together_widen_the_interval():
    rng = np.random.default_rng(2)
    regional = np.repeat(rng.normal(size=40), 25)
    rows = (np.repeat(np.arange(40), 25) * 8 + np.tile(np.repeat(np.arange(5), 5), 40)).tolist()
    cols = np.tile(np.arange(5), 200).tolist()
    together = summarise(cells(regional, np.full(1000, 0.5), rows=rows, cols=cols), **OPTIONS)
    shuffled = summarise(
        cells(rng.permutation(regional), np.full(1000, 0.5), rows=rows, cols=cols), **OPTIONS
    )
    width = [
        (one["mean_delta_r_ci_upper"] - one["mean_delta_r_ci_lower"])[0]
        for one in (together, shuffled)
    ]
    assert width[0] > 3 * width[1]


@pytest.mark.parametrize(("n", "status"), [(4, "too_few_blocks"), (5, "ok")])
def test_fewer_than_five_blocks_give_no_interval(n, status):
    row = summarise(cells([0.1] * n, [0.5] * n), **OPTIONS).row(0, named=True)
    assert row["status"] == status
    assert (row["mean_delta_r_ci_lower"] is None) == (status != "ok")
    assert row["share_improved"] == 1.0


def test_strata_do_not_touch_each_other():
    one = cells([0.1, 0.2, 0.3, -0.1, 0.4, 0.1], [0.5] * 6)
    two = cells([0.9] * 7, [0.1] * 7, stratum="forest")
    both = summarise(pl.concat([two, one]), **OPTIONS)
    assert both["stratum"].to_list() == ["all", "forest"]
    assert both.row(0) == summarise(one, **OPTIONS).row(0)


def test_blocks_are_square_and_start_in_the_north_west():
    row, col = np.meshgrid(np.arange(16), np.arange(16), indexing="ij")
    found = spatial_blocks(row.ravel(), col.ravel(), spatial_block_km=72).reshape(16, 16)
    assert found[0, 0] == 0
    assert (found[:8, :8] == 0).all()  # 8 x 9.008 km: the eighth centre lies at 67.6 km
    assert len(np.unique(found)) == 4
    assert (found == found.T).sum() < 256  # rows before columns
    with pytest.raises(ValueError, match="spatial_block_km: found 9"):
        spatial_blocks(row.ravel(), col.ravel(), spatial_block_km=9)


def test_cells_without_a_result_or_twice_are_refused():
    frame = cells([0.1, 0.2], [0.5, 0.5])
    with pytest.raises(ValueError, match="column delta_r: found 1 nulls, expected status ok"):
        summarise(frame.with_columns(delta_r=pl.Series([0.1, None])), **OPTIONS)
    with pytest.raises(ValueError, match="column gridcell_id: found two rows"):
        summarise(pl.concat([frame, frame]), **OPTIONS)
