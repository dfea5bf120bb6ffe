"""Charts of small boards as data, and what is drawn of them: every line, mark, label and limit."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from leaderboards.board import Board, build_board
from leaderboards.plots import drawing
from leaderboards.plots.charts import Chart, Panel, Point, chart
from leaderboards.spec import BoardSpec, ColumnSpec
from tests.leaderboards.expected_pages import differs, said
from tests.leaderboards.test_rendered import made, nano, paper


def judges() -> Board:
    """A board of judges: one panel of them has a line at 50 %."""
    cells = [
        made(judge, metric, value, suite="judge_agreement:alpaca")
        for judge, value in (("good", 60.0), ("poor", 40.0))
        for metric in ("judge_kappa", "judge_first_shown")
    ]
    columns = tuple(
        ColumnSpec(suite="judge_agreement:alpaca", metric=metric, label=label)
        for metric, label in (("judge_kappa", "kappa"), ("judge_first_shown", "first shown wins"))
    )
    return build_board(BoardSpec(name="judges", title="Judges", columns=columns), cells)


def lengths() -> Board:
    """Scores with the length of answers; some without a length, or none of a primary metric."""
    cells = [
        made(system, metric, value, primary=metric == "lc", details={"avg_length": length})
        for system, value, length in (("a", 40.0, 1200), ("b", 60.0, 900.5), ("c", 50.0, True))
        for metric in ("lc", "win_rate", "other")
    ]
    cells.append(made("d", "lc", 10.0, details={}))
    return build_board(BoardSpec(name="l", title="Lengths"), cells)


def swept(several: bool) -> Chart:
    boards = [nano()]
    settings = {"small/wrpo": {"beta": 0.5, "seed": 1.0}, "small/dpo": {"beta": 0.1, "seed": 1.0}}
    if several:
        other = nano()
        boards.append(
            other.model_copy(update={"spec": other.spec.model_copy(update={"name": "o"})})
        )
        settings |= {"o/wrpo": {"beta": 0.25}, "o/nobody": {"beta": 9.0}}
    return chart("sweep", boards, "win_rate", settings=settings)


CHARTS = {
    "forest": lambda: chart("forest", [nano()]),
    "forest-one": lambda: chart("forest", [paper()], "talk/raw"),
    "length": lambda: chart("length", [lengths()]),
    "length-one": lambda: chart("length", [lengths()], "talk/lc"),
    "judges": lambda: chart("judges", [judges()]),
    "sweep": lambda: swept(False),
    "sweep-several": lambda: swept(True),
}


def points(number: int, series: int = 1) -> tuple[Point, ...]:
    return tuple(
        Point(label=f"p{n}$", series=f"s{n % series}" if series > 1 else "", x=float(n),
              value=float(10 - n), low=float(9 - n), high=float(12 - n) if n % 2 else None,
              marked=n == 1)
        for n in range(number)
    )  # fmt: skip


def drawn_of(name: str) -> Chart:
    """Five forests in two rows; scatters with few points, many points, and many series."""
    forests = tuple(
        Panel(title=f"t{n}", x_title="%", horizontal=True, zero=50.0 if n else None,
              points=points(3 + n % 2))
        for n in range(5)
    )  # fmt: skip
    scatters = tuple(
        Panel(title="t", x_title="x", y_title="y", points=points(number, series))
        for number, series in ((4, 1), (5, 2), (16, 8))
    )
    panels = forests if name == "forests" else scatters
    return Chart(kind="forest", title=f"{name} " * 40, note="note " * 60, panels=panels)


def described(name: str) -> str:
    """Everything on the axes of a figure."""
    from matplotlib import rcParams
    from matplotlib.figure import Figure

    seen: list[Any] = []
    save = Figure.savefig

    def keep(self: Figure, path: Path, **options: Any) -> None:
        seen.append({name: rcParams[name] for name in drawing.STYLE})
        seen.append(
            [
                self.get_size_inches().round(3).tolist(),
                self.get_suptitle(),
                self.get_supxlabel(),
                [options["format"], options["dpi"], options["metadata"]],
            ]
        )
        seen.extend(map(axes_of, self.axes))

    Figure.savefig = keep  # type: ignore[method-assign,assignment]
    try:
        drawing.draw(drawn_of(name), Path("x.SVG"))
    finally:
        Figure.savefig = save  # type: ignore[method-assign]
    return said(seen)


def axes_of(axes: Any) -> dict[str, Any]:
    legend = axes.get_legend()
    return {
        "on": axes.axison,
        "titles": [axes.get_title(), axes.get_xlabel(), axes.get_ylabel()],
        "names": names_of(axes),
        "lines": [line_of(line) for line in axes.lines],
        "texts": [[t.get_text(), t.get_fontsize(), place_of(t)] for t in axes.texts],
        "legend": [(t.get_text(), t.get_fontsize()) for t in legend.get_texts()]
        if legend
        else None,
        "frame": legend and legend.get_frame_on(),
        "below": axes.get_axisbelow(),
        "grid": [grid_of(axis) for axis in (axes.xaxis, axes.yaxis)],
    }


def names_of(axes: Any) -> list[Any] | None:
    """Places and names of what is listed, and the limits; places of numbers are the library's."""
    from matplotlib.ticker import FixedFormatter

    if not isinstance(axes.yaxis.get_major_formatter(), FixedFormatter):
        return None
    names = [label.get_text() for label in axes.get_yticklabels()]
    return [list(map(float, axes.get_yticks())), names, list(axes.get_ylim())]


def grid_of(axis: Any) -> list[Any]:
    line = axis.get_gridlines()[0]
    return [line.get_visible(), line.get_color(), line.get_linewidth()]


def line_of(line: Any) -> list[Any]:
    ends = [np.asarray(data, dtype=float).round(6).tolist() for data in line.get_data()]
    marks = [line.get_marker(), line.get_markersize(), line.get_markerfacecolor()]
    style = [line.get_linestyle(), line.get_linewidth(), line.get_solid_capstyle()]
    return [*ends, line.get_color(), *style, *marks]


def place_of(text: Any) -> list[float]:
    return [float(part) for part in (*getattr(text, "xyann", ()), *getattr(text, "xy", (0, 0)))]


EXPECTED = {f"chart-{name}.json": partial(lambda f: said(f().model_dump()), f)
            for name, f in CHARTS.items()} | {
    f"drawn-{name}.json": partial(described, name) for name in ("forests", "scatters")
}  # fmt: skip


@pytest.mark.parametrize("name", EXPECTED)
def test_a_plot_shows_what_was_checked(name: str) -> None:
    if name.startswith("drawn"):
        pytest.importorskip("matplotlib", reason="the extra plots is not installed")
    assert differs(name, EXPECTED[name]()) == ""
