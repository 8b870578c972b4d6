"""What would hinder a build on this machine, and the remedy of each.

Only the standard library is imported before the packages are known to be there, and nothing newer than
Python 3.7 is used before that, so that any Python can say that it is too old.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PYTHON = (3, 11)
MEMORY_GB = 4.0
PACKAGES_GB = 1.6
#: the lake of station text is about a seventh of the text, as measured with the twin: 39 of 279 MB
STATION_LAKE_SHARE = 0.15
#: lake of the grids, both databases of a build and the published one: 0.5 MB measured with the twin
MB_PER_CELL_AND_YEAR = 0.6
#: raw files that the twin writes for itself: 820 MB for 280 cells and two years
TWIN_RAW_MB_PER_CELL_AND_YEAR = 1.5
#: cells of a study whose stations have not been read yet: those of a country-wide network
UNKNOWN_CELLS = 2500


class Finding(NamedTuple):
    """One thing looked at: `ok`, `warning` (a build works) or `problem` (it does not)."""

    level: str
    what: str
    found: str
    remedy: str = ""


def doctor(study_name: str, say: Callable[[str], None] = print) -> int:
    """Print what was found, with remedies; returns 0 when nothing hinders a build, else 1."""
    findings = examine(study_name)
    for finding in findings:
        say(f"{finding.level:<8} {finding.what}: {finding.found}")
        if finding.remedy:
            say(f"{'':<8}   -> {finding.remedy}")
    problems, warnings = (
        sum(finding.level == level for finding in findings) for level in ("problem", "warning")
    )
    if problems:
        say(f"\nmake build STUDY={study_name} will not work: see problem above ({problems})")
        return 1
    say(f"\nnothing hinders make build STUDY={study_name}; warnings: {warnings}")
    return 0


def examine(study_name: str) -> list[Finding]:
    """Look at Python, packages, programs, machine, study, raw files, lock and warehouse."""
    findings = [_python()]
    if findings[0].level == "problem":
        return findings
    packages = _packages()
    findings += [packages, *_programs(), *_machine(), _writable()]
    if packages.found.startswith("missing"):
        remedy = f"run make doctor STUDY={study_name} again when they are installed"
        findings.append(_room_for_packages())
        return [*findings, Finding("warning", "study", "not looked at: packages missing", remedy)]
    return findings + _study(study_name)


# -- before any package is needed


def _python() -> Finding:
    version = ".".join(str(part) for part in sys.version_info[:3])
    if sys.version_info[:2] < PYTHON:
        wanted = ".".join(str(part) for part in PYTHON)
        return Finding(
            "problem",
            "Python",
            f"{version} at {sys.executable}",
            f"install Python {wanted} or newer; make build PYTHON=/path/to/python3 names it",
        )
    return Finding("ok", "Python", f"{version} at {sys.executable}")


def locked_versions(text: str) -> dict[str, str]:
    """Package -> version of a lock file.

    >>> locked_versions("# pinned\\nduckdb==1.5.6\\nPyYAML==6.0.3\\n")
    {'duckdb': '1.5.6', 'PyYAML': '6.0.3'}
    """
    return dict(re.findall(r"^([\w.-]+)==([\w.+!-]+)", text, re.MULTILINE))


def _packages() -> Finding:
    import importlib.metadata

    wanted = locked_versions((ROOT / "requirements.lock").read_text(encoding="utf-8"))
    missing, other = [], []
    for name, version in wanted.items():
        try:
            found = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
            continue
        if found != version:
            other.append(f"{name} {found} instead of {version}")
    own = Path(sys.prefix).resolve() == (ROOT / ".venv").resolve()
    again = "rm -f .venv/installed && make build installs them again"
    if missing and own:
        return Finding("problem", "packages", f"missing: {_some(missing)}", again)
    if missing:
        return _not_installed(missing)
    if other:
        return Finding("warning", "packages", f"not as in requirements.lock: {_some(other)}", again)
    return Finding("ok", "packages", f"{len(wanted)} at the versions of requirements.lock")


def _not_installed(missing: list[str]) -> Finding:
    """Packages that this Python lacks: make build installs them, given pip."""
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        return Finding(
            "problem",
            "packages",
            f"missing: {_some(missing)}; and this Python cannot make a virtual environment",
            "install its venv module (on Debian and Ubuntu: python3-venv)",
        )
    return Finding(
        "warning",
        "packages",
        f"missing: {_some(missing)}",
        f"make build installs them into .venv ({PACKAGES_GB} GB, once)",
    )


def _room_for_packages() -> Finding:
    free = shutil.disk_usage(ROOT).free / 1e9
    said = f"{free:,.1f} GB free; the packages take {PACKAGES_GB} GB"
    if free < PACKAGES_GB:
        return Finding("problem", "disk", said, f"free some: they go into {ROOT / '.venv'}")
    return Finding("ok", "disk", said)


def _some(names: list[str]) -> str:
    rest = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + rest


def _programs() -> list[Finding]:
    make = shutil.which("make")
    git = shutil.which("git")
    browser = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chrome"))), None)
    return [
        Finding("ok", "make", make)
        if make
        else Finding(
            "warning",
            "make",
            "not found",
            "install GNU make, or type what the Makefile does: python -m skillhouse build",
        ),
        Finding("ok", "git", git)
        if git
        else Finding(
            "warning", "git", "not found", "install git; without it meta_build.git_commit is empty"
        ),
        Finding("ok", "browser", browser)
        if browser
        else Finding(
            "warning",
            "browser",
            "no Chromium found",
            "install chromium for the report's tests; building and making the report need none",
        ),
    ]


def _machine() -> list[Finding]:
    import zoneinfo

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = memory_gb()
    findings = [Finding("ok", "cores", str(cores))]
    if memory < MEMORY_GB:
        findings.append(
            Finding(
                "warning",
                "memory",
                f"{memory:.1f} GB free, {MEMORY_GB:.0f} GB are asked for",
                "close other programs, or python -m skillhouse build --memory 1GiB --workers 1",
            )
        )
    else:
        findings.append(Finding("ok", "memory", f"{memory:.1f} GB free"))
    try:
        zoneinfo.ZoneInfo("Asia/Shanghai")
        findings.append(Finding("ok", "time zones", "known"))
    except zoneinfo.ZoneInfoNotFoundError:
        remedy = "install the system's tzdata; the package of that name comes with make build"
        findings.append(Finding("warning", "time zones", "no time zone database", remedy))
    return findings


def memory_gb() -> float:
    """Memory that a build could take: what is free, within the limit of the container if there is one."""
    page = os.sysconf("SC_PAGE_SIZE")
    free = page * os.sysconf("SC_PHYS_PAGES")
    listed = Path("/proc/meminfo")
    if listed.exists():  # counts what the page cache would give back
        free = 1024 * int(re.search(r"MemAvailable:\s+(\d+)", listed.read_text())[1])
    limit = Path("/sys/fs/cgroup/memory.max")
    if limit.exists() and limit.read_text().strip().isdigit():
        free = min(free, int(limit.read_text()))
    return free / 1e9


def _state() -> Path:
    return Path(os.environ.get("SKILLHOUSE_STATE") or ROOT)


def _existing(path: Path) -> Path:
    """The path, or the nearest folder above it that exists."""
    return next(p for p in (path, *path.resolve().parents) if p.exists())


def _writable() -> Finding:
    folder = _existing(_state())
    if folder.is_dir() and os.access(folder, os.W_OK | os.X_OK):
        return Finding("ok", "generated files", f"go below {_state()}")
    return Finding(
        "problem",
        "generated files",
        f"{folder} cannot be written",
        "set SKILLHOUSE_STATE to a folder of yours",
    )


# -- the study; packages are there


def _study(name: str) -> list[Finding]:
    from ingest.reader import BadInput
    from ingest.study import load_study, study_path

    try:
        study = load_study(name)
    except BadInput as error:
        return [Finding("problem", "study", str(error))]
    findings = [Finding("ok", "study", f"{study.study}, {study_path(name)}: valid")]
    findings += _raw_files(study)
    findings.append(_disk(study))
    findings.append(_lock(study))
    findings.append(_warehouse(study))
    return findings


def _raw_files(study: Any) -> list[Finding]:
    from ingest.run import files_found

    found = files_found(study)
    there = {source: entry for source, entry in found.items() if entry[1]}
    findings = []
    if there:
        files, size = sum(e[1] for e in there.values()), sum(e[2] for e in there.values())
        findings.append(
            Finding(
                "ok", "raw files", f"{files:,} files of {len(there)} sources, {size / 1e9:,.2f} GB"
            )
        )
    for source, (key, n_files, _) in found.items():
        settings = study.sources()[source][1]
        if n_files:
            continue
        if study.twin:
            findings.append(Finding("ok", f"raw files of {source}", "make build writes them"))
        else:
            findings.append(
                Finding(
                    "problem",
                    f"raw files of {source}",
                    f"none for key {key}.path = {settings.path}",
                    f"get them: {settings.obtain or 'ask the owner of the study file'}",
                )
            )
    return findings


def disk_need_gb(study: Any) -> tuple[float, str]:
    """Disk that a study's generated files take, GB, and how the estimate is made.

    Station text shrinks to a fixed share of itself. Everything else goes with cells and years, not with
    the size of the raw files: a global granule gives a few values per cell.
    """
    import polars as pl

    from ingest.run import files_found

    years = ((study.period.end - study.period.start).days + 1) / 365.25
    listed = study.folder / "lake" / "study_cell.parquet"
    if listed.exists():
        cells, known = pl.scan_parquet(listed).select(pl.len()).collect().item(), "as in the lake"
    elif study.twin:
        cells, known = study.twin.n_cells, "of the twin"
    else:
        cells, known = UNKNOWN_CELLS, "assumed, the stations are not read yet"
    stations = files_found(study)["insitu"][2] * STATION_LAKE_SHARE
    grids = cells * years * MB_PER_CELL_AND_YEAR * 1e6
    raw = cells * years * TWIN_RAW_MB_PER_CELL_AND_YEAR * 1e6 if study.twin else 0.0
    reason = f"{cells:,} cells ({known}), {years:.1f} years, stations {stations / 1e9:.2f} GB"
    return (stations + grids + raw) / 1e9, reason


def _disk(study: Any) -> Finding:
    need, reason = disk_need_gb(study)
    held = 0
    for folder in (study.folder, _state() / ".build" / study.study):
        held += sum(f.lstat().st_size for f in folder.rglob("*") if f.is_file())
    free = shutil.disk_usage(_existing(_state())).free
    said = f"{free / 1e9:,.1f} GB free; the study's files take about {need:.1f} GB ({reason})"
    if held:
        said += f", {held / 1e9:.1f} GB of it are there"
    if free + held < need * 1e9:
        return Finding(
            "problem", "disk", said, "free some, or set SKILLHOUSE_STATE to another disk"
        )
    return Finding("ok", "disk", said)


def _lock(study: Any) -> Finding:
    import fcntl

    path = _state() / ".build" / study.study / "lock"
    if path.exists():
        with open(path) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                said = (
                    f"a build of {study.study} is running as process {file.read().strip() or '?'}"
                )
                return Finding("problem", "lock", said, "wait for it to end, or stop it")
    return Finding("ok", "lock", "no build is running")


def _warehouse(study: Any) -> Finding:
    import duckdb

    from skillhouse.publish import warehouse_path

    path = warehouse_path(study)
    again = f"make build STUDY={study.study}"
    if not path.exists():
        return Finding("ok", "warehouse", f"{path}: none yet", again)
    try:
        with duckdb.connect(str(path), read_only=True) as connection:
            made = connection.sql("from meta_build").pl().row(0, named=True)
            files = connection.sql(
                "select source, source_file, size_bytes, modified_at from meta_input_file"
            ).pl()
    except duckdb.Error as error:
        said = f"{path}: not readable: {str(error).splitlines()[0]}"
        return Finding("warning", "warehouse", said, f"{again} makes a new one")
    changed = _changed(study, made, files)
    said = f"{path}: built {made['finished_at']:%Y-%m-%d %H:%M} UTC, build_id {made['build_id']}"
    if changed:
        said += "; since then changed: " + ", ".join(changed)
        return Finding("warning", "warehouse", said, f"{again} brings it up to date")
    return Finding("ok", "warehouse", f"{said}; up to date")


def _changed(study: Any, made: dict[str, Any], files: Any) -> list[str]:
    """What a published warehouse was made from and is different now."""
    import json

    import polars as pl

    from ingest.run import reader_of
    from skillhouse.provenance import code_hash, package_versions

    changed = []
    if made["study_hash"] != study.hash:
        changed.append("the study's settings")
    if made["code_hash"] != code_hash():
        changed.append("the code")
    if json.loads(made["package_versions"]) != package_versions():
        changed.append("packages")
    for source in study.sources():
        now = {
            (raw.path, raw.size, raw.mtime_ns // 1000) for raw in reader_of(study, source).find()
        }
        listed = files.filter(pl.col("source") == source)
        modified = pl.col("modified_at").dt.epoch("us")
        if now != set(listed.select("source_file", "size_bytes", modified).rows()):
            changed.append(f"raw files of {source}")
    return changed
