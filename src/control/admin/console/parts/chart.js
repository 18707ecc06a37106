// A chart over time, drawn by uPlot, which is loaded when the first chart is. Under it, the same in words and as figures under the pointer.
// In: series of equal length, null where nothing is known. Out: nothing but the drawing. Colours follow the theme.
import { html, useEffect, useRef, useState } from "./html.js";
import { clock, isNumber, mark } from "./format.js";
import { useStore } from "./store.js";
import { colour, colours } from "./theme.js";

/**
 * @typedef {object} Line
 * @property {string} name
 * @property {string} token colour token
 * @property {(number | null)[]} values
 * @property {boolean} [filled]
 */

/**
 * @typedef {object} ChartProps
 * @property {string} title
 * @property {number[]} times Unix seconds
 * @property {Line[]} lines
 * @property {(value: number | null | undefined) => string} format
 * @property {"ms" | "per_s"} unit
 * @property {boolean} [log]
 * @property {{ at: number, text: string }[]} [marks] moments to point out, in Unix seconds
 */

const HEIGHT = 168;
const VENDORED = new URL("../vendor/uplot-1.6.32/", import.meta.url);
/** @type {Promise<any> | null} */
let library = null;

/** Null where it cannot be had; the figures beside the chart are there all the same, and the next chart tries again. */
function load() {
  library ??= Promise.all([import(new URL("uPlot.esm.js", VENDORED).href), loadStyle()]).then(
    ([module]) => module.default,
    () => (library = null),
  );
  return library;
}

/** Resolves in any case: without its style a chart is plain, but there. */
function loadStyle() {
  const link = document.createElement("link");
  link.rel = "stylesheet";
  link.href = new URL("uPlot.min.css", VENDORED).href;
  const settled = new Promise((resolve) => {
    link.onload = resolve;
    link.onerror = resolve;
  });
  document.head.append(link);
  return settled;
}

/** @param {ChartProps} props */
export function Chart(props) {
  const box = useRef(/** @type {HTMLElement | null} */ (null));
  const plot = useRef(/** @type {any} */ (null));
  const newest = useRef(props);
  newest.current = props;
  const [at, setAt] = useState(/** @type {number | null} */ (null));
  const shade = useStore(colours);
  const shape = `${props.lines.map((line) => line.name).join()}|${props.log}|${shade}`;
  useEffect(() => mount(box, plot, newest, setAt), [shape]);
  useEffect(() => plot.current?.setData(dataOf(props)), [props.times, props.lines]);
  return html`
    <figure class="chart">
      <figcaption class="chart-head"><h3>${props.title}</h3><${Readout} ...${props} at=${at} /></figcaption>
      <div class="chart-box" ref=${box} role="img" aria-label=${summary(props)}></div>
    </figure>
  `;
}

/** @param {ChartProps} props */
function dataOf({ times, lines, log }) {
  const positive = (/** @type {number | null} */ value) => (log && !(isNumber(value) && value > 0) ? null : value);
  return [times, ...lines.map((line) => (log ? line.values.map(positive) : line.values))];
}

/**
 * @param {{ current: HTMLElement | null }} box
 * @param {{ current: any }} plot
 * @param {{ current: ChartProps }} newest
 * @param {(at: number | null) => void} setAt
 */
function mount(box, plot, newest, setAt) {
  let ended = false;
  const sizes = new ResizeObserver(() => {
    if (plot.current && box.current) plot.current.setSize({ width: box.current.clientWidth, height: HEIGHT });
  });
  load().then((UPlot) => {
    if (!UPlot || ended || !box.current) return;
    plot.current = new UPlot(options(UPlot, box.current.clientWidth, newest, setAt), dataOf(newest.current), box.current);
    sizes.observe(box.current);
  });
  return () => {
    ended = true;
    sizes.disconnect();
    plot.current?.destroy();
    plot.current = null;
  };
}

/** @param {any} UPlot @param {number} width @param {{ current: ChartProps }} newest @param {(at: number | null) => void} setAt */
function options(UPlot, width, newest, setAt) {
  const { lines, log } = newest.current;
  return {
    width,
    height: HEIGHT,
    padding: [10, 34, 0, 0],
    legend: { show: false },
    cursor: { sync: { key: "history" }, drag: { x: false, y: false }, points: { size: 6 } },
    scales: { x: { time: true, range: atLeastAMinute }, y: { distr: log ? 3 : 1, range: log ? rangeLog(UPlot) : rangeFromZero } },
    axes: axes(newest),
    series: [{}, ...lines.map(seriesOf)],
    hooks: {
      setCursor: [(/** @type {any} */ plot) => setAt(plot.cursor.idx ?? null)],
      draw: [(/** @type {any} */ plot) => drawMarks(plot, newest.current.marks ?? [])],
    },
  };
}

const SPAN_MIN_S = 60;

