// Every document: a list with filters, and beside it the one that is open.
const NEAR_TIE = 0.1;

const FILTERS = [
  ["all", "all", "every document"],
  ["wrong", "wrong", "the chosen metric's score is below a half"],
  ["right", "right", "the chosen metric's score is at least a half"],
  ["flipped", "flipped", "scores otherwise than in the reference"],
  ["cut", "cut by length", "a text ended at the limit of new tokens"],
  ["near", "near ties", `the lead of the right choice is within ${NEAR_TIE} nats of none`],
  ["errors", "errors", "the request failed, or a metric gave up"],
  ["truncated", "shortened prompts", "the prompt was cut to the model's length"],
  ["empty", "empty answers", "the model wrote nothing, or refused"],
];

// A metric for which "wrong" has a meaning: higher is better, and scores lie between 0 and 1.
function marksWrong(run, task, metric) {
  const number = ((run.results.metrics || {})[task.key] || {})[metric];
  const column = task.scores[metric];
  if (!column || (number && number.higher_is_better === false)) return false;
  return column.every((value) => value === null || (numeric(value) >= 0 && numeric(value) <= 1));
}

function flippedIds(run, key, metric) {
  for (const comparison of state.head.comparisons) {
    const flips = comparison.candidate === run && comparison.flips[key] && comparison.flips[key][metric];
    if (flips) return new Set(flips.map(([id]) => id));
  }
  return new Set();
}

const isNear = (task, index) => Boolean(task.lead) && task.lead[index] !== null && Math.abs(task.lead[index]) <= NEAR_TIE;

const bestMetric = (run, task) => metricNames(run, task.key).find((name) => task.scores[name]) || Object.keys(task.scores)[0] || "";

function passes(filter, task, index, metric, isMarked, flipped) {
  const marks = task.marks[index];
  const value = task.scores[metric] ? task.scores[metric][index] : null;
  if (filter === "wrong") return isMarked && value !== null && value < 0.5;
  if (filter === "right") return isMarked && value !== null && value >= 0.5;
  if (filter === "flipped") return flipped.has(task.id[index]);
  if (filter === "cut") return (marks & MARKS.cut) !== 0;
  if (filter === "near") return isNear(task, index);
  if (filter === "errors") return (marks & (MARKS.error | MARKS.notJudged)) !== 0;
  if (filter === "truncated") return (marks & MARKS.truncated) !== 0;
  if (filter === "empty") return (marks & (MARKS.empty | MARKS.refused)) !== 0;
  return true;
}

const SORTS = [
  ["", "as asked"],
  ["score", "score, lowest first"],
  ["lead", "lead, smallest first"],
  ["confidence", "confidence, highest first"],
  ["written", "tokens written, most first"],
  ["asked", "tokens asked, most first"],
];

function sortedRows(rows, order, tasks, metricOf) {
  if (!order) return rows;
  const value = ([place, index]) => {
    const task = tasks[place];
    if (order === "score") return task.scores[metricOf(task)] ? numeric(task.scores[metricOf(task)][index]) : NaN;
    if (order === "lead") return task.lead && task.lead[index] !== null ? Math.abs(task.lead[index]) : NaN;
    const column = task[order];
    return column && column[index] !== null ? -column[index] : NaN;
  };
  const keyed = rows.map((row) => [value(row), row]);
  keyed.sort(([one], [other]) => (Number.isNaN(one) || Number.isNaN(other) ? Number.isNaN(one) - Number.isNaN(other) : one - other));
  return keyed.map(([, row]) => row);
}

// The texts of a document in which a search looks: its own question, choices and answers, not its few-shot examples.
function hayOf(document) {
  const parts = [document.own || "", ...(document.choices || [])];
  if (document.turns) for (const [, places] of document.turns.slice(-1)) parts.push(...places.map((place) => document.paragraphs[place]));
  for (const answer of Object.values(document.answers || {})) parts.push(...(answer.texts || []), ...(answer.scored || []));
  if (document.error) parts.push(document.error);
  return parts.join("\n").toLowerCase();
}

