#!/usr/bin/env python3
"""What a request costs: CPU time per request of Pellucid and its peers, in one run.

In: the binaries of the contenders. Out: a Markdown table and a line of JSON. The proxy has CPU 0; wrk, the origin and the
Collector share CPU 1. README.md says how to read the figures.
"""

import argparse
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path

PROXY_CPU, LOAD_CPU = 0, 1
TICK_NANOS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
MARKER, END_MARKER = "<!-- speed table -->", "<!-- /speed table -->"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
# What `--check` holds.
LIMITS = {"pellucid-off": 0.92, "pellucid-on": 1.05, "idle_rss_mb": 20, "ready_ms": 50, "binary_mb": 20}

BROWSER = {
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "Accept-Language": "en-GB,en;q=0.7,de;q=0.3", "Accept-Encoding": "gzip, deflate, br, zstd",
    "Cookie": "session=" + "0123456789abcdef" * 8 + "; theme=dark; consent=1",
    "Cache-Control": "max-age=0", "Sec-Fetch-Mode": "navigate",
    "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
}
# Name: body bytes of an answer, headers of a request, headers of an answer.
SHAPES = {
    "small": (512, {}, {}),
    "headers": (512, BROWSER, {f"X-Origin-{n}": f"value-{n}-" + "v" * 24 for n in range(8)}),
    "headers-10k": (512, {f"X-Client-{n}": "v" * 1000 for n in range(10)}, {}),
    "chunked": (512, {}, {}),
    "large": (65_536, {}, {}),
    "mebibyte": (1_048_576, {}, {}),
}


class Failed(Exception):
    """Something that makes the run worthless, in words for its user."""


# Processes.


def folder_of(stack: ExitStack) -> Path:
    """A folder that goes away with the stack."""
    return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pellucid-bench-")))


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def stop(process: subprocess.Popen) -> None:
    """Ends a process and all that it started: they are a process group of their own."""
    for number, patience in ((signal.SIGTERM, 2), (signal.SIGKILL, 5)):
        try:
            os.killpg(process.pid, number)
            process.wait(patience)
        except ProcessLookupError:
            break
        except subprocess.TimeoutExpired:
            continue
    process.poll()


def spawn(stack: ExitStack, command: list, log: Path | None, on: int | None = None) -> subprocess.Popen:
    """Starts a command, on one CPU if asked, until the stack closes. Settings of OpenTelemetry do not leak in."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("OTEL_", "PELLUCID_"))}
    pinned = [] if on is None else ["taskset", "-c", str(on)]
    with open(log or os.devnull, "wb") as output:
        process = subprocess.Popen(
            [*pinned, *map(str, command)], stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            env=environment, start_new_session=True,
        )
    stack.callback(stop, process)
    return process


def fetch(port: int, path: str = "/") -> tuple[int, bytes]:
    """Status and body of one GET."""
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def wait_for(what: str, ready, process: subprocess.Popen, log: Path | None, pause: float = 0.01) -> None:
    """Asks until it is so; tells what the process said if it never is."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if ready():
                return
        except (OSError, HTTPException):
            pass
        time.sleep(pause)
    said = log.read_text(errors="replace")[-2000:] if log else ""
    raise Failed(f"{what} did not get ready (exit code {process.poll()})\n{said}")


def listens(port: int) -> bool:
    """Whether a connection is taken."""
    socket.create_connection(("127.0.0.1", port), 1).close()
    return True


# CPU time.


def cpu(session: int) -> tuple[int, int, int]:
    """Nanoseconds, user ticks and system ticks of all threads of all processes of a session, from its start."""
    nanos = user = system = 0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            fields = (process / "stat").read_text().rpartition(")")[2].split()
            if int(fields[3]) == session:
                user, system = user + int(fields[11]), system + int(fields[12])
                nanos += sum(int(task.read_text().split()[0]) for task in process.glob("task/*/schedstat"))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return nanos, user, system


