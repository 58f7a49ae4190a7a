// Plots, where they say more than numbers.
function chartsView(values) {
  const runs = state.head.runs.map((run, place) => ({ run, place, tasks: state.columns[place] }));
  const keys = [...new Set(runs.flatMap(({ tasks }) => tasks.map((task) => task.key)))].sort(byKey);
  const groups = [...new Set(keys.map(groupOf).filter(Boolean))];
  const key = values.task || "";
  const inScope = (task) => !key || task.key === key || groupOf(task.key) === key;
  const scoped = runs.map((one) => ({ ...one, tasks: one.tasks.filter(inScope) })).filter(({ tasks }) => tasks.length);
  const options = [["", "all tasks"], ...groups.map((group) => [group, `all of ${group}`]), ...keys.map((one) => [one, one])];
  const controls =
    keys.length > 1
      ? el(
          "div",
          { class: "bar-of-filters" },
          pick("task", options, key, (task) => (location.hash = address("plots", { task }))),
        )
      : null;
  const charts = [...scoreAgainstShots(inScope), margins(scoped), calibration(scoped), lengths(scoped), ...costs(runs, inScope)].filter(
    Boolean,
  );
  return [
    controls,
    charts.length
      ? el("div", { class: "charts" }, charts)
      : el("p", { class: "lead" }, "Nothing here can be drawn: there is one few-shot count, and there are no documents."),
  ];
}

// ------------------------------------------------------------------------------------ score against few-shot examples

function scoreAgainstShots(inScope) {
  const results = state.head.runs[0].results;
  const found = new Map();
  for (const [key, metrics] of Object.entries(results.metrics || {})) {
    const parsed = parsedKey(key);
    if (!parsed || !(inScope({ key }) || /:_average\|/.test(key))) continue;
    for (const [metric, number] of Object.entries(metrics)) {
      const name = `${parsed.suite}|${parsed.task}${parsed.cut ? " (shortened)" : ""}`;
      if (!found.has(metric)) found.set(metric, new Map());
      if (!found.get(metric).has(name)) found.get(metric).set(name, []);
      found.get(metric).get(name).push([parsed.shots, number]);
    }
  }
  const charts = [];
  for (const [metric, tasks] of found) {
    const series = [...tasks].filter(([, points]) => points.length > 1).slice(0, 6);
    if (!series.length) continue;
    for (const [, points] of series) points.sort(([one], [other]) => one - other);
    const ends = series
      .flatMap(([, points]) =>
        points.flatMap(([, number]) => [
          numeric(number.value) - 1.96 * (number.stderr || 0),
          numeric(number.value) + 1.96 * (number.stderr || 0),
        ]),
      )
      .filter(Number.isFinite);
    const shots = [...new Set(series.flatMap(([, points]) => points.map(([count]) => count)))].sort((one, other) => one - other);
    const room = (Math.max(...ends) - Math.min(...ends)) * 0.08 || 0.1;
    const title = `${metric} against few-shot examples`;
    const on = frame({
      title,
      x: { low: shots[0] - 0.5, high: shots[shots.length - 1] + 0.5, ticks: shots, label: "few-shot examples" },
      y: { low: Math.min(...ends) - room, high: Math.max(...ends) + room, label: metric },
    });
    series.forEach(([name, points], place) => {
      const nudge = (place - (series.length - 1) / 2) * 0.04 * (shots[shots.length - 1] - shots[0] || 1);
      on.drawing.append(
        polyline(
          on,
          points.map(([count, number]) => [count + nudge, numeric(number.value)]),
          place,
        ),
      );
      for (const [count, number] of points) {
        const value = numeric(number.value);
        if (number.stderr !== null)
          on.drawing.append(whisker(on, count + nudge, value - 1.96 * number.stderr, value + 1.96 * number.stderr, place));
        on.drawing.append(dot(on, count + nudge, value, place, `${name}, ${count} examples: ${figure(value)}`));
      }
    });
    const rows = series.flatMap(([name, points]) =>
      points.map(([count, number]) => [
        name,
        String(count),
        figure(number.value),
        number.stderr === null ? "" : `± ${figure(number.stderr)}`,
      ]),
    );
    charts.push(
      figureOf(
        title,
        "Bars are 95 % intervals.",
        on.drawing,
        series.map(([name]) => name),
        numbersTable(["task", "examples", metric, "stderr"], rows),
      ),
    );
  }
  return charts;
}

