// The tables: sorted by a click on a column's name, in parts of some rows, with a box in each row that marks it.

const ROWS_AT_ONCE = 50;
const METRICS = Object.keys(DATA.metrics);
const sortValue = (value) => (value === "Infinity" ? Infinity : value);

/** Compare two values for a sort; what is missing comes last, whichever way. */
function compare(a, b, down) {
  if (a === null || a === undefined || b === null || b === undefined) return (a === null || a === undefined) - (b === null || b === undefined);
  const order = typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });
  return (down ? -1 : 1) * (Number.isNaN(order) ? 0 : order);
}

/**
 * Make a table in a box of the page.
 *
 * @param name Of the box, of its pager, and of the part of the state that says how it is sorted: "key" or "-key".
 * @param describe Returns the columns for some rows: key, label, value of a row to sort by, and its cell.
 * @param keysOf Returns what a row marks; null for a table whose rows mark nothing.
 */
function makeTable(name, describe, keysOf, nameOf) {
  const box = byId(name);
  const pager = byId(`${name}-pager`);
  const body = h("tbody");
  const head = h("tr");
  box.append(h("table", {}, h("thead", {}, head), body));
  const table = { start: 0, rows: [] };

  table.update = (rows, found = []) => {
    const columns = describe(rows);
    const down = state[name].startsWith("-");
    const column = columns.find((each) => each.key === state[name].replace(/^-/, ""));
    table.rows = column ? [...rows].sort((a, b) => compare(sortValue(column.value(a)), sortValue(column.value(b)), down)) : rows;
    const wanted = table.rows.findIndex((row) => keysOf(row).some((key) => found.includes(key)));
    if (wanted >= 0) table.start = Math.floor(wanted / ROWS_AT_ONCE) * ROWS_AT_ONCE;
    if (table.start >= table.rows.length) table.start = 0;
    const focused = document.activeElement?.dataset?.focus;
    head.replaceChildren(h("th", { scope: "col" }, "Mark"), ...columns.map((each) => heading(each, column, down)));
    const shown = table.rows.slice(table.start, table.start + ROWS_AT_ONCE);
    body.replaceChildren(...shown.map((row) => line(row, columns)));
    if (wanted >= 0) scrollTo(body.children[wanted - table.start]);
    turn();
    if (focused) document.querySelector(`[data-focus="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
  };

  function heading(column, sorted, down) {
    const sort = column === sorted ? (down ? "descending" : "ascending") : "none";
    const press = () => {
      state[name] = state[name] === column.key ? `-${column.key}` : column.key;
      table.start = 0;
      render();
    };
    return h("th", { scope: "col", "aria-sort": sort }, h("button", { type: "button", onclick: press, "data-focus": `${name} ${column.key}` }, column.label));
  }

  function line(row, columns) {
    const keys = keysOf(row);
    const press = () => {
      toggle(keys);
      render({ told: `${nameOf(row)} ${keys.some((key) => state.marks.has(key)) ? "marked" : "no longer marked"}` });
    };
    const box = h("input", { type: "checkbox", "aria-label": `Mark ${nameOf(row)}`, "data-focus": `${name} ${keys[0]}` });
    box.checked = keys.some((key) => state.marks.has(key));
    box.addEventListener("change", press);
    const made = h("tr", { class: box.checked ? "marked" : null, "data-key": keys[0] }, h("td", {}, box), columns.map((each) => each.cell(row)));
    made.addEventListener("click", (event) => {
      if (!event.target.closest("input, button, a") && !getSelection().toString()) press();
    });
    return made;
  }

  function scrollTo(row) {
    const top = row.offsetTop - head.offsetHeight;
    if (top < box.scrollTop || row.offsetTop + row.offsetHeight > box.scrollTop + box.clientHeight) box.scrollTop = top;
  }

  function turn() {
    const count = table.rows.length;
    if (count <= ROWS_AT_ONCE) {
      pager.replaceChildren();
      return;
    }
    const go = (start) => () => {
      table.start = start;
      box.scrollTop = 0;
      render();
    };
    const button = (label, start, off) => h("button", { type: "button", disabled: off, onclick: go(start), "data-focus": `${name} ${label}` }, label);
    pager.replaceChildren(
      button("Previous", table.start - ROWS_AT_ONCE, table.start === 0),
      button("Next", table.start + ROWS_AT_ONCE, table.start + ROWS_AT_ONCE >= count),
      `Rows ${counted(table.start + 1)} to ${counted(Math.min(count, table.start + ROWS_AT_ONCE))} of ${counted(count)}`,
    );
  }
  return table;
}

const small = (text) => (text ? h("span", { class: "small" }, text) : null);
const named = (place) => `${columnOf(place).label} on ${SETTINGS.get(place.setting).label}`;
const notUsual = (statuses) => Object.entries(statuses).filter(([status]) => status !== "completed").map(([status, count]) => `${count} ${status}`).join(", ");

/** The columns of the table of the paper. */
function resultColumns(places) {
  const there = METRICS.filter((metric) => places.some((place) => own(place.numbers, metric)));
  const setting = (place) => SETTINGS.get(place.setting);
  return [
    { key: "setting", label: "Setting", value: (place) => setting(place).label, cell: (place) => h("th", { scope: "row" }, `${setting(place).label} [${setting(place).mark}]`, small(setting(place).protocol)) },
    { key: "cell", label: "Cell", value: (place) => columnOf(place).label, cell: (place) => h("td", { class: "setting" }, swatch(columnOf(place)), columnOf(place).label) },
    { key: "count", label: "Runs", value: (place) => place.runs.length, cell: (place) => h("td", { class: "number" }, counted(place.runs.length), small(notUsual(place.statuses))) },
    ...there.map((metric) => ({
      key: metric,
      label: DATA.metrics[metric],
      value: (place) => own(place.numbers, metric)?.[0],
      cell: (place) => {
        const [, text, interval, baseline, best] = own(place.numbers, metric) ?? [null, "", "", "", false];
        return h("td", { class: "number" }, best ? h("strong", {}, text) : text, small(interval), small(baseline && `baseline ${baseline}`));
      },
    })),
  ];
}

const score = (run, metric) => (settingOf(run)?.metric === metric ? (own(RUNS.scores[run], metric) ?? null) : undefined);

/** The columns of the table of runs. */
function runColumns(runs) {
  const scored = METRICS.filter((metric) => runs.some((run) => settingOf(run)?.metric === metric));
  const lists = { steps_to_solve: counted, steps: counted, reach_untrained: counted, reach_trained: counted, growth_trained: written, lyapunov_trained: written, parameters: counted, milliseconds: written, seconds: written };
  const labels = { ...DATA.metrics, steps: "steps", parameters: "parameters", milliseconds: "ms a step", seconds: "seconds" };
  const open = (run) => h("button", { type: "button", onclick: () => openRun(run), "data-focus": `open ${RUNS.id[run]}`, "aria-label": `Open run ${RUNS.id[run]}` }, RUNS.id[run]);
  const plain = (key, label, value) => ({ key, label, value, cell: (run) => h("td", {}, String(value(run))) });
  return [
    { key: "id", label: "Run", value: (run) => RUNS.id[run], cell: (run) => h("th", { scope: "row" }, open(run)) },
    plain("status", "Status", (run) => RUNS.status[run]),
    plain("experiment", "Experiment", (run) => settingsOf(run).experiment),
    { key: "setting", label: "Setting", value: (run) => settingOf(run)?.label ?? settingsOf(run).task, cell: (run) => h("td", { class: "setting" }, settingOf(run)?.label ?? `${settingsOf(run).task} (another run of this training stands in the table)`) },
    plain("cell", "Cell", (run) => (PLACE_OF_RUN.has(run) ? columnOf(PLACE_OF_RUN.get(run)).label : RUNS.cell[run])),
    plain("seed", "Seed", (run) => RUNS.seed[run]),
    { key: "solved", label: "Solved", value: (run) => Number(RUNS.solved[run]), cell: (run) => h("td", {}, RUNS.solved[run] ? "yes" : "no") },
    ...scored.map((metric) => ({ key: `score.${metric}`, label: DATA.metrics[metric], value: (run) => score(run, metric), cell: (run) => h("td", { class: "number" }, score(run, metric) === undefined ? "" : written(score(run, metric))) })),
    ...Object.entries(lists).filter(([key]) => RUNS[key]).map(([key, write]) => ({ key, label: own(labels, key) ?? key, value: (run) => of(key, run), cell: (run) => h("td", { class: "number" }, write(of(key, run))) })),
  ];
}

/** The table of claims, whose verdicts show the runs that bear them. */
function claimRows(rows) {
  const head = ["Paper", "Claim", "Published", "Ours", "Verdict", "Borne by"].map((each) => h("th", { scope: "col" }, each));
  const body = rows.map((row) => {
    const show = () => {
      state.claim = row.id;
      state.marks = new Set(row.runs.map((run) => PLACE_OF_RUN.get(run)?.key).filter(Boolean));
      render({ told: `Only the runs that bear the verdict on ${row.claim}` });
      byId("results-name").scrollIntoView();
    };
    const button = h("button", { type: "button", onclick: show, "data-focus": `claim ${row.id}`, "aria-label": `Show the ${plural(row.runs.length, "run")} that bear: ${row.claim}` }, plural(row.runs.length, "run"));
    return h(
      "tr",
      { class: state.claim === row.id ? "still marked" : "still", "data-claim": row.id },
      h("th", { scope: "row" }, row.paper, small(row.where)),
      h("td", { class: "setting" }, row.claim),
      h("td", {}, row.published),
      h("td", {}, row.ours),
      h("td", {}, row.verdict, row.marks.map(small)),
      h("td", { class: "setting" }, button, h("div", { class: "small" }, row.because)),
    );
  });
  return h("table", {}, h("thead", {}, h("tr", {}, head)), h("tbody", {}, body));
}
