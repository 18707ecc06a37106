"""Targets and panels, as Grafana stores them.

In: a title, what the panel shows, what to do when it looks bad, and expressions. Out: dictionaries. Not here: where a panel stands
(`board`).
"""

from source.queries import quantile, total

GRID_COLUMNS = 24
# Log lines and attributes of spans are words: ids of digits alone must not be shown as numbers. Columns that bring a unit keep it.
WORDS = "string"
# What a CPU profile counts.
CPU_TIME = "ns"
PROMETHEUS = {"type": "prometheus", "uid": "${datasource}"}
LOKI = {"type": "loki", "uid": "${loki}"}
TEMPO = {"type": "tempo", "uid": "${tempo}"}
PYROSCOPE = {"type": "grafana-pyroscope-datasource", "uid": "${pyroscope}"}


def query(expression, legend="", exemplar=False):
    target = {"datasource": PROMETHEUS, "editorMode": "code", "expr": expression, "legendFormat": legend, "range": True}
    if exemplar:
        target["exemplar"] = True
    return target


def log_query(expression, legend=""):
    """A number over time that is reckoned from lines of the access log."""
    return {"datasource": LOKI, "editorMode": "code", "expr": expression, "legendFormat": legend, "queryType": "range"}


def log_lines(*filters):
    """Lines of the access log that pass `filters`. The log is JSON; its dots are underscores here."""
    return " | ".join(['{service_name=~"$service"}', "json", "drop __error__, __error_details__", *filters])


def now(expression):
    """A row set of a table: the value at the end of the time range."""
    return {"datasource": PROMETHEUS, "editorMode": "code", "expr": expression, "format": "table", "instant": True, "range": False}


def buckets(metric, selector, exemplar):
    expression = total(f"increase({metric}_bucket{{{selector}}}[$__rate_interval])", "le")
    return {**query(expression, "{{le}}", exemplar), "format": "heatmap"}


def quantiles(metric, selector):
    return [query(quantile(share, metric, selector), f"p{round(share * 100)}", exemplar=True) for share in (0.5, 0.9, 0.99)]


def steps(*limits):
    """Thresholds: green below the first limit, then orange and red."""
    colors = ["orange", "red"] if len(limits) > 1 else ["red"]
    return [{"color": "green", "value": None}] + [{"color": color, "value": limit} for color, limit in zip(colors, limits)]


def panel(kind, title, width, height, shows, when_bad, source, targets, field_config, options, **rest):
    for letter, target in zip("ABCDEFGHIJKLMNOPQRSTUVWXYZ", targets):
        target["refId"] = letter
    return {
        "type": kind,
        "title": title,
        "description": f"{shows}\n\n**When it looks bad:** {when_bad}",
        "datasource": source,
        "gridPos": {"h": height, "w": width, "x": 0, "y": 0},
        "targets": targets,
        "fieldConfig": field_config,
        "options": options,
        **rest,
    }


def stat(
    title, width, shows, when_bad, expression, unit, limits=(), exemplar=False, legend="", text_mode="auto", graph=True, decimals=None
):
    defaults = {"color": {"mode": "thresholds"}, "mappings": [], "thresholds": {"mode": "absolute", "steps": steps(*limits)}, "unit": unit}
    if decimals is not None:
        defaults["decimals"] = decimals
    options = {
        "colorMode": "value",
        "graphMode": "area" if graph else "none",
        "justifyMode": "auto",
        "orientation": "auto",
        "percentChangeColorMode": "standard",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "showPercentChange": False,
        "textMode": text_mode,
        "wideLayout": True,
    }
    targets = [query(expression, legend, exemplar)]
    return panel("stat", title, width, 4, shows, when_bad, PROMETHEUS, targets, {"defaults": defaults, "overrides": []}, options)


