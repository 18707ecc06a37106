// How a request ended, in one word that every page agrees on: it failed, the client was at fault, or neither.
// In: a row. Out: a tone for it and a word beside it. Not here: why; the verdict says that.
import { html } from "./html.js";

/** @typedef {import("../api.js").RequestRow} RequestRow */

/** Whether the gateway counts it as failed. An older gateway says so by the status alone. @param {RequestRow} row */
export function isFailed(row) {
  return row.failed ?? row.status >= 500;
}

/** Something went wrong, and the client asked for it or went away: no failure of ours. @param {RequestRow} row */
export function isClientError(row) {
  return row.error !== null && !isFailed(row);
}

/** @param {RequestRow} row @returns {"bad" | "warn" | "ok"} */
export function toneOf(row) {
  if (isFailed(row)) return "bad";
  return isClientError(row) || row.status >= 400 || row.status === 0 ? "warn" : "ok";
}

export function ClientError() {
  return html`<span class="chip" data-tone="warn" title="The client is at fault or went away, so it does not count as failed">client error</span>`;
}
