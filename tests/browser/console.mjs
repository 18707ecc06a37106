// Drives the console in a real Chromium, as a reader would, and says what it found.
// In: `node console.mjs <admin url> <data url> <scenario>`; chromium.mjs says which browser. PELLUCID_FACTS is a JSON file with
// what another witness saw, for the scenarios that compare with one.
// Out: one JSON line a check, {scenario, check, ok, found}, and an exit code that is not 0 where one failed.
// Every wait is for a fact; the deadline is only there to fail. Not here: gateways and origins, which tests/it/console.rs starts.
import { readFileSync } from "node:fs";
import { request as httpRequest } from "node:http";
import { PATIENCE_MS, goTo, load, openBrowser, settled, wait } from "./chromium.mjs";

/** What the promise "within a second" means. */
const LIVE_MS = 1_000;
const LIVE_TRIES = 8;
/** What the gateway writes in place of a secret. The page may have a word of its own. */
const HIDDEN = "REDACTED";
const MARKUP = "<img src=x onerror=window.__pwned=1>";
const LONG_PATH_BYTES = 8_000;
/** Begins and ends are rounded to microseconds one by one, so a length may be off by as much again. */
const ROUNDING_MS = 0.002;
const MICROSECOND_MS = 0.001;
/** The phases whose spans carry a time, in the order of the page's columns. The page has `tls` between them, which no span has. */
const SPAN_PHASES = ["queue", "dns", "connect", "send", "wait", "body"];
/** Relaying so much costs the gateway enough CPU time to be sampled a few times. */
const BURNING_BYTES = 50_000_000;
/** The time in which a new user finds what is wrong with the demo, as the docs promise. */
const WALK_S = 120;
/** How long the walk samples, how often it does at most, and from which share of all samples on code is hot, in per cent. */
const HOT_S = 10;
const HOT_TRIES = 4;
const HOT_SHARE = 20;
/** More frames than any stack has. */
const STACK_DEEPEST = 300;
/** The label of each tab, the page behind it, and the letter that follows `g`. */
const PAGES = [
  ["Overview", "overview", "o"],
  ["Requests", "requests", "r"],
  ["Flame graph", "flamegraph", "f"],
  ["Topology", "topology", "t"],
  ["Config", "config", "c"],
  ["Telemetry", "telemetry", "e"],
];

const [admin, data, scenario] = process.argv.slice(2);
if (!admin || !data || !scenario) fail("usage: node console.mjs <admin url> <data url> <scenario>");
const axeSource = readFileSync(load.resolve("axe-core/axe.min.js"), "utf8");
let failures = 0;

/** @param {string} why */
function fail(why) {
  console.error(why);
  process.exit(2);
}

/** One line of the report. */
function check(name, ok, found = null) {
  if (!ok) failures += 1;
  console.log(JSON.stringify({ scenario, check: name, ok: Boolean(ok), found }));
}

/** A request through the gateway, its path byte for byte as given. */
function send(path, { method = "GET", headers = {} } = {}) {
  return new Promise((resolve, reject) => {
    const url = new URL(data);
    const asked = httpRequest({ host: url.hostname, port: url.port, method, path, headers, agent: false }, (answer) => {
      answer.resume().on("end", () => resolve(answer.statusCode));
    });
    asked.on("error", reject).end();
  });
}

async function apiText(path) {
  const answer = await fetch(new URL(`/api/v1/${path}`, admin));
  return answer.text();
}

async function api(path) {
  return JSON.parse(await apiText(path));
}

/** The newest remembered request that a filter matches. */
function remembered(q, accept = () => true) {
  return wait(async () => (await api(`requests?limit=20&q=${encodeURIComponent(q)}`)).requests?.find(accept) ?? null);
}

/** A page of a fresh profile, with everything written down that must not happen. */
class Reader {
  constructor() {
    this.wrong = [];
    this.asked = 0;
    /** Complaints of the browser that a scenario provokes. */
    this.expected = [];
  }

  async open(options = {}) {
    this.browser = await openBrowser(options);
    this.context = this.browser.context;
    await this.context.exposeBinding("pellucidViolation", (_, what) => this.wrong.push(`policy: ${what}`));
    await this.context.addInitScript(() => {
      addEventListener("securitypolicyviolation", (event) => {
        window.pellucidViolation(`${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}:${event.lineNumber}`);
      });
    });
    this.context.on("request", (request) => this.watchRequest(request.url()));
    this.context.on("weberror", (error) => this.wrong.push(`page error: ${error.error().stack ?? error.error()}`));
    this.context.on("console", (message) => this.watchConsole(message));
    this.page = this.context.pages()[0] ?? (await this.context.newPage());
    return this.page;
  }

  watchRequest(text) {
    this.asked += 1;
    const url = new URL(text);
    const local = ["data:", "blob:", "about:"].includes(url.protocol) || url.origin === new URL(admin).origin;
    if (!local) this.wrong.push(`asked elsewhere: ${text}`);
  }

  watchConsole(message) {
    if (!["error", "warning"].includes(message.type())) return;
    const text = `console ${message.type()}: ${message.text()} (${message.location().url})`;
    if (!this.expected.some((each) => each.test(text))) this.wrong.push(text);
  }

  /** Shows a page of the console, loaded anew, and waits until nothing on it waits. */
  async go(hash) {
    await goTo(this.page, admin, hash);
  }

  settled(name) {
    return settled(this.page, name);
  }

  /** Loads the same address again, from nothing but the address. */
  async reload() {
    await this.page.reload({ waitUntil: "load" });
  }

  count(selector) {
    return this.page.locator(selector).count();
  }

  async text(selector) {
    return (await this.page.locator(selector).first().textContent())?.trim() ?? "";
  }

  async close() {
    await this.browser?.close();
  }
}

/** The row of a path in the list, as a selector. */
const rowOf = (path) => `tr.request:has(a[data-row][title="${path}"])`;

