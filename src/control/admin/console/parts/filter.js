// The filter's field: typed with completion, applied with Enter, judged by the gateway.
// In: the filter in force, values to offer, the gateway's complaint. Out: a new filter. A combobox as ARIA has it.
import { html, useEffect, useRef, useState } from "./html.js";
import { visible } from "./format.js";
import { suggest, termAt } from "./query.js";

/**
 * @typedef {object} FilterProps
 * @property {string} value
 * @property {(q: string) => void} onApply
 * @property {Record<string, string[]>} vocabulary
 * @property {{ message: string, at: number | null } | null} problem
 */

/** @param {FilterProps} props */
export function Filter({ value, onApply, vocabulary, problem }) {
  const field = useRef(/** @type {HTMLInputElement | null} */ (null));
  const [text, setText] = useState(value);
  const [open, setOpen] = useState(false);
  const [chosen, setChosen] = useState(-1);
  // A space behind what was just applied stays, so that one can type on.
  useEffect(() => setText((/** @type {string} */ old) => (old.trim() === value ? old : value)), [value]);
  const term = termAt(text, field.current?.selectionStart ?? text.length);
  const offers = open ? suggest(term, vocabulary) : [];
  const apply = (/** @type {string} */ q) => {
    setOpen(false);
    setChosen(-1);
    onApply(q.trim());
  };
  const take = (/** @type {import("./query.js").Suggestion} */ offer) => {
    const ending = offer.open ? "" : " ";
    const next = text.slice(0, term.start) + offer.insert + ending + text.slice(term.end).trimStart();
    const cursor = term.start + offer.insert.length + ending.length;
    setText(next);
    setChosen(-1);
    if (!offer.open) apply(next);
    placeCursor(field.current, next, cursor);
  };
  const onKey = (/** @type {KeyboardEvent} */ event) => keyPressed(event, { offers, chosen, setChosen, setOpen, take, apply, text });
  return html`
    <form class="filter" role="search" onSubmit=${(/** @type {Event} */ event) => (event.preventDefault(), apply(text))}>
      <label class="unseen" for="filter-field">Filter</label>
      <div class="filter-field" data-problem=${problem ? "" : undefined}>
        <${Glass} />
        <input
          id="filter-field"
          ref=${field}
          type="text"
          role="combobox"
          aria-expanded=${offers.length > 0 ? "true" : "false"}
          aria-controls="filter-offers"
          aria-autocomplete="list"
          aria-activedescendant=${chosen >= 0 ? `filter-offer-${chosen}` : undefined}
          aria-invalid=${problem ? "true" : undefined}
          aria-describedby=${problem ? "filter-problem" : undefined}
          autocomplete="off"
          autocapitalize="off"
          spellcheck="false"
          maxlength="1024"
          placeholder="status:5xx  duration:>200ms  route:users  -method:GET"
          value=${text}
          onInput=${(/** @type {InputEvent} */ event) => (setText(/** @type {HTMLInputElement} */ (event.target).value), setOpen(true), setChosen(-1))}
          onFocus=${() => setOpen(true)}
          onBlur=${() => setOpen(false)}
          onKeyDown=${onKey}
        />
        ${text ? html`<button type="button" class="ghost small" onClick=${() => (setText(""), apply(""))}>Clear</button>` : null}
        <button type="submit" class="small" disabled=${text.trim() === value}>Apply</button>
      </div>
      <${Offers} offers=${offers} chosen=${chosen} take=${take} />
      ${problem ? html`<${Problem} text=${value} problem=${problem} />` : null}
    </form>
  `;
}

/** Preact sets the value after this event; the cursor follows it. @param {HTMLInputElement | null} field @param {string} text @param {number} cursor */
function placeCursor(field, text, cursor) {
  if (!field) return;
  field.value = text;
  field.focus();
  field.setSelectionRange(cursor, cursor);
}

/** @param {KeyboardEvent} event @param {any} now */
function keyPressed(event, { offers, chosen, setChosen, setOpen, take, apply, text }) {
  if (event.key === "Escape") {
    event.stopPropagation();
    if (offers.length > 0) setOpen(false);
    else /** @type {HTMLElement} */ (event.target).blur();
    return;
  }
  if ((event.key === "ArrowDown" || event.key === "ArrowUp") && offers.length > 0) {
    event.preventDefault();
    const step = event.key === "ArrowDown" ? 1 : -1;
    setChosen((chosen + step + offers.length + (chosen < 0 && step < 0 ? 1 : 0)) % offers.length);
    return;
  }
  if (event.key === "ArrowDown") setOpen(true);
  if (event.key === "Enter") {
    event.preventDefault();
    if (chosen >= 0) take(offers[chosen]);
    else apply(text);
  }
  if (event.key === "Tab" && chosen >= 0) {
    event.preventDefault();
    take(offers[chosen]);
  }
}

/** @param {{ offers: import("./query.js").Suggestion[], chosen: number, take: (offer: any) => void }} props */
function Offers({ offers, chosen, take }) {
  return html`
    <ul id="filter-offers" class="offers" role="listbox" aria-label="Completions" hidden=${offers.length === 0}>
      ${offers.map(
        (offer, index) => html`
          <li
            key=${offer.label}
            id="filter-offer-${index}"
            role="option"
            aria-selected=${index === chosen ? "true" : "false"}
            onMouseDown=${(/** @type {Event} */ event) => (event.preventDefault(), take(offer))}
          >
            <code>${visible(offer.label)}</code><span>${offer.about}</span>
          </li>
        `,
      )}
    </ul>
  `;
}

/** The gateway's complaint, with the place marked. @param {{ text: string, problem: { message: string, at: number | null } }} props */
function Problem({ text, problem }) {
  return html`
    <div id="filter-problem" class="problem" role="alert">
      ${problem.at === null ? null : html`<${Place} text=${text} at=${problem.at} />`}
      <span>${visible(problem.message)}</span>
    </div>
  `;
}

/** `at` counts characters, from 0; what cannot be seen is written out, so a caret on a second line would not meet its place. @param {{ text: string, at: number }} props */
function Place({ text, at }) {
  const all = [...text];
  const before = all.slice(0, at).join("");
  const [wrong, after] = /^(\S*)(.*)$/s.exec(all.slice(at).join(""))?.slice(1) ?? ["", ""];
  return html`<pre aria-hidden="true">${visible(before)}<mark>${visible(wrong) || "\u00a0"}</mark>${visible(after)}</pre>`;
}

function Glass() {
  return html`
    <svg class="glass" viewBox="0 0 16 16" width="15" height="15" aria-hidden="true">
      <circle cx="7" cy="7" r="4.5" fill="none" stroke="currentColor" stroke-width="1.5" /><path
        d="M10.5 10.5 14 14"
        stroke="currentColor"
        stroke-width="1.5"
        stroke-linecap="round"
      />
    </svg>
  `;
}