def lines(
    title,
    width,
    shows,
    when_bad,
    targets,
    unit,
    stacked=False,
    limits=(),
    links=(),
    colors=None,
    height=8,
    maximum=None,
    log=False,
    source=PROMETHEUS,
):
    custom = {
        "axisBorderShow": False,
        "axisCenteredZero": False,
        "axisColorMode": "text",
        "axisLabel": "",
        "axisPlacement": "auto",
        "barAlignment": 0,
        "drawStyle": "line",
        "fillOpacity": 30 if stacked else 10,
        "gradientMode": "none",
        "hideFrom": {"legend": False, "tooltip": False, "viz": False},
        "insertNulls": False,
        "lineInterpolation": "linear",
        "lineWidth": 1,
        "pointSize": 5,
        "scaleDistribution": {"log": 10, "type": "log"} if log else {"type": "linear"},
        "showPoints": "auto",
        "spanNulls": False,
        "stacking": {"group": "A", "mode": "normal" if stacked else "none"},
        "thresholdsStyle": {"mode": "dashed" if limits else "off"},
    }
    defaults = {
        "color": {"mode": "palette-classic"},
        "custom": custom,
        "links": list(links),
        "mappings": [],
        "thresholds": {"mode": "absolute", "steps": steps(*limits)},
        "unit": unit,
    }
    if not log:
        defaults["min"] = 0
    if maximum is not None:
        defaults["max"] = maximum
    options = {
        "legend": {"calcs": ["mean", "max", "lastNotNull"], "displayMode": "table", "placement": "bottom", "showLegend": True},
        "tooltip": {"hideZeros": False, "mode": "multi", "sort": "desc"},
    }
    overrides = [fixed_color(name, color) for name, color in sorted((colors or {}).items())]
    config = {"defaults": defaults, "overrides": overrides}
    return panel("timeseries", title, width, height, shows, when_bad, source, targets, config, options)


def fixed_color(name, color):
    return override(name, color={"fixedColor": color, "mode": "fixed"})


def override(name, **properties):
    """What one series or column has for its own; `_` in a property's name stands for the dot."""
    listed = [{"id": key.replace("_", "."), "value": value} for key, value in properties.items()]
    return {"matcher": {"id": "byName", "options": name}, "properties": listed}


def heat(title, width, shows, when_bad, metric, selector, unit, exemplar=True, height=8):
    options = {
        "calculate": False,
        "cellGap": 1,
        "cellValues": {"unit": "short"},
        "color": {
            "exponent": 0.5,
            "fill": "dark-orange",
            "mode": "scheme",
            "reverse": False,
            "scale": "exponential",
            "scheme": "Oranges",
            "steps": 64,
        },
        "exemplars": {"color": "rgba(255,0,255,0.7)"},
        "filterValues": {"le": 1e-9},
        "legend": {"show": True},
        "rowsFrame": {"layout": "auto"},
        "showValue": "never",
        "tooltip": {"mode": "single", "showColorScale": True, "yHistogram": True},
        "yAxis": {"axisPlacement": "left", "reverse": False, "unit": unit},
    }
    custom = {"hideFrom": {"legend": False, "tooltip": False, "viz": False}, "scaleDistribution": {"type": "linear"}}
    config = {"defaults": {"custom": custom, "unit": unit}, "overrides": []}
    targets = [buckets(metric, selector, exemplar)]
    return panel("heatmap", title, width, height, shows, when_bad, PROMETHEUS, targets, config, options)


class Column:
    """A column of a table: a query's value, or a label that the queries have in common."""

    def __init__(self, name, source, unit=None, limits=(), links=(), empty=None, decimals=None):
        self.name, self.source, self.unit, self.limits, self.links, self.empty = name, source, unit, limits, links, empty
        self.decimals = decimals

    def override(self):
        properties = {}
        if self.unit:
            properties["unit"] = self.unit
        if self.decimals is not None:
            properties["decimals"] = self.decimals
        if self.links:
            properties["links"] = list(self.links)
        if self.empty:
            special = [
                {"options": {"match": match, "result": {"index": 0, "text": self.empty}}, "type": "special"} for match in ("null", "empty")
            ]
            properties["mappings"] = special
        if self.limits:
            properties["thresholds"] = {"mode": "absolute", "steps": steps(*self.limits)}
            properties["custom_cellOptions"] = {"type": "color-text"}
            properties["color"] = {"mode": "thresholds"}
        return override(self.name, **properties) if properties else None


