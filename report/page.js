"use strict";
// Draws the page's charts when they come into view, and the panel of a cell that is asked for.
(() => {
  const page = JSON.parse(document.getElementById("payload").textContent);
  const root = document.documentElement;
  const $ = (selector, within = document) => [...within.querySelectorAll(selector)];

  // ---- data: columns in the page, rows in the charts
  const rowsOf = new Map();
  const rows = (name) => {
    if (!rowsOf.has(name)) {
      const columns = page.datasets[name], names = Object.keys(columns);
      const n = names.length ? columns[names[0]].length : 0;
      rowsOf.set(name, Array.from({ length: n }, (_, i) =>
        Object.fromEntries(names.map((c) => [c, columns[c][i]]))));
    }
    return rowsOf.get(name);
  };
  const cells = rows("cells");
  const cellOf = new Map(cells.map((cell) => [cell.gridcell_id, cell]));
  const namesIn = (spec) => {
    const found = new Set();
    JSON.stringify(spec, (key, value) => {
      if (key === "data" && value && value.name) found.add(value.name);
      return value;
    });
    return [...found];
  };

  // ---- charts
  const css = (name) => getComputedStyle(root).getPropertyValue(name).trim();
  const look = () => {
    const text = css("--text"), soft = css("--soft"), line = css("--line"), edge = css("--edge");
    return {
      background: "transparent", aria: false, padding: 2,
      font: "system-ui, -apple-system, 'Segoe UI', 'Liberation Sans', Arial, sans-serif",
      view: { stroke: line },
      axis: {
        labelColor: soft, titleColor: soft, titleFontWeight: "normal", titleFontSize: 11.5,
        labelFontSize: 11, gridColor: line, domainColor: line, tickColor: line,
      },
      legend: { labelColor: text, titleColor: soft, labelFontSize: 11.5 },
      style: {
        land: { fill: css("--land"), color: css("--coast"), strokeWidth: 0.7 },
        border: { color: css("--coast"), strokeWidth: 0.7, strokeDash: [4, 3] },
        gridcell: { stroke: edge, strokeWidth: isDark() ? 0.5 : 0.25 },
        bin: { stroke: edge, strokeWidth: 0.2 },
        unknown: { color: css("--soft"), strokeWidth: 1.1 },
        picked: { color: css("--ring"), strokeWidth: 2.2 },
        rule: { color: css("--coast"), strokeWidth: 1 },
        error: { color: text, strokeWidth: 1.3 },
        value: { color: text },
      },
    };
  };
  const isDark = () => root.dataset.theme
    ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  let picked = "", mask = page.mask;
  const drawn = new Map(); // element → what draws it again

  const draw = async (element, spec, datasets) => {
    const kind = spec.usermeta.kind, width = Math.floor(element.clientWidth);
    if (!width) return;
    const full = JSON.parse(JSON.stringify(spec), (key, value) =>
      key === "labelLimit" ? Math.min(value, Math.round(0.42 * width)) : value);
    full.datasets = datasets ?? Object.fromEntries(namesIn(spec).map((name) => [name, rows(name)]));
    full.width = width;
    full.height = kind === "map" ? Math.round((width - 60) * spec.usermeta.aspect + 24)
      : spec.usermeta.height + (kind === "legend" ? 34 : 46);
    full.autosize = { type: "fit", contains: "padding" };
    for (const parameter of full.params ?? []) {
      if (parameter.name === "mask") parameter.value = mask;
      if (parameter.name === "picked") parameter.value = picked;
    }
    full.config = look();
    element.view?.finalize();
    const result = await vegaEmbed(element, full, {
      actions: false, renderer: kind === "map" || kind === "points" ? "canvas" : "svg",
      tooltip: { theme: isDark() ? "dark" : "light" }, logLevel: 1,
    });
    element.view = result.view;
    element.width = width;
    element.dataset.drawn = "yes";
    drawn.set(element, () => draw(element, spec, datasets));
    if (kind === "map") asMap(element);
  };
  const specOf = (element) =>
    page.charts[element.dataset.figure][element.dataset.panel][element.dataset.chart];
  const label = (element) => {
    const map = specOf(element).usermeta.kind === "map";
    element.setAttribute("role", map ? "application" : "img");
    element.setAttribute("aria-label", element.dataset.label + (map
      ? " Map: arrow keys choose a cell, Enter opens it, plus and minus zoom, 0 resets." : ""));
    if (map) { element.tabIndex = 0; element.classList.add("map"); }
  };
  const watch = new IntersectionObserver((seen) => {
    for (const { isIntersecting, target } of seen) {
      if (!isIntersecting) continue;
      watch.unobserve(target);
      draw(target, specOf(target));
    }
  }, { rootMargin: "400px" });
  $(".chart").forEach((element) => {
    const { kind, aspect, height } = specOf(element).usermeta;
    element.style.minHeight = kind === "map"
      ? `${Math.round((element.clientWidth - 52) * aspect + 24)}px` : `${height}px`;
    label(element);
    watch.observe(element);
  });
  const again = () => drawn.forEach((redraw, element) => element.isConnected && redraw());
  let waiting;
  addEventListener("resize", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => drawn.forEach((redraw, element) => {
      if (element.isConnected && Math.abs(element.clientWidth - element.width) > 3) redraw();
    }), 150);
  });
  const tell = (name, value) => $(".chart").forEach(({ view }) => {
    try { if (view && view.signal(name) !== value) view.signal(name, value).runAsync(); } catch { /* no such parameter */ }
  });

  // ---- maps: nearest cell, keys, zoom
  const zoomTo = (element, centre, factor) => {
    const { view } = element, x = view.scale("x").domain(), y = view.scale("y").domain();
    const part = ([low, high], middle) =>
      [middle - (middle - low) * factor, middle + (high - middle) * factor];
    view.signal("zoom_longitude", part(x, centre[0])).signal("zoom_latitude", part(y, centre[1]));
    view.runAsync();
  };
  const shownRange = (element) => ["x", "y"].map((s) => element.view.scale(s).domain());
  const lonLat = (cell) => [cell.longitude, cell.latitude];
  const isShown = (element, cell) => {
    const ranges = shownRange(element);
    return lonLat(cell).every((value, i) => ranges[i][0] <= value && value <= ranges[i][1]);
  };
  const centre = (element) => { // of a zoom: the chosen cell, which so stays in view
    const cell = cellOf.get(picked);
    return cell && isShown(element, cell) ? lonLat(cell)
      : shownRange(element).map(([low, high]) => (low + high) / 2);
  };
  const follow = (element) => { // moves the map where the chosen cell lies outside
    const cell = cellOf.get(picked);
    if (!cell || isShown(element, cell)) return;
    const [x, y] = shownRange(element).map(([low, high], i) =>
      [lonLat(cell)[i] - (high - low) / 2, lonLat(cell)[i] + (high - low) / 2]);
    element.view.signal("zoom_longitude", x).signal("zoom_latitude", y).runAsync();
  };
  const reset = (element) => draw(element, specOf(element));
  const nearest = (element, event, within) => {
    const { view } = element, box = element.querySelector("canvas").getBoundingClientRect();
    const [left, top] = view.origin(), x = view.scale("x"), y = view.scale("y");
    const at = [event.clientX - box.left - left, event.clientY - box.top - top];
    let best = null, least = within ** 2;
    for (const cell of cells) {
      const d = (x(cell.longitude) - at[0]) ** 2 + (y(cell.latitude) - at[1]) ** 2;
      if (d < least) [best, least] = [cell, d];
    }
    return [best, [x.invert(at[0]), y.invert(at[1])]];
  };
  const asMap = (element) => {
    if (element.hasKeys) return;
    element.hasKeys = true;
    element.addEventListener("click", (event) => {
      if (event.shiftKey) return;
      const [cell] = nearest(element, event, 14);
      if (cell) open(cell.gridcell_id, element);
    });
    element.addEventListener("dblclick", (event) => zoomTo(element, nearest(element, event, 0)[1], 0.5));
    element.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
      if (step) { choose(neighbour(step)); follow(element); }
      else if (event.key === "Enter" && picked) open(picked, element);
      else if (event.key === "+" || event.key === "=") zoomTo(element, centre(element), 0.6);
      else if (event.key === "-") zoomTo(element, centre(element), 1 / 0.6);
      else if (event.key === "0") reset(element);
      else return;
      event.preventDefault();
    });
    const buttons = document.createElement("div");
    buttons.className = "zoom";
    for (const [sign, name, act] of [
      ["+", "Zoom in", () => zoomTo(element, centre(element), 0.6)],
      ["−", "Zoom out", () => zoomTo(element, centre(element), 1 / 0.6)],
      ["↺", "Whole map", () => reset(element)],
    ]) {
      const button = Object.assign(document.createElement("button"), { type: "button", textContent: sign, title: name });
      button.tabIndex = -1; // keys + - 0 do the same
      button.setAttribute("aria-label", name);
      button.addEventListener("click", act);
      buttons.append(button);
    }
    element.parentElement.append(buttons);
  };
  const neighbour = ([dx, dy]) => {
    const from = cellOf.get(picked);
    if (!from) return cells[0].gridcell_id;
    const narrow = Math.cos((from.latitude * Math.PI) / 180);
    let best = from, least = Infinity;
    for (const cell of cells) {
      const x = (cell.longitude - from.longitude) * narrow, y = cell.latitude - from.latitude;
      const ahead = x * dx + y * dy, aside = Math.abs(x * dy) + Math.abs(y * dx);
      if (ahead > 1e-9 && ahead + 2.5 * aside < least) [best, least] = [cell, ahead + 2.5 * aside];
    }
    return best.gridcell_id;
  };
  const choose = (id) => {
    picked = id;
    tell("picked", id);
    const cell = cellOf.get(id);
    document.getElementById("status").textContent =
      `${id}: ${Object.keys(page.layers).map((l) => `${page.layers[l]} gain ${signed(cell[`${l}_delta_r`])}`).join(", ")}`;
    const find = document.getElementById("find");
    if (document.activeElement !== find) find.value = id;
  };

  // ---- numbers
  const isNumber = (value) => typeof value === "number";
  const text = (value, digits = 3) => isNumber(value) ? value.toFixed(digits).replace("-", "−") : "–";
  const signed = (value, digits = 3) => isNumber(value) ? (value > 0 ? "+" : "") + text(value, digits) : "–";
  const range = (row, name) => isNumber(row[`${name}_low`])
    ? `${signed(row[`${name}_low`])} to ${signed(row[`${name}_high`])}` : "–";
  const words = (status) => (status ?? "unknown").replaceAll("_", " ");
  const make = (tag, content = "", more = {}) => {
    const element = Object.assign(document.createElement(tag), more);
    element.append(...[content].flat());
    return element;
  };
  const tableOf = (caption, headers, body) => make("div", make("table", [
    make("caption", caption),
    make("thead", make("tr", headers.map((h, i) => make("th", h, { scope: "col", className: i ? "" : "words" })))),
    make("tbody", body.map((row) => make("tr", row.map((value, i) =>
      i ? make("td", value) : make("th", value, { scope: "row" }))))),
  ]), { className: "scroll" });

  // ---- series of one cell: deflated planes of bytes, see report/series.py
  const seriesOf = async (id) => {
    const { step, days, products, start } = page.series, n = 2 * products.length, size = n * days;
    const held = document.getElementById(`series-${id}`);
    if (!held || !n) return null;
    const packed = Uint8Array.from(atob(held.textContent), (c) => c.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
    const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
    const planes = Math.ceil(size / 8), first = Date.parse(start);
    const layers = {};
    Object.keys(page.layers).forEach((layer, l) => {
      let before; // the last product is held as difference to the one before it
      layers[layer] = products.map((product, p) => {
        const offset = (l * products.length + p) * days, values = [], held = [];
        for (let day = 0, level = 0; day < days; day++) {
          const i = offset + day, folded = bytes[planes + i] + 256 * bytes[planes + size + i];
          level += folded % 2 ? -(folded + 1) / 2 : folded / 2;
          held.push(level + (p && p === products.length - 1 ? before[day] : 0));
          const known = bytes[i >> 3] & (128 >> (i & 7));
          values.push(known ? +(held[day] * step).toFixed(4) : null);
        }
        before = held;
        return { ...product, values };
      });
    });
    return { layers, dates: Array.from({ length: days }, (_, day) => first + day * 864e5) };
  };

  // ---- panel of a cell
  const panel = document.getElementById("cell");
  let cameFrom = null, asked = 0;
  const close = () => {
    panel.hidden = true;
    panel.replaceChildren();
    [...drawn.keys()].forEach((element) => element.isConnected || drawn.delete(element));
    cameFrom?.focus({ preventScroll: true });
  };
  const open = async (id, from = document.activeElement) => {
    const cell = cellOf.get(id), turn = ++asked;
    if (panel.hidden) cameFrom = from;
    choose(id);
    const place = cells.indexOf(cell);
    const step = (by, sign, name) => {
      const button = make("button", sign, { type: "button", title: name });
      button.setAttribute("aria-label", name);
      button.addEventListener("click", () => open(cells[(place + by + cells.length) % cells.length].gridcell_id));
      return button;
    };
    const end = make("button", "Close", { type: "button" });
    end.addEventListener("click", close);
    const body = [
      make("div", [make("h2", `Cell ${id}`, { id: "cell-title" }),
        make("span", [step(-1, "‹", "Previous cell"), " ", step(1, "›", "Next cell"), " ", end])], { className: "bar" }),
      make("p", `${text(Math.abs(cell.latitude), 3)}° ${cell.latitude < 0 ? "S" : "N"}, ${text(Math.abs(cell.longitude), 3)}° ${cell.longitude < 0 ? "W" : "E"} · ${cell.n_stations} station${cell.n_stations === 1 ? "" : "s"}: ${cell.stations ?? "–"}`
        + (isNumber(cell.representativeness_frac) ? ` · stands for ${Math.round(100 * cell.representativeness_frac)} % of the cell` : ""), { className: "muted" }),
      tableOf("Skill and gain", ["", ...Object.values(page.layers)], [
        ["days in common", (l) => text(cell[`${l}_n_days`], 0)],
        ["R baseline", (l) => text(cell[`${l}_r_baseline`])],
        ["R candidate", (l) => text(cell[`${l}_r_candidate`])],
        ["gain ΔR", (l) => signed(cell[`${l}_delta_r`])],
        ["95 %, blocks of days", (l) => range(cell, `${l}_block`)],
        ["95 %, single days", (l) => range(cell, `${l}_iid`)],
        ["status", (l) => words(cell[`${l}_status`])],
      ].map(([name, of]) => [name, ...Object.keys(page.layers).map(of)])),
    ];
    const legend = make("ul", page.series.products.map(({ key, label: name }) => {
      const colour = page.series.specs.ssm.lines.layer[1].encoding.color.scale;
      const swatch = make("span", "", { className: "swatch" });
      swatch.style.background = colour.range[colour.domain.indexOf(key)];
      return make("li", [swatch, key === "insitu" ? name : `${key}: ${name}`]);
    }), { className: "legend" });
    const charts = [];
    const series = await seriesOf(id);
    if (turn !== asked) return;
    if (page.series.withheld.length) body.push(make("p",
      `Not in this page, as they may not be passed on: series of ${page.series.withheld.map((p) => p === "insitu" ? "the stations" : p).join(", ")}.`, { className: "note" }));
    if (series) {
      body.push(make("h3", "Daily anomalies"), legend, make("p", "Alt and wheel: zoom in time; Shift and drag: move.", { className: "small" }));
      for (const [layer, name] of Object.entries(page.layers)) {
        const products = series.layers[layer].filter((p) => p.values.some(isNumber));
        if (!products.length) { body.push(make("p", `${name}: no series`, { className: "note" })); continue; }
        const lines = products.flatMap((p) => p.values.map((value, day) => ({ date: series.dates[day], product: p.key, value })));
        const chart = make("div", "", { className: "chart" });
        chart.setAttribute("role", "img");
        chart.setAttribute("aria-label", `Daily anomalies, ${name}, of ${products.map((p) => p.label).join(", ")}`);
        body.push(make("h4", name), chart);
        charts.push([chart, page.series.specs[layer].lines, { series: lines }]);
      }
      const scatters = make("div", "", { className: "two" });
      for (const [layer, name] of Object.entries(page.layers)) {
        const insitu = series.layers[layer].find((p) => p.key === "insitu");
        if (!insitu) continue;
        const points = series.layers[layer].filter((p) => p !== insitu).flatMap((p) => p.values.map((value, day) =>
          ({ date: series.dates[day], product: p.key, insitu: insitu.values[day], value }))).filter((r) => isNumber(r.insitu) && isNumber(r.value));
        if (!points.length) continue;
        const chart = make("div", "", { className: "chart" });
        chart.setAttribute("role", "img");
        chart.setAttribute("aria-label", `Products against stations, ${name}`);
        scatters.append(make("div", [make("h4", name), chart]));
        charts.push([chart, page.series.specs[layer].scatter, { scatter: points }]);
      }
      if (scatters.childElementCount) body.push(make("h3", "Products against stations"), scatters);
    }
    body.push(tableOf("Control factors; rank: share of cells with a smaller value",
      ["factor", "value", "unit", "rank", "status"], page.factors.map(({ key, label: name, unit }) => {
        const known = cells.map((c) => c[key]).filter(isNumber);
        const below = known.filter((v) => v < cell[key]).length;
        return [name, text(cell[key]), unit, isNumber(cell[key]) ? `${Math.round((100 * below) / known.length)} %` : "–",
          words(cell[`${key}_status`])];
      })));
    panel.replaceChildren(...body);
    panel.hidden = false;
    panel.scrollTop = 0;
    panel.focus({ preventScroll: true });
    for (const [element, spec, datasets] of charts) await draw(element, spec, datasets);
  };
  addEventListener("keydown", (event) => { if (event.key === "Escape" && !panel.hidden) close(); });

  // ---- tools
  const list = document.getElementById("cells");
  list.append(...cells.map((cell) => make("option", `${text(cell.latitude, 2)}, ${text(cell.longitude, 2)}`, { value: cell.gridcell_id })));
  const find = document.getElementById("find");
  const found = () => {
    const id = find.value.trim();
    if (cellOf.has(id)) open(id, find);
  };
  find.addEventListener("change", found);
  document.getElementById("tools").addEventListener("submit", (event) => { event.preventDefault(); found(); });
  $("input[name=mask]").forEach((input) => input.addEventListener("change", () => { mask = input.value; tell("mask", mask); }));
  document.getElementById("theme").addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    try { localStorage.setItem("theme", root.dataset.theme); } catch { /* no storage */ }
    again();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
  $(".csv").forEach((button) => button.addEventListener("click", () => {
    const [name, columns] = page.csv[button.dataset.figure] ?? [];
    if (!name) return;
    const table = page.datasets[name], names = columns.length ? columns : Object.keys(table);
    const quoted = (value) => /[",\n]/.test(value ?? "") ? `"${String(value).replaceAll('"', '""')}"` : value ?? "";
    const lines = rows(name).map((row) => names.map((c) => quoted(row[c])).join(","));
    const link = make("a", "", {
      href: URL.createObjectURL(new Blob([[names.join(","), ...lines].join("\n") + "\n"], { type: "text/csv" })),
      download: `${page.study}-${button.dataset.figure}.csv`,
    });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }));
})();
