"""Charts of statistics over cells: one function per kind of chart, the same for page and print.

A function names the data it draws; `report.gallery` gives the frames. Widths are left to whoever
shows the chart; `usermeta.height` is what suits it.
"""

from __future__ import annotations

import altair as alt

from report.maps import MUTED

PRODUCT_COLOURS = {"insitu": "#808080", "baseline": "#e08214", "candidate": "#2b83ba"}
TARGET_COLOURS = {
    "r_baseline": PRODUCT_COLOURS["baseline"],
    "r_candidate": PRODUCT_COLOURS["candidate"],
    "delta_r": "#5e6fa8",
}
CATEGORY_COLOURS = {"lsm": "#1b9e77", "rtm": "#9970ab"}
GAIN_COLOURS = {
    "gain, significant": "#2166ac",
    "gain, not significant": "#a9c8de",
    "loss, not significant": "#f3cfa5",
    "loss, significant": "#b35806",
}
_REASONS = (  # Okabe and Ito's colours, which colour-blind people can tell apart
    *("#d55e00", "#e69f00", "#cc79a7", "#0072b2", "#009e73", "#f0e442", "#56b4e9", "#7f7f7f"),
)
_ROW = 24


def _scale(colours: dict[str, str]) -> alt.Scale:
    return alt.Scale(domain=list(colours), range=list(colours.values()))


def _meta(height: float, kind: str = "chart") -> dict:
    return {"kind": kind, "height": height}


def _top(title: str | None = None, **more) -> alt.Legend:
    return alt.Legend(orient="top", title=title, **more)


def _names() -> alt.Axis:
    """Axis of names: one too long for a phone is broken at a space, into two lines."""
    is_long = "length(datum.label) > 20"
    parts = "split(replace(datum.label, /^(.{10,20}) /, '$1|'), '|')"
    return alt.Axis(
        labelExpr=f"{is_long} ? {parts} : datum.label",
        labelLineHeight=11,
        labelOffset={"condition": {"test": is_long, "value": -5.5}, "value": 0},
        labelLimit=190,
    )


def _colours_of(products: dict[str, str]) -> alt.Scale:
    """Colours of products: those of their role, or others for products without one."""
    spare = iter(("#1b9e77", "#9970ab", "#cc79a7", "#0072b2") * 3)
    return _scale({p: PRODUCT_COLOURS.get(role) or next(spare) for p, role in products.items()})


def stations_per_cell(data: str, most: int) -> alt.LayerChart:
    """Bars: number of cells by their number of stations, with share."""
    base = alt.Chart(alt.NamedData(data)).encode(
        y=alt.Y("n_stations:O", title="stations in the cell"),
        x=alt.X(
            "n_cells:Q",
            title="cells",
            scale=alt.Scale(domainMax=1.5 * most),
            axis=alt.Axis(tickCount=4),
        ),
    )
    bars = base.mark_bar(color=PRODUCT_COLOURS["candidate"]).encode(
        tooltip=["n_stations:O", "n_cells:Q", alt.Tooltip("share:Q", format=".2%")]
    )
    text = base.mark_text(align="left", dx=4, style="value").encode(text="label:N")
    return alt.layer(bars, text).properties(usermeta=_meta(150))


def significance_bars(data: str, layer: str) -> alt.LayerChart:
    """Stacked shares of cells by sign and significance of the gain, a row per way of judging."""
    base = alt.Chart(alt.NamedData(data)).transform_filter(f"datum.layer === '{layer}'")
    rows = alt.Y("test:N", title=None, sort=alt.SortField("test_order"), axis=_names())
    bars = base.mark_bar().encode(
        y=rows,
        x=alt.X(
            "start:Q",
            title="share of cells",
            scale=alt.Scale(domain=[0, 1]),
            axis=alt.Axis(format="%", tickCount=5),
        ),
        x2="end:Q",
        color=alt.Color(
            "class:N", scale=_scale(GAIN_COLOURS), legend=_top(columns=2, symbolLimit=0)
        ),
        tooltip=["test:N", "class:N", "n:Q", alt.Tooltip("share:Q", format=".1%")],
    )
    text = (
        base.transform_filter("datum.share >= 0.1")
        .transform_calculate(middle="(datum.start + datum.end) / 2")
        .mark_text(fontSize=10)
        .encode(
            y=rows,
            x="middle:Q",
            text=alt.Text("share:Q", format=".0%"),
            color=alt.condition(
                "indexof(datum.class, 'not') > 0", alt.value("#222222"), alt.value("white")
            ),
        )
    )
    return alt.layer(bars, text).properties(usermeta=_meta(5 * _ROW))


