// What ran: enough to repeat it, and to see what may have changed a score.
function plainValue(value) {
  if (value === null || value === undefined) return "–";
  if (typeof value === "object") return JSON.stringify(value);
  return typeof value === "number" ? String(value) : shown(value);
}

function mapTable(title, map) {
  const rows = Object.entries(map || {}).filter(
    ([, value]) => value !== null && value !== undefined && !(typeof value === "object" && !Object.keys(value).length),
  );
  return rows.length
    ? el(
        "section",
        {},
        el("h3", {}, title),
        el("div", { class: "wide" }, rowsTable(rows.map(([name, value]) => [name, el("code", {}, plainValue(value))]))),
      )
    : null;
}

function factsView(values) {
  const runs = state.head.runs;
  const place = Number(values.run || 0);
  const run = runs[place] || runs[0];
  const results = run.results;
  const nodes =
    runs.length > 1
      ? [
          el(
            "div",
            { class: "bar-of-filters" },
            pick(
              "run",
              runs.map((one, number) => [String(number), one.name]),
              String(place),
              (number) => (location.hash = address("facts", { run: number })),
            ),
          ),
        ]
      : [];
  const about = results.run || {};
  const cache = about.cache || {};
  const backend = results.backend || {};
  const { arguments: backendArguments, versions, use, ...engine } = backend;
  const environment = results.environment || {};
  nodes.push(command(about.command));
  nodes.push(
    section(
      "The run",
      rowsTable(
        [
          ["model", (results.config_general || {}).model_name],
          ["run", about.id],
          ["started", startText(about.started)],
          ["time", duration(about.seconds)],
          ["exit status", about.exit_status],
          [
            "hardware",
            [backend.device, environment.platform, environment.processors ? counted(environment.processors, "processor") : ""]
              .filter(Boolean)
              .join(", "),
          ],
          [
            "answers",
            !(cache.misses || cache.hits)
              ? null
              : `${whole(cache.misses)} computed, ${whole(cache.recalled || 0)} recalled from the cache, ${whole((cache.hits || 0) - (cache.recalled || 0))} equal to another one`,
          ],
          ["fingerprint", backend.fingerprint],
        ].filter(([, value]) => value),
      ),
    ),
  );
  nodes.push(
    el(
      "div",
      { class: "columns" },
      mapTable("Model arguments (other than the defaults)", results.model_args),
      mapTable("Settings that may change a score", results.settings),
      mapTable("Engine", engine),
      mapTable("All arguments of the backend", backendArguments),
      mapTable("Resources", about.use || use),
      mapTable("Versions", { python: environment.python, ...(environment.packages || {}), ...(versions || {}) }),
    ),
  );
  if ((results.baselines || []).length)
    nodes.push(
      section(
        "Compared with these files",
        numbersTable(
          ["file", "sha256", "tasks", "models", "pinned"],
          results.baselines.map((file) => [
            file.path,
            file.sha256.slice(0, 12),
            whole(file.tasks),
            file.models
              .map((model) =>
                Object.values(model)
                  .filter((fact) => fact !== null)
                  .join(" "),
              )
              .join(", "),
            file.is_pinned ? "yes" : "",
          ]),
        ),
      ),
    );
  nodes.push(taskFacts(results));
  return nodes.filter(Boolean);
}

const startText = (text) => (text ? text.replace("T", " ").replace(/(:\d\d)?(\.\d+)?\+00:00$/, " UTC") : "");

function command(line) {
  if (!line) return null;
  const code = el("pre", { class: "text command", tabindex: "0" }, line);
  const copy = el(
    "button",
    {
      type: "button",
      onclick: () => {
        getSelection().selectAllChildren(code);
        if (navigator.clipboard)
          navigator.clipboard.writeText(line).then(
            () => (copy.textContent = "copied"),
            () => {},
          );
      },
    },
    "copy",
  );
  return section("To repeat it", [el("div", { class: "copyable" }, code, copy)]);
}

function taskFacts(results) {
  const tasks = results.config_tasks || {};
  const keys = Object.keys(tasks).sort(byKey);
  if (!keys.length) return null;
  const rows = () =>
    numbersTable(
      ["task", "version", "documents", "shortened", "cut texts", "data", "prompts"],
      keys.map((key) => {
        const summary = (results.summary_tasks || {})[key] || {};
        const hashes = summary.hashes || {};
        return [
          key,
          String(tasks[key].version),
          whole(tasks[key].effective_num_docs),
          whole(summary.truncated || 0),
          summary.texts ? `${whole(summary.cut_texts)} of ${whole(summary.texts)}` : "",
          (hashes.hash_examples || "").slice(0, 12),
          (hashes.hash_full_prompts || "").slice(0, 12),
        ];
      }),
    );
  const notes = keys.flatMap((key) =>
    (((results.summary_tasks || {})[key] || {}).notes || []).map((note) => el("p", { class: "note" }, `${key}: ${note}`)),
  );
  return el("section", {}, el("h2", {}, "Tasks"), notes, fold("digests of data and prompts", rows, keys.length < 30));
}
