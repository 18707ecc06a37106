// The frame around every page: name, navigation, the state of the live connection, theme and help.
// Not here: which page is shown (`app`).
import { clock } from "./format.js";
import { html } from "./html.js";
import { helpShown } from "./help.js";
import { useStore } from "./store.js";
import { nextTheme, theme } from "./theme.js";
import { liveState } from "../live.js";

/** @type {[string, string][]} */
export const PAGES = [
  ["overview", "Overview"],
  ["requests", "Requests"],
  ["flamegraph", "Flame graph"],
  ["topology", "Topology"],
  ["config", "Config"],
  ["telemetry", "Telemetry"],
];

/** @type {Record<string, string>} */
const STATES = { opening: "Connecting", live: "Live", retrying: "Reconnecting", polling: "Every 2 s", silent: "No answer", hidden: "Paused" };

/** @param {{ page: string }} props */
export function Bar({ page }) {
  return html`
    <header class="bar">
      <a class="brand" href="#/overview"><img src="icon.svg" alt="" width="22" height="22" />Pellucid</a>
      <nav class="tabs" aria-label="Console">
        ${PAGES.map(([name, label]) => html`<a key=${name} href="#/${name}" aria-current=${name === page ? "page" : undefined}>${label}</a>`)}
      </nav>
      <div class="tools">
        <${LiveBadge} />
        <${ThemeButton} />
        <button type="button" class="ghost square" aria-label="Help and keys" title="Help and keys (?)" onClick=${() => helpShown.set(true)}>
          ?
        </button>
      </div>
    </header>
  `;
}

function LiveBadge() {
  const { state, why, since } = useStore(liveState);
  const isOld = since !== null;
  const text = isOld ? `No answer since ${clock(since)}` : STATES[state];
  return html`
    <span class="live" data-state=${isOld ? "silent" : state} title=${why} role="status">${state === "off" ? "" : html`<i></i><span class="cut">${text}</span>`}</span>
  `;
}

function ThemeButton() {
  const chosen = useStore(theme);
  const label = `Theme: ${chosen}`;
  return html`
    <button type="button" class="ghost square" aria-label=${label} title=${label} onClick=${nextTheme}>
      <svg viewBox="0 0 16 16" width="16" height="16" aria-hidden="true"><${ThemeIcon} theme=${chosen} /></svg>
    </button>
  `;
}

/** @param {{ theme: string }} props */
function ThemeIcon({ theme: chosen }) {
  if (chosen === "dark") return html`<path d="M13 9.8A5.8 5.8 0 0 1 6.2 3 5.6 5.6 0 1 0 13 9.8Z" fill="currentColor" />`;
  if (chosen === "light") return html`<circle cx="8" cy="8" r="4.5" fill="currentColor" />`;
  return html`
    <circle cx="8" cy="8" r="5.5" fill="none" stroke="currentColor" stroke-width="1.5" />
    <path d="M8 2.5a5.5 5.5 0 0 1 0 11Z" fill="currentColor" />
  `;
}
