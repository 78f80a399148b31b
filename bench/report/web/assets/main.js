// The page as a whole: what follows from the state is drawn anew after each change of it.

const live = byId("status");
const results = makeTable("results", resultColumns, (place) => [place.key], named);
const runs = makeTable("runs", runColumns, (run) => [keyOfRun(run)], (run) => `run ${RUNS.id[run]}`);
const groups = new Map();
const delays = DATA.delays.map((series, number) => ({ series, ...delayGroup(series, number) }));

/** Say something to a screen reader and, above the tables, to all. */
function say(text) {
  live.textContent = text;
}

function delayGroup(series, number) {
  const charts = delayPlots(series).map((_, i) => makeChart(`delay-${number}-${i}`));
  const keys = h("div", { class: "keys" });
  const element = h("div", { class: "group" }, h("h3", {}, series.label), h("p", { class: "small" }, series.protocol), keys, h("div", { class: "plots" }, charts.map((chart) => chart.figure)));
  return { element, charts, keys };
}

/** The plots of one setting, made once and kept, so that focus stays where it is. */
function groupOf(setting) {
  if (groups.has(setting.key)) return groups.get(setting.key);
  const charts = Object.fromEntries(["curves", "survival", "untrained", "look", "gates"].map((name) => [name, makeChart(`${name}-${setting.key}`)]));
  const slider = h("input", { type: "range", min: "0", step: "1", id: `slider-${setting.key}` });
  const told = h("span");
  const row = h("div", { class: "slider" }, h("label", { for: `slider-${setting.key}` }, "Training step"), slider, told);
  const choice = h("select", {}, Object.entries(GATE_CHOICES).map(([value, text]) => h("option", { value }, text)));
  charts.gates.figure.insertBefore(h("label", {}, "Shown ", choice), charts.gates.figure.children[1]);
  charts.look.figure.insertBefore(row, charts.look.figure.children[1]);
  const keys = h("div", { class: "keys" });
  const group = { element: null, charts, slider, told, row, keys, choice, stops: [] };
  group.element = h("div", { class: "group", "data-setting": setting.key }, h("h3", {}, setting.label), h("p", { class: "small" }, `${setting.protocol}, at most ${counted(setting.budget)} steps`), keys, h("div", { class: "plots" }, Object.values(charts).map((chart) => chart.figure)));
  slider.addEventListener("input", () => {
    const step = group.stops[Number(slider.value)];
    state.look = step === null ? "" : String(step);
    render({ told: `Gradient ${lookWords(step)}` });
  });
  choice.addEventListener("change", () => {
    state.gate = choice.value;
    render();
  });
  groups.set(setting.key, group);
  return group;
}

const lookWords = (step) => (step === null ? "after training" : step === 0 ? "before the first step" : `after step ${counted(step)}`);

function drawSetting(setting, shown) {
  const group = groupOf(setting);
  const places = PLACES_OF.get(setting.key).filter((place) => place.runs.some((run) => shown.has(run)));
  group.keys.replaceChildren(...keysOf(places));
  const { charts } = group;
  const draw = (name, spec) => {
    charts[name].figure.hidden = spec.lines.length === 0;
    if (spec.lines.length) charts[name].update(spec);
  };
  draw("curves", learningCurves(setting, places, shown));
  draw("survival", survivalPlot(setting, places));
  group.stops = looksOf(places);
  const domain = flowDomain(places);
  draw("untrained", flowPlot(places, 0, "Gradient over lag, untrained", domain));
  const at = chosenLook(group.stops);
  const step = group.stops[at] ?? null;
  draw("look", flowPlot(places, step, `Gradient over lag, ${step === null ? "trained" : lookWords(step)}`, domain));
  group.row.hidden = group.stops.length < 3;
  group.slider.max = String(Math.max(0, group.stops.length - 1));
  group.slider.value = String(at);
  group.told.textContent = lookWords(step);
  group.slider.setAttribute("aria-valuetext", lookWords(step));
  const gates = gatePlot(setting, places);
  charts.gates.figure.hidden = places.every((place) => Object.keys(place.gates).length === 0);
  if (!charts.gates.figure.hidden) charts.gates.update(gates);
  group.choice.value = state.gate;
}

/** The keys of the lines of some places: a button for each, which marks them. */
function keysOf(places) {
  return places.map((place) => {
    const press = () => {
      toggle([place.key]);
      render({ found: [place.key] });
    };
    const on = state.marks.has(place.key);
    return h("button", { type: "button", "aria-pressed": String(on), onclick: press, "data-focus": `key ${place.key}` }, swatch(columnOf(place)), columnOf(place).label);
  });
}

/** The settings whose plots are shown: those of what is marked, and the first of what passes the filters. */
function settingsShown(shown) {
  const passing = DATA.settings.filter((setting) => PLACES_OF.get(setting.key).some((place) => place.runs.some((run) => shown.has(run))));
  const marked = new Set();
  for (const key of state.marks) {
    const place = PLACES.get(key) ?? PLACE_OF_RUN.get(NUMBER_OF_RUN.get(key.slice(2)));
    if (place) marked.add(place.setting);
  }
  const chosen = new Set(passing.filter((setting) => marked.has(setting.key)).slice(0, Math.max(8, state.shown)));
  for (const setting of passing) if (chosen.size < state.shown) chosen.add(setting);
  return [passing, passing.filter((setting) => chosen.has(setting))];
}

