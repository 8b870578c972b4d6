"""Command line: `python -m skillhouse build|sensitivity|check|report|figures|export|docs|doctor|diff|path`."""

from __future__ import annotations

import argparse
import os
import re
import sys
from pathlib import Path

# Packages are imported by the commands that need them: `doctor` must run where they are missing.


def _build(options: argparse.Namespace) -> int:
    from skillhouse.build import build

    _end_with_make()
    build(
        options.study,
        workers=options.workers,
        threads=options.threads,
        memory=options.memory,
        fresh=options.fresh,
        unit_tests=options.unit_tests,
        verbose=options.verbose,
    )
    return 0


def _sensitivity(options: argparse.Namespace) -> int:
    from skillhouse.build import build
    from skillhouse.sensitivity import sensitivity, shown

    _end_with_make()
    result = sensitivity(
        options.study,
        only=[name for name in options.only.split(",") if name],
        attribution=options.attribution,
        workers=options.workers,
        memory=options.memory,
        verbose=options.verbose,
    )
    build(
        options.study,
        workers=options.workers,
        threads=options.workers,
        memory=options.memory,
        verbose=options.verbose,
    )
    print(shown(result))
    return 0


def _check(options: argparse.Namespace) -> int:
    """Validate a study and list the files found per source; 1 when a source has none."""
    from ingest.run import files_found
    from ingest.study import load_study, study_path

    study = load_study(options.study)
    print(f"study {study.study}: {study.title}")
    print(f"  file {study_path(options.study)}: valid")
    print(f"  period {study.period.start} to {study.period.end}, {len(study.products)} products")
    missing = 0
    for source, (key, n_files, size) in files_found(study).items():
        settings = study.sources()[source][1]
        if n_files:
            print(f"  {source}: {n_files:,} files, {size / 1e6:,.1f} MB  ({settings.path})")
        elif study.twin:
            print(f"  {source}: none yet, make build writes them  ({settings.path})")
        else:
            missing += 1
            print(f"  {source}: NO FILE for key {key}.path = {settings.path}")
            print(f"    get it: {settings.obtain or 'ask the owner of the study file'}")
    return 1 if missing else 0


def _report(options: argparse.Namespace) -> int:
    from report.page import write_report

    write_report(_published(options), _report_folder(options), private=options.private)
    return 0


def _figures(options: argparse.Namespace) -> int:
    from report.figures import write_figures

    write_figures(_published(options), _report_folder(options) / "figures")
    return 0


def _export(options: argparse.Namespace) -> int:
    from ingest.study import load_study, study_path
    from skillhouse.export import export

    export(
        load_study(options.study),
        _published(options),
        tables=[name for name in options.tables.split(",") if name] if options.tables else None,
        formats=[name for name in options.format.split(",") if name],
        version=options.version,
        study_file=study_path(options.study),
    )
    return 0


def _docs(options: argparse.Namespace) -> int:
    from skillhouse.documentation import write_docs

    write_docs(options.study)
    return 0


def _path(options: argparse.Namespace) -> int:
    print(os.path.relpath(_published(options)))
    return 0


def _diff(options: argparse.Namespace) -> int:
    from skillhouse.compare import compare

    lines = compare(options.a, options.b)
    print("\n".join(lines) or "no public value differs")
    return 1 if lines else 0


def _published(options: argparse.Namespace) -> Path:
    """The published warehouse of the study named."""
    from ingest.study import load_study
    from skillhouse.publish import open_published, warehouse_path

    path = warehouse_path(load_study(options.study))
    open_published(path, options.study).close()
    return path


def _report_folder(options: argparse.Namespace) -> Path:
    from ingest.reader import STATE_ROOT
    from ingest.study import load_study

    return STATE_ROOT / "report" / "out" / load_study(options.study).study


def _end_with_make() -> None:
    from skillhouse.lock import end_with_parent

    if parent := os.environ.get("SKILLHOUSE_PARENT"):  # set by the Makefile
        end_with_parent(int(parent))


