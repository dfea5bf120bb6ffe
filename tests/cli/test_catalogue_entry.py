"""`crucible methods NAME` and `crucible suites NAME`: every entry can be shown in full."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from harness.cli.catalogue_entry import keys_of
from harness.cli.main import app
from harness.core.errors import UnknownName, UserError
from harness.engine import registry
from harness.engine.extras import missing
from harness.engine.recipe import load_recipe
from harness.reproduce import recipe_of


def show(*command: str) -> str:
    done = CliRunner().invoke(app, [*command])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.output


def test_a_method_shows_systems_claims_and_keys_of_every_profile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    said = show("methods", "wrpo")
    method, path = recipe_of("wrpo")
    for profile in ("nano", "nano-control", "small", "paper"):
        recipe = load_recipe(method.recipe, path, profile)
        assert f"profile {profile}" in said
        for system in recipe.systems:
            assert system.name in said
        for claim in recipe.claims:
            assert claim["id"] in said
    assert "arXiv 2412.03187" in said
    lines = {line.split()[0]: line for line in said.split("\n") if line.strip()}
    assert "nano" in lines["train.settings.beta"]
    assert "paper" in lines["train.settings.beta"]
    assert lines["seed"].split() == ["seed", "42"]


@pytest.mark.parametrize("name", [e.name for e in registry.entries("methods").values()])
def test_every_method_is_shown_or_says_why_not(name: str) -> None:
    if missing(registry.entry("methods", name).needs):
        pytest.skip("an extra of this method is not installed")
    hosted = registry.entry("methods", name).recipe
    if registry.load("methods", name).recipe_file is None and not hosted:
        with pytest.raises(UserError, match="no recipe file"):
            show("methods", name)
        return
    assert json.loads(show("methods", name, "--json"))["profiles"]


@pytest.mark.parametrize("name", [e.name for e in registry.entries("suites").values()])
def test_every_suite_is_shown(name: str) -> None:
    if missing(registry.entry("suites", name).needs):
        pytest.skip("an extra of this suite is not installed")
    found = json.loads(show("suites", name, "--json"))
    assert found["suite"] == name
    assert found["keys"]["default"]


def test_a_suite_shows_metrics_editions_and_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    said = show("suites", "alpaca_eval2")
    for told in (
        "lc_win_rate",
        "main",
        "decode.temperature",
        "official: openai:gpt-4-1106-preview",
    ):
        assert told in said


def test_lists_of_papers_are_shown_as_before_and_others_are_unknown() -> None:
    assert "AlpacaEval" in show("suites", "fusechat3")
    with pytest.raises(UnknownName, match='did you mean "alpaca_eval2"'):
        show("suites", "alpaca_eval")
    with pytest.raises(UnknownName, match='did you mean "wrpo"'):
        show("methods", "wrpoo")


@pytest.mark.parametrize("width", [40, 80, 200])
def test_any_width_holds_the_entry(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    for command in (("methods", "kca"), ("suites", "mt_bench")):
        assert max(map(len, show(*command).split("\n"))) <= width


def test_keys_that_agree_have_one_value() -> None:
    found = keys_of({"a": {"x": "1", "y": "2"}, "b": {"x": "1", "y": "3", "z": "4"}})
    assert found == [("x", "1"), ("y", "a: 2; b: 3"), ("z", "a: not set; b: 4")]
