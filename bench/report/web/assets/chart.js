// One plot: lines with bands and marks, drawn by Observable Plot, and how one points at a line with mouse and keys.

const FLOOR = 1e-12;
const HEIGHT = 250;
const NEAR_PIXELS = 14;
const MOST_ROWS = 400;
const SUPERSCRIPTS = "⁰¹²³⁴⁵⁶⁷⁸⁹";
const power = (exponent) =>
  `10${exponent < 0 ? "⁻" : ""}${String(Math.abs(exponent)).replace(/\d/g, (digit) => SUPERSCRIPTS[digit])}`;

/** The ends of a logarithmic axis around some positive numbers; what is under the floor is cut off. */
function logDomain(values) {
  const [low, high] = d3.extent(values.filter((value) => Number.isFinite(value) && value >= FLOOR));
  if (low === undefined) return [1e-3, 1];
  const room = high > low ? (high / low) ** 0.07 : 3;
  return [Math.max(FLOOR, low / room), high * room];
}

/** About five ticks for a logarithmic axis, with how they are written. */
function logTicks([low, high]) {
  const [first, last] = [Math.ceil(Math.log10(low)), Math.floor(Math.log10(high))];
  if (last - first >= 2) {
    const every = Math.ceil((last - first) / 6);
    const exponents = d3.range(last, first - 1, -every).reverse();
    return { ticks: exponents.map((each) => Number(`1e${each}`)), tickFormat: (value) => power(Math.round(Math.log10(value))) };
  }
  const ticks = d3.range(first - 1, last + 1).flatMap((each) => [1, 2, 5].map((digit) => Number(`${digit}e${each}`)));
  return { ticks: ticks.filter((tick) => tick >= low && tick <= high), tickFormat: (value) => String(value) };
}

/** How far a place is from the piece of a line between two points, in pixels. */
function toSegment(x, y, a, b) {
  const [dx, dy] = [b.px - a.px, b.py - a.py];
  const along = dx || dy ? Math.max(0, Math.min(1, ((x - a.px) * dx + (y - a.py) * dy) / (dx * dx + dy * dy))) : 0;
  return Math.hypot(a.px + along * dx - x, a.py + along * dy - y);
}

const isMarked = (line) => line.keys.some((key) => state.marks.has(key)) || line.also.some((key) => state.marks.has(key));

