"""The report: one HTML page of a published warehouse that opens from disk, without a network."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import jinja2
import polars as pl
import vl_convert

from report import charts
from report.gallery import (
    TARGETS,
    Figure,
    complete_spec,
    figures,
    shared_data,
)
from report.maps import CELL_DEGREES
from report.reading import (
    LAYERS,
    Findings,
    counted,
    factor_label,
    in_words,
    read_findings,
    unit_label,
)
from report.series import packed_series

_HERE = Path(__file__).parent
_SECTIONS = {
    "where": "Where is the gain, and is it more than chance?",
    "why": "What goes with the gain?",
    "groups": "Groups of cells, one factor at a time",
    "checks": "Does the answer depend on our choices?",
    "left-out": "What was left out, and why?",
}
_INTERVAL = ("mean_delta_r_ci_lower", "mean_delta_r_ci_upper", "mean_delta_r")
_HEADLINE_CLAIMS = (3, 4, 5, 6, 15)  # shares improved, mean gains, predictability of the gain
_CELL_SIDE = f"max(3.6, 0.92 * abs(scale('x', {CELL_DEGREES}) - scale('x', 0)))"
_ZOOM = {
    "name": "zoom",
    "bind": "scales",
    "select": {
        "type": "interval",
        "translate": "[pointerdown[event.shiftKey], window:pointerup] > window:pointermove!",
        "zoom": "wheel![event.altKey]",
    },
}


@dataclass(frozen=True)
class Table:
    """A table for people: text in cells, the first column heads its row."""

    caption: str
    headers: tuple[str, ...]
    rows: list[tuple[str, ...]]
    words: tuple[int, ...] = (0,)  # columns that hold words and stand left


def write_report(warehouse: Path, out: Path, *, private: bool = False, say=print) -> Path:
    """Write the report of a published warehouse.

    Series of a source that may not be passed on stay out, unless the page is private.

    Args:
        warehouse: published file.
        out: folder of the page, made if it is not there.
        private: embed every series and mark the page.
        say: where to tell what was written.
    Returns:
        path of `index.html`.
    Raises:
        BadInput: there is no such warehouse.
    """
    findings = read_findings(warehouse)
    products = ["insitu", findings.products["baseline"], findings.products["candidate"]]
    withheld = [p for p in products if not findings.may_be_passed_on(p)]
    embedded = [p for p in products if private or p not in withheld]
    step, series = packed_series(warehouse, embedded)
    drawn = figures(findings)
    held = shared_data(findings) | {k: v for f in drawn for k, v in f.data.items()}
    start, end = findings.period
    roles = {"insitu": "insitu"} | {key: role for role, key in findings.products.items()}
    payload = {
        "datasets": {name: _columns(frame) for name, frame in held.items()},
        "charts": {f.key: [_specs(panel, f) for panel in f.panels] for f in drawn},
        "csv": {f.key: [f.csv, list(f.csv_columns)] for f in drawn if f.csv in held},
        "mask": findings.headline,
        "study": findings.build["study"],
        "layers": LAYERS,
        "factors": [
            {"key": f["factor"], "label": factor_label(f["factor"]), "unit": unit_label(f["unit"])}
            for f in findings.factors.to_dicts()
        ],
        "series": {
            "step": step,
            "start": start.isoformat(),
            "days": (end - start).days + 1,
            "products": [
                {"key": roles[p], "label": "stations" if p == "insitu" else p} for p in embedded
            ],
            "withheld": [p for p in withheld if p not in embedded],
            "specs": {
                layer: {
                    "lines": _zoomable(charts.anomaly_series().to_dict(validate=False), ["x"]),
                    "scatter": charts.anomaly_scatter().to_dict(validate=False),
                }
                for layer in LAYERS
            },
        },
    }
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"signed": signed, "number": number, "share": share, "words": in_words}
    page = environment.get_template("page.html.j2").render(
        findings=findings,
        layers=[_layer(findings, layer) for layer in LAYERS],
        facts=_facts(findings),
        sections=_SECTIONS,
        figures=list(enumerate(drawn, 1)),
        tables=_tables(findings),
        claims=counted(findings.tables["fct_paper_check"]["status"]),
        withheld=withheld,
        private=private and bool(withheld),
        step=step,
        css=(_HERE / "page.css").read_text(),
        script=(_HERE / "page.js").read_text(),
        library=vl_convert.javascript_bundle(
            "window.vegaEmbed = vegaEmbed; window.vega = vega;"
        ).replace("</script", "<\\/script"),
        payload=json.dumps(payload, separators=(",", ":"), default=str).replace("</", "<\\/"),
        series=series,
    )
    out.mkdir(parents=True, exist_ok=True)
    path = out / "index.html"
    aside = out / "index.html.part"
    aside.write_text(page, encoding="utf-8")
    aside.replace(path)
    told = (
        f"{path}  ({path.stat().st_size / 1e6:.1f} MB, {len(drawn)} figures, {len(series):,} cells"
    )
    if withheld:
        told += "; PRIVATE: holds" if private else "; without"
        told += f" series that may not be passed on: {', '.join(withheld)}"
    say(told + ")")
    return path


def _specs(panel, figure: Figure) -> list[dict]:
    specs = []
    for chart in panel.charts:
        has_zoom = chart.usermeta["kind"] == "map"
        spec = complete_spec(chart, {}, cell_px=_CELL_SIDE if has_zoom else 1, mask="none")
        if has_zoom:
            _zoomable(spec, ["x", "y"])
        spec.pop("config", None)
        specs.append(_without_legends(spec) if figure.legend else spec)
    return specs


def _zoomable(spec: dict, encodings: list[str]) -> dict:
    """The specification with axes that zoom and move."""
    select = _ZOOM["select"] | {"encodings": encodings}
    drawn = next(layer for layer in spec["layer"] if "field" in layer["encoding"].get("x", {}))
    drawn.setdefault("params", []).append(_ZOOM | {"select": select})
    return spec


def _without_legends(spec):
    """The same specification; the page shows the figure's legend once, above its panels."""
    if isinstance(spec, list):
        return [_without_legends(part) for part in spec]
    if isinstance(spec, dict):
        return {k: None if k == "legend" else _without_legends(v) for k, v in spec.items()}
    return spec


