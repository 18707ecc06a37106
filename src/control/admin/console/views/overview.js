// The overview: what changed and what shows it, how much is going on, how it went over the last hour, route by route.
// In: the live stream, and the history every few seconds. Out: links to the requests behind each figure.
import { html, useEffect, useMemo, useState } from "../parts/html.js";
import { announce } from "../parts/announce.js";
import { Chart } from "../parts/chart.js";
import { clock, count, factor, inUnit, ms, plural, rate, share, span, visible, words } from "../parts/format.js";
import { ROW_KEYS, useKeys } from "../parts/keys.js";
import { Cut, Empty, Failure, Figure, Panel, Waiting } from "../parts/panel.js";
import { usePolled } from "../parts/polled.js";
import { FOLDED, term } from "../parts/query.js";
import { ClientError, isClientError } from "../parts/outcome.js";
import { Spark } from "../parts/spark.js";
import { useStore } from "../parts/store.js";
import { Table } from "../parts/table.js";
import { liveState, openLive } from "../live.js";
import { hashOf, replace } from "../router.js";

/** @typedef {import("../api.js").Overview} OverviewBody */
/** @typedef {import("../api.js").RouteStats} RouteStats */
/** @typedef {import("../api.js").Change} Change */
/** @typedef {import("../api.js").RequestRow} RequestRow */

const HISTORY_EVERY_MS = 5_000;
const JUDGED_MAX = 8;
const ROUTES_SHOWN = 40;
/** So far back the history is fine. One drawing has steps of one length, for a quantile of ten seconds is not the mean of ten of one. */
const FINE_SPAN_S = 120;
const COARSE_STEP_S = 10;
const CHANGES_SHOWN = 4;
const ESTIMATE = "Read from a histogram: right within 15 %.";
/** @type {[number, string][]} */
const SPANS = [[120, "2 min"], [900, "15 min"], [3600, "1 h"]];

/** @param {{ params: URLSearchParams }} props */
export function Overview({ params }) {
  const { overview, judged, first, before } = useNow();
  useKeys(ROW_KEYS);
  // One gateway that does not answer is one message, not one a panel.
  if (!overview && first.error) {
    return html`
      <h1 tabindex="-1" class="unseen">Overview</h1>
      <section class="panel" aria-label="Now"><${Failure} error=${first.error} retry=${first.reload} /></section>
    `;
  }
  return html`
    <h1 tabindex="-1" class="unseen">Overview</h1>
    ${overview
      ? html`
          <${Changes} changes=${overview.changes ?? []} />
          <${Figures} overview=${overview} />
        `
      : html`<section class="panel" aria-label="Now"><${Waiting} /></section>`}
    <${HistoryPanel} params=${params} overview=${overview} />
    ${overview ? html`<${Routes} overview=${overview} />` : null}
    <${Judged} rows=${judged} asked=${before} />
  `;
}

/** The newest overview and the newest verdicts, and what was asked for before the stream began. */
function useNow() {
  const [overview, setOverview] = useState(/** @type {OverviewBody | null} */ (null));
  const [judged, setJudged] = useState(/** @type {RequestRow[]} */ ([]));
  const first = usePolled("overview", { window: 60 });
  const before = usePolled("requests", { q: "verdict:*", limit: JUDGED_MAX });
  const [round, setRound] = useState(0);
  const again = () => {
    first.reload();
    before.reload();
    setRound(round + 1);
  };
  useEffect(() => {
    return openLive("verdict:*", {
      overview: setOverview,
      requests: (rows) => setJudged((old) => merged(rows, old)),
      // What ended between the answer above and the stream, or while the connection was away, stands in neither. The overview is sent at once.
      opened: before.reload,
    });
  }, [round]);
  useEffect(() => {
    if (before.data) setJudged((old) => merged(old, before.data.requests ?? []));
  }, [before.data]);
  return { overview: /** @type {OverviewBody | null} */ (overview ?? first.data), judged, first: { ...first, reload: again }, before };
}

/** @param {RequestRow[]} fresh @param {RequestRow[]} old */
function merged(fresh, old) {
  const known = new Set();
  const all = [...fresh, ...old].filter((row) => row.verdict && !known.has(row.id) && known.add(row.id));
  return all.sort((a, b) => b.began_ms - a.began_ms).slice(0, JUDGED_MAX);
}