/** Make a plot; `update` draws it, and `figure` is its element. */
function makeChart(name) {
  const heading = h("h4", { id: `${name}-name` });
  const tip = h("div", { class: "tip", hidden: true });
  const canvas = h("div", { class: "canvas", role: "group", tabindex: "0", "aria-labelledby": `${name}-name`, "aria-describedby": `${name}-note` });
  const note = h("figcaption", { id: `${name}-note` });
  const numbers = h("details", {}, h("summary", {}, "Numbers"));
  const figure = h("figure", {}, heading, canvas, tip, note, numbers);
  const chart = { name, figure, spec: null, svg: null, points: [], current: -1 };

  chart.update = (spec) => {
    chart.spec = spec;
    heading.textContent = spec.title;
    note.textContent = spec.note ?? "";
    const width = Math.max(240, Math.min(560, canvas.clientWidth || 400));
    chart.svg = draw(spec, width);
    chart.svg.setAttribute("aria-hidden", "true");
    canvas.replaceChildren(chart.svg);
    const [x, y] = [chart.svg.scale("x"), chart.svg.scale("y")];
    chart.points = spec.lines.map((line) =>
      line.points.filter((p) => p.y !== null && (!spec.y.log || p.y >= spec.y.domain[0])).map((p) => ({ ...p, px: x.apply(p.x), py: y.apply(p.y) })),
    );
    if (numbers.open) listNumbers(numbers, spec);
    point(-1);
  };

  function point(index, at = null) {
    chart.current = index;
    const svg = d3.select(chart.svg);
    svg.selectAll(".halo").remove();
    tip.hidden = index < 0 || chart.points[index].length === 0;
    if (tip.hidden) return;
    const line = chart.spec.lines[index];
    const shown = at ?? chart.points[index].at(-1);
    const curve = line.curve === "step-after" ? d3.curveStepAfter : d3.curveLinear;
    const path = d3.line((p) => p.px, (p) => p.py).curve(curve)(chart.points[index]);
    const halo = svg.append("g").attr("class", "halo").attr("pointer-events", "none");
    halo.append("path").attr("d", path).attr("fill", "none").attr("stroke", "currentColor").attr("stroke-width", 3.5).attr("stroke-opacity", 0.55);
    halo.append("circle").attr("cx", shown.px).attr("cy", shown.py).attr("r", 4).attr("fill", "currentColor");
    tip.textContent = `${line.name}: ${written(shown.y)} at ${chart.spec.x.unit} ${counted(shown.x)}${isMarked(line) ? ", marked" : ""}`;
    const [box, outer] = [chart.svg.getBoundingClientRect(), figure.getBoundingClientRect()];
    const scale = box.width / chart.svg.viewBox.baseVal.width;
    tip.style.left = `${Math.max(0, Math.min(shown.px * scale, box.width - tip.offsetWidth))}px`;
    tip.style.top = `${box.top - outer.top + shown.py * scale - tip.offsetHeight - 10}px`;
  }

  function nearest(event) {
    const box = chart.svg.getBoundingClientRect();
    const scale = chart.svg.viewBox.baseVal.width / box.width;
    const [x, y] = [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
    let best = { index: -1, at: null, distance: NEAR_PIXELS };
    chart.points.forEach((points, index) => {
      const step = chart.spec.lines[index].curve === "step-after";
      points.forEach((here, i) => {
        const next = points[Math.min(i + 1, points.length - 1)];
        const corner = step ? { px: next.px, py: here.py } : next;
        const distance = Math.min(toSegment(x, y, here, corner), toSegment(x, y, corner, next));
        if (distance < best.distance) best = { index, at: here, distance };
      });
    });
    return best;
  }

  function mark(index) {
    const line = chart.spec.lines[index];
    toggle(line.keys);
    render({ found: line.keys, told: `${line.name} ${isMarked(line) ? "marked" : "no longer marked"}` });
    point(index);
  }

  canvas.addEventListener("pointermove", (event) => {
    const { index, at } = nearest(event);
    if (index >= 0 || chart.current >= 0) point(index, at);
    canvas.style.cursor = index >= 0 ? "pointer" : "";
  });
  canvas.addEventListener("pointerleave", () => point(-1));
  canvas.addEventListener("blur", () => point(-1));
  canvas.addEventListener("click", (event) => {
    const { index } = nearest(event);
    if (index >= 0) mark(index);
  });
  canvas.addEventListener("keydown", (event) => {
    const count = chart.spec.lines.length;
    const move = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
    if (move && count) {
      point((chart.current + move + count + (chart.current < 0 && move < 0 ? 1 : 0)) % count);
      say(tip.textContent);
    } else if ((event.key === "Enter" || event.key === " ") && chart.current >= 0) mark(chart.current);
    else if (event.key === "Escape" && chart.current >= 0) point(-1);
    else return;
    event.preventDefault();
  });
  numbers.addEventListener("toggle", () => numbers.open && listNumbers(numbers, chart.spec));
  return chart;
}

/** List what the lines of a plot are drawn from. */
function listNumbers(details, spec) {
  const rows = spec.lines.flatMap((line) => line.points.map((p) => [line.name, counted(p.x), written(p.y), p.low, p.high]));
  const ranges = rows.some((row) => row[3] !== undefined && row[3] !== null);
  const head = ["line", spec.x.label, spec.y.label, ...(ranges ? ["low", "high"] : [])];
  const body = rows.slice(0, MOST_ROWS).map(([name, x, y, low, high]) => [name, x, y, ...(ranges ? [written(low), written(high)] : [])]);
  const table = h("table", {}, h("thead", {}, h("tr", {}, head.map((each) => h("th", { scope: "col" }, each)))), h("tbody", {}, body.map((row) => h("tr", { class: "still" }, row.map((each) => h("td", {}, each))))));
  const left = rows.length > MOST_ROWS ? h("p", { class: "small" }, `The first ${MOST_ROWS} of ${counted(rows.length)} points.`) : null;
  const box = h("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": `Numbers of ${spec.title}` }, table);
  details.replaceChildren(details.firstElementChild, ...[left, box].filter(Boolean));
}

