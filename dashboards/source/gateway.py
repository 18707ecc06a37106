"""The gateway itself.

In: nothing. Out: the dashboard, row by row in reading order. Not here: what is behind it (`upstreams`).
"""

from source.board import GATEWAY_CELL, ROUTE_LINK, Row, UPSTREAM_LINK, dashboard
from source.panels import Column, flames, heat, lines, logs, quantiles, query, stat, table, traces
from source.queries import CLIENT, GATEWAY, POLL, REQUESTS, ROUTE, SELF_TIME, UPSTREAM
from source.queries import gauge, mean, named, or_named_zero, or_zero, quantile, rated, total

OURS = f"and on (job, instance) pellucid_build_info{{{GATEWAY}}}"
ALL_REQUESTS = rated(REQUESTS, GATEWAY)
# An application that the gateway is mounted in has threads of its own.
OWN_THREADS = GATEWAY + ', thread=~"pellucid.*"'
WORKERS = GATEWAY + ', thread=~"pellucid-w.*"'
CPU = rated("pellucid_thread_cpu_seconds_total", OWN_THREADS)
CPU_BY_PHASE = rated("pellucid_cpu_phase_seconds_total", GATEWAY, "phase")
LOST = rated("pellucid_profile_samples_lost_total", GATEWAY, "reason")
DROPPED = gauge("pellucid_telemetry_dropped_total", GATEWAY, "signal")
SETTLED = [gauge(f"pellucid_telemetry_{what}", GATEWAY, "signal") for what in ("exported_total", "rejected_total", "queued")]
UNACCOUNTED = " - ".join([gauge("pellucid_telemetry_produced_total", GATEWAY, "signal"), *SETTLED, DROPPED])
GIVEN_UP = f"{rated('pellucid_telemetry_dropped_total', GATEWAY)} + {rated('pellucid_telemetry_rejected_total', GATEWAY)}"


def at_a_glance():
    return Row(
        "At a glance",
        stat(
            "Gateways",
            3,
            "Gateways that answered the last scrape, by version.",
            "Two versions for long: a roll-out that stopped half-way.",
            f"count by (version) (pellucid_build_info{{{GATEWAY}}})",
            "short",
            legend="{{version}}",
            text_mode="value_and_name",
            graph=False,
        ),
        stat(
            "Youngest",
            3,
            "How long ago the gateway that started last did so.",
            "Short without a deployment: it crashed, or was killed for its memory. See its log and the host's.",
            f"min(time() - process_start_time_seconds{{{GATEWAY}}} {OURS})",
            "s",
            graph=False,
        ),
        stat(
            "CPU",
            3,
            "Cores in use, over the threads of the chosen gateways.",
            "See *CPU by thread* and *CPU by phase*.",
            CPU,
            "short",
            decimals=2,
        ),
        stat(
            "CPU per request",
            3,
            "CPU time of the gateway's threads, divided by the requests that ended.",
            "A rise without a change of traffic is a regression or a costly filter: see *CPU by phase* and the profile below.",
            f"{CPU} / ({ALL_REQUESTS} > 0)",
            "s",
            (0.0005, 0.002),
        ),
        stat(
            "Memory",
            3,
            "Resident memory of the largest gateway.",
            "See *Allocator*: is it in use, or kept by the allocator?",
            f"max(process_resident_memory_bytes{{{GATEWAY}}} {OURS})",
            "bytes",
            (512 * 2**20, 2**30),
        ),
        stat(
            "Descriptors",
            3,
            "Open file descriptors as a share of the limit, of the gateway that is nearest to it.",
            "At the limit accepting stops: raise `LimitNOFILE`, or find who holds the connections.",
            f"max((process_open_fds{{{GATEWAY}}} / process_max_fds{{{GATEWAY}}}) {OURS})",
            "percentunit",
            (0.7, 0.9),
            decimals=1,
        ),
        stat(
            "Telemetry given up",
            3,
            "Spans, points, log lines and samples that were dropped or refused, a second.",
            "See *Dropped by reason*; docs/telemetry.md explains each.",
            or_zero(GIVEN_UP),
            "cps",
            (0.01, 10),
        ),
        stat(
            "Generation",
            3,
            "Generation of the configuration in force, the newest of the chosen gateways.",
            "See *Reloads* if it did not move when it should have.",
            f"max(pellucid_config_generation{{{GATEWAY}}})",
            "short",
            graph=False,
        ),
    )


