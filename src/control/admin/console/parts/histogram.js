// How long the requests that match took: one bar a bucket, the failed ones in their own colour. A bar narrows the filter.
// In: the buckets of /api/v1/requests/histogram. Out: terms for the filter.
import { html } from "./html.js";
import { count, isNumber, mark, ms, plural } from "./format.js";

/** @typedef {import("../api.js").Bucket & { from_ms: number }} Column */

/**
 * The buckets with their lower bounds, without the empty ones at both ends.
 * @param {import("../api.js").Bucket[]} buckets
 * @returns {Column[]}
 */
export function columns(buckets) {
  const all = buckets.map((bucket, index) => ({ ...bucket, from_ms: index === 0 ? 0 : buckets[index - 1].le_ms ?? 0 }));
  const first = all.findIndex((each) => each.count > 0);
  const last = all.findLastIndex((each) => each.count > 0);
  return first < 0 ? [] : all.slice(Math.max(0, first - 1), last + 2);
}

/**
 * @param {{ body: { buckets: import("../api.js").Bucket[], matched: number, seen: number }, onPick: (terms: string[]) => void }} props
 */
export function Histogram({ body, onPick }) {
  const shown = columns(body.buckets ?? []);
  const most = Math.max(1, ...shown.map((each) => each.count));
  const errors = shown.reduce((sum, each) => sum + each.errors, 0);
  return html`
    <figure class="histogram">
      <figcaption>
        <b>${count(body.matched)}</b> of ${count(body.seen)} remembered ${body.matched === 1 ? "request matches" : "requests match"}
        ${errors ? html`, <span class="bad-text">${count(errors)} failed</span>` : null}
      </figcaption>
      ${shown.length === 0
        ? html`<p class="quiet">Nothing to draw.</p>`
        : html`
            <div class="bars" role="group" aria-label="By duration; a bar narrows the filter to it">
              ${shown.map((each) => html`<${Bar} key=${each.from_ms} bucket=${each} most=${most} onPick=${onPick} />`)}
            </div>
            <div class="bars-axis" aria-hidden="true">${axis(shown).map((label, index) => html`<span key=${index}>${label}</span>`)}</div>
          `}
    </figure>
  `;
}

/** @param {{ bucket: Column, most: number, onPick: (terms: string[]) => void }} props */
function Bar({ bucket, most, onPick }) {
  const bounds = isNumber(bucket.le_ms) ? `${ms(bucket.from_ms)} to ${ms(bucket.le_ms)}` : `over ${ms(bucket.from_ms)}`;
  const said = `${bounds}: ${plural(bucket.count, "request")}${bucket.errors ? `, ${count(bucket.errors)} failed` : ""}`;
  const tall = (/** @type {number} */ value) => ({ height: value === 0 ? "0" : `${Math.max(3, (value / most) * 100)}%` });
  return html`
    <button type="button" class="bucket" aria-label=${said} title=${said} onClick=${() => onPick(bounded(bucket))}>
      <i class="bucket-all" style=${tall(bucket.count)}><i
        class="bucket-bad"
        style=${{ height: `${bucket.count ? (bucket.errors / bucket.count) * 100 : 0}%` }}
      ></i></i>
    </button>
  `;
}

/** @param {Column} bucket */
function bounded(bucket) {
  const terms = bucket.from_ms > 0 ? [`duration:>${bucket.from_ms}ms`] : [];
  return isNumber(bucket.le_ms) ? [...terms, `duration:<=${bucket.le_ms}ms`] : terms;
}

const LABELS_MAX = 8;

/** The upper bound of every so many bars. @param {Column[]} shown */
function axis(shown) {
  const every = Math.ceil(shown.length / LABELS_MAX);
  return shown.map((each, index) => (index % every === every - 1 && isNumber(each.le_ms) ? mark(each.le_ms, "ms") : ""));
}
