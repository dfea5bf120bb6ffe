"""`crucible compare`: metrics, and samples side by side in terminals of any width and as a page."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from harness.cli.main import app
from harness.core.errors import StoreProblem, UnknownName, UserError
from leaderboards.files import write_board
from leaderboards.render import parts
from leaderboards.spec import BoardSpec
from tests.hand_made import HOSTILE, HandMade
from tests.leaderboards.samples.test_pairs import OURS, THEIRS, system


@pytest.fixture
def compare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """`compare("--samples", width=60)`: what it prints; errors are raised."""
    made = HandMade(tmp_path / "store")
    cells = [
        cell
        for seed in (1, 2)
        for cell in (
            system(made, "ours", OURS, seed=seed),
            system(made, "theirs", THEIRS, seed=seed),
        )
    ]
    write_board(tmp_path / "board", BoardSpec(name="b", title="B"), cells)
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, width: int = 100) -> str:
        monkeypatch.setenv("COLUMNS", str(width))
        command = ["compare", "ours", "theirs", "--board", "board", *arguments]
        done = CliRunner().invoke(app, [*command, "--store", str(tmp_path / "store")])
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done.output

    return run


@pytest.mark.parametrize("width", [30, 40, 60, 76, 100, 200])
def test_the_list_fits_a_terminal_of_any_width(compare: Callable[..., str], width: int) -> None:
    said = compare("--samples", width=width)
    table = said[: said.index("listed of")].split("\n")[:-1]
    assert max(len(line) for line in table) <= width
    for told in ("win", "loss", "failed", "+100", "-50"):
        assert told in said
    assert "A wins, B loses 1" in " ".join(said.split())
    assert "5 listed of 5 found" in said


@pytest.mark.parametrize("width", [40, 140])
def test_one_prompt_in_full(compare: Callable[..., str], width: int) -> None:
    said = compare("--samples", "--row", "p1", width=width)
    for told in ("Question p1?", "ours on p1", "theirs on p1", "other answer to p1", "B>A win"):
        assert told in said
    beside = [line for line in said.split("\n") if "ours on p1" in line and "theirs on p1" in line]
    assert bool(beside) == (width > 100)


def test_filters_limit_and_json(compare: Callable[..., str]) -> None:
    assert "1 listed of 1 found of 5" in compare(
        "--samples", "--filter", "a=win", "--filter", "b=loss"
    )
    assert "2 listed of 5 found" in compare("--samples", "--limit", "2")
    found = json.loads(compare("--samples", "--filter", "category=math", "--json"))
    assert [sample["id"] for sample in found["samples"]] == ["p1", "p2"]
    assert found["samples"][0]["a"]["turns"][0]["answer"].startswith("ours on p1")
    assert sum(tally["count"] for tally in found["tallies"]) == 5


def test_the_page_has_the_chosen_pairs(compare: Callable[..., str], tmp_path: Path) -> None:
    said = compare("--samples", "--html", "page.html", "--filter", "a=win", "--sort", "-id")
    assert "page.html: 2 prompts" in said
    page = (tmp_path / "page.html").read_text()
    assert "ours on p1" in page
    assert "ours on p3" not in page
    assert page.index('"id":"p1"') < page.index('"id":"p2"'), "the page keeps the stored order"
    compare("--samples", "--html")
    assert (tmp_path / "compare-ours-theirs.html").is_file()


def test_many_pairs_are_written_as_several_pages(
    compare: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "LIMIT", 2)
    assert "page.html: 5 prompts, 0.1 MB in 3 pages" in compare("--samples", "--html", "page.html")
    names = ["page.html", "page.page-2.html", "page.page-3.html"]
    assert sorted(path.name for path in tmp_path.glob("*.html")) == names
    said = compare("--samples", "--html", "page.html", "--filter", "a=win", "--json", "--quiet")
    assert json.loads(said)["pages"] == 1
    assert [path.name for path in tmp_path.glob("*.html")] == names[:1]


def test_the_seed_and_the_metric_are_chosen(compare: Callable[..., str]) -> None:
    assert "p1" in compare("--samples", "--seed", "2", "--metric", "arena_hard")
    with pytest.raises(UnknownName, match='"3"'):
        compare("--samples", "--seed", "3")
    with pytest.raises(UnknownName, match="arena_hard/score"):
        compare("--samples", "--metric", "arena_hard/scor")


def test_options_of_samples_need_samples(compare: Callable[..., str]) -> None:
    for option in (("--row", "p1"), ("--html",), ("--metric", "x"), ("--filter", "a=win")):
        with pytest.raises(UserError, match="add --samples"):
            compare(*option)


def test_a_store_without_the_samples_is_named(compare: Callable[..., str], tmp_path: Path) -> None:
    import shutil

    shutil.rmtree(tmp_path / "store" / "artifacts")
    with pytest.raises(UserError, match="none with rows in the store"):
        compare("--samples")
    with pytest.raises((StoreProblem, UserError)):
        compare("--samples", "--html", "no/folder/page.html")


def test_hostile_texts_cannot_style_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = HandMade(tmp_path / "store")
    verdicts = {f"h{n}": "win" for n in range(len(HOSTILE))}
    rows = []
    for name in ("a", "b"):
        cell = system(made, f"{name} [bold]\x1b[31m", verdicts)
        rows.append(cell)
    write_board(tmp_path / "board", BoardSpec(name="b", title="B"), rows)
    monkeypatch.setenv("COLUMNS", "120")
    command = ["compare", rows[0].system, rows[1].system, "--board", str(tmp_path / "board")]
    for more in ((), ("--row", "h1")):
        done = CliRunner().invoke(
            app, [*command, "--samples", *more, "--store", str(tmp_path / "store")]
        )
        assert done.exception is None
        assert "\x1b" not in done.output
        assert "[bold]<U+001B>[31m" in done.output
