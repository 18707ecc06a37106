"""One route in depth.

In: nothing. Out: the dashboard, row by row in reading order. Not here: all routes side by side (`overview`).
"""

from source.board import PHASE_COLORS, Row, dashboard
from source.panels import GRID_COLUMNS, LOKI, flames, heat, lines, log_lines, log_query, logs, quantiles, query, stat, traces
from source.queries import CLIENT, FAILED, PHASE, REQUESTS, ROUTE, ROUTE_LINE, SELF_TIME, SERVER, UPSTREAM, UPSTREAM_LINE
from source.queries import or_named_zero, or_zero, quantile, rated

ALL = rated(REQUESTS, ROUTE)
FAILED_REQUESTS = rated(REQUESTS, f"{ROUTE}, {FAILED}")
ATTEMPTS = rated(CLIENT + "_count", UPSTREAM)
ERRORS = or_named_zero(rated(SERVER + "_count", f'{ROUTE}, error_type!=""', "error_type"), "error_type", "none")
PHASES = f"{rated(PHASE + '_sum', UPSTREAM, 'phase')} / on() group_left() ({ATTEMPTS} > 0)"


def at_a_glance():
    return Row(
        "$route",
        stat(
            "Requests",
            4,
            "Requests of the route that ended, a second.",
            "Compare with the overview: is it this route alone?",
            or_zero(ALL),
            "reqps",
        ),
        stat(
            "Errors",
            4,
            "The share that ended with a 5xx or broke off.",
            "See *Errors by error type* below.",
            or_zero(f"{FAILED_REQUESTS} / ({ALL} > 0)"),
            "percentunit",
            (0.001, 0.01),
            decimals=2,
        ),
        stat(
            "p50",
            4,
            "Half of the requests took less than this.",
            "See *Where the time of attempts goes*.",
            quantile(0.5, SERVER, ROUTE),
            "s",
            (0.25, 1),
            exemplar=True,
        ),
        stat(
            "p99",
            4,
            "One request in a hundred took more than this.",
            "See the heatmap: a second band is often one slow endpoint, a cold cache or a timeout.",
            quantile(0.99, SERVER, ROUTE),
            "s",
            (0.5, 1),
            exemplar=True,
        ),
        stat(
            "Self time p99",
            4,
            "What the gateway added, for all but one request in a hundred.",
            "See the gateway's dashboard.",
            quantile(0.99, SELF_TIME, ROUTE),
            "s",
            (0.001, 0.005),
            exemplar=True,
        ),
        stat(
            "Sent",
            4,
            "Response body bytes to clients, a second.",
            "A sudden rise: larger answers or somebody who downloads all of it; see *Mean sizes*.",
            or_zero(rated("pellucid_response_body_bytes_total", ROUTE)),
            "Bps",
        ),
    )


def traffic():
    return Row(
        "Rate and errors",
        lines(
            "Requests by status",
            8,
            "Requests a second by the status that the client got. No status: the client left before the answer.",
            "5xx: see *Errors by error type*. 4xx that rise after a blue mark: the configuration changed what matches.",
            [query(rated(SERVER + "_count", ROUTE, "http_response_status_code"), "{{http_response_status_code}}")],
            "reqps",
            stacked=True,
        ),
        lines(
            "Errors by error type",
            8,
            "Requests that failed, a second, by `error_type`. A number is the upstream's own status; a word is what "
            "the gateway saw (README.md lists them).",
            "`connect_refused`, `connect_timeout`: nothing listens there. `first_byte_timeout`, `exchange_timeout`: too slow."
            " `pending_full`, `queue_timeout`: too few connections. `client_gone`: the client left.",
            [query(ERRORS, "{{error_type}}")],
            "reqps",
            stacked=True,
        ),
        lines(
            "Requests by method",
            8,
            "Requests a second by method and route template.",
            "An unexpected method or template: the match of the route is wider than meant.",
            [query(rated(SERVER + "_count", ROUTE, "http_request_method", "http_route"), "{{http_request_method}} {{http_route}}")],
            "reqps",
            stacked=True,
        ),
    )


def latency():
    return Row(
        "Latency",
        heat(
            "Duration of requests",
            12,
            "How many requests took how long, from first byte to last. Dots are exemplars.",
            "Two bands are two kinds of requests or endpoints; a line at a round number is a timeout. Click a dot for its trace.",
            SERVER,
            ROUTE,
            "s",
        ),
        lines(
            "Quantiles",
            12,
            "Durations of the route's requests. Dots are exemplars: single requests whose trace was kept.",
            "Click a dot high up to open its trace, then see which phase of which attempt was long.",
            quantiles(SERVER, ROUTE),
            "s",
        ),
        lines(
            "p99 by gateway",
            12,
            "The same for each gateway.",
            "One gateway above the others: look at that host, at its CPU and at its way to the upstream.",
            [query(quantile(0.99, SERVER, ROUTE, "instance"), "{{instance}}", exemplar=True)],
            "s",
        ),
        lines(
            "Self time",
            12,
            "What the gateway itself added to these requests.",
            "If it rose with the rate, the workers are short of CPU; if not, compare with the other routes: its filters may be the cause.",
            quantiles(SELF_TIME, ROUTE),
            "s",
            limits=(0.005,),
        ),
    )