const hashOf = (page, q) => `#/${page}?q=${encodeURIComponent(q)}`;

/** A time as the console writes it, in milliseconds, with the most that rounding took off. */
function readTime(text) {
  const [, digits, unit] = /^([\d,.]+) (ms|s)$/.exec(text.trim()) ?? [];
  if (digits === undefined) return null;
  const factor = unit === "s" ? 1000 : 1;
  const decimals = digits.split(".")[1]?.length ?? 0;
  return { value: Number(digits.replaceAll(",", "")) * factor, slack: 0.51 * factor * 10 ** -decimals };
}

/** @param {number} more what was rounded off before the console rounded */
function isTime(text, wanted, more = 0) {
  const read = readTime(text);
  return read !== null && Math.abs(read.value - wanted) <= read.slack + more;
}

/** A request that was just sent is in the list within a second, and opens into what the API says of it. */
async function live(reader) {
  await reader.go("#/requests");
  const { page } = reader;
  const took = [];
  let path = "";
  for (let attempt = 0; attempt < LIVE_TRIES && !took.some((each) => each < LIVE_MS); attempt += 1) {
    path = `/live/${Date.now()}-${attempt}`;
    await send(path);
    const began = performance.now();
    await page.locator(rowOf(path)).waitFor();
    took.push(performance.now() - began);
  }
  // A machine that is busy elsewhere may be late once; the console may not be late every time.
  check("a request shows within a second", took.some((each) => each < LIVE_MS), { took_ms: took.map(Math.round) });
  const link = page.locator(rowOf(path)).locator("a[data-row]");
  const id = await link.getAttribute("data-row");
  await link.click();
  await reader.settled("request");
  await page.locator("table.waterfall").waitFor();
  await sameNumbers(reader, await api(`requests/${encodeURIComponent(id)}`));
}

/** The waterfall of the page beside the one of the API. */
async function sameNumbers(reader, body) {
  const rows = await reader.page.locator("table.waterfall tbody tr").evaluateAll((all) =>
    all.map((row) => ({
      name: row.querySelector("th .cut").textContent,
      kind: row.dataset.kind,
      begins: row.querySelector("td.begins").textContent,
      takes: row.querySelectorAll("td.num")[1].textContent,
      left: Number.parseFloat(row.querySelector(".lane i").style.left),
      width: Number.parseFloat(row.querySelector(".lane i").style.width),
    })),
  );
  const bars = body.waterfall;
  const end = Math.max(body.request.duration_ms, ...bars.map((bar) => bar.end_ms), 0.001);
  const near = (a, b) => Math.abs(a - b) < 0.1;
  const wrong = bars.flatMap((bar, index) => {
    const row = rows[index];
    const same =
      row?.name === bar.name &&
      row.kind === bar.kind &&
      isTime(row.begins, bar.begin_ms) &&
      isTime(row.takes, bar.end_ms - bar.begin_ms) &&
      near(row.left, (100 * bar.begin_ms) / end) &&
      near(row.width, (100 * (bar.end_ms - bar.begin_ms)) / end);
    return same ? [] : [{ bar, row }];
  });
  check("the waterfall has the numbers of the API", bars.length > 0 && rows.length === bars.length && wrong.length === 0, { bars: bars.length, wrong });
  const [whole, self] = await reader.page.locator(".request-sub b").allTextContents();
  check("the heading has the times of the API", isTime(whole, body.request.duration_ms) && isTime(self, body.request.self_ms), { whole, self, request: body.request });
  const trace = await reader.text("dl.facts code");
  check("the trace id is the API's", trace === body.request.trace_id, trace);
}

/** The filter keeps what matches, survives a reload, and says what it cannot read. */
async function filter(reader) {
  const { page } = reader;
  for (const path of ["/status/200", "/status/503", "/status/404"]) await send(path);
  await remembered("path:/status/404");
  await reader.go("#/requests");
  const statuses = () => page.locator("tr.request .status").allTextContents();
  await wait(async () => new Set(await statuses()).size >= 3);
  check("without a filter everything is listed", new Set(await statuses()).size >= 3, await statuses());
  await page.fill("#filter-field", "status:5xx");
  await page.press("#filter-field", "Enter");
  const only = await wait(async () => {
    const all = await statuses();
    return all.length > 0 && all.every((status) => status.startsWith("5")) ? all : null;
  });
  check("a filter leaves what matches", only !== null, await statuses());
  check("the address holds the filter", page.url().includes(`q=${encodeURIComponent("status:5xx")}`), page.url());
  await send("/status/200");
  await send("/status/502");
  await page.locator(rowOf("/status/502")).first().waitFor();
  check("new rows pass the same filter", (await statuses()).every((status) => status.startsWith("5")), await statuses());
  await reader.reload();
  await page.locator(rowOf("/status/503")).first().waitFor();
  check("a reload keeps the filter", (await page.inputValue("#filter-field")) === "status:5xx" && (await statuses()).every((status) => status.startsWith("5")), await statuses());
  await badFilter(reader);
}

async function badFilter(reader) {
  const { page } = reader;
  reader.expected.push(/status of 400 .*\/api\/v1\/requests/);
  const bad = "status:200 duration:>soon";
  await page.fill("#filter-field", bad);
  await page.press("#filter-field", "Enter");
  await page.locator("#filter-problem").waitFor();
  const { message } = await api(`requests?q=${encodeURIComponent(bad)}`);
  const said = await reader.text("#filter-problem");
  check("a bad filter shows the gateway's error", message && said.includes(message), { said, message });
  check("the field is marked as wrong", (await page.getAttribute("#filter-field", "aria-invalid")) === "true");
  await page.fill("#filter-field", "status:404");
  await page.press("#filter-field", "Enter");
  await page.locator(rowOf("/status/404")).first().waitFor();
  check("a mended filter shows rows again", (await reader.count("#filter-problem")) === 0);
}

