// What every view uses: elements made of text alone, the page's data, numbers as the other reports print them.
const MARKS = { truncated: 1, cut: 2, error: 4, notJudged: 8, empty: 16, refused: 32, thoughts: 64 };
const OUTCOMES = ["failed", "waived", "inconclusive", "new", "passed", "advisory"];
const SIGNS = { failed: "✕", waived: "◇", inconclusive: "?", new: "+", passed: "✓", advisory: "·", error: "!", skipped: "–" };

// Characters that are invisible or turn the direction of what follows; shown by their number, so that no text can look like another.
const HIDDEN =
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff9-\ufffb\u{e0000}-\u{e0fff}\p{Cs}]/gu;

function shown(text) {
  return String(text)
    .replace(/\r\n/g, "\n")
    .replace(HIDDEN, (one) => `⟨U+${one.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`);
}

function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "css") for (const [property, one] of Object.entries(value)) node.style.setProperty(property, one);
    else node.setAttribute(name, value === true ? "" : shown(value));
  }
  for (const child of children.flat(3)) {
    if (child === null || child === undefined || child === false) continue;
    node.append(child instanceof Node ? child : document.createTextNode(shown(child)));
  }
  return node;
}

// Attributes whose names are ours, and children that are nodes or texts: no markup is ever read from data.
const el = (name, attributes, ...children) => filled(document.createElement(name), attributes, children);
const svg = (name, attributes, ...children) => filled(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);

function bytesOf(text) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let place = 0; place < binary.length; place++) bytes[place] = binary.charCodeAt(place);
  return bytes;
}

