"""The command line `crucible`; one module per group of commands."""

from __future__ import annotations

from harness.cli.main import app, main

__all__ = ["app", "main"]
