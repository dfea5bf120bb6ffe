"""What this room registers: nothing; each suite's folder has its judge operations."""

from __future__ import annotations

OPERATIONS: dict[str, str] = {}
