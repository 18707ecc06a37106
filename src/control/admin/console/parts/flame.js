// A flame graph of the gateway in a frame of our own origin: its address, and what became of it (drawn, nothing sampled, refused).
// In: which page of /debug/pprof/ with which choice. Out: the frame, whose boxes are buttons for the keyboard and for screen readers, and an outcome
// in words. Not here: who chooses, and when it is asked for; nor zooming itself, which the drawing's own script does.
import { announce } from "./announce.js";
import { html, useEffect, useRef, useState } from "./html.js";
import { useStore } from "./store.js";
import { colour, colours } from "./theme.js";

const PAGE = new URL("../../debug/pprof/", import.meta.url);
const TALLEST_PX = 4_000;
const HEIGHT_PX = 600;
const SVG = "http://www.w3.org/2000/svg";
const KEYS_SAID =
  "Stack frames. Arrow down leads to the caller, arrow up to the widest callee, left and right to those beside it, Home to the first. Enter zooms in, Escape out.";
/** One within the other, from the widest: the ring is seen on light ground, on dark ground, and on a box of any colour. */
const RING = [
  { stroke: "#fff", width: "5" },
  { stroke: "#000", width: "2.5" },
];

/** @typedef {Record<string, string>} Choice */
/** @typedef {{ count: number, hz: number, lost: number }} Samples */
/** @typedef {{ box: SVGElement, at: number, width: number, caller: Call | null, called: Call[] }} Call a box of the drawing: a function in one place of the stacks */
/** @typedef {{ state: "taking" | "drawn" | "empty" | "refused", title: string, why: string, status: number, samples: Samples | null }} Outcome */

/** @type {Outcome} */
export const TAKING = { state: "taking", title: "", why: "", status: 0, samples: null };

/** @param {string} page @param {Choice} choice empty ones are left out */
export function pprofUrl(page, choice) {
  const url = new URL(page, PAGE);
  for (const [name, value] of Object.entries(choice)) if (value !== "") url.searchParams.set(name, value);
  return url.href;
}

/** @param {{ url: string, outcome: Outcome, tell: (outcome: Outcome) => void, tallest?: number }} props */
export function Frame({ url, outcome, tell, tallest = TALLEST_PX }) {
  const frame = useRef(/** @type {HTMLIFrameElement | null} */ (null));
  const [src, setSrc] = useState(/** @type {string | undefined} */ (undefined));
  // The drawing fits itself to its frame as it loads, so the frame has its size before.
  useEffect(() => {
    if (frame.current?.getBoundingClientRect()) setSrc(url);
  }, [url]);
  const loaded = () => {
    if (src === undefined) return;
    const found = outcomeOf(frame.current);
    if (found.state === "drawn") fit(frame.current, tallest);
    tell(found);
  };
  const shades = useStore(colours);
  useEffect(() => shade(frame.current), [shades]);
  return html`<iframe ref=${frame} class="flame" title="Flame graph of CPU time" src=${src} onLoad=${loaded} data-state=${outcome.state}></iframe>`;
}

/** As tall as the drawing, and without its two lines of text, which do not wrap: the page says them. @param {HTMLIFrameElement | null} frame @param {number} tallest */
function fit(frame, tallest) {
  const page = frame?.contentDocument;
  const height = Number(page?.documentElement?.getAttribute("height")) || HEIGHT_PX;
  frame?.style.setProperty("height", `${Math.min(tallest, height)}px`);
  // It is all but invisible as drawn.
  page?.getElementById("search")?.style.setProperty("opacity", "0.75");
  for (const id of ["title", "subtitle"]) page?.getElementById(id)?.setAttribute("visibility", "hidden");
  shade(frame);
  if (page?.defaultView) reach(page, page.defaultView);
}

/** The ground, and the words on it, in the page's own colours. Boxes keep theirs, which are light, and so does the dark text in them. @param {HTMLIFrameElement | null} frame */
function shade(frame) {
  const page = frame?.contentDocument;
  if (!page?.getElementById("frames")) return;
  for (const stop of page.querySelectorAll("#background stop")) stop.setAttribute("stop-color", colour("--panel"));
  for (const id of ["details", "unzoom", "search", "matched"]) page.getElementById(id)?.style.setProperty("fill", colour("--text"));
}

