// The plots of a setting, of a series of delays, and of one run, as what `makeChart` draws.

const GATE_CHOICES = {
  tau: "time constant (steps)",
  mean: "mean",
  low: "share under 0.05",
  high: "share over 0.95",
};
const SHARE = [-0.03, 1.03]; // This keeps lines at 0 and 1 away from the frame.
const UNDERFLOW = "▼ nothing arrives (underflow); ▽ nothing arrives for some seeds.";

const stepAxis = (last) => ({ label: "training step", unit: "step", domain: [0, Math.max(1, last)], ticks: 4 });
const zip = (x, y, low = [], high = []) => x.map((each, i) => ({ x: each, y: y[i], low: low[i] ?? null, high: high[i] ?? null }));
const finite = (values) => values.filter((value) => value !== null && value !== undefined);
const placeLine = (place, more) => ({
  keys: [place.key],
  also: place.runs.map(keyOfRun),
  look: columnOf(place),
  column: place.key,
  name: columnOf(place).label,
  ...more,
});

/** The ends of an axis for values that are shown on a logarithmic axis, or from 0 for shares. */
function valueAxis(label, values, log, share) {
  if (log) return { label, log: true, domain: logDomain(values) };
  const [low, high] = d3.extent(finite(values));
  if (share) return { label, log: false, domain: [Math.min(0, low ?? 0), Math.max(1.02, high ?? 1)] };
  return { label, log: false, domain: low === high ? [(low ?? 0) - 1, (high ?? 0) + 1] : [low, high] };
}

/** A line of one run over training steps; it ends with a dot if the run has solved the task, with a cross if diverged. */
function runLine(run, name, look, column, more = {}) {
  const held = DATA.lines[run]?.[name];
  if (!held) return null;
  const points = zip(steps(held[0]), held[1]).filter((p) => p.y !== null);
  const last = points.at(-1);
  const symbol = RUNS.status[run] === "diverged" ? "times" : RUNS.solved[run] ? "circle" : null;
  const ends = last && symbol && name === "eval" ? [{ ...last, symbol, fill: symbol === "circle" }] : [];
  const place = PLACE_OF_RUN.get(run);
  return { keys: [keyOfRun(run)], also: place ? [place.key] : [], look, column, points, ends, thin: true, name: `${look.label}, seed ${RUNS.seed[run]}`, ...more };
}

function learningCurves(setting, places, shown) {
  const lines = places.flatMap((place) => place.runs.filter((run) => shown.has(run)).map((run) => runLine(run, "eval", columnOf(place), place.key))).filter(Boolean);
  const log = !setting.higher && lines.every((line) => line.points.every((p) => p.y > 0));
  const values = [...lines.flatMap((line) => line.points.map((p) => p.y)), ...finite([setting.baseline])];
  const last = d3.max(lines, (line) => line.points.at(-1)?.x ?? 0) ?? 0;
  return {
    title: "Learning curves",
    note: "A line for each run on the evaluation set; dot: solved, cross: diverged. Dashed grey: best predictor without memory.",
    x: stepAxis(last),
    y: valueAxis(`${setting.metric_name}, evaluation set`, values, log, setting.higher),
    lines,
    rules: setting.baseline === null || (log && setting.baseline <= 0) ? [] : [{ y: setting.baseline }],
  };
}

function survivalPlot(setting, places) {
  const lines = places.filter((place) => place.survival).map((place) => {
    const { survival } = place;
    const points = zip(survival.steps, survival.share, survival.low, survival.high);
    points.push({ ...points.at(-1), x: survival.end });
    const open = survival.solved < survival.n;
    const ends = open ? [{ x: survival.end, y: points.at(-1).y, symbol: "plus", fill: false }] : [];
    return placeLine(place, { points, ends, curve: "step-after", name: `${columnOf(place).label}, ${survival.solved}/${survival.n}` });
  });
  return {
    title: "Share of seeds solved",
    note: "One minus Kaplan-Meier, with its 95 % interval; plus: seeds not solved within the budget.",
    x: stepAxis(d3.max(lines, (line) => line.points.at(-1).x) ?? 0),
    y: { label: "share solved", log: false, domain: SHARE },
    lines,
  };
}

/** The steps that the slider of a setting stops at; null, after training, is the last. */
function looksOf(places) {
  const found = new Set(places.flatMap((place) => place.flow?.looks.map((look) => look.step) ?? []));
  const numbers = [...found].filter((step) => step !== null).sort(d3.ascending);
  return found.has(null) ? [...numbers, null] : numbers;
}

