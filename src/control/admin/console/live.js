// What happens now, pushed: one server-sent event stream for the page that is open.
// In: a filter and what to do with each event. Out: overviews, rows, losses; the state of the connection for the header.
// Where the stream is refused, the same facts are asked for every two seconds; where nobody answers, less and less often. What is shown is
// marked as old after a few seconds without a word. A hidden tab gives its place back.
import { apiUrl, getJson } from "./api.js";
import { span } from "./parts/format.js";
import { createStore } from "./parts/store.js";

/**
 * `since` is when the gateway was last heard of, in Unix milliseconds, where that is too long ago for what is shown to be called new.
 * @typedef {{ state: "off" | "opening" | "live" | "retrying" | "polling" | "silent" | "hidden", why: string, since: number | null }} LiveState
 */
/** @type {import("./parts/store.js").Store<LiveState>} */
export const liveState = createStore(/** @type {LiveState} */ ({ state: "off", why: "", since: null }));

/**
 * @typedef {object} LiveHandlers
 * @property {(overview: import("./api.js").Overview) => void} [overview]
 * @property {(rows: import("./api.js").RequestRow[], skipped: number) => void} [requests]
 * @property {(events: number) => void} [lost]
 * @property {() => void} [opened] the stream is there (again): what happened before it may be asked for
 */

const POLL_MS = 2_000;
const POLLS_BEFORE_RETRY = 10;
/** The overview comes every second. */
const OLD_MS = 4_000;
const WATCH_MS = 1_000;
const SILENCE_MS = 10_000;
/** Between two tries, doubled each time. */
const RETRY_FIRST_MS = 1_000;
const RETRY_MAX_MS = 30_000;
const HIDDEN_MS = 20_000;
const POLLED_ROWS = 50;

/** When the gateway was last heard of, by whichever page. */
let answeredAt = Date.now();

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
    /** When this connection was last heard of, 0 before. */
    this.heardAt = 0;
    this.retryMs = RETRY_FIRST_MS;
    this.onVisibility = () => this.visibility();
  }

  begin() {
    document.addEventListener("visibilitychange", this.onVisibility);
    this.aging = setInterval(() => this.checkAge(), WATCH_MS);
    this.listen();
  }

  end() {
    document.removeEventListener("visibilitychange", this.onVisibility);
    clearInterval(this.aging);
    this.halt("off");
    liveState.set({ state: "off", why: "", since: null });
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
    this.answer();
    if (liveState.get().state !== "live") say("live", "events arrive as they happen");
  }

  /** The gateway has answered, in whichever way. */
  answer() {
    answeredAt = Date.now();
    this.retryMs = RETRY_FIRST_MS;
    const { state, why, since } = liveState.get();
    if (since !== null) liveState.set({ state, why, since: null });
  }

  /** Silence first makes what is shown old, and then means a connection that died without a word. */
  checkAge() {
    const { state, why, since } = liveState.get();
    const isOld = state !== "hidden" && Date.now() - answeredAt > OLD_MS;
    if (isOld && since === null) liveState.set({ state, why, since: answeredAt });
    if (this.source && this.heardAt && Date.now() - this.heardAt > SILENCE_MS) this.listen();
  }

  /** A browser tries again by itself, but at one pace for ever. */
  failed() {
    if (this.source?.readyState === EventSource.CLOSED) {
      this.poll("the live stream was refused, perhaps because too many pages watch; asking every 2 s");
    } else {
      const pause = this.pause();
      this.halt("retrying", `the connection broke; trying again in ${span(pause / 1000)}`);
      this.timer = setTimeout(() => this.listen(), pause);
    }
  }

  /** How long to wait for the next try; longer every time, until there is an answer. */
  pause() {
    const pause = this.retryMs;
    this.retryMs = Math.min(RETRY_MAX_MS, pause * 2);
    return pause;
  }

  /** @param {string} why */
  poll(why) {
    this.halt("polling", why);
    this.polls = 0;
    this.pollsWhy = why;
    this.on.opened?.();
    this.ask();
  }

  async ask() {
    this.polls += 1;
    if (this.polls > POLLS_BEFORE_RETRY) {
      this.listen();
      return;
    }
    const round = (this.round = {});
    const wantsRows = this.on.requests;
    const [overview, rows] = await Promise.allSettled([
      getJson("overview", { window: 60 }),
      wantsRows ? getJson("requests", { q: this.q, limit: POLLED_ROWS }) : Promise.resolve(null),
    ]);
    if (this.round !== round) return;
    if (overview.status === "rejected") this.unanswered(overview.reason);
    else this.answered(overview.value);
    if (rows.status === "fulfilled" && rows.value) this.on.requests?.(rows.value.requests ?? [], 0);
  }

  /** @param {number} pause */
  askIn(pause) {
    this.timer = setTimeout(() => this.ask(), pause);
  }

  /** @param {any} overview */
  answered(overview) {
    this.answer();
    say("polling", this.pollsWhy);
    this.askIn(POLL_MS);
    this.on.overview?.(overview);
  }

  /** @param {any} error */
  unanswered(error) {
    // Each further question would make the browser ask its reader for a password.
    if (error.status === 401) {
      this.halt("silent", error.message);
      return;
    }
    say("silent", error.message);
    this.askIn(Math.max(POLL_MS, this.pause()));
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
    this.round = null;
    clearTimeout(this.timer);
    clearTimeout(this.hiding);
    say(state, why);
  }
}

/** @param {LiveState["state"]} state @param {string} why */
function say(state, why) {
  liveState.set({ state, why, since: liveState.get().since });
}

/** @param {string} text */
function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