/**
 * Makes the boxes buttons: one Tab reaches them, arrows walk between them. Each is touched once, and all are listened to in one place.
 * @param {Document} page @param {Window} view whose listeners of the drawing's own script come before ours
 */
function reach(page, view) {
  const boxes = page.getElementById("frames");
  const calls = boxes ? callsOf(boxes) : new Map();
  const first = [...calls.values()].find((call) => call.caller === null);
  const unzoom = page.getElementById("unzoom");
  if (!boxes || !first || !unzoom) return;
  boxes.setAttribute("role", "group");
  boxes.setAttribute("aria-label", KEYS_SAID);
  for (const box of calls.keys()) asButton(box, "-1", box.querySelector("title")?.textContent);
  for (const id of ["search", "unzoom"]) asButton(page.getElementById(id), "0");
  const mark = ringOn(page);
  let stop = first.box;
  const stopAt = (/** @type {SVGElement} */ box) => {
    stop.setAttribute("tabindex", "-1");
    stop = box;
    stop.setAttribute("tabindex", "0");
  };
  stopAt(stop);
  view.addEventListener("keydown", (event) => onKey(event, calls, first, unzoom));
  view.addEventListener("focusin", ({ target }) => {
    if (calls.has(target)) {
      stopAt(/** @type {SVGElement} */ (target));
      // Writes the whole name below the drawing, as for a pointer.
      act(target, "mouseover");
    }
    mark();
  });
  view.addEventListener("focusout", ({ target }) => {
    act(target, "mouseout");
    mark(false);
  });
  view.addEventListener("click", ({ target }) => {
    const box = /** @type {SVGElement | null} */ (/** @type {Element} */ (target).closest("#frames > *"));
    if (box) {
      stopAt(box);
      announce(`Zoomed to ${box.getAttribute("aria-label")}`);
    } else if (target === unzoom) {
      // It is gone now, and the focus with it.
      stop.focus({ preventScroll: true });
      announce("The whole flame graph is shown again");
    }
    mark();
  });
  view.addEventListener("resize", () => mark());
}

/** @param {Element | null} element @param {string} tabindex @param {string | null} [label] where its text does not say it all */
function asButton(element, tabindex, label) {
  element?.setAttribute("role", "button");
  element?.setAttribute("tabindex", tabindex);
  if (label) element?.setAttribute("aria-label", label);
}

/**
 * Who calls whom, which the drawing shows only by where its boxes stand. Zooming does not touch what is read here.
 * @param {Element} boxes @returns {Map<EventTarget | null, Call>}
 */
function callsOf(boxes) {
  const calls = new Map();
  /** @type {Map<number, Call[]>} */
  const rows = new Map();
  for (const box of boxes.children) {
    const rect = box.querySelector("rect");
    const read = (/** @type {string} */ name) => Number(rect?.getAttribute(name));
    const call = { box: /** @type {SVGElement} */ (box), at: read("fg:x"), width: read("fg:w"), caller: null, called: [] };
    calls.set(box, call);
    const row = rows.get(read("y"));
    if (row) row.push(call);
    else rows.set(read("y"), [call]);
  }
  /** @type {Call[]} */
  let callers = [];
  // The lowest row is the first.
  for (const [, row] of [...rows].sort(([one], [other]) => other - one)) {
    join(callers, row.sort((one, other) => one.at - other.at));
    callers = row;
  }
  return calls;
}

/** Each call stands on its caller. Both rows are in order, so one walk along them is enough. @param {Call[]} callers @param {Call[]} row */
function join(callers, row) {
  let below = 0;
  for (const call of row) {
    while (below + 1 < callers.length && callers[below + 1].at <= call.at) below += 1;
    call.caller = callers[below] ?? null;
    call.caller?.called.push(call);
  }
}

/** @param {KeyboardEvent} event @param {Map<EventTarget | null, Call>} calls @param {Call} first @param {Element} unzoom */
function onKey(event, calls, first, unzoom) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const target = /** @type {Element} */ (event.target);
  const call = calls.get(target);
  const next = call ? step(event.key, call, first) : undefined;
  if (next !== undefined) next?.box.focus();
  else if (event.key === "Escape" && !unzoom.classList.contains("hide")) act(unzoom, "click");
  else if ((event.key === "Enter" || event.key === " ") && target.getAttribute("role") === "button") act(target, "click");
  else return;
  event.preventDefault();
}

