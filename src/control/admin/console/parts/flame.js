// A flame graph of the gateway in a frame of our own origin: its address, and what became of it (drawn, nothing sampled, refused).
// In: which page of /debug/pprof/ with which choice. Out: the frame, and an outcome in words. Not here: who chooses, and when it is asked for.
import { html, useEffect, useRef, useState } from "./html.js";
import { useStore } from "./store.js";
import { colour, colours } from "./theme.js";

const PAGE = new URL("../../debug/pprof/", import.meta.url);
const TALLEST_PX = 4_000;
const HEIGHT_PX = 600;

/** @typedef {Record<string, string>} Choice */
/** @typedef {{ count: number, hz: number, lost: number }} Samples */
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
  return html`<iframe ref=${frame} class="flame" title="Flame graph" src=${src} onLoad=${loaded} data-state=${outcome.state}></iframe>`;
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
}

/** The ground, and the words on it, in the page's own colours. Boxes keep theirs, which are light, and so does the dark text in them. @param {HTMLIFrameElement | null} frame */
function shade(frame) {
  const page = frame?.contentDocument;
  if (!page?.getElementById("frames")) return;
  for (const stop of page.querySelectorAll("#background stop")) stop.setAttribute("stop-color", colour("--panel"));
  for (const id of ["details", "unzoom", "search", "matched"]) page.getElementById(id)?.style.setProperty("fill", colour("--text"));
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
