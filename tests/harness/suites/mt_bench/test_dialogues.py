"""Second turns, and groups of prompts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from harness.core.errors import BadData
from harness.engine.operations import Artifact, Row

Run = Callable[..., Artifact]
Make = Callable[[list[Row]], Artifact]


def prompt(id: str, *turns: str, **more: Any) -> Row:
    return {"id": id, "messages": [{"role": "user", "content": turns[0]}], **more} | (
        {"turns": list(turns)} if len(turns) > 1 else {}
    )


def test_the_second_turn_follows_the_systems_own_first_answer(
    run_operation: Run, rows_artifact: Make
) -> None:
    answered = prompt("p1", "Count.", "Once more.", category="math") | {
        "responses": ["1 2 3"],
        "finish": ["stop"],
        "system": "s",
        "rendered": "<user>Count.",
        "tokens_in": 3,
    }
    failed = prompt("p2", "Long.", "Longer.") | {"responses": [], "error": "too long"}
    first, second = run_operation(
        "follow_up", {}, responses=rows_artifact([answered, failed])
    ).rows()
    assert [m["content"] for m in first["messages"]] == ["Count.", "1 2 3", "Once more."]
    assert first["category"] == "math"
    assert not {"responses", "system", "rendered", "tokens_in"} & set(first)
    assert second["first_error"] == "too long"
    assert "error" not in second
    with pytest.raises(BadData, match="no second turn"):
        run_operation("follow_up", {}, responses=rows_artifact([prompt("p3", "One.")]))


def test_groups_of_categories_are_parted_and_joined_in_order(
    run_operation: Run, rows_artifact: Make
) -> None:
    categories = ["math", "stem", "odd", "math"]
    rows = [prompt(f"p{n}", "q", category=name) for n, name in enumerate(categories)]
    prompts = rows_artifact([*rows, prompt("p9", "q")])
    math = run_operation("select_prompts", {"categories": ["math"]}, prompts=prompts)
    rest = run_operation(
        "select_prompts", {"categories": ["math"], "exclude": True}, prompts=prompts
    )
    assert [row["id"] for row in math.rows()] == ["p0", "p3"]
    joined = run_operation("join_rows", {}, rows=(rest, math), order=prompts)
    assert joined.rows() == prompts.rows()
    with pytest.raises(BadData, match='"p0" is on one side only'):
        run_operation("join_rows", {}, rows=rest, order=prompts)
    with pytest.raises(BadData, match="two of the joined parts"):
        run_operation("join_rows", {}, rows=(math, math, rest), order=prompts)
