// Plots as SVG. Each says what its axes are, draws its series in different shapes as well as colours, and has its numbers as a table below.
const COLOURS = ["var(--series-1)", "var(--series-2)", "var(--series-3)", "var(--series-4)", "var(--series-5)", "var(--series-6)"];
const DASHES = ["", "6 3", "2 3", "8 3 2 3", "1 2", "10 4"];

function niceTicks(low, high, most) {
  if (!(high > low)) return [low];
  const rough = (high - low) / most;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((one) => one * power).find((one) => one >= rough * 0.999);
  const ticks = [];
  for (let tick = Math.ceil(low / step - 1e-9) * step; tick <= high + step * 1e-6; tick += step)
    ticks.push(Math.abs(tick) < step * 1e-6 ? 0 : tick);
  return ticks;
}

function tickText(value) {
  const size = Math.abs(value);
  if (size >= 1e6 || (size > 0 && size < 1e-3)) return exponent(value, 1);
  return String(Number(value.toPrecision(6)));
}

// The frame of a plot. `x` and `y`: {low, high, label, ticks?, text?}; the result places values and holds the drawing.
function frame({ title, x, y }) {
  // letters keep their size on a phone
  const [width, height] = matchMedia("(max-width: 36rem)").matches ? [340, 230] : [520, 260];
  const [left, right, top, bottom] = [58, 14, 12, 42];
  const across = (value) => left + ((value - x.low) / (x.high - x.low || 1)) * (width - left - right);
  const up = (value) => height - bottom - ((value - y.low) / (y.high - y.low || 1)) * (height - top - bottom);
  const drawing = svg("svg", { class: "plot", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": title });
  for (const tick of y.ticks || niceTicks(y.low, y.high, 5)) {
    drawing.append(svg("line", { class: "grid", x1: left, x2: width - right, y1: up(tick), y2: up(tick) }));
    drawing.append(svg("text", { class: "tick", x: left - 6, y: up(tick) + 4, "text-anchor": "end" }, (y.text || tickText)(tick)));
  }
  for (const tick of x.ticks || niceTicks(x.low, x.high, 6)) {
    drawing.append(svg("line", { class: "grid", x1: across(tick), x2: across(tick), y1: height - bottom, y2: height - bottom + 4 }));
    drawing.append(
      svg("text", { class: "tick", x: across(tick), y: height - bottom + 17, "text-anchor": "middle" }, (x.text || tickText)(tick)),
    );
  }
  drawing.append(svg("line", { class: "axis", x1: left, x2: width - right, y1: height - bottom, y2: height - bottom }));
  drawing.append(svg("text", { class: "label", x: (left + width - right) / 2, y: height - 6, "text-anchor": "middle" }, x.label));
  drawing.append(
    svg(
      "text",
      { class: "label", transform: `translate(13 ${(top + height - bottom) / 2}) rotate(-90)`, "text-anchor": "middle" },
      y.label,
    ),
  );
  return { drawing, across, up, left, right: width - right, top, bottom: height - bottom };
}

function polyline(on, points, series, extra) {
  return svg("polyline", {
    class: "series",
    points: points.map(([x, y]) => `${on.across(x).toFixed(1)},${on.up(y).toFixed(1)}`).join(" "),
    stroke: COLOURS[series % COLOURS.length],
    "stroke-dasharray": DASHES[series % DASHES.length],
    ...extra,
  });
}

function dot(on, x, y, series, title) {
  const [cx, cy, colour] = [on.across(x), on.up(y), series === "bad" ? "var(--bad)" : COLOURS[series % COLOURS.length]];
  const shapes = [
    () => svg("circle", { cx, cy, r: 4, fill: colour }),
    () => svg("rect", { x: cx - 3.5, y: cy - 3.5, width: 7, height: 7, fill: colour }),
    () => svg("path", { d: `M${cx} ${cy - 5}L${cx + 5} ${cy + 4}H${cx - 5}Z`, fill: colour }),
    () => svg("path", { d: `M${cx} ${cy - 5}L${cx + 5} ${cy}L${cx} ${cy + 5}L${cx - 5} ${cy}Z`, fill: colour }),
  ];
  const node = shapes[series === "bad" ? 3 : series % shapes.length]();
  node.append(svg("title", {}, title));
  return node;
}

function whisker(on, x, low, high, series) {
  return svg("path", {
    class: "whisker",
    d: `M${on.across(x)} ${on.up(low)}V${on.up(high)}M${on.across(x) - 4} ${on.up(low)}h8M${on.across(x) - 4} ${on.up(high)}h8`,
    stroke: COLOURS[series % COLOURS.length],
  });
}

function legend(names) {
  return el(
    "ul",
    { class: "legend" },
    names.map((name, series) => {
      const key = svg("svg", { width: 34, height: 12, "aria-hidden": "true" });
      const on = { across: (value) => value, up: (value) => value };
      key.append(
        polyline(
          on,
          [
            [1, 6],
            [33, 6],
          ],
          series,
        ),
        dot(on, 17, 6, series, name),
      );
      return el("li", {}, key, name);
    }),
  );
}

function figureOf(title, text, drawing, names, table) {
  return el(
    "figure",
    { class: "chart" },
    el("figcaption", {}, el("h3", {}, title), text ? el("p", {}, text) : null),
    names.length > 1 ? legend(names) : null,
    drawing,
    table ? fold("as a table", () => table) : null,
  );
}

// Counts of values in equal bins, drawn as steps, one line for each series.
function histogram({ title, text, names, series, low, high, bins, label, marks = [] }) {
  const width = (high - low) / bins;
  const counts = series.map((values) => {
    const found = new Array(bins).fill(0);
    for (const value of values) found[Math.max(0, Math.min(bins - 1, Math.floor((value - low) / width)))]++;
    return found;
  });
  const top = Math.max(1, ...counts.flat());
  const on = frame({ title, x: { low, high, label }, y: { low: 0, high: top * 1.05, label: "documents" } });
  for (const [value, name] of marks) {
    on.drawing.append(svg("line", { class: "mark", x1: on.across(value), x2: on.across(value), y1: on.top, y2: on.bottom }));
    on.drawing.append(svg("text", { class: "tick", x: on.across(value) + 4, y: on.top + 10 }, name));
  }
  counts.forEach((found, place) => {
    const points = [
      [low, 0],
      ...found.flatMap((count, bin) => [
        [low + bin * width, count],
        [low + (bin + 1) * width, count],
      ]),
      [high, 0],
    ];
    on.drawing.append(polyline(on, points, place, place === 0 ? { fill: COLOURS[0], "fill-opacity": 0.15 } : {}));
  });
  const rows = counts[0].map((_, bin) => [
    `${tickText(low + bin * width)} to ${tickText(low + (bin + 1) * width)}`,
    ...counts.map((found) => whole(found[bin])),
  ]);
  return figureOf(title, text, on.drawing, names, numbersTable([label, ...names], rows));
}

// One bar for each name, widest first as given.
function bars({ title, text, rows, unit }) {
  const top = Math.max(...rows.map(([, value]) => value), 1e-9);
  const lines = rows.map(([name, value, shownValue]) =>
    el(
      "div",
      { class: "bar-row" },
      el("span", { class: "bar-name", title: name }, name),
      el("span", { class: "bar-track" }, el("span", { class: "bar-fill", css: { width: `${(100 * value) / top}%` } })),
      el("span", { class: "bar-value" }, shownValue),
    ),
  );
  return el(
    "figure",
    { class: "chart" },
    el("figcaption", {}, el("h3", {}, title), text ? el("p", {}, text) : null, unit ? el("p", {}, unit) : null),
    lines,
  );
}
