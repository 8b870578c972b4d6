"""`diff`: which public values moved between two warehouses."""

from __future__ import annotations

from pathlib import Path

import duckdb

from ingest.reader import BadInput

_TIMES = {"meta_build": {"started_at", "finished_at"}, "meta_input_file": {"modified_at"}}


def compare(a: Path, b: Path) -> list[str]:
    """One line per difference between two warehouses; empty when every public value is equal.

    Floating-point columns are compared bit by bit (two NaN are equal); build times are left out.
    """
    with duckdb.connect() as connection:
        for side, path in (("a", a), ("b", b)):
            _attach(connection, side, path)
        tables = {side: _columns(connection, side) for side in "ab"}
        keys: dict[str, list[str]] = {}
        for table, column in connection.execute(
            "select table_name, column_name from a.meta_column where is_key order by position"
        ).fetchall():
            keys.setdefault(table, []).append(column)
        lines = []
        for side, other in (("A", "b"), ("B", "a")):
            for table in sorted(tables[side.lower()].keys() - tables[other].keys()):
                lines.append(f"{table}: only in {side}")
        for table in sorted(tables["a"].keys() & tables["b"].keys()):
            lines += _compare_table(connection, table, tables["a"][table], tables["b"][table], keys)
    return lines


def _attach(connection, side: str, path: Path) -> None:
    """Attach one warehouse read-only.

    Raises:
        BadInput: there is none at the path.
    """
    key, remedy = (
        f"{side.upper()}=",
        "give the path of a warehouse.duckdb that make build published",
    )
    if not path.exists():
        raise BadInput("no such warehouse", file=path, key=key, remedy=remedy)
    try:
        quoted = str(path).replace("'", "''")
        connection.execute(f"attach '{quoted}' as {side} (read_only)")
        connection.execute(f"select 1 from {side}.meta_column limit 0")
    except duckdb.Error as error:
        first = str(error).splitlines()[0]
        raise BadInput(f"not a warehouse ({first})", file=path, key=key, remedy=remedy) from error


def _columns(connection, side: str) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for table, column, kind in connection.execute(
        "select table_name, column_name, data_type from duckdb_columns()"
        f" where database_name = '{side}' and not internal order by table_name, column_index"
    ).fetchall():
        found.setdefault(table, {})[column] = kind
    return found


def _compare_table(connection, table, columns_a, columns_b, keys) -> list[str]:
    lines = [
        f"{table}.{column}: only in {'A' if column in columns_a else 'B'}"
        for column in sorted(columns_a.keys() ^ columns_b.keys())
    ]
    ignored = _TIMES.get(table, set())
    shared = [c for c in columns_a if c in columns_b and c not in ignored]
    key = keys.get(table)
    if not key:
        quoted = ", ".join(f'"{c}"' for c in shared)
        moved = connection.execute(
            f"select (select count(*) from (select {quoted} from a.{table} except all"
            f" select {quoted} from b.{table})), (select count(*) from (select {quoted}"
            f" from b.{table} except all select {quoted} from a.{table}))"
        ).fetchone()
        return lines + (
            [f"{table}: {moved[0]:,} rows only in A, {moved[1]:,} only in B"] if any(moved) else []
        )
    on = " and ".join(f'a."{c}" is not distinct from b."{c}"' for c in key)
    for side, other in (("a", "b"), ("b", "a")):
        n = connection.execute(
            f"select count(*) from {side}.{table} as {side} anti join {other}.{table} as {other} on {on}"
        ).fetchone()[0]
        if n:
            lines.append(f"{table}: {n:,} rows only in {side.upper()}")
    values = [c for c in shared if c not in key]
    if not values:
        return lines
    counts = ", ".join(f'count(*) filter (where a."{c}" is distinct from b."{c}")' for c in values)
    sizes = ", ".join(
        f'max(abs(a."{c}"::double - b."{c}"::double))' if _is_number(columns_a[c]) else "null"
        for c in values
    )
    row = connection.execute(
        f"select {counts}, {sizes} from a.{table} as a inner join b.{table} as b on {on}"
    ).fetchone()
    for column, n, size in zip(values, row[: len(values)], row[len(values) :], strict=True):
        if n:
            most = f", by at most {size:.3g}" if size is not None else ""
            lines.append(f"{table}.{column}: {n:,} values moved{most}")
    return lines


def _is_number(kind: str) -> bool:
    return kind in {"FLOAT", "DOUBLE", "INTEGER", "BIGINT", "SMALLINT", "TINYINT", "UINTEGER"}
