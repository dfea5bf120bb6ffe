"""The `stage` of a plan that keeps what it was asked for; a handle is the label in brackets."""

from __future__ import annotations

from typing import Any


class RecordedStages:
    """Stages by label: the operation, and every input, parameter and hint.

    Attributes:
        asked: label -> (operation, what it was given).
    """

    def __init__(self) -> None:
        self.asked: dict[str, tuple[str, dict[str, Any]]] = {}

    def __call__(self, operation: str, *, label: str, **given: Any) -> str:
        known = self.asked.setdefault(label, (operation, given))
        assert known == (operation, given), f"two different stages are called {label}"
        return f"<{label}>"
