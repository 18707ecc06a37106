// Where the CPU goes: the gateway's own flame graph in a frame, with the window, the filters and a comparison to choose.
// In: the choice, from the address. Out: a picture that can be searched and zoomed, or why there is none. It samples only when asked.
import { html, useEffect, useMemo, useRef, useState } from "../parts/html.js";
import { announce } from "../parts/announce.js";
import { Frame, TAKING, headline, pprofUrl } from "../parts/flame.js";
import { visible } from "../parts/format.js";
import { Empty, Panel, sentence } from "../parts/panel.js";
import { usePolled } from "../parts/polled.js";
import { go, hashOf } from "../router.js";

const SECONDS_DEFAULT = 5;
const FIELDS = ["seconds", "ago", "from", "until", "route", "upstream", "trace_id", "span_id", "diff", "by"];
const SPLITS = ["thread", "route", "upstream", "phase"];
const SLACK_S = 2;

/** @typedef {import("../parts/flame.js").Choice} Choice */
/** @typedef {import("../parts/flame.js").Outcome} Outcome */

/** @param {{ params: URLSearchParams }} props */
export function Flamegraph({ params }) {
  const key = params.toString();
  const chosen = useMemo(() => chosenOf(params), [key]);
  const [round, setRound] = useState(0);
  const asked = key !== "";
  const draw = (/** @type {Choice} */ choice) => {
    const hash = hashOf("flamegraph", choice);
    if (location.hash === hash) setRound(round + 1);
    else go(hash);
  };
  return html`
    <h1 tabindex="-1" class="unseen">Flame graph</h1>
    <${Controls} place=${key} chosen=${chosen} draw=${draw} />
    ${asked ? html`<${Picture} key=${`${key}#${round}`} chosen=${chosen} retry=${() => setRound(round + 1)} />` : html`<${Invitation} draw=${draw} />`}
  `;
}

/** @param {URLSearchParams} params @returns {Choice} */
function chosenOf(params) {
  return Object.fromEntries(FIELDS.map((name) => [name, params.get(name) ?? ""]));
}

/** @param {{ place: string, chosen: Choice, draw: (choice: Choice) => void }} props */
function Controls({ place, chosen, draw }) {
  const form = useRef(/** @type {HTMLFormElement | null} */ (null));
  // The fields belong to the reader until the address says otherwise.
  useEffect(() => form.current?.reset(), [place]);
  const routes = usePolled("routes");
  const names = (routes.data?.routes ?? []).map((/** @type {any} */ route) => String(route.name));
  const submit = (/** @type {SubmitEvent} */ event) => {
    event.preventDefault();
    draw(choiceOf(new FormData(/** @type {HTMLFormElement} */ (event.target)), chosen));
  };
  const [kind, rest] = splitDiff(chosen.diff);
  return html`
    <${Panel} title="What to draw" class="controls">
      <form ref=${form} class="fields" onSubmit=${submit}>
        <${Field} name="seconds" label="Seconds" type="number" min="1" max="600" defaultValue=${chosen.seconds || (chosen.from ? "" : SECONDS_DEFAULT)} />
        <${Field} name="ago" label="Began, seconds ago" type="number" min="0" max="900" defaultValue=${chosen.ago} placeholder="from now on" />
        <${Choose} name="route" label="Route" value=${chosen.route} options=${names} none="all" />
        <${Field}
          name="trace_id"
          label="Trace id"
          defaultValue=${chosen.trace_id}
          placeholder="any"
          pattern="[0-9a-fA-F]{32}"
          title="32 hexadecimal digits"
          wide
        />
        <${Choose} name="by" label="Split by" value=${chosen.by} options=${SPLITS} none="nothing" />
        <${Field} name="diff_ago" label="Diff: seconds ago" type="number" min="1" max="900" defaultValue=${kind === "ago" ? rest : ""} placeholder="no" />
        <${Choose} name="diff_route" label="Diff: with route" value=${kind === "route" ? rest : ""} options=${names} none="no" />
        <button type="submit" class="primary">Draw</button>
      </form>
      ${chosen.from ? html`<${WindowNote} chosen=${chosen} />` : null}
    <//>
  `;
}

/** @param {{ chosen: Choice }} props */
function WindowNote({ chosen }) {
  const said = `The window of one request: Unix milliseconds ${visible(chosen.from)} to ${visible(chosen.until)}.`;
  return html`<p class="panel-note quiet">${said} Seconds given above replace it.</p>`;
}

/** @param {FormData} form @param {Choice} old @returns {Choice} */
function choiceOf(form, old) {
  const text = (/** @type {string} */ name) => String(form.get(name) ?? "").trim();
  const diff = text("diff_ago") ? `ago:${text("diff_ago")}` : text("diff_route") ? `route:${text("diff_route")}` : "";
  const isNamed = text("seconds") || text("ago");
  const window = isNamed ? { seconds: text("seconds"), ago: text("ago"), from: "", until: "" } : { seconds: "", ago: "", from: old.from, until: old.until };
  return { ...window, route: text("route"), upstream: old.upstream, trace_id: text("trace_id"), span_id: text("trace_id") === old.trace_id ? old.span_id : "", diff, by: text("by") };
}