function documentsView(values) {
  const runs = state.head.runs.map((run, place) => [run, place]).filter(([, place]) => state.columns[place].length);
  if (!runs.length) return [el("p", { class: "lead" }, "This page has no documents: what it was made of holds scores alone.")];
  let run = Number(values.run || runs[0][1]);
  if (!state.columns[run] || !state.columns[run].length) run = runs[0][1];
  const tasks = state.columns[run];
  const chosen = {
    task: values.task && tasks.some((task) => task.key === values.task) ? values.task : "",
    metric: values.metric || "",
    filter: values.filter || "all",
    search: values.search || "",
    sort: values.sort || "",
  };
  // a group's row leads to all of its tasks
  const group = values.task && !chosen.task ? values.task : "";
  const inGroup = (task) => !group || groupOf(task.key) === group;
  const metricOf = (task) => (task.scores[chosen.metric] ? chosen.metric : bestMetric(state.head.runs[run], task));
  let rows = [];
  let search = 0;
  const status = el("p", { class: "status", role: "status" });
  const pane = el("div", { class: "pane", tabindex: "-1", "aria-label": "document" });
  const filters = el("div", { class: "chips", role: "group", "aria-label": "filters" });

  function select() {
    const found = [];
    tasks.forEach((task, place) => {
      if (chosen.task ? task.key !== chosen.task : !inGroup(task)) return;
      const metric = metricOf(task);
      const isMarked = marksWrong(state.head.runs[run], task, metric);
      const flipped = chosen.filter === "flipped" ? flippedIds(run, task.key, metric) : null;
      for (let index = 0; index < task.id.length; index++)
        if (passes(chosen.filter, task, index, metric, isMarked, flipped)) found.push([place, index]);
    });
    return found;
  }

  function row(place) {
    const [taskPlace, index] = rows[place];
    const task = tasks[taskPlace];
    const metric = metricOf(task);
    const value = task.scores[metric] ? task.scores[metric][index] : null;
    const isMarked = marksWrong(state.head.runs[run], task, metric);
    const kind = task.marks[index] & MARKS.error ? "error" : value === null || !isMarked ? "" : value >= 0.5 ? "right" : "wrong";
    return el(
      "div",
      { class: `document ${kind}` },
      el(
        "span",
        { class: "score" },
        kind === "error" ? "!" : kind === "right" ? "✓" : kind === "wrong" ? "✕" : "",
        " ",
        kind === "error" ? "error" : value === null ? "–" : shortFigure(value),
      ),
      el(
        "span",
        { class: "texts" },
        el("bdi", { class: "question" }, task.question[index] || task.id[index]),
        el(
          "bdi",
          { class: "answer" },
          task.answer[index] ? `→ ${task.answer[index]}` : "",
          task.gold[index] && kind !== "right" ? el("span", { class: "gold" }, `  gold: ${task.gold[index]}`) : "",
        ),
      ),
      el(
        "span",
        { class: "where" },
        chosen.task ? task.id[index] : `${task.key} ${task.id[index]}`,
        task.seed && task.seed[index] ? ` seed ${task.seed[index]}` : "",
        marksText(task, index),
      ),
    );
  }

  function open(place) {
    const [taskPlace, index] = rows[place];
    const task = tasks[taskPlace];
    note({ id: task.id[index], at: task.key, seed: task.seed ? task.seed[index] : "" });
    const where = { run, task: taskPlace, index, metric: metricOf(task) };
    showDocument(pane, where, { move: (step) => list.move(step), place: place + 1, count: rows.length });
    frameNode.classList.add("opened");
  }

  function note(more) {
    remember("documents", {
      run: run || "",
      task: chosen.task || group,
      metric: chosen.metric,
      filter: chosen.filter === "all" ? "" : chosen.filter,
      search: chosen.search,
      sort: chosen.sort,
      ...more,
    });
  }

  const list = virtualList({ label: "documents", height: 62, row, open });

  async function update(isFirst) {
    const mine = ++search;
    filters.replaceChildren(
      ...FILTERS.map(([name, text, title]) => chip(text, chosen.filter === name, () => ((chosen.filter = name), update()), title)),
    );
    const fit = select();
    const wanted = chosen.search.trim().toLowerCase();
    const inRow = ([place, index]) =>
      [tasks[place].id[index], tasks[place].question[index], tasks[place].gold[index], tasks[place].answer[index]]
        .join("\n")
        .toLowerCase()
        .includes(wanted);
    rows = sortedRows(wanted ? fit.filter(inRow) : fit, chosen.sort, tasks, metricOf);
    if (!isFirst) note({});
    const say = (more) =>
      (status.textContent = `${counted(rows.length, "document")} of ${whole(tasks.reduce((sum, task) => sum + task.id.length, 0))}${more}`);
    say(wanted ? "; searching the whole texts…" : "");
    const selected =
      isFirst && values.id
        ? rows.findIndex(
            ([place, index]) =>
              tasks[place].id[index] === values.id &&
              (!values.at || tasks[place].key === values.at) &&
              (!values.seed || String(tasks[place].seed[index]) === values.seed),
          )
        : -1;
    list.show(rows.length, selected < 0 ? undefined : selected);
    if (selected >= 0) open(selected);
    else if (isFirst) openFirst(list, rows);
    if (!wanted) return;
    const known = new Set(rows.map(([place, index]) => `${place}.${index}`));
    const found = [];
    for (let place = 0; place < fit.length; place++) {
      const [taskPlace, index] = fit[place];
      if (known.has(`${taskPlace}.${index}`)) found.push(fit[place]);
      else if (hayOf(await texts(run, taskPlace, index)).includes(wanted)) found.push(fit[place]);
      if (mine !== search) return;
      if (place % 2000 === 1999) say(`; searching the whole texts, ${Math.round((100 * place) / fit.length)} %…`);
    }
    rows = sortedRows(found, chosen.sort, tasks, metricOf);
    say(", searched in questions, choices and answers");
    list.show(rows.length);
  }

  const taskNames = [
    ["", group ? `all of ${group}` : `all ${counted(tasks.length, "task")}`],
    ...tasks.map((task) => [task.key, `${task.key}${task.partial ? " (incomplete)" : ""} (${whole(task.id.length)})`]),
  ];
  const metricPick = el("span");
  function drawMetrics() {
    const names = [
      ...new Set(
        tasks.filter((task) => (chosen.task ? task.key === chosen.task : inGroup(task))).flatMap((task) => Object.keys(task.scores)),
      ),
    ];
    metricPick.replaceChildren(
      pick(
        "metric",
        [["", "first of the task"], ...names.map((name) => [name, name])],
        chosen.metric,
        (metric) => ((chosen.metric = metric), update()),
      ),
    );
  }
  drawMetrics();
  const searchBox = el("input", {
    type: "search",
    id: "search",
    placeholder: "search (press /)",
    "aria-label": "search documents",
    value: chosen.search,
  });
  let timer = 0;
  searchBox.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(() => ((chosen.search = searchBox.value), update()), 200);
  });
  const runPick =
    runs.length > 1
      ? pick(
          "run",
          runs.map(([one, place]) => [String(place), one.name]),
          String(run),
          (place) => (location.hash = address("documents", { run: place, task: chosen.task, metric: chosen.metric })),
        )
      : null;
  const controls = el(
    "div",
    { class: "bar-of-filters" },
    runPick,
    pick("task", taskNames, chosen.task, (task) => ((chosen.task = task), drawMetrics(), update())),
    metricPick,
    pick("order", SORTS, chosen.sort, (sort) => ((chosen.sort = sort), update())),
    searchBox,
  );
  const frameNode = el("div", { class: "two" }, el("div", { class: "left" }, list.node), pane);
  pane.append(el("p", { class: "nothing" }, "Choose a document: click it, or move with the arrow keys and press Enter."));
  pane.addEventListener("close", () => frameNode.classList.remove("opened"));
  update(true);
  return [controls, filters, status, frameNode];
}

const shortFigure = (value) => (typeof value === "number" ? String(Number(value.toPrecision(4))) : String(value));

function marksText(task, index) {
  const marks = task.marks[index];
  const words = [
    ["cut", "cut by length"],
    ["truncated", "shortened"],
    ["empty", "empty"],
    ["refused", "refused"],
    ["notJudged", "not judged"],
  ]
    .filter(([name]) => marks & MARKS[name])
    .map(([, word]) => word);
  if (isNear(task, index)) words.push(`lead ${fixed(task.lead[index], 3)}`);
  return words.length ? ` · ${words.join(", ")}` : "";
}

// Where there is room for both, a document is open from the start.
function openFirst(list, rows) {
  if (rows.length && matchMedia("(min-width: 52.01rem)").matches) list.open(0);
}
