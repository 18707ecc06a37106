// What happens now, pushed: one server-sent event stream for the page that is open.
// In: a filter and what to do with each event. Out: overviews, rows, losses; the state of the connection for the header.
// Where the stream is refused, the same facts are asked for every two seconds. A hidden tab gives its place back.
import { apiUrl, getJson } from "./api.js";
import { createStore } from "./parts/store.js";

/** @typedef {{ state: "off" | "opening" | "live" | "retrying" | "polling" | "silent" | "hidden", why: string }} LiveState */
/** @type {import("./parts/store.js").Store<LiveState>} */
export const liveState = createStore(/** @type {LiveState} */ ({ state: "off", why: "" }));

/**
 * @typedef {object} LiveHandlers
 * @property {(overview: import("./api.js").Overview) => void} [overview]
 * @property {(rows: import("./api.js").RequestRow[], skipped: number) => void} [requests]
 * @property {(events: number) => void} [lost]
 * @property {() => void} [opened] the stream is there (again): what happened before it may be asked for
 */

const POLL_MS = 2_000;
const POLLS_BEFORE_RETRY = 10;
const SILENCE_MS = 10_000;
const HIDDEN_MS = 20_000;
const POLLED_ROWS = 50;

/**
 * Opens the stream. The answer closes it.
 * @param {string} q rows that match this filter are sent
 * @param {LiveHandlers} on
 * @returns {() => void}
 */
export function openLive(q, on) {
  const feed = new Feed(q, on);
  feed.begin();
  return () => feed.end();
}

class Feed {
  /** @param {string} q @param {LiveHandlers} on */
  constructor(q, on) {
    this.q = q;
    this.on = on;
    /** @type {EventSource | null} */
    this.source = null;
    this.polls = 0;
    this.pollsWhy = "";
    this.ended = false;
    this.heardAt = 0;
    this.onVisibility = () => this.visibility();
  }

  begin() {
    document.addEventListener("visibilitychange", this.onVisibility);
    this.listen();
  }

  end() {
    this.ended = true;
    document.removeEventListener("visibilitychange", this.onVisibility);
    this.halt("off");
  }

  listen() {
    this.halt("opening");
    const source = new EventSource(apiUrl("live", { q: this.q }));
    this.source = source;
    source.onopen = () => {
      this.heard();
      this.on.opened?.();
    };
    source.onerror = () => this.failed();
    this.hear("overview", (body) => this.on.overview?.(body));
    this.hear("requests", (body) => this.on.requests?.(body.rows ?? [], body.skipped ?? 0));
    this.hear("lost", (body) => this.on.lost?.(body.events ?? 0));
    this.watch = setInterval(() => this.checkSilence(), 2_000);
  }

  /** @param {string} name @param {(body: any) => void} handle */
  hear(name, handle) {
    this.source?.addEventListener(name, (event) => {
      this.heard();
      const body = parsed(/** @type {MessageEvent} */ (event).data);
      if (body) handle(body);
    });
  }

  heard() {
    this.heardAt = Date.now();
    if (liveState.get().state !== "live") say("live", "events arrive as they happen");
  }

  /** The overview comes every second, so silence means a connection that died without a word. */
  checkSilence() {
    if (this.heardAt && Date.now() - this.heardAt > SILENCE_MS) this.listen();
  }

  failed() {
    if (this.source?.readyState === EventSource.CLOSED) {
      this.poll("the live stream was refused, perhaps because too many pages watch; asking every 2 s");
    } else {
      say("retrying", "the connection broke; trying again");
    }
  }

  /** @param {string} why */
  poll(why) {
    this.halt("polling", why);
    this.polls = 0;
    this.pollsWhy = why;
    this.on.opened?.();
    this.timer = setInterval(() => this.ask(), POLL_MS);
    this.ask();
  }

  async ask() {
    this.polls += 1;
    if (this.polls > POLLS_BEFORE_RETRY) {
      this.listen();
      return;
    }
    const wantsRows = this.on.requests;
    const [overview, rows] = await Promise.allSettled([
      getJson("overview", { window: 60 }),
      wantsRows ? getJson("requests", { q: this.q, limit: POLLED_ROWS }) : Promise.resolve(null),
    ]);
    if (this.ended || this.timer === undefined) return;
    if (overview.status === "rejected") this.unanswered(overview.reason);
    else this.answered(overview.value);
    if (rows.status === "fulfilled" && rows.value) this.on.requests?.(rows.value.requests ?? [], 0);
  }

  /** @param {any} overview */
  answered(overview) {
    say("polling", this.pollsWhy);
    this.on.overview?.(overview);
  }

  /** @param {any} error */
  unanswered(error) {
    // Each further question would make the browser ask its reader for a password.
    if (error.status === 401) this.halt("silent", error.message);
    else say("silent", error.message);
  }

  visibility() {
    clearTimeout(this.hiding);
    if (document.hidden) this.hiding = setTimeout(() => this.halt("hidden", "paused while the tab is hidden"), HIDDEN_MS);
    else if (liveState.get().state === "hidden") this.listen();
  }

  /** @param {LiveState["state"]} state @param {string} [why] */
  halt(state, why = "") {
    this.source?.close();
    this.source = null;
    this.heardAt = 0;
    clearInterval(this.watch);
    clearInterval(this.timer);
    this.timer = undefined;
    clearTimeout(this.hiding);
    say(state, why);
  }
}

/** @param {LiveState["state"]} state @param {string} why */
function say(state, why) {
  liveState.set({ state, why });
}

/** @param {string} text */
function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
