// One document: what was asked, what was answered, and how it was scored.
// `beside`: what a flip shows above the answers: a line, and a function that brings both sides.
async function showDocument(pane, where, { move, place, count }, beside) {
  const task = state.columns[where.run][where.task];
  const mine = (pane.shownNow = {});
  const document = await texts(where.run, where.task, where.index);
  if (pane.shownNow !== mine) return;
  const { index } = where;
  const close = el("button", { type: "button", class: "close", onclick: () => pane.dispatchEvent(new Event("close")) }, "← list");
  const turn = el(
    "span",
    { class: "turn" },
    el("button", { type: "button", "aria-label": "previous document", onclick: () => move(-1) }, "↑"),
    ` ${whole(place)} of ${whole(count)} `,
    el("button", { type: "button", "aria-label": "next document", onclick: () => move(1) }, "↓"),
  );
  const heading = el(
    "div",
    { class: "pane-head" },
    close,
    el(
      "h2",
      {},
      el("bdi", {}, task.id[index]),
      el("span", { class: "metric" }, ` ${task.key}${task.seed && task.seed[index] ? `, few-shot seed ${task.seed[index]}` : ""}`),
    ),
    turn,
  );
  if (document.isLeftOut) {
    const why = "Its texts are not in this page, which would be too large for a browser; they are in details/ beside it.";
    pane.replaceChildren(...[heading, beside && beside.line, el("p", { class: "nothing" }, why)].filter(Boolean));
    return;
  }
  const answers = [turnsOf(document), ...answersOf(task, where, document), gradesOf(document)].flat(2);
  const both = beside ? await beside.sides() : [];
  if (pane.shownNow !== mine) return;
  const own = both.length ? [fold("this run's answer in full", () => answers)] : answers;
  pane.replaceChildren(
    ...[heading, beside && beside.line, scoresOf(task, where, document), problemOf(document), promptOf(document), both, own]
      .flat(3)
      .filter(Boolean),
  );
  pane.scrollTop = 0;
}

function scoresOf(task, where, document) {
  const values = Object.entries(task.scores).map(([name, column]) => [
    name,
    column[where.index] === null
      ? document.values && document.values[name] !== undefined
        ? JSON.stringify(document.values[name])
        : "not scored"
      : shortFigure(column[where.index]),
  ]);
  const facts = [];
  if (task.asked && task.asked[where.index] !== null) facts.push(`${counted(task.asked[where.index], "token")} asked`);
  if (task.written && task.written[where.index] !== null) facts.push(`${whole(task.written[where.index])} written`);
  if (task.marks[where.index] & MARKS.truncated) facts.push("the prompt was cut to the model's length");
  const marks = marksText(task, where.index).replace(/^ · /, "");
  if (marks) facts.push(marks);
  return el(
    "div",
    { class: "scores-of" },
    values.map(([name, value]) => el("span", { class: name === where.metric ? "pill main" : "pill" }, el("b", {}, name), ` ${value}`)),
    facts.length ? el("span", { class: "pill quiet" }, facts.join(", ")) : null,
  );
}

function problemOf(document) {
  const lines = [];
  if (document.error) lines.push(el("p", { class: "failure" }, document.error));
  for (const [metric, why] of Object.entries(document.not_judged || {}))
    lines.push(el("p", { class: "failure" }, `${metric} did not judge it: ${why}`));
  return lines;
}

function answersOf(task, where, document) {
  return Object.entries(document.answers || {}).flatMap(([ask, answer]) => {
    if (answer.error && answer.error !== document.error) return [el("p", { class: "failure" }, answer.error)];
    if (answer.logprobs) return [choicesOf(ask, answer, document)];
    if (answer.texts) return [...textsOf(answer, document)];
    if (answer.logprob !== undefined)
      return [
        el(
          "section",
          {},
          el("h3", {}, "Log-probability of the text"),
          el("p", {}, `${figure(answer.logprob)} nats over ${counted(answer.count || 0, "token")}`),
        ),
      ];
    return [];
  });
}