def work():
    return Row(
        "Own time",
        lines(
            "Self time",
            8,
            "What the gateway itself added to a request: all of it less every wait for client and upstream.",
            "Compare with *CPU by thread*: workers near 100 % are short of CPU. If they are not, see *Poll duration* and *Locks*.",
            quantiles(SELF_TIME, ROUTE),
            "s",
            limits=(0.005,),
        ),
        lines(
            "Mean self time by route",
            8,
            "The mean over a route's requests.",
            "One route alone: its filters, or large bodies.",
            [query(named(mean(SELF_TIME, ROUTE, "pellucid_route")), "{{pellucid_route}}")],
            "s",
            links=[ROUTE_LINK],
        ),
        heat(
            "Self time of requests",
            8,
            "How many requests took how much of the gateway's time.",
            "A second band far up is requests that waited for the worker while it did something long: see *Slow polls*.",
            SELF_TIME,
            ROUTE,
            "s",
        ),
    )


def cpu_row():
    return Row(
        "CPU",
        lines(
            "CPU by thread",
            8,
            "Cores in use by each thread; 100 % is one core. `pellucid-w…` are the workers, `pellucid-telem` makes the "
            "signals, `pellucid-ctl` is the control plane; an application around the gateway has others.",
            "Workers above 90 %: add workers, or gateways. One worker alone: few connections carry most of the traffic. `pellucid-telem`"
            " near 100 %: records will be lost (`ring_full`).",
            [query(rated("pellucid_thread_cpu_seconds_total", GATEWAY, "instance", "thread"), "{{instance}} {{thread}}")],
            "percentunit",
        ),
        lines(
            "CPU by phase",
            8,
            "Cores in use by phase of the request path, estimated from samples. Only while continuous profiles are on.",
            "`head`, `route`, `filter`: parsing and configuration. `send`, `body`: bytes and system calls. `connect`: missing reuse."
            " `other`: what belongs to no request. See the profile below for functions.",
            [query(or_named_zero(CPU_BY_PHASE, "phase", "profiles are off"), "{{phase}}")],
            "percentunit",
            stacked=True,
        ),
        lines(
            "CPU per request",
            8,
            "CPU seconds for one request: of the gateway's threads, and of the workers alone.",
            "The distance between the lines is telemetry and control; it grows with the share of kept traces and with scrapes.",
            [
                query(f"{CPU} / on() ({ALL_REQUESTS} > 0)", "gateway"),
                query(f"{rated('pellucid_thread_cpu_seconds_total', WORKERS)} / on() ({ALL_REQUESTS} > 0)", "workers"),
            ],
            "s",
        ),
    )


def workers():
    return Row(
        "Workers and locks",
        heat(
            "Poll duration",
            8,
            "How long a worker worked at one request without a pause, while all its others waited.",
            "Nothing should be above 10 ms: see *Slow polls* and take a profile.",
            POLL,
            GATEWAY,
            "s",
            exemplar=False,
        ),
        lines(
            "p99 of polls by thread",
            8,
            "All but one in a hundred polls of a worker took less than this.",
            "One worker alone: a connection with large messages, or a noisy neighbour on its core.",
            [query(quantile(0.99, POLL, GATEWAY, "instance", "thread"), "{{instance}} {{thread}}")],
            "s",
            limits=(0.01,),
        ),
        lines(
            "Slow polls",
            8,
            "Polls longer than 10 ms, a second. Every request of that worker waited for so long.",
            "Profile while it happens (`pellucid profile --seconds 10`): a blocking call, a page fault, or the host's CPU being taken"
            " away.",
            [
                query(
                    or_named_zero(rated("pellucid_slow_polls_total", GATEWAY, "instance", "thread"), "thread", "none"),
                    "{{instance}} {{thread}}",
                )
            ],
            "cps",
            limits=(1,),
        ),
        lines(
            "Waiting for locks",
            12,
            "Time that threads spent waiting for a lock, as a share of one thread's time.",
            "The request path takes no lock that is contended. A lock above 5 % is a fault worth a report, with the mutex profile.",
            [query(or_named_zero(rated("pellucid_lock_wait_seconds_total", GATEWAY, "lock"), "lock", "none"), "{{lock}}")],
            "percentunit",
            limits=(0.05,),
        ),
        lines(
            "Waits for locks",
            12,
            "How often a thread had to wait for a lock, a second.",
            "Many short waits cost less than few long ones: compare with the panel to the left.",
            [query(or_named_zero(rated("pellucid_lock_waits_total", GATEWAY, "lock"), "lock", "none"), "{{lock}}")],
            "cps",
        ),
    )


