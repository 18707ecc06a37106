"""Every route at once.

In: nothing. Out: the dashboard, row by row in reading order. Not here: one route in depth (`route`).
"""

from source.board import OUTCOME_COLORS, ROUTE_CELL, ROUTE_LINK, Row, UPSTREAM_LINK, dashboard
from source.panels import Column, lines, logs, quantiles, query, stat, table, traces
from source.queries import CLIENT, FAILED, GATEWAY, REQUESTS, ROUTE, ROUTE_LINE, SELF_TIME, SERVER, UPSTREAM, UPSTREAM_LINE
from source.queries import failed_share, gauge, named, or_zero, quantile, rated, share

BY_ROUTE = rated(REQUESTS, ROUTE, "pellucid_route")
FAILED_BY_ROUTE = rated(REQUESTS, f"{ROUTE}, {FAILED}", "pellucid_route")
ALL = rated(REQUESTS, ROUTE)
FAILED_OF_ALL = f"{rated(REQUESTS, f'{ROUTE}, {FAILED}')} / ({ALL} > 0)"
SELF_SHARE = f"{rated(SELF_TIME + '_sum', ROUTE, 'pellucid_route')} / ({rated(SERVER + '_sum', ROUTE, 'pellucid_route')} > 0)"
ROUTE_LABEL = "pellucid_route"


def at_a_glance():
    return Row(
        "At a glance",
        stat(
            "Requests",
            3,
            "Requests that ended, a second, on the chosen routes.",
            "A sudden drop means that clients do not reach the gateway: look at *Connections* on the gateway's dashboard, then at DNS and "
            "load balancers before it.",
            or_zero(ALL),
            "reqps",
        ),
        stat(
            "Errors",
            3,
            "The share of requests that ended with a 5xx or with an answer that broke off.",
            "Find the route in *Error share by route*, open it, and see *Errors by error type*.",
            or_zero(FAILED_OF_ALL),
            "percentunit",
            (0.001, 0.01),
            decimals=2,
        ),
        stat(
            "p50",
            3,
            "Half of the requests took less time than this, from first byte to last.",
            "Compare with the self time: what is not self time was spent waiting for upstreams or clients.",
            quantile(0.5, SERVER, ROUTE),
            "s",
            (0.25, 1),
            exemplar=True,
        ),
        stat(
            "p99",
            3,
            "One request in a hundred took more time than this.",
            "See *p99 by route*, then *Where the time of attempts goes* on the route's dashboard.",
            quantile(0.99, SERVER, ROUTE),
            "s",
            (0.5, 1),
            exemplar=True,
        ),
        stat(
            "Self time p99",
            3,
            "What the gateway itself added to a request, for all but one in a hundred.",
            "The gateway is short of CPU, or a filter is costly: open the gateway's dashboard, *CPU by phase* and *Poll duration*.",
            quantile(0.99, SELF_TIME, ROUTE),
            "s",
            (0.001, 0.005),
            exemplar=True,
        ),
        stat(
            "In flight",
            3,
            "Requests that have begun and not ended, over the chosen gateways.",
            "If it grows while the request rate does not, something behind the gateway has become slow: see *p99 by route*.",
            or_zero(gauge("http_server_active_requests", GATEWAY)),
            "short",
        ),
        stat(
            "Gateways",
            3,
            "Gateways that answered the last scrape.",
            "A gateway is down or cannot be scraped: see Prometheus' targets and the gateway's log.",
            or_zero(f"count(pellucid_build_info{{{GATEWAY}}})"),
            "short",
            graph=False,
        ),
        stat(
            "Alerts",
            3,
            "Pellucid's alerts that fire now (rules/alerts.yaml).",
            "Open Prometheus' alerts; each says what to do in its `runbook`.",
            or_zero('count(ALERTS{alertname=~"Pellucid.+", alertstate="firing"})'),
            "short",
            (1, 5),
            graph=False,
        ),
    )


def traffic():
    return Row(
        "Traffic",
        lines(
            "Requests by route",
            8,
            "Requests that ended, a second, by route. A click leads to the route.",
            "A route that vanished has lost its clients or its place in the configuration (blue marks: configuration loaded). "
            "Much under *(no route)* is somebody asking for what is not there.",
            [query(named(BY_ROUTE), "{{pellucid_route}}")],
            "reqps",
            stacked=True,
            links=[ROUTE_LINK],
        ),
        lines(
            "Requests by outcome",
            8,
            "Requests by how they ended: `ok`, `client_error` (4xx), `server_error` (5xx), `client_gone` (the client "
            "left first), `broken` (an answer that had begun broke off).",
            "`server_error` and `broken` are faults behind or in the gateway; `client_gone` beside rising latency is clients whose patience"
            " ended.",
            [query(rated(REQUESTS, ROUTE, "outcome"), "{{outcome}}")],
            "reqps",
            stacked=True,
            colors=OUTCOME_COLORS,
        ),
        lines(
            "Error share by route",
            8,
            "The share of each route's requests that ended with a 5xx or broke off.",
            "Click the route and look at *Errors by error type*: a status is the upstream's own answer, a word is what the gateway saw.",
            [query(named(share(FAILED_BY_ROUTE, BY_ROUTE)), "{{pellucid_route}}")],
            "percentunit",
            limits=(0.01, 0.05),
            links=[ROUTE_LINK],
        ),
    )


