"""The expressions that panels ask Prometheus.

In: a metric, what to select by, what to sum by. Out: PromQL as text. Not here: how it is shown (`panels`).
"""

# What every query selects by. Routes and upstreams are only labels of what belongs to them.
GATEWAY = 'job=~"$job", instance=~"$instance"'
ROUTE = GATEWAY + ', pellucid_route=~"$route"'
UPSTREAM = GATEWAY + ', pellucid_upstream=~"$upstream"'

# The same for lines of the access log. A line without the field passes while all are chosen.
ROUTE_LINE = 'pellucid_route=~"$route"'
UPSTREAM_LINE = 'pellucid_upstream=~"$upstream"'

# Outcomes that are the fault of the gateway or of what is behind it.
FAILED = 'outcome=~"server_error|broken"'
# An attempt went well if it got an answer below 500 and all of it.
WENT_WELL = 'error_type="", http_response_status_code!~"5.."'

SERVER = "http_server_request_duration_seconds"
CLIENT = "http_client_request_duration_seconds"
SELF_TIME = "pellucid_self_time_seconds"
PHASE = "pellucid_phase_seconds"
POLL = "pellucid_poll_duration_seconds"
REQUESTS = "pellucid_requests_total"


def rate(metric, selector):
    return f"rate({metric}{{{selector}}}[$__rate_interval])"


def total(expression, *by):
    return f"sum by ({', '.join(by)}) ({expression})" if by else f"sum({expression})"


def rated(metric, selector, *by):
    return total(rate(metric, selector), *by)


def gauge(metric, selector, *by):
    return total(f"{metric}{{{selector}}}", *by)


def quantile(share, metric, selector, *by):
    return f"histogram_quantile({share}, {rated(metric + '_bucket', selector, *by, 'le')})"


def mean(metric, selector, *by):
    return f"{rated(metric + '_sum', selector, *by)} / ({rated(metric + '_count', selector, *by)} > 0)"


def or_zero(expression):
    """A counter that has not counted yet has no series: that is a zero."""
    return f"{expression} or vector(0)"


def or_named_zero(expression, label, name):
    """The same where a legend needs a label."""
    return f'{expression} or on() label_replace(vector(0), "{label}", "{name}", "", "")'


def share(part, whole):
    """`part` of `whole`, and 0 for each `whole` that has no `part`."""
    return f"{part} / ({whole} > 0) or {whole} * 0"


def failed_share(selector, *by):
    """The share of attempts that did not go well."""
    whole = rated(CLIENT + "_count", selector, *by)
    well = rated(CLIENT + "_count", f"{selector}, {WENT_WELL}", *by)
    return f"1 - ({well} or {whole} * 0) / ({whole} > 0)"


def named(expression):
    """Requests that no route took have an empty label, which a legend cannot show."""
    return f'label_replace({expression}, "pellucid_route", "(no route)", "pellucid_route", "")'
