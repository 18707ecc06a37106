// Whether what is seen can be trusted: what became of every span, metric point, log line and sample, as sums that add up.
// In: /api/v1/telemetry every two seconds. Out: the account of each signal, its exporter, the series and who uses them.
import { html, useEffect } from "../parts/html.js";
import { announce } from "../parts/announce.js";
import { bytes, clock, count, isNumber, plural, share, stamp, visible, words } from "../parts/format.js";
import { Cut, Empty, Figure, Panel } from "../parts/panel.js";
import { usePolled } from "../parts/polled.js";
import { Table } from "../parts/table.js";

const EVERY_MS = 2_000;
/** @type {Record<string, string>} */
const UNITS = { traces: "spans", metrics: "data points", logs: "lines", profiles: "samples" };

/** @typedef {{ produced: number, exported: number, rejected: number, dropped: Record<string, number>, queued: number }} Balance */

export function Telemetry() {
  const asked = usePolled("telemetry", {}, EVERY_MS);
  const body = asked.data;
  return html`
    <h1 tabindex="-1" class="unseen">Telemetry</h1>
    <${Panel} title="Every item accounted for" asked=${asked} isEmpty=${(/** @type {any} */ data) => !data.signals} empty="This gateway gives no account.">
      ${(/** @type {any} */ data) => html`<${Accounts} signals=${data.signals} exporters=${data.exporters ?? []} />`}
    <//>
    ${body
      ? html`
          <${Exporters} exporters=${body.exporters} />
          <${Series} series=${body.series} live=${body.live} />
        `
      : null}
  `;
}

/** @param {Balance} balance */
export function droppedSum(balance) {
  return Object.values(balance.dropped ?? {}).reduce((sum, each) => sum + each, 0);
}

/** What is missing from the sum: 0 where it adds up. @param {Balance} balance */
export function discrepancy(balance) {
  return balance.produced - balance.exported - balance.rejected - droppedSum(balance) - balance.queued;
}

/** @param {{ signals: Record<string, Balance>, exporters: any[] }} props */
function Accounts({ signals, exporters }) {
  const wrong = Object.values(signals).filter((balance) => discrepancy(balance) !== 0).length;
  useEffect(() => {
    if (wrong) announce(`${plural(wrong, "account")} of telemetry does not add up`);
  }, [wrong]);
  return html`<div class="accounts">${Object.entries(signals).map(([name, balance]) => html`<${Account}
    key=${name}
    name=${name}
    balance=${balance}
    exporter=${exporters.find((each) => each.signal === name)}
  />`)}</div>`;
}

/** @param {{ name: string, balance: Balance, exporter: any }} props */
function Account({ name, balance, exporter }) {
  const missing = discrepancy(balance);
  const dropped = droppedSum(balance);
  /** @type {[string, number, string, string][]} */
  const parts = [
    ["=", balance.exported, "exported", "ok"],
    ["+", balance.rejected, "rejected", "bad"],
    ["+", dropped, "dropped", "warn"],
    ["+", balance.queued, "queued", "accent"],
  ];
  const heading = html`<h3>${name}<span class="quiet">${UNITS[name] ?? "items"}</span>${exporter ? html`<${State} state=${exporter.state} />` : null}</h3>`;
  if (balance.produced === 0 && missing === 0) {
    return html`<article class="account idle" aria-label="Account of ${name}">${heading}<p class="quiet">None produced, so none can be missing.</p></article>`;
  }
  return html`
    <article class="account" aria-label="Account of ${name}">
      ${heading}
      <p class="equation">
        <span class="part"><b class="num">${count(balance.produced)}</b><small>produced</small></span>
        ${parts.map(([sign, value, label, tone]) => html`
          <span key=${label} class="term">
            <span class="sign">${sign}</span>
            <span class="part" data-tone=${value > 0 ? tone : ""}><b class="num">${count(value)}</b><small>${label}</small></span>
          </span>
        `)}
        <span class="sum" data-tone=${missing === 0 ? "ok" : "bad"}>${missing === 0 ? "✓ adds up" : `off by ${count(missing)}`}</span>
      </p>
      <${Shares} balance=${balance} parts=${parts} />
      ${dropped > 0 ? html`<${Reasons} dropped=${balance.dropped} />` : null}
    </article>
  `;
}

/** @param {{ dropped: Record<string, number> }} props */
function Reasons({ dropped }) {
  const chips = Object.entries(dropped).map(
    ([reason, value]) => html`<span key=${reason} class="chip">${words(reason)} <b class="num">${count(value)}</b></span>`,
  );
  return html`<p class="reasons">Dropped: ${chips}</p>`;
}

/** @param {{ balance: Balance, parts: [string, number, string, string][] }} props */
function Shares({ balance, parts }) {
  if (balance.produced === 0) return null;
  const said = parts.map(([, value, label]) => `${label} ${share(value / balance.produced)}`).join(", ");
  return html`
    <div class="shares" role="img" aria-label=${said} title=${said}>
      ${parts.filter(([, value]) => value > 0).map(([, value, label, tone]) => html`<i
        key=${label}
        data-tone=${tone}
        style=${{ flexGrow: value / balance.produced }}
      ></i>`)}
    </div>
  `;
}

