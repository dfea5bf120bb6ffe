"""Packages that pip builds and installs: made by `new-method` and `new-suite`, and a broken one.

The commands are those of the guides, run in order in an empty folder.
"""

from __future__ import annotations

import json
import os
import re
import site
import subprocess
import venv
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parent.parent.parent
COMMANDS = {
    "pip": "-m pip",
    "pytest": "-m pytest -q -p no:cacheprovider",
    "crucible": '-c "from harness.cli import main; main()"',
}
Shell = Callable[..., subprocess.CompletedProcess[str]]

BROKEN = {
    "pyproject.toml": """\
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "crucible-broken"
version = "0.1.0"
[project.entry-points."crucible.methods"]
broken = "crucible_broken:METHOD"
wrpo = "crucible_broken:METHOD"
[project.entry-points."crucible.suites"]
my_suite = "crucible_broken:SUITE"
[tool.setuptools]
py-modules = ["crucible_broken"]
""",
    "crucible_broken.py": "raise RuntimeError('deliberately broken')\n",
}

BOARD = ".crucible/boards/my_method-nano+limit=16+suite=alpaca_eval2,my_suite"


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """Runs lines of shell in an empty folder, in an environment that sees this one's packages."""
    folder = tmp_path_factory.mktemp("user")
    environment = tmp_path_factory.mktemp("environment")
    builder = venv.EnvBuilder()
    builder.create(environment)
    context = builder.ensure_directories(environment)
    packages = next(environment.glob("lib/python3*/site-packages"))
    parents = [*site.getsitepackages(), str(ROOT)]
    lines = "".join(f"import site; site.addsitedir({parent!r})\n" for parent in parents)
    (packages / "parents.pth").write_text(lines)
    for name, arguments in COMMANDS.items():
        script = Path(context.bin_path) / name
        script.write_text(f'#!/bin/sh\nexec "{context.env_exe}" {arguments} "$@"\n')
        script.chmod(0o755)
    offline = dict.fromkeys(("PIP_NO_DEPS", "PIP_NO_INDEX", "HF_HUB_OFFLINE"), "1")
    settings = {
        "COLUMNS": "120",
        "OMP_NUM_THREADS": "1",
        "CRUCIBLE_HOME": str(folder / ".crucible"),
    }
    # pip reads a value of 0 as "no isolation": the build uses the setuptools that is here.
    settings |= {**offline, "PIP_NO_BUILD_ISOLATION": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    path = f"{context.bin_path}{os.pathsep}{os.environ['PATH']}"

    def run(line: str, code: int = 0, **more: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            ["sh", "-c", line],
            cwd=folder,
            env={**os.environ, **settings, "PATH": path, **more},
            capture_output=True,
            text=True,
            timeout=180,
        )
        assert done.returncode == code, f"{line}\n{done.stdout}\n{done.stderr}"
        return done

    run.folder = folder  # type: ignore[attr-defined]
    return run


def commands(page: str) -> list[str]:
    blocks = re.findall(r"^```sh\n(.*?)^```", (ROOT / "docs" / page).read_text(), re.M | re.S)
    return [line for block in blocks for line in block.splitlines() if line.strip()]


@pytest.fixture(scope="module")
def followed(shell: Shell) -> dict[str, str]:
    """What every command of the two guides printed."""
    lines = commands("plugins.md") + commands("write_a_suite.md")
    assert len(lines) >= 14
    return {line: shell(line).stdout for line in lines}


def test_the_guides_commands_do_what_they_say(followed: dict[str, str], shell: Shell) -> None:
    assert re.search(r"plugin crucible-my-method +\n *my_method", followed["crucible methods"])
    assert re.search(r"plugin crucible-my-suite +\n *my_suite", followed["crucible suites"])
    assert re.search(r"plugin my_method +crucible-my-method", followed["crucible doctor"])
    for package in ("crucible-my-method", "crucible-my-suite"):
        assert "2 passed" in followed[f"pytest {package}"]
    assert (shell.folder / "checkpoint" / "model.safetensors").is_file()  # type: ignore[attr-defined]


def test_both_land_on_one_board_beside_the_built_ins(
    followed: dict[str, str], shell: Shell
) -> None:
    board = shell.folder / BOARD  # type: ignore[attr-defined]
    cells = [json.loads(line) for line in (board / "cells.jsonl").read_text().splitlines()]
    assert {cell["system"] for cell in cells} == {"target", "sft", "dpo", "my_method"}
    assert {cell["suite"] for cell in cells} == {"alpaca_eval2", "my_suite"}
    own = [cell for cell in cells if cell["suite"] == "my_suite" and cell["primary"]]
    for cell in own:
        assert cell["scale"] == "nano"
        assert cell["n_expected"] == cell["n_scored"] == 16
        assert cell["interval"]["low"] <= cell["value"] <= cell["interval"]["high"]
        assert {"checkpoint", "generations", "samples", "cells"} <= set(cell["artifacts"])
    assert any(cell["value"] > 25 for cell in own)
    spec = json.loads((board / "spec.json").read_text())
    libraries = spec["provenance"]["libraries"]
    assert libraries == {"crucible-my-method": "0.1.0", "crucible-my-suite": "0.1.0"}
    assert [column["metric"] for column in spec["columns"]].count("complete") == 1


def test_a_broken_package_is_named_and_everything_else_works(
    followed: dict[str, str], shell: Shell
) -> None:
    folder = shell.folder / "broken"  # type: ignore[attr-defined]
    folder.mkdir()
    for name, text in BROKEN.items():
        (folder / name).write_text(text)
    shell("pip install ./broken")
    doctor = shell("crucible doctor").stdout
    assert "of crucible-broken cannot be loaded: RuntimeError: deliberately broken" in doctor
    assert 'the method "wrpo" of crucible-broken is inactive' in doctor
    assert re.search(r"plugin my_method +crucible-my-method", doctor)
    assert "deliberately broken" in shell("crucible reproduce broken", code=3).stderr
    clash = shell("crucible eval nano:target --suite my_suite", code=3).stderr
    assert "registered by crucible-broken and by crucible-my-suite" in clash
    choice = {"CRUCIBLE_OVERRIDE": "suites:my_suite=crucible-my-suite"}
    again = shell("crucible reproduce my_method --limit 16 --suite alpaca_eval2,my_suite", **choice)
    assert "0 stages executed" in again.stdout
    assert "override: suites:my_suite comes from crucible-my-suite" in again.stderr
    page = shell.folder / BOARD / "spec.json"  # type: ignore[attr-defined]
    command = json.loads(page.read_text())["provenance"]["command"]
    assert command.startswith("CRUCIBLE_OVERRIDE=suites:my_suite=crucible-my-suite crucible repro")
    wrong = {"CRUCIBLE_OVERRIDE": "suites:my_suite=crucible-my-method"}
    assert "does not provide it" in shell("crucible suites", code=2, **wrong).stderr
    assert "wrpo" in shell("crucible methods").stdout