/** A history that has just begun does not fill the chart. @param {any} _plot @param {number | null} from @param {number | null} to */
function atLeastAMinute(_plot, from, to) {
  if (from === null || to === null) return [0, SPAN_MIN_S];
  return [Math.min(from, to - SPAN_MIN_S), to];
}

/** @param {any} _plot @param {number} _low @param {number | null} high */
function rangeFromZero(_plot, _low, high) {
  return [0, high ? high * 1.12 : 1];
}

/** Whole decades. @param {any} UPlot */
function rangeLog(UPlot) {
  return (/** @type {any} */ _plot, /** @type {number | null} */ low, /** @type {number | null} */ high) =>
    low && high ? UPlot.rangeLog(low, Math.max(high, low * 1.01), 10, true) : [0.1, 100];
}

/** @param {{ current: ChartProps }} newest */
function axes(newest) {
  const text = colour("--muted");
  const { log, unit } = newest.current;
  const decades = (/** @type {any} */ _plot, /** @type {number[]} */ at) => at.map((each) => (isDecade(each) ? each : null));
  const grid = { stroke: colour("--line-soft"), width: 1 };
  const font = "11px system-ui, sans-serif";
  const common = { stroke: text, font, grid, ticks: { show: false } };
  return [
    { ...common, space: 74, size: 26, values: (/** @type {any} */ _plot, /** @type {number[]} */ at) => at.map((each) => shortClock(each, at)) },
    {
      ...common,
      grid: log ? { ...grid, filter: decades } : grid,
      filter: log ? decades : undefined,
      space: 34,
      size: 56,
      values: (/** @type {any} */ _plot, /** @type {(number | null)[]} */ at) => at.map((each) => (each === null ? "" : mark(each, unit))),
    },
  ];
}

/** @param {number} value */
function isDecade(value) {
  const exponent = Math.log10(value);
  return Math.abs(exponent - Math.round(exponent)) < 1e-6;
}

/** @param {number} at @param {number[]} all */
function shortClock(at, all) {
  const text = clock(at * 1000);
  const whole = all.every((each) => each % 60 === 0);
  return whole ? text.slice(0, 5) : text;
}

/** @param {Line} line */
function seriesOf(line) {
  const stroke = colour(line.token);
  return {
    label: line.name,
    stroke,
    width: 1.5,
    fill: line.filled ? stroke.replace(/^rgb\((.*)\)$/, "rgba($1, 0.14)") : undefined,
    points: { show: false, filter: lonely, size: 5, fill: stroke },
    spanGaps: false,
  };
}

/**
 * A value between two gaps has no line, so it is drawn as a point.
 * @param {any} plot @param {number} series
 * @returns {number[]}
 */
function lonely(plot, series) {
  /** @type {(number | null)[]} */
  const values = plot.data[series];
  const isLonely = (/** @type {number} */ at) => isNumber(values[at]) && !isNumber(values[at - 1]) && !isNumber(values[at + 1]);
  return [...values.keys()].filter(isLonely);
}

/** @param {any} plot @param {{ at: number, text: string }[]} marks */
function drawMarks(plot, marks) {
  const { ctx } = plot;
  const { left, top, width, height } = plot.bbox;
  ctx.save();
  ctx.strokeStyle = colour("--warn");
  ctx.lineWidth = devicePixelRatio;
  ctx.setLineDash([4 * devicePixelRatio, 3 * devicePixelRatio]);
  for (const mark of marks) {
    const x = plot.valToPos(mark.at, "x", true);
    if (x < left || x > left + width) continue;
    ctx.beginPath();
    ctx.moveTo(x, top);
    ctx.lineTo(x, top + height);
    ctx.stroke();
  }
  ctx.restore();
}

/** The figures under the pointer, or the newest. @param {ChartProps & { at: number | null }} props */
function Readout({ times, lines, format, at }) {
  const index = at !== null && at < times.length ? at : times.length - 1;
  return html`
    <span class="readout">
      <span class="quiet num">${at === null ? "now" : clock((times[index] ?? 0) * 1000)}</span>
      ${lines.map((line) => html`<span key=${line.name} class="num"><i style=${{ background: `var(${line.token})` }}></i>${line.name} <b>${format(line.values[index])}</b></span>`)}
    </span>
  `;
}

/** @param {ChartProps} props */
function summary({ title, times, lines, format }) {
  if (times.length === 0) return `${title}: nothing yet`;
  const said = lines.map((line) => {
    const known = line.values.filter(isNumber);
    if (known.length === 0) return `${line.name}: nothing`;
    return `${line.name}: now ${format(line.values.at(-1))}, lowest ${format(Math.min(...known))}, highest ${format(Math.max(...known))}`;
  });
  return `${title} from ${clock(times[0] * 1000)} to ${clock((times.at(-1) ?? 0) * 1000)}. ${said.join("; ")}`;
}
