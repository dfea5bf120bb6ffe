"""What a plot of a board shows, as data: panels of points with intervals.

    forest    every system with its interval, one panel per metric
    length    score against the average length of answers, raw and length-controlled
    judges    a board of judges: agreement and biases, one panel per measure
    sweep     score against a setting that differs between systems or boards, with lines and bands
              where a sweep made the board

Pure functions of boards. The order of points is that of the board's rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from harness.core.errors import UserError, unknown
from harness.core.records import Record
from harness.core.text import visible
from harness.judging.agreement_cells import SUITE as JUDGES
from leaderboards.board import Board, Row
from leaderboards.render.text import banner, column_name
from leaderboards.scores import Score
from leaderboards.spec import ANY, OWN, SETTING, ColumnSpec

Kind = Literal["forest", "length", "judges", "sweep"]
KINDS: tuple[Kind, ...] = ("forest", "length", "judges", "sweep")
Value = float | str
MARKED = 8  # most values of a logarithmic axis that are named
WIDE = 10  # a positive axis whose ends differ by this factor is logarithmic
LENGTH = "avg_length"  # detail of a cell: mean number of characters of the model's answers


class Point(Record):
    """One score.

    Attributes:
        label: name of the system.
        series: name of the line or colour it belongs to; "" where there is one.
        x: place on the horizontal axis; of a forest, the value itself.
        value, low, high: score and interval; without an interval, low and high are None.
        marked: whether it is the best of its panel, or not distinguishable from it.
    """

    label: str
    series: str = ""
    x: float
    value: float
    low: float | None = None
    high: float | None = None
    marked: bool = False


class Panel(Record):
    """One pair of axes; `horizontal` panels list their points from top to bottom.

    Attributes:
        ticks: names of the places 0, 1, ... of the x axis, if its values are no numbers.
        log: whether the x axis is logarithmic.
    """

    title: str
    x_title: str
    y_title: str = ""
    horizontal: bool = False
    zero: float | None = None
    points: tuple[Point, ...]
    ticks: tuple[str, ...] = Field(default=(), exclude_if=lambda value: not value)
    log: bool = Field(default=False, exclude_if=lambda value: not value)

    @property
    def marks(self) -> dict[float, str]:
        """Places on the x axis with their names; {} where the drawing chooses them.

        Those of a logarithmic axis are its values, as its powers of ten are too few.
        """
        if self.ticks:
            return {float(place): name for place, name in enumerate(self.ticks)}
        places = sorted({point.x for point in self.points}) if self.log else []
        return {x: f"{x:g}" for x in places} if len(places) <= MARKED else {}


class Chart(Record):
    """A plot: panels side by side, and a note on scale and intervals."""

    kind: Kind
    title: str
    note: str
    panels: tuple[Panel, ...]


def chart(
    kind: str,
    boards: Sequence[Board],
    metric: str = "",
    over: str = "",
    settings: Mapping[str, Mapping[str, Value]] | None = None,
) -> Chart:
    """The chart of this kind.

    Args:
        boards: one board; a sweep may take several.
        metric: SUITE/METRIC or METRIC, to show it alone; "" shows the board's columns.
        over: sweep only: the setting on the horizontal axis; "" takes the only one that differs.
        settings: sweep only: "BOARD/SYSTEM" -> the settings of a system, numbers or texts.

    Raises:
        UnknownName: no such kind, metric or setting.
        UserError: the board has nothing to show in this kind.
    """
    if kind not in KINDS:
        raise unknown("kind of plot", kind, KINDS, "crucible plot --help")
    if kind != "sweep" and len(boards) > 1:
        raise UserError(f"a {kind} plot shows one board; found {len(boards)}")
    if kind == "sweep":
        return _sweep(boards, metric, over, settings or {})
    made: dict[str, Callable[[Board, str], Chart]] = {
        "forest": _forest,
        "length": _length,
        "judges": _judges,
    }
    return made[kind](boards[0], metric)


def _columns(board: Board, metric: str) -> list[tuple[int, ColumnSpec]]:
    columns = [(place, c) for place, c in enumerate(board.columns) if not c.detail]
    if not metric:
        return columns
    found = [(place, c) for place, c in columns if metric in (c.metric, f"{c.suite}/{c.metric}")]
    if not found:
        raise unknown("metric of this board", metric, [f"{c.suite}/{c.metric}" for _, c in columns])
    return found


def _note(board: Board, about: str) -> str:
    seeds = {score.n_seeds for row in board.rows for score in row.scores if score.n_seeds}
    said = f"{max(seeds)} seeds" if seeds and max(seeds) > 1 else "one seed"
    return "; ".join(part for part in (about, said, banner(board)) if part)


def _point(label: str, score: Score, x: float, series: str = "", marked: bool = False) -> Point:
    assert score.value is not None
    ends = (None, None) if score.interval is None else (score.interval.low, score.interval.high)
    return Point(
        label=visible(label, 40),
        series=series,
        x=x,
        value=score.value,
        low=ends[0],
        high=ends[1],
        marked=marked,
    )


def _forest(board: Board, metric: str) -> Chart:
    panels = []
    for place, column in _columns(board, metric):
        points = []
        for row in board.rows:
            entry = row.entries[place]
            if entry.score is not None and entry.score.value is not None:
                marked = entry.standing in ("best", "tied")
                points.append(
                    _point(row.system.title, entry.score, entry.score.value, marked=marked)
                )
        if points:
            title = visible(column_name(column), 60)
            unit = next(s.unit for s in _scores(board, column) if s is not None)
            panels.append(Panel(title=title, x_title=unit, horizontal=True, points=tuple(points)))
    if not panels:
        raise UserError(f'board "{board.spec.name}" has no scores to plot')
    note = _note(
        board, f"{100 * board.spec.level:g} % intervals; filled: best, or not distinguishable"
    )
    return Chart(
        kind="forest", title=visible(board.spec.title, 90), note=note, panels=tuple(panels)
    )


def _scores(board: Board, column: ColumnSpec) -> list[Score | None]:
    place = board.columns.index(column)
    return [row.entries[place].score for row in board.rows]


def _length(board: Board, metric: str) -> Chart:
    panels = []
    suites = dict.fromkeys(column.suite for _, column in _columns(board, metric))
    for suite in suites:
        points = []
        for row in board.rows:
            for score in row.scores:
                length = score.details.get(LENGTH)
                shown = score.primary or score.metric in ("win_rate", "lc_win_rate")
                wanted = not metric or metric in (score.metric, f"{suite}/{score.metric}")
                numeric = isinstance(length, int | float) and not isinstance(length, bool)
                if (
                    score.suite == suite
                    and numeric
                    and shown
                    and wanted
                    and score.value is not None
                ):
                    assert isinstance(length, int | float)
                    series = score.metric.replace("_", " ")
                    points.append(_point(row.system.title, score, float(length), series))
        if points:
            panels.append(
                Panel(
                    title=suite,
                    x_title="average length of answers (characters)",
                    y_title="%",
                    points=tuple(points),
                )
            )
    if not panels:
        raise UserError(
            f'no suite of board "{board.spec.name}" reports the length of answers; expected a '
            "board with alpaca_eval2 (--kind forest shows any board)"
        )
    title = f"{visible(board.spec.title, 70)}: score and length"
    note = _note(board, "controlled for length, a system does not gain by longer answers")
    return Chart(kind="length", title=title, note=note, panels=tuple(panels))


def _judges(board: Board, metric: str) -> Chart:
    if not any(column.suite.startswith(f"{JUDGES}:") for column in board.columns):
        raise UserError(
            f'board "{board.spec.name}" does not rank judges; expected one made by: crucible '
            "judge-agreement JUDGED REFERENCE --out FOLDER"
        )
    made = _forest(board, metric)
    panels = tuple(
        panel.model_copy(update={"zero": 50.0}) if "first shown" in panel.title else panel
        for panel in made.panels
    )
    return made.model_copy(update={"kind": "judges", "panels": panels})


def _sweep(
    boards: Sequence[Board], metric: str, over: str, settings: Mapping[str, Mapping[str, Value]]
) -> Chart:
    key = _setting(over, settings)
    names = {f"{board.spec.name}/{row.system.name}" for board in boards for row in board.rows}
    axis = _axis([own[key] for name, own in settings.items() if name in names and key in own])
    panels = []
    for _, column in _columns(boards[0], metric):
        points: list[Point] = []
        for board in boards:
            points += _over(board, column, key, axis, settings, several=len(boards) > 1)
        if points:
            title = visible(column_name(column), 60)
            unit = next(s.unit for s in _scores(boards[0], column) if s is not None)
            panels.append(
                Panel(
                    title=title,
                    x_title=key,
                    y_title=unit,
                    points=tuple(sorted(points, key=lambda point: (point.series, point.x))),
                    ticks=axis.ticks,
                    log=axis.log,
                )
            )
    if not panels:
        raise UserError(f'no score of these boards belongs to a value of "{key}"')
    note = _note(boards[0], f"{100 * boards[0].spec.level:g} % intervals")
    title = visible(boards[0].spec.title, 120)
    title = title if any(swept(board) for board in boards) else f"{title} over {key}"
    return Chart(kind="sweep", title=title, note=note, panels=tuple(panels))


@dataclass(frozen=True)
class _Axis:
    """The values of a setting and their places; names of the places if any is no number."""

    places: dict[Value, float]
    ticks: tuple[str, ...]
    log: bool


def _axis(values: Iterable[Value]) -> _Axis:
    found = list(dict.fromkeys(values))
    numbers = sorted(value for value in found if not isinstance(value, str))
    if len(numbers) < len(found):
        places: dict[Value, float] = {value: float(n) for n, value in enumerate(found)}
        return _Axis(places, tuple(map(str, found)), False)
    log = len(numbers) > 2 and 0 < WIDE * numbers[0] <= numbers[-1]
    return _Axis({number: float(number) for number in numbers}, (), log)


def _over(
    board: Board,
    column: ColumnSpec,
    key: str,
    axis: _Axis,
    settings: Mapping[str, Mapping[str, Value]],
    several: bool,
) -> Iterator[Point]:
    """The points of a board; a sweep's system without the setting has one at every place."""
    everywhere = list(axis.places) if swept(board) else []
    for row in board.rows:
        found = [s for s in row.scores if (s.suite, s.metric) == (column.suite, column.metric)]
        score = found[0] if found else None
        if score is None or score.value is None:
            continue
        own = settings.get(f"{board.spec.name}/{row.system.name}", {})
        series = row.system.title if several else _series(board, row, own, key)
        for value in [own[key]] if key in own else everywhere:
            yield _point(row.system.title, score, axis.places[value], series)


