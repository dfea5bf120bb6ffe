"""`crucible doctor`: what a newcomer runs first and last."""

from __future__ import annotations

from pathlib import Path

from tests.cli.test_messages import crucible


def test_doctor_finds_its_packages_and_names_extras_in_full(tmp_path: Path) -> None:
    done = crucible("doctor", cwd=tmp_path, COLUMNS="200")
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ("harness", "methods", "leaderboards", "nano models", "extra train"):
        assert name in done.stdout
    if "no ray" in done.stdout:
        assert "crucible-bench[ray]" in done.stdout