def _columns(frame: pl.DataFrame) -> dict[str, list]:
    """A frame by columns, floats cut to what a screen shows."""
    floats = pl.col(pl.Float64, pl.Float32)
    frame = frame.with_columns(floats.exclude("longitude", "latitude").round_sig_figs(5))
    frame = frame.with_columns(floats.fill_nan(None))
    return {name: frame[name].to_list() for name in frame.columns}


def signed(value: float | None, digits: int = 3) -> str:
    """A number with its sign, or a dash.

    >>> signed(0.0494), signed(-0.25, 2), signed(None)
    ('+0.049', '−0.25', '–')
    """
    return "–" if value is None else f"{value:+.{digits}f}".replace("-", "−")


def number(value: float | None, digits: int = 3) -> str:
    """A number, or a dash.

    >>> number(-0.4539), number(None), number(1234, 0)
    ('−0.454', '–', '1,234')
    """
    if value is None or math.isnan(value):
        return "–"
    return f"{value:,.{digits}f}".replace("-", "−")


def share(value: float | None) -> str:
    """A share in per cent, or a dash.

    >>> share(0.8339), share(None)
    ('83 %', '–')
    """
    return "–" if value is None else f"{100 * value:.0f} %"


def _layer(findings: Findings, layer: str) -> dict:
    """What the front page says about one layer."""
    summary = findings.summary(layer)
    if summary is None or not summary["n_cells"]:
        why = counted(findings.cells[f"{layer}_status"])
        return {"key": layer, "name": LAYERS[layer], "summary": None, "why": why}
    importance = findings.tables["fct_forest_importance"]
    tests = findings.tables["fct_factor_anova"]
    top = importance.filter(
        pl.col("importance_pct").is_not_null(), variant="base", target="delta_r", layer=layer
    ).sort("importance_rank", "factor")
    trend = tests.filter(target="delta_r", layer=layer).select("factor", "trend_rho")
    factors = [
        row | {"label": factor_label(row["factor"]), "noise": row["importance_pct"]
               <= row["noise_floor_pct"]}
        for row in top.join(trend, on="factor", how="left", maintain_order="left").head(3).to_dicts()
    ]  # fmt: skip
    cross = findings.tables["fct_forest_cross_validation"].filter(
        variant="base", target="delta_r", layer=layer, scheme="spatial_block"
    )
    shown = [summary[name] for name in _INTERVAL]
    sizes = [
        abs(row[name])
        for row in map(findings.summary, LAYERS)
        if row
        for name in _INTERVAL
        if row[name] is not None
    ]
    reach = 1.15 * max(sizes) or 0.1  # no gain anywhere: two equal products
    place = [None if value is None else 50 + 50 * value / reach for value in shown]
    return {
        "key": layer,
        "name": LAYERS[layer],
        "summary": summary,
        "factors": factors,
        "forest_status": in_words(
            importance.filter(variant="base", target="delta_r", layer=layer)["status"].first()
            or "no forest"
        ),
        "forest_r": cross["r"].mean(),
        "reach": reach,
        "place": place,
    }


