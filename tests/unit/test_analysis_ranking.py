"""Kendall's tau and the top three by hand."""

import polars as pl
import pytest

from analysis.ranking import RANKING_OUTPUT, compare_rankings


def ranking(variant, importance, *, target="delta_r"):
    return pl.DataFrame(
        {
            "variant": variant,
            "target": target,
            "layer": "ssm",
            "factor": list(importance),
            "importance_pct": pl.Series(list(importance.values()), dtype=pl.Float64, strict=False),
        }
    )


BASE = ranking("base", {"rain": 40, "clay": 30, "lai": 20, "h": 10})


def compare(importance, **options):
    found = compare_rankings(pl.concat([ranking("pearson", importance), BASE]), **options)
    assert found.schema == RANKING_OUTPUT
    return {row["variant"]: row for row in found.iter_rows(named=True)}


def test_tau_counts_pairs():
    found = compare({"rain": 10, "clay": 20, "lai": 40, "h": 30})
    # of 6 pairs only lai-h keeps its order
    assert found["pearson"]["kendall_tau_with_base"] == pytest.approx((1 - 5) / 6)
    assert found["pearson"]["top_three"] == "lai, h, clay"
    assert found["pearson"]["is_same_top_three"] is False
    assert found["base"]["kendall_tau_with_base"] == pytest.approx(1)


def test_top_three_is_compared_as_a_set():
    found = compare({"rain": 25, "clay": 35, "lai": 30, "h": 10})["pearson"]
    assert (found["top_three"], found["is_same_top_three"]) == ("clay, lai, rain", True)


def test_ties_count_for_neither_side_and_go_by_name():
    found = compare({"rain": 30, "clay": 30, "lai": 30, "h": 10})["pearson"]
    # 3 concordant pairs with h, 3 tied: tau_b = 3 / sqrt(3 * 6)
    assert found["kendall_tau_with_base"] == pytest.approx(3 / 18**0.5)
    assert found["top_three"] == "clay, lai, rain"


def test_only_factors_of_both_are_compared():
    found = compare({"rain": 10, "clay": 60, "lai": None, "h": 5})["pearson"]
    assert found["n_factors"] == 3
    assert found["kendall_tau_with_base"] == pytest.approx((2 - 1) / 3)


@pytest.mark.parametrize(
    ("importance", "status", "top"),
    [
        ({"rain": None, "clay": None}, "no_ranking", None),
        ({"rain": 100}, "undefined", "rain"),
        ({"rain": 50, "clay": 50}, "undefined", "clay, rain"),
    ],
)
def test_what_has_no_tau_says_why(importance, status, top):
    found = compare(importance)["pearson"]
    assert (found["status"], found["kendall_tau_with_base"]) == (status, None)
    assert found["top_three"] == top


def test_a_model_without_base_is_kept():
    alone = ranking("pearson", {"rain": 60, "clay": 40}, target="r_baseline")
    found = compare_rankings(pl.concat([BASE, alone])).filter(target="r_baseline")
    assert found["status"].to_list() == ["no_base"]
    assert found["is_same_top_three"].to_list() == [None]


def test_a_repeated_factor_is_refused():
    with pytest.raises(ValueError, match="found 2 rows for variant base.*factor clay"):
        compare_rankings(pl.concat([BASE, BASE.filter(factor="clay")]))
