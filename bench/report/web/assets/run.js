// One run, opened over the page: what came of it, the command that makes it, its curves, settings and versions.

const dialog = byId("run");
let opener = null;

function openRun(run) {
  opener = document.activeElement?.dataset?.focus ?? null;
  state.run = RUNS.id[run];
  render();
}

/** Open or close the run that the state says. */
function showRun() {
  const run = state.run ? NUMBER_OF_RUN.get(state.run) : undefined;
  if (run === undefined) {
    if (dialog.open) dialog.close();
    return;
  }
  if (dialog.dataset.run === RUNS.id[run] && dialog.open) return;
  dialog.dataset.run = RUNS.id[run];
  const charts = runPlots(run).map((spec, number) => [makeChart(`run-${number}`), spec]);
  dialog.replaceChildren(...runParts(run, charts));
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
  for (const [chart, spec] of charts) chart.update(spec);
}

dialog.addEventListener("close", () => {
  state.run = "";
  render();
  if (opener) document.querySelector(`[data-focus="${CSS.escape(opener)}"]`)?.focus();
});

function pairs(values, name) {
  const rows = Object.entries(values).map(([key, value]) => h("tr", { class: "still" }, h("th", { scope: "row" }, key), h("td", {}, value)));
  return h("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": name }, h("table", {}, h("tbody", {}, rows)));
}

function runParts(run, charts) {
  const place = PLACE_OF_RUN.get(run);
  const setting = settingOf(run);
  const cell = place ? columnOf(place).label : RUNS.cell[run];
  const [reason, traceback] = POOLS.why[RUNS.why[run]];
  const close = h("button", { type: "button", onclick: () => dialog.close() }, "Close");
  const copy = h("button", { type: "button" }, "Copy the command");
  copy.addEventListener("click", async () => {
    copy.textContent = (await copied(RUNS.command[run])) ? "Copied" : "Could not be copied";
  });
  const came = {
    status: `${RUNS.status[run]}: ${reason}`,
    solved: RUNS.solved[run] ? `yes, after ${counted(of("steps_to_solve", run))} steps` : "no",
    steps: counted(RUNS.steps[run]),
    ...Object.fromEntries(Object.entries(RUNS.scores[run]).map(([name, value]) => [`${own(DATA.metrics, name) ?? name}, test set`, value === null ? "–" : String(value)])),
  };
  if (setting && setting.baseline !== null) came[`${setting.metric_name} without memory`] = String(setting.baseline);
  const measured = { ...DATA.metrics, parameters: "parameters", milliseconds: "ms a step", seconds: "seconds in all" };
  for (const [name, label] of Object.entries(measured)) {
    if (name !== "solved" && name !== "steps_to_solve" && of(name, run) !== null) came[label] = String(of(name, run));
  }
  const borne = DATA.claims ? DATA.claims.rows.filter((row) => row.runs.includes(run)) : [];
  const curves = charts.length ? h("div", { class: "plots" }, charts.map(([chart]) => chart.figure)) : h("p", {}, RUNS.status[run] === "failed" || RUNS.status[run] === "interrupted" ? "A run without a result has no curves." : "Its curves are not in this page, which is thinned; a page of fewer runs has them.");
  return [
    h("div", { class: "top" }, h("h2", { id: "run-name" }, `${cell} on ${setting?.label ?? settingsOf(run).task}, seed ${RUNS.seed[run]}`), close),
    h("p", { class: "hint" }, `Run ${RUNS.id[run]} of ${settingsOf(run).experiment}`),
    h("pre", { tabindex: "0", role: "group", "aria-label": "The command that makes this run" }, RUNS.command[run]),
    copy,
    h("h3", {}, "What came of it"),
    pairs(came, "What came of it"),
    traceback ? h("pre", { tabindex: "0", role: "group", "aria-label": "Traceback" }, traceback) : null,
    h("h3", {}, "Curves"),
    curves,
    borne.length ? h("h3", {}, "Claims whose verdict it bears") : null,
    borne.length ? h("ul", {}, borne.map((row) => h("li", {}, `${row.claim} ${row.paper}: ${row.verdict}`))) : null,
    h("h3", {}, "Settings"),
    pairs(settingsOf(run), "Settings"),
    h("h3", {}, "Versions"),
    pairs(POOLS.made[RUNS.made[run]], "Versions"),
  ].filter(Boolean);
}
