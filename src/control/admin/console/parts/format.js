// Numbers, times and names as people read them: three significant digits, units, no surprises in width.
// Everything here is a pure function from a value to text; a missing value is a dash.

const DASH = "–";
const WHOLE = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const CLOCK = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });

/** @param {unknown} value @returns {value is number} */
export const isNumber = (value) => typeof value === "number" && Number.isFinite(value);

/**
 * Three significant digits, without an exponent.
 * @param {number} value
 */
function digits(value) {
  const size = Math.abs(value);
  if (size >= 99.95) return WHOLE.format(value);
  if (size >= 9.995) return value.toFixed(1);
  if (size >= 0.9995) return value.toFixed(2);
  return value.toFixed(3);
}

/** @param {number | null | undefined} value */
export function count(value) {
  return isNumber(value) ? WHOLE.format(value) : DASH;
}

/**
 * A duration given in milliseconds.
 * @param {number | null | undefined} value
 */
export function ms(value) {
  if (!isNumber(value)) return DASH;
  if (value === 0) return "0 ms";
  if (Math.abs(value) < 999.5) return `${digits(value)} ms`;
  if (Math.abs(value) < 60_000) return `${digits(value / 1000)} s`;
  return span(value / 1000);
}

/**
 * Requests a second.
 * @param {number | null | undefined} value
 */
export function rate(value) {
  if (!isNumber(value)) return DASH;
  if (value === 0) return "0/s";
  return `${Math.abs(value) < 10 ? value.toFixed(Math.abs(value) < 1 ? 2 : 1) : WHOLE.format(value)}/s`;
}

/**
 * A share from 0 to 1, as a percentage.
 * @param {number | null | undefined} value
 */
export function share(value) {
  if (!isNumber(value)) return DASH;
  const percent = value * 100;
  if (percent === 0) return "0 %";
  if (percent === 100) return "100 %";
  if (Math.abs(percent) < 0.01) return "< 0.01 %";
  return `${percent.toFixed(Math.abs(percent) < 1 ? 2 : 1)} %`;
}

/**
 * How many times as much.
 * @param {number | null | undefined} value
 */
export function factor(value) {
  if (!isNumber(value)) return DASH;
  const size = value > 0 && value < 0.95 ? 1 / value : value;
  return `${size === value ? "×" : "÷"} ${size < 10 ? size.toFixed(1) : WHOLE.format(size)}`;
}

/**
 * The mark of an axis: as short as it can be.
 * @param {number} value
 * @param {"ms" | "per_s"} unit
 */
export function mark(value, unit) {
  if (value === 0) return "0";
  const round = (/** @type {number} */ each) => String(Number(each.toPrecision(3)));
  if (unit === "per_s") return `${value >= 10_000 ? `${round(value / 1000)}k` : round(value)}/s`;
  if (value >= 1000) return `${round(value / 1000)} s`;
  return value < 1 ? `${round(value * 1000)} µs` : `${round(value)} ms`;
}

/**
 * A value in the unit that the API names.
 * @param {number | null | undefined} value
 * @param {string} unit
 */
export function inUnit(value, unit) {
  if (unit === "ms") return ms(value);
  if (unit === "share") return share(value);
  if (unit === "per_s") return rate(value);
  return isNumber(value) ? `${digits(value)} ${unit}` : DASH;
}

/** @param {number | null | undefined} value */
export function bytes(value) {
  if (!isNumber(value)) return DASH;
  if (value < 1024) return `${value} B`;
  const units = ["KiB", "MiB", "GiB", "TiB"];
  let size = value / 1024;
  let unit = 0;
  while (size >= 1024 && unit < units.length - 1) {
    size /= 1024;
    unit += 1;
  }
  return `${digits(size)} ${units[unit]}`;
}

/**
 * A length of time in seconds: 45 s, 3 min 20 s, 2 h 5 min, 3 d 4 h.
 * @param {number | null | undefined} value
 */
export function span(value) {
  if (!isNumber(value)) return DASH;
  const seconds = Math.max(0, Math.round(value));
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return pair(seconds, 60, "min", "s");
  if (seconds < 86_400) return pair(Math.floor(seconds / 60), 60, "h", "min");
  return pair(Math.floor(seconds / 3600), 24, "d", "h");
}

/** @param {number} value @param {number} base @param {string} large @param {string} small */
function pair(value, base, large, small) {
  const rest = value % base;
  return rest ? `${Math.floor(value / base)} ${large} ${rest} ${small}` : `${value / base} ${large}`;
}

/**
 * Time of day, in the reader's time zone.
 * @param {number | null | undefined} unixMs
 */
export function clock(unixMs) {
  return isNumber(unixMs) ? CLOCK.format(unixMs) : DASH;
}

/** What `clock` leaves out: `.123`. @param {number | null | undefined} unixMs */
export function millis(unixMs) {
  return isNumber(unixMs) ? `.${String(Math.floor(unixMs) % 1000).padStart(3, "0")}` : "";
}

/** @param {number | null | undefined} unixMs */
export function clockMs(unixMs) {
  return clock(unixMs) + millis(unixMs);
}

/**
 * Date and time of an RFC 3339 text, in the reader's time zone, to the second.
 * @param {unknown} text
 */
export function stamp(text) {
  const at = Date.parse(String(text));
  if (Number.isNaN(at)) return visible(text);
  const date = new Date(at);
  const two = (/** @type {number} */ part) => String(part).padStart(2, "0");
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} ${CLOCK.format(at)}`;
}

/** @param {number} number @param {string} one @param {string} [many] */
export function plural(number, one, many = `${one}s`) {
  return `${count(number)} ${number === 1 ? one : many}`;
}

/**
 * Text from outside with what cannot be seen, or turns the reading direction, written out.
 * @param {unknown} value
 */
export function visible(value) {
  const hidden = /[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;
  return String(value ?? "").replace(hidden, (found) => `\\u${found.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

/**
 * The same for a text of several lines.
 * @param {unknown} value
 */
export function visibleLines(value) {
  return String(value ?? "").split("\n").map(visible).join("\n");
}

/**
 * `snake_case` as words.
 * @param {string} value
 */
export function words(value) {
  return String(value).replaceAll("_", " ");
}

/**
 * An address that may stand in a link: http and https only.
 * @param {unknown} value
 * @returns {string | null}
 */
export function webAddress(value) {
  try {
    const url = new URL(String(value), location.href);
    return url.protocol === "http:" || url.protocol === "https:" ? url.href : null;
  } catch {
    return null;
  }
}