function drawPlots(shown) {
  const [passing, chosen] = settingsShown(shown);
  const elements = chosen.map((setting) => groupOf(setting).element);
  const box = byId("settings");
  // An element that stays where it is keeps the focus.
  if (elements.length !== box.children.length || elements.some((element, i) => box.children[i] !== element)) box.replaceChildren(...elements);
  for (const setting of chosen) drawSetting(setting, shown);
  const more = byId("more");
  more.hidden = chosen.length >= passing.length;
  more.textContent = `Show ${plural(Math.min(MORE_SETTINGS, passing.length - chosen.length), "more setting")}, ${chosen.length} of ${passing.length} are shown`;
  const there = new Set(passing.map((setting) => setting.key));
  const wanted = delays.filter(({ series }) => series.lines.some((line) => line.settings.some((key) => there.has(key))));
  byId("delays").hidden = wanted.length === 0;
  const parent = byId("delays").lastElementChild;
  if (wanted.some(({ element }, i) => parent.children[i] !== element) || wanted.length !== parent.children.length) parent.replaceChildren(...wanted.map(({ element }) => element));
  for (const { series, charts, keys } of wanted) {
    keys.replaceChildren(...series.lines.map((line) => h("span", { class: "key" }, swatch(DATA.columns[line.column]), DATA.columns[line.column].label)));
    delayPlots(series).forEach((spec, i) => charts[i].update(spec));
  }
}

/** Draw all that follows from the state. `found` are keys whose row is to be seen, `told` is said. */
function render({ found = [], told = null } = {}) {
  const kept = passing();
  const shown = new Set(kept);
  const places = DATA.places.filter((place) => place.runs.some((run) => shown.has(run)));
  for (const name of FILTERS) byId(`filter-${name}`).value = state[name];
  if (document.activeElement !== byId("filter-q")) byId("filter-q").value = state.q;
  results.update(places, found);
  runs.update(kept, found);
  drawPlots(shown);
  drawClaims();
  const chips = byId("chips");
  chips.replaceChildren();
  if (state.claim) {
    const drop = () => {
      state.claim = "";
      render();
    };
    chips.append(h("button", { type: "button", class: "chip", onclick: drop }, "Only runs that bear one claim ✕"));
  }
  const counts = `${plural(places.length, "row")}, ${plural(kept.length, "run")}${state.marks.size ? `, ${state.marks.size} marked` : ""}`;
  say(told ? `${told}. ${counts}` : counts);
  writeFragment();
  showRun();
}

function drawClaims() {
  const section = byId("claims");
  section.hidden = DATA.claims === null;
  if (DATA.claims === null) return;
  section.querySelector(".scroll").replaceChildren(claimRows(DATA.claims.rows));
}

/** What is the same whatever is looked at. */
function start() {
  for (const name of FILTERS) {
    const select = byId(`filter-${name}`);
    select.append(h("option", { value: "" }, "all"), ...OPTIONS[name].map((each) => h("option", { value: each }, each)));
    select.addEventListener("change", () => {
      state[name] = select.value;
      render();
    });
  }
  byId("filter-q").addEventListener("input", (event) => {
    state.q = event.target.value;
    render();
  });
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  byId("clear").addEventListener("click", () => {
    Object.assign(state, fresh());
    render({ told: "All is shown" });
  });
  byId("link").addEventListener("click", async () => say((await copied(location.href)) ? "Link copied" : "The address of this page is the link"));
  byId("more").addEventListener("click", () => {
    state.shown += MORE_SETTINGS;
    render();
  });
  const statuses = Object.entries(DATA.statuses).map(([status, count]) => `${counted(count)} ${status}`);
  byId("summary").textContent = `${plural(RUNS.id.length, "run")} (${statuses.join(", ")}) of ${plural(OPTIONS.cell.length, "cell")} on ${plural(OPTIONS.task.length, "task")}, in ${plural(DATA.settings.length, "setting")}. Made by rnn-bench ${DATA.version}.${DATA.thinned ? ` ${DATA.detail}` : ""}`;
  byId("detail").textContent = DATA.thinned ? "" : DATA.detail;
  const notes = DATA.protocols.flatMap(({ protocol, notes: texts }) => [h("h3", {}, protocol), h("ul", {}, texts.map((text) => h("li", {}, text)))]);
  byId("notes").lastElementChild.append(...notes);
  if (DATA.claims) {
    byId("claims").querySelector("p").textContent = DATA.claims.caption;
    byId("claims").querySelector("details > div").append(h("ul", {}, DATA.claims.notes.map((text) => h("li", {}, text))));
  }
  const open = () => {
    const unknown = readFragment();
    render({ told: unknown.length ? `This page does not have ${unknown.join(", ")}` : null });
  };
  window.addEventListener("hashchange", open);
  let width = innerWidth;
  window.addEventListener("resize", () => {
    if (innerWidth !== width) {
      width = innerWidth;
      render();
    }
  });
  open();
  document.documentElement.dataset.ready = "yes";
}

start();
