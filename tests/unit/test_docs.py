"""What the pages name exists: links, commands, keys, reasons, tests, tables; the recipe works."""

from __future__ import annotations

import ast
import re
import tomllib
import typing
from collections.abc import Iterator
from datetime import date, timedelta
from functools import cache
from pathlib import Path
from types import UnionType

import numpy as np
import polars as pl
import pytest
import yaml
from pydantic import BaseModel

from analysis.group_tests import EXCLUSION_RULES
from analysis.skill import skill_gain
from ingest.reader import PROJECT_ROOT, SourceSettings
from ingest.study import Study
from skillhouse.sensitivity import SWITCHES

PAGES = [
    PROJECT_ROOT / "README.md",
    PROJECT_ROOT / "CHANGELOG.md",
    PROJECT_ROOT / "CONTRIBUTING.md",
    *sorted((PROJECT_ROOT / "docs").rglob("*.md")),
]
_page = pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(PROJECT_ROOT)))


def sql_blocks(page: Path) -> list[tuple[str, str, bool]]:
    """(heading, query, whether rows are expected) of every ```sql block of a page."""
    found, heading, may_be_empty = [], "", False
    pattern = (
        r"^#+ (?P<heading>[^\n]+)$|(?P<empty><!-- may be empty -->)|^```sql\n(?P<query>.*?)^```"
    )
    for match in re.finditer(pattern, page.read_text(), re.MULTILINE | re.DOTALL):
        if match["heading"]:
            heading, may_be_empty = match["heading"], False
        elif match["empty"]:
            may_be_empty = True
        else:
            found.append((heading, match["query"], not may_be_empty))
            may_be_empty = False
    return found


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", without_code(page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


@_page
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", without_code(page.read_text())):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{page.name}: {target}"
        if anchor:
            assert anchor in anchors(there), f"{page.name}: no heading for {target}"


@_page
def test_make_targets_exist(page):
    known = set(re.findall(r"^([a-z-]+):", (PROJECT_ROOT / "Makefile").read_text(), re.MULTILINE))
    code = re.findall(r"```sh\n(.*?)```|`([^`\n]+)`", page.read_text(), re.DOTALL)
    named = re.findall(r"\bmake ([a-z-]+)", "\n".join(block or span for block, span in code))
    assert set(named) <= known
    if page.parent == PROJECT_ROOT and page.name == "README.md":
        assert known <= {*named, "help"}, "a target that the README does not name"


def test_every_decision_is_listed():
    folder = PROJECT_ROOT / "docs" / "adr"
    listed = re.findall(r"\((\d{4}-[^)]+\.md)\)", (folder / "README.md").read_text())
    assert listed == sorted(p.name for p in folder.glob("0*.md"))


@_page
def test_named_tests_exist(page):
    written = {
        name
        for path in (PROJECT_ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^ *def (test_\w+)", path.read_text(), re.MULTILINE)
    }
    assert set(re.findall(r"`(test_\w+)`", page.read_text())) <= written


@_page
def test_named_tables_exist(page):
    built = {path.stem for path in (PROJECT_ROOT / "models").rglob("*.sql")}
    built |= {"meta_build", "meta_column"}
    queries = "\n".join(query for _, query, _ in sql_blocks(page))
    text = "\n".join(re.findall(r"`([^`\n]+)`", page.read_text())) + queries
    assert set(re.findall(r"\b(?:dim|fct|bridge|meta)_[a-z_]*[a-z]\b", text)) <= built


# -- the study file


def models_of(annotation) -> Iterator[type[BaseModel]]:
    """Every model that a type can hold."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
        for field in annotation.model_fields.values():
            yield from models_of(field.annotation)
    elif isinstance(annotation, UnionType) or typing.get_origin(annotation) is not None:
        for part in typing.get_args(annotation):
            yield from models_of(part)


@cache
def study_models() -> dict[str, type[BaseModel]]:
    return {"SourceSettings": SourceSettings} | {m.__name__: m for m in models_of(Study)}


def own_fields(model: type[BaseModel]) -> dict:
    """A model's fields; those that every source has are explained once, and `path` per model."""
    shared = SourceSettings.model_fields if issubclass(model, SourceSettings) else {}
    if model is SourceSettings:
        shared = {}
    return {name: field for name, field in model.model_fields.items() if name not in shared}


def shown(field) -> str | None:
    """A default as the page writes it; None where the page may say more."""
    if field.is_required():
        return "required"
    default = field.get_default(call_default_factory=True)
    if default is None:
        return "none"
    if isinstance(default, BaseModel | dict):
        return None
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, float):
        return f"{default:g}"
    if isinstance(default, tuple | list):
        return "[" + ", ".join(f"{v:g}" if isinstance(v, float) else str(v) for v in default) + "]"
    return str(default) or "empty"


