"""Upstreams and their endpoints.

In: nothing. Out: the dashboard, row by row in reading order. Not here: requests and routes (`overview`, `route`).
"""

from source.board import PHASE_COLORS, ROUTE_LINK, Row, UPSTREAM_CELL, UPSTREAM_LINK, dashboard
from source.panels import LOKI, Column, heat, lines, log_lines, log_query, logs, query, stat, table, traces
from source.queries import CLIENT, PHASE, ROUTE_LINE, UPSTREAM, UPSTREAM_LINE, failed_share, gauge, or_named_zero, or_zero, quantile, rated

ENDPOINT_LABELS = ("pellucid_upstream", "server_address", "server_port")
ENDPOINT_LEGEND = "{{pellucid_upstream}} {{server_address}}:{{server_port}}"
ATTEMPTS = CLIENT + "_count"
CONNECTS = rated("pellucid_upstream_connects_total", UPSTREAM, "pellucid_upstream")
BY_PHASE = (
    f"{rated(PHASE + '_sum', UPSTREAM, 'pellucid_upstream', 'phase')} / on (pellucid_upstream) group_left() "
    f"({rated(ATTEMPTS, UPSTREAM, 'pellucid_upstream')} > 0)"
)
WORDS = or_named_zero(rated(ATTEMPTS, f'{UPSTREAM}, error_type!=""', "pellucid_upstream", "error_type"), "error_type", "none")
STATUSES = or_named_zero(
    rated(ATTEMPTS, f'{UPSTREAM}, error_type="", http_response_status_code=~"5.."', "pellucid_upstream", "http_response_status_code"),
    "http_response_status_code",
    "no 5xx",
)
RETRIED = or_zero(rated("pellucid_retries_total", UPSTREAM))


def at_a_glance():
    return Row(
        "At a glance",
        stat(
            "Attempts",
            4,
            "Attempts at the chosen upstreams, a second. A request is one attempt unless it is retried.",
            "More attempts than requests are retries.",
            or_zero(rated(ATTEMPTS, UPSTREAM)),
            "reqps",
        ),
        stat(
            "Failed attempts",
            4,
            "The share of attempts that got a 5xx, or no whole answer.",
            "See *Failed attempts by upstream* and by endpoint.",
            or_zero(failed_share(UPSTREAM)),
            "percentunit",
            (0.001, 0.01),
            decimals=2,
        ),
        stat(
            "p99",
            4,
            "One attempt in a hundred took more than this.",
            "See *p99 by endpoint*: one endpoint or all of them?",
            quantile(0.99, CLIENT, UPSTREAM),
            "s",
            (0.5, 1),
            exemplar=True,
        ),
        stat(
            "Connections",
            4,
            "Connections to endpoints, in use and idle.",
            "Near `pool.connections_per_endpoint` requests begin to wait.",
            or_zero(gauge("pellucid_upstream_connections", UPSTREAM)),
            "short",
        ),
        stat(
            "Waiting",
            4,
            "Requests that wait for a connection.",
            "Above zero for long: the upstream is slow, or the pool too small.",
            or_zero(gauge("pellucid_upstream_pending", UPSTREAM)),
            "short",
            (1, 100),
        ),
        stat(
            "Retries",
            4,
            "Attempts after the first, a second.",
            "Retries hide failures from clients and add load: find the endpoint that fails.",
            RETRIED,
            "reqps",
            (0.1, 10),
        ),
    )


def by_upstream():
    return Row(
        "By upstream",
        lines(
            "Attempts by upstream",
            8,
            "Attempts a second.",
            "An upstream without attempts has lost its routes; a jump may be retries.",
            [query(rated(ATTEMPTS, UPSTREAM, "pellucid_upstream"), "{{pellucid_upstream}}")],
            "reqps",
            stacked=True,
            links=[UPSTREAM_LINK],
        ),
        lines(
            "Failed attempts by upstream",
            8,
            "The share of attempts that got a 5xx, or no whole answer.",
            "See *What failed* for the kind, and *Failed attempts by endpoint* for the place.",
            [query(failed_share(UPSTREAM, "pellucid_upstream"), "{{pellucid_upstream}}")],
            "percentunit",
            limits=(0.01, 0.05),
            links=[UPSTREAM_LINK],
        ),
        lines(
            "p50 and p99 by upstream",
            8,
            "Time of one attempt, from its start to its answer's last byte. Dots are exemplars.",
            "Click a dot for its trace; see below which phase is long.",
            [
                query(quantile(0.5, CLIENT, UPSTREAM, "pellucid_upstream"), "{{pellucid_upstream}} p50", exemplar=True),
                query(quantile(0.99, CLIENT, UPSTREAM, "pellucid_upstream"), "{{pellucid_upstream}} p99", exemplar=True),
            ],
            "s",
            links=[UPSTREAM_LINK],
        ),
    )


