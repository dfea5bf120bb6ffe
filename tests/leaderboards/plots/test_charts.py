"""What plots show: points of boards, and what a kind needs of a board."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.core.errors import EnvironmentProblem, StoreProblem, UnknownName, UserError
from leaderboards.board import Board, build_board
from leaderboards.files import read_board
from leaderboards.overview import RESULTS
from leaderboards.plots import drawing
from leaderboards.plots.charts import KINDS, Chart, Panel, Point, chart
from leaderboards.spec import BoardSpec


@pytest.fixture(scope="module")
def wrpo() -> Board:
    return build_board(*read_board(RESULTS / "wrpo-nano"))


def test_a_forest_has_the_intervals_of_the_board(wrpo: Board) -> None:
    made = chart("forest", [wrpo])
    metrics = [place for place, column in enumerate(wrpo.columns) if not column.detail]
    assert len(made.panels) == len(metrics)
    for panel, place in zip(made.panels, metrics, strict=True):
        entries = [row.entries[place] for row in wrpo.rows]
        shown = [e for e in entries if e.score is not None and e.score.value is not None]
        assert [point.value for point in panel.points] == [e.score.value for e in shown if e.score]
        for point, entry in zip(panel.points, shown, strict=True):
            assert entry.score is not None
            assert entry.score.interval is not None
            assert (point.low, point.high) == (
                entry.score.interval.low,
                entry.score.interval.high,
            )
            assert point.marked == (entry.standing in ("best", "tied"))
    assert "nano: an offline miniature" in made.note
    assert "5 seeds" in made.note


def test_one_metric_can_be_chosen(wrpo: Board) -> None:
    assert len(chart("forest", [wrpo], "arena_hard/score").panels) == 1
    with pytest.raises(UnknownName, match='did you mean "alpaca_eval2/win_rate"'):
        chart("forest", [wrpo], "win_rat")


def test_a_length_plot_pairs_scores_with_the_length_of_answers(wrpo: Board) -> None:
    (panel,) = chart("length", [wrpo]).panels
    assert {point.series for point in panel.points} == {"lc win rate", "win rate"}
    row = next(row for row in wrpo.rows if row.system.name == "wrpo")
    score = next(s for s in row.scores if s.metric == "win_rate")
    point = next(p for p in panel.points if p.label == row.system.title and p.series == "win rate")
    assert (point.x, point.value) == (score.details["avg_length"], score.value)


def test_a_kind_that_a_board_cannot_show_says_what_it_needs(wrpo: Board) -> None:
    with pytest.raises(UserError, match="does not rank judges; expected one made by: crucible"):
        chart("judges", [wrpo])
    with pytest.raises(UserError, match="no setting differs in number"):
        chart("sweep", [wrpo])
    with pytest.raises(UserError, match="shows one board; found 2"):
        chart("forest", [wrpo, wrpo])
    with pytest.raises(UnknownName, match='did you mean "forest"'):
        chart("forrest", [wrpo])
    tod = build_board(*read_board(RESULTS / "mktod-camrest"))
    with pytest.raises(UserError, match="reports the length of answers"):
        chart("length", [tod])
    with pytest.raises(UserError, match="has no scores to plot"):
        chart("forest", [build_board(BoardSpec(name="empty", title="Empty"), [])])


def test_a_sweep_takes_its_values_from_settings(wrpo: Board) -> None:
    boards = [
        wrpo.model_copy(update={"spec": wrpo.spec.model_copy(update={"name": name})})
        for name in ("low", "high")
    ]
    settings = {"high/wrpo": {"beta": 0.5, "seed": 1.0}, "low/wrpo": {"beta": 0.1, "seed": 1.0}}
    made = chart("sweep", boards, "lc_win_rate", settings=settings)
    (panel,) = made.panels
    assert panel.x_title == "beta"
    assert [point.x for point in panel.points] == [0.1, 0.5]
    assert len({point.series for point in panel.points}) == 1
    assert chart("sweep", boards, over="seed", settings=settings).panels[0].x_title == "seed"
    with pytest.raises(UnknownName, match='did you mean "beta"'):
        chart("sweep", boards, over="betta", settings=settings)
    both = {"low/wrpo": {"a": 1.0, "b": 1.0}, "high/wrpo": {"a": 2.0, "b": 2.0}}
    with pytest.raises(UserError, match="several settings differ: a, b; choose one with --over"):
        chart("sweep", boards, settings=both)


HOSTILE = Chart(
    kind="forest",
    title="costs $1 and $x_2$ <b>",
    note="a\\b",
    panels=tuple(
        Panel(
            title=f"$\\frac{number}$",
            x_title="%",
            horizontal=number % 2 == 0,
            zero=50.0,
            points=(
                Point(label="a_$b^$", series="one", x=1, value=1, low=0, high=2, marked=True),
                Point(label="no interval", series="two", x=2, value=2),
            ),
        )
        for number in range(5)
    ),
)


@pytest.mark.parametrize("format", drawing.FORMATS)
def test_a_chart_is_drawn_twice_alike_whatever_names_it_has(format: str, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the extra plots is not installed")
    for name in ("one", "two"):
        drawing.draw(HOSTILE, tmp_path / f"{name}.{format}")
    first = (tmp_path / f"one.{format}").read_bytes()
    assert first == (tmp_path / f"two.{format}").read_bytes()
    assert first.startswith({"svg": b"<?xml", "pdf": b"%PDF", "png": b"\x89PNG"}[format])
    if format == "svg":
        assert b"no interval" in first
        assert b"http" not in first.split(b"<defs>")[1].replace(b"http://www.w3.org", b"")


@pytest.mark.parametrize("kind", KINDS[:2])
def test_a_committed_board_is_drawn(kind: str, wrpo: Board, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the extra plots is not installed")
    drawing.draw(chart(kind, [wrpo]), tmp_path / "plot.svg")
    assert "Target-SFT-WRPO" in (tmp_path / "plot.svg").read_text()


def test_files_that_cannot_be_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnknownName, match='no format of plots named "pfd"; did you mean "pdf"'):
        drawing.draw(HOSTILE, tmp_path / "plot.pfd")
    with pytest.raises(UnknownName):
        drawing.draw(HOSTILE, tmp_path / "plot")
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(EnvironmentProblem, match=r"crucible-bench\[plots\]"):
        drawing.draw(HOSTILE, tmp_path / "plot.svg")


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the extra plots is not installed")
    with pytest.raises(StoreProblem, match="cannot be written"):
        drawing.draw(HOSTILE, tmp_path / "absent" / "plot.svg")
