// The other requests of the same trace that the gateway remembers: services that ask each other through it leave one each.
// In: a row. Out: a panel with all of them in order of time, and which one failed first or took longest; nothing where it is the only one.
import { html } from "./html.js";
import { ms, plural, visible, words } from "./format.js";
import { ClientError, isClientError, isFailed } from "./outcome.js";
import { Cut, Panel } from "./panel.js";
import { usePolled } from "./polled.js";
import { term } from "./query.js";
import { Status } from "./rows.js";
import { hashOf } from "../router.js";

const ROWS_MAX = 50;

/** @typedef {import("../api.js").RequestRow} RequestRow */

/** @param {{ row: RequestRow }} props */
export function SameTrace({ row }) {
  const asked = usePolled("requests", { trace_id: row.trace_id, limit: ROWS_MAX });
  const rows = inTime(asked.data?.requests ?? []);
  // Nothing to say is no panel: most traces pass here once.
  if (!asked.error && rows.length < 2) return null;
  const aside = html`<a href=${hashOf("requests", { q: term("trace", row.trace_id) })}>As a list</a>`;
  return html`
    <${Panel} title="Same trace" aside=${aside} asked=${asked}>
      ${() => html`
        <p class="panel-note"><${Summary} rows=${rows} own=${row} /></p>
        <${Table} rows=${rows} own=${row} />
        ${asked.data.next ? html`<p class="panel-note quiet">The newest ${ROWS_MAX} are listed.</p>` : null}
      `}
    <//>
  `;
}

/** When it began, in Unix milliseconds with their fraction: requests of one trace begin close together. @param {RequestRow} row */
function beganMs(row) {
  const fraction = /\.\d{3}(\d+)/.exec(row.start)?.[1];
  return (Date.parse(row.start) || row.began_ms) + (fraction ? Number(`0.${fraction}`) : 0);
}

/** @param {RequestRow} row */
const endedMs = (row) => beganMs(row) + row.duration_ms;

/** The one that waited for the others comes before them. @param {RequestRow[]} rows */
export function inTime(rows) {
  return [...rows].sort((a, b) => beganMs(a) - beganMs(b) || b.duration_ms - a.duration_ms);
}

/** Who failed first failed by itself; the others may have failed with it. @param {RequestRow[]} rows */
export function firstFailed(rows) {
  const failed = rows.filter(isFailed).sort((a, b) => endedMs(a) - endedMs(b) || beganMs(b) - beganMs(a));
  return failed[0] ?? null;
}

/** So much of its own time, and a request that went on inside it is what it waited for. */
const WAITED_SHARE = 0.5;

/** @param {RequestRow} row @param {RequestRow} other */
function waitedFor(row, other) {
  const isInside = beganMs(other) >= beganMs(row) && endedMs(other) <= endedMs(row) && other.duration_ms < row.duration_ms;
  return isInside && other.duration_ms >= WAITED_SHARE * row.duration_ms;
}

/** Who waited for another was as slow as that one, so only those that waited for none are compared. @param {RequestRow[]} rows */
export function slowest(rows) {
  const alone = rows.filter((row) => !rows.some((other) => waitedFor(row, other)));
  return alone.reduce((/** @type {RequestRow | null} */ most, row) => (!most || row.duration_ms > most.duration_ms ? row : most), null);
}

/** @param {{ rows: RequestRow[], own: RequestRow }} props */
function Summary({ rows, own }) {
  const failed = firstFailed(rows);
  const found = failed ?? slowest(rows);
  if (!found) return null;
  const count = rows.filter(isFailed).length;
  const before = failed ? (count === 1 ? "One failed" : `${plural(count, "request")} failed, the first of them`) : "None failed; the slowest part was";
  const name = html`<b>${visible(found.route) || "(no route)"}</b>`;
  const place = found.id === own.id ? html`${name}, this one` : html`<a href=${hashOf("request", {}, found.id)}>${name}</a>`;
  const why = failed ? found.verdict?.text || words(found.error ?? String(found.status)) : ms(found.duration_ms);
  return html`${before}${count === 1 ? ": " : " "}${place}: ${visible(why)}`;
}

/** @param {{ rows: RequestRow[], own: RequestRow }} props */
function Table({ rows, own }) {
  const began = rows.length ? beganMs(rows[0]) : 0;
  return html`
    <div class="table-wrap" tabindex="0" role="group" aria-label="Same trace">
      <table class="trace">
        <caption class="unseen">The remembered requests of the same trace, in order of time</caption>
        <thead>
          <tr>
            <th scope="col" class="num">Begins</th><th scope="col" class="num">Duration</th><th scope="col">Status</th>
            <th scope="col">Route</th><th scope="col">Request</th><th scope="col" class="grow">Verdict</th>
          </tr>
        </thead>
        <tbody>${rows.map((row) => html`<${Line} key=${row.id} row=${row} after=${beganMs(row) - began} isOwn=${row.id === own.id} />`)}</tbody>
      </table>
    </div>
  `;
}

/** @param {{ row: RequestRow, after: number, isOwn: boolean }} props */
function Line({ row, after, isOwn }) {
  const path = visible(row.path) || "(none)";
  const link = isOwn
    ? html`<span class="cut name" title=${path}>${path}</span> <span class="chip">this one</span>`
    : html`<a class="cut name" title=${path} href=${hashOf("request", {}, row.id)}>${path}</a>`;
  return html`
    <tr aria-current=${isOwn ? "true" : undefined}>
      <td class="num">${ms(after)}</td>
      <td class="num">${ms(row.duration_ms)}</td>
      <td><${Status} row=${row} /></td>
      <td><${Cut} class="name" text=${row.route || "(no route)"} /></td>
      <td><span class="quiet">${visible(row.method)}</span> ${link}</td>
      <td class="grow">${isClientError(row) ? html`<${ClientError} /> ` : null}<${Cut} text=${row.verdict?.text || words(row.error ?? "")} /></td>
    </tr>
  `;
}
