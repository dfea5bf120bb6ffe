"""Editor, pre-commit hooks and tox agree."""

from __future__ import annotations

import configparser
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def test_hooks_run_environments_of_tox() -> None:
    yaml = pytest.importorskip("yaml")
    tox = configparser.ConfigParser()
    tox.read(ROOT / "tox.ini")
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))
    hooks = [hook for repo in config["repos"] for hook in repo["hooks"]]
    assert {repo["repo"] for repo in config["repos"]} == {"local"}
    run = [hook["entry"].split(" -e ")[1] for hook in hooks]
    assert run == ["lint", "type"]
    for name in run:
        assert tox[f"testenv:{name}"]["commands"]


def test_types_are_checked_with_the_dependencies_whose_types_are_read() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    skipped = next(
        override["module"]
        for override in project["tool"]["mypy"]["overrides"]
        if override.get("follow_imports") == "skip"
    )
    named = {line.split(">")[0] for line in project["project"]["dependencies"]}
    read = {name for name in named if f"{name}.*" not in skipped}
    tox = configparser.ConfigParser()
    tox.read(ROOT / "tox.ini")
    assert set(tox["testenv:type"]["deps"].split("\n")) - {""} == read | {"mypy"}


def test_the_editor_breaks_lines_where_the_formatter_does() -> None:
    editor = configparser.ConfigParser()
    editor.read_string("[root]\n" + (ROOT / ".editorconfig").read_text("utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    assert editor["*.py"]["max_line_length"] == str(project["tool"]["ruff"]["line-length"])
