// The console: which page is shown for which address, and what holds on all of them (frame, help, global keys).
// Each page is a module of `views/` with one component; one that breaks says so and leaves the rest alone.
import { html, render, useEffect, useErrorBoundary } from "./parts/html.js";
import { Announcer } from "./parts/announce.js";
import { Help, helpShown } from "./parts/help.js";
import { useKeys } from "./parts/keys.js";
import { Failure } from "./parts/panel.js";
import { Bar, PAGES } from "./parts/shell.js";
import { useStore } from "./parts/store.js";
import { liveState } from "./live.js";
import { go, useRoute } from "./router.js";
import { Config } from "./views/config.js";
import { Flamegraph } from "./views/flamegraph.js";
import { Overview } from "./views/overview.js";
import { Request } from "./views/request.js";
import { Requests } from "./views/requests.js";
import { Telemetry } from "./views/telemetry.js";
import { Topology } from "./views/topology.js";

/** @typedef {import("./router.js").Route} Route */

/** @type {Record<string, (props: Route) => any>} */
const VIEWS = {
  overview: Overview,
  requests: Requests,
  request: Request,
  flamegraph: Flamegraph,
  topology: Topology,
  config: Config,
  telemetry: Telemetry,
};

function App() {
  const route = useRoute();
  const place = `${route.page}/${route.id}`;
  const isOld = useStore(liveState).since !== null;
  useKeys({ "?": () => helpShown.set(true), "/": goToFilter });
  useEffect(() => arrive(route.page), [place]);
  return html`
    <a class="skip" href="#main" onClick=${skip}>Skip to content</a>
    <${Bar} page=${route.page === "request" ? "requests" : route.page} />
    <main id="main" class="page" data-page=${route.page} data-old=${isOld ? "" : undefined} tabindex="-1"><${Page} key=${place} route=${route} /></main>
    <${Help} />
    <${Announcer} />
  `;
}

/** @param {{ route: Route }} props */
function Page({ route }) {
  const [broken, again] = useErrorBoundary((/** @type {unknown} */ error) => console.error(error));
  if (broken) return html`<h1 tabindex="-1">Something broke</h1><${Failure} error=${broken} retry=${again} title="This page of the console failed." />`;
  const View = VIEWS[route.page];
  if (!View) return html`<h1 tabindex="-1">No such page</h1><p>There is nothing at ${location.hash}. <a href="#/overview">To the overview</a></p>`;
  return html`<${View} ...${route} />`;
}

/** The title and the focus follow the page, unless the page has put the focus somewhere itself. @param {string} page */
function arrive(page) {
  const name = PAGES.find(([each]) => each === page)?.[1] ?? (page === "request" ? "Request" : "Console");
  document.title = `${name} · Pellucid`;
  scrollTo(0, 0);
  document.querySelector(".tabs [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
  if (document.activeElement?.closest("main")) return;
  const heading = document.querySelector("main h1");
  if (heading instanceof HTMLElement) heading.focus({ preventScroll: true });
}

/** The hash is the address of pages, so this link moves the focus itself. @param {Event} event */
function skip(event) {
  event.preventDefault();
  document.getElementById("main")?.focus();
}

/** Where the page has no filter, the requests have one. @param {KeyboardEvent} event */
function goToFilter(event) {
  event.preventDefault();
  const field = document.getElementById("filter-field");
  if (field instanceof HTMLInputElement) field.select();
  else go("#/requests?focus=filter");
}

const root = document.getElementById("app");
if (root) {
  root.textContent = "";
  render(html`<${App} />`, root);
}