def interval_widths(layer: str) -> alt.LayerChart:
    """Width of each cell's interval of the gain: independent days against blocks of days."""
    base = (
        alt.Chart(alt.NamedData("cells"))
        .transform_filter(f"datum.{layer}_iid_low !== null && datum.{layer}_block_low !== null")
        .transform_calculate(
            iid=f"datum.{layer}_iid_high - datum.{layer}_iid_low",
            block=f"datum.{layer}_block_high - datum.{layer}_block_low",
        )
    )
    x = alt.X("iid:Q", title="width by independent days (ΔR, –)", axis=alt.Axis(tickCount=6))
    points = base.mark_circle(size=14, opacity=0.5, color=PRODUCT_COLOURS["candidate"]).encode(
        x=x,
        y=alt.Y("block:Q", title="width by blocks of days (ΔR, –)"),
        tooltip=[
            alt.Tooltip("gridcell_id:N", title="cell"),
            alt.Tooltip("stations:N", title="stations"),
            alt.Tooltip("iid:Q", format=".3f"),
            alt.Tooltip("block:Q", format=".3f"),
        ],
    )
    equal = base.mark_line(style="rule", strokeDash=[4, 3]).encode(x=x, y="iid:Q")
    return alt.layer(points, equal).properties(usermeta=_meta(220, "points"))


def strata(data: str, layer: str, n: int) -> alt.LayerChart:
    """Mean gain with interval, a row per stratum."""
    base = alt.Chart(alt.NamedData(data)).transform_filter(f"datum.layer === '{layer}'")
    rows = alt.Y("label:N", title=None, sort=alt.SortField("order"), axis=_names())
    zero = base.mark_rule(style="rule").encode(x=alt.datum(0))
    tooltip = [
        "stratum:N",
        alt.Tooltip("n_cells:Q", title="cells"),
        alt.Tooltip("mean_delta_r:Q", title="mean ΔR", format="+.3f"),
        alt.Tooltip("mean_delta_r_ci_lower:Q", title="from", format="+.3f"),
        alt.Tooltip("mean_delta_r_ci_upper:Q", title="to", format="+.3f"),
        alt.Tooltip("share_improved:Q", title="share improved", format=".0%"),
        "status:N",
    ]
    interval = (
        base.transform_filter("datum.mean_delta_r_ci_lower !== null")
        .mark_rule(strokeWidth=2, color=PRODUCT_COLOURS["candidate"])
        .encode(y=rows, x="mean_delta_r_ci_lower:Q", x2="mean_delta_r_ci_upper:Q")
    )
    colour = PRODUCT_COLOURS["candidate"]
    point = base.mark_point(filled=True, size=46, opacity=1, color=colour).encode(
        y=rows,
        x=alt.X("mean_delta_r:Q", title="mean ΔR (–)", axis=alt.Axis(tickCount=6)),
        tooltip=tooltip,
    )
    return alt.layer(zero, interval, point).properties(usermeta=_meta(n * _ROW))


def cross_validation(data: str, layer: str) -> alt.LayerChart:
    """Boxes of the cross-validated correlation over runs, by target and scheme."""
    base = alt.Chart(alt.NamedData(data)).transform_filter(f"datum.layer === '{layer}'")
    colours = {
        "random folds": PRODUCT_COLOURS["candidate"],
        "spatial blocks": CATEGORY_COLOURS["lsm"],
        "shuffled target": MUTED,
    }
    x = alt.X("target_label:N", title=None, sort=alt.SortField("target_order"), axis=_level())
    offset = alt.XOffset("scheme:N", sort=list(colours))
    zero = base.mark_rule(style="rule").encode(y=alt.datum(0))
    box = base.mark_boxplot(size=16, outliers={"size": 8}).encode(
        x=x,
        xOffset=offset,
        y=alt.Y("r:Q", title="r of predicted and actual (–)"),
        color=alt.Color("scheme:N", scale=_scale(colours), legend=_top()),
    )
    mean = base.mark_point(filled=True, color="white", stroke="#222222", size=22).encode(
        x=x,
        xOffset=offset,
        y="mean(r):Q",
        tooltip=["scheme:N", alt.Tooltip("mean(r):Q", format=".3f"), "count():Q"],
    )
    return alt.layer(zero, box, mean).properties(usermeta=_meta(240))