/** @param {{ changes: Change[] }} props */
function Changes({ changes }) {
  const [all, setAll] = useState(false);
  const first = changes[0]?.text ?? "";
  const shown = all ? changes : changes.slice(0, CHANGES_SHOWN);
  const rest = changes.length - shown.length;
  useEffect(() => {
    if (first) announce(`Changed: ${first}`);
  }, [first]);
  if (changes.length === 0) return html`<${Panel} title="What changed" class="calm"><${Calm} /><//>`;
  return html`
    <${Panel} title="What changed" class="changes">
      <ol class="change-list">${shown.map((change) => html`<${ChangeRow} key=${changeKey(change)} change=${change} />`)}</ol>
      ${rest > 0 ? html`<button type="button" class="more" onClick=${() => setAll(true)}>${plural(rest, "more change")}</button>` : null}
    <//>
  `;
}

/** Calm is only what is known to be. */
function Calm() {
  const { since } = useStore(liveState);
  if (since !== null) return html`<p class="state quiet"><i class="dot"></i>Nothing had moved when the gateway was last heard of.</p>`;
  return html`<p class="state quiet"><i class="dot" data-tone="ok"></i>Nothing moved in the last minutes.</p>`;
}

/** @param {Change} change */
function changeKey(change) {
  return [change.what, change.route, change.endpoint, change.phase, change.status].join("|");
}

/** @param {{ change: Change }} props */
function ChangeRow({ change }) {
  const evidence = [
    change.phase ? `phase ${change.phase}` : "",
    change.endpoint ? `endpoint ${visible(change.endpoint)}` : "",
    change.status ? `status ${change.status}` : "",
  ].filter(Boolean);
  return html`
    <li class="change" data-tone=${toneOf(change)}>
      <a data-row=${changeKey(change)} href=${hashOf("requests", { q: changeFilter(change) })}>${visible(change.text)}</a>
      <span class="evidence">
        <span class="num"><s>${inUnit(change.before, change.unit)}</s> → <b>${inUnit(change.after, change.unit)}</b></span>
        ${change.factor ? html`<span class="num">${factor(change.factor)}</span>` : null}
        ${evidence.map((text) => html`<span key=${text} class="chip">${text}</span>`)}
        <span class="quiet">since ${clock(change.since)}</span>
      </span>
    </li>
  `;
}

/** @param {Change} change */
function toneOf(change) {
  if (change.after < change.before && change.what !== "rate") return "ok";
  return change.what === "errors" || change.what === "status" ? "bad" : "warn";
}

/** The requests that show the change. @param {Change} change */
export function changeFilter(change) {
  const terms = [term("route", change.route)];
  if (change.endpoint) terms.push(term("endpoint", change.endpoint));
  if (change.status) terms.push(`status:${change.status}`);
  else if (change.what === "errors") terms.push(change.endpoint ? "attempt_error:*" : "error:*");
  if (change.unit === "ms" && change.after > change.before) {
    const key = { p99: "duration", self: "self" }[change.what] ?? change.phase ?? "duration";
    terms.push(`${key}:>${Number(Math.sqrt(Math.max(change.before, 0.001) * change.after).toPrecision(2))}ms`);
  }
  return terms.join(" ");
}

/** @param {{ overview: OverviewBody }} props */
function Figures({ overview }) {
  const { total } = overview;
  const failing = total.errors >= 0.05 ? "bad" : total.errors >= 0.005 ? "warn" : undefined;
  return html`
    <dl class="figures" aria-label="The last ${overview.window_s} seconds">
      <${Figure} name="Requests" value=${rate(total.rate)} note="${count(total.count)} in ${span(overview.window_s)}" />
      <${Figure} name="Failed" value=${share(total.errors)} tone=${failing} note=${plural(Math.round(total.errors * total.count), "request")} />
      <${Figure} name="p50" value=${ms(total.p50)} title="Half of the requests were faster. ${ESTIMATE}" />
      <${Figure} name="p90" value=${ms(total.p90)} title=${ESTIMATE} />
      <${Figure} name="p99" value=${ms(total.p99)} title="One in a hundred took longer. ${ESTIMATE}" />
      <${Figure} name="Self time p50" value=${ms(total.self_p50)} note="p99 ${ms(total.self_p99)}" title="What the gateway itself added" />
      <${Figure} name="In flight" value=${count(overview.in_flight)} />
    </dl>
  `;
}