def memory():
    return Row(
        "Memory and descriptors",
        lines(
            "Resident memory",
            8,
            "Memory that each process has in RAM.",
            "A steady rise under steady traffic is a leak: take `/debug/pprof/heap` twice and compare.",
            [query(f"sum by (instance) (process_resident_memory_bytes{{{GATEWAY}}} {OURS})", "{{instance}}")],
            "bytes",
        ),
        lines(
            "Allocator",
            8,
            "The allocator's view: `allocated` by the program, `active` pages, `resident` in RAM, `mapped`, and `retained` for later.",
            "`allocated` rises: the program holds more (connections, queues, a leak). `resident` far above it: fragmentation.",
            [query(or_named_zero(gauge("pellucid_allocator_bytes", GATEWAY, "kind"), "kind", "not known"), "{{kind}}")],
            "bytes",
        ),
        lines(
            "Descriptors and threads",
            8,
            "Open file descriptors, their limit, and threads.",
            "Descriptors follow connections on both sides; if they do not come back after a peak, connections leak.",
            [
                query(total(f"process_open_fds{{{GATEWAY}}} {OURS}"), "descriptors"),
                query(total(f"process_max_fds{{{GATEWAY}}} {OURS}"), "limit"),
                query(total(f"process_threads{{{GATEWAY}}} {OURS}"), "threads"),
            ],
            "short",
            log=True,
        ),
    )


def connections():
    return Row(
        "Client connections",
        lines(
            "Open connections",
            8,
            "Client connections that are open.",
            "Near `limits.connections` further ones are refused.",
            [query(gauge("pellucid_connections", GATEWAY, "instance"), "{{instance}}")],
            "short",
        ),
        lines(
            "Accepted, and what ended them",
            8,
            "Connections accepted, and ended, a second, by what ended them.",
            "`answered` that follows the request rate: clients do not reuse. `header_timeout`: clients that connect and say nothing. "
            "`idle_timeout` is normal.",
            [
                query(rated("pellucid_connections_accepted_total", GATEWAY), "accepted"),
                query(rated("pellucid_connections_closed_total", GATEWAY, "reason"), "ended: {{reason}}"),
            ],
            "cps",
        ),
        lines(
            "Refused",
            8,
            "Connections closed at once: the listener had as many as it may, or one client had.",
            "Raise `limits.connections` if the host can bear it; *one client* is usually a client without reuse, or an attack.",
            [
                query(
                    f"{rated('pellucid_connections_refused_total', GATEWAY)} -"
                    f" {rated('pellucid_connections_refused_per_client_total', GATEWAY)}",
                    "listener full",
                ),
                query(rated("pellucid_connections_refused_per_client_total", GATEWAY), "one client"),
            ],
            "cps",
            limits=(0.1,),
        ),
    )


