#!/usr/bin/env python3
"""Asks a Prometheus every query of the dashboards.

In: `ask.py URL [--window 1m]`, the URL of a Prometheus that scrapes a gateway with traffic. Out: a line for each query that is an error or
finds nothing, and exit code 1 if there is one. Not here: queries for Loki, Tempo and Pyroscope.
"""

import argparse
import json
import math
import pathlib
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

sys.dont_write_bytecode = True

import generate

HERE = pathlib.Path(__file__).resolve().parent
VARIABLES = ("job", "instance", "route", "upstream")


def filled(query, window):
    """The query with everything chosen, as Grafana would send it."""
    for name in VARIABLES:
        query = query.replace(f"${name}", ".*")
    return query.replace("$__rate_interval", window)


def answer(url, path, parameters):
    try:
        with urllib.request.urlopen(f"{url}{path}?{urllib.parse.urlencode(parameters)}", timeout=30) as response:
            return json.load(response)
    except urllib.error.HTTPError as error:
        return json.load(error)


def numbers(result):
    """All values of all series that are numbers."""
    for series in result:
        for _, value in series.get("values") or [series["value"]]:
            if not math.isnan(float(value)):
                yield float(value)


def trouble(url, query, instant):
    """What is wrong with the answer, or nothing."""
    now = time.time()
    if instant:
        found = answer(url, "/api/v1/query", {"query": query, "time": now})
    else:
        found = answer(url, "/api/v1/query_range", {"query": query, "start": now - 60, "end": now, "step": 5})
    if found["status"] != "success":
        return found["error"]
    return None if any(True for _ in numbers(found["data"]["result"])) else "it finds nothing"


def main():
    parser = argparse.ArgumentParser(description="Asks a Prometheus every query of the dashboards.")
    parser.add_argument("url", help="such as http://127.0.0.1:9090")
    parser.add_argument("--window", default="1m", help="what $__rate_interval stands for")
    arguments = parser.parse_args()
    asked, failed = 0, 0
    for name in generate.DASHBOARDS:
        board = json.loads((HERE / f"{name}.json").read_text())
        for found in generate.queries(board):
            if found["kind"] != "prometheus":
                continue
            asked += 1
            query = filled(found["query"], arguments.window)
            why = trouble(arguments.url.rstrip("/"), query, found["instant"])
            if why:
                failed += 1
                print(f"{name}.json: {found['panel']}: {why}: {query}")
    print(f"{asked} queries asked, {failed} without an answer", file=sys.stderr)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