/** @param {{ params: URLSearchParams, overview: OverviewBody | null }} props */
function HistoryPanel({ params, overview }) {
  const route = params.get("route") ?? "";
  const wanted = Number(params.get("span") ?? 900);
  const asked = useHistory(route, wanted);
  const set = (/** @type {Record<string, string | number>} */ next) => replace(hashOf("overview", { route, span: wanted, ...next }));
  // Requests that no route took have no name, and no history of their own.
  const names = (overview?.routes ?? []).map((each) => each.route).filter(Boolean);
  const aside = html`
    <label>
      <span class="unseen">Route</span>
      <select onChange=${(/** @type {any} */ event) => set({ route: event.target.value })}>
        <option value="" selected=${route === ""}>All routes</option>
        ${[...new Set(route ? [route, ...names] : names)].map((name) => html`<option key=${name} value=${name} selected=${name === route}>${visible(name)}</option>`)}
      </select>
    </label>
    <div class="segments" role="group" aria-label="Length of time">
      ${SPANS.map(([seconds, label]) => html`<button
        key=${seconds}
        type="button"
        aria-pressed=${String(seconds === wanted)}
        onClick=${() => set({ span: seconds })}
      >${label}</button>`)}
    </div>
  `;
  return html`
    <${Panel}
      title="History"
      aside=${aside}
      asked=${asked}
      isEmpty=${(/** @type {any} */ body) => !body.steps?.length}
      empty="Nothing is remembered yet: the history begins with the first requests."
    >
      ${(/** @type {any} */ body) => html`<${Charts} steps=${body.steps} changes=${overview?.changes ?? []} />`}
    <//>
  `;
}

/**
 * A gateway that cannot be asked for steps of one length gives those that it has.
 * @param {string} route @param {number} wanted seconds
 * @returns {import("../parts/polled.js").Polled}
 */
function useHistory(route, wanted) {
  const [isRefused, setRefused] = useState(false);
  const step = wanted > FINE_SPAN_S && !isRefused ? COARSE_STEP_S : null;
  const asked = usePolled("history", { route, span: wanted, step }, HISTORY_EVERY_MS);
  const isWrong = step !== null && asked.error?.status === 400;
  useEffect(() => {
    if (isWrong) setRefused(true);
  }, [isWrong]);
  return isWrong ? { ...asked, error: null } : asked;
}

/** @param {{ steps: import("../api.js").Step[], changes: Change[] }} props */
function Charts({ steps, changes }) {
  const series = useMemo(() => seriesOf(steps), [steps]);
  const since = changes.map((change) => change.since / 1000);
  const marks = [...new Set(since)].map((at) => ({ at, text: "" }));
  return html`
    <div class="charts">
      <${Chart} title="Requests" times=${series.times} lines=${series.traffic} format=${rate} unit="per_s" marks=${marks} />
      <${Chart} title="Duration" times=${series.times} lines=${series.latency} format=${ms} unit="ms" log marks=${marks} />
      <${Chart} title="Self time" times=${series.times} lines=${series.self} format=${ms} unit="ms" marks=${marks} />
    </div>
    ${marks.length ? html`<p class="quiet chart-note"><i class="dash"></i>A dashed line is where something listed above began.</p>` : null}
  `;
}

/** @param {import("../api.js").Step[]} steps */
function seriesOf(steps) {
  const each = (/** @type {(step: import("../api.js").Step) => number | null} */ pick) => steps.map(pick);
  return {
    times: steps.map((step) => step.t / 1000),
    traffic: [
      { name: "all", token: "--c-rate", values: each((step) => step.count / step.step_s), filled: true },
      { name: "failed", token: "--bad", values: each((step) => step.errors / step.step_s), filled: true },
    ],
    latency: [
      { name: "p50", token: "--c-p50", values: each((step) => step.p50) },
      { name: "p90", token: "--c-p90", values: each((step) => step.p90) },
      { name: "p99", token: "--c-p99", values: each((step) => step.p99) },
    ],
    self: [{ name: "p99", token: "--c-self", values: each((step) => step.self_p99), filled: true }],
  };
}

/** @param {RouteStats} row */
function errorsCell(row) {
  const tone = row.errors >= 0.05 ? "bad" : row.errors >= 0.005 ? "warn" : "";
  return html`<span data-tone=${tone}>${share(row.errors)}</span>`;
}

