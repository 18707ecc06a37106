// The captured request headers, name by name. A value leads to the requests that have the same one.
// In: the headers of a row, secrets hidden and long values cut by the gateway. Not here: which headers are captured (the configuration says).
import { html } from "./html.js";
import { visible } from "./format.js";
import { Empty, Panel } from "./panel.js";
import { headerTerm } from "./query.js";
import { hashOf } from "../router.js";

/** What the gateway writes in place of a secret. */
const HIDDEN = "REDACTED";

/** @param {{ headers: Record<string, string> | undefined }} props */
export function Headers({ headers = {} }) {
  const names = Object.keys(headers).sort();
  const rows = names.map((name) => html`<tr key=${name}><th scope="row" class="wrap-any">${visible(name)}</th><td><${Value} name=${name} value=${headers[name]} /></td></tr>`);
  return html`
    <${Panel} title="Captured headers" aside=${names.length ? html`<span class="quiet">a value finds its like</span>` : null}>
      ${names.length === 0
        ? html`<${Empty}><p>No captured headers. <code>telemetry.capture_headers</code> names those to keep.</p><//>`
        : html`
            <table class="captured">
              <caption class="unseen">Captured request headers</caption>
              <thead><tr><th scope="col">Name</th><th scope="col">Value</th></tr></thead>
              <tbody>${rows}</tbody>
            </table>
          `}
    <//>
  `;
}

/** @param {{ name: string, value: string }} props */
function Value({ name, value }) {
  if (value === HIDDEN) return html`<span class="chip" title="A secret: the gateway keeps that it came, not what it was.">hidden</span>`;
  const shown = value === "" ? html`<span class="quiet">(empty)</span>` : visible(value);
  const wanted = headerTerm(name, value);
  if (wanted === null) return html`<span class="wrap-any">${shown}</span>`;
  return html`<a class="wrap-any" href=${hashOf("requests", { q: wanted })} title="Requests with ${visible(wanted)}">${shown}</a>`;
}
