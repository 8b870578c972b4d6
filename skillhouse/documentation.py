"""The data dictionary as a page, and dbt's own pages with the lineage of every model."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import yaml

from ingest.reader import PROJECT_ROOT
from ingest.study import Study, load_study
from skillhouse.dbt_run import BuildFailed
from skillhouse.dbt_vars import dbt_vars
from skillhouse.publish import stamped_tables

DICTIONARY = PROJECT_ROOT / "docs" / "data-dictionary.md"
SITE = PROJECT_ROOT / "docs" / "site"
_MODELS = PROJECT_ROOT / "models"
_PUBLIC = ("dim_", "fct_", "bridge_", "meta_")
_STEPS = {
    "soil_moisture": "Stations, cells, daily soil moisture",
    "skill": "Skill and skill gain",
    "factors": "Control factors",
    "attribution": "Attribution",
    "meta": "Provenance and ledger",
}
_HEAD = """\
# Data dictionary

Every public table of `warehouse.duckdb` with its columns. Written by `make docs` from the models' YAML in
`models/`: change it there. The published file carries the same: as the table `meta_column`, and as comments
that `describe` and `duckdb_columns()` show.

A column **in bold** belongs to the key: no two rows agree in all columns of the key. *Never null*, ranges and lists
are checked in every build, which publishes nothing when one fails. The unit `1` is a pure number, a count or
true/false; `per metric` and the like depend on the row.
"""


def write_docs(study_name: str, say: Callable[[str], None] = print) -> None:
    """Write the data dictionary, and dbt's pages for a study.

    Raises:
        BadInput: the study file is not valid.
        BuildFailed: dbt could not read the models.
    """
    study = load_study(study_name)
    write_data_dictionary(DICTIONARY)
    say(f"data dictionary: {os.path.relpath(DICTIONARY)}")
    page = write_site(study, SITE)
    say(f"models and their lineage: {os.path.relpath(page)} (open it in a browser)")


# -- data dictionary


def public_models(models: Path = _MODELS) -> Iterator[tuple[str, dict[str, Any]]]:
    """(step, model) of every public model as the YAML files describe it, `doc()` filled in."""
    texts = _doc_blocks(models)
    for path in sorted(models.rglob("*.yml")):
        listed = yaml.safe_load(path.read_text()) or {}
        for model in listed.get("models", []):
            if model["name"].startswith(_PUBLIC):
                yield path.parent.name, _filled(model, texts)


def _doc_blocks(models: Path) -> dict[str, str]:
    pattern = re.compile(r"{% docs (\w+) %}\n(.*?)\n{% enddocs %}", re.DOTALL)
    return {
        name: text
        for path in sorted(models.rglob("*.md"))
        for name, text in pattern.findall(path.read_text())
    }


def _filled(item: Any, texts: dict[str, str]) -> Any:
    if isinstance(item, dict):
        return {key: _filled(value, texts) for key, value in item.items()}
    if isinstance(item, list):
        return [_filled(value, texts) for value in item]
    if isinstance(item, str):
        return re.sub(r"{{ *doc\('(\w+)'\) *}}", lambda found: texts[found[1]], item)
    return item


def data_dictionary() -> str:
    """The page: one chapter per step of the science, one section per public table."""
    by_step: dict[str, list[dict[str, Any]]] = {step: [] for step in _STEPS}
    by_step["meta"] += stamped_tables()
    for step, model in public_models():
        by_step[step].append(model)
    contents, chapters = [], []
    for step, title in _STEPS.items():
        models = sorted(by_step[step], key=lambda model: model["name"])
        links = " · ".join(f"[{model['name']}](#{model['name']})" for model in models)
        contents.append(_wrapped(f"**{title}**: {links}") + "\n")
        chapters += [f"## {title}\n", *(_section(model) for model in models)]
    return "\n".join([_HEAD, *contents, *chapters])


def _wrapped(text: str) -> str:
    return textwrap.fill(text.strip(), 110, break_on_hyphens=False, break_long_words=False)


def _section(model: dict[str, Any]) -> str:
    meta = model["config"]["meta"]
    lines = [f"### {model['name']}", "", _wrapped(model["description"])]
    if meta.get("may_be_empty"):
        lines += ["", "May be empty."]
    lines += ["", "| column | type | unit | meaning |", "|---|---|---|---|"]
    for column in model["columns"]:
        name = f"`{column['name']}`"
        name = f"**{name}**" if column["name"] in meta["key"] else name
        unit = column["config"]["meta"]["unit"]
        meaning = " ".join([_one_line(column["description"]), *_rules(column)])
        lines.append(f"| {name} | {column['data_type']} | {unit} | {meaning} |")
    return "\n".join(lines) + "\n"


def _one_line(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _rules(column: dict[str, Any]) -> Iterator[str]:
    """What the tests of a column promise, in words."""
    for test in column.get("data_tests", []):
        name, arguments = (test, {}) if isinstance(test, str) else _named(test)
        if name == "not_null":
            yield "*Never null.*"
        elif name == "in_range":
            yield f"*{arguments['lower']:g} to {arguments['upper']:g}.*"
        elif name == "accepted_values":
            yield "*One of " + ", ".join(f"`{value}`" for value in arguments["values"]) + ".*"
        elif name == "relationships":
            (there,) = re.findall(r"ref\('(\w+)'\)", arguments["to"])
            yield f"*In [{there}](#{there}).*"


def _named(test: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    ((name, content),) = test.items()
    return name, content.get("arguments", {})


def write_data_dictionary(path: Path) -> None:
    """Write the page that the models' YAML gives."""
    path.write_text(data_dictionary())


# -- dbt's pages


def write_site(study: Study, out: Path) -> Path:
    """Write dbt's documentation of a study's models as one page that opens from disk; returns it.

    It needs no build and no network. Types come from empty tables made by the models' contracts.

    Raises:
        BuildFailed: dbt could not read the models.
    """
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".tmp-", dir=out) as folder:
        with duckdb.connect(f"{folder}/warehouse.duckdb") as connection:
            for _, model in public_models():
                columns = ", ".join(f'"{c["name"]}" {c["data_type"]}' for c in model["columns"])
                connection.execute(f"create table {model['name']} ({columns})")
        command = [sys.executable, "-m", "dbt.cli.main", "--no-use-colors"]
        command += ["docs", "generate", "--static", "--vars"]
        command += [json.dumps(dbt_vars(study, Path("lake")) | {"reuse": "reuse"})]
        command += ["--target-path", f"{folder}/target", "--log-path", f"{folder}/logs"]
        done = subprocess.run(
            command,
            cwd=PROJECT_ROOT,
            env=os.environ | {"SKILLHOUSE_BUILD": folder, "DO_NOT_TRACK": "1"},
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise BuildFailed("dbt docs failed:\n" + "\n".join(done.stdout.splitlines()[-30:]))
        made = Path(folder, "target", "static_index.html").read_text()
    page = out / "index.html"
    page.write_text(made.replace(f"{Path(folder).resolve()}/", ""))  # dbt makes paths absolute
    return page