def key_tables() -> dict[str, dict[str, str]]:
    """Model -> key -> default, as docs/study-file.md has them."""
    text = (PROJECT_ROOT / "docs" / "study-file.md").read_text()
    tables = {}
    for name, table in re.findall(r"<!-- keys: (\w+) -->\n\n((?:\|.*\n)+)", text):
        head, _, *rows = [[c.strip() for c in line.split("|")[1:-1]] for line in table.splitlines()]
        place = head.index("default")
        assert name not in tables, f"{name} is explained twice"
        tables[name] = {row[0].strip("`"): row[place] for row in rows}
    return tables


def test_every_model_of_the_study_has_a_table():
    assert set(key_tables()) == set(study_models())


@pytest.mark.parametrize("name", sorted(study_models()))
def test_every_key_of_the_study_is_explained(name):
    explained, fields = key_tables()[name], own_fields(study_models()[name])
    assert set(explained) == set(fields)
    wrong = {
        key: (explained[key], shown(field))
        for key, field in fields.items()
        if shown(field) not in (None, explained[key])
    }
    assert not wrong, "key: (default on the page, default in the code)"


def recipes() -> list[dict]:
    """Blocks of settings on the page that are whole (without …)."""
    text = (PROJECT_ROOT / "docs" / "study-file.md").read_text()
    blocks = re.findall(r"^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [yaml.safe_load(block) for block in blocks if "{…" not in block]


@pytest.mark.parametrize("recipe", recipes(), ids=lambda r: "+".join(r))
def test_recipes_are_valid_in_the_published_study(recipe):
    content = yaml.safe_load((PROJECT_ROOT / "studies" / "china.yml").read_text())
    given = {r["quantity"] for r in recipe.get("references", {}).values()}
    content["references"] = {
        name: reference
        for name, reference in content["references"].items()
        if reference["quantity"] not in given
    }
    for key, entries in recipe.items():
        content[key] |= entries
    study = Study.model_validate(content)
    for key, entries in recipe.items():
        assert set(entries) <= set(getattr(study, key))


def test_there_are_recipes():
    assert len(recipes()) >= 2


# -- formats


def reasons_in(source: str) -> set[str]:
    """Short codes that a reader gives: `reason=` and `status=` words, and entries of REASONS."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.keyword | ast.arg) and node.arg in ("reason", "status"):
            values = ast.walk(node.value) if isinstance(node, ast.keyword) else ()
            found |= {v.value for v in values if isinstance(v, ast.Constant)}
        elif isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "REASONS":
            found |= {v.value for v in ast.walk(node.value) if isinstance(v, ast.Constant)}
    return {r for r in found if isinstance(r, str) and re.fullmatch(r"[a-z]+(_[a-z]+)*", r)}


def test_every_reason_is_explained():
    page = set(re.findall(r"`([a-z_]+)`", (PROJECT_ROOT / "docs" / "formats.md").read_text()))
    given = set().union(
        *(
            reasons_in(path.read_text())
            for folder in ("ingest", "ingest/sources", "skillhouse")
            for path in (PROJECT_ROOT / folder).glob("*.py")
        )
    )
    assert {"damaged_file", "unit_mismatch", "superseded", "duplicate_conflict"} <= given
    assert sorted(given - page) == []


def test_every_format_has_a_chapter():
    formats = {
        typing.get_args(model.model_fields["format"].annotation)[0]
        for model in study_models().values()
        if "format" in model.model_fields and issubclass(model, SourceSettings)
    }
    chapters = "\n".join(
        re.findall(r"^## (.+)$", (PROJECT_ROOT / "docs/formats.md").read_text(), re.MULTILINE)
    )
    assert {f for f in formats if f not in chapters} == set()


def test_every_status_of_skill_is_explained():
    """Statuses come from SQL words and from the statistics' own."""
    page = (PROJECT_ROOT / "docs" / "statistics.md").read_text()
    sql = "".join(
        (PROJECT_ROOT / "models" / "skill" / f"{name}.sql").read_text()
        for name in ("int_availability", "fct_skill", "fct_skill_gain")
    )
    words = set(re.findall(r"(?:then|else) '([a-z_]+[a-z])'", sql)) - {"rzsm"}
    assert words >= {"no_insitu", "no_common_days"}
    for word in words | {"too_few_days", "zero_variance", "too_few_blocks"}:
        assert f"`{word}`" in page


def chapters(page: str) -> list[tuple[str, str]]:
    text = (PROJECT_ROOT / "docs" / page).read_text()
    return re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(
    ("title", "card"), chapters("statistics.md"), ids=lambda text: text.split("\n")[0]
)
def test_every_statistic_has_a_whole_card(title, card):
    """All six parts of a card; `test_named_tests_exist` looks the tests up."""
    assert re.search(r"^- Tests: `test_\w+`", card, re.MULTILINE)
    if title == "Common days and statuses":  # a rule, no statistic
        return
    assert re.search(r"^ {4}\S|=|mean\(|`median_r` is", card, re.MULTILINE), "formula"
    for part in ("Assumption", "Edge cases", "Peers"):
        assert re.search(rf"^- {part}: ", card, re.MULTILINE), part
    (source,) = re.findall(r"^- Sources?: ((?:.|\n )+)", card, re.MULTILINE)
    assert "doi:10." in source or "this project" in source


@pytest.mark.parametrize(
    ("title", "card"), chapters("factors.md"), ids=lambda text: text.split("\n")[0]
)
def test_every_factor_has_a_whole_card(title, card):
    if title not in {factor for factor, *_ in factor_rows()}:
        return
    parts = set(re.findall(r"^- \*\*(\w+)", card, re.MULTILINE))
    assert {"Data", "Known", "Assumption", "Edge", "Peers", "Tests"} <= parts
    assert re.search(r"^ {4}\S.* = ", card, re.MULTILINE), "formula"
    assert re.search(r"^- \*\*Sources?\.\*\* (?:.|\n )*doi:10\.", card, re.MULTILINE)


@pytest.mark.parametrize(
    ("title", "card"), chapters("attribution.md"), ids=lambda text: text.split("\n")[0]
)
def test_every_method_of_the_attribution_has_a_whole_card(title, card):
    methods = {"Importance", "Cross-validation", "Effects", "Groups of cells"}
    methods |= {"Tests between groups", "Null and noise", "Sensitivity", "Variants and robustness"}
    assert methods <= {title for title, _ in chapters("attribution.md")}
    if title in methods:
        parts = set(re.findall(r"^- \*\*(\w+)", card, re.MULTILINE))
        assert {"Assumption", "Edge", "Peers"} <= parts
        assert re.search(r"^- \*\*Tests\.\*\* `test_\w+`", card, re.MULTILINE)
        assert re.search(r"^- \*\*Sources?\.\*\* (?:.|\n )*doi:10\.", card, re.MULTILINE)
        is_table = title in (
            "Null and noise",
            "Tests between groups",
        )  # says what is done in a table
        assert is_table or "Formula" in parts or re.search(r"^ {4}\S|n_eff = ", card, re.MULTILINE)


# -- factors


def factor_rows() -> list[tuple[str, str, str, str]]:
    """(factor, category, unit, larger means) of every row of dim_factor."""
    sql = (PROJECT_ROOT / "models" / "factors" / "dim_factor.sql").read_text()
    return re.findall(r"\(\s*'(\w+)', '(\w+)', '([^']+)', '([^']+)',", sql)


def test_every_factor_has_a_card_and_the_overview_is_that_of_the_warehouse():
    page = (PROJECT_ROOT / "docs" / "factors.md").read_text()
    cards = re.findall(r"^## (\w+)$", page, re.MULTILINE)
    rows = factor_rows()
    assert len(rows) == 8
    assert [c for c in cards if "_" in c] == [factor for factor, *_ in rows]
    for factor, category, unit, larger in rows:
        (line,) = re.findall(rf"^\| `{factor}` \| {category} \| {unit} \| (.*?) \|", page, re.M)
        assert line.removeprefix("a ") == larger


def test_every_status_of_a_factor_is_explained():
    page = (PROJECT_ROOT / "docs" / "factors.md").read_text()
    (table,) = re.findall(r"^\| status \| factors \|.*\n((?:\|.*\n)+)", page, re.MULTILINE)
    explained = set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE))
    sql = [
        *(PROJECT_ROOT / "macros").glob("factors.sql"),
        PROJECT_ROOT / "models" / "factors" / "int_factor.sql",
        PROJECT_ROOT / "models" / "factors" / "fct_instrumental_variables.sql",
    ]
    given = set()
    for path in sql:
        text = re.sub(r"\{\{.*?\}\}", "", path.read_text(), flags=re.DOTALL)
        given |= set(re.findall(r"(?:then|else) '([a-z_]+[a-z])'", text))
        given |= set(re.findall(r"'([a-z_]+[a-z])' as status", text))
        given |= set(re.findall(r"status, '([a-z_]+[a-z])'\)", text))
    python = (PROJECT_ROOT / "analysis" / "instrumental_variables.py").read_text()
    given |= set(re.findall(r'"(negative_\w+|too_few_pairs|zero_variance)"', python))
    given |= {"too_few_days"}
    assert given == explained


