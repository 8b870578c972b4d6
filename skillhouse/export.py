"""`export`: a folder for a collaborator who never sees the code, whole or not at all."""

from __future__ import annotations

import difflib
import fcntl
import json
import os
import re
import shutil
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import yaml

from ingest.reader import PROJECT_ROOT, STATE_ROOT, BadInput
from ingest.study import Study, study_path
from skillhouse.bundle import Bundle, Column, Table, Withheld
from skillhouse.bundle_description import describe_bundle
from skillhouse.licence_guard import restricted_sources, restrictions
from skillhouse.netcdf_export import fits_netcdf, write_netcdf
from skillhouse.publish import open_published, stamped_tables

FORMATS = ("parquet", "csv", "netcdf")
_SUFFIX = {"parquet": "parquet", "csv": "csv.gz", "netcdf": "nc"}
_VERSION = re.compile(r"20\d\d\.(1[0-2]|[1-9])\.(0|[1-9]\d*)")
#: exact in CSV, and what R, pandas and polars read as a time
_INSTANT = "%Y-%m-%dT%H:%M:%S.%fZ"


def project_version() -> str:
    """Version of this project, as YYYY.M.n."""
    return tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text())["project"]["version"]


def export(
    study: Study,
    warehouse: Path,
    *,
    tables: list[str] | None,
    formats: list[str],
    version: str,
    study_file: Path | None = None,
    out: Path | None = None,
    say: Callable[[str], None] = print,
) -> Path:
    """Write a study's bundle; returns its folder, `<study>-<version>`.

    Args:
        study: the study.
        warehouse: its published warehouse.
        tables: public tables to export, named by the user, who then gets also what a licence holds back;
            None: those of the exposure `collaborator_bundle`, guarded.
        formats: any of FORMATS.
        version: YYYY.M.n, part of the folder's name, empty for the project's own; a bundle of the same
            name is replaced whole.
        study_file: copied when it still is what the warehouse was built from; None: the one in `studies/`.
        out: folder of the bundles; None: `export/`.
        say: where progress goes.

    Raises:
        BadInput: no warehouse or a damaged one, another export is running, or a table, format or
            version does not exist.
    """
    clock = time.monotonic()
    version = version or project_version()
    formats = list(dict.fromkeys(formats))
    _check_choices(tables, formats, version)
    target = (out or STATE_ROOT / "export") / f"{study.study}-{version}"
    aside = target.with_name(f".{target.name}.part")
    with open_published(warehouse, study.study) as connection:
        chosen = _tables(connection, study, tables)
        bundle = Bundle(
            folder=aside,
            study=study,
            study_file=study_file or study_path(study.study),
            version=version,
            owner=_exposure()["owner"]["name"],
            tables=chosen,
            build=_rows(connection, "from meta_build")[0],
            settings={row["key"]: row["value"] for row in _rows(connection, "from meta_study")},
            products=_rows(connection, "from dim_product order by product, quantity"),
        )
        with _only_one(target.parent):
            _clear_leftovers(target.parent)
            say(f"exporting {len(chosen)} tables of study {study.study}, version {version}")
            try:
                for name in formats:
                    (aside / name).mkdir(parents=True)
                for table in chosen:
                    _write(connection, bundle, table, formats, say)
                describe_bundle(bundle)
                _replace(aside, target)
            finally:
                shutil.rmtree(aside, ignore_errors=True)
    for line in _summary(bundle, target, time.monotonic() - clock):
        say(line)
    return target


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """Hold the folder of the bundles; the system lets go with the process, however that ends."""
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BadInput(
                "another export writes here", file=folder, remedy="wait for it to end, or stop it"
            ) from None
        yield
    finally:
        os.close(handle)


def _clear_leftovers(folder: Path) -> None:
    """What exports that were killed have left: half bundles go, a bundle half replaced comes back."""
    for half in folder.glob(".*.part"):
        shutil.rmtree(half)
    for old in folder.glob(".*.old"):
        bundle = old.with_name(old.name.removeprefix(".").removesuffix(".old"))
        if bundle.exists():
            shutil.rmtree(old)
        else:
            old.rename(bundle)


