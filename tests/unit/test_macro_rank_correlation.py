"""The SQL rank correlation against scipy, group by group, and its exactness."""

from pathlib import Path

import duckdb
import jinja2
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from analysis.rank_correlation import rank_correlation_kernel

MACRO = Path(__file__).parents[2] / "macros" / "rank_correlation.sql"


def correlate(frame: pl.DataFrame, keys: tuple[str, ...] = ("key",)) -> dict:
    """{key: (n, rho)} by the macro."""
    call = "{{ rank_correlation('pairs', " + repr(list(keys)) + ", 'x', 'y') }}"
    query = jinja2.Environment().from_string(MACRO.read_text() + call).render()
    query = f"select {', '.join(keys)}, n, rho from ({query})"
    with duckdb.connect() as connection:
        connection.register("pairs", frame.to_arrow())
        return {row[:-2]: row[-2:] for row in connection.execute(query).fetchall()}


def pairs(x, y, key="a") -> pl.DataFrame:
    return pl.DataFrame(
        {"key": key, "x": x, "y": y},
        schema={"key": pl.String, "x": pl.Float64, "y": pl.Float64},
    )


def test_hand_worked_ties():
    """Ranks 1, 2.5, 2.5, 4 and 1, 2, 3, 4: 4.5 / sqrt(4.5 x 5)."""
    found = correlate(pairs([1.0, 2.0, 2.0, 9.0], [0.0, 1.0, 2.0, 3.0]))
    assert found == {("a",): (4, pytest.approx(4.5 / np.sqrt(22.5), abs=1e-15))}


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(-3, 3)), min_size=2, max_size=60))
def test_scipy_agrees(points):
    x, y = (np.array(v, dtype=float) for v in zip(*points, strict=True))
    n, rho = correlate(pairs(x, y))[("a",)]
    assert n == len(points)
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        assert rho is None
    else:
        assert rho == pytest.approx(spearmanr(x, y).statistic, abs=1e-12)
        assert rho == rank_correlation_kernel(x, y)  # the same whole-number sums: not a bit apart


def test_groups_are_ranked_apart_and_nulls_left_out():
    rng = np.random.default_rng(5)
    frames, expected = [], {}
    for key in ("a", "b"):
        x, y = rng.normal(size=(2, 50))
        frames.append(pairs(x * (100 if key == "b" else 1), x + y, key))
        expected[(key,)] = (50, pytest.approx(spearmanr(x, x + y).statistic, abs=1e-12))
    holes = pairs([None, 1e9, None], [1e9, None, None], "a")
    assert correlate(pl.concat([*frames, holes])) == expected


def test_two_keys():
    frame = pl.concat([pairs([1, 2, 3], [1, 2, 3]), pairs([1, 2, 3], [3, 2, 1])])
    frame = frame.with_columns(other=pl.Series(["p"] * 3 + ["q"] * 3))
    assert correlate(frame, ("key", "other")) == {("a", "p"): (3, 1.0), ("a", "q"): (3, -1.0)}


def test_no_row_gives_no_group():
    assert correlate(pairs([], [])) == {}
