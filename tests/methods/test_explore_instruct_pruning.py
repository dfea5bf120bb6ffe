"""Tasks dropped because of their names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from methods.explore_instruct.pruning import prune_tasks
from tests.golden_vectors import vectors


def test_golden_task_prune(golden: Callable[[str], Path]) -> None:
    data = vectors(golden("explore_instruct/task_prune.json"))
    decisions = prune_tasks(data["root"], data["level_order_names"], data["threshold"])
    assert len(decisions) == len(data["cases"])
    for decision, case in zip(decisions, data["cases"], strict=True):
        assert decision.max_rouge_l == case["max_rouge_l"]
        assert decision.kept is not case["pruned"]


def test_a_name_like_the_root_is_dropped() -> None:
    (decision,) = prune_tasks("Text editing", ["text EDITING!"])
    assert not decision.kept
    assert decision.most_similar == 0


def test_no_tasks() -> None:
    assert prune_tasks("Text editing", []) == []


def test_names_in_other_scripts_need_a_tokenizer() -> None:
    assert [each.kept for each in prune_tasks("根", ["总结", "总结"])] == [True, True]
    assert [each.kept for each in prune_tasks("根", ["总结", "总结"], tokenize=list)] == [
        True,
        False,
    ]
