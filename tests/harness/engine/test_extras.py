"""Extras are those of the installed metadata; a missing one is noticed before the first stage."""

from __future__ import annotations

import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from typer.testing import CliRunner

from harness.cli.main import app
from harness.engine import extras, registry

ROOT = Path(__file__).resolve().parents[3]


def replaced(monkeypatch: pytest.MonkeyPatch, **own: tuple[str, ...]) -> None:
    known = {**extras.packages(), **own}
    monkeypatch.setattr(extras, "packages", lambda: known)


def test_packages_are_those_that_the_project_file_declares() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    declared = project["optional-dependencies"]
    assert set(extras.packages()) == set(declared) - set(extras.DEVELOPMENT)
    for extra, packages in extras.packages().items():
        assert sorted(packages) == sorted(re.split("[<>=]", line)[0] for line in declared[extra])
    needs = {
        n for g in ("methods", "suites") for e in registry.entries(g).values() for n in e.needs
    }
    assert needs <= set(extras.packages())


def test_markers_of_the_installed_metadata_name_an_extra_and_nothing_else() -> None:
    for requirement in metadata.requires(registry.DISTRIBUTION) or []:
        if ";" in requirement and "[" not in requirement:
            assert extras._REQUIREMENT.fullmatch(requirement), requirement


def test_a_run_without_an_extra_stops_before_its_first_stage(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    replaced(monkeypatch, merge=("no-such-package",))
    store = ["--store", str(tmp_path / "store")]
    found = CliRunner().invoke(app, ["reproduce", "fusechat", *store])
    assert found.exit_code != 0
    said = str(found.exception)
    assert "merge for fusechat_ta, fusechat_ties" in said
    assert "pip install 'crucible-bench[merge]'" in said
    assert not list((tmp_path / "store").glob("artifacts/*/*"))
    replaced(monkeypatch, **{"lm-eval": ("no-such-package",)})
    found = CliRunner().invoke(app, ["reproduce", "fusellm", *store])
    assert "lm-eval for lm_nano" in str(found.exception)


def test_extras_are_whole_or_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    replaced(monkeypatch, half=("pytest", "no-such-package"), whole=("pytest",))
    assert extras.missing(["half", "whole", "unheard-of", "half"]) == ["half"]
    assert extras.versions_of("half")["no-such-package"] is None
    doctor = CliRunner().invoke(app, ["doctor"]).output
    assert "no no-such-package  (pip install 'crucible-bench[half]')" in doctor


def test_the_catalogue_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    replaced(monkeypatch, merge=("no-such-package",))
    listed = CliRunner().invoke(app, ["methods"], env={"COLUMNS": "300"}).output
    assert "pip install 'crucible-bench[merge]'" in listed
