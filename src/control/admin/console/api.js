// The admin plane's API: addresses, answers as JSON, and what went wrong in words.
// The shapes are written down here once, as types. Relative to this file, so a prefix before /console/ does no harm.

/**
 * @typedef {{ code: string, text: string, confidence: string }} Verdict
 * @typedef {{ queue?: number, dns?: number, connect?: number, tls?: number, send?: number, wait?: number, body?: number }} Phases
 * @typedef {{ span_id: string, endpoint: string | null, status: number | null, error: string | null, reused: boolean, phases_ms: Phases }} Attempt
 * @typedef {object} RequestRow
 * @property {string} id
 * @property {string} trace_id
 * @property {string} span_id
 * @property {string} start
 * @property {number} began_ms
 * @property {string} method
 * @property {string} path
 * @property {string} route
 * @property {number} status
 * @property {number} duration_ms
 * @property {number} self_ms
 * @property {string | null} upstream
 * @property {Attempt[]} attempts
 * @property {boolean} kept
 * @property {string | null} keep_reason
 * @property {string | null} profile
 * @property {Verdict | null} verdict
 * @property {string | null} error
 * @property {boolean} [failed] counted as failed; what a client did wrong is not
 * @property {string} client
 * @property {string} [host]
 * @property {string} [user_agent]
 * @property {Record<string, string>} [headers]
 * @property {number} request_bytes
 * @property {number} response_bytes
 *
 * @typedef {{ rate: number, errors: number, p50: number | null, p90: number | null, p99: number | null, self_p50: number | null, self_p99: number | null, count: number }} Stats
 * @typedef {Stats & { route: string, spark?: number[], spark_p99?: (number | null)[] }} RouteStats
 * @typedef {{ what: string, route: string, endpoint: string | null, phase: string | null, status: string | null, before: number, after: number, unit: string, factor: number | null, since: number, text: string }} Change
 * @typedef {{ now: number, window_s: number, total: Stats, in_flight: number, routes: RouteStats[], folded: number, changes: Change[] }} Overview
 * @typedef {{ t: number, step_s: number, count: number, errors: number, p50: number | null, p90: number | null, p99: number | null, self_p99: number | null }} Step
 * @typedef {{ name: string, kind: string, begin_ms: number, end_ms: number, depth: number, detail: Record<string, unknown> }} Bar
 * @typedef {{ route: string, count: number, p50: number | null, p90?: number | null, phases_p50_ms: Phases, phases_p90_ms: Phases, self_p50: number | null }} Typical
 * @typedef {{ le_ms: number | null, count: number, errors: number }} Bucket
 * @typedef {{ id: string, kind: string, name: string }} Node
 * @typedef {{ from: string, to: string, rate: number, errors: number, p50: number | null, p99: number | null, count: number }} Edge
 */

const BASE = new URL("../api/v1/", import.meta.url);
const TIMEOUT_MS = 10_000;

/** Why an answer is not there. `at` is a column of the query, from 0, where the gateway names one. */
export class ApiError extends Error {
  /** @param {number} status @param {string} code @param {string} message @param {number | null} [at] */
  constructor(status, code, message, at = null) {
    super(message);
    this.status = status;
    this.code = code;
    this.at = at;
  }
}

/** @typedef {Record<string, string | number | string[] | null | undefined>} Params */

/**
 * @param {string} path below /api/v1/
 * @param {Params} [params] empty ones are left out, lists are repeated
 */
export function apiUrl(path, params = {}) {
  const url = new URL(path, BASE);
  for (const [name, value] of Object.entries(params)) {
    for (const each of Array.isArray(value) ? value : [value]) {
      if (each !== null && each !== undefined && each !== "") url.searchParams.append(name, String(each));
    }
  }
  return url.href;
}

/**
 * @param {string} path
 * @param {Params} [params]
 * @param {AbortSignal} [signal]
 * @returns {Promise<any>}
 */
export async function getJson(path, params = {}, signal = undefined) {
  const timer = AbortSignal.timeout(TIMEOUT_MS);
  let response;
  try {
    const both = signal && "any" in AbortSignal ? AbortSignal.any([signal, timer]) : signal ?? timer;
    response = await fetch(apiUrl(path, params), { headers: { accept: "application/json" }, signal: both });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw unreachable(error);
  }
  const text = await response.text().catch(() => "");
  const body = parsed(text);
  if (!response.ok) throw refusal(response, body, text);
  if (body === null) throw new ApiError(response.status, "not_json", `/api/v1/${path} did not answer with JSON`);
  return body;
}

/** @param {unknown} error */
function unreachable(error) {
  const late = error instanceof DOMException && error.name === "TimeoutError";
  if (late) return new ApiError(0, "timeout", `no answer from the admin plane within ${TIMEOUT_MS / 1000} s`);
  return new ApiError(0, "unreachable", "the admin plane cannot be reached; is the gateway still running?");
}

/** @param {string} text */
function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

const PLAIN_CHARS_MAX = 300;

/** @param {Response} response @param {any} body @param {string} text */
function refusal(response, body, text) {
  const { status } = response;
  const code = typeof body?.error === "string" ? body.error : `status_${status}`;
  const isPlain = response.headers.get("content-type")?.startsWith("text/plain") && text.trim() !== "";
  const message = typeof body?.message === "string" ? body.message : isPlain ? text.trim().slice(0, PLAIN_CHARS_MAX) : refusalText(status, code);
  return new ApiError(status, code, message, Number.isInteger(body?.at) ? body.at : columnOf(message));
}

/** The place of a mistake in a filter, as the message names it. @param {string} message */
function columnOf(message) {
  const found = /^q: at character (\d+):/.exec(message);
  return found ? Number(found[1]) - 1 : null;
}

/** @param {number} status @param {string} code */
function refusalText(status, code) {
  if (code === "no_such_request") return "the gateway no longer remembers this request";
  if (status === 404) return "this gateway does not have that page of the API";
  if (status === 401) return "the admin plane gives no answer without the right name and password or token";
  if (status === 503) return "the admin plane is busy";
  return `the admin plane answered ${status}${code === `status_${status}` ? "" : ` (${code})`}`;
}
