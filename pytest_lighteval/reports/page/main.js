// Reads the data, and shows the view that the address names.
const VIEWS = [
  ["verdicts", "Verdicts", verdictsView],
  ["scores", "Scores", scoresView],
  ["documents", "Documents", documentsView],
  ["flips", "Flips", flipsView],
  ["plots", "Plots", chartsView],
  ["curves", "Curves", curvesView],
  ["facts", "What ran", factsView],
];

const main = document.getElementById("main");

// A page of curves begins with them; a page of nothing but curves has no other view.
function shownViews() {
  const { curves, comparisons, runs } = state.head;
  const isShown = (name) => (name === "curves" ? curves.length : runs.length && (name !== "flips" || comparisons.length));
  const views = VIEWS.filter(([name]) => isShown(name));
  return curves.length ? [...views.filter(([name]) => name === "curves"), ...views.filter(([name]) => name !== "curves")] : views;
}

function show() {
  const [name, query] = location.hash.slice(1).split("?");
  const views = shownViews();
  const view = views.find(([one]) => one === name) || views[0] || VIEWS[0];
  main.replaceChildren(
    ...[state.head.notes.map((note) => el("p", { class: "note" }, note)), view[2](Object.fromEntries(new URLSearchParams(query || "")))]
      .flat(2)
      .filter(Boolean),
  );
  main.className = `view-${view[0]}`;
  for (const tab of document.querySelectorAll("#tabs a")) {
    const isOn = tab.dataset.view === view[0];
    tab.setAttribute("aria-selected", String(isOn));
    tab.tabIndex = isOn ? 0 : -1;
    if (isOn) tab.scrollIntoView({ block: "nearest", inline: "nearest" });
  }
}

function drawTabs() {
  const tabs = document.getElementById("tabs");
  const counts = {
    documents: (state.columns[0] || []).reduce((sum, task) => sum + task.id.length, 0),
    flips: state.head.comparisons.reduce((sum, one) => sum + flipRows(one).length, 0),
  };
  tabs.replaceChildren(
    ...shownViews().map(([name, title]) =>
      el(
        "a",
        { href: `#${name}`, role: "tab", "data-view": name, "aria-controls": "main" },
        title,
        counts[name] ? el("span", { class: "of" }, ` ${whole(counts[name])}`) : null,
      ),
    ),
  );
  tabs.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const all = [...tabs.children];
    const next = all[(all.indexOf(document.activeElement) + step + all.length) % all.length];
    next.focus();
    location.hash = next.getAttribute("href");
  });
}

// "/" goes to the search, Escape back to the list, and digits to the views.
function keys(event) {
  const isTyping = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName);
  if (event.key === "Escape") {
    const opened = document.querySelector(".two.opened");
    if (isTyping) event.target.blur();
    if (opened) opened.querySelector(".pane").dispatchEvent(new Event("close"));
    const list = document.querySelector(".list");
    if (list) list.focus();
    return;
  }
  if (isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "/") {
    const search = document.querySelector("main input[type=search]");
    if (search) search.focus();
    event.preventDefault();
  } else if (/^[1-9]$/.test(event.key) && shownViews()[Number(event.key) - 1]) {
    location.hash = shownViews()[Number(event.key) - 1][0];
  }
}

function turnTheme() {
  const root = document.documentElement;
  const isDark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = isDark ? "light" : "dark";
}

// On paper everything that is folded is open, and no list scrolls.
function unfold() {
  for (const one of document.querySelectorAll("main details:not([open])")) {
    one.open = true;
    one.dispatchEvent(new Event("toggle"));
    one.dataset.printed = "1";
  }
}

function refold() {
  for (const one of document.querySelectorAll("main details[data-printed]")) {
    one.open = false;
    delete one.dataset.printed;
  }
}

function subtitle() {
  const { runs, comparisons } = state.head;
  if (!runs.length) return "";
  if (comparisons.length > 1) return runs.map((run) => run.name).join(", ");
  const { results } = runs[0];
  const about = results.run || {};
  const isUsual = about.exit_status === "ok" || about.exit_status === "tests_failed";
  const facts = [
    about.id,
    startText(about.started),
    duration(about.seconds),
    (results.backend || {}).name,
    isUsual ? null : about.exit_status,
  ];
  return facts.filter(Boolean).join(" · ");
}

async function start() {
  state.head = await block("head");
  state.columns = await Promise.all(state.head.runs.map((_, place) => block(`columns-${place}`)));
  document.title = `${shown(state.head.title)} – evaluation`;
  document.getElementById("title").textContent = shown(state.head.title);
  document.getElementById("subtitle").textContent = shown(subtitle());
  drawTabs();
  show();
  addEventListener("hashchange", show);
  addEventListener("keydown", keys);
  addEventListener("beforeprint", unfold);
  addEventListener("afterprint", refold);
  document.documentElement.dataset.ready = String(Math.round(performance.now()));
}

document.getElementById("theme").addEventListener("click", turnTheme);
if (typeof DecompressionStream === "undefined") {
  main.replaceChildren(
    el("p", { class: "failure" }, "This page needs a browser that has DecompressionStream: Chrome 80, Firefox 113, Safari 16.4, or newer."),
  );
} else {
  start().catch((error) => main.replaceChildren(el("p", { class: "failure" }, `The page's data cannot be read: ${error.message}`)));
}
