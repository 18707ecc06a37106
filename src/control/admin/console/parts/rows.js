// The list of requests: only the rows in sight are in the document, so that a thousand a second cost what fifty do.
// In: rows, newest first. Out: a table with its true row numbers. Not here: where rows come from (`tail`).
import { Component, html } from "./html.js";
import { clock, millis, ms, visible, words } from "./format.js";
import { ClientError, isClientError, isFailed, toneOf } from "./outcome.js";
import { Cut } from "./panel.js";
import { Strip, largest, phaseSums } from "./phases.js";
import { endedMs } from "./tail.js";
import { hashOf } from "../router.js";

const HEIGHT_WIDE = 30;
const HEIGHT_NARROW = 54;
const OVERSCAN = 12;
/** Shown above the row that was opened last. */
const ROWS_ABOVE = 5;
const NARROW = matchMedia("(max-width: 760px)");

/** @typedef {import("../api.js").RequestRow} RequestRow */

const COLUMNS = [
  ["time", "Ended"],
  ["status", "Status"],
  ["method", "Method"],
  ["path", "Path"],
  ["route", "Route"],
  ["duration num", "Duration"],
  ["where", "Where"],
  ["self num", "Self"],
  ["endpoint", "Endpoint"],
  ["verdict", "Verdict"],
];

/** Rows keep their height, so what is in sight is a matter of division. */
export class Rows extends Component {
  /** @param {{ rows: RequestRow[], opened: string | null, onOpen: (row: RequestRow) => void, onHold: (why: string, on: boolean) => void, foot?: any }} props */
  constructor(props) {
    super(props);
    this.state = { top: 0, height: 600, narrow: NARROW.matches };
    /** @type {HTMLElement | null} */
    this.box = null;
    /** The row that keys have led to. Keys may come faster than rows are drawn. @type {string | null} */
    this.cursor = null;
    this.isStepping = false;
    this.onScroll = () => this.scrolled();
    this.onNarrow = () => this.setState({ narrow: NARROW.matches });
  }

  componentDidMount() {
    NARROW.addEventListener("change", this.onNarrow);
    this.sizes = new ResizeObserver(() => this.box && this.setState({ height: this.box.clientHeight }));
    if (this.box) this.sizes.observe(this.box);
    this.showOpened();
  }

  componentWillUnmount() {
    NARROW.removeEventListener("change", this.onNarrow);
    this.sizes?.disconnect();
  }

  get rowHeight() {
    return this.state.narrow ? HEIGHT_NARROW : HEIGHT_WIDE;
  }

  /** Back from a request: its row is in sight and has the focus again. */
  showOpened() {
    const at = this.props.rows.findIndex((/** @type {RequestRow} */ row) => row.id === this.props.opened);
    if (at < 0 || !this.box) return;
    this.box.scrollTop = Math.max(0, (at - ROWS_ABOVE) * this.rowHeight);
    this.holdWhereScrolled();
    this.setState({ top: this.box.scrollTop }, () => {
      const link = this.box?.querySelector(`[data-row="${CSS.escape(this.props.opened)}"]`);
      if (link instanceof HTMLElement) link.focus({ preventScroll: true });
    });
  }

  scrolled() {
    if (!this.box) return;
    this.holdWhereScrolled();
    this.setState({ top: this.box.scrollTop }, () => this.forgetLostFocus());
  }

  holdWhereScrolled() {
    if (this.box) this.props.onHold("scroll", this.box.scrollTop > this.rowHeight);
  }

  /** From row to row is no leaving. @param {FocusEvent} event */
  focusLeft(event) {
    if (this.isStepping || (event.relatedTarget instanceof Node && this.box?.contains(event.relatedTarget))) return;
    this.cursor = null;
    this.props.onHold("focus", false);
  }

  /** @param {FocusEvent} event */
  focusCame(event) {
    const row = event.target instanceof HTMLElement ? event.target.dataset.row : undefined;
    if (row !== undefined) this.cursor = row;
    this.props.onHold("focus", true);
  }

  /**
   * The next row, or the one before, whether it is drawn already or not.
   * @param {number} by 1 or -1
   */
  step(by) {
    const { rows } = this.props;
    if (rows.length === 0 || !this.box) return;
    const now = this.cursor === null ? -1 : rows.findIndex((/** @type {RequestRow} */ row) => row.id === this.cursor);
    const inSight = Math.ceil(this.box.scrollTop / this.rowHeight);
    const next = Math.min(rows.length - 1, Math.max(0, now < 0 ? inSight : now + by));
    this.cursor = rows[next].id;
    this.isStepping = true;
    this.props.onHold("focus", true);
    this.reveal(next);
    this.setState({ top: this.box.scrollTop }, () => this.focusCursor());
  }

  /** Scrolls as little as shows the row. @param {number} at */
  reveal(at) {
    if (!this.box) return;
    const room = this.box.clientHeight - (this.state.narrow ? 0 : HEIGHT_WIDE) - this.rowHeight;
    const top = Math.min(at * this.rowHeight, Math.max(this.box.scrollTop, at * this.rowHeight - room));
    if (top !== this.box.scrollTop) this.box.scrollTop = top;
    this.holdWhereScrolled();
  }

  focusCursor() {
    const link = this.cursor === null ? null : this.box?.querySelector(`[data-row="${CSS.escape(this.cursor)}"]`);
    if (link instanceof HTMLElement) link.focus({ preventScroll: true });
    this.isStepping = false;
  }

  /** A row that was scrolled out of the document took the focus with it, without a word. */
  forgetLostFocus() {
    if (this.isStepping || this.box?.contains(document.activeElement)) return;
    this.cursor = null;
    this.props.onHold("focus", false);
  }