/** @param {{ state: string }} props */
function State({ state }) {
  const tone = /** @type {Record<string, string>} */ ({ ok: "ok", failing: "bad" })[state] ?? "";
  return html`<span class="chip" data-tone=${tone}>${visible(state)}</span>`;
}

/** @type {import("../parts/table.js").Column[]} */
const EXPORTER_COLUMNS = [
  { name: "Signal", value: (row) => row.signal, show: (row) => visible(row.signal) },
  { name: "Sink", value: (row) => row.sink ?? "", show: (row) => (row.sink ? visible([row.sink, row.protocol].filter(Boolean).join(", ")) : html`<span class="quiet">none</span>`) },
  { name: "To", value: (row) => row.endpoint ?? "", show: (row) => (row.endpoint ? html`<span class="wrap-any">${visible(row.endpoint)}</span>` : html`<span class="quiet">nowhere</span>`), class: "wrap to" },
  { name: "State", value: (row) => row.state, show: stateCell },
  { name: "Last success", value: (row) => row.last_success_at ?? null, show: (row) => when(row.last_success_at) },
  { name: "Queued", number: true, value: (row) => row.queued, show: queuedCell },
  { name: "Last error", value: (row) => row.last_error ?? "", show: (row) => html`<span class="wrap-any">${visible(row.last_error ?? "none")}</span>`, class: "grow wrap error" },
];

/** @param {any} row */
function stateCell(row) {
  const failures = row.failures ? html`<small class="under">${plural(row.failures, "failure")}${isNumber(row.failing_since) ? html`<br />since ${when(row.failing_since)}` : null}</small>` : null;
  return html`<${State} state=${row.state} />${failures}`;
}

/** How full the queue is, where it has an end. @param {any} row */
function queuedCell(row) {
  const room = isNumber(row.queue_max_bytes) ? html`<small class="under">${bytes(row.queued_bytes)} of ${bytes(row.queue_max_bytes)}</small>` : null;
  return html`${count(row.queued)}${room}`;
}

/** The time of day, and the date where one points at it. @param {number | null | undefined} unixMs */
function when(unixMs) {
  if (!isNumber(unixMs)) return html`<span class="quiet">never</span>`;
  const date = new Date(unixMs).toISOString();
  return html`<time class="num" datetime=${date} title=${stamp(date)}>${clock(unixMs)}</time>`;
}

/** @param {{ exporters: any[] | undefined }} props */
function Exporters({ exporters }) {
  if (!exporters) return html`<${Panel} title="Exporters"><${Empty}>This gateway does not tell the state of its exporters.<//><//>`;
  if (exporters.length === 0) return html`<${Panel} title="Exporters"><${Empty}>Nothing is exported: set telemetry.otlp or telemetry.access_log.<//><//>`;
  return html`<${Panel} title="Exporters"><${Table}
    caption="Exporters"
    columns=${EXPORTER_COLUMNS}
    rows=${exporters}
    keyOf=${(/** @type {any} */ row) => `${row.signal} ${row.sink}`}
  /><//>`;
}

/** @param {{ series: any, live: any }} props */
function Series({ series, live }) {
  if (!series) return html`<${Panel} title="Metric series"><${Empty}>This gateway does not tell how many series it holds.<//><//>`;
  const used = series.max ? series.used / series.max : 0;
  /** @type {import("../parts/table.js").Column[]} */
  const columns = [
    { name: "Route", value: (row) => row.route, show: (row) => html`<${Cut} text=${row.route || "(no route)"} />`, class: "grow" },
    { name: "Series", number: true, value: (row) => row.series, show: (row) => count(row.series) },
    { name: "Share", number: true, value: (row) => row.series, show: (row) => share(series.used ? row.series / series.used : null) },
  ];
  return html`
    <${Panel} title="Metric series">
      <div class="panel-body">
        <dl class="figures inner">
          <${Figure} name="Used" value=${count(series.used)} note="of ${count(series.max)}" tone=${used > 0.95 ? "bad" : used > 0.8 ? "warn" : undefined} />
          <${Figure} name="Folded" value=${count(series.folded)} note="observations in _other" tone=${series.folded > 0 ? "warn" : undefined} />
          ${live ? html`<${Figure}
            name="Watching live"
            value=${count(live.subscribers)}
            note=${live.lost ? `${count(live.lost)} events lost` : "nothing lost"}
            tone=${live.lost ? "warn" : undefined}
          />` : null}
        </dl>
        <label class="meter"><span class="unseen">Share of the series budget in use</span><meter min="0" max="1" high="0.8" optimum="0" value=${used}>${share(used)}</meter></label>
      </div>
      ${series.worst?.length ? html`<${Table}
        caption="Routes with the most series"
        columns=${columns}
        rows=${series.worst}
        keyOf=${(/** @type {any} */ row) => row.route}
        sort=${["Series", -1]}
      />` : html`<${Empty}>No route stands out.<//>`}
    <//>
  `;
}
