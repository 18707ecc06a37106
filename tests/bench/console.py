#!/usr/bin/env python3
"""What watching costs: CPU time of the gateway with the console open and without, and what the console costs the browser's tab.

    cargo build --profile dist --locked && tests/bench/console.py --binary target/dist/pellucid

In: the binary. Out: Markdown tables and a line of JSON. Three parts, `--only` picks some of them:

- cpu: microseconds of the gateway's CPU time a request at steady rates. Each window with a watcher stands beside one without, in turns that
  are drawn anew each round. `stream` is the live stream alone, taken by curl as the page takes it: the server's cost without a browser.
  The browser's own CPU time is not in any figure, but its load on the other CPU delays the load generator, so rates are told as well.
- tab: memory and smoothness of the tab with the Overview and with the list of requests, after minutes of traffic. The history that the
  tab gets is an hour's, made up in the browser, for an hour is too long to wait.
- paint: first contentful paint without traffic, in a browser that has just started, with an empty cache, and loaded again.

The proxy has CPU 0; wrk, the origin and the browser share CPU 1. Nothing else should run: how busy the machine was before is told.
Needs what run.py needs, and the browser that tests/install provides. About half an hour with its defaults. Exit codes as run.py's, but 1.
"""

import argparse
import json
import random
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from http.client import HTTPException
from pathlib import Path

import profiles
import run

MEASURE = Path(__file__).resolve().parent.parent / "browser/measure.mjs"
OVERVIEW, REQUESTS = "#/overview?span=3600", "#/requests"
# What is open while a window is measured. A stream's filter is the one that the page subscribes with.
ARMS = {
    "closed": "nothing, the browser on an empty page",
    "stream-overview": "the live stream as the Overview takes it, without a browser",
    "stream-requests": "the live stream as the list of requests takes it, without a browser",
    "overview": "the Overview",
    "requests": "the list of requests",
}
STREAMS = {"stream-overview": "verdict:*", "stream-requests": ""}
PAGES = {"overview": OVERVIEW, "requests": REQUESTS}
PARTS = ("paint", "cpu", "tab")
QUIET_SHARE = 0.10
TAB_RATE = 1000
TAB_SAMPLE_S = 10
MEBI = 1024 * 1024


