// The help: keys, the filter language, what the words on the page mean. A dialog, so that Escape and focus behave.
// Opened by `?` or the button in the header.
import { html, useEffect, useRef } from "./html.js";
import { keysOn, switchKeys } from "./keys.js";
import { KEYS } from "./query.js";
import { createStore, useStore } from "./store.js";

export const helpShown = createStore(false);

const SHORTCUTS = [
  [["/"], "go to the filter"],
  [["j"], "next row"],
  [["k"], "row before"],
  [["Enter"], "open the row"],
  [["Esc"], "back, or close"],
  [["p"], "pause or resume the live tail"],
  [["g", "o"], "overview"],
  [["g", "r"], "requests"],
  [["g", "f"], "flame graph"],
  [["g", "t"], "topology"],
  [["g", "c"], "config"],
  [["g", "e"], "telemetry"],
  [["?"], "this help"],
];

const WORDS = [
  ["self time", "what the gateway itself added: the whole time less every wait for client and upstream"],
  ["verdict", "why a request was slow or failed, as far as its record and its route's past tell; “unknown” where they do not"],
  ["failed", "it ended in a 5xx, or broke off; what a client did wrong, or left, is marked as a client error and counts as no failure"],
  ["attempt", "one try at one endpoint; a retry is a further attempt"],
  ["kept", "whether the request's spans were exported, and why: error, slow, retry, sampled"],
  ["typical", "the median of the requests of the same route that succeeded lately"],
];

export function Help() {
  const shown = useStore(helpShown);
  const dialog = useRef(/** @type {HTMLDialogElement | null} */ (null));
  useEffect(() => {
    if (shown && !dialog.current?.open) dialog.current?.showModal();
    if (!shown && dialog.current?.open) dialog.current.close();
  }, [shown]);
  return html`
    <dialog ref=${dialog} class="help" aria-labelledby="help-title" onClose=${() => helpShown.set(false)} onClick=${closeOutside}>
      <div class="help-body">
        <div class="row-between">
          <h2 id="help-title">Help</h2>
          <button type="button" class="ghost" onClick=${() => helpShown.set(false)}>Close</button>
        </div>
        <${Shortcuts} />
        <${Language} />
        <h3>Words</h3>
        <dl class="glossary">${WORDS.map(([word, meaning]) => html`<div key=${word}><dt>${word}</dt><dd>${meaning}</dd></div>`)}</dl>
      </div>
    </dialog>
  `;
}

/** @param {MouseEvent} event a click on the backdrop lands on the dialog itself */
function closeOutside(event) {
  if (event.target === event.currentTarget) helpShown.set(false);
}

function Shortcuts() {
  const on = useStore(keysOn);
  return html`
    <h3>Keys</h3>
    <dl class="shortcuts">
      ${SHORTCUTS.map(
        ([keys, meaning]) => html`
          <div key=${meaning}>
            <dt>${/** @type {string[]} */ (keys).map((key) => html`<kbd key=${key}>${key}</kbd> `)}</dt>
            <dd>${meaning}</dd>
          </div>
        `,
      )}
    </dl>
    <label class="check">
      <input type="checkbox" checked=${on} onChange=${() => switchKeys(!on)} />
      Single letters are shortcuts
    </label>
  `;
}

function Language() {
  return html`
    <h3>Filter</h3>
    <p>
      Terms are separated by spaces and all must hold. <code>key:value</code>, or <code>-key:value</code> for the opposite; values with
      spaces stand in <code>"quotes"</code>. A bare word is looked for in path, route, trace id and error.
    </p>
    <dl class="glossary">
      ${KEYS.map(({ key, about, example }) => html`<div key=${key}><dt><code>${example}</code></dt><dd>${about}</dd></div>`)}
    </dl>
  `;
}