const ASKS = { choices: "Choices", choices_pmi: "Choices, also without the question", golds: "The right answer" };

function choicesOf(ask, answer, document) {
  const isAll = ask !== "golds";
  const names = answer.choices || (isAll ? document.choices : document.golds.map((gold) => document.choices[gold])) || [];
  const golds = new Set(isAll ? document.golds : names.map((_, place) => place));
  const logprobs = answer.logprobs.map(numeric);
  const best = Math.max(...logprobs);
  const total = logprobs.reduce((sum, one) => sum + Math.exp(one - best), 0);
  const greedy = new Set(answer.greedy || []);
  const rows = names.map((choice, place) => {
    const share = Math.exp(logprobs[place] - best) / total;
    const isChosen = isAll && place === logprobs.indexOf(best);
    return el(
      "tr",
      { class: `${golds.has(place) ? "gold" : ""} ${isChosen ? "chosen" : ""}` },
      el(
        "td",
        { class: "sign" },
        golds.has(place) ? el("span", { title: "right" }, "✓") : "",
        isChosen ? el("span", { title: "preferred by the model" }, "▸") : "",
      ),
      el(
        "td",
        {},
        el("bdi", { class: "text" }, choice),
        el("span", { class: "reader" }, golds.has(place) ? " (right)" : "", isChosen ? " (preferred)" : ""),
      ),
      el(
        "td",
        { class: "share" },
        isAll
          ? el(
              "span",
              { class: "bar-track", title: `${fixed(100 * share, 2)} % of the softmax over the choices` },
              el("span", { class: "bar-fill", css: { width: `${100 * share}%` } }),
            )
          : "",
      ),
      el("td", { class: "number" }, fixed(logprobs[place], 3)),
      answer.unconditioned ? el("td", { class: "number" }, fixed(numeric(answer.unconditioned[place]), 3)) : null,
      el("td", { class: "number" }, answer.counts ? whole(answer.counts[place]) : ""),
      el("td", {}, greedy.has(place) ? "greedy" : ""),
    );
  });
  const head = [
    "",
    "choice",
    isAll ? "share" : "",
    "log-probability",
    ...(answer.unconditioned ? ["without the question"] : []),
    "tokens",
    "",
  ];
  return el(
    "section",
    {},
    el("h3", {}, ASKS[ask] || ask),
    el("p", { class: "key" }, "✓ right   ▸ preferred by the model"),
    el(
      "div",
      { class: "wide" },
      el(
        "table",
        { class: "choices" },
        el(
          "thead",
          {},
          el(
            "tr",
            {},
            head.map((name) => el("th", { scope: "col" }, name)),
          ),
        ),
        el("tbody", {}, rows),
      ),
    ),
  );
}

// A text with its thoughts folded.
function withThoughts(text) {
  return text
    .split(/(<think>[\s\S]*?(?:<\/think>|$)|\[THINK\][\s\S]*?(?:\[\/THINK\]|$))/)
    .filter(Boolean)
    .map((part) =>
      /^(<think>|\[THINK\])/.test(part) ? fold(`thoughts, ${counted(part.length, "character")}`, () => plainText(part)) : plainText(part),
    );
}

const plainText = (text, attributes) => el("pre", { class: "text", dir: "auto", ...attributes }, text);

