"""Where boards are: in the store, and published with the product."""

from __future__ import annotations

from pathlib import Path

PUBLISHED = Path(__file__).resolve().parents[2] / "leaderboards" / "results"


def board_folders() -> list[Path]:
    """Folders of the boards of the store, then of the published ones."""
    from harness.engine.store import default_root

    places = (default_root() / "boards", PUBLISHED)
    return [path.parent for place in places for path in sorted(place.glob("*/cells.jsonl"))]
