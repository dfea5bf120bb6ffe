"""`crucible doctor` and `new-method`: what a newcomer runs first and last."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from harness.testing import check_method
from tests.cli.test_messages import crucible


def test_doctor_finds_its_packages_and_names_extras_in_full(tmp_path: Path) -> None:
    done = crucible("doctor", cwd=tmp_path, COLUMNS="200")
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ("harness", "methods", "leaderboards", "nano models", "extra train"):
        assert name in done.stdout
    if "no ray" in done.stdout:
        assert "crucible-bench[ray]" in done.stdout


def test_a_new_method_is_a_working_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = crucible("new-method", "halfway", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "crucible-halfway"
    monkeypatch.syspath_prepend(str(folder))
    from crucible_halfway.method import METHOD  # type: ignore[import-not-found]

    check_method(METHOD)
    again = crucible("new-method", "halfway", cwd=tmp_path)
    assert (again.returncode, "exists already" in again.stderr) == (2, True)
    sys.modules.pop("crucible_halfway", None)
