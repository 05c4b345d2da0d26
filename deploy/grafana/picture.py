#!/usr/bin/env python3
"""Draws a row of the board from a live Prometheus, for those who have no Grafana at hand.

    picture.py http://localhost:9090 Overview board.png [--minutes 15] [--end TIME]

It needs matplotlib. The queries are those of gateway.json, with the variables at "All".
"""

import argparse
import json
import pathlib
import re
import time
import urllib.parse
import urllib.request

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot
from matplotlib.ticker import FuncFormatter

BOARD = json.loads((pathlib.Path(__file__).parent / "gateway.json").read_text())
VARIABLES = {"$__rate_interval": "1m", "$job": "gateway", "$namespace": ".*", "$instance": ".*"}
POINTS = 300

# Of a row of the grid, of which a graph has eight.
ROW_INCHES = 0.4


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("prometheus")
    parser.add_argument("row")
    parser.add_argument("picture")
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--end", type=float, default=time.time(), help="seconds since 1970, if not now")
    options = parser.parse_args()
    times = (options.end - options.minutes * 60, options.end)
    draw(options.prometheus, panels_of(options.row), times, options.picture)


def panels_of(title):
    top = BOARD["panels"]
    (at,) = [index for index, panel in enumerate(top) if panel["type"] == "row" and panel["title"] == title]
    if top[at]["panels"]:
        return top[at]["panels"]
    following = top[at + 1 :]
    end = next((index for index, panel in enumerate(following) if panel["type"] == "row"), len(following))
    return following[:end]


def draw(prometheus, panels, times, picture):
    """Lays the panels out as the board does, on a grid of 24 columns."""
    top = min(panel["gridPos"]["y"] for panel in panels)
    bottom = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels)
    pyplot.rcParams.update({"font.size": 8, "axes.spines.top": False, "axes.spines.right": False, "axes.titlesize": 9, "axes.titlelocation": "left"})
    figure = pyplot.figure(figsize=(12, (bottom - top) * ROW_INCHES), dpi=80)
    grid = figure.add_gridspec(bottom - top, 24, hspace=0, wspace=0, left=0, right=1, top=1, bottom=0)
    for panel in panels:
        place = panel["gridPos"]
        cell = grid[place["y"] - top : place["y"] - top + place["h"], place["x"] : place["x"] + place["w"]].get_position(figure)
        axes = figure.add_axes(inset(cell, figure))
        axes.set_title(panel["title"])
        {"stat": draw_stat, "timeseries": draw_lines, "heatmap": draw_heatmap}[panel["type"]](axes, panel, prometheus, times)
    figure.savefig(picture, pil_kwargs={"optimize": True})


def inset(cell, figure):
    """Leaves room for a title above, numbers at the left, and times and names below."""
    inch = 1 / figure.get_figheight()
    above, below = 0.3 * inch, 0.55 * inch
    if cell.height < 2 * (above + below):
        below = 0
    return [cell.x0 + 0.055, cell.y0 + below, cell.width - 0.07, cell.height - above - below]


def draw_stat(axes, panel, prometheus, times):
    axes.axis("off")
    series = query(prometheus, panel["targets"][0], times)
    values = [value for _, points in series for _, value in points]
    text = written(values[-1], panel["fieldConfig"]["defaults"]["unit"]) if values else "no data"
    axes.text(0, 0.6, text, fontsize=18, transform=axes.transAxes)


def draw_lines(axes, panel, prometheus, times):
    stacked = panel["fieldConfig"]["defaults"]["custom"]["stacking"]["mode"] == "normal"
    series = [(legend, points) for target in panel["targets"] for legend, points in query(prometheus, target, times)]
    if stacked and series:
        moments = sorted({at for _, points in series for at, _ in points})
        rows = [[dict(points).get(at, 0) for at in moments] for _, points in series]
        axes.stackplot(moments, rows, labels=[legend for legend, _ in series], alpha=0.6, linewidth=0)
    else:
        for legend, points in series:
            axes.plot(*zip(*points), label=legend, linewidth=1)
    time_axis(axes, times)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: written(value, panel["fieldConfig"]["defaults"]["unit"])))
    axes.margins(x=0)
    axes.grid(axis="y", linewidth=0.3)
    if series:
        axes.legend(loc="upper left", bbox_to_anchor=(-0.02, -0.1), ncols=6, frameon=False, fontsize=6.5, handlelength=1, columnspacing=1)
    else:
        axes.text(0.5, 0.5, "no data", ha="center", transform=axes.transAxes)


def draw_heatmap(axes, panel, prometheus, times):
    series = sorted(query(prometheus, panel["targets"][0], times), key=lambda it: float(it[0].replace("+Inf", "inf")))
    if not series:
        axes.text(0.5, 0.5, "no data", ha="center", transform=axes.transAxes)
        return
    moments = sorted({at for _, points in series for at, _ in points})
    total = [[dict(points).get(at, 0) for at in moments] for _, points in series]
    cells = [total[0]] + [[more - less for more, less in zip(upper, lower)] for lower, upper in zip(total, total[1:])]
    axes.imshow(cells, aspect="auto", origin="lower", cmap="Blues", extent=(moments[0], moments[-1], 0, len(cells)))
    axes.set_yticks(range(1, len(cells) + 1, 2), [legend for legend, _ in series][::2])
    time_axis(axes, times)


def time_axis(axes, times):
    axes.set_xlim(*times)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: time.strftime("%H:%M", time.gmtime(value))))


def query(prometheus, target, times):
    expression = target["expr"]
    for variable, value in VARIABLES.items():
        expression = expression.replace(variable, value)
    start, end = times
    options = {"query": expression, "start": start, "end": end, "step": max(1, (end - start) / POINTS)}
    with urllib.request.urlopen(f"{prometheus}/api/v1/query_range?{urllib.parse.urlencode(options)}") as answer:
        found = json.load(answer)["data"]["result"]
    legend = target.get("legendFormat", "")
    named = lambda labels: re.sub(r"{{(\w+)}}", lambda label: labels.get(label[1], ""), legend)
    return [(named(it["metric"]), [(at, float(value)) for at, value in it["values"]]) for it in found]


def written(value, unit):
    """A number as Grafana would write it, nearly."""
    if unit == "percentunit":
        return f"{value:.0%}"
    if unit == "s":
        for limit, factor, name in ((1e-3, 1e6, "µs"), (1, 1e3, "ms"), (120, 1, "s"), (7200, 1 / 60, "min"), (float("inf"), 1 / 3600, "h")):
            if abs(value) < limit:
                return f"{value * factor:.3g} {name}" if value else "0"
    suffix = {"bytes": "B", "Bps": "B/s", "cps": "/s", "reqps": "/s"}.get(unit, "")
    for factor, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= factor:
            return f"{value / factor:.3g} {name}{suffix}"
    return f"{value:.3g} {suffix}".strip()


if __name__ == "__main__":
    main()
