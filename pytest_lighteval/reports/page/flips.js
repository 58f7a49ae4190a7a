// The documents that score otherwise than in the reference: why, by rule, and what was answered on both sides.
function flipRows(comparison) {
  return Object.keys(comparison.flips)
    .sort(byKey)
    .flatMap((key) =>
      Object.entries(comparison.flips[key]).flatMap(([metric, flips]) =>
        flips.map(([id, before, after, isLoss, reason]) => ({ key, metric, id, before, after, isLoss, reason })),
      ),
    );
}

function findDocument(run, key, id) {
  if (run === null || run === undefined) return null;
  const task = state.columns[run].findIndex((one) => one.key === key);
  if (task < 0) return null;
  const index = state.columns[run][task].id.indexOf(id);
  return index < 0 ? null : { run, task, index };
}

function flipsView(values) {
  const comparison = chosenComparison(values);
  if (!comparison)
    return [
      el(
        "p",
        { class: "lead" },
        "This run was compared with nothing. Give --baseline FILE, or compare two runs: python -m pytest_lighteval compare RUN RUN.",
      ),
    ];
  const all = flipRows(comparison);
  const chosen = { task: values.task || "", metric: values.metric || "", side: values.side || "", reason: values.reason || "" };
  const hasTexts = comparison.reference !== null && state.columns[comparison.reference].length > 0;
  let rows = [];
  const reasons = el("div");
  const status = el("p", { class: "status", role: "status" });
  const pane = el("div", { class: "pane", tabindex: "-1", "aria-label": "document" });
  const sides = el("div", { class: "chips", role: "group", "aria-label": "direction" });

  const inScope = (flip) =>
    (!chosen.task || flip.key === chosen.task || groupOf(flip.key) === chosen.task || chosen.task === "pooled" || chosen.task === "all") &&
    (!chosen.metric || flip.metric === chosen.metric || chosen.task === "pooled");

  function row(place) {
    const flip = rows[place];
    const found = findDocument(comparison.candidate, flip.key, flip.id);
    const task = found && state.columns[found.run][found.task];
    return el(
      "div",
      { class: `document ${flip.isLoss ? "wrong" : "right"}` },
      el("span", { class: "score" }, flip.isLoss ? "lost" : "won"),
      el(
        "span",
        { class: "texts" },
        el("bdi", { class: "question" }, task ? task.question[found.index] : flip.id),
        el(
          "span",
          { class: "answer" },
          `${flip.metric} ${shortFigure(flip.before)} → ${shortFigure(flip.after)}`,
          flip.reason ? el("span", { class: "reason" }, flip.reason) : "",
        ),
      ),
      el("span", { class: "where" }, `${flip.key} ${flip.id}`),
    );
  }

  function open(place) {
    const flip = rows[place];
    const after = findDocument(comparison.candidate, flip.key, flip.id);
    const before = findDocument(comparison.reference, flip.key, flip.id);
    note({ id: flip.id, at: flip.key, by: flip.metric });
    frameNode.classList.add("opened");
    const turn = { move: (step) => list.move(step), place: place + 1, count: rows.length };
    if (after) showFlip(pane, flip, before, { ...after, metric: flip.metric }, turn);
    else pane.replaceChildren(el("p", { class: "nothing" }, "The texts of this document are not in the page."));
  }

  function note(more) {
    remember("flips", { of: values.of, ...chosen, ...more });
  }

  const list = virtualList({ label: "flipped documents", height: 62, row, open });

  function update(isFirst) {
    const scope = all.filter(inScope);
    const [lost, won] = [scope.filter((flip) => flip.isLoss), scope.filter((flip) => !flip.isLoss)];
    const turn = (side) => () => ((chosen.side = side), update());
    sides.replaceChildren(
      chip(`all ${whole(scope.length)}`, !chosen.side, turn("")),
      chip(`lost ${whole(lost.length)}`, chosen.side === "lost", turn("lost")),
      chip(`won ${whole(won.length)}`, chosen.side === "won", turn("won")),
    );
    rows = scope
      .filter(
        (flip) =>
          (!chosen.side || (chosen.side === "lost") === flip.isLoss) &&
          (!chosen.reason || (flip.reason || "no rule says") === chosen.reason),
      )
      .sort((one, other) => Number(other.isLoss) - Number(one.isLoss));
    reasons.replaceChildren(reasonChips(lost, won));
    status.textContent = `${counted(rows.length, "flip")} of ${whole(all.length)}`;
    if (!isFirst) note({});
    const selected =
      isFirst && values.id
        ? rows.findIndex(
            (flip) => flip.id === values.id && (!values.at || flip.key === values.at) && (!values.by || flip.metric === values.by),
          )
        : -1;
    list.show(rows.length, selected < 0 ? undefined : selected);
    if (selected >= 0) open(selected);
    else if (isFirst) openFirst(list, rows);
  }

  function reasonChips(lost, won) {
    const found = [...new Set([...lost, ...won].map((flip) => flip.reason || "no rule says"))];
    if (!found.length) return el("p", { class: "lead" }, "No document scores otherwise.");
    const count = (flips, reason) => flips.filter((flip) => (flip.reason || "no rule says") === reason).length;
    const order = found.sort((one, other) => count(lost, other) + count(won, other) - count(lost, one) - count(won, one));
    const counts = (reason) => `${reason}: ${whole(count(lost, reason))} lost, ${whole(count(won, reason))} won`;
    const button = (reason) =>
      chip(
        counts(reason),
        chosen.reason === reason,
        () => ((chosen.reason = chosen.reason === reason ? "" : reason), update()),
        "show these alone",
      );
    return el(
      "div",
      { class: "chips reasons", role: "group", "aria-label": "why they flipped" },
      el("span", { class: "key" }, "why"),
      order.map(button),
    );
  }

  const keys = [...new Set(all.map((flip) => flip.key))].sort(byKey);
  const metrics = [...new Set(all.map((flip) => flip.metric))];
  const isOther = chosen.task && !keys.includes(chosen.task);
  const controls = el(
    "div",
    { class: "bar-of-filters" },
    pick(
      "task",
      [["", "all tasks"], ...(isOther ? [[chosen.task, chosen.task]] : []), ...keys.map((key) => [key, key])],
      chosen.task,
      (task) => ((chosen.task = task), update()),
    ),
    pick(
      "metric",
      [["", "all metrics"], ...metrics.map((metric) => [metric, metric])],
      chosen.metric,
      (metric) => ((chosen.metric = metric), update()),
    ),
  );
  const frameNode = el("div", { class: "two" }, el("div", { class: "left" }, list.node), pane);
  pane.append(el("p", { class: "nothing" }, "Choose a document: click it, or move with the arrow keys and press Enter."));
  pane.addEventListener("close", () => frameNode.classList.remove("opened"));
  update(true);
  const lead = el(
    "p",
    { class: "lead" },
    el("strong", {}, state.head.runs[comparison.candidate].name),
    " beside ",
    el("strong", {}, comparison.label),
    hasTexts ? "." : ". A baseline file holds scores and no texts: what is shown is this run's answer alone.",
  );
  return [comparisonPick("flips", values), lead, controls, sides, reasons, status, frameNode];
}