class Tab:
    """A Chromium that shows the console when it is told to."""

    def __init__(self, stack: ExitStack, admin: int):
        command = ["taskset", "-c", str(run.LOAD_CPU), "node", str(MEASURE), f"http://127.0.0.1:{admin}"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True)
        stack.callback(self.end)

    def end(self) -> None:
        """Its standard input ends, so it closes the browser; what does not is killed."""
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            run.stop(self.process)

    def ask(self, what: str, **more) -> dict:
        """One command, one answer."""
        print(json.dumps({"do": what, **more}), file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        answer = json.loads(line) if line else {"error": "the browser's driver ended; run tests/install"}
        if "error" in answer:
            raise run.Failed(f"{what}: {answer['error']}")
        return answer

    def memory(self) -> float:
        """Megabytes that the tab's process has, shared pages in proportion: the largest renderer is the tab's."""
        sizes = [pss(pid) for pid in descendants(self.process.pid) if b"--type=renderer" in command_line(pid)]
        return max(sizes, default=0) / MEBI


def command_line(pid: int) -> bytes:
    """As it was started; empty where it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def pss(pid: int) -> int:
    """Bytes; shared pages count in proportion."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def descendants(root: int) -> list[int]:
    """All processes that come from one, whatever session they are in."""
    children = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
        children.setdefault(parent, []).append(int(stat.parent.name))
    found, open_ones = [], [root]
    while open_ones:
        of_one = children.get(open_ones.pop(), [])
        found += of_one
        open_ones += of_one
    return found


def busy_share(seconds: float = 2) -> float:
    """How much of the machine was in use for a while."""
    def read() -> tuple[int, int]:
        fields = [int(each) for each in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
        return sum(fields), fields[3] + fields[4]
    all_before, idle_before = read()
    time.sleep(seconds)
    all_after, idle_after = read()
    return 1 - (idle_after - idle_before) / max(all_after - all_before, 1)


# Traffic.


def load_script(ground: run.Ground, rate: int) -> tuple[Path, int]:
    """A script for wrk that pauses before each request, and how many connections then make the rate. Equal pauses would make bursts."""
    pause = 50 if rate <= 5000 else 5
    script = ground.file("load.lua", (
        'local n = 0\nfunction request() n = n + 1; return wrk.format(nil, "/item/" .. n % 1000) end\n'
        f"function delay() return math.random(1, {2 * pause - 1}) end\n"
    ))
    return script, max(1, round(rate * (pause + 0.5) / 1000))


@contextmanager
def traffic(ground: run.Ground, rate: int, seconds: float):
    """Steady requests for as long as the block lasts."""
    script, connections = load_script(ground, rate)
    with ExitStack() as stack:
        command = ["wrk", "-t1", f"-c{connections}", f"-d{int(seconds)}s", "-s", script, f"http://127.0.0.1:{ground.port}/"]
        run.spawn(stack, command, ground.folder / "wrk.log", run.LOAD_CPU)
        time.sleep(2)
        yield


@contextmanager
def watcher(arm: str | None, ground: run.Ground, tab: Tab):
    """Opens what the arm is about, for as long as the block lasts. Nothing is open for an arm without stream and page."""
    with ExitStack() as stack:
        if arm in STREAMS:
            command = ["curl", "-sNG", f"http://127.0.0.1:{ground.admin}/api/v1/live", "--data-urlencode", f"q={STREAMS[arm]}"]
            run.spawn(stack, command, ground.folder / "stream.log", run.LOAD_CPU)
        if arm in PAGES:
            tab.ask("open", page=PAGES[arm])
            stack.callback(tab.ask, "close")
        time.sleep(1)
        yield


# Measuring.


def beside_workers(process: int) -> int:
    """Nanoseconds of CPU time of all threads that serve no client: whoever watches is served by them, so they show its cost without the noise
    of the others."""
    nanos = 0
    for task in Path(f"/proc/{process}/task").iterdir():
        if not (task / "comm").read_text().startswith("pellucid-w"):
            nanos += int((task / "schedstat").read_text().split()[0])
    return nanos


def window(ground: run.Ground, session: int, seconds: float) -> tuple[float, float, float]:
    """Microseconds of CPU time a request, requests a second, and milliseconds a second of the threads beside the workers, over a while."""
    requests, began = profiles.served(ground.admin), time.monotonic()
    before, beside = run.cpu(session), beside_workers(session)
    time.sleep(seconds)
    nanos, _ = run.cpu_between(before, run.cpu(session))
    beside = beside_workers(session) - beside
    requests, took = profiles.served(ground.admin) - requests, time.monotonic() - began
    if requests < 1:
        raise run.Failed("no request was served in a window")
    return nanos / requests / 1000, requests / took, beside / 1e6 / took


def measure_cpu(ground: run.Ground, session: int, tab: Tab, options: argparse.Namespace) -> dict:
    """For each rate and arm: pairs of neighbouring windows, one without a watcher and one with, either of them first."""
    rates = {}
    for rate in options.rates:
        pairs = {arm: [] for arm in ARMS}
        total = options.rounds * len(ARMS) * (2 * options.seconds + 8) + 60
        with traffic(ground, rate, total):
            for turn in range(options.rounds):
                for arm in random.sample(list(ARMS), len(ARMS)):
                    both = {}
                    for one in random.sample((None, arm), 2):
                        with watcher(one, ground, tab):
                            both[one] = window(ground, session, options.seconds)
                    pairs[arm].append((both[None], both[arm]))
                last = ", ".join(f"{arm} {own[-1][1][0]:.2f}/{own[-1][0][0]:.2f}" for arm, own in pairs.items())
                print(f"{rate}/s, round {turn + 1}, us/request with and without: {last}", file=sys.stderr)
        rates[rate] = {arm: summary(own) for arm, own in pairs.items()}
    return rates


def quartiles(values: list[float]) -> list[float]:
    """Three of them, of however few values."""
    return statistics.quantiles(values, n=4) if len(values) > 1 else values * 3


def summary(pairs: list) -> dict:
    """Medians, the quartiles of the ratios within pairs, and what watching costs a second at that rate."""
    ratios = quartiles([watched[0] / alone[0] for alone, watched in pairs])
    more = [watched[0] * watched[1] - alone[0] * alone[1] for alone, watched in pairs]
    return {
        "alone_us": round(statistics.median(alone[0] for alone, _ in pairs), 3),
        "watched_us": round(statistics.median(watched[0] for _, watched in pairs), 3),
        "ratio": [round(each, 4) for each in ratios],
        "more_cpu_ms_per_s": round(statistics.median(more) / 1000, 3),
        "more_beside_workers_ms_per_s": [round(each, 2) for each in quartiles([watched[2] - alone[2] for alone, watched in pairs])],
        "per_s": [round(statistics.median(alone[1] for alone, _ in pairs)), round(statistics.median(watched[1] for _, watched in pairs))],
    }


def measure_tab(ground: run.Ground, tab: Tab, options: argparse.Namespace) -> dict:
    """For each page: memory over minutes of traffic, then how smooth it is."""
    found = {}
    smooth_s = min(60.0, options.minutes * 60)
    for name, hash_ in PAGES.items():
        with traffic(ground, TAB_RATE, options.minutes * 60 + smooth_s + 60):
            tab.ask("fullHour")
            tab.ask("open", page=hash_)
            samples, until = [], time.monotonic() + options.minutes * 60
            while not samples or time.monotonic() < until:
                time.sleep(min(TAB_SAMPLE_S, options.minutes * 60))
                samples.append({"pss_mb": round(tab.memory(), 1), **tab.ask("heap")})
            print(f"{name}: {samples[-1]}", file=sys.stderr)
            if name == "overview" and samples[-1]["hours"] == 0:
                raise run.Failed("the Overview did not ask for its history, so the tab did not hold an hour")
            found[name] = {"first": samples[0], "last": samples[-1], "pss_mb_max": max(each["pss_mb"] for each in samples),
                           "frames": tab.ask("frames", seconds=smooth_s)}
            tab.ask("close")
    return found


def measure_paint(tab: Tab, options: argparse.Namespace) -> dict:
    """Medians and quartiles of several loads."""
    runs = [tab.ask("paint") for _ in range(options.paints)]
    return {name: [round(each, 1) for each in quartiles([run_[name] for run_ in runs])] for name in runs[0]}


def measure(options: argparse.Namespace) -> dict:
    """One gateway, one browser, the parts that are wanted."""
    found = {"busy_before": round(busy_share(), 3)}
    if found["busy_before"] > QUIET_SHARE:
        print(f"console.py: {found['busy_before']:.0%} of the machine is in use by others; the figures will be noisy", file=sys.stderr)
    with ExitStack() as stack:
        folder, origin = run.folder_of(stack), run.free_port()
        log = folder / "origin.log"
        process = run.spawn(stack, run.origin_command(folder, origin, "small"), log, run.LOAD_CPU)
        run.wait_for("the origin", lambda: run.fetch(origin)[0] == 200, process, log)
        ground = run.Ground(folder, options, origin, stack)
        config, log = ground.file("pellucid.yaml", profiles.configuration(ground, 0)), folder / "proxy.log"
        gateway = run.spawn(stack, [options.binary.resolve(), "run", "--config", config], log, run.PROXY_CPU)
        run.wait_for("pellucid", lambda: run.fetch(ground.admin, "/readyz")[0] == 200, gateway, log)
        tab = Tab(stack, ground.admin)
        wanted = options.only.split(",")
        if "paint" in wanted:
            found["paint"] = measure_paint(tab, options)
        if "cpu" in wanted:
            found["cpu"] = measure_cpu(ground, gateway.pid, tab, options)
        if "tab" in wanted:
            found["tab"] = measure_tab(ground, tab, options)
    return found


# Reporting.


def cpu_table(rates: dict) -> list[str]:
    """A row an arm and rate."""
    lines = ["| open | requests/s without, with | CPU µs/request without | with | × without (median; quartiles) | CPU ms more a second | the same beside the workers |",
             "|---|---|---|---|---|---|---|"]
    for own in rates.values():
        for arm, row in own.items():
            low, middle, high = row["ratio"]
            lines.append(
                f"| {ARMS[arm]} | {row['per_s'][0]}, {row['per_s'][1]} | {row['alone_us']:.2f} | {row['watched_us']:.2f} "
                f"| {middle:.3f} ({low:.3f}–{high:.3f}) | {row['more_cpu_ms_per_s']:.2f} "
                "| {1:.2f} ({0:.2f}–{2:.2f}) |".format(*row["more_beside_workers_ms_per_s"])
            )
    return lines


def tab_table(pages: dict, options: argparse.Namespace) -> list[str]:
    """A row a page, and how it was measured."""
    lines = ["| page | process MB first, last, most | heap MB first, last | DOM nodes first, last | frame ms p50, p99 | tasks > 50 ms a minute, longest ms |",
             "|---|---|---|---|---|---|"]
    for name, row in pages.items():
        first, last, frames = row["first"], row["last"], row["frames"]
        lines.append(
            f"| {ARMS[name]} | {first['pss_mb']:.0f}, {last['pss_mb']:.0f}, {row['pss_mb_max']:.0f} "
            f"| {first['live_bytes'] / MEBI:.1f}, {last['live_bytes'] / MEBI:.1f} | {first['nodes']:.0f}, {last['nodes']:.0f} "
            f"| {frames['p50_ms']:.1f}, {frames['p99_ms']:.1f} | {frames['long_tasks_per_minute']:.1f}, {frames['longest_task_ms']:.0f} |"
        )
    return [*lines, "", (
        f"- At {TAB_RATE} requests a second, first after {TAB_SAMPLE_S} s and last after {options.minutes:g} min. The process is the tab's renderer (PSS); the "
        "heap is what is left after a collection. The history is a full hour (120 steps of 1 s, 348 of 10 s), made up in the browser."
    )]


def report(found: dict, options: argparse.Namespace) -> str:
    """Everything that was measured, in Markdown."""
    parts = []
    if "cpu" in found:
        parts += [*cpu_table(found["cpu"]), ""]
    if "tab" in found:
        parts += [*tab_table(found["tab"], options), ""]
    if "paint" in found:
        told = ", ".join(f"{name.removesuffix('_ms')} {middle:.0f} ms ({low:.0f}–{high:.0f})" for name, (low, middle, high) in found["paint"].items())
        parts.append(f"- First contentful paint, median and quartiles of {options.paints}: {told}.")
    parts.append(f"- Pairs of windows of {options.seconds:g} s, {options.rounds} rounds, one core. {found['busy_before']:.0%} of the machine was in use before.")
    return "\n".join(parts)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=Path, default=Path("target/dist/pellucid"), help="Pellucid (default: %(default)s)")
    parser.add_argument("--rates", type=lambda text: [int(each) for each in text.split(",")], default=[1000, 20000], help="requests a second, a list")
    parser.add_argument("--rounds", type=run.count, default=12)
    parser.add_argument("--seconds", type=float, default=4, help="of one window")
    parser.add_argument("--minutes", type=float, default=3, help="that each page is open with traffic")
    parser.add_argument("--paints", type=run.count, default=10)
    parser.add_argument("--only", default=",".join(PARTS), help=f"some of {', '.join(PARTS)}")
    options = parser.parse_args()
    if unknown := set(options.only.split(",")) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    options.connections = 128
    return options


def main() -> int:
    options = arguments()
    try:
        found = measure(options)
    except (run.Failed, subprocess.SubprocessError, OSError, HTTPException) as error:
        print(f"console.py: {error}", file=sys.stderr)
        return 2
    print(report(found, options), json.dumps(found), sep="\n\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
