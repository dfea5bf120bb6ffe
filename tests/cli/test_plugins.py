"""`new-method`, `new-suite`, and what the catalogue, `doctor` and `reproduce` say of plugins."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.suites.conformance import check_suite
from harness.testing import check_method
from tests.cli.test_messages import crucible
from tests.plugin_sites import plugin


@pytest.mark.slow
def test_new_packages_pass_the_conformance_kit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind, name in (("method", "halfway"), ("suite", "tally_2")):
        done = crucible(f"new-{kind}", name, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        folder = tmp_path / f"crucible-{name.replace('_', '-')}"
        monkeypatch.syspath_prepend(str(folder))
        for path in folder.rglob("*.*"):
            if path.is_file():
                assert f"my_{kind}" not in path.read_text(), path
        again = crucible(f"new-{kind}", name, cwd=tmp_path)
        assert (again.returncode, "exists already" in again.stderr) == (2, True)
    from crucible_halfway.method import METHOD  # type: ignore[import-not-found]
    from crucible_tally_2.suite import SUITE  # type: ignore[import-not-found]

    check_method(METHOD)
    check_suite(SUITE)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["new-suite", "mt_bench"], 'a suite "mt_bench" exists already'),
        (["new-suite", "ends_"], "cannot name a suite"),
        (["new-method", "m" * 42], "cannot name a method"),
        (["new-method", "fine", "--out", "/proc/no/such"], "choose another folder"),
    ],
)
def test_a_name_or_folder_that_will_not_do(
    arguments: list[str], message: str, tmp_path: Path
) -> None:
    done = crucible(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert message in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Fifty sound plugins, a clash, a shadowed one, and one that exits on import."""
    site = tmp_path / "site"
    site.mkdir()
    for number in range(50):
        name = f"fleet_{number:02}"
        plugin(site, f"dist-{number}", {f"methods:{name}": "no_module:M"}, summary=f"[red]{name}")
    for name in ("left", "right"):
        plugin(site, f"dist-{name}", {"suites:same": f"dist_{name}:S"})
    plugin(site, "dist-shadow", {"methods:dpo": "dist_shadow:M"})
    plugin(site, "dist-exit", {"judges:exit": "dist_exit:J"}, "raise SystemExit('bye')")
    return site


@pytest.mark.slow
def test_catalogue_and_doctor_tell_what_every_plugin_is(site: Path, tmp_path: Path) -> None:
    env = {"PYTHONPATH": str(site), "COLUMNS": "200"}
    listed = crucible("methods", cwd=tmp_path, **env)
    assert listed.returncode == 0, listed.stderr
    assert sum(f"[red]fleet_{n:02}" in listed.stdout for n in range(50)) == 50
    assert "CRUCIBLE_OVERRIDE=methods:dpo=dist-shadow selects the plugin" in listed.stdout
    suites = crucible("suites", cwd=tmp_path, **env).stdout
    assert "registered by dist-left and by dist-right" in suites
    doctor = crucible("doctor", cwd=tmp_path, **env)
    assert doctor.returncode == 0, doctor.stderr
    for said in (
        "SystemExit: bye",
        "by dist-left and by dist-right",
        "dist-shadow is inactive",
    ):
        assert said in doctor.stdout
    assert doctor.stdout.count("No module named 'no_module'") == 50


@pytest.mark.slow
def test_a_clash_and_a_broken_plugin_fail_only_those_who_use_them(
    site: Path, tmp_path: Path
) -> None:
    def fails(*arguments: str, code: int, **env: str) -> str:
        done = crucible(*arguments, cwd=tmp_path, PYTHONPATH=str(site), **env)
        assert (done.returncode, done.stderr.count("\n")) == (code, 1), done.stderr
        return done.stderr

    clash = fails("eval", "nano:target", "--suite", "same", code=3)
    assert "registered by dist-left and by dist-right; uninstall one of them" in clash
    override = {"CRUCIBLE_OVERRIDE": "suites:same=dist-right"}
    assert 'the suite "same" of dist-right' in fails(
        "eval", "nano:target", "--suite", "same", code=3, **override
    )
    assert "no_module" in fails("reproduce", "fleet_07", code=3)
    wrong = {"CRUCIBLE_OVERRIDE": "methods:dpo=dist-left"}
    assert "dist-shadow does" in fails("methods", code=2, **wrong)
    sound = crucible("plan", "dpo", "--limit", "4", cwd=tmp_path, PYTHONPATH=str(site))
    assert sound.returncode == 0, sound.stderr


PLANS = """
from harness.engine.recipe import Method, Recipe
from harness.suites.base import Program
RECIPE = __import__("pathlib").Path(__file__).with_name("programs.toml")
def none(recipe, stage): return None
def echo(recipe, stage):
    def answer(rows, stage, *, decode, seed):
        return stage("import_answers", prompts=rows, source="nano:plain")
    return Program("respond", answer, fingerprint="echo")
ECHO = Method("echo", Recipe, echo, RECIPE)
NONE = Method("none", Recipe, none)
"""
RECIPE = """
method = "echo"
systems = [{ name = "echo", method = "echo" }, { name = "again", method = "echo" }]
suites = [{ name = "alpaca_eval2" }]
[[claims]]
id = "c"
better = "echo"
worse = "again"
suite = "alpaca_eval2"
metric = "win_rate"
paper_gain = 4.23
[profile.nano]
"""


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A method that trains nothing and has no model, and one whose plan returns nothing."""
    site = tmp_path / "site"
    site.mkdir()
    points = {"methods:echo": "programs:ECHO", "methods:none": "programs:NONE"}
    plugin(site, "programs", points, PLANS)
    (site / "programs.toml").write_text(RECIPE)
    return site


def test_a_program_without_model_lands_on_a_board(programs: Path, tmp_path: Path) -> None:
    import json

    def run(*arguments: str) -> tuple[int, str]:
        done = crucible(*arguments, cwd=tmp_path, PYTHONPATH=str(programs))
        return done.returncode, done.stdout + done.stderr

    assert run("plan", "echo", "--limit", "4")[0] == 0
    code, printed = run("reproduce", "echo", "--limit", "4")
    assert code == 0, printed
    assert "+4.2" in printed  # the paper's difference
    lines = (tmp_path / "home/boards/echo-nano+limit=4/cells.jsonl").read_text().splitlines()
    links = [json.loads(line)["artifacts"] for line in lines]
    assert len(links) == 4  # two systems, two metrics
    assert all("checkpoint" not in link and "cells" in link for link in links)
    code, printed = run("train", "echo", "--out", "x")
    assert (code, "trains no model" in printed) == (2, True)
    code, printed = run("plan", "echo", "--set", "systems.0.method=none")
    assert (code, 'the plan of method "none" returned NoneType' in printed) == (2, True)


def test_the_conformance_kit_plans_what_a_program_answers(
    programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(programs))
    import programs as module  # type: ignore[import-not-found]

    check_method(module.ECHO)
    with pytest.raises(AssertionError, match="plan returned NoneType"):
        check_method(module.NONE, module.Recipe(method="none", systems=(), suites=()))