def cpu_between(before: tuple, after: tuple) -> tuple[float, float]:
    """Nanoseconds, and the user part of them. Nanoseconds are exact but forget threads that ended; ticks do not."""
    nanos, user, system = (late - early for early, late in zip(before, after))
    total = max(nanos, (user + system - 2) * TICK_NANOS)
    return total, total * user / max(user + system, 1)


# Contenders.


@dataclass
class Ground:
    """What a contender stands on: folder, ports, the run's options, and the stack that ends what it starts."""

    folder: Path
    options: argparse.Namespace
    origin: int
    stack: ExitStack
    port: int = field(default_factory=free_port)
    admin: int = field(default_factory=free_port)

    def file(self, name: str, text: str) -> Path:
        """Writes a file into the folder."""
        path = self.folder / name
        path.write_text(text)
        return path


def nginx(folder: Path, name: str, head: str, http: str) -> list:
    """Command of an nginx that keeps connections, writes no access log, and keeps all its files in the folder."""
    temporary = "".join(f"  {kind}_temp_path {folder}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    path = folder / f"{name}.conf"
    path.write_text(
        f"daemon off;\n{head}\npid {folder}/{name}.pid;\nerror_log stderr warn;\nevents {{ worker_connections 4096; }}\n"
        f"http {{\n  access_log off;\n  keepalive_timeout 600s;\n  keepalive_requests 1000000000;\n{temporary}{http}}}\n"
    )
    return ["nginx", "-e", "stderr", "-p", folder, "-c", path]


def origin_command(folder: Path, port: int, shape: str) -> list:
    """An nginx that answers all requests alike, from memory."""
    size, _, headers = SHAPES[shape]
    # In two steps, because nginx takes at most 4096 bytes in one word.
    blocks, left = divmod(size, 32_768)
    pieces, rest = divmod(left, 512)
    added = "".join(f'    add_header {name} "{value}";\n' for name, value in headers.items())
    if shape == "chunked":
        # A trailer needs chunks.
        added += "    add_trailer X-Trailer end;\n"
    http = (
        f"  server {{\n    listen 127.0.0.1:{port} backlog=4096;\n{added}    default_type text/plain;\n"
        f'    set $piece "{"x" * 512}";\n    set $block "{"$piece" * 64}";\n'
        f'    return 200 "{"$block" * blocks}{"$piece" * pieces}{"x" * rest}";\n  }}\n'
    )
    return nginx(folder, "origin", "master_process off;\nworker_processes 1;", http)


def haproxy(ground: Ground) -> list:
    """HTTP mode, one thread, nothing logged."""
    timeouts = "".join(f" timeout {kind} 60s\n" for kind in ("connect", "client", "server", "http-keep-alive"))
    config = ground.file("haproxy.cfg", (
        f"global\n nbthread 1\n maxconn 4096\ndefaults\n mode http\n option http-keep-alive\n http-reuse always\n{timeouts}"
        f"listen bench\n bind 127.0.0.1:{ground.port} backlog 4096\n server origin 127.0.0.1:{ground.origin}\n"
    ))
    return ["haproxy", "-db", "-f", config]


def nginx_proxy(ground: Ground) -> list:
    """One worker that keeps its upstream connections."""
    http = (
        f"  upstream origin {{\n    server 127.0.0.1:{ground.origin};\n    keepalive {max(128, ground.options.connections)};\n"
        f"    keepalive_requests 1000000000;\n    keepalive_timeout 600s;\n  }}\n"
        f"  server {{\n    listen 127.0.0.1:{ground.port} backlog=4096;\n    location / {{\n      proxy_pass http://origin;\n"
        f'      proxy_http_version 1.1;\n      proxy_set_header Connection "";\n      proxy_max_temp_file_size 0;\n    }}\n  }}\n'
    )
    return nginx(ground.folder, "proxy", "worker_processes 1;", http)


def pellucid(ground: Ground, telemetry: dict, workers: int = 1) -> list:
    """Pellucid with one route; its YAML is written as JSON."""
    config = {
        "listeners": [{"name": "bench", "bind": f"127.0.0.1:{ground.port}"}],
        "admin": {"bind": f"127.0.0.1:{ground.admin}"},
        "routes": [{"name": "all", "match": {"path": "/**"}, "upstream": "origin"}],
        "upstreams": [{
            "name": "origin", "endpoints": [f"127.0.0.1:{ground.origin}"],
            "pool": {"idle_per_endpoint": max(128, ground.options.connections)},
        }],
        "runtime": {"workers": workers, "drain_timeout": "1s"},
        "telemetry": telemetry,
    }
    return [ground.options.binary.resolve(), "run", "--config", ground.file("pellucid.yaml", json.dumps(config, indent=2))]


def pellucid_off(ground: Ground, workers: int = 1) -> list:
    """Nothing exported and nothing logged."""
    keep = {"errors": False, "retries": False, "slower_than": None}
    return pellucid(ground, {"traces": {"sample": 0, "keep": keep}}, workers)


def pellucid_on(ground: Ground) -> list:
    """Every request traced over OTLP gRPC to a Collector, metrics scraped or pushed, and a line a request in a file."""
    return pellucid(ground, {
        "otlp": {"endpoint": f"http://127.0.0.1:{collector(ground)}", "protocol": "grpc"},
        "traces": {"sample": 1.0, "keep": {"per_second": 1_000_000}},
        "metrics": {"push_interval": "2s"},
        "access_log": {"to": str(ground.folder / "access.json"), "format": "json"},
    })


def collector(ground: Ground) -> int:
    """Starts an OpenTelemetry Collector that decodes what it gets and shows it to nobody; its port."""
    port = free_port()
    pipeline = {"receivers": ["otlp"], "exporters": ["debug"]}
    config = ground.file("collector.yaml", json.dumps({
        "receivers": {"otlp": {"protocols": {"grpc": {"endpoint": f"127.0.0.1:{port}"}}}},
        "exporters": {"debug": {"verbosity": "basic"}},
        "service": {
            "telemetry": {"metrics": {"level": "none"}},
            "pipelines": {signal_name: pipeline for signal_name in ("traces", "metrics", "logs")},
        },
    }))
    process = spawn(ground.stack, [ground.options.collector, "--config", config], None, LOAD_CPU)
    wait_for("the Collector", lambda: listens(port), process, None)
    return port


def axum_reqwest(ground: Ground) -> list:
    """The peer in `peer/`."""
    return [ground.options.peer.resolve(), f"127.0.0.1:{ground.port}", f"http://127.0.0.1:{ground.origin}"]


# Name: what is told about requests, how it is started.
CONTENDERS = {
    "haproxy": ("none", haproxy),
    "nginx": ("none", nginx_proxy),
    "pellucid-off": ("off", pellucid_off),
    "pellucid-on": ("100 % traced, metrics, access log", pellucid_on),
    "axum-reqwest": ("none", axum_reqwest),
}


# Measuring.


@dataclass
class Sample:
    """One contender in one round."""

    requests: int
    errors: int
    per_second: float
    p99_ms: float
    cpu_us: float = 0
    user_us: float = 0
    account: dict | None = None


def load(port: int, seconds: int, options: argparse.Namespace) -> Sample:
    """Runs wrk and reads its report."""
    headers = [word for name, value in SHAPES[options.shape][1].items() for word in ("-H", f"{name}: {value}")]
    command = ["taskset", "-c", str(LOAD_CPU), "wrk", "-t1", f"-c{options.connections}", f"-d{seconds}s", "--latency"]
    command += [*headers, f"http://127.0.0.1:{port}/"]
    report = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 30, check=True).stdout
    done = re.search(r"(\d+) requests in", report)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", report)
    p99 = re.search(r"^\s*99%\s+([\d.]+)(us|ms|s|m)\s*$", report, re.MULTILINE)
    if not (done and rate and p99) or done[1] == "0":
        raise Failed(f"wrk's report cannot be read, or it completed nothing:\n{report}")
    broken = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", report)
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", report)
    errors = sum(map(int, broken.groups() if broken else ())) + int(refused[1] if refused else 0)
    milliseconds = float(p99[1]) * {"us": 0.001, "ms": 1, "s": 1000, "m": 60_000}[p99[2]]
    return Sample(int(done[1]), errors, float(rate[1]), milliseconds)