/** Where a key leads: null is nowhere, undefined says that it is no such key. Zooming hides what is beside it. @param {string} key @param {Call} call @param {Call} first */
function step(key, call, first) {
  const isShown = (/** @type {Call} */ { box }) => !box.classList.contains("hide");
  if (key === "Home") return first;
  if (key === "ArrowDown") return call.caller;
  if (key === "ArrowUp") return call.called.filter(isShown).sort((one, other) => other.width - one.width)[0] ?? null;
  if (key !== "ArrowLeft" && key !== "ArrowRight") return undefined;
  const beside = (call.caller?.called ?? [call]).filter(isShown);
  return beside[beside.indexOf(call) + (key === "ArrowLeft" ? -1 : 1)] ?? null;
}

/** What a pointer would do there, for the drawing's own script. @param {EventTarget | null} target @param {"click" | "mouseover" | "mouseout"} what */
function act(target, what) {
  target?.dispatchEvent(new MouseEvent(what, { bubbles: true, cancelable: true }));
}

/**
 * A ring above all boxes: one that a box draws itself is covered by those drawn later.
 * @param {Document} page @returns {(isWanted?: boolean) => void} puts it around what has the focus
 */
function ringOn(page) {
  const ring = page.createElementNS(SVG, "g");
  for (const [name, value] of Object.entries({ id: "ring", fill: "none", "pointer-events": "none", visibility: "hidden" })) ring.setAttribute(name, value);
  for (const { stroke, width } of RING) {
    const line = page.createElementNS(SVG, "rect");
    line.setAttribute("stroke", stroke);
    line.setAttribute("stroke-width", width);
    ring.append(line);
  }
  page.documentElement.append(ring);
  page.styleSheets[0]?.insertRule("[role=button]:focus { outline: none; }");
  return (isWanted = true) => {
    const focused = page.activeElement;
    const isShown = isWanted && focused?.matches("[role=button]:focus-visible:not(.hide)");
    ring.setAttribute("visibility", isShown ? "visible" : "hidden");
    if (!focused || !isShown) return;
    const ground = page.documentElement.getBoundingClientRect();
    const { left, top, width, height } = (focused.querySelector("rect") ?? focused).getBoundingClientRect();
    const place = { x: left - ground.left - 1, y: top - ground.top, width: width + 2, height };
    for (const line of ring.children) for (const [name, value] of Object.entries(place)) line.setAttribute(name, String(value));
  };
}

/** The frame is of our own origin, so what it got can be read. @param {HTMLIFrameElement | null} frame @returns {Outcome} */
function outcomeOf(frame) {
  const page = frame?.contentDocument;
  if (!page) return { ...TAKING, state: "refused", why: "the answer could not be read" };
  const timing = /** @type {any} */ (frame.contentWindow?.performance.getEntriesByType("navigation")[0]);
  const status = timing?.responseStatus ?? 0;
  const text = (page.documentElement?.textContent ?? "").trim();
  if (page.contentType !== "image/svg+xml") return { ...TAKING, state: "refused", why: text || "there was no answer", status };
  const why = page.getElementById("subtitle")?.textContent ?? "no samples";
  const title = page.getElementById("title")?.textContent ?? "";
  return { state: page.getElementById("frames") ? "drawn" : "empty", title, why, status, samples: samplesOf(why) };
}

/** What the line below the title says of the samples. @param {string} line @returns {Samples | null} */
export function samplesOf(line) {
  const found = /^(\d+) samples at (\d+) Hz/.exec(line);
  const lost = /, (\d+) lost/.exec(line);
  return found ? { count: Number(found[1]), hz: Number(found[2]), lost: Number(lost?.[1] ?? 0) } : null;
}

/** Why there is no picture, in short. @param {Outcome} outcome */
export function headline({ state, status, why }) {
  if (state === "empty") return "Nothing was sampled.";
  if (status === 401) return "The gateway wants to know who asks.";
  if (status === 403) return "Profiles are switched off here.";
  if (status === 404) return "This gateway does not serve profiles.";
  if (status === 409) return /continuous/.test(why) ? "Continuous profiles are off." : "That time is not remembered.";
  if (status === 501) return "This build or machine cannot take profiles.";
  if (status === 503) return "Too many profiles at once.";
  return "There is no picture.";
}
