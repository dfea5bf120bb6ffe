"""Extras are those of the installed metadata; a missing one is noticed before the first stage."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from harness.cli.main import app
from harness.core.errors import EnvironmentProblem
from harness.core.records import parse
from harness.engine import extras, registry
from harness.engine.recipe import Recipe

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


REQUIRES = [
    "numpy>=2", 'torch<2.14,>=2.11; extra == "train"', "peft ; extra == 'train'",
    'a.b-c_d>1;extra=="merge"', 'pytest; extra == "dev"', 'mkdocs; extra == "docs"',
]  # fmt: skip


@pytest.fixture
def requires(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str] | None]:
    """What the metadata of the distribution requires."""
    listed: list[str] | None = list(REQUIRES)
    monkeypatch.setattr(extras.metadata, "requires", lambda name: listed)
    extras.packages.cache_clear()
    yield listed
    extras.packages.cache_clear()


def test_an_extra_has_the_packages_of_its_markers(requires: list[str]) -> None:
    assert extras.packages() == {"train": ("torch", "peft"), "merge": ("a.b-c_d",)}
    assert extras.versions_of("none") == {}
    assert set(extras.versions_of("train")) == {"torch", "peft"}
    assert extras.missing(["merge", "none", "merge"]) == ["merge"]


def test_without_metadata_there_is_no_extra_and_without_a_distribution_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def absent(name: str) -> list[str]:
        raise metadata.PackageNotFoundError(name)

    extras.packages.cache_clear()
    monkeypatch.setattr(extras.metadata, "requires", lambda name: None)
    assert extras.packages() == {}
    extras.packages.cache_clear()
    monkeypatch.setattr(extras.metadata, "requires", absent)
    with pytest.raises(EnvironmentProblem, match="crucible-bench is not installed; install it"):
        extras.packages()
    extras.packages.cache_clear()


def test_every_user_of_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    needs = {"m": ("merge", "train"), "n": ("merge",), "s": ("lm-eval",), "t": ()}
    found = {name: SimpleNamespace(needs=own) for name, own in needs.items()}
    monkeypatch.setattr(registry, "entries", lambda group: found)
    monkeypatch.setattr(extras, "missing", lambda names: [n for n in names if n != "train"])
    systems = [
        {"name": "a", "method": "m"},
        {"name": "b", "method": "n"},
        {"name": "c", "method": "t"},
    ]
    recipe = parse(Recipe, {"method": "x", "systems": systems, "suites": [{"name": "s"}]}, "test")
    with pytest.raises(EnvironmentProblem) as caught:
        extras.check_extras(recipe)
    assert "not installed: merge for a, b; lm-eval for s. Nothing was run: " in str(caught.value)
    assert "pip install 'crucible-bench[merge,lm-eval]'" in str(caught.value)
    monkeypatch.setattr(extras, "missing", lambda names: [])
    extras.check_extras(recipe)