function* textsOf(answer, document) {
  const many = answer.texts.length > 1;
  for (let place = 0; place < answer.texts.length; place++) {
    const text = answer.texts[place];
    const scored = answer.scored && answer.scored[place] !== text ? answer.scored[place] : null;
    const end = answer.ends && answer.ends[place];
    const facts = [];
    if (answer.tokens) facts.push(counted(answer.tokens[place], "token"));
    if (end === "length") facts.push(`cut at the limit${answer.limit ? ` of ${answer.limit}` : ""}`);
    else if (end) facts.push(`ended by itself (${end})`);
    if (answer.why_empty && answer.why_empty[place]) facts.push(`empty: ${answer.why_empty[place]}`);
    const isCut = end === "length";
    yield el(
      "section",
      {},
      el(
        "h3",
        {},
        many ? `Answer ${place + 1}` : "Answer",
        el("span", { class: isCut ? "fact cut" : "fact" }, facts.length ? ` ${facts.join(", ")}` : ""),
      ),
      scored === null
        ? text
          ? withThoughts(text)
          : el("p", { class: "nothing" }, "The text is empty.")
        : [el("p", { class: "key" }, "What was scored:"), plainText(scored), fold("what the model wrote", () => withThoughts(text))],
    );
  }
  if (document.extracted) yield extractedOf(document.extracted);
  const golds = document.golds.map((gold) => document.choices[gold]).filter((gold) => gold !== undefined);
  const isShort = golds.every((gold) => gold.length < 60 && !gold.includes("\n"));
  if (golds.length)
    yield el(
      "section",
      {},
      el("h3", {}, golds.length > 1 ? "Accepted answers" : "Right answer"),
      isShort
        ? el(
            "p",
            { class: "golds" },
            golds.map((gold) => el("bdi", { class: "text pill gold" }, gold)),
          )
        : golds.map((gold) => plainText(gold, { class: "text gold" })),
    );
}

// The turns of a document that asks several times.
function turnsOf(document) {
  const turns = document.asked || [];
  return turns.map(([asked, ...replies], place) =>
    fold(
      `turn ${place + 1} of ${turns.length}`,
      () =>
        [
          el("p", { class: "key" }, "asked"),
          plainText(asked),
          replies.map((reply) => [el("p", { class: "key" }, "replied"), withThoughts(reply)]),
        ].flat(3),
      place === turns.length - 1,
    ),
  );
}

// What a judge, or a program that ran the answer, said of it.
function gradesOf(document) {
  return Object.entries(document.grades || {}).map(([metric, marks]) =>
    el(
      "section",
      {},
      el("h3", {}, `Graded for ${metric}`),
      marks.map((mark) => rowsTable(Object.entries(mark).map(([name, value]) => [name, gradeFact(value)]))),
    ),
  );
}

function gradeFact(value) {
  const text = typeof value === "string" ? value : JSON.stringify(value, null, 1);
  return text.length > 120 || text.includes("\n")
    ? fold(`${counted(text.length, "character")}`, () => plainText(text))
    : el("bdi", { class: "text" }, text);
}

// What the metrics took for the answer.
function extractedOf(extracted) {
  const rows = Object.entries(extracted).map(([metric, text]) => [
    metric,
    text === null ? el("span", { class: "fact cut" }, "found no answer in the text") : el("bdi", { class: "text" }, text),
  ]);
  return el("section", {}, el("h3", {}, "Extracted answer"), rowsTable(rows));
}

function promptOf(document) {
  const joined = (places) => places.map((place) => document.paragraphs[place]).join("");
  const examples = (document.examples || []).length;
  if (document.turns) {
    const last = document.turns.length - 1;
    const turn = ([role, places]) => el("div", { class: "turn-of" }, el("p", { class: "key" }, role), plainText(joined(places)));
    const before = document.turns.slice(0, last);
    return el(
      "section",
      {},
      el("h3", {}, "Prompt"),
      before.length
        ? fold(`${counted(before.length, "turn")} before it${examples ? `, with ${counted(examples, "example")}` : ""}`, () =>
            before.map(turn),
          )
        : null,
      turn(document.turns[last]),
    );
  }
  const before = joined(document.before || []);
  const title = examples ? `${counted(examples, "few-shot example")} before it` : "what is before it";
  return el(
    "section",
    {},
    el("h3", {}, "Prompt"),
    before ? fold(`${title}, ${counted(before.length, "character")}`, () => plainText(before)) : null,
    plainText(document.own || "", { class: "text own" }),
  );
}
