// This request beside a typical one of its route: two strips on one scale, then phase by phase, the odd one marked.
// In: the row and `typical` of /api/v1/requests/{id}. Not here: why it is odd; the verdict says that.
import { html } from "./html.js";
import { count, factor, isNumber, ms, visible } from "./format.js";
import { ABOUT, PHASES, Strip, phaseSums, shared } from "./phases.js";

/** A phase stands out when it is at least so many times, and so many milliseconds more than, what is typical. */
const ODD_FACTOR = 2;
const ODD_MS = 1;
/** With fewer requests behind it, a median is only a hint. */
const FEW = 30;

/** @typedef {{ name: string, here: number, p50: number | null, p90: number | null, odd: boolean }} Line */

/**
 * @param {import("../api.js").RequestRow} row
 * @param {import("../api.js").Typical | null} typical
 * @returns {Line[]}
 */
export function compare(row, typical) {
  const sums = phaseSums(row);
  const known = (/** @type {unknown} */ value) => (isNumber(value) ? value : null);
  const lines = [
    { name: "whole request", here: row.duration_ms, p50: known(typical?.p50), p90: known(typical?.p90), odd: false },
    { name: "self", here: row.self_ms, p50: known(typical?.self_p50), p90: null, odd: false },
    ...PHASES.map((phase) => ({
      name: /** @type {string} */ (phase),
      here: sums[phase],
      p50: known(typical?.phases_p50_ms?.[phase]),
      p90: known(typical?.phases_p90_ms?.[phase]),
      odd: false,
    })),
  ].filter((line) => line.here > 0 || (line.p50 ?? 0) > 0);
  return markOdd(lines);
}

/** @param {Line[]} lines */
function markOdd(lines) {
  const excess = (/** @type {Line} */ line) => (line.p50 === null ? 0 : line.here - line.p50);
  const stands = lines.filter((line) => line.name !== "whole request" && line.p50 !== null && line.here >= ODD_FACTOR * line.p50 && excess(line) >= ODD_MS);
  const odd = stands.reduce((/** @type {Line | null} */ most, line) => (!most || excess(line) > excess(most) ? line : most), null);
  return lines.map((line) => ({ ...line, odd: line === odd }));
}

/** @param {{ row: import("../api.js").RequestRow, typical: import("../api.js").Typical | null }} props */
export function Compare({ row, typical }) {
  const sums = phaseSums(row);
  if (!typical || !typical.count) {
    return html`
      <${Pair} name="This request" sums=${sums} whole=${row.duration_ms} total=${row.duration_ms} />
      <p class="quiet">There is nothing to compare with yet: too few requests of this route have succeeded lately.</p>
    `;
  }
  const usual = shared(typical.phases_p50_ms ?? {}, typical.self_p50 ?? 0, typical.p50 ?? 0);
  const whole = Math.max(row.duration_ms, typical.p50 ?? 0);
  return html`
    <${Pair} name="This request" sums=${sums} whole=${whole} total=${row.duration_ms} />
    <${Pair} name="Typical" sums=${usual} whole=${whole} total=${typical.p50} />
    <${Lines} lines=${compare(row, typical)} />
    <p class="quiet">
      Typical is the median of ${count(typical.count)} ${typical.count === 1 ? "request" : "requests"} of the route <span class="wrap-any">${visible(typical.route)}</span>.
      ${typical.count < FEW ? " So few are only a hint." : ""}
    </p>
  `;
}

/** @param {{ name: string, sums: Record<string, number>, whole: number, total: number | null }} props */
function Pair({ name, sums, whole, total }) {
  return html`
    <div class="pair">
      <span>${name}</span>
      <${Strip} class="tall" sums=${sums} whole=${whole} label="${name}: ${ms(total)}" />
      <span class="num">${ms(total)}</span>
    </div>
  `;
}

/** @param {{ lines: Line[] }} props */
function Lines({ lines }) {
  return html`
    <div class="table-wrap" tabindex="0" role="group" aria-label="Beside a typical request">
      <table class="compare">
        <caption class="unseen">Each phase of this request beside the median and the 90th percentile of its route</caption>
        <thead>
          <tr>
            <th scope="col">Phase</th>
            <th scope="col" class="num">Here</th>
            <th scope="col" class="num">Typical</th>
            <th scope="col" class="num wide-only">p90</th>
            <th scope="col" class="num">Ratio</th>
          </tr>
        </thead>
        <tbody>
          ${lines.map(
            (line) => html`
              <tr key=${line.name} data-odd=${line.odd ? "" : undefined}>
                <th scope="row" title=${ABOUT[line.name]}><i data-phase=${line.name}></i>${line.name}${line.odd ? html`<b class="odd">stands out</b>` : null}</th>
                <td class="num">${ms(line.here)}</td>
                <td class="num">${ms(line.p50)}</td>
                <td class="num wide-only">${ms(line.p90)}</td>
                <td class="num">${line.p50 ? factor(line.here / line.p50) : "–"}</td>
              </tr>
            `,
          )}
        </tbody>
      </table>
    </div>
  `;
}
