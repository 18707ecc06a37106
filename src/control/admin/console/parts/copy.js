// A button that copies a text, and a block of text with such a button.
// Where the browser forbids the clipboard (plain http from another host), the text is selected instead.
import { html, useRef, useState } from "./html.js";
import { announce } from "./announce.js";
import { visible } from "./format.js";
import { sentence } from "./panel.js";

const SHOWN_MS = 1_600;

/** @param {{ text: string, label?: string, class?: string, name?: string }} props */
export function Copy({ text, label = "Copy", class: extra = "", name }) {
  const [done, setDone] = useState("");
  const copy = async () => {
    const worked = await write(text);
    setDone(worked ? "Copied" : "Not allowed here");
    announce(worked ? "Copied" : "The browser does not allow copying here");
    setTimeout(() => setDone(""), SHOWN_MS);
  };
  return html`<button type="button" class="small ${extra}" aria-label=${name} onClick=${copy}>${done || label}</button>`;
}

/** @param {string} text */
async function write(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false;
  }
}

/**
 * @param {{ title: string, text: string, children?: any, open?: boolean, notes?: string[] }} props `children` is what is seen where it differs from the text
 */
export function CopyBlock({ title, text, children, open = false, notes = [] }) {
  const block = useRef(/** @type {HTMLElement | null} */ (null));
  const select = () => block.current && getSelection()?.selectAllChildren(block.current);
  return html`
    <details class="block" open=${open}>
      <summary>${title}</summary>
      <div class="block-body">
        <div class="block-tools">
          <button type="button" class="small" aria-label="Select: ${title}" onClick=${select}>Select</button>
          <${Copy} text=${text} name="Copy: ${title}" />
        </div>
        <pre ref=${block} tabindex="0" aria-label=${title}>${children ?? text}</pre>
        ${notes.map((note) => html`<p key=${note} class="quiet block-note">${sentence(visible(note))}</p>`)}
      </div>
    </details>
  `;
}
