"""A missing extra is noticed before the first stage, and says who needs it."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from harness.cli.main import app
from harness.engine import extras


def test_a_run_without_an_extra_stops_before_its_first_stage(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(extras.EXTRAS, "merge", ("no-such-package",))
    store = ["--store", str(tmp_path / "store")]
    found = CliRunner().invoke(app, ["reproduce", "fusechat", *store])
    assert found.exit_code != 0
    said = str(found.exception)
    assert "merge for fusechat_ta, fusechat_ties, fusechat_dare, fusechat_slerp" in said
    assert "pip install 'crucible-bench[merge]'" in said
    assert not list((tmp_path / "store").glob("artifacts/*/*"))
    monkeypatch.setitem(extras.EXTRAS, "lm-eval", ("no-such-package",))
    found = CliRunner().invoke(app, ["reproduce", "fusellm", *store])
    assert "lm-eval for lm_nano" in str(found.exception)


def test_extras_are_whole_or_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(extras.EXTRAS, "half", ("pytest", "no-such-package"))
    monkeypatch.setitem(extras.EXTRAS, "whole", ("pytest",))
    assert extras.missing(["half", "whole", "unheard-of", "half"]) == ["half"]
    assert extras.versions_of("half")["no-such-package"] is None
    doctor = CliRunner().invoke(app, ["doctor"]).output
    assert "no no-such-package  (pip install 'crucible-bench[half]')" in doctor
