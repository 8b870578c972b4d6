"""Doctor names what hinders a build and the remedy, with nothing but the standard library if need be."""

import shutil
import subprocess
import sys
from importlib.metadata import version

import pytest
import yaml

from ingest.reader import PROJECT_ROOT
from ingest.study import load_study
from skillhouse import doctor as module
from skillhouse.doctor import Finding, disk_need_gb, doctor, examine
from skillhouse.lock import build_lock


def of(findings: list[Finding], what: str) -> Finding:
    (finding,) = [f for f in findings if f.what == what]
    return finding


@pytest.fixture
def elsewhere(monkeypatch, tmp_path):
    """A place of its own for generated files."""
    monkeypatch.setenv("SKILLHOUSE_STATE", str(tmp_path))
    return tmp_path


def test_runs_without_any_package():
    code = f"import sys; sys.path.insert(0, {str(PROJECT_ROOT)!r});"
    code += "from skillhouse.__main__ import main; sys.exit(main(['doctor']))"
    # -I -S: no packages beside the standard library
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "packages: missing: " in done.stdout
    assert "study: not looked at" in done.stdout
    assert "nothing hinders make build STUDY=twin" in done.stdout


def test_an_old_python_is_the_only_finding(monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 10, 9, "final", 0))
    (finding,) = examine("twin")
    assert (finding.level, finding.what) == ("problem", "Python")
    assert "3.10.9" in finding.found and "3.11" in finding.remedy


def test_packages_are_compared_with_the_lock(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "ROOT", tmp_path)
    lock = tmp_path / "requirements.lock"
    lock.write_text(f"# pinned\nduckdb=={version('duckdb')}\n")
    assert module._packages().level == "ok"
    lock.write_text("duckdb==0.0.1\n")
    other = module._packages()
    assert other.level == "warning"
    assert f"duckdb {version('duckdb')} instead of 0.0.1" in other.found
    lock.write_text("no-such-package-of-ours==1.0\n")
    missing = module._packages()
    assert missing.level == "warning" and "no-such-package-of-ours" in missing.found
    monkeypatch.setattr(sys, "prefix", str(tmp_path / ".venv"))
    assert module._packages().level == "problem"


def test_every_line_of_the_lock_is_looked_at():
    text = (PROJECT_ROOT / "requirements.lock").read_text()
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert len(module.locked_versions(text)) == len(lines) > 100


def test_a_missing_program_is_a_warning(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert {(f.what, f.level) for f in module._programs()} == {
        ("make", "warning"),
        ("git", "warning"),
        ("browser", "warning"),
    }


def test_little_memory_is_a_warning(monkeypatch):
    monkeypatch.setattr(module, "memory_gb", lambda: 1.9)
    assert of(module._machine(), "memory").level == "warning"
    monkeypatch.setattr(module, "memory_gb", lambda: 4.1)
    assert of(module._machine(), "memory").level == "ok"


def test_memory_is_that_of_the_machine():
    assert 0.1 < module.memory_gb() < 10_000


def test_a_place_that_cannot_be_written_is_a_problem(monkeypatch, tmp_path):
    taken = tmp_path / "a_file"
    taken.write_text("")
    monkeypatch.setenv("SKILLHOUSE_STATE", str(taken))
    assert of(examine("twin"), "generated files").level == "problem"
    monkeypatch.setenv("SKILLHOUSE_STATE", str(tmp_path / "not" / "yet"))
    assert of(examine("twin"), "generated files").level == "ok"


def test_a_wrong_study_is_named(tmp_path):
    content = yaml.safe_load((PROJECT_ROOT / "studies" / "twin.yml").read_text())
    path = tmp_path / "wrong.yml"
    path.write_text(yaml.safe_dump(content | {"study": "wrong", "colour": "red"}))
    finding = examine(str(path))[-1]
    assert (finding.level, finding.what) == ("problem", "study")
    assert "colour: unknown key" in finding.found
    assert "known studies: " in examine("no_such_study")[-1].found


def test_missing_raw_files_are_problems_with_key_and_origin(monkeypatch, elsewhere):
    monkeypatch.setenv("CHINA_DATA", str(elsewhere))
    station = elsewhere / "casmos" / "201701.csv"
    station.parent.mkdir()
    station.write_text("x" * 1000)
    findings = examine("china")
    missing = [f for f in findings if f.what.startswith("raw files of ")]
    assert len(missing) == len(load_study("china").sources()) - 1
    assert {f.level for f in missing} == {"problem"}
    l4 = of(findings, "raw files of l4")
    assert "products.l4.source.path" in l4.found and "NSIDC" in l4.remedy
    assert of(findings, "raw files").found.startswith("1 files of 1 sources")


def test_disk_need_goes_with_cells_years_and_station_text(monkeypatch, tmp_path):
    monkeypatch.setenv("CHINA_DATA", str(tmp_path))
    need, reason = disk_need_gb(load_study("china"))
    assert need == pytest.approx(2500 * 2 * 0.6e-3, rel=0.01) and "assumed" in reason
    station = tmp_path / "casmos" / "201701.csv"
    station.parent.mkdir()
    with open(station, "wb") as file:
        file.truncate(10_000_000_000)  # sparse
    assert disk_need_gb(load_study("china"))[0] == pytest.approx(need + 1.5)


def test_a_full_disk_is_a_problem(monkeypatch, elsewhere):
    usage = shutil.disk_usage(elsewhere)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=10**8))
    assert of(examine("china"), "disk").level == "problem"
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=10**11))
    assert of(examine("china"), "disk").level == "ok"


def test_a_disk_too_full_for_the_packages_is_a_problem(monkeypatch):
    """Before the first build nobody knows the study, but 1.6 GB of packages are known."""
    missing = module.Finding("warning", "packages", "missing: duckdb")
    monkeypatch.setattr(module, "_packages", lambda: missing)
    usage = shutil.disk_usage(PROJECT_ROOT)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=10**9))
    assert of(examine("twin"), "disk").level == "problem"
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=10**10))
    assert of(examine("twin"), "disk").level == "ok"


def test_a_running_build_is_a_problem_until_it_ends(elsewhere):
    path = elsewhere / ".build" / "twin" / "lock"
    with build_lock(path, "twin"):
        finding = of(examine("twin"), "lock")
        assert finding.level == "problem" and "running as process" in finding.found
    assert of(examine("twin"), "lock").level == "ok"


def test_exit_code_and_remedies(monkeypatch):
    said: list[str] = []
    fine = Finding("ok", "cores", "2")
    slow = Finding("warning", "memory", "1.0 GB free", "close other programs")
    wrong = Finding("problem", "Python", "3.9", "install a newer one")
    monkeypatch.setattr(module, "examine", lambda name: [fine, slow])
    assert doctor("mine", said.append) == 0
    assert said[-1] == "\nnothing hinders make build STUDY=mine; warnings: 1"
    monkeypatch.setattr(module, "examine", lambda name: [fine, wrong, slow])
    assert doctor("mine", said.append) == 1
    assert said[-1].startswith("\nmake build STUDY=mine will not work")
    text = "\n".join(said)
    assert "-> install a newer one" in text and "-> close other programs" in text