// ------------------------------------------------------------------------------------------------- multiple choice

const known = (tasks, name) => tasks.flatMap((task) => (task[name] || []).filter((value) => value !== null));

function quantile(sorted, share) {
  return sorted[Math.min(sorted.length - 1, Math.max(0, Math.round(share * (sorted.length - 1))))];
}

function margins(scoped) {
  const series = scoped.map(({ run, tasks }) => [run.name, known(tasks, "lead")]).filter(([, leads]) => leads.length);
  if (!series.length) return null;
  const sorted = series.flatMap(([, leads]) => leads).sort((one, other) => one - other);
  const reach = Math.max(Math.abs(quantile(sorted, 0.01)), Math.abs(quantile(sorted, 0.99)), 0.5);
  const near = series
    .map(
      ([name, leads]) =>
        `${series.length > 1 ? `${name}: ` : ""}${whole(leads.filter((lead) => Math.abs(lead) <= NEAR_TIE).length)} of ${whole(leads.length)} within ${NEAR_TIE} nats of 0`,
    )
    .join("; ");
  return histogram({
    title: "Lead of the right choice",
    text: `Log-probability of the right choice less that of the best wrong one. Left of 0 the model is wrong. ${near}. The outermost bins hold what lies beyond.`,
    names: series.map(([name]) => name),
    series: series.map(([, leads]) => leads),
    low: -reach,
    high: reach,
    bins: 40,
    label: "lead in nats",
    marks: [[0, "tie"]],
  });
}

// Wilson's interval of a share.
function wilson(count, n) {
  const z = 1.96;
  const [share, z2] = [count / n, z * z];
  const half = z * Math.sqrt((share * (1 - share)) / n + z2 / (4 * n * n));
  return [(share + z2 / (2 * n) - half) / (1 + z2 / n), (share + z2 / (2 * n) + half) / (1 + z2 / n)];
}

function reliability(tasks) {
  const bins = Array.from({ length: 10 }, () => ({ n: 0, right: 0, sum: 0 }));
  for (const task of tasks) {
    if (!task.confidence || !task.lead) continue;
    task.confidence.forEach((confidence, index) => {
      if (confidence === null || task.lead[index] === null) return;
      const bin = bins[Math.min(9, Math.floor(confidence * 10))];
      bin.n++;
      bin.sum += confidence;
      if (task.lead[index] > 0) bin.right++;
    });
  }
  return bins;
}

function calibration(scoped) {
  const series = scoped.map(({ run, tasks }) => [run.name, reliability(tasks)]).filter(([, bins]) => bins.some((bin) => bin.n));
  if (!series.length) return null;
  const title = "Calibration of multiple choice";
  const on = frame({
    title,
    x: { low: 0, high: 1, label: "share of the preferred choice (softmax over the choices)" },
    y: { low: 0, high: 1, label: "of these right" },
  });
  on.drawing.append(svg("line", { class: "mark", x1: on.across(0), y1: on.up(0), x2: on.across(1), y2: on.up(1) }));
  const errors = [];
  series.forEach(([name, bins], place) => {
    const filledBins = bins.filter((bin) => bin.n);
    const points = filledBins.map((bin) => [bin.sum / bin.n, bin.right / bin.n]);
    on.drawing.append(polyline(on, points, place));
    filledBins.forEach((bin, order) => {
      const [x, y] = points[order];
      on.drawing.append(
        whisker(on, x, ...wilson(bin.right, bin.n), place),
        dot(on, x, y, place, `${name}: ${whole(bin.n)} documents, confidence ${fixed(x, 3)}, ${fixed(100 * y, 1)} % right`),
      );
    });
    const n = filledBins.reduce((sum, bin) => sum + bin.n, 0);
    errors.push(
      `${series.length > 1 ? `${name}: ` : ""}expected calibration error ${fixed(filledBins.reduce((sum, bin) => sum + Math.abs(bin.sum - bin.right), 0) / n, 4)}`,
    );
  });
  const rows = series.flatMap(([name, bins]) =>
    bins
      .map((bin, place) => [
        name,
        `${place / 10} to ${(place + 1) / 10}`,
        whole(bin.n),
        bin.n ? fixed(bin.sum / bin.n, 3) : "",
        bin.n ? fixed(bin.right / bin.n, 3) : "",
      ])
      .filter((row) => row[2] !== "0"),
  );
  return figureOf(
    title,
    `A calibrated model is on the diagonal; below it, it is too sure. Bars are 95 % intervals. ${errors.join("; ")}.`,
    on.drawing,
    series.map(([name]) => name),
    numbersTable(["run", "share", "documents", "mean share", "right"], rows),
  );
}

