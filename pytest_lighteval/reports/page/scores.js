// Every number of the run: tasks and metrics, with error bars. The rows of a superset fold.
const opened = new Set();

function scoreRows(runs, verdictsOf) {
  const keys = [...new Set(runs.flatMap((run) => Object.keys(run.results.metrics || {})))].sort(byKey);
  const reporting = (metric) =>
    keys.filter((key) => key !== "all" && !/:_average\|/.test(key) && runs.some((run) => ((run.results.metrics || {})[key] || {})[metric]))
      .length;
  const groups = new Set(keys.filter((key) => /:_average\|/.test(key)));
  const rows = [];
  for (const key of keys) {
    const metrics = [...new Set(runs.flatMap((run) => metricNames(run, key)))];
    for (const metric of metrics) {
      const numbers = runs.map((run) => ((run.results.metrics || {})[key] || {})[metric] || null);
      const verdict = (verdictsOf[key] || []).find((one) => one.metric === metric) || null;
      // the average of one task says nothing more
      if (key === "all" && !verdict && reporting(metric) < 2) continue;
      const group = groups.has(key) ? null : groupOf(key);
      rows.push({ key, metric, numbers, verdict, isGroup: groups.has(key), group: groups.has(group) ? group : null });
    }
  }
  return rows;
}

// As the task lists them; a superset as its tasks do.
function metricNames(run, key) {
  const names = Object.keys((run.results.metrics || {})[key] || {});
  const tasks = run.results.config_tasks || {};
  const member = tasks[key] ? key : Object.keys(tasks).find((one) => groupOf(one) === key);
  const order = member ? tasks[member].metrics : [];
  const place = (name) => (order.includes(name) ? order.indexOf(name) : order.length);
  return names.sort((one, other) => place(one) - place(other));
}

function errorBar(number, scale) {
  if (!number) return "";
  const [value, error] = [numeric(number.value), numeric(number.stderr)];
  if (!Number.isFinite(value)) return "";
  const [low, high] = scale(value);
  const at = (one) => 4 + ((Math.max(low, Math.min(high, one)) - low) / (high - low || 1)) * 112;
  const half = Number.isFinite(error) ? 1.96 * error : 0;
  const title = `${figure(value)}, 95 % interval ${figure(value - half)} to ${figure(value + half)}`;
  const bar = svg("svg", { class: "errors", viewBox: "0 0 120 16", role: "img", "aria-label": title }, svg("title", {}, title));
  bar.append(svg("line", { class: "axis", x1: 4, x2: 116, y1: 8, y2: 8 }));
  if (half) bar.append(svg("line", { class: "interval", x1: at(value - half), x2: at(value + half), y1: 8, y2: 8 }));
  bar.append(svg("circle", { class: "point", cx: at(value), cy: 8, r: 3.5 }));
  return bar;
}

