// Where the reader is: the hash of the address, read and written. A page with its parameters is a permalink.
// In: `#/requests?q=status:5xx`. Out: {page, id, params}. Not here: what a page shows.
import { useEffect, useState } from "./parts/html.js";

/** @typedef {{ page: string, id: string, params: URLSearchParams }} Route */

/** @type {Set<(route: Route) => void>} */
const listeners = new Set();

/**
 * @param {string} hash
 * @returns {Route}
 */
export function parseHash(hash) {
  const text = hash.replace(/^#\/?/, "");
  const at = text.indexOf("?");
  const path = at < 0 ? text : text.slice(0, at);
  const slash = path.indexOf("/");
  const page = slash < 0 ? path : path.slice(0, slash);
  return {
    page: page || "overview",
    id: slash < 0 ? "" : decoded(path.slice(slash + 1)),
    params: new URLSearchParams(at < 0 ? "" : text.slice(at + 1)),
  };
}

/** @param {string} text */
function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/**
 * The hash of a page; parameters that are empty are left out.
 * @param {string} page
 * @param {Record<string, string | number | null | undefined>} [params]
 * @param {string} [id]
 */
export function hashOf(page, params = {}, id = "") {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(params)) {
    if (value !== null && value !== undefined && value !== "") query.set(name, String(value));
  }
  const text = query.toString();
  return `#/${page}${id ? `/${encodeURIComponent(id)}` : ""}${text ? `?${text}` : ""}`;
}

/** @param {string} hash */
export function go(hash) {
  if (location.hash !== hash) location.hash = hash;
}

/**
 * The same place under another address: no new entry in the history.
 * @param {string} hash
 */
export function replace(hash) {
  if (location.hash === hash) return;
  history.replaceState(history.state, "", hash);
  tell();
}

function tell() {
  const route = parseHash(location.hash);
  for (const listener of [...listeners]) listener(route);
}

addEventListener("hashchange", tell);

/** @returns {Route} */
export function useRoute() {
  const [route, setRoute] = useState(() => parseHash(location.hash));
  useEffect(() => {
    listeners.add(setRoute);
    return () => listeners.delete(setRoute);
  }, []);
  return route;
}
