// The configuration in force: since when, from where, what the last reloads changed; which route a request would take, and why.
// In: /api/v1/config and /api/v1/explain. It only reads: nothing here changes the gateway.
import { html, useEffect, useRef, useState } from "../parts/html.js";
import { Copy } from "../parts/copy.js";
import { count, ms, plural, span, stamp, visible, visibleLines } from "../parts/format.js";
import { Json, pretty } from "../parts/json.js";
import { Empty, Failure, Figure, Panel, Waiting } from "../parts/panel.js";
import { usePolled } from "../parts/polled.js";
import { term } from "../parts/query.js";
import { apiUrl } from "../api.js";
import { hashOf, replace } from "../router.js";

const EVERY_MS = 10_000;
const METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"];
/** @type {[string, string][]} */
const SECTIONS = [["listeners", "listener"], ["routes", "route"], ["upstreams", "upstream"]];

/** @param {{ params: URLSearchParams }} props */
export function Config({ params }) {
  const asked = usePolled("config", {}, EVERY_MS);
  return html`
    <h1 tabindex="-1" class="unseen">Config</h1>
    ${asked.data ? html`<${Figures} config=${asked.data} />` : null}
    <div class="halves">
      <${Explain} params=${params} />
      <${Panel}
        title="Last reloads"
        asked=${asked}
        isEmpty=${(/** @type {any} */ body) => !body.reloads?.length}
        empty="None since the start. A changed file, SIGHUP or POST /api/v1/reload brings one."
      >
        ${(/** @type {any} */ body) => html`<${Reloads} reloads=${body.reloads} />`}
      <//>
    </div>
    <${Panel}
      title="In force"
      asked=${asked}
      aside=${asked.data ? html`<${Tools} config=${asked.data.config} />` : null}
    >
      ${(/** @type {any} */ body) => html`<${Sections} config=${body.config} />`}
    <//>
  `;
}

/** @param {{ config: unknown }} props */
function Tools({ config }) {
  return html`
    <span class="quiet">secrets hidden</span>
    <${Copy} text=${pretty(config)} name="Copy the configuration" />
    <a href=${apiUrl("config")} target="_blank" rel="noopener">Raw ↗</a>
  `;
}

/** @param {{ config: any }} props */
function Figures({ config }) {
  const last = config.reloads?.[0];
  const refused = last?.result === "refused";
  const parts = SECTIONS.map(([name, one]) => plural(config.config?.[name]?.length ?? 0, one));
  return html`
    <dl class="figures" aria-label="Configuration">
      <${Figure} name="Generation" value=${count(config.generation)} note=${parts.join(", ")} />
      <${Figure} name="In force for" value=${span(config.age_seconds)} note="since ${stamp(config.loaded)}" />
      <${Figure} name="Source" value=${visible(config.source)} small title=${visible(config.source)} />
      <${Figure}
        name="Last reload"
        value=${last ? last.result : "none"}
        tone=${refused ? "bad" : undefined}
        note=${refused ? "the former one still serves" : last ? stamp(last.at) : "since the start"}
      />
    </dl>
  `;
}

/** @param {{ reloads: any[] }} props */
function Reloads({ reloads }) {
  return html`<ol class="reloads">${reloads.map((reload, index) => html`<${Reload} key=${reload.at + index} reload=${reload} />`)}</ol>`;
}

/** @param {{ reload: any }} props */
function Reload({ reload }) {
  const errors = /** @type {string[]} */ (reload.errors ?? []);
  const tone = { applied: "ok", refused: "bad" }[/** @type {string} */ (reload.result)] ?? "";
  return html`
    <li>
      <div class="reload-head">
        <b data-tone=${tone}>${visible(reload.result)}</b>
        <span class="num quiet" title=${reload.at}>${stamp(reload.at)}</span>
        <span class="quiet">by ${visible(reload.trigger)}, ${ms(reload.duration_ms)}, generation ${count(reload.generation)}</span>
      </div>
      <${Diff} diff=${reload.diff ?? {}} />
      ${errors.length ? html`<ul class="errors">${errors.map((error, index) => html`<li key=${index}>${visible(error)}</li>`)}</ul>` : null}
    </li>
  `;
}