function scoresView(values) {
  const runs = state.head.runs;
  const comparison = chosenComparison(values);
  const verdicts = comparison ? comparison.verdicts : runs[0].results.verdicts || {};
  const rows = scoreRows(runs, verdicts);
  const largest = {};
  for (const row of rows)
    for (const number of row.numbers)
      if (number && Number.isFinite(numeric(number.value)))
        largest[row.metric] = Math.max(largest[row.metric] || 0, Math.abs(numeric(number.value)));
  const scaleOf = (metric) => () => (largest[metric] <= 1 ? [0, 1] : [0, largest[metric] * 1.1]);
  const members = new Set(rows.map((row) => row.group));
  const body = el("tbody");
  let text = values.search || "";
  let sorted = values.sort || "";
  let isDown = values.down === "1";
  const table = el("table", { class: runs.length > 1 ? "scores many" : "scores" });

  const columns = [
    ["task", "task", (row) => row.key],
    ["metric", "metric", (row) => row.metric],
  ];
  runs.forEach((run, place) => {
    const name = runs.length > 1 ? run.name : "value";
    columns.push([`value-${place}`, name, (row) => (row.numbers[place] ? numeric(row.numbers[place].value) : NaN)]);
    columns.push([`error-${place}`, "stderr", (row) => (row.numbers[place] ? numeric(row.numbers[place].stderr) : NaN)]);
  });
  columns.push(
    ["n", "n", (row) => Math.max(...row.numbers.map((number) => (number ? number.n : 0)))],
    ["change", "change", (row) => (row.verdict && row.verdict.paired ? -numeric(row.verdict.paired.loss) : NaN)],
    ["gate", "gate", (row) => (row.verdict ? OUTCOMES.indexOf(row.verdict.outcome) : 99)],
  );

  function ordered(list) {
    const column = columns.find(([id]) => id === sorted);
    if (!column) return list;
    const value = column[2];
    const order = (one, other) => {
      const [a, b] = [value(one), value(other)];
      if (typeof a === "string") return a < b ? -1 : a > b ? 1 : 0;
      return Number.isNaN(a) || Number.isNaN(b) ? Number.isNaN(a) - Number.isNaN(b) : (a - b) * (isDown ? -1 : 1);
    };
    return [...list].sort((one, other) => order(one, other) * (isDown && typeof value(one) === "string" ? -1 : 1));
  }

  function cells(row) {
    const toggle =
      members.has(row.key) && !sorted && !text
        ? el(
            "button",
            {
              type: "button",
              class: "toggle",
              "aria-expanded": String(opened.has(row.key)),
              "aria-label": `tasks of ${row.key}`,
              onclick: () => (opened.has(row.key) ? opened.delete(row.key) : opened.add(row.key), draw()),
            },
            opened.has(row.key) ? "▾" : "▸",
          )
        : null;
    const name = hasDocuments(row.key) ? link(row.key, "documents", { task: row.key, metric: row.metric }) : row.key;
    const list = [el("th", { scope: "row", class: row.group && !sorted && !text ? "member" : "" }, toggle, name), el("td", {}, row.metric)];
    for (const number of row.numbers) {
      list.push(
        el("td", { class: "number" }, number ? figure(number.value) : ""),
        el(
          "td",
          { class: "number error" },
          number && number.stderr !== null ? `± ${figure(number.stderr)}` : "",
          runs.length < 3 ? errorBar(number, scaleOf(row.metric)) : null,
        ),
      );
    }
    const paired = row.verdict && row.verdict.paired;
    const change = paired && paired.loss !== null && paired.loss !== undefined ? changeText(paired) : "";
    list.push(
      el("td", { class: "number" }, whole(Math.max(...row.numbers.map((number) => (number ? number.n : 0))))),
      el("td", { class: "number" }, change),
      el("td", {}, row.verdict ? badge(row.verdict.outcome, gateWords(row.verdict)) : ""),
    );
    return el("tr", { class: row.isGroup ? "group" : "" }, list);
  }

  function draw() {
    const wanted = text.toLowerCase();
    const fit = rows.filter(
      (row) =>
        (!wanted || `${row.key} ${row.metric}`.toLowerCase().includes(wanted)) && (wanted || sorted || !row.group || opened.has(row.group)),
    );
    // a superset stands before its tasks
    const list = sorted
      ? ordered(fit)
      : [...fit].sort((one, other) => byKey(one.group || one.key, other.group || other.key) || Number(other.isGroup) - Number(one.isGroup));
    body.replaceChildren(...list.map(cells));
    head.replaceChildren(
      ...columns.map(([id, name]) => {
        const order = id === sorted ? (isDown ? "descending" : "ascending") : "none";
        const turn = () => {
          if (sorted !== id) [sorted, isDown] = [id, id !== "task" && id !== "metric" && id !== "gate"];
          else if (isDown === (id !== "task" && id !== "metric" && id !== "gate")) isDown = !isDown;
          else [sorted, isDown] = ["", false];
          draw();
        };
        return el(
          "th",
          {
            scope: "col",
            "aria-sort": order,
            class: id.startsWith("value") || id.startsWith("error") || id === "n" || id === "change" ? "number" : "",
          },
          el("button", { type: "button", onclick: turn }, name, order === "none" ? "" : isDown ? " ↓" : " ↑"),
        );
      }),
    );
    remember("scores", { search: text, sort: sorted, down: isDown ? "1" : "", of: values.of });
  }

  const head = el("tr");
  table.append(el("thead", {}, head), body);
  const search = el("input", {
    type: "search",
    placeholder: "filter tasks and metrics",
    "aria-label": "filter tasks and metrics",
    value: text,
    oninput: () => ((text = search.value), draw()),
  });
  const hasGroups = rows.some((row) => row.group);
  const all = hasGroups ? chip("open all groups", false, () => (rows.forEach((row) => row.isGroup && opened.add(row.key)), draw())) : null;
  const none = hasGroups ? chip("close all", false, () => (opened.clear(), draw())) : null;
  draw();
  return [
    comparisonPick("scores", values),
    matrix(),
    el("div", { class: "bar-of-filters" }, search, all, none),
    el("div", { class: "wide" }, table),
    ownRuns(runs[0]),
    el(
      "p",
      { class: "note" },
      "The 95 % interval of a value is 1.96 standard errors to each side; a line shows it where there is room. A change above 0 is better.",
    ),
  ];
}

