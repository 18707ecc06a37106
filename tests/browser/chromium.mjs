// The Chromium that tests, pictures and benchmarks drive: where its driver is, and how it is started so that nothing is asked elsewhere.
// In: PELLUCID_BROWSER, the folder that holds node_modules (by default the one that tests/install made), and PELLUCID_CHROMIUM, the browser.
// Out: a fresh profile's window, and what goes away with it. Not here: what is done in it.
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

export const PATIENCE_MS = 20_000;
const ARGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-dev-shm-usage",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--no-first-run",
  // Whatever the page asks for elsewhere is not even looked up.
  "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
];

/** Named after the lock file that it was made from. */
function folder() {
  if (process.env.PELLUCID_BROWSER) return process.env.PELLUCID_BROWSER;
  const lock = fileURLToPath(new URL("package-lock.json", import.meta.url));
  const [sum] = execFileSync("cksum", [lock], { encoding: "utf8" }).split(" ");
  return join(process.env.XDG_CACHE_HOME || join(homedir(), ".cache"), "pellucid", `browser-${sum}`);
}

/** Takes modules from that folder. */
export const load = createRequire(join(folder(), "package.json"));

/**
 * A window with a profile of its own. `close` ends it and forgets the profile.
 * @param {object} [options] as playwright-core's `launchPersistentContext` takes them; `args` are added to ours
 */
export async function openBrowser({ args = [], ...options } = {}) {
  const { chromium } = load("playwright-core");
  const profile = mkdtempSync(join(tmpdir(), "pellucid-console-"));
  const forget = () => rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
  const started = chromium.launchPersistentContext(profile, {
    executablePath: process.env.PELLUCID_CHROMIUM ?? "/usr/bin/chromium",
    args: [...ARGS, ...args],
    headless: true,
    viewport: { width: 1280, height: 900 },
    reducedMotion: "reduce",
    ...options,
  });
  const context = await started.catch((error) => {
    forget();
    throw error;
  });
  context.setDefaultTimeout(PATIENCE_MS);
  const close = async () => {
    await context.close();
    forget();
  };
  return { context, close };
}

/** Asks until `fact` gives something other than null or false; what it gave, or null when time is up. */
export async function wait(fact, patience = PATIENCE_MS, pause = 20) {
  const deadline = performance.now() + patience;
  for (;;) {
    const found = await fact();
    if (found !== null && found !== false && found !== undefined) return found;
    if (performance.now() > deadline) return null;
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
}

/** Shows a page of the console, loaded anew, and waits until nothing on it waits. */
export async function goTo(page, admin, hash) {
  await page.goto("about:blank");
  await page.goto(new URL(`/console/${hash}`, admin).href, { waitUntil: "load" });
  await settled(page, hash.replace(/^#\//, "").split(/[/?]/)[0]);
}

/** Waits until that page of the console is shown. */
export async function settled(page, name) {
  const there = (wanted) => {
    const main = document.querySelector("main[data-page]");
    return main?.dataset.page === wanted && main.querySelector("h1") && !main.querySelector(".dots");
  };
  await page.waitForFunction(there, name);
}