// ------------------------------------------------------------------------------------------------ lengths and costs

function lengths(scoped) {
  const unit = scoped.some(({ tasks }) => known(tasks, "written").length) ? "written" : "characters";
  const series = scoped.map(({ run, tasks }) => [run.name, known(tasks, unit)]).filter(([, values]) => values.length);
  if (!series.length) return null;
  const sorted = series.flatMap(([, values]) => values).sort((one, other) => one - other);
  const high = Math.max(1, quantile(sorted, 0.995));
  const cut = scoped
    .map(({ tasks }) => tasks.reduce((sum, task) => sum + task.marks.filter((marks) => marks & MARKS.cut).length, 0))
    .reduce((one, other) => one + other, 0);
  const bins = Math.min(40, Math.max(1, Math.ceil(high)));
  return histogram({
    title: "Length of answers",
    text: `${cut ? `${counted(cut, "document")} had a text that ended at the limit. ` : ""}The last bin holds what lies beyond.`,
    names: series.map(([name]) => name),
    series: series.map(([, values]) => values),
    low: 0,
    high: Math.ceil(high / bins) * bins,
    bins,
    label: unit === "written" ? "tokens written" : "characters",
  });
}

function costs(runs, inScope) {
  const { run, tasks } = runs[0];
  const most = 25;
  const listed = (rows, text) =>
    rows
      .filter(([, value]) => value > 0)
      .sort(([, one], [, other]) => other - one)
      .slice(0, most)
      .map(([name, value]) => [name, value, text(value)]);
  const times = listed(
    Object.entries((run.results.run || {}).task_seconds || {}).filter(([key]) => inScope({ key })),
    duration,
  );
  const sum = (task, name) => (task[name] || []).reduce((total, value) => total + (value || 0), 0);
  const tokens = listed(
    tasks.filter(inScope).map((task) => [task.key, sum(task, "asked") + sum(task, "written")]),
    whole,
  );
  const more = (rows) => (rows.length === most ? ` The ${most} largest.` : "");
  return [
    times.length
      ? bars({
          title: "Time by task",
          text: `Of ${runs.length > 1 ? run.name : "this run"}; a cached answer takes none.${more(times)}`,
          rows: times,
        })
      : null,
    tokens.length
      ? bars({
          title: "Tokens by task",
          text: `Of prompts with their choices, and of texts; each document counts alone, also where an engine computed a common beginning once.${more(tokens)}`,
          rows: tokens,
        })
      : null,
  ];
}

// ------------------------------------------------------------------------------------------------------------ curves

function curvesView(values) {
  const curves = state.head.curves;
  const keys = [...new Set(curves.map((curve) => curve.key))].sort(byKey);
  const key = values.task || "";
  const controls =
    keys.length > 1
      ? el(
          "div",
          { class: "bar-of-filters" },
          pick("task", [["", "all tasks"], ...keys.map((one) => [one, one])], key, (task) => (location.hash = address("curves", { task }))),
        )
      : null;
  const chosen = curves.filter((curve) => !key || curve.key === key);
  return [
    controls,
    el(
      "p",
      { class: "lead" },
      "The band is the paired 95 % interval of the change to the point before: both answered the same documents, so it tells more than the bars of the two scores.",
    ),
    el("div", { class: "charts" }, chosen.map(curveChart)),
  ];
}

