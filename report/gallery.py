"""Every figure of the report, defined once: `report.page` shows them, `report.figures` prints them."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field, replace

import altair as alt
import polars as pl

from report import charts
from report.maps import (
    cell_map,
    diverging,
    extent_of,
    histogram_rows,
    legend_histogram,
    outlines,
    sequential,
)
from report.reading import LAYERS, Findings, counted, factor_label, in_words, unit_label

PAPER = "Qiu et al. 2021"
TARGETS = {"delta_r": "ΔR", "r_baseline": "R baseline", "r_candidate": "R candidate"}
_IN_PAPER = ("tb_innovation_sd_k", "precipitation_skill", "microwave_roughness", "coupling_error")
_MOST_REASONS = 7


@dataclass(frozen=True)
class Panel:
    """One or more charts above each other under one title; a note where there is nothing to draw."""

    title: str
    charts: tuple[alt.TopLevelMixin, ...] = ()
    caption: str = ""
    note: str = ""


@dataclass(frozen=True)
class Figure:
    """A numbered figure: panels, how to read them, over how many cells, and the data behind them."""

    key: str
    section: str
    title: str
    guide: str
    n: str
    panels: tuple[Panel, ...]
    csv: str
    csv_columns: tuple[str, ...] = ()
    columns: int = 3
    data: dict[str, pl.DataFrame] = field(default_factory=dict)
    legend: tuple[tuple[str, str, float], ...] = ()
    published: str = ""


def shared_data(findings: Findings) -> dict[str, pl.DataFrame]:
    """Frames that several figures draw: the cells and the outlines of their map."""
    rounded = findings.cells.with_columns(pl.col(pl.Float64).round_sig_figs(5))
    rounded = rounded.with_columns(pl.col("latitude", "longitude").round(4))
    return {"cells": rounded, **outlines(extent_of(findings.cells))}


def figures(findings: Findings) -> list[Figure]:
    """All figures of a study, in the order of the page.

    Args:
        findings: the study.
    Returns:
        figures; one without data keeps its place and says why.
    """
    drawn = [
        _stations(findings),
        *(_skill(findings, layer) for layer in LAYERS),
        _significance(findings),
        _strata(findings),
        _factor_maps(findings),
        _cross_validation(findings),
        _importance(findings),
        *_groups(findings),
        _robustness(findings),
        _sensitivity(findings),
        _lags(findings),
        _cell_statuses(findings),
        _ledger(findings),
    ]
    return [f if any(p.charts for p in f.panels) else _without_data(f) for f in drawn]


def _without_data(figure: Figure) -> Figure:
    """The figure with one panel that says for which of its panels there is nothing to draw, and why."""
    titles: dict[str, list[str]] = {}
    for panel in figure.panels:
        titles.setdefault(panel.note, []).append(panel.title)
    note = "\n".join(f"{'; '.join(names)}: {why}" for why, names in titles.items())
    return replace(figure, panels=(Panel("Nothing to draw", note=note),), csv="", legend=())


def _why(statuses: pl.Series) -> str:
    """Distinct statuses of rows that are no cells."""
    words = ", ".join(in_words(status) for status in statuses.unique().sort())
    return words or "no cell has a result in this layer"


def _stations(findings: Findings) -> Figure:
    cells = findings.cells
    counts = cells.group_by("n_stations").agg(n_cells=pl.len()).sort("n_stations")
    counts = counts.with_columns(share=pl.col("n_cells") / cells.height).with_columns(
        label=pl.format("{} ({} %)", "n_cells", (pl.col("share") * 100).round(1))
    )
    most = max(cells["n_stations"].max(), 2)
    colour = alt.Color(
        "n_stations:Q",
        scale=alt.Scale(domain=[1, most], scheme=alt.SchemeParams("viridis", extent=[0.45, 1])),
        legend=None,
    )
    used = findings.stations.filter(status="ok")["n"].sum()
    left = findings.stations.filter(pl.col("status") != "ok")
    why = "; left out: " + ", ".join(f"{in_words(s)} {n}" for s, n in left.iter_rows())
    chart = cell_map(
        "n_stations",
        extent=extent_of(cells),
        colour=colour,
        status="ssm_status",
        tooltip=[
            alt.Tooltip("gridcell_id:N", title="cell"),
            alt.Tooltip("n_stations:Q", title="number of stations"),
            alt.Tooltip("stations:N", title="stations"),
            alt.Tooltip("representativeness_frac:Q", title="representativeness", format=".2f"),
        ],
    )
    bars = charts.stations_per_cell("station_counts", counts["n_cells"].max())
    return Figure(
        key="stations",
        section="where",
        title="Stations per grid cell",
        guide="Each square is a 9 km cell that holds at least one station; several stations of a"
        " cell are averaged. The brighter, the more stations.",
        n=f"{used:,} stations in {cells.height:,} cells{why if left.height else ''}",
        panels=(
            Panel("Cells with stations", (chart,)),
            Panel("Cells by number of stations", (bars,)),
        ),
        csv="cells",
        csv_columns=("gridcell_id", "latitude", "longitude", "n_stations", "stations"),
        columns=2,
        data={"station_counts": counts},
        published="Fig. 1",
    )


def _skill_tooltip(layer: str) -> list[alt.Tooltip]:
    return [
        alt.Tooltip("gridcell_id:N", title="cell"),
        alt.Tooltip("stations:N", title="stations"),
        alt.Tooltip(f"{layer}_n_days:Q", title="days"),
        alt.Tooltip(f"{layer}_r_baseline:Q", title="R baseline", format=".3f"),
        alt.Tooltip(f"{layer}_r_candidate:Q", title="R candidate", format=".3f"),
        alt.Tooltip(f"{layer}_delta_r:Q", title="gain ΔR", format="+.3f"),
        alt.Tooltip(f"{layer}_block_low:Q", title="ΔR from (blocks)", format="+.3f"),
        alt.Tooltip(f"{layer}_block_high:Q", title="ΔR to (blocks)", format="+.3f"),
        alt.Tooltip(f"{layer}_iid_low:Q", title="ΔR from (days)", format="+.3f"),
        alt.Tooltip(f"{layer}_iid_high:Q", title="ΔR to (days)", format="+.3f"),
    ]


def _skill(findings: Findings, layer: str) -> Figure:
    cells, extent = findings.cells, extent_of(findings.cells)
    skill = [f"{name}_r_{role}" for name in LAYERS for role in ("baseline", "candidate")]
    r_scale = sequential(pl.concat([cells[c] for c in skill]), "R (Spearman, –)")
    gain_scale = diverging(pl.concat([cells[f"{name}_delta_r"] for name in LAYERS]), "ΔR (–)")
    panels, data = [], {}
    for role in ("baseline", "candidate", "gain"):
        gain = role == "gain"
        column = f"{layer}_delta_r" if gain else f"{layer}_r_{role}"
        status = f"{layer}_status" if gain else f"{layer}_{role}_status"
        title = "ΔR = candidate − baseline"
        if not gain:
            product = findings.products[role]
            title = f"R of the {role}, {product}"
        known = cells[column].drop_nulls()
        if known.is_empty():
            panels.append(Panel(title, note=f"No cell has a value: {counted(cells[status])}."))
            continue
        unknown = cells.filter(pl.col(column).is_null())[status]
        caption = f"{known.len():,} cells, mean {known.mean():{'+' if gain else ''}.3f}"
        if unknown.len():
            caption += f"; crosses, no value: {counted(unknown)}"
        if not gain:
            caption += f"\n{findings.titles[product]}"
        scale = gain_scale if gain else r_scale
        data[f"histogram_{column}"] = histogram_rows(cells, column, scale, layer if gain else None)
        panels.append(
            Panel(
                title,
                (
                    cell_map(
                        column,
                        extent=extent,
                        colour=scale.encoding(column),
                        status=status,
                        tooltip=_skill_tooltip(layer),
                        layer=layer if gain else None,
                    ),
                    legend_histogram(f"histogram_{column}", scale, gain=gain),
                ),
                caption,
            )
        )
    n = cells[f"{layer}_delta_r"].drop_nulls().len()
    columns = [c for c in cells.columns if c.startswith(f"{layer}_")]
    return Figure(
        key=f"skill-{layer}",
        section="where",
        title=f"Skill and gain, {LAYERS[layer]} soil moisture",
        guide="R is the rank correlation of daily anomalies with the stations. In the map of the"
        " gain, blue cells gain, orange cells lose, grey ones show no significant difference. The"
        " histogram below a map is its legend; its end bars hold what lies beyond the scale.",
        n=f"{n:,} of {cells.height:,} cells with a gain",
        panels=tuple(panels),
        csv="cells",
        csv_columns=("gridcell_id", "latitude", "longitude", *columns),
        data=data,
        published="Fig. 2 and 3",
    )


def _significance(findings: Findings) -> Figure:
    rows = []
    for layer in LAYERS:
        known = findings.cells.filter(pl.col(f"{layer}_delta_r").is_not_null())
        for order, (test, significant) in enumerate(
            {
                "independent days": pl.col(f"{layer}_iid_significant"),
                "independent days, FDR\u00a05\u00a0%": pl.col(f"{layer}_iid_q") < 0.05,
                "blocks of days": pl.col(f"{layer}_block_significant"),
                "blocks of days, FDR\u00a05\u00a0%": pl.col(f"{layer}_block_q") < 0.05,
            }.items()
        ):
            start = 0.0
            for kind in charts.GAIN_COLOURS:
                positive = pl.col(f"{layer}_delta_r") > 0
                marked = significant.fill_null(False)
                chosen = (positive if kind.startswith("gain") else ~positive) & (
                    ~marked if "not" in kind else marked
                )
                n = known.filter(chosen).height
                share = n / known.height if known.height else 0.0
                rows.append((layer, test, order, kind, n, share, start, start + share))
                start += share
    names = ("layer", "test", "test_order", "class", "n", "share", "start", "end")
    panels = []
    for layer, words in LAYERS.items():
        n = findings.cells[f"{layer}_delta_r"].drop_nulls().len()
        if not n:
            why = counted(findings.cells[f"{layer}_status"])
            panels.append(Panel(words.capitalize(), note=f"No cell has a gain: {why}."))
            continue
        panels.append(
            Panel(
                f"{words.capitalize()}: share of cells",
                (charts.significance_bars("significance", layer),),
                f"{n:,} cells",
            )
        )
        panels.append(
            Panel(
                f"{words.capitalize()}: width of the intervals",
                (charts.interval_widths(layer),),
                "dashed: equal widths",
            )
        )
    return Figure(
        key="significance",
        section="where",
        title="Is the gain more than chance? Independent days against blocks of days",
        guide="The published study resampled single days as if they were independent. Soil"
        " moisture remembers, so that overstates certainty; resampling blocks of days does not."
        " FDR: share of false finds among all cells held at 5 %.",
        n=_n_of_layers(findings),
        panels=tuple(panels),
        csv="significance",
        columns=2,
        data={"significance": pl.DataFrame(rows, schema=names, orient="row")},
        legend=tuple((k, v, 1.0) for k, v in charts.GAIN_COLOURS.items()),
    )


def _n_of_layers(findings: Findings) -> str:
    return ", ".join(
        f"{words} {findings.cells[f'{layer}_delta_r'].drop_nulls().len():,} cells"
        for layer, words in LAYERS.items()
    )


def _strata(findings: Findings) -> Figure:
    summary = findings.tables["fct_skill_summary"]
    kinds = ("all", "region", "climate", "land cover", "network")
    rank = (
        pl.col("stratum")
        .str.split(":")
        .list.first()
        .replace_strict(kinds, range(len(kinds)), default=len(kinds))
    )
    frame = (
        summary.filter(pl.col("mean_delta_r").is_not_null())
        .with_columns(rank=rank, label=pl.format("{} ({})", "stratum", "n_cells"))
        .sort("layer", "rank", "stratum")
        .with_columns(
            order=pl.int_range(pl.len()).over("layer"),
            label=pl.col("label")
            .str.replace("_", " ", literal=True)
            .str.replace("^(region|climate|land cover|network): ", ""),
        )
        .select(
            *("layer", "stratum", "label", "order", "n_cells", "share_improved"),
            *("share_improved_ci_lower", "share_improved_ci_upper", "mean_delta_r"),
            *("mean_delta_r_ci_lower", "mean_delta_r_ci_upper", "status"),
        )
    )
    panels = []
    for layer, words in LAYERS.items():
        rows = frame.filter(layer=layer)
        if rows.is_empty():
            why = counted(findings.cells[f"{layer}_status"])
            panels.append(Panel(words.capitalize(), note=f"No cell has a gain: {why}."))
            continue
        without = rows.filter(pl.col("mean_delta_r_ci_lower").is_null())
        caption = f"no interval: {counted(without['status'])}" if without.height else ""
        chart = charts.strata("strata", layer, rows.height)
        panels.append(Panel(words.capitalize(), (chart,), caption))
    return Figure(
        key="strata",
        section="where",
        title="Mean gain by region, climate, land cover and network",
        guide="Dot: mean gain over the cells of the group (their number in brackets); line: its"
        " 95 % interval from resampling whole blocks of neighbouring cells.",
        n=_n_of_layers(findings),
        panels=tuple(panels),
        csv="strata",
        columns=2,
        data={"strata": frame},
    )


def _factor_maps(findings: Findings) -> Figure:
    cells, extent = findings.cells, extent_of(findings.cells)
    panels, data = [], {}
    for row in findings.factors.to_dicts():
        name, unit = row["factor"], unit_label(row["unit"])
        title = factor_label(name).capitalize() if name[:2] != "tb" else factor_label(name)
        title = title.replace("Lai", "LAI")
        known, status = cells[name].drop_nulls(), f"{name}_status"
        if known.is_empty():
            panels.append(Panel(title, note=f"No cell has a value: {counted(cells[status])}."))
            continue
        if known.min() < 0:
            scale = diverging(known, f"{factor_label(name)} ({unit})")
        else:
            scale = sequential(known, f"{factor_label(name)} ({unit})", "cividis")
        data[f"histogram_{name}"] = histogram_rows(cells, name, scale, None)
        caption = f"larger: {row['larger_means']}; {known.len():,} cells"
        unknown = cells.filter(pl.col(name).is_null())[status]
        if unknown.len():
            caption += f"; crosses, no value: {counted(unknown)}"
        tooltip = [
            alt.Tooltip("gridcell_id:N", title="cell"),
            alt.Tooltip("stations:N", title="stations"),
            alt.Tooltip(f"{name}:Q", title=f"{factor_label(name)} ({unit})", format=".3~g"),
        ]
        panels.append(
            Panel(
                title,
                (
                    cell_map(
                        name,
                        extent=extent,
                        colour=scale.encoding(name),
                        status=status,
                        tooltip=tooltip,
                    ),
                    legend_histogram(f"histogram_{name}", scale),
                ),
                caption,
            )
        )
    names = findings.factors["factor"].to_list()
    complete = cells.select(names).drop_nulls().height
    negative = "; ".join(
        f"{'stations' if product == 'insitu' else product} {n_negative:,} of {n:,}"
        for product, n, n_negative in findings.tables["coupling"].iter_rows()
        if n_negative
    )
    guide = "What may decide how much assimilation helps. Mind the sign: a larger skill is a smaller error."
    if negative:
        guide += (
            f" Vertical coupling below zero, of which the published study reports none: {negative}"
            " cells."
        )
    return Figure(
        key="factors",
        section="why",
        title="The eight control factors",
        guide=guide,
        n=f"{complete:,} of {cells.height:,} cells with all {len(names)} factors",
        panels=tuple(panels),
        csv="cells",
        csv_columns=("gridcell_id", "latitude", "longitude")
        + tuple(c for n in names for c in (n, f"{n}_status")),
        columns=4,
        data=data,
        published="Fig. 4",
    )


def _base(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.filter(pl.col("variant") == "base")


def _cross_validation(findings: Findings) -> Figure:
    schemes = {"random": "random folds", "spatial_block": "spatial blocks"}
    runs = _base(findings.tables["fct_forest_cross_validation"])
    null = findings.tables["fct_forest_null"]
    targets = list(TARGETS)
    frame = pl.concat(
        [
            runs.filter(pl.col("r").is_not_null()).select(
                "target", "layer", pl.col("scheme").replace(schemes), "run", "r"
            ),
            null.select(
                "target",
                "layer",
                pl.lit("shuffled target").alias("scheme"),
                "run",
                pl.col("null_value").alias("r"),
            ),
        ]
    ).with_columns(
        pl.col("r").round(4),
        target_label=pl.col("target").replace(TARGETS),
        target_order=pl.col("target").replace_strict(targets, range(3), return_dtype=pl.Int64),
    )
    panels = []
    for layer, words in LAYERS.items():
        rows = frame.filter(layer=layer)
        if rows.is_empty():
            why = _why(runs.filter(layer=layer)["status"])
            panels.append(Panel(words.capitalize(), note=f"No forest could be grown: {why}."))
            continue
        mean = {
            scheme: rows.filter(target="delta_r", scheme=scheme)["r"].mean()
            for scheme in ("random folds", "spatial blocks")
        }
        caption = "mean r of ΔR: " + ", ".join(
            f"{scheme} {value:.2f}" for scheme, value in mean.items() if value is not None
        )
        chart = charts.cross_validation("cross_validation", layer)
        panels.append(Panel(words.capitalize(), (chart,), caption))
    n = runs["n_cells"].max()
    return Figure(
        key="cross-validation",
        section="why",
        title="How well do the factors predict unseen cells?",
        guide="Correlation of predicted and actual values in cells the random forest has not seen;"
        " a box shows the runs, the dot their mean. Spatial blocks hold whole areas back. A"
        " forest of shuffled targets shows what chance gives.",
        n=f"{n or 0:,} cells",
        panels=tuple(panels),
        csv="cross_validation",
        columns=2,
        data={"cross_validation": frame},
        legend=(
            ("random folds", charts.PRODUCT_COLOURS["candidate"], 1.0),
            ("spatial blocks", charts.CATEGORY_COLOURS["lsm"], 1.0),
            ("shuffled target", charts.MUTED, 1.0),
        ),
        published="Fig. 5a",
    )


def _importance(findings: Findings) -> Figure:
    every = _base(findings.tables["fct_forest_importance"])
    category = findings.factors.select("factor", "category")
    frame = (
        every.filter(pl.col("importance_pct").is_not_null())
        .join(category, on="factor")
        .with_columns(
            label=pl.col("factor").map_elements(factor_label, return_dtype=pl.String),
            low=pl.col("importance_pct") - pl.col("importance_sd_pct"),
            high=pl.col("importance_pct") + pl.col("importance_sd_pct"),
            opacity=pl.when(target="r_baseline", category="rtm").then(0.35).otherwise(1.0),
        )
        .select(
            *("target", "layer", "factor", "label", "category", "opacity", "importance_rank"),
            *("importance_pct", "importance_sd_pct", "low", "high", "noise_floor_pct"),
            *("permutation_importance", "rank_stability_frac", "n_cells"),
        )
    )
    panels = []
    for target, target_words in TARGETS.items():
        for layer, words in LAYERS.items():
            title = f"{target_words}, {words}"
            rows = frame.filter(target=target, layer=layer)
            if rows.is_empty():
                why = _why(every.filter(target=target, layer=layer)["status"])
                panels.append(Panel(title, note=f"No importance: {why}."))
                continue
            labels = rows.sort("importance_rank", "factor")["label"].to_list()
            chart = charts.importance("importance", target, layer, labels=labels)
            caption = "pale: association only, the baseline sees no brightness temperature"
            panels.append(Panel(title, (chart,), caption if target == "r_baseline" else ""))
    return Figure(
        key="importance",
        section="why",
        title="Which factors matter most?",
        guide="Share of what the forest explains that goes to each factor, with the standard"
        " deviation over runs. Dashed: what a column of random numbers gets; bars no longer than"
        " that mean nothing. The shares sum to 100 % even where the forest predicts little.",
        n=f"{every['n_cells'].max() or 0:,} cells",
        panels=tuple(panels),
        csv="importance",
        columns=2,
        data={"importance": frame},
        legend=(
            ("land surface model", charts.CATEGORY_COLOURS["lsm"], 1.0),
            ("radiative transfer model", charts.CATEGORY_COLOURS["rtm"], 1.0),
            ("the same, for a baseline that sees no Tb", charts.CATEGORY_COLOURS["rtm"], 0.35),
        ),
        published="Fig. 5b to d",
    )


def p_text(value: float | None) -> str:
    """A p value for people.

    >>> p_text(0.0312), p_text(1.2e-9), p_text(None)
    ('0.031', '<\xa00.0001', '–')
    """
    if value is None or math.isnan(value):
        return "–"
    return "<\u00a00.0001" if value < 1e-4 else f"{value:.2g}"


def _short(value: float) -> str:
    return (f"{value:.3g}" if abs(value) >= 1 else f"{value:.2g}").replace("-", "−")


def _groups(findings: Findings) -> list[Figure]:
    groups, tests = findings.tables["fct_factor_group"], findings.tables["fct_factor_anova"]
    order = [f for f in _IN_PAPER if f in findings.factors["factor"].to_list()]
    order += [f for f in findings.factors["factor"].to_list() if f not in order]
    facts = {row["factor"]: row for row in findings.factors.to_dicts()}
    return [_group_figure(findings, groups, tests, facts[factor]) for factor in order]


def _group_figure(findings, groups: pl.DataFrame, tests: pl.DataFrame, fact: dict) -> Figure:
    factor = fact["factor"]
    name, unit = factor_label(factor), unit_label(fact["unit"])
    every = groups.filter(factor=factor)
    frame = every.filter(status="ok").with_columns(
        group_label=pl.struct("factor_lower", "factor_upper", "n_cells").map_elements(
            lambda g: "{}|to {}|n {n_cells}".format(
                *(_short(g[k]) for k in ("factor_lower", "factor_upper")), **g
            ),
            return_dtype=pl.String,
        )
    )
    panels = []
    for targets in (["delta_r"], ["r_baseline", "r_candidate"]):
        words = "ΔR" if len(targets) == 1 else "R"
        for layer, layer_words in LAYERS.items():
            title = f"{words}, {layer_words}"
            if frame.filter(pl.col("target").is_in(targets), layer=layer).is_empty():
                why = _why(every.filter(layer=layer)["status"])
                panels.append(Panel(title, note=f"No groups of cells: {why}."))
                continue
            chart = charts.factor_groups(
                "groups_" + factor, factor, layer, targets, title=f"{name} ({unit})"
            )
            lines = [
                _tests_in_words(tests, factor, target, layer, named=len(targets) > 1)
                for target in targets
            ]
            panels.append(Panel(title, (chart,), "\n".join(lines)))
    n = tests.filter(factor=factor, target="delta_r")["n_cells"].max()
    rule = fact["exclusion_rule"].replace("drop", "left out:").replace("none", "none left out")
    return Figure(
        key=f"groups-{factor.replace('_', '-')}",
        section="groups",
        title=f"Groups of cells by {name} ({unit})",
        guide=f"Cells in groups of rising {name} ({rule}); a larger value means {fact['larger_means']}."
        " Box: quartiles, white line: median, dot: mean, whiskers: 1.5 interquartile ranges.",
        n=f"{n or 0:,} cells",
        panels=tuple(panels),
        csv="groups_" + factor,
        columns=2,
        data={
            "groups_" + factor: frame.drop("message", "status").with_columns(status=pl.lit("ok"))
        },
        legend=tuple((TARGETS[k], colour, 1.0) for k, colour in charts.TARGET_COLOURS.items()),
        published={
            "tb_innovation_sd_k": "Fig. 6",
            "precipitation_skill": "Fig. 7",
            "microwave_roughness": "Fig. 8",
            "coupling_error": "Fig. 9",
        }.get(factor, ""),
    )


def _tests_in_words(tests, factor, target, layer, *, named: bool) -> str:
    rows = tests.filter(factor=factor, target=target, layer=layer).to_dicts()
    if not rows or rows[0]["p_value"] is None:
        return "no test" + (f": {in_words(rows[0]['status'])}" if rows else "")
    row = rows[0]
    name = {"r_baseline": "baseline: ", "r_candidate": "candidate: "}.get(target, "")
    text = (
        f"{name if named else ''}ANOVA p\u00a0{p_text(row['p_value'])}"
        f" (spatial\u00a0{p_text(row['p_value_spatial'])}),"
        f" trend ρ\u00a0{row['trend_rho']:+.2f}, p\u00a0{p_text(row['trend_p_value'])}"
        f" (spatial\u00a0{p_text(row['trend_p_value_spatial'])})"
    )
    return text.replace("-", "−")


def _robustness(findings: Findings) -> Figure:
    every = findings.tables["fct_robustness"]
    variants = (
        *("pearson", "precipitation_alternative", "representative_stations", "soil_alternative"),
        "block_significant",
    )
    targets = list(TARGETS)
    frame = (
        every.filter(pl.col("kendall_tau_with_base").is_not_null(), pl.col("variant") != "base")
        .with_columns(
            label=pl.col("variant").str.replace_all("_", " "),
            order=pl.col("variant").replace_strict(variants, range(len(variants)), default=9),
            model=pl.format(
                "{}|{}",
                pl.col("target").replace(
                    {"delta_r": "ΔR| ", "r_baseline": "R|base", "r_candidate": "R|cand"}
                ),
                pl.col("layer"),
            ),
            model_order=pl.col("target").replace_strict(targets, range(3), return_dtype=pl.Int64)
            * 2
            + (pl.col("layer") == "rzsm"),
        )
        .sort("order", "model_order")
    )
    if frame.is_empty():
        note = f"No variant has a ranking: {_why(every['status'])}."
        panels = (Panel("Kendall's tau with the base", note=note),)
    else:
        n = frame["variant"].n_unique()
        absent = [v for v in variants if v not in frame["variant"].to_list()]
        caption = f"not in this study: {', '.join(map(in_words, absent))}" if absent else ""
        chart = charts.robustness("robustness", n)
        panels = (Panel("Kendall's tau with the base", (chart,), caption),)
    return Figure(
        key="robustness",
        section="checks",
        title="Do other choices rank the factors as the base does?",
        guide="Agreement of the ranking of the factors: 1 is the same order, 0 is no relation."
        " About 0.7 is what the forests' own noise leaves. ssm: surface, rzsm: root zone.",
        n=f"{every['n_cells'].max() or 0:,} cells at most",
        panels=panels,
        csv="robustness",
        columns=1,
        data={"robustness": frame},
    )


def _sensitivity(findings: Findings) -> Figure:
    every = findings.tables["fct_sensitivity"]
    frame = (
        every.filter(pl.col("mean_delta_r").is_not_null())
        .with_columns(
            label=pl.when(switch="base")
            .then(pl.lit("as in the study file"))
            .otherwise(pl.format("{} = {}", "switch", "value")),
            is_base=pl.col("switch") == "base",
        )
        .sort("layer", ~pl.col("is_base"), "switch", "value")
        .with_columns(order=pl.int_range(pl.len()).over("layer"))
        .drop("is_base")
    )
    empty = (
        "Not computed for these settings and raw files. To fill it:"
        f" make sensitivity STUDY={findings.build['study']}"
    )
    panels = []
    for layer, words in LAYERS.items():
        rows = frame.filter(layer=layer)
        if rows.is_empty():
            why = empty if every.is_empty() else "No cell has a gain in this layer."
            panels.append(Panel(words.capitalize(), note=why))
        else:
            chart = charts.sensitivity("sensitivity", layer, rows.height)
            panels.append(Panel(words.capitalize(), (chart,)))
    if every.is_empty():
        panels = panels[:1]
    return Figure(
        key="sensitivity",
        section="checks",
        title="What does each open choice do to the mean gain?",
        guide="One rule of the study file changed at a time, everything else as it is; the line is"
        " the study itself.",
        n=_n_of_layers(findings),
        panels=tuple(panels),
        csv="sensitivity",
        columns=2,
        data={"sensitivity": frame},
    )


def _lags(findings: Findings) -> Figure:
    panels, data = [], {}
    for table, column, title, words in (
        ("fct_time_lag", "lag_hours", "Stations' clocks", "lag of the station (hours)"),
        ("fct_precipitation_lag", "lag_days", "Days of the precipitation", "lag (days)"),
    ):
        rows = findings.tables[table].filter(pl.col("median_r").is_not_null())
        if rows.is_empty():
            panels.append(Panel(title, note="The study has no source for this check."))
            continue
        best = rows.sort("median_r", descending=True).group_by("product", maintain_order=True)
        peaks = ", ".join(f"{r['product']} {r[column]}" for r in best.first().to_dicts())
        data[table] = rows
        roles = {key: role for role, key in findings.products.items()}
        chart = charts.lags(
            table,
            column,
            words,
            steps=rows[column].unique().sort().to_list(),
            products={p: roles.get(p, "") for p in rows["product"].unique().sort()},
        )
        panels.append(Panel(title, (chart,), f"best lag: {peaks}"))
    return Figure(
        key="lags",
        section="checks",
        title="Do clocks and days fit?",
        guide="Correlation with the candidate when one series is shifted in time. The peak should"
        " be at zero; elsewhere a time zone or a day boundary is wrong.",
        n=f"{max((f['n_cells'].max() for f in data.values()), default=0):,} cells",
        panels=tuple(panels),
        csv=next(iter(data), ""),
        columns=2,
        data=data,
    )


def _shares(counts: pl.DataFrame) -> pl.DataFrame:
    """Shares of reasons within rows, `ok` first, with the order in which they are drawn."""
    return (
        counts.with_columns(
            share=pl.col("n") / pl.col("n").sum().over("row"),
            reason_order=pl.when(reason="ok").then(0).otherwise(1),
        )
        .sort("order", "reason_order", "reason")
        .with_columns(pl.col("reason").str.replace_all("_", " "))
    )


def _legend(frame: pl.DataFrame) -> list[str]:
    """Reasons of a frame, `ok` first, then by how much they left out."""
    counts = (
        frame.group_by("reason").agg(n=pl.col("share").sum()).sort("n", "reason", descending=True)
    )
    reasons = counts["reason"].to_list()
    return ["ok", *(r for r in reasons if r != "ok")]


def _colours(reasons: list[str]) -> tuple[tuple[str, str, float], ...]:
    colours = zip(reasons, charts.reason_colours(reasons), strict=True)
    return tuple((reason, colour, 1.0) for reason, colour in colours)


def _cell_statuses(findings: Findings) -> Figure:
    cells = findings.cells
    columns = {f"gain, {words}": f"{layer}_status" for layer, words in LAYERS.items()}
    columns |= {factor_label(f): f"{f}_status" for f in findings.factors["factor"].to_list()}
    counts = pl.concat(
        cells.group_by(pl.col(column).fill_null("unknown").alias("reason"))
        .agg(n=pl.len())
        .select(pl.lit(row).alias("row"), pl.lit(order).alias("order"), "reason", "n")
        for order, (row, column) in enumerate(columns.items())
    )
    frame = _shares(counts)
    chart = charts.kept_and_left("cell_statuses", list(columns), "share of cells", _legend(frame))
    left = counts.filter(pl.col("reason") != "ok").sort("order", "reason").to_dicts()
    caption = "; ".join(f"{r['row']}: {in_words(r['reason'])} {r['n']:,}" for r in left)
    return Figure(
        key="cell-statuses",
        section="left-out",
        title="Which cells have a result, and why do the others not?",
        guide="ok: there is a value; every other status is the one reason why there is none.",
        n=f"{cells.height:,} cells",
        panels=(Panel("Status of the cells", (chart,), caption or "all ok"),),
        csv="cell_statuses",
        columns=1,
        data={"cell_statuses": frame},
        legend=_colours(_legend(frame)),
    )


def _ledger(findings: Findings) -> Figure:
    ledger = findings.tables["fct_ledger"]
    rows = (
        ledger.with_columns(
            row=pl.format("{}: {}", pl.col("stage").str.replace_all("_", " "), pl.col("entity"))
        )
        .filter((pl.col("reason") != "ok").any().over("row"))
        .select("row", "reason", "n")
    )
    frame = _shares(rows.with_columns(order=pl.col("row").rank("dense").cast(pl.Int64)))
    shown = _legend(frame)[:_MOST_REASONS]
    frame = frame.with_columns(
        reason=pl.when(pl.col("reason").is_in(shown))
        .then("reason")
        .otherwise(pl.lit("other reasons"))
    )
    whole = ledger.select(pl.struct("stage", "entity").n_unique()).item()
    touched = frame["row"].unique().sort().to_list()
    if frame.is_empty():
        panels = (Panel("Reason ledger", note="Nothing was left out at any stage."),)
    else:
        title = "share of what entered the stage"
        chart = charts.kept_and_left("ledger", touched, title, _legend(frame))
        panels = (Panel("Stages that left something out", (chart,)),)
    return Figure(
        key="ledger",
        section="left-out",
        title="Reason ledger",
        guide="What entered each stage from raw file to result, and what was left out there, by"
        " reason. Every stage, with counts, is in the table below.",
        n=f"{len(touched)} of {whole} stages left something out",
        panels=panels,
        csv="ledger",
        columns=1,
        data={"ledger": frame},
        legend=_colours(_legend(frame)),
    )


def complete_spec(
    chart: alt.TopLevelMixin, data: dict[str, pl.DataFrame], *, cell_px: object, mask: str
) -> dict:
    """Vega-Lite specification of a chart with its data and the parameters the maps read.

    Args:
        chart: one chart or several put together.
        data: frames by the names the chart uses; others are left out.
        cell_px: side of a cell in pixels, a number or an expression.
        mask: whose significance greys cells: iid, block or none.
    Returns:
        specification; without frames for data that the page holds.
    """
    spec = chart.to_dict(validate=False)
    side = {"expr": cell_px} if isinstance(cell_px, str) else {"value": cell_px}
    spec["params"] = [
        *spec.get("params", []),
        {"name": "mask", "value": mask},
        {"name": "picked", "value": ""},
        {"name": "cell_px", **side},
    ]
    text = json.dumps(spec)
    used = {name: frame for name, frame in data.items() if f'"name": "{name}"' in text}
    if used:
        spec["datasets"] = {name: frame.to_dicts() for name, frame in used.items()}
    return spec