def _level() -> alt.Axis:
    return alt.Axis(labelAngle=0, grid=False)


def importance(data: str, target: str, layer: str, *, labels: list[str]) -> alt.LayerChart:
    """Bars of importance with standard deviation over runs, and what noise would get."""
    base = alt.Chart(alt.NamedData(data)).transform_filter(
        f"datum.target === '{target}' && datum.layer === '{layer}'"
    )
    rows = alt.Y("label:N", title=None, sort=labels, axis=alt.Axis(labelLimit=150))
    bars = base.mark_bar().encode(
        y=rows,
        x=alt.X("importance_pct:Q", title="importance (%)"),
        color=alt.Color(
            "category:N",
            scale=_scale(CATEGORY_COLOURS),
            legend=_top(
                labelExpr="datum.value === 'lsm' ? 'land surface model' : 'radiative transfer model'",
                labelLimit=200,
            ),
        ),
        opacity=alt.Opacity("opacity:Q", scale=None, legend=None),
        tooltip=[
            alt.Tooltip("label:N", title="factor"),
            alt.Tooltip("importance_pct:Q", title="importance (%)", format=".1f"),
            alt.Tooltip("importance_sd_pct:Q", title="SD over runs (%)", format=".1f"),
            alt.Tooltip("noise_floor_pct:Q", title="noise column (%)", format=".1f"),
            alt.Tooltip("permutation_importance:Q", title="R² lost when shuffled", format=".3f"),
            alt.Tooltip("rank_stability_frac:Q", title="runs with this rank", format=".0%"),
            alt.Tooltip("n_cells:Q", title="cells"),
        ],
    )
    error = base.mark_rule(style="error").encode(y=rows, x="low:Q", x2="high:Q")
    noise = base.mark_rule(style="error", strokeDash=[4, 3]).encode(x="mean(noise_floor_pct):Q")
    return alt.layer(bars, noise, error).properties(usermeta=_meta(len(labels) * _ROW))


def factor_groups(
    data: str, factor: str, layer: str, targets: list[str], *, title: str
) -> alt.LayerChart:
    """Boxes of a target by groups of cells with a rising factor.

    Args:
        data: frame with quartiles, whiskers and label of every group.
        factor, layer: which rows.
        targets: what to show; more than one stand side by side.
        title: the factor's name and unit.
    """
    base = alt.Chart(alt.NamedData(data)).transform_filter(
        f"datum.factor === '{factor}' && datum.layer === '{layer}'"
        f" && indexof({targets}, datum.target) >= 0 && datum.status === 'ok'"
    )
    x = alt.X(
        "group_label:N",
        title=title,
        sort=alt.SortField("group_index"),
        axis=alt.Axis(labelAngle=0, grid=False, labelExpr="split(datum.label, '|')", labelLimit=80),
    )
    several = len(targets) > 1
    where = {"x": x}
    if several:
        where["xOffset"] = alt.XOffset("target:N", sort=targets)
    names = {"r_baseline": "R baseline", "r_candidate": "R candidate", "delta_r": "ΔR"}
    colour = alt.Color(
        "target:N",
        scale=_scale(TARGET_COLOURS),
        legend=_top(labelExpr=f"{names}[datum.value]"),
    )
    tooltip = [
        alt.Tooltip("factor_lower:Q", title="factor from", format=".3~g"),
        alt.Tooltip("factor_upper:Q", title="to", format=".3~g"),
        alt.Tooltip("n_cells:Q", title="cells"),
        alt.Tooltip("mean:Q", format=".3f"),
        alt.Tooltip("median:Q", format=".3f"),
        alt.Tooltip("q25:Q", title="lower quartile", format=".3f"),
        alt.Tooltip("q75:Q", title="upper quartile", format=".3f"),
        alt.Tooltip("n_outliers:Q", title="beyond the whiskers"),
        alt.Tooltip("p_mean_above_zero:Q", title="p, mean above 0", format=".2~g"),
        alt.Tooltip("p_mean_above_zero_spatial:Q", title="the same, spatial", format=".2~g"),
    ]
    y = alt.Y("whisker_low:Q", title="R (–)" if several else "ΔR (–)", scale=alt.Scale(zero=False))
    width = 13 if several else 26
    whisker = base.mark_rule(style="error", strokeWidth=1).encode(**where, y=y, y2="whisker_high:Q")
    box = base.mark_bar(size=width).encode(
        **where, y="q25:Q", y2="q75:Q", color=colour, tooltip=tooltip
    )
    median = base.mark_tick(color="white", thickness=2, size=width).encode(**where, y="median:Q")
    mean = base.mark_point(filled=True, color="white", stroke="#222222", size=26).encode(
        **where, y="mean:Q", tooltip=tooltip
    )
    layers = [whisker, box, median, mean]
    if not several:
        layers.insert(0, base.mark_rule(style="rule").encode(y=alt.datum(0)))
    return alt.layer(*layers).properties(usermeta=_meta(225))


