"""The texts beside the data of a bundle: data package, dictionary, README, study file, checksums."""

from __future__ import annotations

import csv
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from skillhouse.bundle import Bundle, Table

SYNTHETIC = "SYNTHETIC: simulated numbers, made to show and test the method. They say nothing about real products."
#: DuckDB's type -> Table Schema's
_FIELD_TYPES = {
    "VARCHAR": "string",
    "INTEGER": "integer",
    "BIGINT": "integer",
    "FLOAT": "number",
    "DOUBLE": "number",
    "BOOLEAN": "boolean",
    "DATE": "date",
    "TIMESTAMP": "datetime",
}
#: column -> table whose one-column key it repeats
_FOREIGN = {"gridcell_id": "dim_gridcell", "station_id": "dim_station", "factor": "dim_factor"}
#: a station outside every study cell still names its cell; forests know columns of pure noise
_NOT_FOREIGN = {("dim_station", "gridcell_id"), ("fct_forest_null", "factor")}
_MEDIA_TYPES = {
    "parquet": "application/vnd.apache.parquet",
    "csv": "text/csv",
    "netcdf": "application/x-netcdf",
}


def describe_bundle(bundle: Bundle) -> None:
    """Write everything of a bundle that is not data; SHA256SUMS last.

    Args:
        bundle: the bundle; its tables' files are written.
    """
    folder = bundle.folder
    _write_dictionary(bundle)
    (folder / "study.yml").write_bytes(_study_file(bundle))
    (folder / "README.md").write_text(_readme(bundle))
    package = json.dumps(data_package(bundle), indent=2, ensure_ascii=False)
    (folder / "datapackage.json").write_text(package + "\n")
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    lines = [f"{_sha256(folder / name)}  {name}\n" for name in names]
    (folder / "SHA256SUMS").write_text("".join(lines))


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_dictionary(bundle: Bundle) -> None:
    with open(bundle.folder / "dictionary.csv", "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["table", "column", "type", "unit", "is_key", "description"])
        for table in bundle.tables:
            for c in table.columns:
                row = [table.name, c.name, c.type.lower(), c.unit or "", str(c.is_key).lower()]
                writer.writerow([*row, c.description])


# -- sources


def sources(bundle: Bundle) -> list[dict[str, Any]]:
    """Every source of the study as the warehouse was built: key, title, citation, licence, redistribute."""
    found = []
    for key in bundle.settings:
        if not key.endswith(".source.path"):
            continue
        part = key.removesuffix(".source.path")
        setting = {
            name: bundle.settings.get(f"{part}.{path}") or ""
            for name, path in (
                ("title", "title"),
                ("citation", "source.citation"),
                ("licence", "source.licence"),
                ("obtain", "source.obtain"),
                ("redistribute", "source.redistribute"),
            )
        }
        name = part.split(".")[-1]
        found.append(
            setting
            | {
                "name": name,
                "title": setting["title"] or name.replace("_", " "),
                "redistribute": setting["redistribute"] != "False",
            }
        )
    return found


def citations(bundle: Bundle) -> list[str]:
    """Citations of the study's sources, each once."""
    return list(dict.fromkeys(s["citation"] for s in sources(bundle) if s["citation"]))


def _doi(text: str) -> str | None:
    found = re.search(r"doi:(10\.\S+?)[,;.)]?(?:\s|$)", text)
    return f"https://doi.org/{found[1]}" if found else None


# -- datapackage.json


def data_package(bundle: Bundle) -> dict[str, Any]:
    """The descriptor of a bundle (Data Package 1.0), one resource per file.

    Args:
        bundle: the bundle; its tables' files are written.
    """
    synthetic = f"{SYNTHETIC} " if bundle.build["is_synthetic"] else ""
    return {
        "profile": "data-package",
        "name": f"skillhouse-{bundle.study.study.replace('_', '-')}",
        "title": bundle.study.title,
        "description": f"{synthetic}Skill of soil-moisture products and its gain by assimilation, by cell.",
        "version": bundle.version,
        "created": f"{bundle.build['finished_at']:%Y-%m-%dT%H:%M:%SZ}",
        "licenses": [
            {
                "name": "other-of-the-sources",
                "title": "No licence of its own: the licences of the sources hold, see `sources`",
            }
        ],
        "sources": [_package_source(source) for source in sources(bundle)],
        "resources": [
            _resource(bundle, table, form) for table in bundle.tables for form in table.files
        ],
        "skillhouse": {
            name: bundle.build[name]
            for name in ("build_id", "study", "study_hash", "code_hash", "is_synthetic", "seed")
        },
    }


def _package_source(source: dict[str, Any]) -> dict[str, Any]:
    described = {key: source[key] for key in ("title", "citation", "licence", "obtain")}
    if path := _doi(source["citation"]) or _doi(source["obtain"]):
        described["path"] = path
    return described | {"redistribute": source["redistribute"]}


def _resource(bundle: Bundle, table: Table, form: str) -> dict[str, Any]:
    path = bundle.folder / table.files[form]
    resource = {
        "name": f"{table.name}-{form}",
        "path": table.files[form],
        "description": table.description,
        "format": form,
        "mediatype": _MEDIA_TYPES[form],
        "bytes": path.stat().st_size,
        "hash": f"sha256:{_sha256(path)}",
    }
    if form != "csv":  # `file`: checked by its hash, not parsed
        return resource | {"type": "file"}
    return resource | {
        "profile": "tabular-data-resource",
        "format": "csv",
        "compression": "gz",
        "encoding": "utf-8",
        "schema": _schema(bundle, table),
    }


def _schema(bundle: Bundle, table: Table) -> dict[str, Any]:
    schema: dict[str, Any] = {
        "fields": [
            {
                "name": c.name,
                "type": _FIELD_TYPES[c.type],
                "description": c.description,
                "unit": c.unit,
            }
            | ({"constraints": {"required": True}} if c.is_key else {})
            for c in table.columns
        ],
        "missingValues": [""],
        "primaryKey": table.key,
    }
    present = {other.name for other in bundle.tables}
    foreign = [
        {
            "fields": [c.name],
            "reference": {"resource": f"{_FOREIGN[c.name]}-csv", "fields": [c.name]},
        }
        for c in table.columns
        if _FOREIGN.get(c.name, table.name) in present - {table.name}
        and (table.name, c.name) not in _NOT_FOREIGN
    ]
    return schema | ({"foreignKeys": foreign} if foreign else {})


# -- study.yml


def _study_file(bundle: Bundle) -> bytes:
    """The study file when it still says what was built, else the settings that the warehouse recorded."""
    if bundle.study_file.is_file() and bundle.study.hash == bundle.build["study_hash"]:
        return bundle.study_file.read_bytes()
    head = (
        "# The settings as built, written from meta_study: the study file has changed since then.\n"
    )
    return (head + settings_as_yaml(bundle.settings)).encode()


def settings_as_yaml(settings: dict[str, str | None]) -> str:
    """The settings of meta_study as a study file.

    >>> print(settings_as_yaml({"seed": "7", "products.l4.version": "4", "region": None}), end="")
    products:
      l4:
        version: '4'
    seed: 7
    """
    nested: dict[str, Any] = {}
    for key, text in sorted(settings.items()):
        if text is None:
            continue
        place = nested
        *parents, name = key.split(".")
        for parent in parents:
            place = place.setdefault(parent, {})
        is_text = name in ("title", "version", "citation", "licence", "obtain", "path")
        place[name] = text if is_text else yaml.safe_load(text) if text else ""
    return yaml.safe_dump(nested, allow_unicode=True, width=100)


# -- README.md


def _readme(bundle: Bundle) -> str:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    tables = bundle.tables
    return environment.get_template("bundle_readme.md.jinja").render(
        bundle=bundle,
        build=bundle.build,
        synthetic=SYNTHETIC if bundle.build["is_synthetic"] else "",
        sources=sources(bundle),
        unstated="none, simulated"
        if bundle.build["is_synthetic"]
        else "none given in the study file",
        held=[(t, h) for t in tables for h in t.withheld if not h.is_included],
        passed=[(t, h) for t in tables for h in t.withheld if h.is_included],
        formats=[form for form in _MEDIA_TYPES if any(form in t.files for t in tables)],
        no_netcdf=[t for t in tables if t.no_netcdf and "gridcell_id" in t.key],
        candidate=next(p["product"] for p in bundle.products if p["role"] == "candidate"),
        series=_example(
            tables, "fct_daily_anomaly", "fct_skill_gain", "dim_gridcell", "meta_build"
        ),
    )


def _example(tables: list[Table], *wanted: str) -> Table:
    """The table that the README reads as an example."""
    named = {table.name: table for table in tables}
    return next(named[name] for name in wanted if name in named)