def _check_choices(tables: list[str] | None, formats: list[str], version: str) -> None:
    if tables == []:
        raise BadInput("no table", key="TABLES", remedy="name tables, or leave TABLES out for all")
    for name in formats:
        if name not in FORMATS:
            raise BadInput(
                f"unknown format {name!r}",
                key="FORMAT",
                remedy=f"any of {', '.join(FORMATS)}, comma-separated",
            )
    if not formats:
        raise BadInput("no format", key="FORMAT", remedy=f"any of {', '.join(FORMATS)}")
    if not _VERSION.fullmatch(version):
        raise BadInput(
            f"found {version!r}",
            key="VERSION",
            remedy="give year.month.number, such as 2026.11.0",
        )


def _rows(connection: duckdb.DuckDBPyConnection, query: str) -> list[dict[str, Any]]:
    return connection.sql(query).pl().to_dicts()


def _exposure() -> dict[str, Any]:
    """The exposure that names the tables of a bundle."""
    content = yaml.safe_load((PROJECT_ROOT / "models" / "exposures.yml").read_text())
    return next(e for e in content["exposures"] if e["name"] == "collaborator_bundle")


def exposed_tables() -> list[str]:
    """Names of the tables that the exposure `collaborator_bundle` depends on."""
    return [re.fullmatch(r"ref\('(\w+)'\)", text)[1] for text in _exposure()["depends_on"]]


def _tables(
    connection: duckdb.DuckDBPyConnection, study: Study, named: list[str] | None
) -> list[Table]:
    """The chosen tables, `meta_build` always among them."""
    exposed = [*exposed_tables(), "meta_build"]
    public = sorted({*exposed, *(table["name"] for table in stamped_tables())})
    for name in named or ():
        if name not in public:
            near = difflib.get_close_matches(name.lower(), public, n=3)
            raise BadInput(
                f"no public table {name!r}",
                key="TABLES",
                remedy=f"the nearest: {', '.join(near)}" if near else f"any of {', '.join(public)}",
            )
    comments = dict(
        connection.execute("select table_name, comment from duckdb_tables()").fetchall()
    )
    wanted = sorted({*(named or exposed), "meta_build"})
    if missing := [name for name in wanted if name not in comments]:
        raise BadInput(
            f"the warehouse lacks {', '.join(missing)}: another version of the code made it",
            remedy=f"run make build STUDY={study.study}",
        )
    sources = restricted_sources(connection, study)
    guards = restrictions(connection, sources)
    chosen = []
    for name in wanted:
        own = [guard for guard in guards if guard.table == name]
        columns = _columns(connection, name)
        withheld = [
            Withheld(
                source=guard.source,
                licence=sources[guard.source],
                what=guard.what,
                n=connection.execute(f"select count(*) from {name} where {guard.rows}").fetchone()[
                    0
                ],
                is_included=named is not None,
            )
            for guard in own
        ]
        active = [] if named is not None else own
        blank = {guard.column for guard in active if guard.column}
        dropped = [guard.rows for guard in active if not guard.column]
        listed = ", ".join(
            f'null::{c.type} as "{c.name}"' if c.name in blank else f'"{c.name}"' for c in columns
        )
        query = f"select {listed} from {name}"
        if dropped:
            query += f" where not ({' or '.join(dropped)})"
        keys = ", ".join(f'"{c.name}"' for c in columns if c.is_key)
        chosen.append(
            Table(
                name=name,
                description=_one_line(comments[name]),
                columns=columns,
                query=f"{query} order by {keys}",
                n_rows=connection.execute(f"select count(*) from ({query})").fetchone()[0],
                withheld=[w for w in withheld if w.n],
            )
        )
    return chosen


