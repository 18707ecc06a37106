// What a screen reader is told politely: one hidden live region for the whole page.
// Repeated words are said again only when they change, and not more often than every few seconds.
import { html } from "./html.js";
import { createStore, useStore } from "./store.js";

const PAUSE_MS = 4_000;
const spoken = createStore("");
let last = 0;
/** @type {ReturnType<typeof setTimeout> | undefined} */
let waiting;

/**
 * @param {string} text the newest replaces what still waits
 */
export function announce(text) {
  clearTimeout(waiting);
  const wait = Math.max(0, last + PAUSE_MS - Date.now());
  waiting = setTimeout(() => {
    last = Date.now();
    spoken.set(text);
  }, wait);
}

export function Announcer() {
  return html`<div class="unseen" role="status" aria-live="polite">${useStore(spoken)}</div>`;
}
