"""Three of the published boards instead of all, for tests of commands that go through every one.

Reading and building all of them takes half a minute. That each can be rebuilt is tested in
`tests/leaderboards/test_results.py`, and the page of all claims in
`tests/leaderboards/test_overview.py`.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from harness.cli import board_folders, claims

FEW = ("kca-nano", "kca-nano-control", "wrpo-nano")


def few_boards(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Commands that go through every board find those of the store and `FEW`."""
    results = folder / "published"
    results.mkdir()
    for name in FEW:
        (results / name).symlink_to(board_folders.PUBLISHED / name)
    monkeypatch.setattr(board_folders, "PUBLISHED", results)
    monkeypatch.setattr(claims, "paper_claims", partial(claims.paper_claims, results))