def outward():
    by, legend = ("instance", "pellucid_upstream"), "{{instance}} {{pellucid_upstream}}"
    return Row(
        "Connections to upstreams",
        lines(
            "Connections to upstreams",
            8,
            "Connections of each gateway to the endpoints of the chosen upstreams, in use and idle.",
            "One gateway far above the others: it gets more traffic, or its requests take longer. See the upstream's dashboard.",
            [query(gauge("pellucid_upstream_connections", UPSTREAM, *by), legend)],
            "short",
            links=[UPSTREAM_LINK],
        ),
        lines(
            "Attempts at upstreams",
            8,
            "Attempts of each gateway at the chosen upstreams, a second.",
            "A gateway without attempts does not reach the upstream, or no client reaches the gateway: compare with *Accepted*.",
            [query(rated(CLIENT + "_count", UPSTREAM, *by), legend)],
            "reqps",
            links=[UPSTREAM_LINK],
        ),
        lines(
            "Waiting for a connection",
            8,
            "Requests on each gateway that wait because the upstream has as many connections as it may.",
            "On one gateway alone: it has more than its share of the traffic. On all of them: the upstream is slow, or the pool too small.",
            [query(gauge("pellucid_upstream_pending", UPSTREAM, *by), legend)],
            "short",
            links=[UPSTREAM_LINK],
        ),
    )


def telemetry():
    return Row(
        "Telemetry: produced = exported + rejected + dropped + queued",
        lines(
            "Produced",
            8,
            "Spans, metric points, log lines and profile samples made, a second.",
            "A jump in traces: `traces.sample` or `keep` changed, or many requests fail.",
            [query(rated("pellucid_telemetry_produced_total", GATEWAY, "signal"), "{{signal}}")],
            "cps",
        ),
        lines(
            "Exported and rejected",
            8,
            "Items that their sink confirmed, and those that it refused for good, a second.",
            "Exported lies at zero: the Collector is gone. Rejected: its log says why (size, schema, credentials).",
            [
                query(rated("pellucid_telemetry_exported_total", GATEWAY, "signal"), "{{signal}} exported"),
                query(rated("pellucid_telemetry_rejected_total", GATEWAY, "signal"), "{{signal}} rejected"),
            ],
            "cps",
        ),
        lines(
            "Dropped by reason",
            8,
            "Items that were given up, a second.",
            "`ring_full`: the telemetry thread is short of CPU. `queue_full`, `retries_exhausted`: the Collector is slow or gone."
            " `rate_limited`: `keep.per_second` was reached. `sink_failed`: the log file.",
            [query(rated("pellucid_telemetry_dropped_total", GATEWAY, "signal", "reason"), "{{signal}} {{reason}}")],
            "cps",
            limits=(0.01,),
        ),
        lines(
            "Queued",
            8,
            "Items on their way to their sink.",
            "It grows while the Collector is slow; at its bound items are dropped.",
            [query(gauge("pellucid_telemetry_queued", GATEWAY, "signal"), "{{signal}}")],
            "short",
        ),
        lines(
            "Unaccounted for",
            8,
            "Produced less exported, rejected, dropped and queued: always 0.",
            "Anything else is a fault of the gateway: please report it with `/api/v1/telemetry`.",
            [query(UNACCOUNTED, "{{signal}}")],
            "short",
        ),
        lines(
            "Series",
            8,
            "Series that the request path holds, and observations a second that were folded into `_other`.",
            "Folding means that `metrics.series_max` is spent: raise it, or use fewer routes and endpoints.",
            [
                query(gauge("pellucid_metrics_series", GATEWAY, "instance"), "series {{instance}}"),
                query(rated("pellucid_metrics_folded_total", GATEWAY), "folded a second"),
            ],
            "short",
        ),
        lines(
            "Profile samples",
            12,
            "Samples taken, a second, by kind.",
            "None while `profiles.continuous` is on: the sampler could not start; see the gateway's log.",
            [query(or_named_zero(rated("pellucid_profile_samples_total", GATEWAY, "kind"), "kind", "none"), "{{kind}}")],
            "cps",
        ),
        lines(
            "Profile samples lost",
            12,
            "Samples that are missing from profiles, a second, by reason; and periods whose signal came late, whose time counts with the"
            " next sample.",
            "`ring_full`: samples were not collected in time; lower `profiles.hz`. `history_full`: more different stacks than the kept"
            " minutes have room for. Merged periods lose no time, only detail.",
            [
                query(or_named_zero(LOST, "reason", "none"), "{{reason}}"),
                query(or_zero(rated("pellucid_profile_periods_merged_total", GATEWAY)), "periods merged"),
            ],
            "cps",
            limits=(0.1,),
        ),
    )


