// The keyboard: single keys, and `g` followed by a letter. Pages register what their keys do while they are shown.
// Nothing happens while text is typed, save Escape. Single keys can be switched off in the help (WCAG 2.1.4).
import { useLayoutEffect, useRef } from "./html.js";
import { createStore } from "./store.js";
import { go } from "../router.js";

/** @typedef {Record<string, (event: KeyboardEvent) => void>} Keys */

const STORED = "pellucid.keys";
const CHORD_MS = 1_500;
/** @type {Record<string, string>} */
const PLACES = { o: "overview", r: "requests", f: "flamegraph", t: "topology", c: "config", e: "telemetry" };

/** @type {Set<{ current: Keys }>} */
const registered = new Set();
let chordUntil = 0;

export const keysOn = createStore(stored());

function stored() {
  try {
    return localStorage.getItem(STORED) !== "off";
  } catch {
    return true;
  }
}

/** @param {boolean} on */
export function switchKeys(on) {
  keysOn.set(on);
  try {
    localStorage.setItem(STORED, on ? "on" : "off");
  } catch {
    // Without storage the choice lasts as long as the page.
  }
}

/**
 * What keys do while the component is shown. The one registered last wins.
 * @param {Keys} keys
 */
export function useKeys(keys) {
  const held = useRef(keys);
  held.current = keys;
  // Before the browser paints: a key that comes between two pages is heard by one of them.
  useLayoutEffect(() => {
    registered.add(held);
    return () => registered.delete(held);
  }, []);
}

/** @param {EventTarget | null} target */
function isTyping(target) {
  return target instanceof HTMLElement && (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName));
}

/** @param {KeyboardEvent} event */
function onKey(event) {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
  if (document.querySelector("dialog[open]")) return;
  const plain = event.key.length === 1;
  if (plain && (!keysOn.get() || isTyping(event.target))) return;
  if (isTyping(event.target) && event.key !== "Escape") return;
  if (chord(event)) return;
  const handler = [...registered].reverse().find((held) => event.key in held.current);
  if (handler) handler.current[event.key](event);
}

/** @param {KeyboardEvent} event whether it belongs to `g` and a letter */
function chord(event) {
  const inChord = Date.now() < chordUntil;
  chordUntil = 0;
  if (inChord && PLACES[event.key]) {
    event.preventDefault();
    go(`#/${PLACES[event.key]}`);
    return true;
  }
  if (event.key !== "g") return false;
  chordUntil = Date.now() + CHORD_MS;
  return true;
}

document.addEventListener("keydown", onKey);

/** Where the last step led, should that row be gone at the next one. */
let last = { key: "", at: -1 };

/**
 * Moves the focus to the next row's link, or the one before: rows are what carries `data-row`.
 * @param {number} step 1 or -1
 */
export function stepRow(step) {
  const rows = /** @type {HTMLElement[]} */ ([...document.querySelectorAll("main [data-row]")]);
  if (rows.length === 0) return;
  const now = placeIn(rows);
  const next = now < 0 ? firstInSight(rows) : Math.min(rows.length - 1, Math.max(0, now + step));
  last = { key: rows[next].dataset.row ?? "", at: next };
  rows[next].focus();
  rows[next].scrollIntoView({ block: "nearest" });
}

/** The row with the focus; that a row left and took the focus with it is no reason to begin anew. @param {HTMLElement[]} rows */
function placeIn(rows) {
  const now = rows.indexOf(/** @type {HTMLElement} */ (document.activeElement));
  if (now >= 0 || document.activeElement !== document.body || last.at < 0) return now;
  const same = rows.findIndex((row) => row.dataset.row === last.key);
  return same >= 0 ? same : Math.min(last.at, rows.length - 1);
}

/** @param {HTMLElement[]} rows */
function firstInSight(rows) {
  const bar = document.querySelector("header")?.getBoundingClientRect().bottom ?? 0;
  const box = rows[0].closest(".scroller")?.getBoundingClientRect().top ?? 0;
  const top = Math.max(bar, box);
  const at = rows.findIndex((row) => row.getBoundingClientRect().top >= top);
  return at < 0 ? 0 : at;
}

/** j and k, for every page that has rows. */
export const ROW_KEYS = {
  /** @param {KeyboardEvent} event */
  j: (event) => {
    event.preventDefault();
    stepRow(1);
  },
  /** @param {KeyboardEvent} event */
  k: (event) => {
    event.preventDefault();
    stepRow(-1);
  },
};