/** Every page can be reached, and left, without a pointer. */
async function keyboard(reader) {
  const { page } = reader;
  await send("/keyboard");
  await remembered("path:/keyboard");
  await reader.go("#/overview");
  const unreached = [];
  for (const [label, name] of PAGES) if (!(await tabTo(reader, label, name))) unreached.push(label);
  check("Tab and Enter reach every page", unreached.length === 0, { unreached });
  const unheard = [];
  for (const [, name, letter] of PAGES) {
    await page.keyboard.press("g");
    await page.keyboard.press(letter);
    await reader.settled(name).catch(() => unheard.push(`g ${letter}`));
  }
  check("g and a letter reach every page", unheard.length === 0, { unheard });
  await page.keyboard.press("?");
  await page.locator("dialog[open]").waitFor();
  await page.keyboard.press("Escape");
  await page.locator("dialog[open]").waitFor({ state: "detached" });
  check("? opens the help and Escape closes it", true);
  await openByKeys(reader);
  await zoomByKeys(reader);
}

/** Tabs on until the link of that page has the focus, shows it, and leads there. */
async function tabTo(reader, label, name) {
  const { page } = reader;
  for (let presses = 0; presses < 300; presses += 1) {
    await page.keyboard.press("Tab");
    const at = await page.evaluate(() => {
      const focused = document.activeElement;
      const style = focused ? getComputedStyle(focused) : null;
      return { inTabs: Boolean(focused?.closest(".tabs")), text: focused?.textContent?.trim(), shown: style?.outlineStyle !== "none" || style?.boxShadow !== "none" };
    });
    if (!at.inTabs || at.text !== label) continue;
    await page.keyboard.press("Enter");
    await reader.settled(name);
    return at.shown;
  }
  return false;
}

async function openByKeys(reader) {
  const { page } = reader;
  await page.keyboard.press("/");
  await page.waitForFunction(() => document.activeElement?.id === "filter-field");
  await page.keyboard.type("path:/keyboard");
  await page.keyboard.press("Enter");
  await page.locator(rowOf("/keyboard")).first().waitFor();
  await page.waitForFunction(() => [...document.querySelectorAll("tr.request .c-path a")].every((link) => link.title === "/keyboard"));
  check("/ leads to the filter, which takes what is typed", (await page.inputValue("#filter-field")) === "path:/keyboard");
  // Single keys are text as long as the field has the focus.
  await page.keyboard.press("Escape");
  await page.waitForFunction(() => document.activeElement?.id !== "filter-field");
  // A row that has just come may take the place of the one that was chosen: who reads presses again.
  const onRow = () => page.waitForFunction(() => document.activeElement?.matches("a[data-row]"), null, { timeout: 1000 });
  for (let presses = 0; presses < 20; presses += 1) {
    await page.keyboard.press("j");
    if (await onRow().then(() => true, () => false)) break;
  }
  await page.keyboard.press("Enter");
  await reader.settled("request");
  check("j and Enter open a request", page.url().includes("#/request/"), page.url());
  await page.keyboard.press("Escape");
  await reader.settled("requests");
  check("Escape leads back to the same list", page.url().includes(encodeURIComponent("path:/keyboard")), page.url());
}

/** Into the flame graph, down its stacks, into a frame and out again. */
async function zoomByKeys(reader) {
  const { page } = reader;
  check("a gateway that burns CPU has a flame graph", await drawBurning(reader));
  for (let presses = 0; presses < 300 && !(await focusedFrame(page)); presses += 1) await page.keyboard.press("Tab");
  const root = await focusedFrame(page);
  const isButton = root?.role === "button" && root.label === root.title && root.label.startsWith("all (");
  check("Tab leads to its first frame, a button with a name and a ring", isButton && root.isRinged && root.stops === 1, root);
  let frame = root;
  // A frame as wide as all of them would not look any different when zoomed.
  for (let presses = 0; presses < STACK_DEEPEST && frame?.share > 99; presses += 1) {
    await page.keyboard.press("ArrowUp");
    frame = await focusedFrame(page);
  }
  check("arrow up leads up the stack, ring and name with it", frame?.share < 99 && frame.isRinged && frame.stops === 1 && frame.said.includes(frame.label), frame);
  await page.keyboard.press("ArrowDown");
  const caller = await focusedFrame(page);
  await page.keyboard.press("ArrowUp");
  const again = await focusedFrame(page);
  check("arrow down leads to its caller, and up again", caller?.y > frame?.y && caller.share > 99 && again?.label === frame?.label && again.x === frame.x, { caller, again });
  await page.keyboard.press("Enter");
  const zoomed = await focusedFrame(page);
  check("Enter zooms into it", zoomed?.label === frame?.label && zoomed.share === 100 && zoomed.isZoomed && zoomed.isRinged, { frame, zoomed });
  await page.keyboard.press("Escape");
  const back = await focusedFrame(page);
  check("Escape shows all again", JSON.stringify(back) === JSON.stringify(frame) && !back.isZoomed, { frame, back });
  await page.keyboard.press("Home");
  const home = await focusedFrame(page);
  check("Home leads to the first frame", home !== null && home.y === root?.y && home.share === 100, home);
}

/** Samples a gateway that relays as much as it can. Whether there was a sample is a matter of chance: who sees none draws again. */
async function drawBurning(reader) {
  const state = () => reader.page.locator("iframe.flame").getAttribute("data-state");
  for (let tries = 0; tries < HOT_TRIES; tries += 1) {
    await reader.go("#/flamegraph?seconds=2");
    const found = await wait(async () => {
      await send(`/length/${BURNING_BYTES}`);
      const now = await state();
      return now === "taking" ? null : now;
    });
    if (found === "drawn") return true;
  }
  return false;
}