def configuration():
    return Row(
        "Configuration",
        lines(
            "Generation by gateway",
            8,
            "It grows by one with each reload that changes something.",
            "A gateway that stays behind did not get the file, or refused it.",
            [query(gauge("pellucid_config_generation", GATEWAY, "instance"), "{{instance}}")],
            "short",
        ),
        lines(
            "Reloads",
            8,
            "Reloads since the start, by outcome.",
            "`refused`: the file has mistakes and the old configuration serves on. "
            "`pellucid check` names each; `/api/v1/config` shows the last reloads.",
            [query(gauge("pellucid_config_reloads_total", GATEWAY, "outcome"), "{{outcome}}")],
            "short",
            colors={"applied": "green", "refused": "red", "unchanged": "blue"},
        ),
        lines(
            "Age of the configuration",
            8,
            "How long ago the configuration in force was loaded.",
            "Unequal ages after a roll-out: see *Generation by gateway*.",
            [query(f"time() - max by (instance) (pellucid_config_loaded_timestamp_seconds{{{GATEWAY}}})", "{{instance}}")],
            "s",
        ),
        table(
            "Gateways",
            "Every gateway at the end of the time range. *Requests* and *Self p99* are those of the chosen routes.",
            "Look for the one that differs.",
            [Column("Gateway", "instance", links=[GATEWAY_CELL]), Column("Version", "version")],
            [
                Column(
                    "Up for",
                    f"sum by (instance, version) (pellucid_build_info{{{GATEWAY}}} * on (job, instance) group_left() "
                    f"(time() - process_start_time_seconds{{{GATEWAY}}}))",
                    "s",
                ),
                Column("Requests", rated(REQUESTS, ROUTE, "instance"), "reqps"),
                Column("CPU", rated("pellucid_thread_cpu_seconds_total", OWN_THREADS, "instance"), "percentunit"),
                Column("Self p99", quantile(0.99, SELF_TIME, ROUTE, "instance"), "s", (0.001, 0.005)),
                Column("Memory", f"sum by (instance) (process_resident_memory_bytes{{{GATEWAY}}} {OURS})", "bytes"),
                Column("Connections", gauge("pellucid_connections", GATEWAY, "instance"), "short"),
                Column("Generation", gauge("pellucid_config_generation", GATEWAY, "instance"), "short"),
            ],
            "Requests",
            height=7,
        ),
    )


def beside():
    return Row(
        "The gateway's own log and traces",
        logs(
            "The gateway's log",
            12,
            "What the control plane says of itself: start, reloads, faults. Access-log lines are left out.",
            "Look for `WARN` and `ERROR` around the time of the fault.",
            ['url_path=""'],
            form=None,
        ),
        traces(
            "Reloads and start",
            12,
            "The control plane's own spans, from Tempo.",
            "A long `config.reload` is a large file, or a slow disk or resolver.",
            ["kind = internal"],
        ),
    )


def profile():
    return Row(
        "CPU profile",
        flames(
            "CPU profile of the gateway",
            "Where CPU time went, from continuous profiles (`telemetry.profiles`, pushed to Pyroscope).",
            "Wide towers are costly functions; compare with a time range in which all was well.",
            'service_name=~"$service"',
        ),
        folded=True,
    )


def gateway():
    description = "The gateway itself: its own time, CPU, memory, connections, what became of its telemetry, and its configuration."
    inside = [at_a_glance(), work(), cpu_row(), workers(), memory()]
    rows = [*inside, connections(), outward(), telemetry(), configuration(), beside(), profile()]
    return dashboard("pellucid-gateway", "Pellucid / Gateway", description, rows)
