"""Values that the shell completes: names of the catalogue and of boards.

`crucible --install-completion` sets the shell up. A completion reads catalogues and folder names
only, and offers nothing where these cannot be read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from harness.core.errors import CrucibleError

SCALES = ("nano", "small", "paper")


def _starting(names: Callable[[], Iterable[str]], begun: str) -> list[str]:
    try:
        return [name for name in names() if name.startswith(begun)]
    except (CrucibleError, OSError):
        return []


def methods(incomplete: str) -> list[str]:
    """Methods of the catalogue."""
    return _starting(lambda: _entries("methods"), incomplete)


def suites(incomplete: str) -> list[str]:
    """Suites; after a comma, those of the rest."""
    before, comma, begun = incomplete.rpartition(",")
    return [f"{before}{comma}{name}" for name in _starting(lambda: _entries("suites"), begun)]


def scales(incomplete: str) -> list[str]:
    """The profiles that most recipes have."""
    return _starting(lambda: SCALES, incomplete)


def models(incomplete: str) -> list[str]:
    """The embedded models; other references are typed."""
    from harness.nano import zoo

    return _starting(lambda: [f"nano:{name}" for name in zoo.names()], incomplete)


def boards(incomplete: str) -> list[str]:
    """Boards of the store and published ones."""
    from harness.cli.board_folders import board_folders

    return _starting(lambda: [folder.name for folder in board_folders()], incomplete)


def _entries(group: str) -> list[str]:
    from harness.engine import registry

    return list(registry.entries(group))
