"""What a frame must hold before a statistic touches it, and how its rows fall into groups."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

Kind = Literal["text", "integer", "number", "date", "boolean"]
Schema = dict[str, Kind]

_EXPECTED = {
    "text": "text",
    "integer": "whole numbers",
    "number": "numbers",
    "date": "dates (pl.Date)",
    "boolean": "booleans",
}
_TARGET = {"text": pl.String, "integer": pl.Int64, "number": pl.Float64, "date": pl.Date}


def _fits(dtype: pl.DataType, kind: Kind) -> bool:
    if kind == "text":
        return isinstance(dtype, pl.String | pl.Categorical | pl.Enum)
    if kind == "integer":
        return dtype.is_integer()
    if kind == "number":
        return dtype.is_numeric() or dtype == pl.Null
    return dtype == (pl.Date if kind == "date" else pl.Boolean)


def check_columns(frame: pl.DataFrame | pl.LazyFrame, schema: Schema) -> pl.DataFrame:
    """The schema's columns of a frame, numbers as float64 with NaN and infinities as null.

    Args:
        frame: any frame; columns outside the schema are left behind.
        schema: column name to kind. Only `number` and `boolean` columns may hold nulls.
    Returns:
        A frame with exactly the schema's columns, in its order.
    Raises:
        ValueError: a column is missing, of another kind, or a key holds nulls.

    >>> check_columns(pl.DataFrame({"x": ["a"]}), {"x": "number"})
    Traceback (most recent call last):
    ...
    ValueError: column x: found String, expected numbers
    """
    frame = frame.lazy().collect()
    for name, kind in schema.items():
        if name not in frame.columns:
            raise ValueError(
                f"column {name}: missing, expected {_EXPECTED[kind]}; found columns "
                f"{', '.join(frame.columns)}"
            )
        if not _fits(frame.schema[name], kind):
            raise ValueError(
                f"column {name}: found {frame.schema[name]}, expected {_EXPECTED[kind]}"
            )
        if kind in ("text", "integer", "date") and (nulls := frame[name].null_count()):
            raise ValueError(f"column {name}: found {nulls} nulls, expected none in a key")
    casts = []
    for name, kind in schema.items():
        column = pl.col(name)
        if kind in _TARGET:
            column = column.cast(_TARGET[kind])
        if kind == "number":
            column = pl.when(column.is_finite()).then(column).alias(name)
        casts.append(column)
    return frame.select(casts)


@dataclass(frozen=True)
class Groups:
    """Rows sorted by key (and date): group `i` is rows `offsets[i]:offsets[i + 1]` of `rows`."""

    keys: pl.DataFrame
    rows: pl.DataFrame
    offsets: NDArray[np.int64]

    def column(self, name: str) -> NDArray[np.float64]:
        """A number column as float64, nulls as NaN."""
        return self.rows[name].fill_null(float("nan")).to_numpy(writable=True)

    def days(self, name: str) -> NDArray[np.int64]:
        """A date column as days since 1970-01-01."""
        return self.rows[name].to_physical().cast(pl.Int64).to_numpy()

    def __len__(self) -> int:
        return self.keys.height


def sorted_groups(
    frame: pl.DataFrame, *, keys: list[str], order: str | None = None, carry: tuple[str, ...] = ()
) -> Groups:
    """Sort a frame by its keys (and a column inside them) and find where each group begins.

    Args:
        frame: a checked frame.
        keys: columns that name a group.
        order: column that orders the rows of a group and must be unique in it, or None.
        carry: columns that are constant in a group and travel with its key.
    Raises:
        ValueError: `order` repeats in a group, or a carried column is not constant in one.
    """
    rows = frame.sort([*keys, order] if order else keys)
    if rows.is_empty():
        return Groups(rows.select(*keys, *carry), rows, np.zeros(1, dtype=np.int64))
    index = rows.select(pl.struct(keys).rle_id()).to_series().to_numpy()
    starts = np.flatnonzero(np.diff(index, prepend=-1))
    offsets = np.append(starts, rows.height).astype(np.int64)
    same_group = index[1:] == index[:-1]
    if order:
        again = same_group & (rows[order][1:] == rows[order][:-1]).to_numpy()
        if again.any():
            found = rows.row(int(np.argmax(again)), named=True)
            where = ", ".join(f"{name} {found[name]}" for name in [*keys, order])
            raise ValueError(
                f"column {order}: found two rows for {where}, expected one row per "
                f"{', '.join([*keys, order])}"
            )
    for name in carry:
        moved = same_group & (rows[name][1:] != rows[name][:-1]).to_numpy()
        if moved.any():
            found = rows.row(int(np.argmax(moved)), named=True)
            where = ", ".join(f"{key} {found[key]}" for key in keys)
            raise ValueError(f"column {name}: found several values for {where}, expected one")
    return Groups(rows[starts].select(*keys, *carry), rows, offsets)