def _facts(findings: Findings) -> dict:
    """Coverage: period, stations, cells, days."""
    start, end = findings.period
    coverage = {(r["product"], r["layer"]): r for r in findings.tables["fct_coverage"].to_dicts()}
    return {
        "start": start,
        "end": end,
        "n_days": (end - start).days + 1,
        "n_stations": findings.stations["n"].sum(),
        "n_stations_ok": findings.stations.filter(status="ok")["n"].sum(),
        "n_cells": findings.cells.height,
        "insitu_days": {k: coverage.get(("insitu", k), {}).get("median_days") for k in LAYERS},
        "coverage": coverage,
    }


def _tables(findings: Findings) -> dict[str, Table]:
    return {
        "summary": _summary_table(findings),
        "coverage": _coverage_table(findings),
        "robustness": _robustness_table(findings),
        "sensitivity": _sensitivity_table(findings),
        "paper": _paper_table(findings),
        "headline": _paper_table(findings, _HEADLINE_CLAIMS),
        "ledger": _ledger_table(findings),
        "sources": _sources_table(findings),
        "rules": Table(
            "Rules of the study",
            ("rule", "value"),
            [(k, v) for k, v in sorted(findings.study.items()) if k.startswith("rules.")],
            (0, 1),
        ),
    }


def _interval(low: float | None, high: float | None, form) -> str:
    return "–" if low is None else f"{form(low)} to {form(high)}"


def _summary_table(findings: Findings) -> Table:
    rows = []
    for layer, words in LAYERS.items():
        s = findings.summary(layer)
        if s is None:
            continue
        rows.append(
            (
                words,
                number(s["n_cells"], 0),
                number(s["mean_r_baseline"]),
                number(s["mean_r_candidate"]),
                signed(s["mean_delta_r"]),
                _interval(s["mean_delta_r_ci_lower"], s["mean_delta_r_ci_upper"], signed),
                share(s["share_improved"]),
                _interval(s["share_improved_ci_lower"], s["share_improved_ci_upper"], share),
                share(s["share_significant_iid"]),
                share(s["share_significant_block"]),
                share(s["share_improved_significant_block"]),
                share(s["share_degraded_significant_block"]),
                share(s["relative_improvement_ratio_of_means"]),
                share(s["relative_improvement_mean_of_ratios"]),
                share(s["relative_improvement_median_of_ratios"]),
                in_words(s["status"]),
            )
        )
    headers = (
        *("layer", "cells", "R baseline", "R candidate", "mean ΔR", "95 % interval"),
        *("improved", "95 % interval", "significant, days", "significant, blocks"),
        *("gain, significant (blocks)", "loss, significant (blocks)"),
        *("relative: ratio of means", "mean of ratios", "median of ratios, R > 0.1", "status"),
    )
    return Table("Mean over all cells, per layer", headers, rows, (0, 15))


def _coverage_table(findings: Findings) -> Table:
    rows = [
        (
            "stations" if r["product"] == "insitu" else r["product"],
            LAYERS[r["layer"]],
            number(r["n_cells"], 0),
            number(r["median_days"], 0) if r["n_cells"] else "–",
            number(r["n_days_period"], 0),
            str(r["first_date"] or "–"),
            str(r["last_date"] or "–"),
        )
        for r in findings.tables["fct_coverage"]
        .sort("product", "layer", descending=True)
        .to_dicts()
    ]
    headers = (
        *("product", "layer", "cells with anomalies", "median days with an anomaly"),
        *("days in the period", "first day", "last day"),
    )
    return Table("Data coverage", headers, rows, (0, 1))