def where():
    return Row(
        "Where the time goes (choose the route's upstream above)",
        lines(
            "Where the time of attempts goes",
            12,
            "The mean attempt, phase by phase: `queue` (waiting under the caps), `dns`, `connect`, `send` "
            "(writing the request), `wait` (until the answer's first byte), `body`. Phases are counted by upstream, so choose the route's.",
            "`wait`: the upstream is slow. `queue`: the pool is too small. `connect`: connections are not reused, or it is far away."
            " `send`, `body`: large messages or a slow reader.",
            [query(PHASES, "{{phase}}")],
            "s",
            stacked=True,
            colors=PHASE_COLORS,
        ),
        lines(
            "p99 of each phase",
            12,
            "All but one in a hundred of the attempts that had this phase spent less on it.",
            "Read it as the panel to its left; here a rare but long phase shows.",
            [query(quantile(0.99, PHASE, UPSTREAM, "phase"), "{{phase}}")],
            "s",
            colors=PHASE_COLORS,
        ),
    )


def sizes():
    return Row(
        "Sizes",
        lines(
            "Body bytes",
            12,
            "Body bytes a second: from clients, and to clients.",
            "A jump without more requests: look at *Mean sizes*.",
            [
                query(rated("pellucid_request_body_bytes_total", ROUTE), "from clients"),
                query(rated("pellucid_response_body_bytes_total", ROUTE), "to clients"),
            ],
            "Bps",
        ),
        lines(
            "Mean sizes",
            12,
            "Body bytes of the mean request and the mean answer.",
            "Answers that grow make `body` longer and cost bandwidth: ask for pages or compression upstream.",
            [
                query(f"{rated('pellucid_request_body_bytes_total', ROUTE)} / ({ALL} > 0)", "request"),
                query(f"{rated('pellucid_response_body_bytes_total', ROUTE)} / ({ALL} > 0)", "answer"),
            ],
            "bytes",
        ),
    )


def beside():
    return Row(
        "Logs and traces",
        logs(
            "Requests",
            12,
            "The route's access log, newest first; with an upstream chosen, requests whose last attempt was there. Needs"
            " `telemetry.access_log` and Loki.",
            "Open a line for all its fields; its `trace_id` leads to the trace.",
            [ROUTE_LINE, UPSTREAM_LINE],
        ),
        traces(
            "Traces",
            12,
            "The route's traces that were kept, with status, self time and why they were kept (`error`, `retry`, `slow`, `sampled`).",
            "Sort by duration and open the longest.",
            ["kind = server", 'span.pellucid.route =~ "$route"'],
        ),
    )


def phase_logs():
    return Row(
        "Phases of this route alone, from its access log",
        phases_from_logs(),
        folded=True,
    )


def profile():
    return Row(
        "CPU of this route",
        flames(
            "CPU profile of the route",
            "Where the workers spent CPU time for this route, from continuous profiles (`telemetry.profiles`, pushed to Pyroscope).",
            "Wide towers are costly functions. Compare with another route to see what is particular to this one.",
            'service_name=~"$service", pellucid_route=~"${route:pipe}"',
        ),
        folded=True,
    )


def phases_from_logs():
    """The access log has route and phases in one line; the metrics have not."""
    of_route = log_lines(ROUTE_LINE, UPSTREAM_LINE)
    return lines(
        "Mean phases of the last attempt",
        GRID_COLUMNS,
        "The mean of each phase over the route's requests that had it, from the access log; with an upstream chosen, of those whose last "
        "attempt was there. It reads every line of the route, so it is folded away.",
        "As above: `wait` is the upstream, `queue` the pool, `connect` missing reuse.",
        [
            log_query(f'avg(avg_over_time({of_route} | unwrap pellucid_phase_{phase}_ms | __error__="" [$__auto]))', phase)
            for phase in PHASE_COLORS
        ],
        "ms",
        colors=PHASE_COLORS,
        source=LOKI,
    )


def route():
    description = "One route in depth: rate, errors, latency and where it comes from, with its logs and traces."
    rows = [at_a_glance(), traffic(), latency(), where(), sizes(), beside(), phase_logs(), profile()]
    return dashboard("pellucid-route", "Pellucid / Route", description, rows)
