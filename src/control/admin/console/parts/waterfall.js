// One request as a waterfall: what began when and how long it took, phase by phase, attempt by attempt.
// A table whose last column is drawn, so that it can also be read aloud. In: the bars of /api/v1/requests/{id}.
import { html } from "./html.js";
import { bytes, ms, visible, words } from "./format.js";
import { PHASES } from "./phases.js";

/** @typedef {import("../api.js").Bar} Bar */

/** @param {{ bars: Bar[], duration: number }} props */
export function Waterfall({ bars, duration }) {
  const end = Math.max(duration || 0, ...bars.map((bar) => bar.end_ms), 0.001);
  return html`
    <div class="table-wrap" tabindex="0" role="group" aria-label="Waterfall">
      <table class="waterfall">
        <caption class="unseen">What the request did, in order, with the beginning and length of each step</caption>
        <thead>
          <tr>
            <th scope="col">Step</th>
            <th scope="col" class="num begins">Begins</th>
            <th scope="col" class="num">Takes</th>
            <th scope="col" class="w-axis"><span class="unseen">Drawn</span><${Axis} end=${end} /></th>
          </tr>
        </thead>
        <tbody>${bars.map((bar, index) => html`<${Step} key=${index} bar=${bar} end=${end} />`)}</tbody>
      </table>
    </div>
  `;
}

const TICKS = [0, 0.25, 0.5, 0.75, 1];

/** @param {{ end: number }} props */
function Axis({ end }) {
  return html`
    <span class="ticks" aria-hidden="true">
      ${TICKS.map((at) => html`<i key=${at} style=${{ left: `${at * 100}%` }} data-at=${at}>${ms(end * at)}</i>`)}
    </span>
  `;
}

/** @param {{ bar: Bar, end: number }} props */
function Step({ bar, end }) {
  const length = Math.max(0, bar.end_ms - bar.begin_ms);
  const detail = detailText(bar.detail);
  const place = { left: `${(bar.begin_ms / end) * 100}%`, width: `${(length / end) * 100}%` };
  return html`
    <tr data-kind=${bar.kind}>
      <th scope="row" data-depth=${Math.min(4, bar.depth ?? 0)} title=${detail || undefined}>
        <span class="cut">${visible(bar.name)}</span>${detail ? html`<small class="cut">${detail}</small>` : null}
      </th>
      <td class="num begins">${ms(bar.begin_ms)}</td>
      <td class="num">${ms(length)}</td>
      <td class="w-bar"><span class="lane"><i data-phase=${phaseOf(bar)} data-kind=${bar.kind} style=${place}></i></span></td>
    </tr>
  `;
}

/** The phase whose colour a bar takes. @param {Bar} bar */
export function phaseOf(bar) {
  if (bar.kind === "self") return "self";
  if (bar.kind === "client") return "rest";
  if (bar.kind === "attempt") return "attempt";
  return PHASES.find((phase) => new RegExp(`\\b${phase}\\b`).test(bar.name)) ?? "rest";
}

/** Said by the name of the step already. */
const KNOWN = ["span_id", "endpoint", "upstream"];

/** @param {Record<string, unknown> | undefined} detail */
export function detailText(detail) {
  const pairs = Object.entries(detail ?? {}).filter(([name, value]) => !KNOWN.includes(name) && value !== null && value !== "" && value !== 0);
  return pairs.map(([name, value]) => visible(detailWords(name, value))).join(", ");
}

/** @param {string} name @param {unknown} value */
function detailWords(name, value) {
  if (name === "reused") return value ? "reused connection" : "new connection";
  if (name === "unfinished") return "unfinished";
  if (name.endsWith("bytes") && typeof value === "number") return `${words(name.replace(/_?bytes$/, ""))} ${bytes(value)}`.trim();
  return `${words(name)} ${typeof value === "object" ? JSON.stringify(value) : value}`;
}
