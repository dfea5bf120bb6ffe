"""Editor, pre-commit hooks and tox agree."""

from __future__ import annotations

import configparser
import importlib.util
import json
import re
import tomllib
from pathlib import Path
from types import ModuleType

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


def quickstart() -> ModuleType:
    spec = importlib.util.spec_from_file_location("quickstart", ROOT / ".ci/quickstart.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("gpu", "system", "torch", "first"),
    [
        (False, "Linux", False, "cpu"),
        (True, "Linux", False, "usual"),
        (False, "Darwin", False, "usual"),
        (False, "Linux", True, "usual"),
    ],
)
def test_quickstart_takes_the_cpu_build_where_there_is_no_gpu(
    gpu: bool,
    system: str,
    torch: bool,
    first: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    script = quickstart()
    ran: list[list[str]] = []
    monkeypatch.setattr(script.subprocess, "call", lambda words: ran.append(words) or 0)
    monkeypatch.setattr(script.platform, "system", lambda: system)
    monkeypatch.setattr(script, "has_gpu", lambda: gpu)
    monkeypatch.setattr(script, "find_spec", lambda name: object() if torch else None)
    assert script.main(["--seeds", "2"]) == 0
    installs = [words[4:] for words in ran if words[1:4] == ["-m", "pip", "install"]]
    assert installs[-1] == ["-e", f"{ROOT}[train]"]
    if first == "cpu":
        assert installs[0] == [script.torch_version(), "--index-url", script.CPU_BUILDS]
        assert installs[0][0].startswith("torch==")
    assert len(installs) == 1 + (first == "cpu")
    assert ran[-1][-4:] == ["reproduce", "wrpo", "--seeds", "2"]
    said = capsys.readouterr().out
    assert ("no GPU found" in said) == (first == "cpu")
    assert said.index("1/3") < said.index("2/3") < said.index("3/3")


def test_quickstart_stops_where_the_installation_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    script = quickstart()
    monkeypatch.setattr(script.subprocess, "call", lambda words: 1)
    assert script.main([]) == 1


def test_the_containers_name_files_that_exist() -> None:
    text = (ROOT / "Dockerfile").read_text("utf-8")
    copied = [name for line in re.findall(r"^COPY (.*)$", text, re.M) for name in line.split()[:-1]]
    assert "harness" in copied
    assert all((ROOT / name).exists() for name in copied)
    config = json.loads((ROOT / ".devcontainer/devcontainer.json").read_text("utf-8"))
    assert "constraints.txt" in config["postCreateCommand"]
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    for names in re.findall(r"\.\[([\w,]+)\]", text + config["postCreateCommand"]):
        assert set(names.split(",")) <= set(extras["optional-dependencies"])


def test_every_python_of_the_classifiers_has_an_environment() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    versions = re.findall(r"Python :: 3\.(\d+)", "\n".join(project["classifiers"]))
    tox = configparser.ConfigParser()
    tox.read(ROOT / "tox.ini")
    assert versions == ["11", "12", "13"]
    assert all(f"testenv:py3{number}" in tox for number in versions if number != "11")
