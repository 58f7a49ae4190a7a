// What the gates say: what is red and why first.
const SAID_BY = {
  passed: ["PASSED", "IMPROVED"],
  failed: ["REGRESSED", "STALE"],
  inconclusive: ["INCONCLUSIVE"],
  waived: [],
  new: ["NEW"],
  advisory: [],
};

// The words of the terminal's column "gate".
function gateWords(verdict) {
  const paired = verdict.paired;
  const bounds = [
    ["min", verdict.min],
    ["max", verdict.max],
  ]
    .filter(([, bound]) => bound !== null && bound !== undefined)
    .map(([name, bound]) => `${name} ${figure(bound)}`);
  if (verdict.pinned && verdict.pinned.red) {
    return [verdict.outcome, ...bounds, ...(paired ? [`paired ${paired.outcome}`] : []), `pinned ${verdict.pinned.outcome}`].join(", ");
  }
  if (!paired) return [verdict.outcome, ...bounds].join(", ");
  const soft = paired.soft && paired.soft_alpha !== null && paired.soft.is_certain && paired.soft.is_large;
  const ways = [
    ["soft", soft && paired.soft.alpha !== null],
    ["blind", paired.blind],
    ["advisory", paired.advisory],
    ["retried", verdict.retried],
  ]
    .filter(([, holds]) => holds)
    .map(([name]) => name);
  const word = ways.length ? `${paired.outcome} (${ways.join(", ")})` : paired.outcome;
  if (verdict.outcome === "advisory" || (!paired.advisory && (SAID_BY[verdict.outcome] || []).includes(paired.outcome)))
    return [word, ...bounds].join(", ");
  return [verdict.outcome, ...bounds, `paired ${word}`].join(", ");
}

// The one of them that decides.
function gateWord(verdict) {
  const { paired, outcome } = verdict;
  if (!paired) return outcome;
  if (outcome === "advisory") return `(${paired.outcome})`;
  return !paired.advisory && (SAID_BY[outcome] || []).includes(paired.outcome) ? paired.outcome : outcome;
}

const inPoints = (paired) => / points /.test(paired.line || "");

function lossText(value, paired) {
  const number = numeric(value);
  return Number.isFinite(number) ? (inPoints(paired) ? `${fixed(100 * number, 1)} points` : figure(number)) : "unknown";
}