def test_every_variant_is_explained():
    page = (PROJECT_ROOT / "docs" / "factors.md").read_text()
    written = "".join(
        path.read_text() for path in (PROJECT_ROOT / "models" / "factors").glob("int_variant_*")
    )
    variants = set(re.findall(r"'(\w+)' as variant", written))
    variants |= set(re.findall(r'^        "(\w+)": by_cell\(', written, re.MULTILINE))
    assert len(variants) >= 4
    assert (
        set(re.findall(r"^\| `(\w+)` \|", page.split("## Variants")[1], re.MULTILINE)) == variants
    )


# -- attribution


def attribution_page() -> str:
    return (PROJECT_ROOT / "docs" / "attribution.md").read_text()


def first_column(chapter: str) -> set[str]:
    """Words of the first column of every table of a chapter of docs/attribution.md."""
    (text,) = re.findall(rf"^## {chapter}\n(.*?)(?=^## |\Z)", attribution_page(), re.M | re.DOTALL)
    cells = re.findall(r"^\| (`[^|]*) \|", text, re.MULTILINE)
    return {word for cell in cells for word in re.findall(r"`(\w+)`", cell)}


def test_every_public_table_is_in_the_readme():
    built = {path.stem for path in (PROJECT_ROOT / "models").rglob("*.sql")}
    public = {name for name in built if name.startswith(("dim_", "fct_", "bridge_", "meta_"))}
    readme = (PROJECT_ROOT / "README.md").read_text()
    assert {name for name in public if f"`{name}`" not in readme} == set()