def kept_and_left(data: str, rows: list[str], title: str, reasons: list[str]) -> alt.Chart:
    """Stacked shares: what was used (`ok`) and what was left out, a colour per reason."""
    return (
        alt.Chart(alt.NamedData(data))
        .mark_bar()
        .encode(
            y=alt.Y("row:N", title=None, sort=rows, axis=_names()),
            x=alt.X(
                "share:Q",
                title=title,
                stack="zero",
                scale=alt.Scale(domain=[0, 1]),
                axis=alt.Axis(format="%", tickCount=4),
            ),
            color=alt.Color(
                "reason:N",
                scale=alt.Scale(domain=reasons, range=reason_colours(reasons)),
                legend=_top(columns=2, labelLimit=170, symbolLimit=0),
            ),
            order="reason_order:Q",
            tooltip=[
                "row:N",
                "reason:N",
                alt.Tooltip("n:Q", format=","),
                alt.Tooltip("share:Q", format=".2%"),
            ],
        )
        .properties(usermeta=_meta(len(rows) * _ROW))
    )


def reason_colours(reasons: list[str]) -> list[str]:
    """A calm colour for `ok`, strong ones for the others."""
    return ["#a8c5d6" if r == "ok" else _REASONS[i % len(_REASONS)] for i, r in enumerate(reasons)]


def sensitivity(data: str, layer: str, n: int) -> alt.LayerChart:
    """Mean gain under each changed rule, beside that of the study as it is."""
    base = alt.Chart(alt.NamedData(data)).transform_filter(f"datum.layer === '{layer}'")
    x = alt.X("mean_delta_r:Q", title="mean ΔR (–)", scale=alt.Scale(zero=False, padding=14))
    line = base.transform_filter("datum.switch === 'base'").mark_rule(style="error").encode(x=x)
    point = base.mark_point(filled=True, size=52, color=PRODUCT_COLOURS["candidate"]).encode(
        x=x,
        y=alt.Y("label:N", title=None, sort=alt.SortField("order"), axis=_names()),
        tooltip=[
            alt.Tooltip("label:N", title="rule"),
            alt.Tooltip("value_of_base:N", title="in the study"),
            alt.Tooltip("mean_delta_r:Q", title="mean ΔR", format="+.4f"),
            alt.Tooltip("mean_change:Q", title="change, common cells", format="+.4f"),
            alt.Tooltip("share_improved:Q", title="share improved", format=".1%"),
            alt.Tooltip("kendall_tau_with_base:Q", title="tau of the cells", format=".2f"),
            alt.Tooltip("n_cells:Q", title="cells"),
            "status:N",
        ],
    )
    return alt.layer(line, point).properties(usermeta=_meta(n * _ROW))