async function showFlip(pane, flip, before, after, turn) {
  const why = el(
    "p",
    { class: flip.isLoss ? "verdict-line lost" : "verdict-line won" },
    `${flip.isLoss ? "Lost" : "Won"}: ${flip.metric} ${shortFigure(flip.before)} → ${shortFigure(flip.after)}`,
    flip.reason ? `; ${flip.reason}` : "",
  );
  await showDocument(pane, after, turn, { line: why, sides: () => (before ? bothSides(before, after) : []) });
}

// Generated texts with a word diff, choices with both log-probabilities.
async function bothSides(before, after) {
  const [one, other] = await Promise.all([texts(before.run, before.task, before.index), texts(after.run, after.task, after.index)]);
  const names = [state.head.runs[before.run].name, state.head.runs[after.run].name];
  const nodes = [];
  for (const [ask, answer] of Object.entries(other.answers || {})) {
    const old = (one.answers || {})[ask];
    if (!old) continue;
    if (answer.texts && old.texts) {
      const [left, right] = [(old.scored || old.texts)[0] || "", (answer.scored || answer.texts)[0] || ""];
      if (left === right) nodes.push(el("section", {}, el("h3", {}, "Both wrote the same text")));
      else nodes.push(el("section", {}, el("h3", {}, "Both texts"), sideBySide(names, diffed(left, right))));
    } else if (answer.logprobs && old.logprobs && answer.logprobs.length === old.logprobs.length) {
      nodes.push(bothChoices(names, old, answer, other));
    }
  }
  return nodes;
}

function sideBySide(names, [left, right]) {
  const side = (name, content) =>
    el(
      "div",
      { class: "side" },
      el("p", { class: "key" }, name),
      content.length ? el("pre", { class: "text", dir: "auto" }, content) : el("p", { class: "nothing" }, "The text is empty."),
    );
  return el("div", { class: "sides" }, side(names[0], left), side(names[1], right));
}

function bothChoices(names, old, now, document) {
  const choices = now.choices || document.choices;
  const [before, after] = [old.logprobs.map(numeric), now.logprobs.map(numeric)];
  const golds = new Set(document.golds);
  const best = (values, place) => place === values.indexOf(Math.max(...values));
  const rows = choices.map((choice, place) => [
    golds.has(place) ? "✓ " : "",
    el("bdi", { class: "text" }, choice),
    `${best(before, place) ? "▸ " : ""}${fixed(before[place], 3)}`,
    `${best(after, place) ? "▸ " : ""}${fixed(after[place], 3)}`,
    `${after[place] >= before[place] ? "+" : "−"}${fixed(Math.abs(after[place] - before[place]), 3)}`,
  ]);
  return el(
    "section",
    {},
    el("h3", {}, "Both sides' log-probabilities"),
    el("p", { class: "key" }, "✓ right   ▸ preferred"),
    el("div", { class: "of-choices" }, numbersTable(["", "choice", names[0], names[1], "change"], rows)),
  );
}
