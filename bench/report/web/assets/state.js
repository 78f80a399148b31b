// What is being looked at. The fragment of the address has all of it, so that a link keeps the view.

const FILTERS = ["task", "cell", "experiment", "status"];
const FIRST_SETTINGS = 2;
const MORE_SETTINGS = 4;

function fresh() {
  return {
    task: "", cell: "", experiment: "", status: "", q: "", claim: "", run: "", look: "", gate: "tau",
    shown: FIRST_SETTINGS, results: "", runs: "", marks: new Set(),
  };
}

const state = fresh();
const TEXTS = ["task", "cell", "experiment", "status", "q", "claim", "run", "look", "gate", "results", "runs"];

/** The view as a fragment, with what is not as at first. */
function fragment() {
  const found = new URLSearchParams();
  const first = fresh();
  for (const name of TEXTS) if (state[name] !== first[name]) found.set(name, state[name]);
  if (state.shown !== first.shown) found.set("shown", state.shown);
  for (const key of state.marks) found.append("mark", key);
  return found.toString();
}

/** Take the view from the fragment; what is not of this page is passed over, and returned. */
function readFragment() {
  const given = new URLSearchParams(location.hash.slice(1));
  const unknown = [];
  Object.assign(state, fresh());
  for (const name of TEXTS) {
    const value = given.get(name);
    if (value === null) continue;
    if (isKnown(name, value)) state[name] = value;
    else unknown.push(value);
  }
  const shown = Number.parseInt(given.get("shown") ?? "", 10);
  if (shown > FIRST_SETTINGS) state.shown = shown;
  for (const key of given.getAll("mark")) {
    if (PLACES.has(key) || NUMBER_OF_RUN.has(key.replace(/^r\./, ""))) state.marks.add(key);
    else unknown.push(key);
  }
  return unknown;
}

function isKnown(name, value) {
  if (FILTERS.includes(name)) return OPTIONS[name].includes(value);
  if (name === "run") return NUMBER_OF_RUN.has(value);
  if (name === "claim") return DATA.claims !== null && DATA.claims.rows.some((row) => row.id === value);
  if (name === "look") return /^\d+$/.test(value);
  if (name === "gate") return Object.hasOwn(GATE_CHOICES, value);
  return true;
}

function writeFragment() {
  const text = fragment();
  if (text === location.hash.slice(1)) return;
  history.replaceState(null, "", text ? `#${text}` : location.pathname + location.search);
}

const distinct = (values) => [...new Set(values)].sort((a, b) => d3.ascending(a.toLowerCase(), b.toLowerCase()));
const RUN_NUMBERS = d3.range(RUNS.id.length);
const OPTIONS = {
  task: distinct(RUN_NUMBERS.map((run) => settingsOf(run).task)),
  cell: distinct(RUNS.cell),
  experiment: distinct(RUN_NUMBERS.map((run) => settingsOf(run).experiment)),
  status: distinct(RUNS.status),
};

/** What the text of the filter is looked for in. */
const searched = RUN_NUMBERS.map((run) => {
  const setting = settingOf(run);
  const place = PLACE_OF_RUN.get(run);
  const names = [RUNS.id[run], RUNS.cell[run], settingsOf(run).task, settingsOf(run).experiment, RUNS.status[run]];
  if (setting) names.push(setting.label, setting.protocol, columnOf(place).label);
  return names.join(" ").toLowerCase();
});

/** The numbers of the runs that pass all filters, in their order. */
function passing() {
  const words = state.q.toLowerCase().split(/\s+/).filter(Boolean);
  const claim = state.claim && DATA.claims ? DATA.claims.rows.find((row) => row.id === state.claim) : null;
  const bearing = claim ? new Set(claim.runs) : null;
  return RUN_NUMBERS.filter(
    (run) =>
      (!state.task || settingsOf(run).task === state.task) &&
      (!state.cell || RUNS.cell[run] === state.cell) &&
      (!state.experiment || settingsOf(run).experiment === state.experiment) &&
      (!state.status || RUNS.status[run] === state.status) &&
      (bearing === null || bearing.has(run)) &&
      words.every((word) => searched[run].includes(word)),
  );
}

/** Mark some places and runs, or take their marks away if all have one. */
function toggle(keys) {
  const all = keys.every((key) => state.marks.has(key));
  for (const key of keys) {
    if (all) state.marks.delete(key);
    else state.marks.add(key);
  }
}
