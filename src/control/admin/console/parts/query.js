// The filter language as far as typing it needs: which term the cursor is in, what could stand there, how values are quoted.
// The gateway reads and judges it (see its API's description); nothing is matched here. A test holds the lists of words to the gateway's own.

/** The name under which the gateway counts what is beyond its limits; no request carries it. */
export const FOLDED = "_other";

/** @typedef {{ key: string, about: string, example: string, values?: string[] }} Key */

const VERDICTS = [
  "slow_upstream", "slow_endpoint", "slow_client_upload", "slow_client_download", "slow_queue", "slow_connect", "slow_dns",
  "slow_gateway", "long_transfer", "upstream_refused", "upstream_unreachable", "upstream_reset", "upstream_closed_stale",
  "upstream_timeout", "upstream_malformed", "upstream_error_status", "retried_and_recovered", "retries_exhausted",
  "no_route", "no_endpoint", "answered_by_filter", "overloaded", "client_left", "client_too_slow", "malformed_request",
  "too_large", "deadline", "shutting_down", "internal", "unknown",
];

const REASONS = [
  "malformed_request", "target_too_long", "headers_too_large", "header_timeout", "body_timeout", "body_too_large", "no_route",
  "client_gone", "client_write_timeout", "no_endpoint", "pending_full", "in_flight_full", "queue_timeout", "dns_failed",
  "connect_refused", "connect_timeout", "connect_failed", "upstream_reset", "upstream_closed", "upstream_malformed",
  "upstream_stale", "first_byte_timeout", "upstream_body_timeout", "upstream_body_broken", "exchange_timeout",
  "upgrade_idle_timeout", "draining", "internal", "upstream_status",
];

const TIMES = [">10ms", ">100ms", ">500ms", ">1s"];

