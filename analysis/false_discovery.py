"""Benjamini-Hochberg q values: the share of false discoveries among cells called significant."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def q_values(p_values: ArrayLike) -> NDArray[np.float64]:
    """Benjamini-Hochberg adjusted p values over one family of tests.

    q_(i) = min over j >= i of (1, p_(j) m / j),   p sorted ascending, m = number of tests

    Args:
        p_values: (m,) in [0, 1]; NaN marks a test that was not made and stays NaN.
    Returns:
        (m,) q values in the order given.
    Raises:
        ValueError: a value lies outside [0, 1].

    Source: Benjamini and Hochberg 1995, doi:10.1111/j.2517-6161.1995.tb02031.x; for grids of cells
    see Wilks 2016, doi:10.1175/BAMS-D-15-00267.1.

    >>> q_values([0.01, 0.04, float("nan"), 0.03]).round(4).tolist()
    [0.03, 0.04, nan, 0.04]
    """
    p = np.asarray(p_values, dtype=np.float64)
    made = np.flatnonzero(~np.isnan(p))
    if made.size and not ((p[made] >= 0) & (p[made] <= 1)).all():
        raise ValueError("p_values: found a value outside [0, 1]")
    q = np.full(p.shape, np.nan)
    order = made[np.argsort(p[made], kind="stable")]
    scaled = p[order] * made.size / np.arange(1, made.size + 1)
    q[order] = np.minimum(1.0, np.minimum.accumulate(scaled[::-1])[::-1])
    return q
