#!/usr/bin/env python3
"""Writes the Grafana dashboards of this folder.

In: the dashboards in `source/`. Out: overview.json, route.json, upstreams.json and gateway.json, which are exactly what this writes.
`generate.py` writes them, `--check` fails where a file differs, `--queries` lists every query. Not here: alerts and recording rules
(`rules/`), and whether a query finds anything (`ask.py`).
"""

import json
import pathlib
import sys

sys.dont_write_bytecode = True

from source.gateway import gateway
from source.overview import overview
from source.panels import GRID_COLUMNS
from source.route import route
from source.upstreams import upstreams

HERE = pathlib.Path(__file__).resolve().parent
CHOICES = ("job", "instance", "service", "route", "upstream")
DASHBOARDS = {"overview": overview, "route": route, "upstreams": upstreams, "gateway": gateway}


def all_panels(board):
    for member in board["panels"]:
        yield member
        yield from member.get("panels", [])


def mistakes(board):
    """What is wrong with a dashboard, as lines of text."""
    found, taken, ids = [], {}, set()
    for member in all_panels(board):
        name, place = member["title"], member["gridPos"]
        if member["id"] in ids:
            found.append(f"{name}: its id {member['id']} is taken")
        ids.add(member["id"])
        if place["x"] + place["w"] > GRID_COLUMNS:
            found.append(f"{name}: it is wider than the grid")
        if member["type"] == "row":
            continue
        for target in member["targets"]:
            if target.get("expr", "").count("(") != target.get("expr", "").count(")"):
                found.append(f"{name}: unbalanced parentheses in {target['expr']}")
        if not member["targets"] or not member["description"]:
            found.append(f"{name}: it has no query or no description")
        if not member["fieldConfig"]["defaults"].get("unit"):
            found.append(f"{name}: it has no unit")
    asked = " ".join(query["query"] for query in queries(board))
    found += [f"no query asks for ${name}: whoever chooses one sees no change" for name in CHOICES if f"${name}" not in asked]
    for member in all_panels(board):
        place = member["gridPos"]
        for cell in ((x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])):
            if cell in taken:
                found.append(f"{member['title']}: it lies over {taken[cell]}")
                break
            taken[cell] = member["title"]
    return found


def text_of(board):
    return json.dumps(board, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def queries(board):
    """Every query with its place, for whoever wants to ask them."""
    for member in all_panels(board):
        for target in member.get("targets", []):
            text = target.get("expr") or target.get("query") or target.get("labelSelector")
            kind = target["datasource"]["type"]
            yield {
                "dashboard": board["uid"],
                "panel": member["title"],
                "kind": kind,
                "instant": target.get("instant", False),
                "query": text,
            }
    for mark_of in board["annotations"]["list"]:
        if "expr" in mark_of:
            yield {"dashboard": board["uid"], "panel": mark_of["name"], "kind": "prometheus", "instant": False, "query": mark_of["expr"]}


def main(arguments):
    if arguments not in ([], ["--check"], ["--queries"]):
        sys.exit("usage: generate.py [--check | --queries]")
    wrong = []
    for name, make in DASHBOARDS.items():
        board = make()
        wrong += [f"{name}: {what}" for what in mistakes(board)]
        file = HERE / f"{name}.json"
        if arguments == ["--queries"]:
            for found in queries(board):
                print(json.dumps(found))
        elif arguments == ["--check"]:
            if not file.exists() or file.read_text() != text_of(board):
                wrong.append(f"{file.name} is not what generate.py writes: run it, or put the change into it")
        else:
            file.write_text(text_of(board))
    if wrong:
        sys.exit("\n".join(wrong))


if __name__ == "__main__":
    main(sys.argv[1:])
