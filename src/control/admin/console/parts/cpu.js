// The CPU samples of one request inside its page: how many fell into it, what they stand for, and their flame graph.
// In: the row, and where the gateway keeps the profile of its time. It is asked for when it has been in sight for a moment, not before.
// Not here: choosing another time or other requests; the flame graph's own page does that.
import { html, useEffect, useRef, useState } from "./html.js";
import { announce } from "./announce.js";
import { Frame, TAKING, headline, pprofUrl } from "./flame.js";
import { count, ms, plural, visible } from "./format.js";
import { Figure, Panel, sentence } from "./panel.js";
import { hashOf } from "../router.js";

/** Who steps through requests with a key does not want each one's profile. */
const DWELL_MS = 350;
const TALLEST_PX = 560;
/** So much more on both sides, where the samples of the request itself are too few. */
const AROUND_MS = 10_000;

/** @typedef {import("../api.js").RequestRow} RequestRow */
/** @typedef {import("./flame.js").Outcome} Outcome */

/** @param {{ row: RequestRow, flame: string | null }} props `flame` is null where nothing was sampled all the time */
export function CpuSamples({ row, flame }) {
  const window = flame ? new URLSearchParams(flame.slice(flame.indexOf("?") + 1)) : null;
  const own = { from: window?.get("from") ?? "", until: window?.get("until") ?? "", trace_id: row.trace_id, span_id: row.span_id };
  const aside = window ? html`<a href=${hashOf("flamegraph", own)}>On its own page</a>` : null;
  return html`
    <${Panel} title="CPU samples" aside=${aside} class="cpu">
      ${window ? html`<${WhenSeen}><${Samples} row=${row} choice=${own} /><//>` : html`<${Off} />`}
    <//>
  `;
}

function Off() {
  return html`
    <p class="state quiet">
      Continuous profiles are off, so nobody knows what the CPU did for a request that is over.
      With <code>telemetry.profiles.continuous: true</code> every thread is sampled, and the last 15 minutes are remembered.
    </p>
  `;
}

/** Its children are there once it has been in sight for a moment. @param {{ children?: any }} props */
function WhenSeen({ children }) {
  const box = useRef(/** @type {HTMLElement | null} */ (null));
  const [seen, setSeen] = useState(false);
  useEffect(() => {
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    let timer;
    const watch = new IntersectionObserver(([entry]) => {
      clearTimeout(timer);
      if (entry.isIntersecting) timer = setTimeout(() => setSeen(true), DWELL_MS);
    });
    if (box.current && !seen) watch.observe(box.current);
    return () => {
      clearTimeout(timer);
      watch.disconnect();
    };
  }, [seen]);
  return html`<div ref=${box}>${seen ? children : html`<p class="state quiet">Asked for when this comes into view.</p>`}</div>`;
}

/** @param {{ row: RequestRow, choice: import("./flame.js").Choice }} props */
function Samples({ row, choice }) {
  const [outcome, setOutcome] = useState(/** @type {Outcome} */ (TAKING));
  const [round, setRound] = useState(0);
  const tell = (/** @type {Outcome} */ found) => {
    setOutcome(found);
    announce(found.state === "drawn" ? `${plural(found.samples?.count ?? 0, "CPU sample")} of this request` : headline(found));
  };
  const again = () => {
    setOutcome(TAKING);
    setRound(round + 1);
  };
  const url = pprofUrl("flamegraph", choice);
  return html`
    ${outcome.state === "taking" ? html`<p class="state quiet"><span class="dots" aria-hidden="true"></span>Drawing what was sampled then…</p>` : null}
    ${outcome.state === "drawn" ? html`<${Found} row=${row} outcome=${outcome} />` : null}
    ${outcome.state === "empty" ? html`<${None} row=${row} outcome=${outcome} />` : null}
    ${outcome.state === "refused" ? html`<${Refused} outcome=${outcome} again=${again} />` : null}
    <${Frame} key=${round} url=${url} outcome=${outcome} tell=${tell} tallest=${TALLEST_PX} />
  `;
}

/** @param {{ row: RequestRow, outcome: Outcome }} props */
function Found({ row, outcome }) {
  const { samples } = outcome;
  if (!samples) return html`<p class="panel-note quiet">${sentence(visible(outcome.why))}</p>`;
  const each = 1000 / samples.hz;
  return html`
    <dl class="figures inner" aria-label="CPU samples of this request">
      <${Figure} name="Samples" value=${count(samples.count)} note=${samples.lost ? `${count(samples.lost)} lost in that time` : `at ${samples.hz} Hz`} />
      <${Figure} name="CPU time" value="≈ ${ms(samples.count * each)}" note="${ms(each)} a sample" />
      <${Figure} name="Self time" value=${ms(row.self_ms)} note="the whole less every wait" />
    </dl>
    <p class="panel-note quiet">
      At ${samples.hz} Hz one sample stands for ${ms(each)} of CPU time: a self time of ${ms(row.self_ms)} lets one expect ${expected(row, samples.hz)}.${" "}
      <${Around} row=${row} />
    </p>
  `;
}

/** @param {{ row: RequestRow, outcome: Outcome }} props */
function None({ row, outcome }) {
  const { samples } = outcome;
  const why = samples ? `: its self time is ${ms(row.self_ms)}, and one sample stands for ${ms(1000 / samples.hz)} of CPU time` : "";
  return html`
    <div class="state">
      <span>No sample fell into this request${why}.</span>
      <span class="quiet">
        ${samples ? `${rarity(row, samples.hz)} ` : ""}${samples?.lost ? `${plural(samples.lost, "sample")} of that time were lost. ` : ""}<${Around} row=${row} />
      </span>
    </div>
  `;
}

/** What a self time lets one expect. @param {RequestRow} row @param {number} hz */
function expected(row, hz) {
  const amount = (row.self_ms / 1000) * hz;
  return amount < 0.1 ? "fewer than 0.1" : `about ${amount < 10 ? amount.toFixed(1) : count(amount)}`;
}

/** @param {RequestRow} row @param {number} hz */
function rarity(row, hz) {
  const amount = (row.self_ms / 1000) * hz;
  if (amount >= 1) return `About ${amount < 10 ? amount.toFixed(1) : count(amount)} were to be expected, had the CPU worked all that time.`;
  if (amount <= 0) return "";
  return `At ${hz} Hz about one in ${count(Math.max(2, Math.round(1 / amount)))} such requests gets one.`;
}

/** @param {{ row: RequestRow }} props */
function Around({ row }) {
  const choice = {
    from: Math.max(1, Math.floor(row.began_ms - AROUND_MS)),
    until: Math.ceil(row.began_ms + row.duration_ms + AROUND_MS),
    route: row.route,
  };
  return html`<a href=${hashOf("flamegraph", choice)}>All samples${row.route ? " of its route" : ""} around that time</a>`;
}

/** @param {{ outcome: Outcome, again: () => void }} props */
function Refused({ outcome, again }) {
  return html`
    <div class="state failure" role="status">
      <strong>${headline(outcome)}</strong>
      <span>${sentence(visible(outcome.why))}</span>
      ${outcome.status === 404 ? html`<span class="quiet">Where <code>admin.debug</code> is on, the gateway serves profiles below /debug/pprof/.</span>` : null}
      <button type="button" onClick=${again}>Try again</button>
    </div>
  `;
}