/** What can be told of the frame that has the focus; null where none has it. Its place is in the units of the drawing, its share what is drawn, in per cent. */
async function focusedFrame(page) {
  const [found] = await page.frameLocator("iframe.flame").locator("#frames > :focus").evaluateAll((all) =>
    all.map((frame) => {
      const rect = frame.querySelector("rect");
      const [box, ring] = [rect, document.querySelector("#ring rect")].map((each) => each.getBoundingClientRect());
      const near = ["left", "right", "top", "bottom"].every((side) => Math.abs(box[side] - ring[side]) < 4);
      return {
        role: frame.getAttribute("role"),
        label: frame.getAttribute("aria-label"),
        title: frame.querySelector("title").textContent,
        x: rect.getAttribute("fg:x"),
        y: Number(rect.getAttribute("y")),
        share: Number.parseFloat(rect.getAttribute("width")),
        said: document.getElementById("details").textContent,
        stops: document.querySelectorAll("#frames > [tabindex='0']").length,
        isRinged: near && getComputedStyle(document.getElementById("ring")).visibility === "visible",
        isZoomed: !document.getElementById("unzoom").classList.contains("hide"),
      };
    }),
  );
  return found ?? null;
}

/** No serious fault for readers with other senses or tools, in light and in dark, wide and narrow. */
async function access(reader) {
  const { page } = reader;
  for (const path of ["/status/200", "/status/503", "/sleep/40"]) await send(path);
  const row = await remembered("path:/sleep/40");
  const places = [...PAGES.map(([, name]) => `#/${name}`), `#/request/${encodeURIComponent(row.id)}`, hashOf("requests", "duration:>soon"), "#/config?url=http%3A%2F%2Fx%2Fy"];
  reader.expected.push(/status of 400 .*\/api\/v1\/requests/);
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
    for (const place of places) {
      await reader.go(place);
      check(`axe, ${colorScheme}, ${place.replace(row.id, "ID")}`, ...(await judged(page)));
    }
    await page.locator("header button[aria-label^=Help]").click();
    await page.locator("dialog[open]").waitFor();
    check(`axe, ${colorScheme}, help`, ...(await judged(page)));
    await page.keyboard.press("Escape");
  }
  await page.setViewportSize({ width: 390, height: 844 });
  for (const place of places) {
    await reader.go(place);
    check(`axe, narrow, ${place.replace(row.id, "ID")}`, ...(await judged(page)));
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    check(`no sideways scrolling, narrow, ${place.replace(row.id, "ID")}`, wide <= 0, { too_wide_px: wide });
  }
}

/** Whether axe is content, and what it is not content with. Evaluated, not added as a script: the policy would forbid that. */
async function judged(page) {
  if (!(await page.evaluate(() => "axe" in window))) await page.evaluate(axeSource);
  const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"], iframes: false }));
  const bad = violations.filter(({ impact }) => impact === "serious" || impact === "critical");
  const found = bad.map(({ id, impact, nodes }) => ({ id, impact, count: nodes.length, first: nodes[0]?.html.slice(0, 300), why: nodes[0]?.failureSummary?.slice(0, 400) }));
  return [bad.length === 0, found];
}

/** What strangers put into a request stays text on every page that shows it. */
async function hostile(reader) {
  const { page } = reader;
  const script = "<script>window.__pwned=1</script>";
  const encoded = `/hostile/${encodeURIComponent(MARKUP)}/%22%3E${encodeURIComponent(script)}`;
  const headers = { "user-agent": `${MARKUP}"'>${script}`, "x-hostile": MARKUP, referer: `javascript:window.__pwned=1` };
  await send(encoded, { headers });
  const long = `/long/${"x".repeat(LONG_PATH_BYTES)}`;
  await send(long, { headers });
  // Refused or not, it is remembered under what was written.
  await send(`/raw/${MARKUP.replaceAll(" ", "%20")}`, { headers });
  const first = await remembered("path:/hostile/*");
  const second = await remembered("path:/long/*");
  check("the requests are remembered", Boolean(first && second), { first: first?.path, second: second?.path?.length });
  for (const place of ["#/overview", "#/requests", "#/topology", "#/telemetry"]) {
    await reader.go(place);
    check(`nothing is injected on ${place}`, ...(await untouched(page)));
  }
  await reader.go("#/requests");
  for (const path of ["/hostile/", "/long/"]) await page.locator(`a[data-row][title^="${path}"]`).first().waitFor();
  check("nothing is injected into the list", ...(await untouched(page)));
  for (const [name, row] of [["markup", first], ["a long path", second]]) {
    await reader.go(`#/request/${encodeURIComponent(row.id)}`);
    check(`nothing is injected by ${name}`, ...(await untouched(page)));
    const shown = await page.locator("main").innerText();
    check(`${name} is shown as it was written`, shown.includes(row.path), { length: row.path.length });
    const agent = row.user_agent ?? "";
    check(`the user agent beside ${name} is text`, agent !== "" && shown.includes(agent), { agent });
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    check(`${name} does not widen the page`, wide <= 0, { too_wide_px: wide });
    await unfold(page);
    check(`nothing is injected by ${name}, as written down`, ...(await untouched(page)));
  }
  await hostileAddresses(reader);
}

/** Opens whatever is folded, and waits until what was inside is drawn. */
async function unfold(page) {
  await page.locator("main details").evaluateAll((all) => all.forEach((each) => (each.open = true)));
  await page.waitForFunction(() => [...document.querySelectorAll("main details")].every((each) => each.open && each.querySelector("pre")?.textContent));
}

/** Links are written by others too. */
async function hostileAddresses(reader) {
  const { page } = reader;
  const value = encodeURIComponent(MARKUP);
  reader.expected.push(/status of 4\d\d /);
  for (const place of [`#/requests?q=${value}`, `#/requests?q=status:${value}`, `#/request/${value}`, `#/overview?route=${value}`, `#/config?url=${value}`, `#/${value}`, `#/flamegraph?seconds=1&route=${value}`]) {
    await page.goto("about:blank");
    await page.goto(new URL(`/console/${place}`, admin).href);
    // The address may name no page at all, so only the heading is waited for.
    await page.waitForFunction(() => document.querySelector("main h1") && !document.querySelector("main .dots"));
    check(`nothing is injected by the address ${decodeURIComponent(place)}`, ...(await untouched(page)));
  }
}