def _robustness_table(findings: Findings) -> Table:
    frame = findings.tables["fct_robustness"].sort("variant", "target", "layer")
    rows = [
        (
            in_words(r["variant"]),
            TARGETS[r["target"]],
            LAYERS[r["layer"]],
            number(r["kendall_tau_with_base"], 2),
            ", ".join(map(factor_label, (r["top_three"] or "").split(", "))) or "–",
            number(r["n_cells"], 0),
            in_words(r["status"]),
        )
        for r in frame.to_dicts()
    ]
    headers = ("variant", "target", "layer", "tau with base", "three first", "cells", "status")
    return Table("Ranking of the factors under each variant", headers, rows, (0, 1, 2, 4, 6))


def _sensitivity_table(findings: Findings) -> Table:
    frame = findings.tables["fct_sensitivity"].sort("layer", "switch", "value", descending=True)
    rows = [
        (
            f"{r['switch']} = {r['value']}" if r["switch"] != "base" else "as in the study file",
            r["value_of_base"] if r["switch"] != "base" else "–",
            LAYERS[r["layer"]],
            number(r["n_cells"], 0),
            share(r["share_improved"]),
            signed(r["mean_delta_r"], 4),
            signed(r["mean_change"], 4),
            share(r["share_significant_block"]),
            number(r["kendall_tau_with_base"], 2),
            number(r["kendall_tau_of_factors"], 2),
            in_words(r["status"]),
        )
        for r in frame.to_dicts()
    ]
    headers = (
        *("rule", "in the study", "layer", "cells", "improved", "mean ΔR", "change, common cells"),
        *("significant, blocks", "tau of the cells", "tau of the factors", "status"),
    )
    return Table("Sensitivity of the gain to open choices", headers, rows, (0, 1, 2, 10))


def _paper_table(findings: Findings, numbers: tuple[int, ...] = ()) -> Table:
    """Claims of the published study, all or those with the given numbers."""
    claims = findings.tables["fct_paper_check"]
    if numbers:
        claims = claims.filter(pl.col("claim_number").is_in(numbers))

    def value(v: float | None) -> str:
        return "–" if v is None else f"{v:.3g}".replace("-", "−")

    rows = [
        (
            r["claim"],
            r["quantity"],
            r["where_published"],
            value(r["published"]) if r["published"] is not None else (r["expected"] or "–"),
            f"± {r['tolerance']:.2g}" if r["tolerance"] else "–",
            value(r["value"]),
            "" if r["unit"] == "1" else r["unit"],
            number(r["n_sample"], 0),
            in_words(r["status"]) + (f": {r['reason']}" if r["reason"] else ""),
        )
        for r in claims.sort("claim_number", "claim").to_dicts()
    ]
    headers = (
        *("claim", "quantity", "section", "published", "tolerance", "here", "unit", "sample"),
        "status",
    )
    return Table("The published study's numbers beside those of this study", headers, rows,
                 (0, 1, 2, 6, 8))  # fmt: skip


def _ledger_table(findings: Findings) -> Table:
    ledger = findings.tables["fct_ledger"].with_columns(
        whole=pl.col("n").sum().over("stage", "entity")
    )
    rows = [
        (
            in_words(r["stage"]),
            r["entity"],
            in_words(r["reason"]),
            number(r["n"], 0),
            f"{100 * r['n'] / r['whole']:.3g} %" if r["whole"] else "–",
        )
        for r in ledger.sort("stage", "entity", "reason").to_dicts()
    ]
    headers = ("stage", "entity", "reason", "number", "share of stage and entity")
    return Table("Everything that entered a stage, by reason", headers, rows, (0, 1, 2))


def _sources_table(findings: Findings) -> Table:
    end = ".source.redistribute"
    rows = []
    for key, value in sorted(findings.study.items()):
        if key.endswith(end):
            name = key.removesuffix(end)
            rows.append(
                (
                    name.split(".")[-1],
                    findings.study.get(f"{name}.title") or "–",
                    findings.study.get(f"{name}.source.licence") or "–",
                    findings.study.get(f"{name}.source.citation") or "–",
                    "yes" if value == "True" else "no",
                )
            )
    headers = ("source", "title", "licence", "cite", "may be passed on")
    return Table("Sources", headers, rows, (0, 1, 2, 3, 4))
