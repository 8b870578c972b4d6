"""`python -m benchmarks.check`: have the ratios to the peers fallen?

The small versions are measured and their ratios, never their times, compared with recorded.json. A
ratio may fall to recorded x (1 - tolerance). A first miss is measured once more and the better of the
two counts, since other work on the machine can only make a ratio wrong now and then, while slower code
makes it low every time.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path

from benchmarks.__main__ import benchmarks
from benchmarks.record import RESULTS, Record, text_table, write_results
from ingest.reader import BadInput

RECORDED = RESULTS / "recorded.json"
TOLERANCE = 0.5
REASON = "both sides on one core in turns: on shared cores their ratio varies by up to a third"
OTHER_TOLERANCE = {
    "daily_means_pandas": (0.6, "one run of dbt, of which starting each model is a good part"),
    "anomalies_pandas": (0.7, "one run of two models of a few tenths of a second"),
    "anomalies_pytesmo": (0.7, "one run of two models of a few tenths of a second"),
}
Measures = dict[str, Callable[..., list[Record]]]


def fallen(recorded: Iterable[dict], found: Iterable[Record]) -> list[str]:
    """One line per recorded ratio that is missing or has fallen beyond its tolerance, and per new one.

    >>> was = [{"name": "sorting", "ratio": 8.0, "tolerance": 0.5}]
    >>> fallen(was, [Record("sorting", seconds=1, peer="bubble sort", peer_seconds=5)])
    []
    >>> fallen(was, [Record("sorting", seconds=2, peer="bubble sort", peer_seconds=5)])
    ['sorting: ratio 2.5, recorded 8, allowed down to 4 (tolerance 50 %)']
    """
    ratio = {record.name: record.ratio for record in found if record.ratio is not None}
    lines = []
    for record in recorded:
        now = ratio.pop(record["name"], None)
        least = record["ratio"] * (1 - record["tolerance"])
        if now is None:
            lines.append(f"{record['name']}: recorded, but not measured any more")
        elif now < least:
            lines.append(
                f"{record['name']}: ratio {now:.3g}, recorded {record['ratio']:.3g}, allowed down to"
                f" {least:.3g} (tolerance {record['tolerance']:.0%})".replace("%)", " %)")
            )
    return lines + [f"{name}: not recorded yet; run it with --record" for name in ratio]


def measured(measure: Callable[..., list[Record]]) -> list[Record]:
    """The records of a benchmark's small version that have a ratio."""
    return [record for record in measure(small=True) if record.ratio is not None]


def better(first: list[Record], again: list[Record]) -> list[Record]:
    """Of two measurements of the same records, the one with the higher ratio each."""
    return [max(pair, key=lambda r: r.ratio) for pair in zip(first, again, strict=True)]


def check(measures: Measures, path: Path) -> list[str]:
    """Lines of what has fallen; a benchmark with a miss is measured once more."""
    recorded = json.loads(path.read_text())["records"]
    found: list[Record] = []
    for name, measure in measures.items():
        print(f"measuring {name}", file=sys.stderr)
        own = measured(measure)
        names = {record.name for record in own}
        if fallen([record for record in recorded if record["name"] in names], own):
            own = better(own, measured(measure))
        found += own
    print(text_table(map(asdict, found)))
    return fallen(recorded, found)


def record(measures: Measures, path: Path) -> None:
    """Measure three times and write the median ratios with their tolerances as the recorded ones."""
    kept = []
    for measure in measures.values():
        rounds = [measured(measure) for _ in range(3)]
        kept += [sorted(same, key=lambda r: r.ratio)[1] for same in zip(*rounds, strict=True)]
    write_results(path, kept)
    content = json.loads(path.read_text())
    for entry in content["records"]:
        tolerance, reason = OTHER_TOLERANCE.get(entry["name"], (TOLERANCE, REASON))
        entry |= {"tolerance": tolerance, "tolerance_reason": reason}
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def main(arguments: list[str] | None = None) -> int:
    """Compare with the recorded ratios, or renew them."""
    parser = argparse.ArgumentParser(prog="benchmarks.check", description=__doc__.split("\n")[0])
    parser.add_argument("--record", action="store_true", help="measure and renew recorded.json")
    options = parser.parse_args(arguments)
    try:
        measures = benchmarks([])
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if options.record:
        record(measures, RECORDED)
        print(f"written: {RECORDED.name}")
        return 0
    lines = check(measures, RECORDED)
    if lines:
        print("\nratios have fallen:\n  " + "\n  ".join(lines), file=sys.stderr)
        return 1
    print("\nno ratio has fallen beyond its tolerance")
    return 0


if __name__ == "__main__":
    sys.exit(main())
