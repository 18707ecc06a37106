// The live tail's memory: the newest rows, those that wait while the list is held, and what could not be shown.
// Bounded, whatever comes in. Kept when the page is left, so that going back finds the list as it was. Not here: drawing.

/** @typedef {import("../api.js").RequestRow} RequestRow */

export const ROWS_MAX = 500;

export class Tail {
  /** @param {string} q */
  constructor(q) {
    this.q = q;
    /** @type {RequestRow[]} newest first */
    this.rows = [];
    /** @type {RequestRow[]} */
    this.held = [];
    this.isHeld = false;
    /** Arrived while held, shown or not. */
    this.waiting = 0;
    /** Matched, but more came than are sent. */
    this.skipped = 0;
    /** Events that this page was too slow for. */
    this.lost = 0;
    /** @type {string | null} the row that was opened last */
    this.opened = null;
    /** @type {string | null} where older rows go on; null where there are none */
    this.next = null;
    this.mayPage = false;
  }

  /** @param {RequestRow[]} rows in any order */
  add(rows) {
    const known = new Set([...this.rows, ...this.held].map((row) => row.id));
    const fresh = rows.map(withId).filter((row) => !known.has(row.id) && known.add(row.id));
    if (fresh.length === 0) return;
    if (this.isHeld) {
      this.held = newest([...fresh, ...this.held]);
      this.waiting += fresh.length;
    } else {
      this.rows = newest([...fresh, ...this.rows]);
    }
  }

  hold() {
    this.isHeld = true;
  }

  release() {
    this.isHeld = false;
    this.rows = newest([...this.held, ...this.rows]);
    this.held = [];
    this.waiting = 0;
  }

  /**
   * What the gateway remembered before the stream began, or before the oldest row.
   * @param {{ requests?: RequestRow[], next?: string | null }} page
   */
  addOlder(page) {
    const known = new Set(this.rows.map((row) => row.id));
    const fresh = (page.requests ?? []).map(withId).filter((row) => !known.has(row.id));
    this.rows = newest([...this.rows, ...fresh]);
    this.next = page.next ?? null;
  }

  clear() {
    this.rows = [];
    this.held = [];
    this.waiting = 0;
    this.skipped = 0;
    this.lost = 0;
    this.next = null;
  }

  get isFull() {
    return this.rows.length >= ROWS_MAX;
  }
}

/** When it ended, in Unix milliseconds. @param {RequestRow} row */
export function endedMs(row) {
  return row.began_ms + row.duration_ms;
}

/** Fills in what an older gateway leaves out. @param {RequestRow} row @returns {RequestRow} */
function withId(row) {
  const began = row.began_ms ?? Date.parse(row.start);
  return { ...row, began_ms: began, id: row.id ?? `${row.trace_id}-${row.span_id}` };
}

/** @param {RequestRow[]} rows */
function newest(rows) {
  return rows.sort((a, b) => endedMs(b) - endedMs(a) || (a.id < b.id ? 1 : -1)).slice(0, ROWS_MAX);
}

/** @type {Tail} */
let current = new Tail("");

/**
 * The tail of a filter: the one that was shown last, where the filter is the same.
 * @param {string} q
 */
export function tailOf(q) {
  if (current.q !== q) current = new Tail(q);
  return current;
}

/** The tail that was shown last. */
export function lastTail() {
  return current;
}