def read_account(port: int, requests: int) -> dict:
    """What became of every item, once nothing is queued or a while has passed; each request must be two spans, and all accounted for."""
    for _ in range(20):
        signals = json.loads(fetch(port, "/api/v1/telemetry")[1])["signals"]
        if signals["traces"]["queued"] == 0:
            break
        time.sleep(0.25)
    for name, account in signals.items():
        settled = account["exported"] + account["rejected"] + sum(account["dropped"].values()) + account["queued"]
        if account["produced"] != settled:
            raise Failed(f"the account of {name} does not add up: {account}")
    if signals["traces"]["exported"] == 0 or signals["traces"]["produced"] < 2 * requests:
        raise Failed(f"not every one of {requests} requests was traced: {signals['traces']}")
    return signals


def measure(name: str, origin: int, options: argparse.Namespace) -> Sample:
    """A fresh proxy, a second to warm up, and a measured run. What it still exports afterwards counts too."""
    size = SHAPES[options.shape][0]
    with ExitStack() as stack:
        ground = Ground(folder_of(stack), options, origin, stack)
        log = ground.folder / "proxy.log"
        process = spawn(stack, CONTENDERS[name][1](ground), log, PROXY_CPU)
        wait_for(name, lambda: fetch(ground.port) == (200, b"x" * size), process, log)
        load(ground.port, 1, options)
        time.sleep(0.5)
        before = cpu(process.pid)
        sample = load(ground.port, options.seconds, options)
        time.sleep(0.5)
        nanos, user = cpu_between(before, cpu(process.pid))
        sample.cpu_us, sample.user_us = nanos / sample.requests / 1000, user / sample.requests / 1000
        if name == "pellucid-on":
            sample.account = read_account(ground.admin, sample.requests)
    return sample