def by_place():
    return Row(
        "By endpoint",
        lines(
            "Attempts by endpoint",
            8,
            "Attempts a second.",
            "Uneven shares that the weights do not explain: an endpoint refuses connections, or was added just now.",
            [query(rated(ATTEMPTS, UPSTREAM, *ENDPOINT_LABELS), ENDPOINT_LEGEND)],
            "reqps",
            stacked=True,
        ),
        lines(
            "Failed attempts by endpoint",
            8,
            "The share of attempts at one endpoint that got a 5xx, or no whole answer.",
            "One endpoint alone: take it out (`weight: 0`, then reload) and look at its host. All of them: what they share.",
            [query(failed_share(UPSTREAM, *ENDPOINT_LABELS), ENDPOINT_LEGEND)],
            "percentunit",
            limits=(0.01, 0.05),
        ),
        lines(
            "p99 by endpoint",
            8,
            "All but one in a hundred of the attempts at an endpoint took less than this.",
            "One endpoint alone is a slow host; all of them are a slow service or what is behind it.",
            [query(quantile(0.99, CLIENT, UPSTREAM, *ENDPOINT_LABELS), ENDPOINT_LEGEND, exemplar=True)],
            "s",
        ),
        table(
            "Endpoints",
            "Every endpoint at the end of the time range.",
            "Sort by *Failed* or *p99* to find the worst one; much under *Connects* is poor reuse.",
            [
                Column("Upstream", "pellucid_upstream", links=[UPSTREAM_CELL]),
                Column("Address", "server_address"),
                Column("Port", "server_port"),
            ],
            [
                Column("Attempts", rated(ATTEMPTS, UPSTREAM, *ENDPOINT_LABELS), "reqps"),
                Column("Failed", failed_share(UPSTREAM, *ENDPOINT_LABELS), "percentunit", (0.01, 0.05), decimals=2),
                Column("p50", quantile(0.5, CLIENT, UPSTREAM, *ENDPOINT_LABELS), "s"),
                Column("p99", quantile(0.99, CLIENT, UPSTREAM, *ENDPOINT_LABELS), "s", (0.5, 1)),
                Column("Connections", gauge("pellucid_upstream_connections", UPSTREAM, *ENDPOINT_LABELS), "short"),
                Column("Connects", rated("pellucid_upstream_connects_total", UPSTREAM, *ENDPOINT_LABELS), "cps"),
            ],
            "Attempts",
        ),
    )


def phases():
    return Row(
        "Where the time of attempts goes",
        lines(
            "Mean attempt by phase",
            8,
            "The mean attempt: `queue` (waiting under the caps), `dns`, `connect`, `send`, `wait` (until the answer's first byte), `body`.",
            "`wait`: the upstream is slow. `queue`: the pool is too small. `connect`: no reuse. `body`: large answers.",
            [query(BY_PHASE, "{{pellucid_upstream}} {{phase}}")],
            "s",
            stacked=True,
        ),
        lines(
            "p99 of each phase",
            8,
            "All but one in a hundred of the attempts that had this phase spent less on it.",
            "A long `connect` with few connects is the network; `dns` above a few milliseconds is the resolver.",
            [query(quantile(0.99, PHASE, UPSTREAM, "phase"), "{{phase}}")],
            "s",
            colors=PHASE_COLORS,
        ),
        heat(
            "Wait for the first byte",
            8,
            "How long attempts waited, from the request's last byte to the answer's first.",
            "A second band is a second kind of work upstream, or one endpoint that is slow.",
            PHASE,
            UPSTREAM + ', phase="wait"',
            "s",
            exemplar=False,
        ),
    )


