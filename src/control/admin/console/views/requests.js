// The requests: the live tail of what matches a filter, how their times spread, and each one a step away.
// In: the filter from the address. Out: the same address with another filter. The list is held while it is read.
import { html, useCallback, useEffect, useMemo, useRef, useState } from "../parts/html.js";
import { announce } from "../parts/announce.js";
import { Filter } from "../parts/filter.js";
import { count, plural } from "../parts/format.js";
import { Histogram } from "../parts/histogram.js";
import { useKeys } from "../parts/keys.js";
import { Copy } from "../parts/copy.js";
import { Empty, Failure, Waiting, ended, sentence } from "../parts/panel.js";
import { Legend } from "../parts/phases.js";
import { usePolled } from "../parts/polled.js";
import { headersIn, replaceTerms, terms, toggleTerm } from "../parts/query.js";
import { Rows } from "../parts/rows.js";
import { ROWS_MAX, tailOf } from "../parts/tail.js";
import { getJson } from "../api.js";
import { openLive } from "../live.js";
import { go, hashOf, replace } from "../router.js";

const SKIPPED = "More match than can be listed as they happen. A narrower filter shows all.";
const NO_MATCH = "No remembered request matches. New ones that match show up here.";
const NO_REQUEST = "No request yet. Send one through the gateway and it shows up here.";
const PAGE_ROWS = 100;
const HISTOGRAM_EVERY_MS = 3_000;
const CONFIG_EVERY_MS = 10_000;
/** Offered below the field. @type {[string, string][]} */
const QUICK = [
  ["error:*", "With an error"],
  ["status:5xx", "5xx"],
  ["verdict:*", "With a verdict"],
  ["duration:>100ms", "> 100 ms"],
  ["attempts:>1", "Retried"],
  ["self:>1ms", "Gateway slow"],
];

