// One request whole: the verdict first, then where its time went beside a typical one, its attempts, and what was written about it.
// In: the id from the address. Out: links to its trace, its flame graph, its like. A forgotten one is shown as far as the list knows it.
import { html, useEffect, useMemo } from "../parts/html.js";
import { Compare } from "../parts/compare.js";
import { Copy, CopyBlock } from "../parts/copy.js";
import { CpuSamples } from "../parts/cpu.js";
import { bytes, clockMs, ms, plural, visible, visibleLines, webAddress, words } from "../parts/format.js";
import { Headers } from "../parts/headers.js";
import { Json, pretty } from "../parts/json.js";
import { useKeys } from "../parts/keys.js";
import { ClientError, isClientError, isFailed, toneOf } from "../parts/outcome.js";
import { Cut, Empty, Failure, Panel, Waiting } from "../parts/panel.js";
import { Legend, PHASES } from "../parts/phases.js";
import { usePolled } from "../parts/polled.js";
import { term } from "../parts/query.js";
import { Status } from "../parts/rows.js";
import { lastTail } from "../parts/tail.js";
import { SameTrace } from "../parts/trace.js";
import { Waterfall } from "../parts/waterfall.js";
import { go, hashOf, parseHash } from "../router.js";

/** @typedef {import("../api.js").RequestRow} RequestRow */

/** @param {{ id: string }} props */
export function Request({ id }) {
  const asked = usePolled(`requests/${encodeURIComponent(id)}`);
  const list = hashOf("requests", { q: lastTail().q });
  useKeys({ Escape: () => go(list), j: () => beside(1), k: () => beside(-1) });
  const known = useMemo(() => lastTail().rows.find((row) => row.id === id), [id]);
  if (asked.data) return html`<${Whole} body=${asked.data} list=${list} />`;
  const isForgotten = asked.error?.status === 404;
  const body = asked.error
    ? html`
        <${Failure} error=${asked.error} retry=${isForgotten ? undefined : asked.reload} title=${isForgotten ? "Forgotten." : undefined} />
        ${known ? html`<p>What the list knew of it:</p><pre tabindex="0"><${Json} value=${known} /></pre>` : null}
      `
    : html`<${Waiting} />`;
  return html`
    <p class="crumbs"><a href=${list}>← Requests</a></p>
    <h1 tabindex="-1">Request</h1>
    <section class="panel">${body}</section>
  `;
}

/** The next or former one of the list that was open, counted from the address: what is drawn may lag behind fast keys. @param {number} step */
function beside(step) {
  const tail = lastTail();
  const at = tail.rows.findIndex((row) => row.id === parseHash(location.hash).id);
  const next = at < 0 ? undefined : tail.rows[at + step];
  if (!next) return;
  tail.opened = next.id;
  go(hashOf("request", {}, next.id));
}

