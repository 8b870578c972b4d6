"""Daily anomaly series, packed per cell so that a page decodes the one that is asked for.

A cell's values are rounded to whole steps; the last product, which resembles the one before it, is
held as its difference to that one; all are differenced from day to day, written as a plane of low and
a plane of high bytes behind a bit per value that says whether there is one, and deflated.
"""

from __future__ import annotations

import base64
import math
import zlib
from pathlib import Path

import ibis
import numpy as np
import polars as pl
from ibis import _

STEPS_M3M3 = (0.0005, 0.001)
MAX_BYTES = 12_000_000
_BATCH_CELLS = 200
_LAYERS = ("ssm", "rzsm")


def pack(values: np.ndarray, *, step: float) -> bytes:
    """Pack series of one cell; the error of a value is half a step.

    Args:
        values: (n_layers, n_products, n_days) m3 m-3, NaN where there is none.
        step: m3 m-3 of one unit.
    Returns:
        deflated bytes; `unpack` and report/page.js read them.

    >>> series = np.array([[[0.01, np.nan, -0.25], [0.02, 0.03, -0.2]]])
    >>> unpack(pack(series, step=0.001), shape=series.shape, step=0.001)
    array([[[ 0.01,   nan, -0.25],
            [ 0.02,  0.03, -0.2 ]]])
    """
    known = np.isfinite(values)
    whole = np.zeros(values.shape, dtype=np.int32)
    whole[known] = np.round(values[known] / step)
    last = np.where(known, np.arange(values.shape[-1]), 0)
    held = np.take_along_axis(whole, np.maximum.accumulate(last, axis=-1), axis=-1)
    if held.shape[1] > 1:
        held[:, -1] -= held[:, -2]
    change = np.diff(held, axis=-1, prepend=0)
    folded = np.where(change < 0, -2 * change - 1, 2 * change)
    if folded.size and folded.max() > 0xFFFF:
        raise ValueError(f"a change of {np.abs(change).max() * step} m3 m-3 does not fit 16 bits")
    planes = (folded & 0xFF, folded >> 8)
    raw = np.packbits(known).tobytes() + b"".join(p.astype(np.uint8).tobytes() for p in planes)
    # small blocks, an alphabet each, and few matches: what suits noise of differing spread
    deflate = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS, 4, zlib.Z_FILTERED)
    return deflate.compress(raw) + deflate.flush()


def unpack(packed: bytes, *, shape: tuple[int, int, int], step: float) -> np.ndarray:
    """Series of one cell from `pack`, in its shape: m3 m-3, NaN where there is none."""
    raw = np.frombuffer(zlib.decompress(packed), dtype=np.uint8)
    size = math.prod(shape)
    n_bits = -(-size // 8)
    known = np.unpackbits(raw[:n_bits], count=size).astype(bool).reshape(shape)
    low, high = raw[n_bits : n_bits + size], raw[n_bits + size :]
    folded = (low.astype(np.int32) + (high.astype(np.int32) << 8)).reshape(shape)
    held = np.cumsum(np.where(folded % 2, -(folded + 1) // 2, folded // 2), axis=-1)
    if shape[1] > 1:
        held[:, -1] += held[:, -2]
    return np.where(known, held * step, np.nan)


def packed_series(
    warehouse: Path, products: list[str], *, max_bytes: int = MAX_BYTES
) -> tuple[float, dict[str, str]]:
    """Anomalies of every cell as base64 text, surface then root zone, products in the given order.

    Args:
        warehouse: the published file.
        products: keys of the products to embed.
        max_bytes: size of all text together from which the next coarser step is taken.
    Returns:
        step in m3 m-3, and text per cell.
    """
    for step in STEPS_M3M3:
        texts = {
            cell: base64.b64encode(pack(values, step=step)).decode()
            for cell, values in _series(warehouse, products)
        }
        if sum(map(len, texts.values())) <= max_bytes:
            break
    return step, texts


def _series(warehouse: Path, products: list[str]):
    """Yield cell and its (2, n_products, n_days) anomalies, a batch of cells in memory at a time."""
    con = ibis.duckdb.connect(warehouse, read_only=True)
    try:
        cells = con.table("dim_gridcell").order_by("gridcell_id").gridcell_id.to_polars().to_list()
        table = con.table("fct_daily_anomaly").filter(_.product.isin(products))
        order = pl.DataFrame({"product": products, "place": range(len(products))})
        for start in range(0, len(cells), _BATCH_CELLS):
            batch = cells[start : start + _BATCH_CELLS]
            rows = table.filter(_.gridcell_id.isin(batch)).to_polars()
            rows = rows.join(order, on="product").sort("gridcell_id", "place", "obs_date")
            for (cell,), frame in rows.group_by("gridcell_id", maintain_order=True):
                layers = [
                    frame[f"{layer}_anomaly_m3m3"]
                    .cast(pl.Float64)
                    .fill_null(np.nan)
                    .to_numpy()
                    .reshape(len(products), -1)
                    for layer in _LAYERS
                ]
                yield cell, np.stack(layers)
    finally:
        con.disconnect()
