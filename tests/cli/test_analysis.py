"""`crucible analyse`: from files to a page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from harness.cli.main import app
from harness.core.errors import UnknownName, UserError

PARSER = "tests.hand_parser:open_hand_parser"


@pytest.fixture
def analyse(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """`analyse("a.jsonl")`: what it prints; errors are raised."""
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.chdir(tmp_path)
    rows = [{"instruction": "Write a poem"}, {"instruction": "Write a poem"}, {"text": "?"}]
    Path("mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    Path("chats.json").write_text(
        json.dumps([{"conversations": [{"from": "human", "value": "List ten ideas"}]}] * 3)
    )

    def run(*arguments: str) -> str:
        command = ["analyse", *arguments, "--parser", PARSER, "--store", "store"]
        done = CliRunner().invoke(app, command)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done.output

    return run


def test_two_files_become_a_table_and_a_page(analyse, tmp_path: Path) -> None:
    said = analyse("mine.jsonl", "chats.json", "--out", "page")
    assert "unique verb-noun pairs" in said
    assert "1 of 3 rows of mine.jsonl have no instruction" in said
    assert "Verb-noun pairs by first and last word 1.0" in said
    assert "page: page/analysis.html" in said
    data = json.loads((tmp_path / "page/analysis.json").read_text())
    assert [each["name"] for each in data["sets"]] == ["mine", "chats"]
    assert data["sets"][1]["top"][0] == {"verb": "list", "noun": "ideas", "count": 3, "share": 1.0}


def test_without_a_folder_the_page_is_in_the_store(analyse, tmp_path: Path) -> None:
    said = analyse("mine.jsonl")
    (page,) = tmp_path.glob("store/boards/analysis-*/analysis.html")
    assert str(page.relative_to(tmp_path)) in said.replace("\n", "")


def test_mistakes_say_what_to_type(analyse) -> None:
    with pytest.raises(UnknownName, match='no kind of tokens named "word"; did you mean "words"'):
        analyse("mine.jsonl", "--tokens", "word")
    with pytest.raises(UserError, match="no instruction sets"):
        analyse("absent.jsonl")


def test_help_teaches() -> None:
    said = CliRunner().invoke(app, ["analyse", "--help"], env={"COLUMNS": "120"}).output
    for word in ("Alpaca", "ShareGPT", "--compared", "crucible analyse mine.jsonl", "resumes"):
        assert word in said