def _series(board: Board, row: Row, own: Mapping[str, Value], key: str) -> str:
    """The line of a row on the board of a sweep: its system and other settings; else ""."""
    if all(column.group != SETTING for column in board.columns):
        return ""
    others = [f"{name.rpartition('.')[2]}={value}" for name, value in own.items() if name != key]
    return ", ".join([row.system.group or row.system.title, *others])


def swept(board: Board) -> dict[str, dict[str, Value]]:
    """ "BOARD/SYSTEM" -> the values in a sweep's columns of settings; {} for another board."""
    columns = [(place, c) for place, c in enumerate(board.columns) if c.group == SETTING]
    found: dict[str, dict[str, Value]] = {}
    order = [system.name for system in board.spec.systems]  # that of the values, as they were given
    rows = sorted(board.rows, key=lambda row: order.index(row.system.name)) if columns else ()
    for row in rows:
        own: dict[str, Value] = {}
        for place, column in columns:
            value = row.entries[place].value
            if value is not None and value != ANY and not str(value).endswith(OWN):
                own[(column.detail or "").removeprefix("set.")] = _number_or_text(value)
        found[f"{board.spec.name}/{row.system.name}"] = own
    return found


def _number_or_text(value: float | int | str | bool) -> Value:
    """Small numbers are stored as text."""
    try:
        return float(value)
    except ValueError:
        return str(value)


def _setting(over: str, settings: Mapping[str, Mapping[str, Value]]) -> str:
    """The setting of the horizontal axis: `over`, or the only one with several values."""
    values: dict[str, set[Value]] = {}
    for own in settings.values():
        for key, value in own.items():
            values.setdefault(key, set()).add(value)
    if over:
        if over not in values:
            raise unknown("setting that differs", over, values, "crucible plot --over KEY")
        return over
    several = [key for key, found in values.items() if len(found) > 1]
    if len(several) == 1:
        return several[0]
    if several:
        raise UserError(f"several settings differ: {', '.join(several)}; choose one with --over")
    raise UserError(
        "no setting differs in number; expected boards of runs with other values of --set "
        "KEY=VALUE, or a recipe whose systems set KEY (crucible reproduce METHOD --set KEY=VALUE "
        "--out FOLDER makes one)"
    )
