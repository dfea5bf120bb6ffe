"""Marks of limited runs and of other judges than the published ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.core.records import Cell
from harness.engine.store import Store
from harness.evaluate import evaluate
from harness.reproduce import reproduce
from harness.suites.marks import (
    limit_of,
    marked,
    nodes_of_plan,
    nodes_of_store,
    published_judges,
    scale_shown,
)

OFFICIAL = "openai:gpt-4-1106-preview"


def cell(judge: str | None, scale: str = "paper", suite: str = "alpaca_eval2") -> Cell:
    return Cell(
        system="a",
        suite=suite,
        metric="win_rate",
        value=50.0,
        n_expected=4,
        n_scored=4,
        n_failed=0,
        scale=scale,
        judge=judge,
        judge_fingerprint="f",
        decode_fingerprint=None,
        prompt_set="p",
    )


@pytest.mark.parametrize(
    ("judge", "scale"),
    [
        (OFFICIAL, "paper"),
        (f"{OFFICIAL}?key=MY_KEY", "paper"),
        (f"{OFFICIAL}@http://127.0.0.1:9/v1", "own"),
        (f"{OFFICIAL}?temperature=false", "own"),
        ("openai:fake", "own"),
        (None, "paper"),
    ],
)
def test_only_a_published_judge_is_of_the_paper(judge: str | None, scale: str) -> None:
    assert scale_shown(cell(judge)) == scale
    assert marked(cell(judge), "").scale == scale
    assert scale_shown(cell(judge, "nano")) == "nano"
    assert scale_shown(cell(judge, suite="of a plugin that is gone")) in ("own", "paper")


def test_judges_of_a_suite_and_of_a_recipe() -> None:
    assert published_judges("alpaca_eval2") == {OFFICIAL}
    assert published_judges("perplexity") == set()
    assert scale_shown(cell("openai:mine"), ["openai:mine"]) == "paper"


def test_a_limit_is_told_from_the_whole_set() -> None:
    made = evaluate("nano:target", ["alpaca_eval2", "arena_hard", "mt_bench"], limit=7)
    assert all(mark.startswith("first 7 of ") for mark in made.limits.values())
    assert list(made.limits) == ["alpaca_eval2", "arena_hard", "mt_bench"]
    assert evaluate("nano:target", "alpaca_eval2", limit=10**6).limits == {}
    assert evaluate("nano:target", "alpaca_eval2").limits == {}


def test_training_data_are_no_questions() -> None:
    made = reproduce("dpo", suites=["alpaca_eval2"])  # trains on the first prompts of its data
    graph = nodes_of_plan(made.plan)
    assert {limit_of(graph, run.cells.id) for run in made.runs} == {""}


def test_a_store_that_lacks_the_stages_says_nothing(tmp_path: Path) -> None:
    assert limit_of(nodes_of_store(Store(tmp_path)), "gone") == ""
