// Takes pictures of the console's pages beside a running gateway, best the demo, for a reader or for the docs.
//
//   target/release/pellucid demo --for 10m --listen 127.0.0.1:8080 --admin 127.0.0.1:9901 &
//   node tests/browser/screens.mjs --admin http://127.0.0.1:9901 --out docs/images --docs
//
// In: the admin plane's address. Out: `<page>-<light|dark>[-narrow].png` in a folder: each page at 1280x800 and at 390x844, or with `--docs`
// only those that the docs show. It waits until there is a minute of data. Not here: starting a gateway, or judging what is seen (console.mjs).
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { goTo, openBrowser, wait } from "./chromium.mjs";
import { withPalette } from "./png.mjs";

const SIZES = { "": { width: 1280, height: 800 }, "-narrow": { width: 390, height: 844 } };
const COLOURS = ["light", "dark"];
const DATA_MIN_S = 60;
const DATA_PATIENCE_MS = 180_000;
/** Charts are drawn a moment after their panel is there. */
const SETTLE_MS = 400;
/** What the docs show. More than a million bytes of pictures are too many for a repository. */
const DOCS = ["overview-light", "overview-dark", "overview-light-narrow", "requests-light", "request-failed-light", "request-trace-light", "topology-light", "request-slow-light", "flamegraph-light"];
const DOCS_BYTES_MAX = 1_000_000;
/** The demo's hot function, how often a sample of it is waited for, and what is shown above it. */
const HOT = "::checksum_of_basket (";
const HOT_TRIES = 4;
const ABOVE_PX = 220;
const FAILED = "route:payments status:5xx verdict:*";
const FAILED_BEHIND = "route:shop status:502 verdict:*";
const SLOW = "route:catalog wait:>100ms verdict:*";

const { values: options } = parseArgs({
  options: {
    admin: { type: "string", default: "http://127.0.0.1:9901" },
    out: { type: "string", default: "docs/images" },
    only: { type: "string", default: "" },
    docs: { type: "boolean", default: false },
  },
});

async function api(path) {
  const answer = await fetch(new URL(`/api/v1/${path}`, options.admin));
  return answer.json();
}

/** The id of a remembered request that a filter matches. */
async function requestId(q) {
  const found = await wait(async () => (await api(`requests?limit=1&q=${encodeURIComponent(q)}`)).requests[0]?.id);
  if (!found) throw new Error(`no remembered request matches ${q}; is this the demo?`);
  return encodeURIComponent(found);
}

/** Each page: its address, and what to do on it before the picture is taken. */
const PAGES = {
  overview: { hash: async () => "#/overview?span=120", then: charts },
  requests: { hash: async () => `#/requests?q=${encodeURIComponent("route:payments status:5xx")}`, then: rows },
  "request-failed": { hash: async () => `#/request/${await requestId(FAILED)}`, then: waterfall },
  "request-trace": { hash: async () => `#/request/${await requestId(FAILED_BEHIND)}`, then: trace },
  "request-slow": { hash: async () => `#/request/${await requestId(SLOW)}`, then: waterfall },
  flamegraph: { hash: async () => "#/flamegraph?seconds=10&route=shop", then: flames },
  topology: { hash: async () => "#/topology", then: (page) => page.locator("main svg").first().waitFor() },
  config: { hash: async () => `#/config?url=${encodeURIComponent("http://shop.example/shop/7")}`, then: (page) => page.getByLabel("Explanation").waitFor() },
  telemetry: { hash: async () => "#/telemetry", then: (page) => page.locator(".account").first().waitFor() },
};

async function charts(page) {
  await page.waitForFunction(() => document.querySelectorAll(".chart-box canvas").length === document.querySelectorAll(".chart-box").length);
}

async function rows(page) {
  await page.locator("tr.request").first().waitFor();
}

async function waterfall(page) {
  await page.locator("table.waterfall").waitFor();
}

/** The panel that says who of a trace failed first. */
async function trace(page) {
  await page.getByRole("heading", { name: "Same trace", exact: true }).scrollIntoViewIfNeeded();
}

/** With the hot function in sight. Whether a sample falls into it is a matter of chance, so it is drawn again where none did. */
async function flames(page) {
  const hot = page.frameLocator("iframe.flame").locator("#frames g").filter({ hasText: HOT });
  for (let tries = 1; ; tries += 1) {
    await page.locator("iframe.flame:is([data-state=drawn], [data-state=empty])").waitFor({ state: "attached" });
    if ((await hot.count()) > 0) break;
    if (tries === HOT_TRIES) throw new Error(`no sample of ${HOT} in ${tries} flame graphs; is this the demo?`);
    await page.getByRole("button", { name: "Draw", exact: true }).click();
    await page.locator("iframe.flame[data-state=taking]").waitFor({ state: "attached" });
  }
  const { y } = await hot.first().boundingBox();
  await page.evaluate((by) => scrollBy(0, by), y - ABOVE_PX);
}

/** A minute of traffic, as the charts will show it. */
async function waitForData() {
  const seconds = await wait(
    async () => {
      const { steps } = await api("history?span=120");
      const seen = steps.filter((step) => step.count > 0).reduce((sum, step) => sum + step.step_s, 0);
      return seen >= DATA_MIN_S ? seen : null;
    },
    DATA_PATIENCE_MS,
    1_000,
  );
  if (!seconds) throw new Error(`${options.admin} had less than ${DATA_MIN_S} s of traffic after ${DATA_PATIENCE_MS / 1000} s`);
}

/** One picture. What moves by itself is still, so that two runs differ in their data only. */
async function take(page, { name, page: { hash, then }, size, colorScheme }) {
  await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
  await page.setViewportSize(size);
  await goTo(page, options.admin, await hash());
  await then(page);
  await page.waitForTimeout(SETTLE_MS);
  const path = join(options.out, `${name}.png`);
  const picture = withPalette(await page.screenshot({ animations: "disabled", caret: "hide", scale: "css" }));
  writeFileSync(path, picture);
  console.log(`${path} ${picture.length}`);
  return picture.length;
}

function wanted() {
  const only = options.docs ? DOCS : options.only.split(",").filter(Boolean);
  const all = Object.entries(PAGES).flatMap(([title, page]) =>
    COLOURS.flatMap((colorScheme) => Object.entries(SIZES).map(([suffix, size]) => ({ name: `${title}-${colorScheme}${suffix}`, page, size, colorScheme }))),
  );
  const chosen = only.length ? all.filter(({ name }) => only.includes(name)) : all;
  if (only.length > chosen.length) throw new Error(`there are only ${all.map(({ name }) => name).join(", ")}`);
  return chosen;
}

const chosen = wanted();
mkdirSync(options.out, { recursive: true });
await waitForData();
const browser = await openBrowser({ viewport: SIZES[""], deviceScaleFactor: 1, locale: "en-GB", timezoneId: "UTC" });
try {
  const page = browser.context.pages()[0] ?? (await browser.context.newPage());
  let bytes = 0;
  for (const each of chosen) bytes += await take(page, each);
  if (options.docs && bytes > DOCS_BYTES_MAX) throw new Error(`the pictures have ${bytes} bytes, at most ${DOCS_BYTES_MAX} are wanted`);
} finally {
  await browser.close();
}