/** @param {string} diff */
function splitDiff(diff) {
  const colon = diff.indexOf(":");
  if (colon >= 0) return [diff.slice(0, colon), diff.slice(colon + 1)];
  return /^\d+$/.test(diff) ? ["ago", diff] : [diff ? "route" : "", diff];
}

/** @param {any} props */
function Field({ name, label, wide, ...rest }) {
  return html`<label class="field ${wide ? "wide" : ""}"><span>${label}</span><input name=${name} autocomplete="off" spellcheck="false" ...${rest} /></label>`;
}

/** @param {{ name: string, label: string, value: string, options: string[], none: string }} props */
function Choose({ name, label, value, options, none }) {
  const all = value && !options.includes(value) ? [value, ...options] : options;
  return html`
    <label class="field">
      <span>${label}</span>
      <select name=${name}>
        <option value="" defaultSelected=${value === ""}>${none}</option>
        ${all.map((each) => html`<option key=${each} value=${each} defaultSelected=${each === value}>${visible(each)}</option>`)}
      </select>
    </label>
  `;
}

/** @param {{ draw: (choice: Choice) => void }} props */
function Invitation({ draw }) {
  return html`
    <section class="panel">
      <${Empty}>
        <p>Every thread is sampled while the picture is taken, and each sample knows the request it worked for. Nothing is sampled until you ask.</p>
        <div class="choices">
          <button type="button" class="primary" onClick=${() => draw({ seconds: "5" })}>Sample the next 5 s</button>
          <button type="button" onClick=${() => draw({ seconds: "5", by: "route" })}>… split by route</button>
          <button type="button" onClick=${() => draw({ seconds: "60", ago: "0" })}>The last minute, from continuous profiles</button>
        </div>
      <//>
    </section>
  `;
}

/** @param {{ chosen: Choice, retry: () => void }} props */
function Picture({ chosen, retry }) {
  const [outcome, setOutcome] = useState(/** @type {Outcome} */ (TAKING));
  const url = pprofUrl("flamegraph", chosen);
  const isPast = chosen.ago !== "" || chosen.from !== "";
  const tell = (/** @type {Outcome} */ found) => {
    setOutcome(found);
    announce(found.state === "drawn" ? "The flame graph is drawn" : `No flame graph: ${found.why}`);
  };
  const aside = html`
    <a href=${url} target="_blank" rel="noopener">Alone in a tab ↗</a>
    <a href=${pprofUrl("profile", { ...chosen, diff: "", by: "" })} download="profile.pb.gz">As pprof</a>
  `;
  return html`
    <${Panel} title="Flame graph of CPU time" aside=${aside}>
      ${outcome.state === "taking" ? html`<${Progress} seconds=${isPast ? 0 : Number(chosen.seconds || SECONDS_DEFAULT)} />` : null}
      ${outcome.state === "refused" || outcome.state === "empty" ? html`<${Explanation} outcome=${outcome} retry=${retry} chosen=${chosen} />` : null}
      ${outcome.state === "drawn" ? html`<p class="panel-note quiet wrap-any">${sentence(visible(outcome.title))} ${sentence(visible(outcome.why))}</p>` : null}
      <${Frame} url=${url} outcome=${outcome} tell=${tell} />
    <//>
  `;
}

/** @param {{ seconds: number }} props */
function Progress({ seconds }) {
  const [began] = useState(Date.now());
  const [now, setNow] = useState(began);
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), 200);
    return () => clearInterval(timer);
  }, []);
  if (seconds === 0) return html`<p class="state quiet"><span class="dots" aria-hidden="true"></span>Drawing what was sampled then…</p>`;
  const gone = (now - began) / 1000;
  const text = gone < seconds ? `Sampling, ${Math.ceil(seconds - gone)} s to go` : gone < seconds + SLACK_S ? "Drawing…" : "Still drawing…";
  return html`<div class="state quiet"><label>${text} <progress max=${seconds} value=${Math.min(seconds, gone)}></progress></label></div>`;
}

/** @param {{ outcome: Outcome, chosen: Choice, retry: () => void }} props */
function Explanation({ outcome, chosen, retry }) {
  return html`
    <div class="state ${outcome.state === "refused" ? "failure" : "quiet"}" role="status">
      <strong>${headline(outcome)}</strong>
      <span>${sentence(visible(outcome.why))}</span>
      <span class="quiet">${advice(outcome, chosen)}</span>
      <button type="button" onClick=${retry}>Try again</button>
    </div>
  `;
}

/** @param {Outcome} outcome @param {Choice} chosen */
function advice({ state }, chosen) {
  if (state !== "empty") return "";
  const filtered = chosen.route || chosen.trace_id || chosen.upstream;
  if (filtered) return "Only CPU time spent on the requests you chose counts. A request that mostly waits leaves no samples: widen the window, or drop the filter.";
  return "The gateway used next to no CPU in that window. Send it some traffic, or widen the window.";
}