/** @type {Key[]} */
export const KEYS = [
  { key: "route", about: "name of the route", example: "route:users" },
  { key: "status", about: "status, class or comparison", example: "status:5xx", values: ["5xx", "4xx", "2xx", ">=500", "499", "502", "503", "504"] },
  { key: "duration", about: "the whole request", example: "duration:>200ms", values: TIMES },
  { key: "verdict", about: "why it was slow or failed; * for any", example: "verdict:slow_upstream", values: ["*", ...VERDICTS] },
  { key: "error", about: "reason; * for any", example: "error:connect_refused", values: ["*", ...REASONS] },
  { key: "attempt_error", about: "the same for any attempt, also where a later one went well", example: "attempt_error:*", values: ["*", ...REASONS] },
  { key: "path", about: "beginning of the path, or with * the whole of it", example: "path:/api/users/*" },
  { key: "method", about: "request method", example: "method:POST", values: ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"] },
  { key: "upstream", about: "name of the upstream", example: "upstream:users" },
  { key: "endpoint", about: "host:port that answered", example: "endpoint:127.0.0.1:9001" },
  { key: "attempts", about: "how many tries it took", example: "attempts:>1", values: [">1", ">2"] },
  { key: "self", about: "what the gateway itself added", example: "self:>1ms", values: [">1ms", ">5ms"] },
  { key: "wait", about: "waiting for the upstream's first byte", example: "wait:>100ms", values: TIMES },
  { key: "queue", about: "waiting for a free connection", example: "queue:>10ms", values: TIMES },
  { key: "dns", about: "looking the upstream's name up", example: "dns:>10ms", values: TIMES },
  { key: "connect", about: "opening a connection", example: "connect:>10ms", values: TIMES },
  { key: "send", about: "sending the request upstream", example: "send:>10ms", values: TIMES },
  { key: "body", about: "reading the answer's body", example: "body:>100ms", values: TIMES },
  { key: "kept", about: "its spans were exported", example: "kept:slow", values: ["true", "false", "error", "slow", "retry", "sampled"] },
  { key: "reused", about: "the upstream connection was open already", example: "reused:false", values: ["true", "false"] },
  { key: "host", about: "host that was asked for", example: "host:api.example.com" },
  { key: "client", about: "address of the client, or a network", example: "client:10.0.0.0/8" },
  { key: "trace", about: "trace id, or its beginning", example: "trace:4bf92f35" },
  { key: "header", about: "a captured request header", example: "header.x-tenant:acme" },
];

/** @typedef {{ start: number, end: number, negated: boolean, key: string | null, value: string }} Term */

/**
 * The term around the cursor, up to the cursor.
 * @param {string} text
 * @param {number} cursor
 * @returns {Term}
 */
export function termAt(text, cursor) {
  let start = 0;
  let quoted = false;
  for (let at = 0; at < cursor; at += 1) {
    if (text[at] === '"' && text[at - 1] !== "\\") quoted = !quoted;
    if (text[at] === " " && !quoted) start = at + 1;
  }
  let end = cursor;
  while (end < text.length && (text[end] !== " " || quoted)) {
    if (text[end] === '"') quoted = !quoted;
    end += 1;
  }
  const raw = text.slice(start, cursor);
  const negated = raw.startsWith("-");
  const bare = negated ? raw.slice(1) : raw;
  const colon = bare.indexOf(":");
  const value = (colon < 0 ? bare : bare.slice(colon + 1)).replace(/^"/, "");
  return { start, end, negated, key: colon < 0 ? null : bare.slice(0, colon), value };
}

/** @typedef {{ label: string, insert: string, about: string, open: boolean }} Suggestion */

const SUGGESTIONS_MAX = 12;
/** Names of headers that a filter can have. */
const HEADER_NAME = /^[\w.-]+$/;

/**
 * What could stand where the cursor is.
 * @param {Term} term
 * @param {Record<string, string[]>} vocabulary values by key: routes, upstreams, endpoints; of `header`, the names
 * @returns {Suggestion[]} `open` ones want to be typed on
 */
export function suggest(term, vocabulary) {
  const minus = term.negated ? "-" : "";
  const headers = (vocabulary.header ?? []).filter((name) => HEADER_NAME.test(name));
  if (term.key === null) return suggestKeys(term.value, minus, headers);
  // What follows the key of headers is a dot, and then the name.
  if (term.key === "header") return suggestKeys(`header.${term.value}`, minus, headers);
  const key = term.key;
  const known = KEYS.find((each) => each.key === key);
  const names = Object.hasOwn(vocabulary, key) ? vocabulary[key] : undefined;
  // Names mean themselves; the values of our own list may be bounds or a star.
  const written = (/** @type {string} */ value) => `${minus}${key}:${names ? quote(value) : value}`;
  return ranked(names ?? known?.values ?? [], term.value)
    .filter((value) => value !== term.value)
    .map((value) => ({ label: `${minus}${key}:${value}`, insert: written(value), about: "", open: false }));
}

/** @param {string} typed @param {string} minus @param {string[]} headers @returns {Suggestion[]} */
function suggestKeys(typed, minus, headers) {
  const isHeader = typed.toLowerCase().startsWith("header.");
  const named = (/** @type {string[]} */ names) => names.map((name) => `header.${name}`);
  const keys = isHeader ? named(ranked(headers, typed.slice("header.".length))) : ranked([...KEYS.map((each) => each.key), ...named(headers)], typed);
  return keys.map((key) => {
    const known = KEYS.find((each) => each.key === key);
    const ending = key === "header" ? "." : ":";
    return { label: `${minus}${key}${ending}`, insert: `${minus}${key}${ending}`, about: known?.about ?? "a captured header", open: true };
  });
}

/** Those that begin so first, then those that hold it. @param {string[]} all @param {string} typed */
function ranked(all, typed) {
  const low = typed.toLowerCase();
  const begins = all.filter((each) => each.toLowerCase().startsWith(low));
  const holds = low ? all.filter((each) => !begins.includes(each) && each.toLowerCase().includes(low)) : [];
  return [...begins, ...holds].slice(0, SUGGESTIONS_MAX);
}

/**
 * A value as it must be written to mean itself: no star, no end of the term.
 * @param {string} value
 */
export function quote(value) {
  return /[\s"*\\]/.test(value) || value === "" ? `"${escaped(value)}"` : value;
}

/** As it stands between quotes. @param {string} value */
function escaped(value) {
  return value.replace(/(["*\\])/g, "\\$1");
}

/**
 * @param {string} key
 * @param {string} value
 */
export function term(key, value) {
  return `${key}:${quote(value)}`;
}

const QUERY_BYTES_MAX = 1024;

/**
 * The term for requests whose header has this value, or begins like it where it was cut; null where the language cannot say it.
 * @param {string} name
 * @param {string} value
 * @returns {string | null}
 */
export function headerTerm(name, value) {
  if (!HEADER_NAME.test(name)) return null;
  const isCut = value.endsWith("…");
  const pattern = isCut ? `"${escaped(value.slice(0, -1))}*"` : quote(value);
  const wanted = `header.${name}:${pattern}`;
  return new TextEncoder().encode(wanted).length > QUERY_BYTES_MAX ? null : wanted;
}

/**
 * The terms of a filter, as they are written.
 * @param {string} text
 * @returns {string[]}
 */
export function terms(text) {
  return text.match(/(?:[^\s"]|"(?:\\.|[^"\\])*"?)+/g) ?? [];
}

/**
 * The headers that a filter names, in lower case.
 * @param {string} text
 * @returns {string[]}
 */
export function headersIn(text) {
  const names = terms(text).map((each) => /^-?header\.([\w.-]+):/i.exec(each)?.[1].toLowerCase() ?? "");
  return [...new Set(names.filter((name) => name !== ""))];
}

/**
 * The filter with one term more, or without it where it was there.
 * @param {string} text
 * @param {string} toggled
 */
export function toggleTerm(text, toggled) {
  const all = terms(text);
  const without = all.filter((each) => each !== toggled);
  return (without.length < all.length ? without : [...all, toggled]).join(" ");
}

/**
 * The filter with this term in place of all others of its key.
 * @param {string} text
 * @param {string} key
 * @param {string[]} wanted
 */
export function replaceTerms(text, key, wanted) {
  return [...terms(text).filter((each) => !each.startsWith(`${key}:`)), ...wanted].join(" ");
}