/** Whether no element came out of a text. The console's own pages hold no image, no inline script and no handler in `main`. */
async function untouched(page) {
  const found = await page.evaluate(() => ({
    pwned: window.__pwned ?? null,
    elements: [...document.querySelectorAll("main img, main script, main [onerror], main [onclick], main a[href^='javascript:']")].map((each) => each.outerHTML.slice(0, 200)),
  }));
  return [found.pwned === null && found.elements.length === 0, found];
}

/** How soon something is seen, and how much was sent for it: told, not judged, for a busy machine says little about the page. */
async function speed(reader) {
  const { page } = reader;
  await reader.go("#/overview");
  const cold = await paint(page);
  const sizes = await page.evaluate(() => {
    const all = [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")].filter((each) => new URL(each.name).pathname.startsWith("/console/"));
    const sum = (field) => all.reduce((total, each) => total + each[field], 0);
    return { files: all.length, sent_bytes: sum("encodedBodySize"), plain_bytes: sum("decodedBodySize") };
  });
  await reader.reload();
  await reader.settled("overview");
  check("first paint and sizes", sizes.files > 1 && sizes.sent_bytes > 0, { first_contentful_paint_ms: cold, again_ms: await paint(page), wanted_ms: 200, ...sizes });
}

async function paint(page) {
  const at = await wait(() => page.evaluate(() => performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? null));
  return at === null ? null : Math.round(at);
}

/**
 * The walk of docs/console.md, by its links, buttons and fields only: the service that fails, the endpoint that is slow, the function that is hot.
 * Nothing is taken from the API, and it has the time that the docs promise.
 */
async function demo(reader) {
  const { page } = reader;
  const began = performance.now();
  await page.goto(new URL("/console/", admin).href, { waitUntil: "load" });
  await reader.settled("overview");
  await failingService(reader);
  await failedTrace(reader);
  await slowEndpoint(reader);
  await hotFunction(reader);
  const took = (performance.now() - began) / 1000;
  check("the walk takes less than two minutes", took < WALK_S, { took_s: Math.round(took) });
}

/** Follows a tab of the header. */
async function toTab(reader, label, name) {
  await reader.page.getByRole("navigation", { name: "Console" }).getByRole("link", { name: label, exact: true }).click();
  await reader.settled(name);
}

/** The rows of a table by the names of its columns. */
function rowsOf(page, caption) {
  return page.getByRole("table", { name: caption }).evaluate((table) => {
    const textOf = (cell) => cell.textContent.replace(/\s+/g, " ").trim();
    const names = [...table.tHead.rows[0].cells].map(textOf);
    return [...table.tBodies[0].rows].map((row) => Object.fromEntries([...row.cells].map((cell, index) => [names[index], textOf(cell)])));
  });
}

/** A row of the overview's routes, once it says what is waited for. */
async function routeRow(page, name, accept) {
  return wait(async () => {
    const row = (await rowsOf(page, "Routes").catch(() => [])).find((each) => each.Route === name);
    return row && accept(row) ? row : null;
  });
}

/** Opens the newest row of the list that reads so. The list stands still as long as the pointer is on it. */
async function openListed(reader, text) {
  const { page } = reader;
  await page.getByRole("group", { name: "List of requests" }).hover();
  await page.getByRole("table", { name: "Requests, newest first" }).getByRole("row").filter({ hasText: text }).first().getByRole("link").first().click();
  await reader.settled("request");
  return reader.text(".verdict strong");
}

/** From the overview to one route's failed requests: its link, and one of the frequent filters. */
async function toFailed(reader, route) {
  const { page } = reader;
  await page.getByRole("table", { name: "Routes" }).getByRole("link", { name: route, exact: true }).click();
  await reader.settled("requests");
  await page.getByRole("button", { name: "5xx", exact: true }).click();
  await page.waitForFunction((wanted) => {
    const rows = [...document.querySelectorAll("tr.request")];
    return rows.length > 0 && rows.every((row) => row.querySelector(".status").textContent.startsWith("5") && row.querySelector(".c-route").textContent === wanted);
  }, route);
}

/** Overview, the row of payments, its failed requests, one of them, its verdict. */
async function failingService(reader) {
  const { page } = reader;
  const failing = await routeRow(page, "payments", (row) => Number.parseFloat(row.Failed) >= 0.5);
  check("the overview shows payments failing", failing !== null, failing);
  const marked = page.getByRole("table", { name: "Routes" }).getByRole("row").filter({ hasText: "payments" }).locator("[data-tone=bad], [data-tone=warn]");
  check("and marks it", (await wait(async () => (await marked.count()) > 0)) !== null);
  await toFailed(reader, "payments");
  const verdict = await openListed(reader, "payments");
  check("the failing service is payments, with its status", /\bpayments\b.*\b503\b/.test(verdict), verdict);
}

/** A failed request of the shop, and the request of its trace that failed first. */
async function failedTrace(reader) {
  const { page } = reader;
  await toTab(reader, "Overview", "overview");
  await toFailed(reader, "shop");
  const shops = await openListed(reader, "shop");
  check("the shop's own verdict does not say why", /\bshop\b.*\b502\b/.test(shops), shops);
  const panel = page.locator("section.panel").filter({ has: page.getByRole("heading", { name: "Same trace", exact: true }) });
  const said = await panel.locator("p").first().textContent();
  check("the panel of its trace says who failed first", /\bfailed, the first of them payments\b/.test(said), said);
  await panel.getByRole("link", { name: "payments", exact: true }).click();
  await page.waitForFunction(() => document.querySelector("main h1 .status")?.textContent === "503");
  const cause = await reader.text(".verdict strong");
  check("the same trace leads to the payment that failed", /\bpayments\b.*\b503\b/.test(cause), cause);
}

/** Overview, the catalog's p99; Topology, which of its endpoints; a slow request of it, its verdict, its waterfall, what is typical. */
async function slowEndpoint(reader) {
  const { page } = reader;
  await toTab(reader, "Overview", "overview");
  const slow = await routeRow(page, "catalog", (row) => timeOf(row.p99) > 20 * timeOf(row.p50));
  check("the overview shows a catalog whose p99 is far from its p50", slow !== null, slow);
  await toTab(reader, "Topology", "topology");
  const ends = await wait(() => catalogEnds(page));
  check("the topology shows one of its two endpoints to be slow", ends !== null, ends ?? (await rowsOf(page, "What flows between whom")));
  const [address, other] = ends.map(({ To }) => To.split(" ").find((word) => word.includes(":")));
  await page.getByRole("link", { name: new RegExp(`^endpoint ${address.replaceAll(".", "\\.")}\\b`) }).click();
  await reader.settled("requests");
  await page.getByRole("button", { name: "> 100 ms", exact: true }).click();
  const verdict = await openListed(reader, /waiting for catalog/);
  check("the slow endpoint is named", verdict.includes(address), { verdict, address });
  check("and that the other one was normal", verdict.includes(other) && /normal|lately/.test(verdict), { verdict, other });
  const waits = await page.locator("table.waterfall tr[data-kind=phase]:has(i[data-phase=wait]) td.num:not(.begins)").allTextContents();
  const [whole] = await page.locator(".request-sub b").allTextContents();
  const longest = Math.max(0, ...waits.map(timeOf));
  check("its waterfall is all but one wait", longest > timeOf(whole) / 2, { waits, whole });
  const odd = await page.getByRole("group", { name: "Beside a typical request" }).getByRole("row").filter({ hasText: "stands out" }).allTextContents();
  check("beside a typical one the wait stands out", odd.length === 1 && odd[0].trim().startsWith("wait"), odd);
}

/** Both endpoints of the catalog, the slow one first, once that one is marked and the other is not. */
async function catalogEnds(page) {
  const ends = (await rowsOf(page, "What flows between whom")).filter(({ From }) => From === "upstream catalog");
  const [slow, normal] = ends.sort((a, b) => timeOf(b.p99) - timeOf(a.p99));
  const isMarked = (end) => /\bslow$/.test(end.To);
  return ends.length === 2 && timeOf(slow.p99) > 5 * timeOf(normal.p99) && isMarked(slow) && !isMarked(normal) ? ends : null;
}

/** In milliseconds; what is no time is none. */
const timeOf = (text) => readTime(text ?? "")?.value ?? 0;

/** Flame graph, ten seconds of the route shop, the widest code of our own that is high up. */
async function hotFunction(reader) {
  const { page } = reader;
  await toTab(reader, "Flame graph", "flamegraph");
  await page.getByLabel("Seconds", { exact: true }).fill(String(HOT_S));
  await page.getByRole("combobox", { name: /^Route\b/ }).selectOption("shop");
  // A sample is a matter of chance: who sees nothing draws again.
  let tower = [];
  for (let tries = 0; tries < HOT_TRIES && !tower.some(({ name }) => name.endsWith("::checksum_of_basket")); tries += 1) {
    await page.getByRole("button", { name: "Draw", exact: true }).click();
    await page.locator("iframe.flame[data-state=taking]").waitFor({ state: "attached" });
    await page.locator("iframe.flame:not([data-state=taking])").waitFor({ state: "attached", timeout: HOT_S * 1000 + PATIENCE_MS });
    tower = await towerOf(page);
  }
  const [hot] = tower.filter(({ name }) => name.endsWith("::checksum_of_basket"));
  check("the flame graph's tower is the pricing of baskets", tower.length > 0 && tower.every(({ name }) => name.includes("::basket::")), tower);
  check("and names the hot function", hot !== undefined && hot.share >= HOT_SHARE, hot);
  await page.frameLocator("iframe.flame").locator("#frames g").filter({ hasText: "::checksum_of_basket (" }).first().hover();
  const said = await page.frameLocator("iframe.flame").locator("#details").textContent();
  check("which is written out under the pointer", said.includes("checksum_of_basket"), said);
}

/** The widest tower of the program's own code: from its top down to where the shop's handler begins. */
async function towerOf(page) {
  const frames = await page.frameLocator("iframe.flame").locator("#frames g").evaluateAll((all) =>
    all.map((each) => {
      const box = each.querySelector("rect").getBoundingClientRect();
      const [, name = "", share = "0"] = /^(.*) \(.*?([\d.]+)%\)$/.exec(each.querySelector("title").textContent) ?? [];
      return { name, share: Number(share), top: box.top, left: box.left, right: box.right };
    }),
  );
  const own = frames.filter(({ name, share }) => /^<?pellucid::/.test(name) && share >= HOT_SHARE).sort((a, b) => a.top - b.top);
  const carries = (below, above) => below.top > above.top && below.left <= above.left + 1 && below.right >= above.right - 1;
  const peaks = own.filter((each) => !own.some((above) => carries(each, above)));
  const [peak] = peaks.sort((a, b) => b.share - a.share);
  if (!peak) return [];
  const tower = [peak, ...own.filter((each) => carries(each, peak))];
  const foot = tower.findIndex(({ name }) => !name.includes("::basket::"));
  return foot < 0 ? tower : tower.slice(0, foot);
}

/** The page of a request beside the spans of it that another program took: the Collector wrote them to its file. */
async function spans(reader) {
  const { server, clients } = JSON.parse(readFileSync(process.env.PELLUCID_FACTS, "utf8"));
  const row = await remembered(`trace:${server.traceId}`);
  check("the record of the span is remembered", row !== null && row.span_id === server.spanId, row?.id);
  await reader.go(`#/request/${encodeURIComponent(row.id)}`);
  await reader.page.locator("table.waterfall").waitFor();
  await sameHead(reader, server);
  await sameAttempts(reader, clients);
  await sameBars(reader, server, clients);
  await sameDocument(reader, [server, ...clients]);
}

/** The value of a span's attribute; OTLP's JSON writes whole numbers as texts. */
function attribute(span, key) {
  const value = span.attributes.find((each) => each.key === key)?.value;
  if (value === undefined) return null;
  if ("intValue" in value) return Number(value.intValue);
  const [held] = Object.values(value);
  return typeof held === "object" ? JSON.stringify(held) : held;
}

const nanosMs = (from, until) => Number(BigInt(until) - BigInt(from)) / 1e6;
const lengthOf = (span) => nanosMs(span.startTimeUnixNano, span.endTimeUnixNano);

async function sameHead(reader, server) {
  const [whole, self] = await reader.page.locator(".request-sub b").allTextContents();
  check("the duration is the span's", isTime(whole, lengthOf(server), MICROSECOND_MS), { whole, span: lengthOf(server) });
  check("the self time is the span's", isTime(self, attribute(server, "pellucid.self_time_ms"), MICROSECOND_MS), { self, span: attribute(server, "pellucid.self_time_ms") });
  const status = await reader.text("h1 .status");
  check("the status is the span's", status === String(attribute(server, "http.response.status_code")), status);
  const trace = await reader.text("dl.facts code");
  check("the trace id is the span's", trace === server.traceId, trace);
  const verdict = await reader.text(".verdict strong");
  check("the verdict is the span's", verdict === attribute(server, "pellucid.verdict"), verdict);
}

/** The table of attempts beside the client spans, one a row. */
async function sameAttempts(reader, clients) {
  const panel = reader.page.locator("section.panel").filter({ has: reader.page.getByRole("heading", { name: /attempt/i }) });
  const rows = await panel.locator("tbody tr").evaluateAll((all) => all.map((row) => [...row.cells].map((cell) => cell.textContent.trim())));
  const columns = (await panel.locator("thead th").allTextContents()).map((text) => text.trim());
  const wrong = clients.flatMap((span, index) => {
    const cells = rows[index] ?? [];
    const said = cells.join(" ");
    const endpoint = `${attribute(span, "server.address")}:${attribute(span, "server.port")}`;
    const result = String(attribute(span, "http.response.status_code") ?? attribute(span, "error.type").replaceAll("_", " "));
    const connection = attribute(span, "pellucid.connection_reused") ? "reused" : "new";
    const phases = SPAN_PHASES.filter((phase) => !isPhase(cells[columns.indexOf(phase)], attribute(span, `pellucid.phase.${phase}_ms`)));
    const same = [endpoint, result, connection].every((each) => said.includes(each)) && phases.length === 0;
    return same ? [] : [{ cells, endpoint, result, connection, phases }];
  });
  check("the attempts are the client spans", rows.length === clients.length && wrong.length === 0, { rows: rows.length, spans: clients.length, wrong });
}

/** A dash stands for a phase that took no time. */
function isPhase(text, wanted) {
  return text === "–" ? wanted < ROUNDING_MS : text !== undefined && isTime(text, wanted, MICROSECOND_MS);
}

/** The bars as they are drawn, which is finer than what is written beside them. */
async function sameBars(reader, server, clients) {
  const rows = await reader.page.locator("table.waterfall tbody tr").evaluateAll((all) =>
    all.map((row) => {
      const { left, width } = row.querySelector(".lane i").style;
      return { name: row.querySelector("th .cut").textContent, kind: row.dataset.kind, left: Number.parseFloat(left), width: Number.parseFloat(width) };
    }),
  );
  const scale = lengthOf(server) / 100;
  const near = (share, wanted) => Math.abs(share * scale - wanted) <= ROUNDING_MS;
  const starts = rows.flatMap((row, index) => (row.kind === "attempt" ? [index] : []));
  const wrong = clients.flatMap((span, index) => {
    const bar = rows[starts[index]];
    const phases = rows.slice(starts[index] + 1, starts[index + 1] ?? rows.length).filter((row) => row.kind === "phase");
    const drawn = (phase) => phases.filter((row) => row.name === phase).reduce((sum, row) => sum + row.width, 0);
    const off = SPAN_PHASES.filter((phase) => !near(drawn(phase), attribute(span, `pellucid.phase.${phase}_ms`)));
    const begins = nanosMs(server.startTimeUnixNano, span.startTimeUnixNano);
    const same = bar && near(bar.left, begins) && near(bar.width, lengthOf(span)) && off.length === 0;
    return same ? [] : [{ bar, begins, takes: lengthOf(span), phases, off, scale }];
  });
  check("the bars are the client spans, to the microsecond", starts.length === clients.length && wrong.length === 0, { rows: rows.length, wrong });
}

/** What the page gives out as the request's spans. The Collector may add to a span, not change it. */
async function sameDocument(reader, wanted) {
  await unfold(reader.page);
  const written = JSON.parse(await reader.page.getByLabel("Spans, as OTLP JSON", { exact: true }).textContent());
  const ids = (all) => all.map((span) => span.spanId).sort().join();
  check("the page writes down the same spans", ids(written) === ids(wanted), { page: ids(written), collector: ids(wanted) });
  const wrong = written.flatMap((span) => {
    const other = wanted.find((each) => each.spanId === span.spanId);
    const fields = ["traceId", "parentSpanId", "name", "kind", "startTimeUnixNano", "endTimeUnixNano"].filter((field) => (span[field] ?? "") !== (other?.[field] ?? ""));
    const attributes = span.attributes.map(({ key }) => key).filter((key) => attribute(span, key) !== (other ? attribute(other, key) : null));
    return fields.length || attributes.length ? [{ span: span.spanId, fields, attributes }] : [];
  });
  check("with the same times and attributes", wrong.length === 0, wrong);
}

/** Captured headers are shown and can be filtered by; a credential is neither shown nor found. */
async function headers(reader) {
  const { page } = reader;
  const secret = "s3cret";
  const as = (tenant) => ({ headers: { "x-tenant": tenant, authorization: `Bearer ${secret}` } });
  for (const tenant of ["acme", "other"]) await send(`/first/${tenant}`, as(tenant));
  const q = "header.x-tenant:acme";
  const row = await remembered(q);
  check("the filter by a header finds the request", row?.path === "/first/acme" && row.headers["x-tenant"] === "acme", row);
  await reader.go("#/requests");
  await page.locator(rowOf("/first/other")).waitFor();
  await page.fill("#filter-field", q);
  await page.press("#filter-field", "Enter");
  await page.locator(rowOf("/first/other")).waitFor({ state: "detached" });
  // What comes by the stream is filtered too: the last one shows that those before it would be there.
  for (const tenant of ["other", "acme"]) await send(`/live/${tenant}`, as(tenant));
  await page.locator(rowOf("/live/acme")).waitFor();
  const paths = await page.locator("tr.request a[data-row]").evaluateAll((all) => all.map((link) => link.title));
  check("the live tail shows only those", paths.length === 2 && paths.every((path) => path.endsWith("/acme")), paths);
  await reader.go(`#/request/${encodeURIComponent(row.id)}`);
  const panel = page.locator("section.panel").filter({ has: page.getByRole("heading", { name: "Captured headers" }) });
  const lines = await panel.locator("tbody tr").evaluateAll((all) => all.map((line) => [...line.children].map((part) => part.textContent.trim())));
  const shown = (name) => lines.find(([key]) => key === name)?.[1];
  check("the page shows the header", shown("x-tenant") === "acme", lines);
  check("of a credential it shows only that it came", ["hidden", HIDDEN].includes(shown("authorization")) && row.headers.authorization === HIDDEN, { lines, api: row.headers });
  await panel.getByRole("link", { name: "acme" }).click();
  await reader.settled("requests");
  check("its value leads to its like", (await page.inputValue("#filter-field")) === q, page.url());
  await page.goBack();
  await reader.settled("request");
  await unfold(page);
  const whole = await page.content();
  check("the credential is nowhere on the page", !whole.includes(secret) && whole.includes("acme"), whole.length);
  await secretFree(secret, row, as("acme"));
}

/** Nothing that the API says holds the credential, nor does a filter tell whether it was guessed right. */
async function secretFree(secret, row, options) {
  const events = await fetch(new URL("/api/v1/live", admin), { signal: AbortSignal.timeout(PATIENCE_MS) });
  await send("/streamed", options);
  let streamed = "";
  for await (const bytes of events.body) {
    streamed += Buffer.from(bytes).toString();
    if (streamed.includes("/streamed")) break;
  }
  const paths = ["requests?limit=100", `requests/${encodeURIComponent(row.id)}`, "config", "overview?window=60", "telemetry"];
  const told = await Promise.all(paths.map(apiText));
  const leaks = [...paths, "live"].filter((_, index) => [...told, streamed][index].includes(secret));
  check("the credential is nowhere in the API", leaks.length === 0, leaks);
  const found = (await api(`requests?q=${encodeURIComponent(`header.authorization:*${secret}*`)}`)).requests;
  check("the credential cannot be guessed by a filter", found?.length === 0, found?.length);
}

/** The page of a request has a word about the CPU samples inside it, whether there are any or not. */
async function samples(reader) {
  const { page } = reader;
  await send("/status/204");
  await send(`/length/${BURNING_BYTES}`);
  for (const [name, path] of [["a quick request", "/status/204"], ["a burning request", `/length/${BURNING_BYTES}`]]) {
    const row = await remembered(`path:${path}`);
    await reader.go(`#/request/${encodeURIComponent(row.id)}`);
    const panel = page.locator("section.panel").filter({ has: page.getByRole("heading", { name: "CPU samples" }) });
    // It is asked for when it is in sight.
    await panel.scrollIntoViewIfNeeded();
    const said = await wait(async () => {
      const text = await panel.innerText();
      return /no sample fell|a sample\b/i.test(text) && (await panel.locator(".dots").count()) === 0 ? text : null;
    });
    check(`the page of ${name} tells of CPU samples`, said !== null, said ?? (await panel.innerText()));
    const isDrawn = (await panel.locator("iframe[data-state=drawn]").count()) > 0;
    const frames = isDrawn ? await panel.frameLocator("iframe").locator("svg #frames g").count() : 0;
    check(`where there are samples of ${name}, their flame graph is drawn`, isDrawn === !/no sample fell/i.test(said ?? "") && isDrawn === frames > 0, { isDrawn, frames });
    check(`axe, ${name}`, ...(await judged(page)));
  }
}

const SCENARIOS = { live, filter, keyboard, access, hostile, speed, demo, spans, headers, samples };
const run = SCENARIOS[scenario] ?? fail(`no such scenario: ${scenario}; there are ${Object.keys(SCENARIOS).join(", ")}`);
const reader = new Reader();
try {
  await reader.open();
  await run(reader);
} catch (error) {
  check("the scenario comes to its end", false, String(error.stack ?? error));
  const shown = await reader.page?.locator("body").innerText().catch(() => "");
  console.error(`${reader.page?.url()}\n${(shown ?? "").slice(0, 4000)}`);
} finally {
  await reader.close();
}
check("no error, no policy violation, nothing asked elsewhere", reader.wrong.length === 0, { requests: reader.asked, wrong: [...new Set(reader.wrong)].slice(0, 20) });
process.exit(failures === 0 ? 0 : 1);