def start_once(origin: int, options: argparse.Namespace, linger: float) -> tuple[float, float]:
    """Milliseconds from the start to the first 200 of /readyz, and megabytes of memory after a while."""
    with ExitStack() as stack:
        ground = Ground(folder_of(stack), options, origin, stack)
        command, log = pellucid_off(ground, workers=2), ground.folder / "proxy.log"
        started = time.monotonic()
        process = spawn(stack, command, log)
        wait_for("pellucid", lambda: fetch(ground.admin, "/readyz")[0] == 200, process, log, pause=0.001)
        ready = (time.monotonic() - started) * 1000
        time.sleep(max(0.0, linger - ready / 1000))
        status = Path(f"/proc/{process.pid}/status").read_text()
        return ready, int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) * 1024 / 1_000_000


def measure_process(origin: int, options: argparse.Namespace) -> dict:
    """Figures of Pellucid's process with two workers and no traffic."""
    starts = [start_once(origin, options, linger=1.0 if last else 0.0) for last in (False, False, False, False, True)]
    return {
        "ready_ms": round(statistics.median(ready for ready, _ in starts), 1),
        "idle_rss_mb": round(starts[-1][1], 1),
        "binary_mb": round(options.binary.stat().st_size / 1_000_000, 1),
    }


def measure_all(names: list, options: argparse.Namespace) -> tuple[dict, dict | None]:
    """All rounds; each begins with another contender."""
    samples = {name: [] for name in names}
    with ExitStack() as stack:
        folder = folder_of(stack)
        port, log = free_port(), folder / "origin.log"
        process = spawn(stack, origin_command(folder, port, options.shape), log, LOAD_CPU)
        wait_for("the origin", lambda: fetch(port)[0] == 200, process, log)
        own = measure_process(port, options) if any(name.startswith("pellucid") for name in names) else None
        for turn in range(options.rounds):
            first = turn % len(names)
            for name in names[first:] + names[:first]:
                sample = measure(name, port, options)
                samples[name].append(sample)
                print(f"round {turn + 1}: {name}: {sample.cpu_us:.2f} us/request, {sample.per_second:.0f}/s", file=sys.stderr)
    return samples, own


