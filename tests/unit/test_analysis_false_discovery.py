"""Benjamini-Hochberg against scipy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import false_discovery_control

from analysis.false_discovery import q_values


@given(st.lists(st.floats(0, 1), min_size=1, max_size=50))
def test_equals_scipy(p):
    assert q_values(p) == pytest.approx(false_discovery_control(p, method="bh"), abs=1e-12)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.data())
def test_tests_not_made_do_not_count(p, data):
    gaps = data.draw(st.lists(st.booleans(), min_size=len(p), max_size=len(p)))
    with_gaps = [value for pair in zip(p, gaps, strict=True) for value in gap(*pair)]
    found = q_values(with_gaps)
    assert found[~np.isnan(with_gaps)] == pytest.approx(q_values(p), abs=1e-15)
    assert np.isnan(found[np.isnan(with_gaps)]).all()


def gap(value, before):
    return [float("nan"), value] if before else [value]


def test_nothing_to_test():
    assert q_values([]).size == 0
    assert np.isnan(q_values([np.nan])).all()


def test_a_value_that_is_no_probability_is_refused():
    with pytest.raises(ValueError, match="outside"):
        q_values([0.2, 1.2])