  toTop() {
    if (this.box) this.box.scrollTop = 0;
  }

  /** @param {any} props @param {{ top: number, height: number }} state */
  render({ rows, onOpen, onHold, foot }, { top, height }) {
    const first = Math.max(0, Math.floor(top / this.rowHeight) - OVERSCAN);
    const last = Math.min(rows.length, Math.ceil((top + height) / this.rowHeight) + OVERSCAN);
    return html`
      <div
        class="scroller"
        ref=${(/** @type {HTMLElement | null} */ box) => (this.box = box)}
        onScroll=${this.onScroll}
        onfocusin=${(/** @type {FocusEvent} */ event) => this.focusCame(event)}
        onfocusout=${(/** @type {FocusEvent} */ event) => this.focusLeft(event)}
        onMouseEnter=${() => onHold("pointer", true)}
        onMouseLeave=${() => onHold("pointer", false)}
        tabindex="0"
        role="group"
        aria-label="List of requests"
      >
        <table class="requests" role="table" aria-rowcount=${rows.length + 1} aria-label="Requests, newest first">
          <thead role="rowgroup">
            <tr role="row" aria-rowindex="1">
              ${COLUMNS.map(([name, title]) => html`<th key=${name} role="columnheader" scope="col" class="c-${name}">${title}</th>`)}
            </tr>
          </thead>
          <tbody role="rowgroup">
            <${Space} rows=${first} height=${this.rowHeight} />
            ${rows.slice(first, last).map((/** @type {RequestRow} */ row, /** @type {number} */ index) => html`<${Row}
              key=${row.id}
              row=${row}
              number=${first + index + 2}
              onOpen=${onOpen}
            />`)}
            <${Space} rows=${rows.length - last} height=${this.rowHeight} />
          </tbody>
        </table>
        ${foot}
      </div>
    `;
  }
}

/** Stands for the rows that are not in the document. @param {{ rows: number, height: number }} props */
function Space({ rows, height }) {
  return html`<tr role="presentation" aria-hidden="true" class="space" style=${{ height: `${rows * height}px` }}></tr>`;
}

/** A row never changes once it is there; only its number does. */
class Row extends Component {
  /** @param {any} next */
  shouldComponentUpdate(next) {
    return next.row !== this.props.row || next.number !== this.props.number;
  }

  /** @param {{ row: RequestRow, number: number, onOpen: (row: RequestRow) => void }} props */
  render({ row, number, onOpen }) {
    const sums = phaseSums(row);
    const href = hashOf("request", {}, row.id);
    return html`
      <tr
        role="row"
        aria-rowindex=${number}
        class="request"
        data-bad=${isFailed(row) ? "" : undefined}
        data-client=${isClientError(row) ? "" : undefined}
        onClick=${(/** @type {MouseEvent} */ event) => openRow(event, row, onOpen)}
      >
        <td role="cell" class="c-time" title="began ${row.start}">${clock(endedMs(row))}<span class="fraction">${millis(endedMs(row))}</span></td>
        <td role="cell" class="c-status"><${Status} row=${row} /></td>
        <td role="cell" class="c-method">${visible(row.method)}</td>
        <td role="cell" class="c-path"><a data-row=${row.id} href=${href} title=${visible(row.path)}>${visible(row.path) || "(none)"}</a></td>
        <td role="cell" class="c-route"><${Cut} text=${row.route || "(no route)"} /></td>
        <td role="cell" class="c-duration num">${ms(row.duration_ms)}</td>
        <td role="cell" class="c-where"><${Strip} sums=${sums} whole=${row.duration_ms} label=${largest(sums)} /></td>
        <td role="cell" class="c-self num">${ms(row.self_ms)}</td>
        <td role="cell" class="c-endpoint"><${Endpoint} row=${row} /></td>
        <td role="cell" class="c-verdict"><${VerdictText} row=${row} /></td>
      </tr>
    `;
  }
}

/**
 * A click anywhere in the row opens it, unless text was selected or the link itself was meant.
 * @param {MouseEvent} event
 * @param {RequestRow} row
 * @param {(row: RequestRow) => void} onOpen
 */
function openRow(event, row, onOpen) {
  onOpen(row);
  const onLink = event.target instanceof Element && event.target.closest("a");
  if (onLink || event.button !== 0 || event.ctrlKey || event.metaKey || event.shiftKey || String(getSelection()) !== "") return;
  location.hash = hashOf("request", {}, row.id);
}

/** @param {{ row: RequestRow }} props */
export function Status({ row }) {
  return html`<span class="status" data-tone=${toneOf(row)}>${row.status || "–"}</span>`;
}

/** @param {{ row: RequestRow }} props */
function Endpoint({ row }) {
  const last = row.attempts?.at(-1);
  if (!last) return html`<span class="quiet">${row.upstream ?? "no upstream"}</span>`;
  const tries = row.attempts.length > 1 ? html`<b class="tries" title="${row.attempts.length} attempts">×${row.attempts.length}</b>` : null;
  return html`${tries}<${Cut} text=${last.endpoint ?? row.upstream ?? "–"} />`;
}

/** @param {{ row: RequestRow }} props */
function VerdictText({ row }) {
  const { verdict, error } = row;
  const mark = isClientError(row) ? html`<${ClientError} /> ` : null;
  if (verdict) return html`${mark}<${Cut} text=${verdict.text || words(verdict.code)} />`;
  return error ? html`${mark}<${Cut} text=${words(error)} class="quiet" />` : null;
}