async function blockText(name) {
  const stream = new Blob([bytesOf(document.getElementById(name).textContent)]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Response(stream).text();
}

const block = async (name) => JSON.parse(await blockText(name));

// ---------------------------------------------------------------------------------------------------------- numbers

// As Python prints: a number halfway between two goes to the even one.
function fixed(number, digits) {
  const text = number.toFixed(digits);
  const exact = Math.abs(number).toFixed(Math.min(digits + 60, 100));
  if (!/^50*$/.test(exact.slice(exact.indexOf(".") + 1 + digits)) || !/[13579]$/.test(text)) return text;
  const toZero = exact.slice(0, exact.indexOf(".") + 1 + digits).replace(/\.$/, "");
  return number < 0 ? `-${toZero}` : toZero;
}

function exponent(number, digits) {
  return number.toExponential(digits).replace(/e([+-])(\d)$/, "e$10$2");
}

function figure(value) {
  if (value === null || value === undefined) return "";
  if (typeof value === "string") return value;
  return Math.abs(value) < 1e6 ? fixed(value, 4) : exponent(value, 4);
}

const whole = (number) =>
  Math.round(number)
    .toString()
    .replace(/\B(?=(\d{3})+$)/g, ",");
const counted = (number, noun) => `${whole(number)} ${noun}${number === 1 ? "" : "s"}`;
const numeric = (value) =>
  typeof value === "number" ? value : value === null || value === undefined ? NaN : Number(value.replace(/inf$/, "Infinity"));

function duration(seconds) {
  if (seconds === null || seconds === undefined) return "";
  if (seconds < 60) return `${fixed(seconds, 1)} s`;
  const total = Math.round(seconds);
  const [hours, minutes] = [Math.floor(total / 3600), Math.floor((total % 3600) / 60)];
  return hours ? `${hours} h ${String(minutes).padStart(2, "0")} min` : `${minutes} min ${String(total % 60).padStart(2, "0")} s`;
}

// ------------------------------------------------------------------------------------------------------------- keys

function parsedKey(text) {
  const parts = text.split("|");
  if (parts.length < 3) return null;
  return { suite: parts[0], task: parts[1], shots: Number(parts[2]), cut: parts[3] === "1" };
}

// Suite, task, number of examples, truncation flag; what is no task comes last.
function byKey(one, other) {
  const [a, b] = [parsedKey(one), parsedKey(other)];
  if (!a || !b) return (a ? 0 : 1) - (b ? 0 : 1) || (one < other ? -1 : one > other ? 1 : 0);
  const order = (x, y) => (x < y ? -1 : x > y ? 1 : 0);
  return order(a.suite, b.suite) || order(a.task, b.task) || a.shots - b.shots || Number(a.cut) - Number(b.cut);
}

// The key of the superset's row, `suite|mmlu:_average|5`; null for a task that is in none. The rule is `superset_name` of types/task.py:
// a task of many languages, `belebele_tha_Thai_cf`, is a part of its family in one formulation, `belebele_cf`.
function groupOf(text) {
  const key = parsedKey(text);
  if (!key) return null;
  const name = key.task.split(":")[0];
  const found = /^(.+)_[a-z]{3}(?:_[A-Z][a-z]{3})?_(mcf|cf|hybrid)$/.exec(name);
  if (!found && name === key.task) return null;
  return `${key.suite}|${found ? `${found[1]}_${found[2]}` : name}:_average|${key.shots}${key.cut ? "|1" : ""}`;
}

// ------------------------------------------------------------------------------------------------------- the state

const state = { head: null, columns: [], names: [], view: null, routed: {} };

// Texts of documents, unpacked block by block; the last few are kept.
const unpacked = new Map();

function texts(run, task, index) {
  const { blocks } = state.columns[run][task];
  let place = blocks.length - 1;
  while (blocks[place] > index) place--;
  const name = `texts-${run}-${task}-${place}`;
  // a page holds so many megabytes of texts and no more
  if (!document.getElementById(name)) return Promise.resolve({ golds: [], isLeftOut: true });
  let found = unpacked.get(name);
  if (found) unpacked.delete(name);
  else found = block(name);
  unpacked.set(name, found);
  if (unpacked.size > 40) unpacked.delete(unpacked.keys().next().value);
  return found.then((content) => ({ ...content.documents[index - blocks[place]], paragraphs: content.paragraphs }));
}

// The addresses of views: `#documents?task=...&id=...`.
function address(view, values) {
  const given = Object.entries(values || {}).filter(([, value]) => value !== null && value !== undefined && value !== "");
  return `#${view}${given.length ? `?${new URLSearchParams(given)}` : ""}`;
}

const link = (text, view, values, attributes) => el("a", { href: address(view, values), ...attributes }, text);

// Replaces the address without a new entry in the history, so that "back" leaves the view and not a filter.
function remember(view, values) {
  history.replaceState(null, "", address(view, values));
}

function pick(label, options, value, change) {
  const choice = el("select", { "aria-label": label, onchange: () => change(choice.value) });
  for (const [key, text] of options) choice.append(el("option", { value: key, selected: key === value }, text));
  return el("label", { class: "pick" }, el("span", {}, label), choice);
}

function chip(text, isOn, act, title) {
  return el("button", { type: "button", class: "chip", "aria-pressed": String(isOn), title, onclick: act }, text);
}

function fold(title, make, isOpen) {
  const body = el("div", { class: "fold" });
  const node = el("details", { open: isOpen }, el("summary", {}, title), body);
  const fill = () => node.open && !body.childNodes.length && body.append(...[make()].flat());
  node.addEventListener("toggle", fill);
  fill();
  return node;
}

function badge(outcome, word) {
  return el(
    "span",
    { class: `badge ${outcome}` },
    el("span", { class: "sign", "aria-hidden": "true" }, SIGNS[outcome] || "·"),
    word || outcome,
  );
}

function rowsTable(rows, attributes) {
  return el(
    "table",
    { class: "facts", ...attributes },
    el(
      "tbody",
      {},
      rows.map(([name, value]) => el("tr", {}, el("th", { scope: "row" }, name), el("td", {}, value))),
    ),
  );
}

function numbersTable(names, rows) {
  const head = el(
    "thead",
    {},
    el(
      "tr",
      {},
      names.map((name) => el("th", { scope: "col" }, name)),
    ),
  );
  return el(
    "div",
    { class: "wide" },
    el(
      "table",
      { class: "numbers" },
      head,
      el(
        "tbody",
        {},
        rows.map((row) =>
          el(
            "tr",
            {},
            row.map((cell) => el("td", {}, cell)),
          ),
        ),
      ),
    ),
  );
}
