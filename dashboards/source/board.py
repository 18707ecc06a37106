"""A dashboard around its panels.

In: rows of panels. Out: the whole dictionary: places and ids, variables, links to the other dashboards, marks. Not here: any panel.
"""

import re

from source.panels import GRID_COLUMNS, PROMETHEUS
from source.queries import GATEWAY, REQUESTS

SCHEMA_VERSION = 41


class Row:
    """A heading with its panels; a folded one asks for nothing until it is opened."""

    def __init__(self, title, *panels, folded=False):
        self.title, self.panels, self.folded = title, panels, folded


def laid_out(rows):
    """The panels with ids and places: from left to right, a new line where the width is used up. Folded ones keep a place as well."""
    placed, top, number = [], 0, 1
    for row in rows:
        heading = {"collapsed": row.folded, "gridPos": {"h": 1, "w": GRID_COLUMNS, "x": 0, "y": top}, "id": number, "panels": []}
        placed.append({**heading, "title": row.title, "type": "row"})
        top, left, line_height, number = top + 1, 0, 0, number + 1
        for member in row.panels:
            place = member["gridPos"]
            if left + place["w"] > GRID_COLUMNS:
                top, left, line_height = top + line_height, 0, 0
            place["x"], place["y"], member["id"] = left, top, number
            left, line_height, number = left + place["w"], max(line_height, place["h"]), number + 1
            (heading["panels"] if row.folded else placed).append(member)
        top += line_height
    return placed


def data_source(name, label, kind, uid):
    return {
        "current": {"selected": False, "text": label, "value": uid},
        "hide": 0,
        "includeAll": False,
        "label": label,
        "multi": False,
        "name": name,
        "options": [],
        "query": kind,
        "refresh": 1,
        "regex": "",
        "skipUrlSync": False,
        "type": "datasource",
    }


def labels_variable(name, label, metric, selector, metric_label, one=None, description=""):
    """Any number of a label's values, or one of them where `one` is the first choice."""
    asked = f"label_values({metric}{{{selector}}}, {metric_label})" if selector else f"label_values({metric}, {metric_label})"
    variable = {
        "current": one or {"selected": True, "text": ["All"], "value": ["$__all"]},
        "datasource": PROMETHEUS,
        "definition": asked,
        "description": description,
        "hide": 0,
        "includeAll": not one,
        "label": label,
        "multi": not one,
        "name": name,
        "options": [],
        "query": {"qryType": 1, "query": asked, "refId": "PrometheusVariableQueryEditor-VariableQuery"},
        "refresh": 2,
        "regex": "",
        "skipUrlSync": False,
        "sort": 1,
        "type": "query",
    }
    return variable if one else {**variable, "allValue": ".*"}


def places(name, rows):
    """Titles of the panels that ask for `$name`, and of those that do not; with the kind of panel where a title is there twice."""
    asking, others = [], []
    members = [member for row in rows for member in row.panels]
    titles = [member["title"] for member in members]
    for member in members:
        asks = any(re.search(rf"\$\{{?{name}\b", text) for target in member["targets"] for text in target.values() if isinstance(text, str))
        title = member["title"]
        (asking if asks else others).append(f"{title} ({member['type']})" if titles.count(title) > 1 else title)
    return asking, others


def acts_in(name, what, rows):
    """What a variable chooses and which panels follow it, said by the shorter of the two lists."""
    asking, others = places(name, rows)
    if not others:
        return f"{what} Every panel follows it."
    if len(asking) <= len(others):
        return f"{what} These panels follow it: {', '.join(asking)}. The others show the same whatever is chosen here."
    return f"{what} All panels follow it but these, which show the same whatever is chosen here: {', '.join(others)}."


