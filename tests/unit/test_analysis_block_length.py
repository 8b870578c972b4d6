"""The automatic block length against the `arch` package, and its limits."""

import numpy as np
import pytest
from arch.bootstrap import optimal_block_length
from scipy.signal import lfilter
from scipy.stats import rankdata

from analysis.block_length import block_length_days, politis_white, skill_gain_block_length_days


@pytest.mark.parametrize("phi", [-0.5, 0.0, 0.3, 0.9, 0.99])
@pytest.mark.parametrize("n", [16, 100, 365, 730])
def test_equals_arch(phi, n):
    rng = np.random.default_rng(int(1000 * (phi + 1)) + n)
    for _ in range(5):
        series = lfilter([1.0], [1.0, -phi], rng.normal(size=n))
        expected = optimal_block_length(series)["circular"].iloc[0]
        assert politis_white(series) == pytest.approx(expected, rel=1e-9)


def test_whole_days_rounded_up_and_clipped():
    rng = np.random.default_rng(8)
    white = rng.normal(size=400)
    memory = lfilter([1.0], [1.0, -0.8], rng.normal(size=400))
    assert block_length_days(memory) == int(np.ceil(politis_white(memory)))
    assert 1 <= block_length_days(white) < block_length_days(memory)
    wave = np.sin(np.arange(102) / 4)  # asks for more than a quarter of its 102 days
    assert politis_white(wave) > 25.5
    assert block_length_days(wave) == 25


def test_a_constant_needs_one_day():
    assert block_length_days(np.full(100, 0.1)) == 1


def test_too_short_and_gaps_are_refused():
    with pytest.raises(ValueError, match="found 15 values, expected one series of 16 or more"):
        politis_white(np.arange(15.0))
    with pytest.raises(ValueError, match="without gaps"):
        politis_white([np.nan] * 20)


def test_gain_block_is_that_of_the_daily_contributions():
    rng = np.random.default_rng(9)
    observed, baseline, candidate = lfilter([1.0], [1.0, -0.8], rng.normal(size=(3, 500)))
    z = rankdata(observed) * (rankdata(candidate) - rankdata(baseline))
    expected = int(np.ceil(optimal_block_length(z)["circular"].iloc[0]))
    assert skill_gain_block_length_days(observed, baseline, candidate) == expected > 1
