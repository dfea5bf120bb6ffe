"""Drawing of charts with matplotlib, to svg, pdf or png.

Files are the same bytes for the same chart and library: no date is written, text in svg stays text.
Colours are of Okabe and Ito's palette, which colour-blind readers can tell apart; series differ in
their marks as well.
"""

from __future__ import annotations

import math
from pathlib import Path
from textwrap import fill
from typing import Any

from harness.core.errors import EnvironmentProblem, StoreProblem, unknown
from leaderboards.plots.charts import Chart, Panel, Point

FORMATS = ("svg", "pdf", "png")
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKS = ("o", "s", "^", "D", "v", "P", "X")
DATES = {"svg": "Date", "pdf": "CreationDate", "png": "Creation Time"}
STYLE = {
    "font.size": 8.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "crucible",
    "pdf.fonttype": 42,
}
BESIDE = 4  # panels in a row of a figure
FEW = 4  # points with their names beside them
PER_INCH = {10: 12, 7: 18}  # letters in an inch of a line, by font size


def draw(chart: Chart, path: Path) -> None:
    """Draw a chart into a file; its ending is the format.

    Raises:
        UnknownName: another ending.
        EnvironmentProblem: matplotlib is not installed.
        StoreProblem: the file cannot be written.
    """
    format = path.suffix.removeprefix(".").lower()
    if format not in FORMATS:
        raise unknown("format of plots", format or str(path), FORMATS, "--out NAME.svg")
    try:
        import matplotlib
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise EnvironmentProblem("needs matplotlib: pip install 'crucible-bench[plots]'") from None
    with matplotlib.rc_context(STYLE):
        across = min(len(chart.panels), BESIDE)
        down = -(-len(chart.panels) // across)
        size = _size(chart, across, down)
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(down, across, squeeze=False)
        places = [place for row in axes for place in row]
        for number, (place, panel) in enumerate(zip(places, chart.panels, strict=False)):
            if panel.horizontal:
                _list(place, panel, named=number % across == 0)
            else:
                _scatter(place, panel, joined=chart.kind == "sweep")
        for place in places[len(chart.panels) :]:
            place.set_axis_off()
        title, note = (
            fill(_plain(text), int(size[0] * PER_INCH[points]))
            for text, points in ((chart.title, 10), (chart.note, 7))
        )
        figure.suptitle(title, fontsize=10)
        figure.supxlabel(note, fontsize=7, color="#555555")
        try:
            figure.savefig(path, format=format, metadata={DATES[format]: None}, dpi=200)
        except OSError as error:
            raise StoreProblem(f"{path} cannot be written: {error.strerror}") from None


def _size(chart: Chart, across: int, down: int) -> tuple[float, float]:
    """Inches: forests grow with the number of systems."""
    longest = max(len(panel.points) for panel in chart.panels)
    listed = chart.panels[0].horizontal
    height = 1.2 + 0.2 * longest if listed else 3.0
    return (2.0 * listed + 2.3 * across if listed else 4.2 * across, height * down)


def _list(axes: Any, panel: Panel, named: bool) -> None:
    """Points from top to bottom with their intervals."""
    for place, point in enumerate(panel.points):
        _interval(axes, point, place, vertical=False)
        fill = COLOURS[0] if point.marked else "white"
        axes.plot(point.value, place, "o", color=COLOURS[0], markerfacecolor=fill, markersize=4)
    if panel.zero is not None:
        axes.axvline(panel.zero, color="#999999", linewidth=0.8, linestyle=":")
    axes.set_ylim(len(panel.points) - 0.5, -0.5)
    axes.set_yticks(range(len(panel.points)))
    labels = [_plain(point.label) for point in panel.points]
    axes.set_yticklabels(labels if named else [""] * len(labels))
    axes.grid(axis="x", color="#e5e5e5", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_title(_plain(panel.title), fontsize=8)
    axes.set_xlabel(_plain(panel.x_title))


def _scatter(axes: Any, panel: Panel, joined: bool) -> None:
    """Points at their places; `joined`: named series are lines, with their intervals as a band."""
    names = list(dict.fromkeys(point.series for point in panel.points))
    lines = joined and any(names)
    for number, name in enumerate(names):
        own = [point for point in panel.points if point.series == name]
        colour, mark = COLOURS[number % len(COLOURS)], MARKS[number % len(MARKS)]
        if lines:
            _band(axes, own, colour)
        else:
            for point in own:
                _interval(axes, point, point.x, vertical=True, colour=colour)
        shown = [point.x for point in own], [point.value for point in own]
        style = {"linestyle": "-", "linewidth": 1.1} if lines else {"linestyle": ""}
        axes.plot(
            *shown, marker=mark, color=colour, markersize=4, label=_plain(name) or None, **style
        )
    if len(names) > 1 or lines:
        axes.legend(fontsize=7, frameon=False)
    if len(names) <= 2 and not lines:
        _label(axes, [point for point in panel.points if point.series == names[0]])
    if panel.log:
        axes.set_xscale("log")
    if panel.marks:
        axes.set_xticks([], minor=True)
        axes.set_xticks(list(panel.marks))
        axes.set_xticklabels([_plain(name) for name in panel.marks.values()])
    axes.grid(color="#e5e5e5", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_title(_plain(panel.title), fontsize=8)
    axes.set_xlabel(_plain(panel.x_title))
    axes.set_ylabel(_plain(panel.y_title))


def _band(axes: Any, points: list[Point], colour: str) -> None:
    """The intervals of a line; interrupted where a point has none."""
    low, high = (
        [math.nan if end is None else end for end in ends]
        for ends in ([point.low for point in points], [point.high for point in points])
    )
    axes.fill_between([p.x for p in points], low, high, color=colour, alpha=0.15, linewidth=0)


def _label(axes: Any, points: list[Point]) -> None:
    """Names beside the points; of many points numbers, with the names in a list, best first."""
    ordered = sorted(points, key=lambda point: -point.value)
    names = [_plain(point.label) for point in ordered]
    if many := len(ordered) > FEW:
        listed = "\n".join(f"{number} {name}" for number, name in enumerate(names, 1))
        axes.text(1.03, 1.0, listed, transform=axes.transAxes, va="top", fontsize=6)
    for number, (point, name) in enumerate(zip(ordered, names, strict=True), 1):
        beside = (4, 3) if number % 2 or not many else (-8, -7)  # neighbours on opposite sides
        axes.annotate(
            str(number) if many else name,
            (point.x, point.value),
            fontsize=6,
            xytext=beside,
            textcoords="offset points",
        )


def _interval(
    axes: Any, point: Point, at: float, *, vertical: bool, colour: str = COLOURS[0]
) -> None:
    if point.low is None or point.high is None:
        return
    ends = [point.low, point.high]
    place = ([at, at], ends) if vertical else (ends, [at, at])
    axes.plot(*place, color=colour, linewidth=1.1, solid_capstyle="butt")


def _plain(text: str) -> str:
    """Text that matplotlib does not read as mathematics."""
    return text.replace("$", r"\$")
