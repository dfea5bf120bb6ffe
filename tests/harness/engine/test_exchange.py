"""A folder in place of another one, in one step."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness.core.errors import UserError
from harness.engine.exchange import replace_folder
from harness.engine.io import locked, publish


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    fresh, out = tmp_path / "fresh", tmp_path / "out"
    for folder, text in ((fresh, "new"), (out, "old")):
        folder.mkdir()
        (folder / "a").write_text(text)
    (out / "b").write_text("mine")
    (out / "rows").write_text("old")
    (out / "deep").mkdir()
    (out / "deep/c").write_text("mine")
    (out / "link").symlink_to("b")
    return fresh, out


def test_files_that_the_new_folder_lacks_stay(folders: tuple[Path, Path]) -> None:
    fresh, out = folders
    assert replace_folder(fresh, out, ["rows"])
    assert (out / "a").read_text() == "new"
    assert (out / "b").read_text() == (out / "deep/c").read_text() == "mine"
    assert os.readlink(out / "link") == "b"
    assert not (out / "rows").exists()
    assert (fresh / "a").read_text() == "old"


def test_a_folder_in_which_this_process_works_keeps_its_place(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh, out = folders
    monkeypatch.chdir(out / "deep")
    assert not replace_folder(fresh, out)
    publish(fresh, out, ["rows"])  # file by file
    assert (out / "a").read_text() == "new"
    assert not (out / "rows").exists()
    assert Path.cwd() == out / "deep"


def test_a_lock_is_waited_for(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(UserError, match=r"writing in .* for 0.1 s"):  # noqa: SIM117
        with locked(tmp_path, wait=0.1):
            pass
    with locked(tmp_path, wait=0.1):
        pass
