// Asks the API again and again while a component is shown; never twice at once, and not while the tab is hidden.
// Out: the newest answer, or why there is none. An old answer stays while a new one fails.
import { useEffect, useRef, useState } from "./html.js";
import { getJson } from "../api.js";

/** @typedef {{ data: any, error: any, loading: boolean, at: number, reload: () => void }} Polled */

/**
 * @param {string | null} path null: nothing is asked
 * @param {import("../api.js").Params} [params]
 * @param {number} [everyMs] 0: once
 * @returns {Polled}
 */
export function usePolled(path, params = {}, everyMs = 0) {
  const [answer, setAnswer] = useState({ key: "", data: null, error: /** @type {any} */ (null), at: 0 });
  const [round, setRound] = useState(0);
  const key = path === null ? "" : JSON.stringify([path, params]);
  const seen = useRef(params);
  seen.current = params;
  useEffect(() => {
    if (path === null) return undefined;
    return askAgain(path, seen.current, everyMs, (data, error) =>
      setAnswer((old) => ({ key, data: error && old.key === key ? old.data : data, error, at: Date.now() })),
    );
  }, [key, everyMs, round]);
  const current = answer.key === key;
  return {
    data: current ? answer.data : null,
    error: current ? answer.error : null,
    loading: path !== null && !current,
    at: answer.at,
    reload: () => setRound((/** @type {number} */ n) => n + 1),
  };
}

/**
 * @param {string} path
 * @param {import("../api.js").Params} params
 * @param {number} everyMs
 * @param {(data: any, error: any) => void} tell
 * @returns {() => void} ends it
 */
function askAgain(path, params, everyMs, tell) {
  const ending = new AbortController();
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  let isRefused = false;
  const ask = async () => {
    if (!(document.hidden && everyMs)) await answer();
    // Each question to a gateway that wants a password makes the browser ask its reader for one: once is enough.
    if (everyMs && !isRefused && !ending.signal.aborted) timer = setTimeout(ask, everyMs);
  };
  const answer = async () => {
    try {
      const data = await getJson(path, params, ending.signal);
      if (!ending.signal.aborted) tell(data, null);
    } catch (error) {
      isRefused = /** @type {any} */ (error).status === 401;
      if (!ending.signal.aborted) tell(null, error);
    }
  };
  ask();
  return () => {
    ending.abort();
    clearTimeout(timer);
  };
}
