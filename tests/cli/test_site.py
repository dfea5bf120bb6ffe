"""`crucible board NAME --site FOLDER`: what it says, refuses, writes and uploads."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from harness.cli.main import app
from harness.core.errors import EnvironmentProblem, UserError
from leaderboards.files import write_board
from leaderboards.spec import BoardSpec
from tests.hand_made import HandMade, four_games
from tests.harness.api.test_cards import FakeHub


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """`board("--site", "out")`: what it prints; errors are raised."""
    made = HandMade(tmp_path / "store")
    write_board(tmp_path / "b", BoardSpec(name="b", title="B"), [four_games(made)])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: str) -> str:
        command = ["board", "b", *arguments, "--store", str(tmp_path / "store")]
        done = CliRunner().invoke(app, command)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done.output

    return run


def test_the_folder_is_written_and_can_be_checked(
    board: Callable[..., str], tmp_path: Path
) -> None:
    assert "out/index.html: 1 of 1 scores lead to their samples" in board("--site", "out")
    assert "rebuilt byte for byte" in CliRunner().invoke(app, ["board", "out", "--check"]).output
    assert "answer to p/win" in next((tmp_path / "out/samples").iterdir()).read_text()
    found = json.loads(board("--site", "out", "--without-texts", "--json", "--quiet"))
    assert (found["pages"], found["linked"], found["without_samples"]) == (1, 1, {})
    assert "answer to p/win" not in next((tmp_path / "out/samples").iterdir()).read_text()


def test_a_board_without_its_store_says_so(board: Callable[..., str], tmp_path: Path) -> None:
    import shutil

    shutil.rmtree(tmp_path / "store" / "artifacts")
    said = board("--site", "out")
    assert "0 of 1 scores lead" in said
    assert "1 scores have no samples: the store" in said


def test_wrong_options_are_refused(board: Callable[..., str], tmp_path: Path) -> None:
    for option in (("--without-texts",), ("--push", "hub:me/x"), ("--overwrite",)):
        with pytest.raises(UserError, match=f"{option[0]} needs --site"):
            board(*option)
    with pytest.raises(UserError, match="expected hub:OWNER/SPACE"):
        board("--site", "out", "--push", "me/space")
    with pytest.raises(UserError, match="is the board itself"):
        board("--site", "b")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/x.txt").write_text("x")
    with pytest.raises(UserError, match="is not a site of Crucible"):
        board("--site", "mine")
    assert not (tmp_path / "out").exists()


@pytest.fixture
def real() -> Any:
    return pytest.importorskip("huggingface_hub", reason="the extra train is not installed").HfApi


def test_a_site_is_uploaded_as_a_private_static_space(
    board: Callable[..., str], real: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = FakeHub(real)
    monkeypatch.setitem(sys.modules, "huggingface_hub", fake.module)
    assert "pushed: https://hub/me/week" in board("--site", "out", "--push", "hub:me/week")
    (_, created), (_, uploaded) = fake.calls
    assert (created["repo_type"], created["space_sdk"]) == ("space", "static")
    assert created["private"] is True
    assert uploaded["repo_type"] == "space"
    assert Path(uploaded["folder_path"]).resolve() == tmp_path / "out"
    # Other files that the folder has are not uploaded.
    assert "index.html" in uploaded["allow_patterns"]
    # Pages of an earlier upload, perhaps with texts, do not stay.
    assert uploaded["delete_patterns"] == ["samples/*"]


def test_nothing_is_written_if_the_upload_cannot_work(
    board: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", FakeHub(token=None).module)
    with pytest.raises(EnvironmentProblem, match="hf auth login"):
        board("--site", "out", "--push", "hub:me/week")
    assert not (tmp_path / "out").exists()