/** @param {{ body: any, list: string }} props */
function Whole({ body, list }) {
  // The heading that had the focus while the answer was awaited is gone.
  useEffect(() => {
    const heading = document.querySelector("main h1");
    if (document.activeElement === document.body && heading instanceof HTMLElement) heading.focus({ preventScroll: true });
  }, []);
  const row = /** @type {RequestRow} */ (body.request);
  return html`
    <p class="crumbs"><a href=${list}>← Requests</a><span class="quiet"> Esc goes back, j and k to the next and former</span></p>
    <${Head} row=${row} curl=${body.curl} trace=${body.trace_url ? webAddress(body.trace_url) : null} />
    <${VerdictBanner} row=${row} />
    <div class="split">
      <${Panel} title="Waterfall" aside=${html`<${Legend} />`} class="main-part">
        ${body.waterfall?.length ? html`<${Waterfall} bars=${body.waterfall} duration=${row.duration_ms} />` : html`<${Empty}>No steps were recorded.<//>`}
      <//>
      <${Panel} title="Beside a typical one" class="side-part">
        <div class="panel-body"><${Compare} row=${row} typical=${body.typical ?? null} /></div>
      <//>
    </div>
    <${SameTrace} row=${row} />
    <${Attempts} row=${row} />
    <${Filters} filters=${body.filters ?? []} />
    <${CpuSamples} row=${row} flame=${body.flamegraph} />
    <div class="halves">
      <${Facts} row=${row} body=${body} />
      <${Headers} headers=${row.headers} />
    </div>
    <${Documents} body=${body} />
  `;
}

/** @param {{ row: RequestRow, curl: string | null, trace: string | null }} props */
function Head({ row, curl, trace }) {
  return html`
    <div class="request-head">
      <h1 tabindex="-1"><${Status} row=${row} /> <span class="quiet">${visible(row.method)}</span> <span class="wrap-any">${visible(row.path)}</span></h1>
      <p class="request-sub">
        <b class="num">${ms(row.duration_ms)}</b><span class="quiet">, of which the gateway itself <b class="num">${ms(row.self_ms)}</b></span>
        <span class="quiet">at <time title=${row.start}>${clockMs(row.began_ms)}</time></span>
        <a class="cut" title=${visible(row.route)} href=${hashOf("requests", { q: term("route", row.route) })}>${row.route ? `route ${visible(row.route)}` : "no route"}</a>
        ${trace ? html`<a href=${trace} target="_blank" rel="noreferrer">Open in the trace store ↗</a>` : null}
        ${curl ? html`<${Copy} text=${curl} label="Copy as curl" />` : null}
      </p>
    </div>
  `;
}

/** @param {{ row: RequestRow }} props */
function VerdictBanner({ row }) {
  const verdict = row.verdict;
  if (!verdict) {
    return html`<p class="verdict" data-tone=${isFailed(row) || isClientError(row) ? toneOf(row) : "ok"}>${unjudged(row)}</p>`;
  }
  return html`
    <div class="verdict" data-tone=${verdict.code === "unknown" ? "quiet" : isFailed(row) ? "bad" : "warn"}>
      <strong>${visible(verdict.text) || words(verdict.code)}</strong>
      <span class="verdict-tags">
        <a class="chip" href=${hashOf("requests", { q: term("verdict", verdict.code) })}>${words(verdict.code)}</a>
        <span class="chip">${words(verdict.confidence)}</span>
        ${isClientError(row) ? html`<${ClientError} />` : null}
      </span>
    </div>
  `;
}

/** @param {RequestRow} row */
function unjudged(row) {
  if (isFailed(row)) return `It failed with ${words(visible(row.error ?? row.status))}; no verdict was reached.`;
  if (isClientError(row)) return `The client's error: ${words(visible(row.error))}; no verdict was reached.`;
  return "Nothing about this request was out of the ordinary.";
}

/** @param {{ row: RequestRow }} props */
function Attempts({ row }) {
  const attempts = row.attempts ?? [];
  const title = attempts.length === 1 ? "One attempt" : "Attempts";
  if (attempts.length === 0) return html`<${Panel} title="Attempts"><${Empty}>No upstream was asked: the gateway answered by itself.<//><//>`;
  return html`
    <${Panel} title=${title} aside=${attempts.length > 1 ? html`<span class="quiet">${plural(attempts.length - 1, "retry", "retries")}</span>` : null}>
      <div class="table-wrap" tabindex="0" role="group" aria-label="Attempts">
        <table>
          <caption class="unseen">Each attempt with its endpoint, result and phases</caption>
          <thead>
            <tr>
              <th scope="col">#</th><th scope="col">Endpoint</th><th scope="col">Result</th><th scope="col">Connection</th>
              ${PHASES.map((phase) => html`<th key=${phase} scope="col" class="num">${phase}</th>`)}
            </tr>
          </thead>
          <tbody>${attempts.map((attempt, index) => html`<${AttemptRow}
            key=${attempt.span_id}
            attempt=${attempt}
            number=${index + 1}
            upstream=${row.upstream}
          />`)}</tbody>
        </table>
      </div>
    <//>
  `;
}

/** @param {{ attempt: import("../api.js").Attempt, number: number, upstream: string | null }} props */
function AttemptRow({ attempt, number, upstream }) {
  const bad = attempt.error !== null || (attempt.status ?? 0) >= 500;
  const result = [attempt.status, attempt.error && attempt.error !== String(attempt.status) ? words(attempt.error) : ""].filter(Boolean).join(", ");
  return html`
    <tr>
      <td>${number}</td>
      <th scope="row"><a
        class="cut"
        href=${hashOf("requests", { q: attempt.endpoint ? term("endpoint", attempt.endpoint) : "" })}
      >${visible(attempt.endpoint ?? "none")}</a> <${Cut} class="quiet name" text=${upstream ?? ""} /></th>
      <td><span data-tone=${bad ? "bad" : ""}>${visible(result) || "–"}</span></td>
      <td class="quiet">${attempt.reused ? "reused" : "new"}</td>
      ${PHASES.map((phase) => html`<td key=${phase} class="num">${attempt.phases_ms?.[phase] ? ms(attempt.phases_ms[phase]) : html`<span class="quiet">–</span>`}</td>`)}
    </tr>
  `;
}

