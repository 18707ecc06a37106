// The phases of an attempt, their order and colours, and a request's time shared out among them.
// Out: sums over all attempts, and a strip that shows them at a glance. Not here: when each phase began (`waterfall`).
import { html } from "./html.js";
import { ms } from "./format.js";

/** In the order in which they happen. */
export const PHASES = /** @type {const} */ (["queue", "dns", "connect", "tls", "send", "wait", "body"]);

/** @type {Record<string, string>} */
export const ABOUT = {
  self: "what the gateway itself added",
  queue: "waiting for a free connection",
  dns: "looking the name up",
  connect: "opening a connection",
  tls: "agreeing on encryption",
  send: "sending the request upstream",
  wait: "waiting for the first byte of the answer",
  body: "reading and passing on the answer's body",
  rest: "waiting for the client, or not accounted for by a phase",
};

/** Less than this share of the whole is not drawn in a strip. */
const SHARE_MIN = 0.01;

/**
 * What each phase took over all attempts, with `self` first and `rest` for what is left (the client, pauses between attempts).
 * @param {import("../api.js").RequestRow} row
 * @returns {Record<string, number>}
 */
export function phaseSums(row) {
  /** @type {Record<string, number>} */
  const sums = {};
  for (const phase of PHASES) {
    sums[phase] = (row.attempts ?? []).reduce((sum, attempt) => sum + (attempt.phases_ms?.[phase] ?? 0), 0);
  }
  return shared(sums, row.self_ms ?? 0, row.duration_ms ?? 0);
}

/**
 * The gateway works in some phases too: of its own time only what no phase holds is a part beside them, so that the parts add up to the whole.
 * @param {Record<string, number>} phases @param {number} self @param {number} whole
 * @returns {Record<string, number>}
 */
export function shared(phases, self, whole) {
  const left = Math.max(0, whole - PHASES.reduce((sum, phase) => sum + (phases[phase] ?? 0), 0));
  const own = Math.min(self, left);
  return { self: own, ...phases, rest: left - own };
}

/**
 * A bar whose parts are as wide as their time. `whole` is what its full width stands for.
 * @param {{ sums: Record<string, number>, whole: number, label: string, class?: string }} props
 */
export function Strip({ sums, whole, label, class: extra = "" }) {
  const parts = ["self", ...PHASES, "rest"].filter((phase) => whole > 0 && (sums[phase] ?? 0) / whole >= SHARE_MIN);
  return html`
    <span class="strip ${extra}" role="img" aria-label=${label}>
      ${parts.map(
        (phase) => html`
          <i key=${phase} data-phase=${phase} title="${phase} ${ms(sums[phase])}" style=${{ width: `${Math.min(100, (sums[phase] / whole) * 100)}%` }}></i>
        `,
      )}
    </span>
  `;
}

/**
 * Where most of the time went, in words.
 * @param {Record<string, number>} sums
 */
export function largest(sums) {
  const [name, value] = Object.entries(sums).reduce((best, each) => (each[1] > best[1] ? each : best), ["", 0]);
  return name ? `mostly ${name === "rest" ? "client" : name}, ${ms(value)}` : "";
}

/** What the colours mean. */
export function Legend() {
  return html`
    <ul class="legend" aria-label="Colours of the phases">
      ${["self", ...PHASES].map((phase) => html`<li key=${phase} title=${ABOUT[phase]}><i data-phase=${phase}></i>${phase}</li>`)}
    </ul>
  `;
}