/** @param {{ params: URLSearchParams }} props */
export function Requests({ params }) {
  const q = params.get("q") ?? "";
  const live = useTail(q);
  const { tail, problem } = live;
  const headers = useHeaders(q, tail.rows);
  const apply = (/** @type {string} */ next) => (next === q ? undefined : go(hashOf("requests", { q: next })));
  const list = useRef(/** @type {any} */ (null));
  useKeys({ j: () => list.current?.step(1), k: () => list.current?.step(-1), p: live.togglePause, Escape: () => list.current?.toTop() });
  useFocusFilter(params, q);
  return html`
    <h1 tabindex="-1" class="unseen">Requests</h1>
    <section class="panel query" aria-label="Filter and spread">
      <${Filter} value=${q} onApply=${apply} vocabulary=${useVocabulary(headers.known)} problem=${problem} />
      ${problem || live.loading ? null : html`<${NotCaptured} q=${q} headers=${headers} />`}
      <div class="quick" role="group" aria-label="Frequent filters">
        ${QUICK.map(([added, label]) => html`
          <button
            key=${added}
            type="button"
            class="pill"
            aria-pressed=${String(terms(q).includes(added))}
            title=${added}
            onClick=${() => apply(toggleTerm(q, added))}
          >${label}</button>
        `)}
      </div>
      ${problem ? null : html`<${Spread} key=${live.round} q=${q} paused=${live.paused} apply=${apply} />`}
    </section>
    <section class="panel tail" aria-label="Live tail">
      <${TailBar} live=${live} toTop=${() => list.current?.toTop()} />
      ${problem
        ? html`<${Empty}>The filter cannot be read, so nothing is shown. Mend it above.<//>`
        : html`<${List} live=${live} tail=${tail} list=${list} />`}
    </section>
  `;
}

/** `/` on another page leads here with the wish to type. @param {URLSearchParams} params @param {string} q */
function useFocusFilter(params, q) {
  const wanted = params.get("focus") === "filter";
  useEffect(() => {
    if (!wanted) return;
    document.getElementById("filter-field")?.focus();
    replace(hashOf("requests", { q }));
  }, [wanted]);
}

/** @typedef {{ captured: string[] | null, known: string[] }} HeaderNames `captured` by the configuration, null where it is not known; `known` also from rows */

/**
 * Names of request headers that a filter can find, in lower case. A row may have one that an older configuration captured.
 * @param {string} q
 * @param {import("../api.js").RequestRow[]} rows
 * @returns {HeaderNames}
 */
function useHeaders(q, rows) {
  // A reload may capture others: it counts while a filter names one.
  const config = usePolled("config", {}, headersIn(q).length > 0 ? CONFIG_EVERY_MS : 0).data;
  return useMemo(() => {
    const captured = config ? (config.config?.telemetry?.capture_headers ?? []).map((/** @type {string} */ name) => name.toLowerCase()) : null;
    const seen = rows.flatMap((row) => Object.keys(row.headers ?? {}));
    return { captured, known: [...new Set([...(captured ?? []), ...seen])].sort() };
  }, [config, rows]);
}

/** Why a filter by a header finds nothing. @param {{ q: string, headers: HeaderNames }} props */
function NotCaptured({ q, headers: { captured, known } }) {
  const unknown = captured ? headersIn(q).filter((name) => !known.includes(name)) : [];
  const others = captured?.length ? `captured: ${captured.join(", ")}` : "telemetry.capture_headers names none";
  const text = unknown.map((name) => `The header ${name} is not captured`).join(". ") + (unknown.length ? `; ${others}.` : "");
  useEffect(() => {
    if (text) announce(text);
  }, [text]);
  return text ? html`<p class="warn-text">${text}</p>` : null;
}

/** Names to complete with. @param {string[]} header @returns {Record<string, string[]>} */
function useVocabulary(header) {
  const routes = usePolled("routes");
  const upstreams = usePolled("upstreams");
  return useMemo(() => {
    const all = upstreams.data?.upstreams ?? [];
    return {
      route: (routes.data?.routes ?? []).map((/** @type {any} */ route) => route.name),
      upstream: all.map((/** @type {any} */ upstream) => upstream.name),
      endpoint: [...new Set(all.flatMap((/** @type {any} */ upstream) => upstream.endpoints.map((/** @type {any} */ each) => each.address)))],
      header,
    };
  }, [routes.data, upstreams.data, header]);
}

/**
 * The tail of a filter, filled from memory and then by the stream.
 * @param {string} q
 */
function useTail(q) {
  const tail = tailOf(q);
  const [, draw] = useState(0);
  const [problem, setProblem] = useState(/** @type {any} */ (null));
  const [failure, setFailure] = useState(/** @type {any} */ (null));
  const [loading, setLoading] = useState(tail.rows.length === 0);
  const [paused, setPaused] = useState(false);
  const reasons = useRef(/** @type {Set<string>} */ (new Set()));
  const [round, setRound] = useState(0);
  const redraw = () => draw((/** @type {number} */ n) => n + 1);

  useEffect(() => {
    let close = () => {};
    const ending = new AbortController();
    setLoading(tail.rows.length === 0);
    const fill = async () => {
      await fillTail(tail, q, ending.signal, redraw);
      setProblem(null);
      setFailure(null);
    };
    const watch = () => (close = openLive(q, handlers(tail, redraw, fill)));
    fill()
      .then(watch)
      .catch((error) => {
        if (ending.signal.aborted) return;
        const isBad = error.code === "bad_query";
        setProblem(isBad ? error : null);
        setFailure(isBad ? null : error);
        // Asked again, the browser would ask its reader for a password again.
        if (!isBad && error.status !== 401) watch();
      })
      .finally(() => ending.signal.aborted || setLoading(false));
    return () => {
      ending.abort();
      close();
    };
  }, [q, round]);

  const hold = useCallback((/** @type {string} */ why, /** @type {boolean} */ on) => {
    const was = reasons.current.size;
    if (on) reasons.current.add(why);
    else reasons.current.delete(why);
    if ((was === 0) === (reasons.current.size === 0)) return;
    if (reasons.current.size > 0) tail.hold();
    else tail.release();
    redraw();
  }, [tail]);
  const togglePause = () => {
    hold("button", !paused);
    setPaused(!paused);
    announce(paused ? "The tail goes on" : "The tail is paused");
  };
  const resume = () => {
    reasons.current.clear();
    setPaused(false);
    tail.release();
    redraw();
  };
  return { tail, problem, failure, loading, paused, why: [...reasons.current], hold, togglePause, resume, redraw, retry: () => setRound(round + 1), round, q };
}

/**
 * @param {import("../parts/tail.js").Tail} tail
 * @param {() => void} redraw
 * @param {() => Promise<void>} fill
 * @returns {import("../live.js").LiveHandlers}
 */
function handlers(tail, redraw, fill) {
  return {
    requests: (rows, skipped) => {
      tail.add(rows);
      tail.skipped += skipped;
      redraw();
    },
    lost: (events) => {
      tail.lost += events;
      redraw();
    },
    opened: () => {
      // What ended between the list and the stream, or while the connection was away, stands in neither.
      fill().catch(() => {});
    },
  };
}

/** @param {import("../parts/tail.js").Tail} tail @param {string} q @param {AbortSignal} signal @param {() => void} redraw */
async function fillTail(tail, q, signal, redraw) {
  const page = await getJson("requests", { q, limit: PAGE_ROWS }, signal);
  const wasEmpty = tail.rows.length === 0;
  if (wasEmpty) tail.addOlder(page);
  else tail.add(page.requests ?? []);
  tail.mayPage = "next" in page;
  redraw();
}

/** @param {{ live: any, toTop: () => void }} props */
function TailBar({ live, toTop }) {
  const { tail, why, paused } = live;
  const reason = paused ? "Paused" : why.includes("scroll") ? "Held while you read" : why.includes("focus") ? "Held while a row has the focus" : "Held under the pointer";
  const fresh = tail.waiting ? html`<span>, <b>${count(tail.waiting)}</b> new</span>` : "";
  const onward = () => {
    live.resume();
    toTop();
  };
  return html`
    <div class="tail-bar">
      <button type="button" class="small" aria-pressed=${String(paused)} onClick=${live.togglePause} title="p">${paused ? "Resume" : "Pause"}</button>
      <span class="tail-state quiet">${tail.isHeld ? html`${reason}${fresh}` : `Newest first${tail.isFull ? `, the last ${ROWS_MAX}` : ""}`}</span>
      ${tail.isHeld && tail.waiting > 0 ? html`<button type="button" class="pill primary" onClick=${onward}>Show ${count(tail.waiting)} new</button>` : null}
      <span class="spacer"></span>
      ${tail.skipped ? html`<span class="quiet" title=${SKIPPED}>${count(tail.skipped)} not listed</span>` : null}
      ${tail.lost ? html`<span class="warn-text" title="This page was too slow to take them.">${plural(tail.lost, "event")} lost</span>` : null}
      <${Legend} />
      <button type="button" class="small" onClick=${() => (tail.clear(), live.redraw())}>Empty the list</button>
      <${Copy} text=${location.href} label="Copy link" />
    </div>
  `;
}

/** @param {{ live: any, tail: import("../parts/tail.js").Tail, list: { current: any } }} props */
function List({ live, tail, list }) {
  if (tail.rows.length === 0 && live.failure) return html`<${Failure} error=${live.failure} retry=${live.retry} />`;
  if (tail.rows.length === 0 && live.loading) return html`<${Waiting} />`;
  if (tail.rows.length === 0) {
    return html`<${Empty}>${live.q ? NO_MATCH : NO_REQUEST}<//>`;
  }
  return html`
    <${Rows}
      key=${live.q}
      ref=${(/** @type {any} */ rows) => (list.current = rows)}
      rows=${tail.rows}
      opened=${tail.opened}
      onOpen=${(/** @type {any} */ row) => (tail.opened = row.id)}
      onHold=${live.hold}
      foot=${html`<${Foot} tail=${tail} live=${live} />`}
    />
  `;
}

