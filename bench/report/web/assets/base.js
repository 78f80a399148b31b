// The data of the page, and how elements and numbers are written. A name is only ever written as text.

const DATA = JSON.parse(document.getElementById("data").textContent);
const RUNS = DATA.runs;
const POOLS = RUNS.pools;
const byId = (id) => document.getElementById(id);

/** Make an element with attributes, listeners and children; `false` and `null` leave an attribute out. */
function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "class") element.className = value;
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

/** Write a number as `bench table` does: three significant digits, or all in front of the point. */
function written(value) {
  if (value === null || value === undefined) return "–";
  if (!Number.isFinite(value)) return "∞";
  const size = Math.abs(value);
  if (size >= 100 && size < 1e6) return value.toFixed(0);
  const [digits, power] = value.toExponential(2).split("e");
  const exponent = Number(power);
  if (exponent < -4 || exponent >= 3) {
    return `${digits}e${exponent < 0 ? "-" : "+"}${String(Math.abs(exponent)).padStart(2, "0")}`;
  }
  return value.toFixed(Math.max(0, 2 - exponent));
}

const counted = (value) => (value === null || value === undefined ? "–" : value.toLocaleString("en-US"));
const plural = (count, word) => `${counted(count)} ${word}${count === 1 ? "" : "s"}`;

/** Undo `differences`: [100, 3, 50, 1] stands for 100, 200, 300, 350. */
function steps(pairs) {
  const found = [];
  let last = 0;
  for (let i = 0; i < pairs.length; i += 2) {
    for (let n = 0; n < pairs[i + 1]; n += 1) found.push((last += pairs[i]));
  }
  return found;
}

const SETTINGS = new Map(DATA.settings.map((setting) => [setting.key, setting]));
const PLACES = new Map(DATA.places.map((place) => [place.key, place]));
const PLACES_OF = new Map(DATA.settings.map((setting) => [setting.key, []]));
const PLACE_OF_RUN = new Map();
for (const place of DATA.places) {
  PLACES_OF.get(place.setting).push(place);
  for (const run of place.runs) PLACE_OF_RUN.set(run, place);
}
const NUMBER_OF_RUN = new Map(RUNS.id.map((id, number) => [id, number]));

/** What an object has under a name that may be any, such as "constructor". */
const own = (object, name) => (object && Object.hasOwn(object, name) ? object[name] : undefined);

/** The value of a run by the name of a list, null where no run has one. */
const of = (name, run) => (RUNS[name] === undefined ? null : RUNS[name][run]);
const settingsOf = (run) => POOLS.settings[RUNS.settings[run]];
const settingOf = (run) => (PLACE_OF_RUN.has(run) ? SETTINGS.get(PLACE_OF_RUN.get(run).setting) : null);
const keyOfRun = (run) => `r.${RUNS.id[run]}`;
const columnOf = (place) => DATA.columns[place.column];

/** The colour of a column; black is that of the text, so that it shows on a dark page. */
const colourOf = (column) => (column.colour.toLowerCase() === "#000000" ? "var(--ink)" : column.colour);

/** A short piece of the line that a column is drawn with. */
function swatch(column) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  for (const [name, value] of [["width", 26], ["height", 10], ["aria-hidden", "true"], ["class", "swatch"]]) {
    svg.setAttribute(name, value);
  }
  const line = document.createElementNS("http://www.w3.org/2000/svg", "line");
  const drawn = { x1: 0, x2: 26, y1: 5, y2: 5, stroke: colourOf(column), "stroke-width": 2 };
  for (const [name, value] of Object.entries(drawn)) line.setAttribute(name, value);
  if (column.dashes.length) line.setAttribute("stroke-dasharray", column.dashes.join(" "));
  svg.append(line);
  return svg;
}

/** Put a text on the clipboard; true if it is there. */
async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = h("textarea", { "aria-hidden": "true" });
    area.value = text;
    (document.querySelector("dialog[open]") ?? document.body).append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}