def test_every_table_of_the_attribution_has_a_card():
    tables = {p.stem for p in (PROJECT_ROOT / "models" / "attribution").glob("fct_*.sql")}
    assert len(tables) >= 9
    assert {name for name in tables if f"`{name}`" not in attribution_page()} == set()


def test_every_status_of_the_attribution_is_explained():
    given = {"ok"}
    for name in ("random_forest", "group_tests"):
        source = (PROJECT_ROOT / "analysis" / f"{name}.py").read_text()
        given |= set(re.findall(r'"((?:missing|zero|too_few|no|empty)_[a-z_]+)"', source))
    models = PROJECT_ROOT / "models" / "attribution"
    listed = (models / "sensitivity.yml").read_text()
    (statuses,) = re.findall(r"values: \[(ok, [a-z_, ]+)\]", listed)
    assert given | set(statuses.split(", ")) == first_column("Statuses")
    check = (models / "fct_paper_check.sql").read_text()
    verdicts = set(re.findall(r"^ +(?:when .* then|else) '(\w+)'$", check, re.MULTILINE))
    assert len(verdicts) == 6
    assert verdicts == first_column("Paper check")


def test_every_variant_of_the_attribution_is_explained():
    models = (PROJECT_ROOT / "models" / "attribution" / "int_forest_input.sql").read_text()
    variants = set(re.findall(r"^ +\('(\w+)', '\w+', '\w+'\)", models, re.MULTILINE))
    assert len(variants) == 6
    assert first_column("Variants and robustness") == variants


