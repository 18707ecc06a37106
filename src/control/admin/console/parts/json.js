// JSON with indents and quiet colours, as text nodes. Very long documents are cut, with a word about it.
// Not here: folding; the parts of a page fold by themselves.
import { html } from "./html.js";
import { count, visible } from "./format.js";

const LINES_MAX = 3_000;
const TOKEN = /("(?:\\.|[^"\\])*")(\s*:)?|\b(true|false|null)\b|(-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)/g;

/**
 * @param {{ value: unknown }} props
 */
export function Json({ value }) {
  const lines = JSON.stringify(value, null, 2).split("\n");
  const shown = lines.slice(0, LINES_MAX);
  return html`
    ${shown.map((line, index) => html`<${Line} key=${index} text=${line} />`)}
    ${lines.length > shown.length ? html`<span class="quiet">… ${count(lines.length - shown.length)} more lines</span>` : null}
  `;
}

/** @param {{ text: string }} props */
function Line({ text }) {
  const parts = [];
  let at = 0;
  for (const match of text.matchAll(TOKEN)) {
    parts.push(text.slice(at, match.index), token(match));
    at = match.index + match[0].length;
  }
  parts.push(text.slice(at), "\n");
  return parts;
}

/** @param {RegExpMatchArray} match */
function token([all, string, colon, word]) {
  if (string) return html`<span class=${colon ? "j-key" : "j-string"}>${visible(string)}</span>${colon ?? ""}`;
  return html`<span class=${word ? "j-word" : "j-number"}>${all}</span>`;
}

/** @param {unknown} value */
export function pretty(value) {
  return JSON.stringify(value, null, 2);
}
