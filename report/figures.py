"""The report's figures for print: PDF and PNG files, drawn from the same definitions as the page."""

from __future__ import annotations

import textwrap
from pathlib import Path

import altair as alt
import vl_convert

from report.gallery import Panel, complete_spec, figures, shared_data
from report.maps import CELL_DEGREES, extent_of
from report.reading import read_findings

_WIDTH = 250
_DPI = 300
_CONFIG = {
    "font": "Liberation Sans",
    "view": {"stroke": "#bbbbbb"},
    "axis": {"labelColor": "#333333", "titleColor": "#222222", "titleFontWeight": "normal"},
    "title": {"anchor": "start", "fontSize": 12, "subtitleFontSize": 10},
    "style": {
        "land": {"fill": "#f1efe9", "color": "#8d8d8d", "strokeWidth": 0.6},
        "border": {"color": "#a9a9a9", "strokeWidth": 0.6, "strokeDash": [3, 2]},
        "gridcell": {"stroke": "#333333", "strokeWidth": 0.15},
        "unknown": {"color": "#8d8d8d", "strokeWidth": 0.8},
        "bin": {"stroke": "#333333", "strokeWidth": 0.15},
        "picked": {"color": "#000000", "strokeWidth": 2},
        "rule": {"color": "#999999", "strokeWidth": 1},
        "error": {"color": "#333333", "strokeWidth": 1.3},
        "value": {"color": "#333333"},
    },
}


def write_figures(warehouse: Path, out: Path, *, say=print) -> list[Path]:
    """Write every figure that has data as PDF and PNG for print.

    Args:
        warehouse: published file.
        out: folder, made if it is not there.
        say: where to tell what was written.
    Returns:
        paths of the files, two per figure.
    Raises:
        BadInput: there is no such warehouse.
    """
    findings = read_findings(warehouse)
    shared, written = shared_data(findings), []
    extent = extent_of(findings.cells)
    cell_px = max(2.6, CELL_DEGREES / (extent.east - extent.west) * _WIDTH)
    out.mkdir(parents=True, exist_ok=True)
    for number, figure in enumerate(figures(findings), 1):
        drawn = [_sized(panel) for panel in figure.panels if panel.charts]
        if not drawn:
            say(f"  {figure.title}: nothing to draw")
            continue
        note = (
            " · SYNTHETIC: says nothing about real products"
            if findings.build["is_synthetic"]
            else ""
        )
        whole = alt.concat(*drawn, columns=figure.columns, spacing=22).properties(
            title=alt.TitleParams(
                figure.title,
                subtitle=[f"{figure.n} · {findings.study['title']}{note}"],
                fontSize=14,
                offset=14,
            )
        )
        if not figure.legend:
            whole = whole.resolve_scale(color="independent")
        spec = complete_spec(
            whole, shared | figure.data, cell_px=cell_px, mask=findings.headline
        ) | {"config": _CONFIG, "background": "white", "padding": 8}
        stem = out / f"{number:02d}-{figure.key}"
        for suffix, content in (
            (".pdf", vl_convert.vegalite_to_pdf(spec)),
            (".png", vl_convert.vegalite_to_png(spec, ppi=_DPI)),
        ):
            path = stem.with_suffix(suffix)
            aside = path.with_name(path.name + ".part")
            aside.write_bytes(content)
            aside.replace(path)
            written.append(path)
        say(f"  {stem}.pdf, .png")
    return written


def _sized(panel: Panel) -> alt.TopLevelMixin:
    """A panel with fixed size, its title and caption above."""
    sized = []
    for chart in panel.charts:
        meta = chart.usermeta
        height = meta["aspect"] * _WIDTH if meta["kind"] == "map" else meta["height"]
        chart = chart.copy()
        chart.usermeta = alt.Undefined
        sized.append(chart.properties(width=_WIDTH, height=round(height)))
    title = alt.TitleParams(_wrapped(panel.title, 42), subtitle=_wrapped(panel.caption))
    sized[0] = sized[0].properties(title=title)
    return sized[0] if len(sized) == 1 else alt.vconcat(*sized, spacing=6)


def _wrapped(caption: str, width: int = 58) -> list[str]:
    return [line for part in caption.split("\n") for line in textwrap.wrap(part, width)]