def _columns(connection: duckdb.DuckDBPyConnection, table: str) -> list[Column]:
    return [
        Column(**row | {"description": _one_line(row["description"])})
        for row in _rows(
            connection,
            "select stored.column_name as name, stored.data_type as type, described.unit,"
            " described.description, described.is_key"
            " from duckdb_columns() as stored"
            " inner join meta_column as described using (table_name, column_name)"
            f" where stored.table_name = '{table}' order by stored.column_index",
        )
    ]


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _write(
    connection: duckdb.DuckDBPyConnection,
    bundle: Bundle,
    table: Table,
    formats: list[str],
    say: Callable[[str], None],
) -> None:
    clock = time.monotonic()
    if "netcdf" in formats:
        table.no_netcdf = fits_netcdf(table)
    sizes = []
    for name in formats:
        if name == "netcdf" and table.no_netcdf:
            continue
        inside = f"{name}/{table.name}.{_SUFFIX[name]}"
        path = bundle.folder / inside
        if name == "parquet":
            _write_parquet(connection, bundle, table, path)
        elif name == "csv":
            _write_csv(connection, table, path)
        else:
            write_netcdf(connection, bundle, table, path)
        table.files[name] = inside
        sizes.append(f"{name} {path.stat().st_size / 1e6:,.2f} MB")
    say(
        f"  {table.name}: {table.n_rows:,} rows, {', '.join(sizes) or 'no file'}"
        f" ({time.monotonic() - clock:.1f} s)"
    )
    for held in table.withheld:
        if held.is_included:
            print(
                f"WARNING: {table.name} holds {held.n:,} {held.what} that may not be passed on"
                f" ({held.source}: {held.licence or 'redistribute: false'})",
                file=sys.stderr,
            )
        else:
            say(f"    left out: {held.n:,} {held.what} ({held.licence or 'redistribute: false'})")


def _write_parquet(
    connection: duckdb.DuckDBPyConnection, bundle: Bundle, table: Table, path: Path
) -> None:
    """Units and descriptions travel in the file's key-value metadata, as JSON by column."""
    columns = {c.name: {"unit": c.unit, "description": c.description} for c in table.columns}
    metadata = {
        "table": table.name,
        "description": table.description,
        "columns": json.dumps(columns, ensure_ascii=False),
        "study": bundle.study.study,
        "is_synthetic": str(bundle.build["is_synthetic"]).lower(),
        "build_id": bundle.build["build_id"],
        "version": bundle.version,
    }
    pairs = ", ".join(f'"{key}": {_quoted(value)}' for key, value in metadata.items())
    connection.execute(
        f"copy ({table.query}) to {_quoted(path)}"
        f" (format parquet, compression zstd, kv_metadata {{{pairs}}})"
    )


def _write_csv(connection: duckdb.DuckDBPyConnection, table: Table, path: Path) -> None:
    """Gzip as DuckDB writes it has no modification time, so the same rows are the same bytes."""
    connection.execute(
        f"copy ({table.query}) to {_quoted(path)}"
        f" (format csv, header, compression gzip, nullstr '', timestampformat '{_INSTANT}')"
    )


def _quoted(value: str | Path) -> str:
    return "'" + str(value).replace("'", "''") + "'"


def _replace(aside: Path, target: Path) -> None:
    """Put a finished bundle in place; what stood there goes only then."""
    old = target.with_name(f".{target.name}.old")
    if target.exists():
        target.rename(old)
    aside.rename(target)
    shutil.rmtree(old, ignore_errors=True)


def _summary(bundle: Bundle, target: Path, seconds: float) -> list[str]:
    files = [path for path in target.rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files) / 1e6
    rows = sum(table.n_rows for table in bundle.tables)
    lines = [
        f"Exported {len(bundle.tables)} tables, {rows:,} rows, {len(files)} files, {size:,.1f} MB"
        f" after {seconds:.0f} s: {target}"
    ]
    if left := sum(h.n for table in bundle.tables for h in table.withheld if not h.is_included):
        lines.append(
            f"left out for their licence: {left:,} rows or values (see the bundle's README)"
        )
    if bundle.build["is_synthetic"]:
        lines.append("These numbers are SYNTHETIC and say nothing about the real products.")
    return [*lines, f"Next: read {target / 'README.md'}"]
