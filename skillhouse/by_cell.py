"""Statistics over a table too large to hold at once: cell after cell, a bounded number of rows at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import duckdb
import polars as pl

#: rows handed over at once; a cell of two years in two layers has some 1500, so memory stays near 200 MB
ROWS = 1_000_000


def by_cell(
    relation: duckdb.DuckDBPyRelation,
    compute: Callable[[pl.DataFrame], pl.DataFrame],
    *,
    rows: int = ROWS,
) -> pl.DataFrame:
    """What `compute` gives for every cell, called on whole cells, some `rows` rows at a time.

    Args:
        relation: a table with the column gridcell_id.
        compute: a statistic whose result for a cell depends on that cell's rows alone.
        rows: rows of a call; a cell that has more comes alone.
    Returns:
        The results one below the other, cells in the order of their names; of an empty table, what
        `compute` says of it.

    >>> days = duckdb.sql("select 'cell' || i % 3 as gridcell_id, i from range(9) as day(i)")
    >>> by_cell(days, lambda part: part.group_by("gridcell_id").agg(pl.len()), rows=4).rows()
    [('cell0', 3), ('cell1', 3), ('cell2', 3)]
    """
    results = [
        compute(relation.filter(f"gridcell_id between '{first}' and '{last}'").pl())
        for first, last in _ranges(relation, rows)
    ]
    return pl.concat(results) if results else compute(relation.pl())


def _ranges(relation: duckdb.DuckDBPyRelation, rows: int) -> Iterator[tuple[str, str]]:
    """First and last cell of each call."""
    first, last, taken = None, None, 0
    for cell, n in relation.aggregate("gridcell_id, count(*)").order("gridcell_id").fetchall():
        if first is not None and taken + n > rows:
            yield first, last
            first, taken = None, 0
        first, last, taken = first or cell, cell, taken + n
    if first is not None:
        yield first, last
