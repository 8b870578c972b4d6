"""How much faster the bootstrap kernel is than scipy on the same resamples.

One cell of two years: 1000 members for both products by the kernel, a few of the same members by
`scipy.stats.spearmanr` on the resampled days, both on one core. Run from the project's root:

    python -m benchmarks.rank_correlation_bootstrap
"""

from __future__ import annotations

import time

import numpy as np
from scipy.stats import spearmanr

from analysis.bootstrap import block_draws, bootstrap_correlations, entity_seed, iid_draws

BAR = 50.0


def measure(
    *, n_days: int = 730, members: int = 1000, scipy_members: int = 100, block_days: int = 30
) -> dict[str, float]:
    """Times of kernel and scipy for the same members, their ratio and the largest difference.

    Args:
        n_days: days of the series.
        members: members of the kernel's run, drawing of days included.
        scipy_members: how many of them scipy repeats; its time is scaled to `members`.
        block_days: days of a block.
    Returns:
        Seconds (`compile_s`, `kernel_iid_s`, `kernel_block_s`, `scipy_iid_s`), `speedup_iid`,
        `speedup_block` and `max_difference` of r.
    """
    rng = np.random.default_rng(20170101)
    observed = np.round(rng.normal(size=n_days), 2)
    baseline = np.round(observed + 1.2 * rng.normal(size=n_days), 2)
    candidate = np.round(observed + rng.normal(size=n_days), 2)
    entity = entity_seed(1, grid_row=290, grid_col=3174, layer="ssm", scheme="iid")

    start = time.perf_counter()
    bootstrap_correlations(
        observed, baseline, candidate, draws=iid_draws(entity, n=n_days, members=1)
    )
    compile_s = time.perf_counter() - start

    kernel_s = {}
    for scheme in ("iid", "block"):
        best = np.inf
        for _ in range(3):
            start = time.perf_counter()
            if scheme == "iid":
                draws, length = iid_draws(entity, n=n_days, members=members), 1
            else:
                length = block_days
                draws = block_draws(entity, n=n_days, members=members, block_days=length)
            r = bootstrap_correlations(
                observed, baseline, candidate, draws=draws, block_days=length
            )
            best = min(best, time.perf_counter() - start)
        kernel_s[scheme] = best
        if scheme == "iid":
            kernel_r, kernel_draws = r, draws

    scipy_r = np.empty((2, scipy_members))
    start = time.perf_counter()
    for b, days in enumerate(kernel_draws[:scipy_members]):
        scipy_r[0, b] = spearmanr(observed[days], baseline[days]).statistic
        scipy_r[1, b] = spearmanr(observed[days], candidate[days]).statistic
    scipy_s = (time.perf_counter() - start) * members / scipy_members
    return {
        "compile_s": compile_s,
        "kernel_iid_s": kernel_s["iid"],
        "kernel_block_s": kernel_s["block"],
        "scipy_iid_s": scipy_s,
        "speedup_iid": scipy_s / kernel_s["iid"],
        "speedup_block": scipy_s / kernel_s["block"],
        "max_difference": float(np.abs(kernel_r[:, :scipy_members] - scipy_r).max()),
    }


if __name__ == "__main__":
    found = measure()
    print(
        f"first call (compiles, or loads the compiled kernel): {found['compile_s']:.2f} s, excluded"
    )
    print("1000 members x 2 products x 730 days, one core, drawing included:")
    print(f"  kernel, single days    {1000 * found['kernel_iid_s']:9.1f} ms")
    print(f"  kernel, 30-day blocks  {1000 * found['kernel_block_s']:9.1f} ms")
    print(f"  scipy loop             {1000 * found['scipy_iid_s']:9.1f} ms (100 members, scaled)")
    print(f"  ratio {found['speedup_iid']:.0f} (single days), bar {BAR:.0f}")
    print(f"  largest difference of r {found['max_difference']:.1e}")
    if found["speedup_iid"] < BAR or found["max_difference"] > 1e-12:
        raise SystemExit("the kernel is slower than the bar, or disagrees with scipy")