function changeText(paired) {
  const gain = -numeric(paired.loss);
  if (!Number.isFinite(gain)) return "";
  const sign = gain > 0 ? "+" : gain < 0 ? "−" : "";
  return inPoints(paired) ? `${sign}${fixed(Math.abs(100 * gain), 1)} points` : `${sign}${figure(Math.abs(gain))}`;
}

// Three runs or more: each beside its reference, task by task.
function matrix() {
  const all = state.head.comparisons;
  if (all.length < 2) return null;
  const keys = [...new Set(all.flatMap((one) => Object.keys(one.verdicts)))].sort(byKey);
  const rows = keys.flatMap((key) => {
    const metrics = [...new Set(all.flatMap((one) => (one.verdicts[key] || []).map((verdict) => verdict.metric)))];
    return metrics.map((metric) =>
      el(
        "tr",
        {},
        el("th", { scope: "row" }, key, " ", el("span", { class: "metric" }, metric)),
        all.map((one, place) => matrixCell(one, place, key, metric)),
      ),
    );
  });
  const head = el(
    "tr",
    {},
    el("th", { scope: "col" }, "change against the reference"),
    all.map((one) =>
      el("th", { scope: "col" }, state.head.runs[one.candidate].name, el("br"), el("span", { class: "metric" }, `beside ${one.label}`)),
    ),
  );
  return el(
    "section",
    {},
    el("h2", {}, "Runs side by side"),
    el("div", { class: "wide" }, el("table", { class: "matrix" }, el("thead", {}, head), el("tbody", {}, rows))),
  );
}

function matrixCell(comparison, place, key, metric) {
  const verdict = (comparison.verdicts[key] || []).find((one) => one.metric === metric);
  const paired = verdict && verdict.paired;
  if (!paired || paired.loss === null || paired.loss === undefined)
    return el("td", {}, verdict ? badge(verdict.outcome, gateWords(verdict)) : "");
  const bound = (end) => (inPoints(paired) ? fixed(-100 * numeric(end), 1) : figure(-numeric(end)));
  const interval = `[${bound(paired.upper)}, ${bound(paired.lower)}]`;
  return el(
    "td",
    { class: `cell ${verdict.outcome}` },
    link(changeText(paired), "flips", { of: place, task: key, metric }),
    " ",
    el("span", { class: "interval" }, interval),
    " ",
    badge(verdict.outcome, gateWord(verdict)),
  );
}

function ownRuns(run) {
  const rows = Object.entries(run.results.own_runs || {}).flatMap(([node, runs]) =>
    runs.flatMap((one) =>
      Object.entries(one.metrics).map(([metric, number]) => [
        node,
        one.task,
        metric,
        figure(number.value),
        number.stderr === null ? "" : `± ${figure(number.stderr)}`,
        whole(number.n),
      ]),
    ),
  );
  return rows.length ? section("Measured by tests", numbersTable(["test", "task", "metric", "value", "stderr", "n"], rows)) : null;
}
