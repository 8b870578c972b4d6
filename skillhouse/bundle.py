"""What an export writes: a bundle, its tables, their columns, and what a licence holds back."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ingest.study import Study


@dataclass(frozen=True)
class Column:
    """A column of an exported table; `type` is DuckDB's, `unit` null where it has none."""

    name: str
    type: str
    unit: str | None
    description: str
    is_key: bool


@dataclass(frozen=True)
class Withheld:
    """What was left out of a table, or was not although its licence says so (`is_included`)."""

    source: str
    licence: str
    what: str
    n: int
    is_included: bool


@dataclass
class Table:
    """One table of a bundle: what it holds, the query of its rows in key order, and its files."""

    name: str
    description: str
    columns: list[Column]
    query: str
    n_rows: int
    withheld: list[Withheld]
    files: dict[str, str] = field(default_factory=dict)  # format -> path inside the bundle
    no_netcdf: str = ""  # why not

    @property
    def key(self) -> list[str]:
        """Names of the key's columns, in the order of the rows."""
        return [column.name for column in self.columns if column.is_key]


@dataclass(frozen=True)
class Bundle:
    """One export: its folder, tables and what the warehouse says of itself."""

    folder: Path
    study: Study
    study_file: Path
    version: str
    owner: str
    tables: list[Table]
    build: dict[str, Any]  # the row of meta_build
    settings: dict[str, str | None]  # meta_study
    products: list[dict[str, str]]  # dim_product
