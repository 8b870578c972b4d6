"""The data dictionary is what the models' YAML gives; dbt's pages open from disk without network."""

import re
import shutil
import subprocess

import pytest
import yaml

from ingest.reader import PROJECT_ROOT
from ingest.study import load_study
from skillhouse.documentation import DICTIONARY, data_dictionary, public_models, write_site

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


def test_the_committed_page_is_up_to_date():
    assert DICTIONARY.read_text() == data_dictionary(), "run make docs"


def test_every_public_model_and_column_is_there():
    """Names counted in the files' text, not through the code that writes the page."""
    sections = dict(re.findall(r"^### (\w+)\n(.*?)(?=^##|\Z)", data_dictionary(), re.M | re.DOTALL))
    built = {p.stem for p in (PROJECT_ROOT / "models").rglob("*.sql")}
    public = {name for name in built if name.startswith(("dim_", "fct_", "bridge_", "meta_"))}
    assert set(sections) == public | {"meta_build", "meta_column"}
    for path in (PROJECT_ROOT / "models").rglob("*.yml"):
        for name, text in re.findall(
            r"^  - name: (\w+)\n(.*?)(?=^  - name|\Z)", path.read_text(), re.MULTILINE | re.DOTALL
        ):
            if name in public:
                columns = re.findall(r"^      - name: \"?(\w+)", text, re.MULTILINE)
                assert columns == re.findall(r"^\| \*{0,2}`(\w+)`", sections[name], re.MULTILINE)


def test_keys_units_and_rules_are_shown():
    lines = data_dictionary().splitlines()
    (cell,) = {line for line in lines if line.startswith("| **`gridcell_id`**") and "In [" in line}
    assert cell.startswith("| **`gridcell_id`** | varchar | text | Cell of the 9 km EASE-Grid 2.0")
    assert cell.endswith("*Never null.* *In [dim_gridcell](#dim_gridcell).* |")
    (row,) = {line for line in lines if line.startswith("| `grid_row` |")}
    assert row.endswith("*0 to 1623.* |")
    assert "*One of `lsm`, `rtm`.*" in "\n".join(lines)
    assert not [line for line in lines if "{{" in line or "doc(" in line]


def test_doc_blocks_are_filled_in_and_an_unknown_one_stops(tmp_path):
    (tmp_path / "columns.md").write_text("{% docs depth_m %}\nDepth of it.\n{% enddocs %}\n")
    column = {"name": "depth_m", "description": "{{ doc('depth_m') }}"}
    private = {"name": "int_x", "columns": [column]}
    content = {"models": [{"name": "fct_x", "columns": [column]}, private]}
    (tmp_path / "_x.yml").write_text(yaml.safe_dump(content))
    ((_, model),) = public_models(tmp_path)
    assert model["columns"][0]["description"] == "Depth of it."
    column["description"] = "{{ doc('depth_km') }}"
    (tmp_path / "_x.yml").write_text(yaml.safe_dump(content))
    with pytest.raises(KeyError, match="depth_km"):
        list(public_models(tmp_path))


@pytest.mark.slow
def test_the_site_is_one_page_that_needs_no_network(tmp_path):
    out = tmp_path / "site"
    page = write_site(load_study("twin"), out)
    assert [p.name for p in out.iterdir()] == ["index.html"]
    text = page.read_text()
    assert str(tmp_path) not in text and str(PROJECT_ROOT) not in text
    assert not re.findall(r"(?:src|href)=[\"']?https?://[^\"' ]+\.(?:js|css|woff2?)", text)
    assert not re.findall(r"@import|url\([\"']?https?:", text)
    if not CHROMIUM:
        pytest.skip("no Chromium to open the page with")
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"]
    command += ["--no-first-run", "--disable-background-networking", "--disable-component-update"]
    command += ["--disable-sync", f"--user-data-dir={tmp_path / 'profile'}"]
    command += ["--host-resolver-rules=MAP * ~NOTFOUND", "--virtual-time-budget=8000"]
    command += ["--dump-dom", f"{page.as_uri()}#!/model/model.skillhouse.fct_skill_gain"]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=120).stdout
    assert "delta_r_block_ci_lower" in shown.split("<body")[1].split("<script")[0]
    assert re.search(r"VARCHAR", shown), "types of the contract"
