"""From a built database to the published warehouse: verify, describe, stamp, replace."""

from __future__ import annotations

import datetime as dt
import json
import os
import platform
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import yaml

from ingest.reader import STATE_ROOT, BadInput
from ingest.study import Study
from skillhouse.dbt_run import BuildFailed
from skillhouse.provenance import code_hash, git_commit, input_hash, package_versions
from skillhouse.table_macros import install_macros

_STAMPED = Path(__file__).with_name("stamped_tables.yml")


def stamped_tables() -> list[dict[str, Any]]:
    """`meta_build` and `meta_column`, which no model makes, described as models are."""
    return yaml.safe_load(_STAMPED.read_text())


def warehouse_path(study: Study) -> Path:
    """Where a study's warehouse is published."""
    if study.study == "twin":
        return STATE_ROOT / "warehouse.duckdb"
    return study.folder / "warehouse.duckdb"


def open_published(path: Path, study_name: str) -> duckdb.DuckDBPyConnection:
    """A published warehouse, open for reading.

    Raises:
        BadInput: there is none, or the file is not one.
    """
    remedy = f"run make build STUDY={study_name}"
    if not path.exists():
        raise BadInput("no warehouse yet", file=path, remedy=remedy)
    try:
        connection = duckdb.connect(str(path), read_only=True)
        connection.execute("from meta_column limit 0")
        return connection
    except duckdb.Error as error:
        first = str(error).splitlines()[0]
        raise BadInput(f"not a warehouse ({first})", file=path, remedy=remedy) from error


def verify(build: Path) -> dict[str, int]:
    """Check the built database before it is published; returns rows per public table.

    Raises:
        BuildFailed: a public model is missing, not a table, or empty although it may not be.
    """
    public = _public_models(build)
    problems, rows = [], {}
    with duckdb.connect(str(build / "warehouse.duckdb"), read_only=True) as connection:
        kinds = dict(
            connection.execute(
                "select table_name, table_type from information_schema.tables"
                " where table_catalog = 'warehouse'"
            ).fetchall()
        )
        for name, kind in kinds.items():
            if name not in public:
                problems.append(f"{name} is not a public model, yet stands in the warehouse")
            elif kind != "BASE TABLE":
                problems.append(f"{name} is a {kind}; only tables may be published")
        for name, node in public.items():
            if name not in kinds:
                problems.append(f"public model {name} was not built")
                continue
            rows[name] = connection.execute(f'select count(*) from "{name}"').fetchone()[0]
            if not rows[name] and not node["config"]["meta"].get("may_be_empty"):
                problems.append(f"{name} is empty")
    if problems:
        raise BuildFailed("not published:\n  " + "\n  ".join(problems))
    return rows


def _public_models(build: Path) -> dict[str, dict[str, Any]]:
    manifest = json.loads((build / "target" / "manifest.json").read_text())
    models = [n for n in manifest["nodes"].values() if n["resource_type"] == "model"]
    return {n["name"]: n for n in models if n["database"] != "scratch"}


def stamp(build: Path, study: Study, identity: str, started: dt.datetime) -> None:
    """Write `meta_build` (what made this file), `meta_column` (the data dictionary) and the macros."""
    row = {
        "build_id": identity,
        "study": study.study,
        "study_hash": study.hash,
        "input_hash": input_hash(study),
        "code_hash": code_hash(),
        "git_commit": git_commit(),
        "is_synthetic": study.synthetic,
        "seed": study.seed,
        "started_at": started.replace(tzinfo=None),
        "finished_at": dt.datetime.now(dt.UTC).replace(tzinfo=None),
        "python_version": platform.python_version(),
        "package_versions": json.dumps(package_versions()),
        "platform": f"{platform.system()} {platform.machine()}",
    }
    frames = {"meta_build": pl.DataFrame([row]), "meta_column": _data_dictionary(build)}
    with duckdb.connect(str(build / "warehouse.duckdb")) as connection:
        for table in stamped_tables():
            _write_stamped(connection, table, frames[table["name"]])
        install_macros(connection)


def _write_stamped(
    connection: duckdb.DuckDBPyConnection, table: dict[str, Any], rows: pl.DataFrame
) -> None:
    """Create a table as described, with its comments, and fill it."""
    types = ", ".join(f"{column['name']} {column['data_type']}" for column in table["columns"])
    connection.execute(f"create or replace table {table['name']} ({types})")
    connection.register("stamped", rows.to_arrow())
    connection.execute(f"insert into {table['name']} by name from stamped")
    connection.unregister("stamped")
    comments = {f"table {table['name']}": table["description"]}
    comments |= {f"column {table['name']}.{c['name']}": c["description"] for c in table["columns"]}
    for item, text in comments.items():
        connection.execute(f"""comment on {item} is '{text.replace("'", "''")}'""")


def _data_dictionary(build: Path) -> pl.DataFrame:
    models = [*(node for _, node in sorted(_public_models(build).items())), *stamped_tables()]
    return pl.DataFrame(
        [
            {
                "table_name": model["name"],
                "column_name": column["name"],
                "column_type": column["data_type"],
                "unit": column["config"]["meta"].get("unit"),
                "is_key": column["name"] in model["config"]["meta"]["key"],
                "position": position,
                "description": column["description"],
            }
            for model in models
            for position, column in enumerate(_columns(model), start=1)
        ]
    )


def _columns(model: dict[str, Any]) -> list[dict[str, Any]]:
    """dbt's manifest keeps a model's columns by name, its YAML as a list."""
    columns = model["columns"]
    return list(columns.values()) if isinstance(columns, dict) else columns


def publish(build: Path, study: Study, identity: str) -> Path:
    """Replace the published warehouse in one rename; readers keep the one they opened."""
    target = warehouse_path(study)
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(build / "warehouse.duckdb", target)
    note = _note(study)
    note.parent.mkdir(parents=True, exist_ok=True)
    temporary = note.with_name(f".tmp-{note.name}")
    temporary.write_text(json.dumps(_as_published(target, identity)))
    os.replace(temporary, note)
    return target


def is_published(study: Study, identity: str) -> bool:
    """Whether the published file is the one that a build of this identity made, untouched since."""
    target, note = warehouse_path(study), _note(study)
    if not (target.exists() and note.exists()):
        return False
    try:
        return json.loads(note.read_text()) == _as_published(target, identity)
    except ValueError:  # the note is damaged
        return False


def _note(study: Study) -> Path:
    return study.folder / "reuse" / "published.json"


def _as_published(target: Path, identity: str) -> dict[str, Any]:
    stat = target.stat()
    return {"build_id": identity, "size_bytes": stat.st_size, "modified_ns": stat.st_mtime_ns}