def table(title, shows, when_bad, labels, values, sort_by, height=9, hidden=()):
    """One row for each set of `labels`; `values` are columns whose source is a query."""
    targets = [now(column.source) for column in values]
    letters = [f"Value #{letter}" for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[: len(values)]]
    sources = [column.source for column in labels] + letters
    names = [column.name for column in labels + values]
    organize = {
        "excludeByName": {"Time": True, **{name: True for name in hidden}},
        "includeByName": {},
        "indexByName": {source: index for index, source in enumerate(sources)},
        "renameByName": dict(zip(sources, names)),
    }
    defaults = {
        "color": {"mode": "thresholds"},
        "custom": {"align": "auto", "cellOptions": {"type": "auto"}, "filterable": False, "inspect": False},
        "mappings": [],
        "thresholds": {"mode": "absolute", "steps": steps()},
        "unit": "short",
    }
    overrides = [found for found in (column.override() for column in labels + values) if found]
    options = {
        "cellHeight": "sm",
        "frameIndex": 0,
        "showHeader": True,
        "sortBy": [{"desc": True, "displayName": sort_by}],
    }
    config = {"defaults": defaults, "overrides": overrides}
    changes = [{"id": "merge", "options": {}}, {"id": "organize", "options": organize}]
    return panel("table", title, GRID_COLUMNS, height, shows, when_bad, PROMETHEUS, targets, config, options, transformations=changes)


LINE = (
    "{{.http_request_method}} {{.url_path}} {{.http_response_status_code}} {{.pellucid_duration_ms}}ms self={{.pellucid_self_time_ms}}ms "
    "route={{.pellucid_route}} upstream={{.pellucid_upstream}} {{.error_type}} trace_id={{.trace_id}}"
)


def logs(title, width, shows, when_bad, filters, form=LINE, height=10):
    """Lines of the log that pass `filters`, of the access log where they have a `form`."""
    expression = log_lines(*filters, *(['url_path!=""', f"line_format `{form}`"] if form else []))
    targets = [{"datasource": LOKI, "editorMode": "code", "expr": expression, "maxLines": 200, "queryType": "range"}]
    options = {
        "dedupStrategy": "none",
        "enableLogDetails": True,
        "prettifyLogMessage": False,
        "showCommonLabels": False,
        "showLabels": False,
        "showLogContextToggle": False,
        "showTime": True,
        "sortOrder": "Descending",
        "wrapLogMessage": True,
    }
    config = {"defaults": {"unit": WORDS}, "overrides": []}
    return panel("logs", title, width, height, shows, when_bad, LOKI, targets, config, options)


def spans(conditions):
    return "{ " + " && ".join(['resource.service.name =~ "$service"', *conditions]) + " }"


def traces(title, width, shows, when_bad, conditions, below=None, height=10):
    """Spans that Tempo has, newest first, with what Pellucid says of them; only children of spans `below` which they have to be."""
    wanted = f"{spans(below)} > {spans(conditions)}" if below else spans(conditions)
    picked = "span.http.response.status_code, span.pellucid.self_time_ms, span.pellucid.keep_reason, span.error.type"
    targets = [
        {
            "datasource": TEMPO,
            "filters": [],
            "limit": 50,
            "query": f"{wanted} | select({picked})",
            "queryType": "traceql",
            "spss": 3,
            "tableType": "spans",
        }
    ]
    custom = {"align": "auto", "cellOptions": {"type": "auto"}, "filterable": False, "inspect": False}
    options = {"cellHeight": "sm", "frameIndex": 0, "showHeader": True}
    config = {"defaults": {"custom": custom, "unit": WORDS}, "overrides": []}
    return panel("table", title, width, height, shows, when_bad, TEMPO, targets, config, options)


def flames(title, shows, when_bad, selector, height=14):
    targets = [
        {
            "datasource": PYROSCOPE,
            "groupBy": [],
            "labelSelector": f"{{{selector}}}",
            "profileTypeId": "process_cpu:cpu:nanoseconds:cpu:nanoseconds",
            "queryType": "profile",
            "spanSelector": [],
        }
    ]
    config = {"defaults": {"unit": CPU_TIME}, "overrides": []}
    return panel("flamegraph", title, GRID_COLUMNS, height, shows, when_bad, PYROSCOPE, targets, config, {})