def robustness(data: str, n: int) -> alt.LayerChart:
    """Kendall's tau of each variant's ranking of the factors with the base's."""
    base = alt.Chart(alt.NamedData(data)).encode(
        y=alt.Y("label:N", title=None, sort=alt.SortField("order"), axis=_names()),
        x=alt.X(
            "model:N",
            title=None,
            sort=alt.SortField("model_order"),
            axis=alt.Axis(labelAngle=0, labelExpr="split(datum.label, '|')", labelFontSize=9),
        ),
    )
    scale = alt.Scale(domain=[0, 1], scheme="cividis", clamp=True)
    tooltip = [
        alt.Tooltip("label:N", title="variant"),
        "target:N",
        "layer:N",
        alt.Tooltip("kendall_tau_with_base:Q", title="tau", format=".2f"),
        "top_three:N",
        alt.Tooltip("n_cells:Q", title="cells"),
        "status:N",
    ]
    field = base.mark_rect().encode(
        color=alt.Color("kendall_tau_with_base:Q", scale=scale, legend=None), tooltip=tooltip
    )
    text = base.mark_text(fontSize=11).encode(
        text=alt.Text("kendall_tau_with_base:Q", format=".2f"),
        color=alt.condition(
            "datum.kendall_tau_with_base > 0.55", alt.value("#111111"), alt.value("white")
        ),
    )
    return alt.layer(field, text).properties(usermeta=_meta(n * 30 + 10))


def lags(
    data: str, field: str, title: str, *, steps: list[int], products: dict[str, str]
) -> alt.LayerChart:
    """Median correlation over cells by lag, a line per product; zero lag marked."""
    base = alt.Chart(alt.NamedData(data))
    zero = base.mark_rule(style="rule").encode(x=alt.datum(0))
    line = base.mark_line(point={"size": 28, "filled": True}).encode(
        x=alt.X(
            f"{field}:Q",
            title=title,
            axis=alt.Axis(values=steps if len(steps) < 9 else steps[::4], format="d"),
        ),
        y=alt.Y("median_r:Q", title="median R over cells (–)"),
        color=alt.Color(
            "product:N",
            scale=_colours_of(products),
            legend=_top(),
        ),
        tooltip=[
            "product:N",
            f"{field}:Q",
            alt.Tooltip("median_r:Q", format=".3f"),
            alt.Tooltip("n_cells:Q", title="cells"),
        ],
    )
    return alt.layer(zero, line).properties(usermeta=_meta(200))


def anomaly_series() -> alt.LayerChart:
    """Daily anomalies of one cell and layer: a line per product, broken where a day has none."""
    base = alt.Chart(alt.NamedData("series"))
    zero = base.mark_rule(style="rule").encode(y=alt.datum(0))
    line = base.mark_line(strokeWidth=1.2, opacity=0.85, invalid="break-paths-show-domains").encode(
        x=alt.X(
            "date:T",
            title="day (UTC)",
            scale=alt.Scale(type="utc"),
            axis=alt.Axis(tickCount=6, grid=False, format="%b %Y", labelOverlap=True),
        ),
        y=alt.Y("value:Q", title="anomaly (m³/m³)"),
        color=alt.Color("product:N", scale=_scale(PRODUCT_COLOURS), legend=None),
        tooltip=[
            alt.Tooltip("date:T", format="%Y-%m-%d"),
            "product:N",
            alt.Tooltip("value:Q", title="anomaly (m³/m³)", format="+.3f"),
        ],
    )
    return alt.layer(zero, line).properties(usermeta=_meta(185))


def anomaly_scatter() -> alt.LayerChart:
    """Anomalies of the products of one cell and layer against those of its stations."""
    base = alt.Chart(alt.NamedData("scatter"))
    x = alt.X("insitu:Q", title="stations, anomaly (m³/m³)")
    points = base.mark_circle(size=13, opacity=0.45).encode(
        x=x,
        y=alt.Y("value:Q", title="product, anomaly (m³/m³)"),
        color=alt.Color("product:N", scale=_scale(PRODUCT_COLOURS), legend=None),
        tooltip=[
            alt.Tooltip("date:T", format="%Y-%m-%d"),
            "product:N",
            alt.Tooltip("insitu:Q", title="stations", format="+.3f"),
            alt.Tooltip("value:Q", title="product", format="+.3f"),
        ],
    )
    equal = base.mark_line(style="rule", strokeDash=[4, 3]).encode(x=x, y="insitu:Q")
    return alt.layer(points, equal).properties(usermeta=_meta(230, "points"))