def connections():
    return Row(
        "Connections",
        lines(
            "Connections by endpoint",
            8,
            "Connections to an endpoint, in use and idle.",
            "A line that lies at `pool.connections_per_endpoint` is the cap: requests wait behind it.",
            [query(gauge("pellucid_upstream_connections", UPSTREAM, *ENDPOINT_LABELS), ENDPOINT_LEGEND)],
            "short",
        ),
        lines(
            "Connects by endpoint",
            8,
            "Connections begun, a second.",
            "Many connects are no reuse: the upstream closes (see its keep-alive), or `pool.idle_per_endpoint` and `idle_timeout` are too"
            " low.",
            [query(rated("pellucid_upstream_connects_total", UPSTREAM, *ENDPOINT_LABELS), ENDPOINT_LEGEND)],
            "cps",
        ),
        lines(
            "Attempts on a connection that was there",
            8,
            "The share of attempts that did not need a new connection.",
            "Below nine in ten under steady traffic: as for *Connects by endpoint*.",
            [query(f"clamp_min(1 - {CONNECTS} / ({rated(ATTEMPTS, UPSTREAM, 'pellucid_upstream')} > 0), 0)", "{{pellucid_upstream}}")],
            "percentunit",
            maximum=1,
        ),
        lines(
            "Waiting for a connection",
            8,
            "Requests that wait because the upstream has as many connections as it may.",
            "The upstream is slow or the pool too small. At `pool.pending` further requests get 503 `pending_full`.",
            [query(gauge("pellucid_upstream_pending", UPSTREAM, "pellucid_upstream"), "{{pellucid_upstream}}")],
            "short",
        ),
        lines(
            "Retries",
            8,
            "Attempts after the first, a second.",
            "Retries double the load of an upstream that fails: mend it, or lower `retry.attempts`.",
            [
                query(
                    or_named_zero(rated("pellucid_retries_total", UPSTREAM, "pellucid_upstream"), "pellucid_upstream", "none"),
                    "{{pellucid_upstream}}",
                )
            ],
            "reqps",
        ),
        lines(
            "What failed",
            8,
            "Attempts that failed, a second: a word is what the gateway saw, a number the upstream's own 5xx.",
            "`connect_refused`: nothing listens. `connect_timeout`: it cannot be reached. `upstream_reset`, `upstream_closed`: it crashed"
            " or closes too early. `first_byte_timeout`: too slow.",
            [query(WORDS, "{{pellucid_upstream}} {{error_type}}"), query(STATUSES, "{{pellucid_upstream}} {{http_response_status_code}}")],
            "reqps",
            stacked=True,
        ),
    )


def beside():
    return Row(
        "Logs and traces",
        logs(
            "Failed requests",
            12,
            "Access-log lines of requests of the chosen routes that failed and whose last attempt was at the chosen upstreams.",
            "Open a line for all its fields; its `trace_id` leads to the trace.",
            [ROUTE_LINE, UPSTREAM_LINE, 'error_type!=""'],
        ),
        traces(
            "Failed attempts",
            12,
            "Attempts (CLIENT spans) that failed at the chosen upstreams, for requests of the chosen routes, from Tempo.",
            "Open one: its phases tell whether it could not connect, waited, or broke off.",
            ["kind = client", "status = error", 'span.pellucid.upstream =~ "$upstream"'],
            below=["kind = server", 'span.pellucid.route =~ "$route"'],
        ),
    )


def by_route():
    """The access log has route and upstream in one line; the metrics have not."""
    attempted = log_lines(ROUTE_LINE, UPSTREAM_LINE, 'pellucid_upstream!=""')
    failed = f'{attempted} | error_type!=""'
    return Row(
        "By route, from the access log",
        lines(
            "Requests by route",
            12,
            "Requests a second whose last attempt was at the chosen upstreams, by route. It reads every line of the log, so it is folded"
            " away.",
            "The route that has grown is what the upstream has to bear: click it to see whose requests they are.",
            [log_query(f"sum by (pellucid_route) (rate({attempted} [$__auto]))", "{{pellucid_route}}")],
            "reqps",
            stacked=True,
            links=[ROUTE_LINK],
            source=LOKI,
        ),
        lines(
            "Failed requests by route",
            12,
            "Those of them that failed, a second, by route: what the upstream's failures do to clients.",
            "One route alone: what it asks for, or its timeouts. All of them: the upstream.",
            [log_query(f"sum by (pellucid_route) (rate({failed} [$__auto]))", "{{pellucid_route}}")],
            "reqps",
            stacked=True,
            links=[ROUTE_LINK],
            source=LOKI,
        ),
        folded=True,
    )


def upstreams():
    description = "Upstreams and their endpoints: attempts, failures, latency by phase, connections, waiting and retries."
    rows = [at_a_glance(), by_upstream(), by_place(), phases(), connections(), beside(), by_route()]
    return dashboard("pellucid-upstreams", "Pellucid / Upstreams", description, rows)
