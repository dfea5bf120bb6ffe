"""Files of charts: drawn (svg, pdf, png), as a table (csv), or as pgfplots source (tex)."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from harness.core.errors import StoreProblem, unknown
from leaderboards.plots import drawing
from leaderboards.plots.charts import Chart, Panel, Point
from leaderboards.render.csv import safe
from leaderboards.render.tex import escape

FORMATS = (*drawing.FORMATS, "csv", "tex")


def write_chart(chart: Chart, path: Path) -> None:
    """Write a chart to a file; its ending is the format.

    Raises:
        UnknownName: another ending.
        EnvironmentProblem: a drawn format without matplotlib.
        StoreProblem: the file cannot be written.
    """
    format = path.suffix.removeprefix(".").lower()
    if format not in FORMATS:
        raise unknown("format of plots", format or str(path), FORMATS, "--out NAME.svg")
    if format in drawing.FORMATS:
        drawing.draw(chart, path)
        return
    text = csv_text(chart) if format == "csv" else tex_text(chart)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StoreProblem(f"{path} cannot be written: {error.strerror}") from None


def csv_text(chart: Chart) -> str:
    """One line per point: panel, series, label, place on the x axis, score and interval."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(("panel", "series", "label", "x", "value", "low", "high"))
    for panel in chart.panels:
        for point in panel.points:
            names = [safe(text) for text in (panel.title, point.series, point.label)]
            place = safe(panel.ticks[int(point.x)]) if panel.ticks else point.x
            writer.writerow((*names, place, point.value, point.low, point.high))
    return stream.getvalue()


def tex_text(chart: Chart) -> str:
    """One pgfplots picture; the preamble that it needs is in its first line."""
    lines = [
        r"% \usepackage{pgfplots} \usepgfplotslibrary{groupplots,fillbetween}",
        r"% \pgfplotsset{compat=1.16}",
        f"% {_comment(chart.title)}",
        f"% {_comment(chart.note)}",
        r"\begin{tikzpicture}",
        r"\begin{groupplot}[group style={group size="
        rf"{len(chart.panels)} by 1, horizontal sep=1.8cm}}, width=7cm, height=6cm]",
    ]
    for panel in chart.panels:
        lines.append(rf"\nextgroupplot[{', '.join(_options(panel))}]")
        names = list(dict.fromkeys(point.series for point in panel.points))
        for number, name in enumerate(names):
            own = [point for point in panel.points if point.series == name]
            band = chart.kind == "sweep" and bool(name)
            lines += _series(panel, own, number, name, band)
    lines += [r"\end{groupplot}", r"\end{tikzpicture}"]
    return "\n".join(lines) + "\n"


def _options(panel: Panel) -> Iterator[str]:
    yield f"title={{{escape(panel.title)}}}"
    yield f"xlabel={{{escape(panel.x_title)}}}"
    yield f"ylabel={{{escape(panel.y_title)}}}"
    if panel.log:
        yield "xmode=log"
    marks = panel.marks
    if panel.horizontal:
        marks = {float(place): point.label for place, point in enumerate(panel.points)}
    if marks:
        axis = "y" if panel.horizontal else "x"
        places = ",".join(f"{place:.9g}" for place in marks)
        names = ",".join(f"{{{escape(label)}}}" for label in marks.values())
        yield f"{axis}tick={{{places}}}"
        yield f"{axis}ticklabels={{{names}}}"
    if panel.horizontal:
        yield "y dir=reverse"
    yield "legend style={font=\\tiny, draw=none}"


def _series(panel: Panel, points: list[Point], number: int, name: str, band: bool) -> Iterator[str]:
    """A line with the band of its intervals, or marks with bars."""
    whole = all(point.low is not None and point.high is not None for point in points)
    colour = f"color{number}"
    yield rf"\definecolor{{{colour}}}{{HTML}}{{{_colour(number)}}}"
    if band and whole:
        for end, ends in (("low", [p.low for p in points]), ("high", [p.high for p in points])):
            at = " ".join(f"({p.x:.9g},{y:.9g})" for p, y in zip(points, ends, strict=True))
            path = f"{end}{number}"
            yield rf"\addplot[draw=none, forget plot, name path={path}] coordinates {{{at}}};"
        yield (
            rf"\addplot[{colour}, opacity=0.15, forget plot] "
            f"fill between[of=low{number} and high{number}];"
        )
        at = " ".join(f"({point.x:.9g},{point.value:.9g})" for point in points)
        yield rf"\addplot[{colour}, mark=*, mark size=1.5pt] coordinates {{{at}}};"
    else:
        axis = "x" if panel.horizontal else "y"
        yield (
            rf"\addplot[{colour}, only marks, mark=*, mark size=1.5pt, error bars/.cd, "
            rf"{axis} dir=both, {axis} explicit] coordinates {{"
        )
        for place, point in enumerate(points):
            yield _with_bars(point, place if panel.horizontal else None)
        yield "};"
    if name:
        yield rf"\addlegendentry{{{escape(name)}}}"


def _with_bars(point: Point, place: int | None) -> str:
    """A coordinate with the distances to both ends of its interval; `place` of a list's row."""
    low, high = (point.value if end is None else end for end in (point.low, point.high))
    ends = f"{high - point.value:.9g}", f"{point.value - low:.9g}"
    if place is not None:
        return f"({point.value:.9g},{place}) += ({ends[0]},0) -= ({ends[1]},0)"
    return f"({point.x:.9g},{point.value:.9g}) += (0,{ends[0]}) -= (0,{ends[1]})"


def _colour(number: int) -> str:
    return drawing.COLOURS[number % len(drawing.COLOURS)].removeprefix("#")


def _comment(text: str) -> str:
    return " ".join(text.split())