/** Draw the lines of a plot. */
function draw(spec, width) {
  const anyMarked = spec.lines.some(isMarked);
  const groups = d3.group(spec.lines, (line) => `${line.column}/${anyMarked && isMarked(line)}`);
  const ordered = [...groups].sort(([a], [b]) => d3.ascending(a.endsWith("true"), b.endsWith("true")));
  const floor = spec.y.domain[0];
  const lifted = (value) => (spec.y.log && value !== null && value < floor ? floor : value);
  const marks = [Plot.frame({ stroke: "none" })];
  for (const rule of spec.rules ?? []) marks.push(Plot.ruleY([rule.y], { stroke: "var(--grey)", strokeDasharray: "3 3" }));
  for (const [, lines] of ordered) {
    const faded = anyMarked && !isMarked(lines[0]);
    const column = lines[0].look;
    const shared = { curve: lines[0].curve ?? "linear", clip: true };
    const stroke = colourOf(column);
    const thickness = !faded && anyMarked ? 2.2 : lines[0].thin ? 1.2 : 1.7;
    const points = lines.flatMap((line, z) => line.points.map((p) => ({ ...p, z })));
    const banded = points.filter((p) => p.low !== null && p.low !== undefined && p.high !== null);
    if (lines[0].bars) marks.push(Plot.ruleX(banded, { x: "x", y1: "low", y2: "high", stroke, strokeOpacity: faded ? 0.2 : 0.8 }));
    else if (banded.length) {
      const band = { x: "x", y1: (p) => lifted(p.low), y2: (p) => lifted(p.high), z: "z", fill: stroke, ...shared };
      marks.push(Plot.areaY(banded, { ...band, fillOpacity: faded ? 0.03 : 0.15 }));
    }
    marks.push(
      Plot.line(points, {
        x: "x", y: "y", z: "z", stroke, ...shared,
        strokeDasharray: column.dashes.map((length) => (length * thickness) / 1.6).join(" ") || undefined,
        strokeOpacity: faded ? 0.2 : lines[0].thin && !anyMarked ? 0.8 : 1,
        strokeWidth: thickness,
      }),
    );
    const single = lines.filter((line) => line.points.length === 1).flatMap((line) => line.points);
    const dots = [...lines.flatMap((line) => line.ends ?? []), ...single.map((p) => ({ ...p, symbol: "circle", fill: true }))];
    for (const [key, members] of d3.group(dots, (dot) => `${dot.symbol} ${dot.fill}`)) {
      const [symbol, fill] = key.split(" ");
      const turned = symbol === "triangle" ? { rotate: 180 } : {};
      const paint = fill === "true" ? { fill: stroke, stroke: "none" } : { fill: "none", stroke, strokeWidth: 1.4 };
      marks.push(
        Plot.dot(members, { x: "x", y: (dot) => (dot.floor ? floor : dot.y), symbol, r: 3, opacity: faded ? 0.2 : 1, ...turned, ...paint }),
      );
    }
  }
  const axis = spec.y.log ? { type: "log", ...logTicks(spec.y.domain) } : { ticks: 5 };
  return Plot.plot({
    className: "plot",
    width,
    height: HEIGHT,
    marginLeft: 50,
    marginRight: 14,
    marginBottom: 36,
    marginTop: 24,
    style: { fontSize: "11px" },
    x: { label: spec.x.label, domain: spec.x.domain, ...(spec.x.log ? { type: "log" } : {}), ticks: spec.x.ticks ?? 5, tickFormat: spec.x.tickFormat, nice: false, line: true },
    y: { label: spec.y.label, domain: spec.y.domain, grid: true, labelArrow: "none", labelAnchor: "top", ...axis },
    marks,
  });
}
