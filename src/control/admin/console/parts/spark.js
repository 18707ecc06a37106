// A line of a few dozen numbers, as small as a word. The figure beside it says the value; this says where it came from.
// Drawn as one SVG path; decoration for a screen reader.
import { html } from "./html.js";
import { isNumber } from "./format.js";

const WIDTH = 96;
const HEIGHT = 22;

/**
 * @param {{ values?: (number | null)[], kind?: "rate" | "time" }} props oldest first
 */
export function Spark({ values = [], kind = "rate" }) {
  const line = sparkPath(values);
  return html`
    <svg class="spark" data-kind=${kind} viewBox="0 0 ${WIDTH} ${HEIGHT}" width=${WIDTH} height=${HEIGHT} aria-hidden="true">
      ${line ? html`<path class="spark-area" d="${line.area}" /><path class="spark-line" d="${line.path}" />` : null}
    </svg>
  `;
}

/**
 * @param {(number | null)[]} values
 * @returns {{ path: string, area: string } | null}
 */
export function sparkPath(values) {
  const known = values.filter(isNumber);
  if (known.length < 2) return null;
  const top = Math.max(...known) || 1;
  const step = WIDTH / (values.length - 1);
  let path = "";
  let pen = false;
  let first = 0;
  let last = 0;
  values.forEach((value, index) => {
    if (!isNumber(value)) {
      pen = false;
      return;
    }
    const x = (index * step).toFixed(1);
    const y = (HEIGHT - 2 - (value / top) * (HEIGHT - 4)).toFixed(1);
    if (path === "") first = index * step;
    path += `${pen ? "L" : "M"}${x} ${y}`;
    pen = true;
    last = index * step;
  });
  const gapless = known.length === values.length;
  return { path, area: gapless ? `${path}L${last.toFixed(1)} ${HEIGHT}L${first.toFixed(1)} ${HEIGHT}Z` : "" };
}