/** The stop of the slider for the step that is asked for: the nearest one. */
function chosenLook(stops) {
  if (state.look === "") return stops.length - 1;
  const wanted = Number(state.look);
  return d3.minIndex(stops, (step) => (step === null ? Infinity : Math.abs(step - wanted)));
}

/** The gradient over lag after one look, null for that after training, with the lines of marked runs. */
function flowPlot(places, step, title, domain) {
  const lines = places.flatMap((place) => {
    const look = place.flow?.looks.find((each) => each.step === step);
    if (!look) return [];
    const points = zip(place.flow.lags, look.middle.map((value) => value || null), look.low, look.high);
    const ends = place.flow.lags.flatMap((x, i) => {
      if (look.middle[i] === 0) return [{ x, floor: true, symbol: "triangle", fill: true }];
      return look.low?.[i] === 0 ? [{ x, floor: true, symbol: "triangle", fill: false }] : [];
    });
    const runs = step === 0 || step === null ? place.runs.filter((run) => state.marks.has(keyOfRun(run))) : [];
    return [placeLine(place, { points, ends }), ...runs.map((run) => flowOfRun(run, place, step)).filter(Boolean)];
  });
  const lowest = domain[0] <= FLOOR ? ` Below ${power(-12)} lines are cut off.` : "";
  return {
    title,
    note: `Medians over seeds with their range. ${lines.some((line) => line.ends.length) ? UNDERFLOW : ""}${lowest}`,
    x: { label: "lag (steps before the first answer)", unit: "lag", domain: [0, Math.max(1, d3.max(places, (place) => d3.max(place.flow?.lags ?? [])) ?? 1)] },
    y: { label: "gradient norm ‖dL/dx‖", log: true, domain },
    lines,
  };
}

function flowOfRun(run, place, step) {
  const held = DATA.lines[run];
  const norms = held?.flow?.[step === 0 ? 0 : 1];
  if (!norms) return null;
  const points = zip(held.lags, norms.map((value) => value || null));
  return { keys: [keyOfRun(run)], also: [], look: columnOf(place), column: `${place.key}.run`, points, ends: [], thin: true, name: `${columnOf(place).label}, seed ${RUNS.seed[run]}` };
}

/** One axis for all looks of a setting, so that the slider moves the lines alone. */
function flowDomain(places) {
  return logDomain(places.flatMap((place) => place.flow?.looks.flatMap((look) => finite([...look.middle, ...(look.low ?? []), ...(look.high ?? [])])) ?? []));
}

function gatePlot(setting, places) {
  const statistic = state.gate === "tau" ? "tau_50" : state.gate;
  const lines = places.flatMap((place) =>
    Object.entries(place.gates).filter(([, gate]) => gate[statistic]).map(([name, gate]) => {
      const range = state.gate === "tau" ? [gate.tau_05, gate.tau_95] : [];
      return placeLine(place, { points: zip(steps(gate.steps), gate[statistic], ...range), column: `${place.key}.${name}`, name: `${columnOf(place).label}, ${name} gate` });
    }),
  );
  const values = lines.flatMap((line) => line.points.flatMap((p) => finite([p.y, p.low, p.high])));
  const tau = state.gate === "tau";
  return {
    title: "Gates",
    note: tau ? "Time constants of the gates that keep the state: median, and a band of 90 %. Dashed grey: the delay." : "Medians over seeds, a line for each gate of the lowest layer.",
    x: stepAxis(d3.max(lines, (line) => line.points.at(-1).x) ?? 0),
    y: tau ? valueAxis(GATE_CHOICES.tau, [...values, ...finite([setting.delay])], true) : { label: GATE_CHOICES[state.gate], log: false, domain: SHARE },
    lines,
    rules: tau && setting.delay > 0 ? [{ y: setting.delay }] : [],
  };
}

