#!/usr/bin/env python3
"""What sampling costs: CPU time per request of one gateway, with continuous profiles off and at several rates, in turns.

In: the binary. Out: a Markdown table and a line of JSON. One process under one steady load is switched by reloads, so that neighbouring windows
differ in nothing else. The proxy has CPU 0; wrk and the origin share CPU 1. Needs what run.py needs.
"""

import argparse
import json
import random
import re
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack
from http.client import HTTPConnection
from pathlib import Path

import run

RATES = (0, 19, 99, 997)


def configuration(ground: run.Ground, hz: int) -> str:
    """One route, nothing exported, profiles at a rate."""
    keep = {"errors": False, "retries": False, "slower_than": None}
    return json.dumps({
        "listeners": [{"name": "bench", "bind": f"127.0.0.1:{ground.port}"}],
        "admin": {"bind": f"127.0.0.1:{ground.admin}"},
        "routes": [{"name": "all", "match": {"path": "/**"}, "upstream": "origin"}],
        "upstreams": [{"name": "origin", "endpoints": [f"127.0.0.1:{ground.origin}"], "pool": {"idle_per_endpoint": 128}}],
        "runtime": {"workers": 1, "watch": False},
        "telemetry": {"traces": {"sample": 0, "keep": keep}, "profiles": {"continuous": hz > 0, "hz": hz or 19}},
    })


def reload(port: int) -> None:
    """Takes up the configuration's file."""
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("POST", "/api/v1/reload")
    answer = connection.getresponse()
    if answer.status != 200:
        raise run.Failed(f"the reload was refused: {answer.read().decode()}")
    connection.close()


def served(port: int) -> float:
    """Requests of the route so far."""
    text = run.fetch(port, "/metrics")[1].decode()
    return sum(float(value) for value in re.findall(r'^pellucid_requests_total\{[^}]*pellucid_route="all"[^}]*\} (\S+)$', text, re.M))


def window(ground: run.Ground, session: int, seconds: float) -> float:
    """Microseconds of CPU time a request over a while."""
    before, requests = run.cpu(session), served(ground.admin)
    time.sleep(seconds)
    requests = served(ground.admin) - requests
    nanos, _ = run.cpu_between(before, run.cpu(session))
    return nanos / requests / 1000


def measure(options: argparse.Namespace) -> dict:
    """Every rate once a round, in another order each time."""
    samples = {hz: [] for hz in RATES}
    with ExitStack() as stack:
        folder, origin = run.folder_of(stack), run.free_port()
        log = folder / "origin.log"
        process = run.spawn(stack, run.origin_command(folder, origin, "small"), log, run.LOAD_CPU)
        run.wait_for("the origin", lambda: run.fetch(origin)[0] == 200, process, log)
        ground = run.Ground(folder, options, origin, stack)
        config, log = ground.file("pellucid.yaml", configuration(ground, 0)), folder / "proxy.log"
        gateway = run.spawn(stack, [options.binary.resolve(), "run", "--config", config], log, run.PROXY_CPU)
        run.wait_for("pellucid", lambda: run.fetch(ground.admin, "/readyz")[0] == 200, gateway, log)
        total = int(options.rounds * len(RATES) * (options.seconds + 1.5)) + 30
        run.spawn(stack, ["wrk", "-t1", f"-c{options.connections}", f"-d{total}s", f"http://127.0.0.1:{ground.port}/"], None, run.LOAD_CPU)
        time.sleep(2)
        for turn in range(options.rounds):
            order = random.sample(RATES, len(RATES))
            for hz in order:
                config.write_text(configuration(ground, hz))
                reload(ground.admin)
                time.sleep(0.5)
                samples[hz].append(window(ground, gateway.pid, options.seconds))
            print(f"round {turn + 1}: " + ", ".join(f"{hz} Hz {samples[hz][-1]:.2f} us" for hz in RATES), file=sys.stderr)
    return samples


def table(samples: dict) -> str:
    """Medians, and ratios to no profiles within each round."""
    lines = ["| continuous profiles | CPU µs/request | × off (median; quartiles) |", "|---|---|---|"]
    for hz, own in samples.items():
        ratios = sorted(one / other for one, other in zip(own, samples[0]))
        low, middle, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
        name = f"{hz} Hz" if hz else "off"
        lines.append(f"| {name} | {statistics.median(own):.2f} | {middle:.3f} ({low:.3f}–{high:.3f}) |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", type=Path, default=Path("target/dist/pellucid"))
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--connections", type=int, default=64)
    options = parser.parse_args()
    try:
        samples = measure(options)
    except (run.Failed, subprocess.SubprocessError, OSError) as error:
        print(f"profiles.py: {error}", file=sys.stderr)
        return 1
    print(table(samples))
    print(json.dumps({str(hz): [round(value, 3) for value in own] for hz, own in samples.items()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