def test_every_rule_of_the_attribution_is_explained():
    rows = re.findall(r"^\| `((?:forest|box)_\w+)` \| (\S+) \|", attribution_page(), re.MULTILINE)
    rules = study_models()["Rules"].model_fields
    wanted = {name: shown(f) for name, f in rules.items() if name.startswith(("forest_", "box_"))}
    assert dict(rows) == wanted


def test_every_exclusion_is_that_of_the_code():
    words = {"low": "below P20", "high": "above P80", "magnitude": "absolute value", "none": "none"}
    rows = re.findall(rf"^\| (`[^|]*) \| ({'|'.join(words.values())})", attribution_page(), re.M)
    told = {name: text for names, text in rows for name in re.findall(r"`(\w+)`", names)}
    assert told == {name: words[rule] for name, rule in EXCLUSION_RULES.items()}


def test_every_switch_of_the_sensitivity_is_explained():
    assert first_column("Sensitivity") == set(SWITCHES)


# -- licence and citation


def test_citation_is_that_of_the_project():
    cited = yaml.safe_load((PROJECT_ROOT / "CITATION.cff").read_text())
    project = tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text())["project"]
    assert {"cff-version", "message", "title", "authors"} <= set(cited)
    assert cited["version"] == project["version"] and cited["license"] == "MIT"
    assert (PROJECT_ROOT / "LICENSE").read_text().startswith("MIT License")
    (study,) = cited["references"]
    assert study["doi"] in (PROJECT_ROOT / "studies" / "china.yml").read_text()


# -- statistics


@pytest.mark.parametrize("block_days", [7, 30])
def test_the_recipe_in_the_docs_gives_the_interval(block_days):
    page = (PROJECT_ROOT / "docs" / "statistics.md").read_text()
    (recipe,) = re.findall(r"^```python\n(import hashlib.*?)^```", page, re.MULTILINE | re.DOTALL)
    names: dict = {}
    exec(recipe, names)
    rng, n = np.random.default_rng(5), 131
    insitu = np.round(rng.normal(size=n), 2)
    series = [insitu, np.round(insitu + rng.normal(size=n), 2), insitu + 0.7 * rng.normal(size=n)]
    days = [date(2017, 1, 1) + timedelta(days=2 * i) for i in range(n)]
    frame = pl.DataFrame(
        dict(zip(("insitu", "baseline", "candidate"), series, strict=True))
    ).select(
        pl.lit("M09-r290-c3174").alias("gridcell_id"),
        pl.lit(290).alias("grid_row"),
        pl.lit(3174).alias("grid_col"),
        pl.lit("rzsm").alias("layer"),
        pl.Series("obs_date", days),
        pl.all().name.suffix("_anomaly_m3m3"),
    )
    options = {"members": 150, "block_days": block_days, "seed": 20170101}
    gain = skill_gain(frame, min_pairs=100, level=0.95, **options).row(0, named=True)
    for scheme in ("iid", "block"):
        cell = {"grid_row": 290, "grid_col": 3174, "layer": "rzsm", "scheme": scheme}
        members = names["delta_r_members"](*series, **cell, **options)
        ends = np.percentile(members, [2.5, 97.5])
        stored = [gain[f"delta_r_{scheme}_ci_{end}"] for end in ("lower", "upper")]
        assert ends == pytest.approx(stored, abs=1e-12)


@_page
def test_pages_are_about_the_project_alone(page):
    """No path of a machine, and lines that a plain editor shows whole."""
    text = page.read_text()
    assert not re.search(r"(?<![\w.$}])/(work|tmp|root|mnt|home/(?!me/))", text)
    long = [line for line in text.splitlines() if len(line) > 120 and not line.startswith("|")]
    assert long == []