def latency():
    return Row(
        "Latency",
        lines(
            "Duration",
            8,
            "Time from a request's first byte to its answer's last. Dots are exemplars: single requests whose trace was kept.",
            "Click a dot high up to open its trace.",
            quantiles(SERVER, ROUTE),
            "s",
        ),
        lines(
            "p99 by route",
            8,
            "The time that all but one in a hundred of a route's requests took.",
            "Click the route; if *wait* is the longest phase there, its upstream is slow.",
            [query(named(quantile(0.99, SERVER, ROUTE, "pellucid_route")), "{{pellucid_route}}", exemplar=True)],
            "s",
            links=[ROUTE_LINK],
        ),
        lines(
            "Self time",
            8,
            "What the gateway itself added: all of a request less every wait for client and upstream.",
            "Above some milliseconds the workers are short of CPU or something blocks them: see the gateway's dashboard.",
            quantiles(SELF_TIME, ROUTE),
            "s",
            limits=(0.005,),
        ),
    )


def in_flight():
    return Row(
        "In flight",
        lines(
            "In flight by gateway",
            8,
            "Requests that have begun and not ended.",
            "One gateway above the others gets more traffic or is slower; all of them rising is a slow upstream.",
            [query(gauge("http_server_active_requests", GATEWAY, "instance"), "{{instance}}")],
            "short",
        ),
        lines(
            "Waiting for a connection",
            8,
            "Requests that wait because their upstream has as many connections as it may.",
            "Above zero for long: the upstream is slow, or `pool.connections_per_endpoint` is too low for it.",
            [query(gauge("pellucid_upstream_pending", UPSTREAM, "pellucid_upstream"), "{{pellucid_upstream}}")],
            "short",
            links=[UPSTREAM_LINK],
        ),
        lines(
            "Share of self time by route",
            8,
            "Of all the time of a route's requests, what the gateway itself took. Near 100 % for routes that the gateway answers itself.",
            "If it rises on a route with an upstream, the gateway has become slow, not the upstream.",
            [query(named(SELF_SHARE), "{{pellucid_route}}")],
            "percentunit",
            links=[ROUTE_LINK],
        ),
    )


def behind():
    return Row(
        "Upstreams",
        lines(
            "Attempts by upstream",
            8,
            "Attempts at the chosen upstreams, a second. A click on one leads to it.",
            "More than the requests of its routes are retries; none at all is an upstream that has lost its routes.",
            [query(rated(CLIENT + "_count", UPSTREAM, "pellucid_upstream"), "{{pellucid_upstream}}")],
            "reqps",
            stacked=True,
            links=[UPSTREAM_LINK],
        ),
        lines(
            "Failed attempts by upstream",
            8,
            "The share of each upstream's attempts that got a 5xx, or no whole answer. Retries may hide it from clients.",
            "Click the upstream and see *What failed* and *Failed attempts by endpoint*.",
            [query(failed_share(UPSTREAM, "pellucid_upstream"), "{{pellucid_upstream}}")],
            "percentunit",
            limits=(0.01, 0.05),
            links=[UPSTREAM_LINK],
        ),
        lines(
            "p99 by upstream",
            8,
            "All but one in a hundred of the attempts at an upstream took less than this.",
            "Click the upstream and see which endpoint and which phase is slow.",
            [query(quantile(0.99, CLIENT, UPSTREAM, "pellucid_upstream"), "{{pellucid_upstream}}", exemplar=True)],
            "s",
            links=[UPSTREAM_LINK],
        ),
    )


def routes_table():
    return Row(
        "Routes",
        table(
            "Routes",
            "Every route at the end of the time range. A click on the name leads to the route.",
            "Sort by *Errors*, *p99* or *Self p99* to find the worst one.",
            [Column("Route", ROUTE_LABEL, links=[ROUTE_CELL], empty="(no route)")],
            [
                Column("Requests", BY_ROUTE, "reqps"),
                Column("Errors", share(FAILED_BY_ROUTE, BY_ROUTE), "percentunit", (0.01, 0.05), decimals=2),
                Column("p50", quantile(0.5, SERVER, ROUTE, ROUTE_LABEL), "s"),
                Column("p90", quantile(0.9, SERVER, ROUTE, ROUTE_LABEL), "s"),
                Column("p99", quantile(0.99, SERVER, ROUTE, ROUTE_LABEL), "s", (0.5, 1)),
                Column("Self p99", quantile(0.99, SELF_TIME, ROUTE, ROUTE_LABEL), "s", (0.001, 0.005)),
                Column("Sent", rated("pellucid_response_body_bytes_total", ROUTE, ROUTE_LABEL), "Bps"),
            ],
            "Requests",
        ),
    )


def failures():
    return Row(
        "What failed",
        logs(
            "Failed requests",
            12,
            "Access-log lines of requests that failed, newest first, of the chosen routes and with their last attempt at the chosen"
            " upstreams. Needs `telemetry.access_log` and Loki.",
            "Open a line for all its fields; its `trace_id` leads to the trace.",
            [ROUTE_LINE, UPSTREAM_LINE, 'error_type!=""'],
        ),
        traces(
            "Failed traces",
            12,
            "Traces whose request failed here, from Tempo. Failed requests are always kept, up to `keep.per_second`.",
            "Open one: the CLIENT spans are the attempts, with their phases.",
            ["kind = server", "status = error", 'span.pellucid.route =~ "$route"'],
        ),
    )


def overview():
    description = "Every route at once: how much, how many errors, how slow, and how much of it is the gateway's own time."
    rows = [at_a_glance(), traffic(), latency(), in_flight(), behind(), routes_table(), failures()]
    return dashboard("pellucid-overview", "Pellucid / Overview", description, rows)