/** @param {{ diff: any }} props */
function Diff({ diff }) {
  const lines = SECTIONS.flatMap(([name, one]) => [
    ...(diff[name]?.added ?? []).map((/** @type {string} */ each) => ["+", one, each]),
    ...(diff[name]?.removed ?? []).map((/** @type {string} */ each) => ["−", one, each]),
    ...(diff[name]?.changed ?? []).map((/** @type {string} */ each) => ["~", one, each]),
  ]);
  for (const each of diff.other ?? []) lines.push(["~", "section", each]);
  const details = /** @type {string[]} */ (diff.details ?? []);
  if (lines.length === 0) return null;
  const names = /** @type {Record<string, string>} */ ({ "+": "added", "−": "removed", "~": "changed" });
  return html`
    <ul class="diff">
      ${lines.map(
        ([sign, one, each]) => html`
          <li key=${sign + one + each} data-sign=${sign}>
            <b aria-hidden="true">${sign}</b><span class="unseen">${names[sign]}</span> <span class="quiet">${one}</span> ${visible(each)}
          </li>
        `,
      )}
      ${details.map((each) => html`<li key=${each} class="quiet">${visible(each.replace(/^~ /, ""))}</li>`)}
    </ul>
  `;
}

/** @param {{ params: URLSearchParams }} props */
function Explain({ params }) {
  const url = params.get("url") ?? "";
  const method = params.get("method") || "GET";
  const headers = params.getAll("header").flatMap((each) => each.split("\n"));
  const [round, setRound] = useState(0);
  const fields = useRef(/** @type {HTMLFormElement | null} */ (null));
  // The fields belong to the reader until the address says otherwise.
  useEffect(() => fields.current?.reset(), [params.toString()]);
  const submit = (/** @type {SubmitEvent} */ event) => {
    event.preventDefault();
    const form = new FormData(/** @type {HTMLFormElement} */ (event.target));
    const text = (/** @type {string} */ name) => String(form.get(name) ?? "").trim();
    replace(hashOf("config", { method: text("method").toUpperCase(), url: text("url"), header: text("headers") }));
    setRound(round + 1);
  };
  return html`
    <${Panel} title="Which route would it take?">
      <form ref=${fields} class="fields explain" onSubmit=${submit}>
        <label class="field"><span>Method</span><input
          name="method"
          list="methods"
          defaultValue=${method}
          autocomplete="off"
          spellcheck="false"
          required
        /></label>
        <datalist id="methods">${METHODS.map((each) => html`<option key=${each} value=${each}></option>`)}</datalist>
        <label class="field wide"><span>URL</span><input
          name="url"
          defaultValue=${url}
          placeholder="http://api.example.com/api/users/42"
          autocomplete="off"
          spellcheck="false"
          required
        /></label>
        <label class="field full"><span>Headers, one a line</span><textarea
          name="headers"
          rows="2"
          placeholder="x-canary: 1"
          spellcheck="false"
          defaultValue=${headers.join("\n")}
        ></textarea></label>
        <button type="submit" class="primary">Explain</button>
      </form>
      ${url ? html`<${Answer}
        key=${round}
        method=${method}
        url=${url}
        headers=${headers}
      />` : html`<${Empty}>Type a request: the answer comes from the very table that serves. Nothing is sent.<//>`}
    <//>
  `;
}

/** @param {{ method: string, url: string, headers: string[] }} props */
function Answer({ method, url, headers }) {
  const asked = usePolled("explain", { method, url, header: headers.map((each) => each.trim()).filter(Boolean) });
  if (asked.error) return html`<${Failure} error=${asked.error} retry=${asked.reload} title=${asked.error.status === 400 ? "This cannot be explained." : undefined} />`;
  if (!asked.data) return html`<${Waiting} />`;
  const { matched, route, text } = asked.data;
  return html`
    <div class="answer" role="status">
      <p class="verdict" data-tone=${matched ? "ok" : "warn"}>
        ${matched ? html`It takes the route <a href=${hashOf("requests", { q: term("route", route ?? "") })}>${visible(route)}</a>.` : "No route takes it."}
      </p>
      <pre tabindex="0" aria-label="Explanation">${visibleLines(text)}</pre>
    </div>
  `;
}

/** Each section folds; short ones are open. @param {{ config: Record<string, unknown> }} props */
function Sections({ config }) {
  return html`
    <div class="sections">
      ${Object.entries(config).map(
        ([name, value]) => html`
          <${Section} key=${name} name=${name} value=${value} />
        `,
      )}
    </div>
  `;
}

const OPEN_LINES_MAX = 60;

/** @param {{ name: string, value: unknown }} props */
function Section({ name, value }) {
  const lines = (pretty(value) ?? "").split("\n").length;
  const [open, setOpen] = useState(lines <= OPEN_LINES_MAX);
  const amount = Array.isArray(value) ? ` (${count(value.length)})` : "";
  return html`
    <details class="block" open=${open} onToggle=${(/** @type {any} */ event) => setOpen(event.target.open)}>
      <summary>${name}<span class="quiet">${amount}</span></summary>
      ${open ? html`<pre tabindex="0" aria-label=${name}><${Json} value=${value} /></pre>` : null}
    </details>
  `;
}
