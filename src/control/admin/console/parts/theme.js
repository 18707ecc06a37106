// Light or dark: the system's wish until the reader chooses otherwise.
// The choice is remembered by the browser; theme.js sets it before the first paint. Charts ask for colours here.
import { createStore } from "./store.js";

/** @typedef {"system" | "light" | "dark"} Theme */

const KEY = "pellucid.theme";
/** @type {Theme[]} */
const ORDER = ["system", "light", "dark"];

/** @type {import("./store.js").Store<Theme>} */
export const theme = createStore(/** @type {Theme} */ (document.documentElement.dataset.theme ?? "system"));

/** Counts up whenever colours may have changed. */
export const colours = createStore(0);

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => colours.set(colours.get() + 1));

/** The next theme in the order system, light, dark. */
export function nextTheme() {
  const next = ORDER[(ORDER.indexOf(theme.get()) + 1) % ORDER.length];
  if (next === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = next;
  remember(next);
  theme.set(next);
  colours.set(colours.get() + 1);
}

/** @param {Theme} next */
function remember(next) {
  try {
    if (next === "system") localStorage.removeItem(KEY);
    else localStorage.setItem(KEY, next);
  } catch {
    // Without storage the choice lasts as long as the page.
  }
}

/**
 * A colour token as a canvas understands it. The tokens are `light-dark()` pairs, so the browser has to compute them.
 * @param {string} token such as `--c-wait`
 */
export function colour(token) {
  const probe = document.createElement("span");
  probe.style.color = `var(${token})`;
  document.body.append(probe);
  const computed = getComputedStyle(probe).color;
  probe.remove();
  return computed;
}
