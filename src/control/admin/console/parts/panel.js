// A box with a title, and what stands in it while there is nothing to show: waiting, empty, failed.
// Every panel of the console is one of these, so that none is ever blank without a word.
import { html } from "./html.js";
import { visible } from "./format.js";

/** @typedef {{ data: any, error: any, loading: boolean, reload?: () => void }} Asked */

/**
 * @param {{ title: string, asked?: Asked, aside?: any, children?: any, class?: string, level?: 2 | 3, isEmpty?: (data: any) => boolean, empty?: any }} props
 *   `children` is a function of the data where `asked` is given
 */
export function Panel({ title, asked, aside, children, class: extra = "", isEmpty, empty }) {
  const id = `panel-${title.toLowerCase().replace(/[^a-z0-9]+/g, "-")}`;
  return html`
    <section class="panel ${extra}" aria-labelledby=${id}>
      <div class="panel-head">
        <h2 id=${id}>${title}</h2>
        ${aside ? html`<div class="panel-aside">${aside}</div>` : null}
      </div>
      ${asked ? html`<${Body} asked=${asked} isEmpty=${isEmpty} empty=${empty} show=${children} />` : children}
    </section>
  `;
}

/** @param {{ asked: Asked, isEmpty?: (data: any) => boolean, empty?: any, show: (data: any) => any }} props */
function Body({ asked, isEmpty, empty, show }) {
  if (asked.data === null && asked.error) return html`<${Failure} error=${asked.error} retry=${asked.reload} />`;
  if (asked.data === null) return html`<${Waiting} />`;
  const stale = asked.error ? html`<p class="stale" role="status">Not fresh: ${ended(visible(asked.error.message))}</p>` : null;
  if (isEmpty?.(asked.data)) return html`${stale}<${Empty}>${empty}<//>`;
  return html`${stale}${show(asked.data)}`;
}

export function Waiting() {
  return html`<p class="state quiet"><span class="dots" aria-hidden="true"></span>Waiting for the gateway…</p>`;
}

/** @param {{ children?: any }} props */
export function Empty({ children }) {
  return html`<div class="state quiet">${children}</div>`;
}

/** @param {{ error: any, retry?: () => void, title?: string }} props */
export function Failure({ error, retry, title = titleOf(error) }) {
  const advice = adviceOf(error);
  return html`
    <div class="state failure" role="alert">
      <strong>${title}</strong>
      <span>${sentence(visible(error?.message ?? error))}</span>
      ${advice ? html`<span>${advice}</span>` : null}
      ${retry ? html`<button type="button" onClick=${retry}>Try again</button>` : null}
    </div>
  `;
}

/** @param {any} error */
function titleOf(error) {
  if (error?.status === 401) return "Not signed in.";
  if (error?.status === 503) return "The gateway is busy.";
  if (error?.status === 0) return "No answer from the gateway.";
  return "This could not be shown.";
}

/** @param {any} error */
function adviceOf(error) {
  if (error?.status === 401) return "Try again, and the browser asks who you are.";
  if (error?.status === 503) return "Traffic goes first. A moment later it answers again.";
  return "";
}

/** With a capital letter and a full stop. @param {string} text */
export function sentence(text) {
  return ended(text.charAt(0).toUpperCase() + text.slice(1));
}

/** With a full stop, unless it ends by itself. @param {string} text */
export function ended(text) {
  return /[.!?]$/.test(text) ? text : `${text}.`;
}

/**
 * A figure with its name.
 * @param {{ name: string, value: string, note?: string, tone?: string, title?: string, small?: boolean }} props `small` for texts
 */
export function Figure({ name, value, note, tone, title, small = false }) {
  return html`
    <div class="figure ${small ? "small" : ""}" data-tone=${tone} title=${title}>
      <dt>${name}</dt>
      <dd>${value}${note ? html`<small>${note}</small>` : null}</dd>
    </div>
  `;
}

/**
 * Text that is cut where there is no room, and whole in its title.
 * @param {{ text: any, class?: string }} props
 */
export function Cut({ text, class: extra = "" }) {
  const shown = visible(text);
  return html`<span class="cut ${extra}" title=${shown}>${shown}</span>`;
}
