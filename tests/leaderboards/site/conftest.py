"""A store made by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.hand_made import HandMade


@pytest.fixture
def hand_made(tmp_path: Path) -> HandMade:
    return HandMade(tmp_path / "store")