/** The share of seeds that have solved a task over its delay, and how far the gradient travels. */
function delayPlots(series) {
  const delays = [...new Set(series.lines.flatMap((line) => line.delays))].sort(d3.ascending);
  const room = (delays.at(-1) / delays[0]) ** 0.06;
  const x = { label: "delay (steps)", unit: "delay", log: true, domain: [delays[0] / room, delays.at(-1) * room], ticks: spread(delays), tickFormat: (value) => String(value) };
  const made = series.lines.map((line) => ({
    line,
    look: DATA.columns[line.column],
    keys: line.settings.map((key) => PLACES_OF.get(key).find((place) => place.column === line.column).key),
  }));
  const also = (keys) => keys.flatMap((key) => PLACES.get(key).runs.map(keyOfRun));
  const dots = (points) => points.map((p) => ({ ...p, symbol: "circle", fill: true }));
  const shares = made.map(({ line, look, keys }) => {
    const points = zip(line.delays, line.share, line.low, line.high);
    return { keys, also: also(keys), look, column: look.label, name: look.label, points, ends: dots(points), bars: true };
  });
  const reaches = made.flatMap(({ line, look, keys }) =>
    ["untrained", "trained"].flatMap((when) => {
      const points = zip(line.delays, line[when]).filter((p) => p.y !== null);
      const ends = points.map((p) => ({ ...p, symbol: "circle", fill: when === "trained" }));
      return points.length ? [{ keys, also: also(keys), look, column: `${look.label} ${when}`, name: `${look.label}, ${when}`, points, ends, thin: when === "untrained" }] : [];
    }),
  );
  const most = Math.max(delays.at(-1), d3.max(reaches, (line) => d3.max(line.points, (p) => p.y)) ?? 0);
  const plots = [{ title: "Share of seeds solved", note: "Bars: Wilson's 95 % interval.", x, y: { label: "share solved", log: false, domain: SHARE }, lines: shares }];
  if (reaches.length) {
    plots.push({ title: "Reach of the gradient", note: "Medians over seeds; filled: trained, open: untrained.", x, y: { label: "reach (steps)", log: false, domain: [0, most] }, lines: reaches });
  }
  return plots;
}

/** The delays that have room for a tick. */
function spread(delays) {
  const kept = [];
  for (const delay of delays) {
    if (!kept.length || Math.log(delay / kept.at(-1)) > 0.09 * Math.log(delays.at(-1) / delays[0])) kept.push(delay);
  }
  return kept;
}

/** The plots of an open run. */
function runPlots(run) {
  const place = PLACE_OF_RUN.get(run);
  const setting = settingOf(run);
  const look = place ? columnOf(place) : { label: RUNS.cell[run], colour: "#000000", dashes: [] };
  const alone = { keys: [keyOfRun(run)], also: [keyOfRun(run)], thin: false };
  const plots = [];
  if (setting) plots.push({ ...learningCurves(setting, [], new Set()), lines: [runLine(run, "eval", look, "eval", alone)] });
  for (const [name, title] of [["train_loss", "Training loss"], ["grad_norm", "Gradient norm before the clip"]]) {
    plots.push({ title, note: "", x: stepAxis(0), y: { label: title.toLowerCase(), log: true }, lines: [runLine(run, name, look, name, alone)] });
  }
  const kept = plots.filter((plot) => plot.lines[0] !== null && plot.lines[0].points.length);
  for (const plot of kept) {
    const [line] = plot.lines;
    const values = [...line.points.map((p) => p.y), ...(plot.rules ?? []).map((rule) => rule.y)];
    const share = plot.title === "Learning curves" && setting.higher;
    plot.x = stepAxis(line.points.at(-1).x);
    plot.y = valueAxis(plot.y.label, values, !share && values.every((value) => value > 0), share);
  }
  const flows = place ? [0, null].map((step) => [step, flowOfRun(run, place, step)]).filter(([, line]) => line) : [];
  if (flows.length) {
    const lines = flows.map(([step, line]) => ({ ...line, ...alone, column: String(step), look: step === 0 ? { ...look, dashes: [2, 3] } : { ...look, dashes: [] }, name: step === 0 ? "untrained" : "trained" }));
    const none = flows.some(([step]) => DATA.lines[run].flow[step === 0 ? 0 : 1].includes(0));
    kept.push({
      title: "Gradient over lag",
      note: `Dotted: untrained; whole: trained.${none ? " Where a line is missing, nothing arrives (underflow)." : ""}`,
      x: { label: "lag (steps before the first answer)", unit: "lag", domain: [0, Math.max(1, d3.max(lines[0].points, (p) => p.x) ?? 1)] },
      y: { label: "gradient norm ‖dL/dx‖", log: true, domain: logDomain(lines.flatMap((line) => finite(line.points.map((p) => p.y)))) },
      lines,
    });
  }
  return kept;
}
