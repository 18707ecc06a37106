// Opens the console in Chromium and measures the tab, as it is told on its standard input: one JSON line a command, one JSON line an answer.
// In: `node measure.mjs <admin url>`; commands {"do": NAME, …} of the table at the end. Out: what was measured, or {"error"}.
// Not here: traffic, the gateway's own cost and memory by process, which tests/bench/console.py takes.
import { createInterface } from "node:readline";
import { goTo, openBrowser, wait } from "./chromium.mjs";

const SIZE = { width: 1280, height: 800 };
/** An hour as the gateway tells it when its history is full: the last two minutes second by second, the rest in steps of ten. */
const FINE_STEPS = 120;
const COARSE_STEPS = 348;
const COARSE_S = 10;

const admin = process.argv[2];
/** A reader's settings, with animations: reduced motion would be cheaper than what most people see. */
const settings = { viewport: SIZE, reducedMotion: "no-preference" };
let browser = await openBrowser(settings);
let page = browser.context.pages()[0] ?? (await browser.context.newPage());
let tab = await begin();

async function begin() {
  const session = await browser.context.newCDPSession(page);
  await session.send("Performance.enable");
  return session;
}

/** Shows a page of the console. */
async function open({ page: hash }) {
  await goTo(page, admin, hash);
  return { at: page.url() };
}

/** The console is closed, the browser is not. */
async function close() {
  await page.goto("about:blank");
  return {};
}

/** How often the made-up hour was asked for. */
let hours = 0;

/** From now on the history is a full hour, made up but for its shape and size. */
async function fullHour() {
  await page.unrouteAll();
  await page.route(
    (url) => url.pathname.endsWith("/api/v1/history"),
    (route) => {
      hours += 1;
      return route.fulfill({ json: { route: null, steps: hour(Date.now()) } });
    },
  );
  return { steps: FINE_STEPS + COARSE_STEPS };
}

/** @param {number} now */
function hour(now) {
  const second = Math.floor(now / 1000) * 1000;
  const coarse = Array.from({ length: COARSE_STEPS }, (_, index) => step(second - (FINE_STEPS + (COARSE_STEPS - index) * COARSE_S) * 1000, COARSE_S, index));
  const fine = Array.from({ length: FINE_STEPS }, (_, index) => step(second - (FINE_STEPS - index) * 1000, 1, index));
  return [...coarse, ...fine];
}

function step(t, seconds, index) {
  const wave = 1 + 0.3 * Math.sin(index / 7);
  const count = Math.round(1000 * seconds * wave);
  return { t, step_s: seconds, count, errors: index % 9, p50: 6.427 * wave, p90: 11.432 * wave, p99: 642.71 * wave, self_p99: 1.226 * wave };
}

/** What the tab's heap holds: all of it, and what is left once garbage is collected. */
async function heap() {
  const used = async () => {
    const { metrics } = await tab.send("Performance.getMetrics");
    const of = (name) => metrics.find((each) => each.name === name)?.value ?? null;
    return { heap: of("JSHeapUsedSize"), nodes: of("Nodes"), listeners: of("JSEventListeners") };
  };
  const before = await used();
  await tab.send("HeapProfiler.collectGarbage");
  const after = await used();
  return { heap_bytes: before.heap, live_bytes: after.heap, nodes: after.nodes, listeners: after.listeners, hours };
}

/** How evenly frames come, and tasks that kept the tab busy for more than 50 ms. */
async function frames({ seconds }) {
  const { deltas, tasks } = await page.evaluate(
    (length_ms) =>
      new Promise((resolve) => {
        const deltas = [];
        const tasks = [];
        const observer = new PerformanceObserver((list) => tasks.push(...list.getEntries().map((entry) => entry.duration)));
        observer.observe({ type: "longtask" });
        const began = performance.now();
        let last = began;
        const frame = (now) => {
          deltas.push(now - last);
          last = now;
          if (now - began < length_ms) return requestAnimationFrame(frame);
          observer.disconnect();
          return resolve({ deltas: deltas.slice(1), tasks });
        };
        requestAnimationFrame(frame);
      }),
    seconds * 1000,
  );
  deltas.sort((a, b) => a - b);
  const at = (share) => deltas[Math.min(deltas.length - 1, Math.floor(share * deltas.length))] ?? null;
  return { frames: deltas.length, p50_ms: at(0.5), p99_ms: at(0.99), max_ms: at(1), long_tasks_per_minute: (tasks.length * 60) / seconds, longest_task_ms: Math.max(0, ...tasks) };
}

/** First contentful paint of the Overview: in a browser that has just started, with an empty cache, and loaded again. */
async function paint() {
  await browser.close();
  browser = await openBrowser(settings);
  page = browser.context.pages()[0] ?? (await browser.context.newPage());
  tab = await begin();
  await goTo(page, admin, "#/overview");
  const fresh = await painted();
  await tab.send("Network.clearBrowserCache");
  await goTo(page, admin, "#/overview");
  const uncached = await painted();
  await page.reload({ waitUntil: "load" });
  return { fresh_ms: fresh, uncached_ms: uncached, again_ms: await painted() };
}

function painted() {
  return wait(() => page.evaluate(() => performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? null));
}

const COMMANDS = { open, close, fullHour, heap, frames, paint };
for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line);
  const answer = await COMMANDS[command.do](command).catch((error) => ({ error: String(error) }));
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
await browser.close();
