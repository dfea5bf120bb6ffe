"""The command line: `crucible`. Commands live in the modules of this package, grouped by noun."""

from __future__ import annotations

from harness.cli.main import app, main

__all__ = ["app", "main"]