/** @param {number} us */
const micros = (us) => `${us.toFixed(1)} µs`;

/** Too short for the waterfall, where they are a part of the gateway's own time. @param {{ filters: { name: string, us: number }[] }} props */
function Filters({ filters }) {
  if (filters.length === 0) return null;
  const sum = filters.reduce((all, filter) => all + filter.us, 0);
  const rows = filters.map((filter, index) => html`
    <tr key=${index}><td>${index + 1}</td><th scope="row">${visible(filter.name)}</th><td class="num">${micros(filter.us)}</td></tr>
  `);
  return html`
    <${Panel} title="Filters" aside=${html`<span class="quiet">${micros(sum)} of the gateway's own time</span>`}>
      <table>
        <caption class="unseen">The filters that ran, in the order of the configuration, with their time</caption>
        <thead><tr><th scope="col">#</th><th scope="col">Filter</th><th scope="col" class="num">Time</th></tr></thead>
        <tbody>${rows}</tbody>
      </table>
    <//>
  `;
}

/** @param {{ row: RequestRow, body: any }} props */
function Facts({ row, body }) {
  /** @type {[string, any][]} */
  const facts = [
    ["Trace", html`<code class="wrap-any">${visible(row.trace_id)}</code> <${Copy} text=${row.trace_id} name="Copy the trace id" />`],
    ["Links", html`<${Links} row=${row} flame=${body.flamegraph} />`],
    ["Client", visible(row.client)],
    ["Host", row.host ? visible(row.host) : null],
    ["User agent", row.user_agent ? visible(row.user_agent) : null],
    ["Body in, out", `${bytes(row.request_bytes)}, ${bytes(row.response_bytes)}`],
    ["Kept", row.kept ? `yes, because: ${words(row.keep_reason ?? "")}` : "no, its spans were not exported"],
    ["Error", row.error ? words(visible(row.error)) : null],
  ];
  return html`
    <${Panel} title="Facts">
      <dl class="facts">${facts.filter(([, value]) => value !== null).map(([name, value]) => html`<div key=${name}><dt>${name}</dt><dd class="wrap-any">${value}</dd></div>`)}</dl>
    <//>
  `;
}

/** @param {{ row: RequestRow, flame: string | null }} props */
function Links({ row, flame }) {
  const graph = flame ? new URLSearchParams(flame.slice(flame.indexOf("?") + 1)) : null;
  return html`
    <span class="links">
      ${graph ? html`<a href=${hashOf("flamegraph", Object.fromEntries(graph))}>Flame graph of that time</a>` : null}
      <a href=${hashOf("requests", { q: term("trace", row.trace_id) })}>Same trace</a>
      <a href=${hashOf("requests", { q: `${term("route", row.route)} ${sameKind(row)}`.trim() })}>Requests like it</a>
    </span>
  `;
}

/** @param {RequestRow} row */
function sameKind(row) {
  if (row.verdict) return term("verdict", row.verdict.code);
  return row.error ? term("error", row.error) : "";
}

/** @param {{ body: any }} props */
function Documents({ body }) {
  return html`
    <${Panel} title="As written down">
      ${body.curl
        ? html`<${CopyBlock} title="As curl" text=${body.curl} notes=${body.curl_notes}>${visibleLines(body.curl)}<//>`
        : html`<p class="panel-note quiet">There is no curl command that would repeat this request.</p>`}
      ${body.log ? html`<${CopyBlock} title="Access-log line" text=${JSON.stringify(body.log)}><${Json} value=${body.log} /><//>` : null}
      ${body.span ? html`<${CopyBlock} title="Spans, as OTLP JSON" text=${pretty(body.span)}><${Json} value=${body.span} /><//>` : null}
    <//>
  `;
}