def _count(text: str) -> int:
    """A whole number of at least one."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of 1 or more")
    return int(text)


def _memory(text: str) -> str:
    """An amount of memory as DuckDB reads it."""
    if not re.fullmatch(r"\d+(\.\d+)?\s*[KMGT]i?B", text.strip()):
        raise argparse.ArgumentTypeError(f"{text!r} is no amount of memory; give it like 3GiB")
    return text.strip()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="skillhouse", description=__doc__)
    parser.add_argument("-v", "--verbose", action="store_true", help="dbt's own output, tracebacks")
    commands = parser.add_subparsers(dest="command", required=True)
    cores = os.cpu_count() or 1

    def command(name, run, about):
        added = commands.add_parser(name, help=about)
        added.set_defaults(run=run)
        if run is not _diff:
            added.add_argument("--study", default="twin", help="name of a study, or its file")
        return added

    added = command("build", _build, "raw files to published warehouse")
    added.add_argument("--workers", type=_count, default=cores, help="processes reading raw files")
    added.add_argument("--threads", type=_count, default=cores, help="threads of the database")
    added.add_argument(
        "--memory", type=_memory, default="3GiB", help="memory limit of the database"
    )
    added.add_argument("--fresh", action="store_true", help="compute everything again")
    added.add_argument("--unit-tests", action="store_true", help="run the models' unit tests too")
    added = command(
        "sensitivity", _sensitivity, "what each open choice does to the skill gain, then build"
    )
    added.add_argument("--only", default="", help="switches to run, comma-separated; default all")
    added.add_argument("--attribution", action="store_true", help="rank the factors in each run")
    added.add_argument("--workers", type=_count, default=cores, help="processor cores to use")
    added.add_argument(
        "--memory", type=_memory, default="3GiB", help="memory limit of each run's database"
    )
    command("check", _check, "validate a study, list its files")
    added = command("report", _report, "the warehouse as one page to look at")
    added.add_argument("--private", action="store_true", help="embed series not to be passed on")
    command("figures", _figures, "the report's figures as PDF and PNG")
    added = command("export", _export, "tables of the warehouse as a bundle for others")
    added.add_argument("--tables", default="", help="comma-separated; default the exposure's")
    added.add_argument("--format", default="parquet,csv,netcdf", help="parquet,csv,netcdf")
    added.add_argument("--version", default="", help="YYYY.M.n; default that of the project")
    command("docs", _docs, "data dictionary, and the site of models with their lineage")
    command("doctor", None, "what is missing on this machine or in a study")
    command("path", _path, "print where a study's warehouse is published")
    added = command("diff", _diff, "which public values moved between two warehouses")
    added.add_argument("a", type=Path)
    added.add_argument("b", type=Path)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run one command; errors of use are told in one message, without a traceback unless -v."""
    options = _parser().parse_args(arguments)
    try:
        if options.command == "doctor":
            from skillhouse.doctor import doctor

            return doctor(options.study)
        return _run(options)
    except KeyboardInterrupt:
        print(
            "\nstopped; what was published stays, the next run goes on from here", file=sys.stderr
        )
        return 130


def _run(options: argparse.Namespace) -> int:
    from ingest.reader import STATE_ROOT, BadInput
    from skillhouse.dbt_run import DISK_FULL, BuildFailed

    try:
        return options.run(options)
    except Exception as error:
        if options.verbose:
            raise
        if DISK_FULL in str(error):
            told = (
                f"{error}\nThe disk that holds {STATE_ROOT} is full: free some of it, or set"
                " SKILLHOUSE_STATE to a folder on another one. What was published stays."
            )
        elif isinstance(error, OSError) and error.filename:
            told = f"{error.filename}: {error.strerror}. make doctor looks at folders and disk"
        elif isinstance(error, BadInput | BuildFailed | OSError):
            told = str(error)
        else:
            told = (
                f"{type(error).__name__}: {error}\n"
                "That was not foreseen: with V=-v (python -m skillhouse -v …) it shows where."
            )
        print(f"error: {told}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