# Reporting.


def add_up(accounts: list) -> dict:
    """One account of several."""
    total = {key: sum(account[key] for account in accounts) for key in ("produced", "exported", "rejected", "queued")}
    reasons = {reason for account in accounts for reason in account["dropped"]}
    return total | {"dropped": {reason: sum(account["dropped"].get(reason, 0) for account in accounts) for reason in sorted(reasons)}}


def summarize(samples: dict) -> dict:
    """Medians, and ratios to HAProxy within each round."""
    rows = {}
    for name, rounds in samples.items():
        keys = ("cpu_us", "user_us", "per_second", "p99_ms")
        row = {key: round(statistics.median(getattr(sample, key) for sample in rounds), 2) for key in keys}
        row |= {key: sum(getattr(sample, key) for sample in rounds) for key in ("requests", "errors")}
        ratios = [own.cpu_us / other.cpu_us for own, other in zip(rounds, samples.get("haproxy", ()))]
        if ratios:
            row["ratio"], row["ratio_min"], row["ratio_max"] = (round(f(ratios), 3) for f in (statistics.median, min, max))
        if accounts := [sample.account for sample in rounds if sample.account]:
            row["telemetry"] = {kind: add_up([account[kind] for account in accounts]) for kind in accounts[0]}
        rows[name] = row
    return rows


def version(command: list, pattern: str) -> str:
    """The version that a program tells, wherever it prints it."""
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(pattern, told.stdout + told.stderr)
    return found[1] if found else "of unknown version"


def table(rows: dict, own: dict | None, options: argparse.Namespace) -> str:
    """The table in Markdown, with the command that made it and what qualifies it."""
    lines = ["| contender | telemetry | CPU µs/request | of which user | × HAProxy off (min–max) | requests/s | p99 ms |"]
    lines.append("|---|---|---|---|---|---|---|")
    notes = []
    for name, row in rows.items():
        ratio = f"{row['ratio']:.2f} ({row['ratio_min']:.2f}–{row['ratio_max']:.2f})" if "ratio" in row else "–"
        lines.append(
            f"| {name}{' **(errors)**' if row['errors'] else ''} | {CONTENDERS[name][0]} | {row['cpu_us']:.1f} | {row['user_us']:.1f} "
            f"| {ratio} | {row['per_second']:.0f} | {row['p99_ms']:.2f} |"
        )
        if row["errors"]:
            notes.append(f"{name}: {row['errors']} errors in {row['requests']} requests: its figures do not count.")
        for kind, account in row.get("telemetry", {}).items():
            if account["produced"]:
                dropped = ", ".join(f"{count} ({reason})" for reason, count in account["dropped"].items()) or "0"
                told = ", ".join(f"{account[key]} {key}" for key in ("produced", "exported", "rejected", "queued"))
                notes.append(f"{name}, {kind}: {told}, dropped: {dropped}.")
    if own:
        notes.append(f"Pellucid idle: {own['idle_rss_mb']} MB resident; {own['ready_ms']} ms from start to ready; binary {own['binary_mb']} MB.")
    notes.append(
        f"Medians of {options.rounds} interleaved rounds of {options.seconds} s, one core, {options.connections} connections, shape "
        f"`{options.shape}` ({SHAPES[options.shape][0]}-byte body), HAProxy {version(['haproxy', '-v'], r'version ([0-9.]+)')}, "
        f"nginx {version(['nginx', '-v'], r'nginx/([0-9.]+)')}. Made by `tests/bench/run.py --rounds {options.rounds} "
        f"--seconds {options.seconds} --connections {options.connections} --shape {options.shape}"
        f"{' --peer target/peer/release/axum-reqwest' if 'axum-reqwest' in rows else ''}`."
    )
    return "\n".join([*lines, "", *(f"- {note}" for note in notes)])