// The loss with its bounds, on an axis whose unit is the allowed loss, so that the allowed loss is at the same place in every row.
function lossBar(paired, outcome, reach) {
  const [width, height, middle] = [360, 34, 13];
  const unit = paired.max_drop;
  const at = (value) => width / 2 + (Math.max(-reach, Math.min(reach, value / unit)) / reach) * (width / 2 - 12);
  const [low, loss, high] = [numeric(paired.lower), numeric(paired.loss), numeric(paired.upper)].map((value, place) =>
    Number.isNaN(value) ? [-Infinity, 0, Infinity][place] : value,
  );
  const title = `loss ${lossText(loss, paired)}, from ${lossText(low, paired)} to ${lossText(high, paired)}; allowed ${lossText(unit, paired)}`;
  const bar = svg(
    "svg",
    { class: `loss ${outcome}`, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": title },
    svg("title", {}, title),
  );
  bar.append(svg("rect", { class: "beyond", x: at(unit), y: 1, width: width - at(unit), height: 24 }));
  bar.append(svg("line", { class: "axis", x1: 0, x2: width, y1: 25, y2: 25 }));
  bar.append(
    svg("line", { class: "zero", x1: at(0), x2: at(0), y1: 1, y2: 25 }),
    svg("text", { class: "tick", x: at(0) + 3, y: 33, "text-anchor": "end" }, "0"),
  );
  bar.append(
    svg("line", { class: "allowed", x1: at(unit), x2: at(unit), y1: 1, y2: 25 }),
    svg("text", { class: "tick", x: at(unit) - 3, y: 33 }, lossText(unit, paired).replace(" points", "")),
  );
  bar.append(
    svg("text", { class: "tick", x: 0, y: 33 }, "← gain"),
    svg("text", { class: "tick", x: width, y: 33, "text-anchor": "end" }, "loss →"),
  );
  bar.append(svg("line", { class: "interval", x1: at(low), x2: at(high), y1: middle, y2: middle }));
  for (const [end, sign] of [
    [low, -1],
    [high, 1],
  ]) {
    const isCut = Math.abs(end / unit) > reach;
    const x = at(end);
    bar.append(svg("path", { class: "end", d: isCut ? `M${x} ${middle - 6}l${6 * sign} 6l${-6 * sign} 6` : `M${x} ${middle - 6}v12` }));
  }
  bar.append(svg("circle", { class: "point", cx: at(loss), cy: middle, r: 4.5 }));
  return bar;
}

function verdictRow(key, verdict, reach, comparison) {
  const paired = verdict.paired;
  const isCompared = paired && paired.loss !== null && paired.loss !== undefined;
  const facts = [];
  if (isCompared) {
    const bar = el("div", { class: "bar" }, lossBar(paired, verdict.outcome, reach));
    facts.push(bar);
  }
  const lines = [];
  for (const line of messageLines(verdict)) lines.push(el("p", { class: "message" }, line));
  if (isCompared && paired.outcome !== "REGRESSED" && paired.detectable === null)
    lines.push(el("p", { class: "note" }, "Power: not even the largest loss would have been found in four of five runs."));
  if (isCompared && paired.detectable)
    lines.push(
      el(
        "p",
        { class: "note" },
        `Power: a true loss of ${lossText(paired.detectable, paired)} would have been found in four of five runs.`,
      ),
    );
  if (isCompared && paired.blind)
    lines.push(el("p", { class: "note" }, "This gate is blind: it could not have found a loss of ten times what is allowed."));
  if (verdict.pinned) lines.push(el("p", { class: "note" }, `Pinned baseline: ${verdict.pinned.line}`));
  if (verdict.waiver)
    lines.push(
      el(
        "p",
        { class: "note" },
        verdict.outcome === "waived" ? `Waived: ${verdict.waiver}` : `Its waiver is not needed: ${verdict.waiver}`,
      ),
    );
  if (verdict.retried) lines.push(el("p", { class: "note" }, `An earlier session of the same model found ${verdict.retried}.`));
  for (const note of (paired && paired.notes) || []) lines.push(el("p", { class: "note" }, `Note: ${note}`));
  const links = [];
  const flipped = comparison ? flipsOf(comparison, key, verdict.metric) : 0;
  if (flipped)
    links.push(
      link(`${counted(flipped, "document")} flipped`, "flips", {
        task: key,
        metric: verdict.metric,
        of: state.head.comparisons.indexOf(comparison) || null,
      }),
    );
  if (hasDocuments(key)) links.push(link("documents", "documents", { task: key, metric: verdict.metric }));
  return el(
    "article",
    { class: `verdict ${verdict.outcome}` },
    el(
      "div",
      { class: "what" },
      badge(verdict.outcome, gateWords(verdict)),
      el("h3", {}, key === "pooled" ? "pooled test" : key, " ", el("span", { class: "metric" }, verdict.metric)),
      el(
        "p",
        { class: "value" },
        `${figure(verdict.value)}${verdict.stderr === null ? "" : ` ± ${figure(verdict.stderr)}`}`,
        el("span", { class: "n" }, ` n = ${whole(verdict.n)}`),
      ),
    ),
    el("div", { class: "why" }, facts, lines, links.length ? el("p", { class: "links" }, links) : null),
  );
}

// What its threshold says and what its comparison says, a line each.
function messageLines(verdict) {
  const line = (verdict.paired && verdict.paired.line) || "";
  const rest = line && verdict.message.includes(line) ? verdict.message.replace(line, "").replace(/^[;\s]+|[;\s]+$/g, "") : verdict.message;
  return [line, rest].filter(Boolean);
}

// Of a superset those of its tasks.
const isOf = (task, key) => task === key || groupOf(task) === key;

const hasDocuments = (key) => state.columns.some((tasks) => tasks.some((task) => isOf(task.key, key)));

function flipsOf(comparison, key, metric) {
  const members = Object.keys(comparison.flips).filter((task) => isOf(task, key));
  return members.reduce((sum, task) => sum + (comparison.flips[task][metric] || []).length, 0);
}

function chosenComparison(values) {
  const all = state.head.comparisons;
  return all[Number(values.of || 0)] || all[0] || null;
}

function comparisonPick(view, values) {
  const all = state.head.comparisons;
  if (all.length < 2) return null;
  const names = all.map((one, place) => [String(place), `${state.head.runs[one.candidate].name} beside ${one.label}`]);
  return el(
    "div",
    { class: "bar-of-filters" },
    pick("comparison", names, String(values.of || 0), (of) => (location.hash = address(view, { of }))),
  );
}

function verdictsView(values) {
  const comparison = chosenComparison(values);
  const run = state.head.runs[comparison ? comparison.candidate : 0] || { results: {} };
  const verdicts = comparison ? comparison.verdicts : run.results.verdicts || {};
  const all = Object.keys(verdicts)
    .sort(byKey)
    .flatMap((key) => verdicts[key].map((verdict) => [key, verdict]));
  const errors = Object.entries(run.results.errors || {}).sort(([one], [other]) => byKey(one, other));
  const skipped = Object.entries(run.results.skipped || {}).sort(([one], [other]) => byKey(one, other));
  const compared = all
    .map(([, verdict]) => verdict.paired)
    .filter((paired) => paired && paired.max_drop && paired.loss !== null && paired.loss !== undefined);
  const ends = compared.flatMap((paired) =>
    [paired.lower, paired.upper, paired.loss].map((end) => Math.abs(numeric(end) / paired.max_drop)).filter(Number.isFinite),
  );
  const reach = Math.max(2, Math.min(8, ...(ends.length ? [Math.max(...ends)] : [2])));
  const nodes = [comparisonPick("verdicts", values), tiles(all, errors, skipped)];
  if (comparison)
    nodes.push(
      el(
        "p",
        { class: "lead" },
        "Compared with ",
        el("strong", {}, comparison.label),
        ". The bar is the loss with its bounds; the grey area begins at the allowed loss, whose place is the same in every row.",
      ),
    );
  if (!all.length && !errors.length)
    nodes.push(
      el("p", { class: "lead" }, "This run has no gates: nothing was promised of its scores. ", link("Its scores", "scores"), "."),
    );
  if (errors.length)
    nodes.push(
      section(
        "Without a score",
        errors.map(([key, why]) => plainRow("error", key, why)),
      ),
    );
  for (const outcome of OUTCOMES) {
    const rows = all.filter(([, verdict]) => verdict.outcome === outcome);
    if (!rows.length) continue;
    const make = () => rows.map(([key, verdict]) => verdictRow(key, verdict, reach, comparison));
    const title = `${outcome[0].toUpperCase()}${outcome.slice(1)}: ${rows.length}`;
    if (outcome === "advisory" || rows.length > 100)
      nodes.push(
        el("section", { id: `outcome-${outcome}` }, fold(el("h2", {}, title), make, outcome !== "advisory" && outcome !== "passed")),
      );
    else nodes.push(section(title, make(), `outcome-${outcome}`));
  }
  if (skipped.length)
    nodes.push(
      section(
        `Skipped: ${skipped.length}`,
        [fold("their reasons", () => skipped.map(([key, why]) => plainRow("skipped", key, why)), skipped.length < 10)],
        "outcome-skipped",
      ),
    );
  return nodes;
}

const section = (title, content, id) => el("section", { id }, el("h2", {}, title), content);

function plainRow(outcome, key, why) {
  const links = hasDocuments(key) ? el("p", { class: "links" }, link("documents", "documents", { task: key })) : null;
  return el(
    "article",
    { class: `verdict ${outcome}` },
    el("div", { class: "what" }, badge(outcome), el("h3", {}, key)),
    el("div", { class: "why" }, el("p", { class: "message" }, why), links),
  );
}

function tiles(all, errors, skipped) {
  const counts = [
    ["error", errors.length, "without a score"],
    ...OUTCOMES.map((outcome) => [outcome, all.filter(([, verdict]) => verdict.outcome === outcome).length, outcome]),
    ["skipped", skipped.length, "skipped"],
  ];
  const shownTiles = counts
    .filter(([, count]) => count)
    .map(([outcome, count, words]) =>
      el(
        "li",
        { class: `tile ${outcome}` },
        el("span", { class: "count" }, el("span", { class: "sign", "aria-hidden": "true" }, SIGNS[outcome]), ` ${whole(count)}`),
        el("span", { class: "of" }, words),
      ),
    );
  return shownTiles.length ? el("ul", { class: "tiles" }, shownTiles) : null;
}