/** Older rows, as long as there are any and room for them. @param {{ tail: import("../parts/tail.js").Tail, live: any }} props */
function Foot({ tail, live }) {
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState("");
  if (!tail.mayPage || tail.next === null) return null;
  if (tail.isFull) return html`<p class="list-foot quiet">${ROWS_MAX} rows are listed. A narrower filter reaches further back.</p>`;
  const older = async () => {
    setBusy(true);
    setProblem("");
    live.hold("button", true);
    try {
      tail.addOlder(await getJson("requests", { q: live.q, limit: PAGE_ROWS, before: tail.next }));
    } catch (error) {
      setProblem(sentence(`Older requests could not be had: ${error instanceof Error ? error.message : error}`));
    }
    setBusy(false);
    live.redraw();
  };
  return html`<p class="list-foot"><button type="button" disabled=${busy} onClick=${older}>${busy ? "Asking…" : "Older requests"}</button><span class="bad-text" role="status">${problem}</span></p>`;
}

/** @param {{ q: string, paused: boolean, apply: (q: string) => void }} props */
function Spread({ q, paused, apply }) {
  const asked = usePolled("requests/histogram", { q }, paused ? 0 : HISTOGRAM_EVERY_MS);
  const isThere = asked.data !== null;
  useEffect(() => {
    if (isThere) announce(`${count(asked.data.matched)} of ${count(asked.data.seen)} requests match`);
  }, [q, isThere]);
  if (asked.data === null) {
    const isTold = asked.error && asked.error.code !== "bad_query" && asked.error.status !== 401;
    return html`<div class="histogram-space quiet">${isTold ? `No histogram: ${ended(asked.error.message)}` : ""}</div>`;
  }
  return html`<${Histogram} body=${asked.data} onPick=${(/** @type {string[]} */ picked) => apply(replaceTerms(q, "duration", picked))} />`;
}
