"""Command line: `python -m skillhouse build|sensitivity|check|diff|path`."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from ingest.reader import BadInput
from ingest.run import files_found
from ingest.study import load_study, study_path
from skillhouse.build import build
from skillhouse.compare import compare
from skillhouse.dbt_run import BuildFailed
from skillhouse.lock import end_with_parent
from skillhouse.publish import warehouse_path
from skillhouse.sensitivity import sensitivity, shown


def check(name: str) -> int:
    """Validate a study and list the files found per source; 1 when a source has none."""
    study = load_study(name)
    print(f"study {study.study}: {study.title}")
    print(f"  file {study_path(name)}: valid")
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


def main(arguments: list[str] | None = None) -> int:
    """Run one command; errors of use are told in one message, without a traceback unless -v."""
    parser = argparse.ArgumentParser(prog="skillhouse", description=__doc__)
    parser.add_argument("-v", "--verbose", action="store_true", help="dbt's own output, tracebacks")
    commands = parser.add_subparsers(dest="command", required=True)
    cores = os.cpu_count() or 1
    command = commands.add_parser("build", help="raw files to published warehouse")
    command.add_argument("--study", default="twin")
    command.add_argument("--workers", type=int, default=cores, help="processes reading raw files")
    command.add_argument("--threads", type=int, default=cores, help="threads of the database")
    command.add_argument("--memory", default="3GiB", help="memory limit of the database")
    command.add_argument("--unit-tests", action="store_true", help="run the models' unit tests too")
    command = commands.add_parser(
        "sensitivity", help="what each open choice does to the skill gain, then build"
    )
    command.add_argument("--study", default="twin")
    command.add_argument("--only", default="", help="switches to run, comma-separated; default all")
    command.add_argument("--attribution", action="store_true", help="rank the factors in each run")
    command.add_argument("--workers", type=int, default=cores, help="processor cores to use")
    command.add_argument("--memory", default="3GiB", help="memory limit of each run's database")
    command = commands.add_parser("check", help="validate a study, list its files")
    command.add_argument("--study", default="twin")
    command = commands.add_parser("path", help="print where a study's warehouse is published")
    command.add_argument("--study", default="twin")
    command = commands.add_parser("diff", help="which public values moved between two warehouses")
    command.add_argument("a", type=Path)
    command.add_argument("b", type=Path)
    options = parser.parse_args(arguments)
    try:
        if options.command == "build":
            if parent := os.environ.get("SKILLHOUSE_PARENT"):  # set by the Makefile
                end_with_parent(int(parent))
            build(
                options.study,
                workers=options.workers,
                threads=options.threads,
                memory=options.memory,
                unit_tests=options.unit_tests,
                verbose=options.verbose,
            )
            return 0
        if options.command == "sensitivity":
            if parent := os.environ.get("SKILLHOUSE_PARENT"):  # set by the Makefile
                end_with_parent(int(parent))
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
        if options.command == "check":
            return check(options.study)
        if options.command == "path":
            path = warehouse_path(load_study(options.study))
            if not path.exists():
                raise FileNotFoundError(
                    f"{path}: no warehouse yet; run make build STUDY={options.study}"
                )
            print(os.path.relpath(path))
            return 0
        lines = compare(options.a, options.b)
        print("\n".join(lines) or "no public value differs")
        return 1 if lines else 0
    except (BadInput, BuildFailed, OSError) as error:
        if options.verbose:
            raise
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(
            "\nstopped; the published warehouse is untouched, the next build goes on from here",
            file=sys.stderr,
        )
        return 130


if __name__ == "__main__":
    sys.exit(main())
