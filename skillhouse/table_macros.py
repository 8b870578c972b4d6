"""The macros that a published warehouse carries for its readers."""

from __future__ import annotations

from pathlib import Path

import duckdb


def install_macros(connection: duckdb.DuckDBPyConnection) -> None:
    """Write the macros of `table_macros.sql` into a warehouse.

    Args:
        connection: an open, writable warehouse; its file stem, and so its catalog, is `warehouse`.
    """
    connection.execute(Path(__file__).with_name("table_macros.sql").read_text())