const stepText = (step) => (Math.abs(step) < 1e9 && Number.isInteger(step) ? whole(step) : tickText(step));

// A day, and the minute where all points are within two days.
function timeText(seconds, span) {
  const text = new Date(1000 * seconds).toISOString();
  return span > 2 * 86400 ? text.slice(0, 10) : text.slice(5, 16).replace("T", " ");
}

function curveChart(curve) {
  const places = curve.points.map((point, place) => (point.step === null ? place : point.step));
  const hasSteps = curve.points.every((point) => point.step !== null);
  const ends = curve.points
    .flatMap((point, place) => [point.value, point.lower, point.upper, ...bandOf(curve, place)])
    .filter((end) => end !== null && Number.isFinite(end));
  const room = (Math.max(...ends) - Math.min(...ends)) * 0.08 || 0.05;
  const title = `${curve.key} ${curve.metric}`;
  const [low, high] = [Math.min(...places), Math.max(...places)];
  const times = [low, (low + high) / 2, high];
  const ticks = curve.has_times ? (low < high ? times : [low]) : hasSteps ? undefined : places;
  const nameOfRun = (place) => (curve.points.length > 6 ? String(place + 1) : curve.points[place].label);
  const side = (high - low) * (curve.has_times ? 0.12 : 0.04) || 0.5;
  const on = frame({
    title,
    x: {
      low: low - side,
      high: high + side,
      label: curve.has_times ? "start (UTC)" : hasSteps ? "step" : "run",
      ticks,
      text: curve.has_times ? (time) => timeText(time, high - low) : hasSteps ? stepText : nameOfRun,
    },
    y: { low: Math.min(...ends) - room, high: Math.max(...ends) + room, label: curve.metric },
  });
  for (let place = 1; place < places.length; place++) {
    const [bandLow, bandHigh] = bandOf(curve, place);
    if (bandLow === null) continue;
    const start = on.up(curve.points[place - 1].value);
    const [x1, x2] = [on.across(places[place - 1]), on.across(places[place])];
    on.drawing.append(svg("path", { class: "band", d: `M${x1} ${start}L${x2} ${on.up(bandLow)}V${on.up(bandHigh)}Z` }));
  }
  on.drawing.append(
    polyline(
      on,
      curve.points.map((point, place) => [places[place], point.value]),
      0,
    ),
  );
  curve.points.forEach((point, place) => {
    if (point.lower !== null && point.upper !== null) on.drawing.append(whisker(on, places[place], point.lower, point.upper, 0));
    on.drawing.append(
      dot(
        on,
        places[place],
        point.value,
        point.outcome === "REGRESSED" ? "bad" : 0,
        `${point.label}: ${figure(point.value)} (n = ${whole(point.n)})${point.outcome ? `, ${point.outcome}` : ""}`,
      ),
    );
  });
  const change = (value, from, to) =>
    value === null ? "" : `${figure(value)}${from === null || to === null ? "" : ` [${figure(from)}, ${figure(to)}]`}`;
  const rows = curve.points.map((point) => [
    point.link ? el("a", { href: point.link }, point.label) : point.label,
    figure(point.value),
    whole(point.n),
    change(point.change, point.change_lower, point.change_upper),
    change(point.against_best, point.against_best_lower, point.against_best_upper),
    point.outcome || "",
  ]);
  const figureNode = figureOf(
    title,
    null,
    on.drawing,
    [curve.metric],
    numbersTable(["point", curve.metric, "n", "change to the one before", "change to the best before", "gate"], rows),
  );
  return figureNode;
}

// Where the value lies if the change to the point before is at an end of its interval.
function bandOf(curve, place) {
  const point = curve.points[place];
  if (!place || point.change_lower === null || point.change_upper === null) return [null, null];
  const sign = curve.higher_is_better ? 1 : -1;
  const before = curve.points[place - 1].value;
  return [before + sign * point.change_lower, before + sign * point.change_upper].sort((one, other) => one - other);
}