def variables(rows):
    chosen = {"selected": True, "text": "pellucid.*", "value": "pellucid.*"}
    job = {"selected": True, "text": "pellucid", "value": "pellucid"}
    service = {
        "current": chosen,
        "description": "service.name of the gateways in logs, traces and profiles: a regular expression.",
        "hide": 0,
        "label": "Service",
        "name": "service",
        "options": [chosen],
        "query": "pellucid.*",
        "skipUrlSync": False,
        "type": "textbox",
    }
    return [
        data_source("datasource", "Prometheus", "prometheus", "prometheus"),
        data_source("loki", "Loki", "loki", "loki"),
        data_source("tempo", "Tempo", "tempo", "tempo"),
        data_source("pyroscope", "Pyroscope", "grafana-pyroscope-datasource", "pyroscope"),
        service,
        labels_variable("job", "Job", "pellucid_build_info", "", "job", one=job, description="The scrape job in Prometheus."),
        labels_variable(
            "instance",
            "Gateway",
            "pellucid_build_info",
            'job=~"$job"',
            "instance",
            description="Gateways of the job, in metrics. For logs, traces and profiles there is Service.",
        ),
        labels_variable("route", "Route", REQUESTS, GATEWAY, "pellucid_route", description=acts_in("route", "Routes.", rows)),
        labels_variable(
            "upstream",
            "Upstream",
            "pellucid_upstream_connections",
            GATEWAY,
            "pellucid_upstream",
            description=acts_in("upstream", "Upstreams.", rows),
        ),
    ]


def mark(name, color, expression, text):
    return {
        "datasource": PROMETHEUS,
        "enable": True,
        "expr": expression,
        "hide": False,
        "iconColor": color,
        "name": name,
        "step": "60s",
        "tagKeys": "instance",
        "textFormat": text,
        "titleFormat": name,
        "useValueForTime": True,
    }


def marks():
    grafana = {"type": "grafana", "uid": "-- Grafana --"}
    built_in = {"builtIn": 1, "datasource": grafana, "enable": True, "hide": True, "iconColor": "rgba(0, 211, 255, 1)"}
    ours = f"and on (job, instance) pellucid_build_info{{{GATEWAY}}}"
    return [
        {**built_in, "name": "Annotations & Alerts", "type": "dashboard"},
        mark("Configuration loaded", "blue", f"pellucid_config_loaded_timestamp_seconds{{{GATEWAY}}} * 1000", "{{instance}}"),
        mark("Gateway started", "purple", f"process_start_time_seconds{{{GATEWAY}}} * 1000 {ours}", "{{instance}}"),
    ]


def dashboard(uid, title, description, rows):
    link = {
        "asDropdown": False,
        "icon": "external link",
        "includeVars": True,
        "keepTime": True,
        "tags": ["pellucid"],
        "targetBlank": False,
        "title": "Pellucid",
        "tooltip": "The other dashboards of the gateway, for the same time and choice.",
        "type": "dashboards",
        "url": "",
    }
    return {
        "annotations": {"list": marks()},
        "description": description,
        "editable": True,
        "fiscalYearStartMonth": 0,
        "graphTooltip": 1,
        "id": None,
        "links": [link],
        "panels": laid_out(rows),
        "preload": False,
        "refresh": "10s",
        "schemaVersion": SCHEMA_VERSION,
        "tags": ["pellucid"],
        "templating": {"list": variables(rows)},
        "time": {"from": "now-30m", "to": "now"},
        "timepicker": {},
        "timezone": "browser",
        "title": title,
        "uid": uid,
        "version": 1,
        "weekStart": "",
    }


def link_to(title, uid, *chosen):
    kept = ["${datasource:queryparam}", "${job:queryparam}", "${instance:queryparam}", "${service:queryparam}", "${__url_time_range}"]
    return {"targetBlank": False, "title": title, "url": f"/d/{uid}/{uid}?" + "&".join(list(chosen) + kept)}


ROUTE_LINK = link_to("This route in depth", "pellucid-route", "var-route=${__field.labels.pellucid_route}")
ROUTE_CELL = link_to("This route in depth", "pellucid-route", "var-route=${__value.raw}")
UPSTREAM_LINK = link_to("This upstream in depth", "pellucid-upstreams", "var-upstream=${__field.labels.pellucid_upstream}")
UPSTREAM_CELL = link_to("Only this upstream", "pellucid-upstreams", "var-upstream=${__value.raw}")
GATEWAY_CELL = {
    "targetBlank": False,
    "title": "Only this gateway",
    "url": (
        "/d/pellucid-gateway/pellucid-gateway?var-instance=${__value.raw}&${datasource:queryparam}&${job:queryparam}&${__url_time_range}"
    ),
}

OUTCOME_COLORS = {
    "ok": "green",
    "client_error": "yellow",
    "client_gone": "blue",
    "server_error": "red",
    "broken": "dark-red",
    "_other": "gray",
}
PHASE_COLORS = {"queue": "red", "dns": "purple", "connect": "orange", "send": "yellow", "wait": "blue", "body": "green"}