/** @type {import("../parts/table.js").Column[]} */
const COLUMNS = [
  { name: "Route", value: (row) => row.route, show: routeCell, class: "grow" },
  { name: "Requests", number: true, value: (row) => row.rate, show: (row) => rate(row.rate) },
  { name: "Trend", title: "Requests a second over the window", value: (row) => row.rate, show: (row) => html`<${Spark} values=${row.spark} />`, class: "wide-only" },
  { name: "Failed", number: true, value: (row) => row.errors, show: errorsCell },
  { name: "p50", number: true, value: (row) => row.p50, show: (row) => ms(row.p50), class: "wide-only" },
  { name: "p90", number: true, value: (row) => row.p90, show: (row) => ms(row.p90), class: "wide-only" },
  { name: "p99", number: true, value: (row) => row.p99, show: (row) => ms(row.p99) },
  { name: "p99 trend", value: (row) => row.p99, show: (row) => html`<${Spark} values=${row.spark_p99} kind="time" />`, class: "wide-only" },
  { name: "Self p50", number: true, title: "What the gateway itself added", value: (row) => row.self_p50, show: (row) => ms(row.self_p50), class: "wide-only" },
  { name: "Self p99", number: true, value: (row) => row.self_p99, show: (row) => ms(row.self_p99), class: "wide-only" },
];

/** @param {RouteStats} row */
function routeCell(row) {
  if (row.route === FOLDED) return html`<span title="Routes beyond the limit, together">${row.route}</span>`;
  return html`<a
    data-row=${row.route}
    class="cut"
    title=${visible(row.route)}
    href=${hashOf("requests", { q: term("route", row.route) })}
  >${visible(row.route) || "(no route)"}</a>`;
}

/** @param {{ overview: OverviewBody }} props */
function Routes({ overview }) {
  const [all, setAll] = useState(false);
  const busiest = useMemo(() => [...overview.routes].sort((a, b) => b.count - a.count), [overview]);
  const shown = all ? busiest : busiest.slice(0, ROUTES_SHOWN);
  const rest = busiest.length - shown.length;
  return html`
    <${Panel} title="Routes" aside=${html`<span class="quiet">${plural(busiest.length, "route")} in ${span(overview.window_s)}</span>`}>
      ${busiest.length === 0
        ? html`<${Empty}>No request in the last ${span(overview.window_s)}. Send one through the gateway and it shows up here.<//>`
        : html`<${Table} caption="Routes" columns=${COLUMNS} rows=${shown} keyOf=${(/** @type {RouteStats} */ row) => row.route} sort=${["Requests", -1]} />`}
      ${rest > 0 ? html`<button type="button" class="more" onClick=${() => setAll(true)}>${plural(rest, "more route")}</button>` : null}
      ${overview.folded ? html`<p class="quiet panel-note">${plural(overview.folded, "route")} beyond the limit count together as _other.</p>` : null}
    <//>
  `;
}

/** @param {{ rows: RequestRow[], asked: import("../parts/polled.js").Polled }} props */
function Judged({ rows, asked }) {
  const aside = html`<a href=${hashOf("requests", { q: "verdict:*" })}>All of them</a>`;
  return html`
    <${Panel} title="Slow or failed just now" aside=${aside}>
      ${rows.length === 0
        ? html`<${NoneJudged} asked=${asked} />`
        : html`<ol class="judged">${rows.map((row) => html`<${JudgedRow} key=${row.id} row=${row} />`)}</ol>`}
    <//>
  `;
}

/** @param {{ asked: import("../parts/polled.js").Polled }} props */
function NoneJudged({ asked }) {
  if (asked.error) return html`<${Failure} error=${asked.error} retry=${asked.reload} />`;
  return asked.data ? html`<${Empty}>No request lately was slow or failed.<//>` : html`<${Waiting} />`;
}

/** @param {{ row: RequestRow }} props */
function JudgedRow({ row }) {
  return html`
    <li>
      <span class="num quiet">${clock(row.began_ms)}</span>
      <span class="num judged-ms">${ms(row.duration_ms)}</span>
      <a
        data-row=${row.id}
        href=${hashOf("request", {}, row.id)}
        class="cut"
        title=${visible(row.verdict?.text)}
      >${visible(row.verdict?.text || words(row.verdict?.code ?? ""))}</a>
      <${Cut} class="quiet judged-path" text=${`${row.method} ${row.path}`} />
      ${isClientError(row) ? html`<${ClientError} />` : null}
    </li>
  `;
}