def write_between_markers(path: Path, text: str) -> None:
    """Replaces what stands between the markers; makes the end marker if there is none."""
    head, _, rest = path.read_text().partition(MARKER)
    tail = rest.partition(END_MARKER)[2] if END_MARKER in rest else rest
    path.write_text(f"{head}{MARKER}\n{text}\n{END_MARKER}{tail}")


def missed(rows: dict, own: dict | None) -> list[str]:
    """The limits that do not hold."""
    found = {name: row["ratio"] for name, row in rows.items() if "ratio" in row} | (own or {})
    return [f"{name} is {found[name]}, at most {most} is allowed" for name, most in LIMITS.items() if found.get(name, 0) > most]


def chosen(options: argparse.Namespace) -> list[str]:
    """Names of the contenders, after checking that all is there that they need."""
    names = [name for name in CONTENDERS if name != "axum-reqwest" or options.peer]
    if options.only:
        names = options.only.split(",")
        if unknown := set(names) - set(CONTENDERS):
            raise Failed(f"no such contender: {', '.join(sorted(unknown))}; there are {', '.join(CONTENDERS)}")
    missing = [tool for tool in ("nginx", "haproxy", "wrk", "taskset") if not shutil.which(tool)]
    if missing:
        raise Failed(f"not installed: {', '.join(missing)}; run tests/install")
    needed = {"pellucid-off": [options.binary], "pellucid-on": [options.binary, options.collector], "axum-reqwest": [options.peer]}
    for name in names:
        for path in needed.get(name, []):
            if path is None or not path.is_file():
                raise Failed(f"{name} needs {path or '--peer'}, which is not there")
    if not {PROXY_CPU, LOAD_CPU} <= os.sched_getaffinity(0):
        raise Failed(f"CPUs {PROXY_CPU} and {LOAD_CPU} are needed")
    if options.markdown and MARKER not in options.markdown.read_text():
        raise Failed(f"{options.markdown} has no {MARKER}")
    return names


def count(text: str) -> int:
    """A number that is at least 1."""
    if (number := int(text)) < 1:
        raise ValueError
    return number


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=Path, default=Path("target/dist/pellucid"), help="Pellucid (default: %(default)s)")
    parser.add_argument("--peer", type=Path, help="the axum and reqwest proxy; left out without it")
    parser.add_argument("--collector", type=Path, default=CACHE / "pellucid/bin/otelcol-0.159.0", help="an OpenTelemetry Collector")
    parser.add_argument("--rounds", type=count, default=6)
    parser.add_argument("--seconds", type=count, default=5, help="of one measurement")
    parser.add_argument("--connections", type=count, default=64)
    parser.add_argument("--shape", choices=SHAPES, default="small", help="of requests and answers (default: small, 512 bytes)")
    parser.add_argument("--only", help=f"some of {', '.join(CONTENDERS)}")
    parser.add_argument("--markdown", type=Path, help="a file with a marker, to write the table to")
    parser.add_argument("--check", action="store_true", help="fail where a limit does not hold")
    return parser.parse_args()


def main() -> int:
    """0: done; 1: errors, or a limit that does not hold; 2: it could not be measured."""
    options = arguments()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda caught, _: sys.exit(128 + caught))
    try:
        samples, own = measure_all(chosen(options), options)
    except (Failed, OSError, HTTPException, subprocess.SubprocessError) as error:
        print(f"run.py: {error}", file=sys.stderr)
        return 2
    rows = summarize(samples)
    text = table(rows, own, options)
    print(text, json.dumps({"rounds": options.rounds, "seconds": options.seconds, "connections": options.connections,
                            "shape": options.shape, "contenders": rows, "pellucid": own}), sep="\n\n")
    if options.markdown:
        write_between_markers(options.markdown, text)
    problems = missed(rows, own) if options.check else []
    problems += [f"{name}: {row['errors']} errors" for name, row in rows.items() if row["errors"]]
    for problem in problems:
        print(f"run.py: {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
