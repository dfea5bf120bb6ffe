"""Additions of the front page: answers, equal systems, rank ranges, details in words."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.core.records import Cell, Resampled
from leaderboards.board import build_board
from leaderboards.render import render
from leaderboards.render.details import detail_name, plain_name
from leaderboards.site import write_site
from leaderboards.site.extras import equals, extras_of
from leaderboards.site.pages import Addresses, slug
from leaderboards.spec import BoardSpec, ColumnSpec
from tests.leaderboards.conftest import make_cell

SPEC = BoardSpec(name="b", title="B")


def with_rows(name: str, values: list[float]) -> Cell:
    sample = Resampled(units=len(values), values=tuple(values))
    mean = sum(values) / len(values)
    return make_cell("x", 50, n=len(values), value=mean, interval=None).model_copy(
        update={"system": name, "resampled": sample, "replicates": ()}
    )


def test_systems_with_the_same_rows_are_identical_here() -> None:
    cells = [with_rows("a", [1, 0, 1]), with_rows("b", [1, 0, 1]), with_rows("c", [0, 1, 1])]
    board = build_board(SPEC, cells)
    assert equals(board) == {"a": ("b",), "b": ("a",)}


def test_equal_means_without_rows_are_not_called_identical(cell: Callable[..., Cell]) -> None:
    cells = [cell("x", 50).model_copy(update={"system": name, "resampled": None}) for name in "ab"]
    assert equals(build_board(SPEC, cells)) == {}


def test_lengths_come_from_samples_or_from_the_details(cell: Callable[..., Cell]) -> None:
    board = build_board(SPEC, [cell("a", 60, failed=3), cell("b", 50)])
    found = Addresses(lengths={("b", "alpaca_eval2", 0): (120, 31.5)})
    extras = extras_of(board, found, ())
    answers = extras.answers["a", "alpaca_eval2"]
    assert (answers.length, answers.n_scored, answers.n_expected) == (1800.0, 117, 120)
    assert extras.answers["b", "alpaca_eval2"].length == 31.5


def test_the_front_page_shows_ranges_answers_and_words(
    cell: Callable[..., Cell], tmp_path: Path
) -> None:
    cells = [cell(n, skill) for n, skill in (("a", 60), ("b", 59.5), ("c", 20))]
    site = write_site(tmp_path / "out", SPEC, cells, store=None)
    page = (site.folder / "index.html").read_text()
    assert page.count('<small class="range">1 to 2</small>') == 2
    assert "simultaneous" in page or "all paired differences at once" in page
    assert "mean length of answers (characters)" in page
    assert re.search(r'<span class="value">1,800</span><span class="span">n 120</span>', page)
    assert "3 scores have no samples" in page


def test_details_in_columns_lead_nowhere(cell: Callable[..., Cell], tmp_path: Path) -> None:
    made = cell("a", 60)
    made = made.model_copy(update={"details": {**made.details, "set.beta": 0.25}})
    column = {"suite": made.suite, "metric": made.metric}
    columns = [ColumnSpec(**column), ColumnSpec(**column, detail="set.beta", digits=2)]
    spec = SPEC.model_copy(update={"columns": tuple(columns)})
    site = write_site(tmp_path / "out", spec, [made], store=None)
    page = (site.folder / "index.html").read_text()
    assert '<span class="value">0.25</span>' in page
    assert page.count('<span class="value"><a href="#') == 1


def test_the_plain_page_has_none_of_it(cell: Callable[..., Cell], tmp_path: Path) -> None:
    cells = [cell(n, skill) for n, skill in (("a", 60), ("b", 59.5))]
    site = write_site(tmp_path / "out", SPEC, cells, store=None)
    plain = render(build_board(SPEC, cells), "html")
    assert (site.folder / "board.html").read_text() == plain
    for added in ("range", "n 120", "Files", "<a href=", "mean length of answers"):
        assert added not in plain


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("n_draws", "draws"),
        ("n_cut_answers", "answers cut at the token limit"),
        ("category:math", "score of category math"),
        ("slope:bold", "effect of style on winning: bold"),
        ("my_own_detail", "my own detail"),
    ],
)
def test_details_are_named_in_words(name: str, words: str) -> None:
    assert detail_name(name) == words
    assert plain_name("a_b") == "a b"


def test_slugs_are_file_names_that_differ_where_names_do() -> None:
    names = ["a/b", "a b", "a:b", "A/b", "../..", "", "x" * 500, "日本", "con"]
    made = [slug(name, name) for name in names]
    assert len({name.lower() for name in made}) == len(names)
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,80}", name) for name in made)
