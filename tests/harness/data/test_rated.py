"""Rated answers of all shapes, and everything that is refused."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from harness.core.errors import BadData, UserError
from harness.data.rated import rated_identity, rated_row
from tests.operation_runs import rows_artifact, run_operation

__all__ = ["rows_artifact", "run_operation"]

NECTAR = {
    "prompt": "\n\nHuman: Hi\n\nAssistant: Hello!\n\nHuman: Bye?\n\nAssistant: ",
    "answers": [
        {"answer": "Bye.", "model": "one", "rank": 1.0},
        {"answer": "No.", "model": "two", "rank": 2.0},
    ],
}
ULTRA = {
    "instruction": "Say a.",
    "completions": [
        {"response": "a", "model": "one", "overall_score": 7.5},
        {"response": "b", "model": "two", "overall_score": 3},
    ],
}
PAIR = {
    "prompt_id": "p1",
    "prompt": "Say a.",
    "chosen": [{"role": "user", "content": "Say a."}, {"role": "assistant", "content": "a"}],
    "rejected": [{"role": "user", "content": "Say a."}, {"role": "assistant", "content": "b"}],
    "score_chosen": 8.0,
    "score_rejected": 2.0,
}
SAID = [{"role": "user", "content": "Say a."}]


def test_every_shape_becomes_the_same_form() -> None:
    nectar = rated_row(NECTAR, "row 1")
    assert nectar["messages"][0] == {"role": "user", "content": "Hi"}
    assert nectar["messages"][-1] == {"role": "user", "content": "Bye?"}
    assert (nectar["responses"], nectar["ranks"]) == (["Bye.", "No."], [1, 2])
    ultra = rated_row(ULTRA, "row 1")
    assert (ultra["messages"], ultra["scores"]) == (SAID, [7.5, 3.0])
    pair = rated_row(PAIR, "row 1")
    assert pair == {
        "id": "p1", "messages": SAID, "responses": ["a", "b"], "systems": ["", ""],
        "scores": [8.0, 2.0],
    }  # fmt: skip
    unscored = {key: value for key, value in PAIR.items() if not key.startswith("score")}
    assert rated_row(unscored, "row 1")["ranks"] == [1, 2]
    no_prompt = {key: value for key, value in unscored.items() if key != "prompt"}
    assert rated_row(no_prompt, "row 1")["messages"] == SAID
    own = {"messages": SAID, "responses": ["a", "b"], "rewards": [1, 0]}
    assert rated_row(own, "row 1")["scores"] == [1.0, 0.0]


def changed(item: dict[str, Any], **fields: Any) -> dict[str, Any]:
    copied: dict[str, Any] = json.loads(json.dumps(item))
    for key, value in fields.items():
        for number, each in enumerate(copied["answers"]):
            each[key] = value[number]
    return copied


@pytest.mark.parametrize(
    "ranks",
    [[1, 3], [2, 3], [0, 1], [1, None], [1, "2"], [1.5, 2], [True, 2], [math.nan, 1]],
)
def test_ranks_with_gaps_are_refused(ranks: list[Any]) -> None:
    with pytest.raises(BadData, match=r"row 7: ranks .*expected 1 for the best and no gaps"):
        rated_row(changed(NECTAR, rank=ranks), "row 7")


def test_ties_may_repeat_or_skip_ranks() -> None:
    answers = [{"answer": str(n), "rank": rank} for n, rank in enumerate([1, 1, 2])]
    assert rated_row({"prompt": "x", "answers": answers}, "")["ranks"] == [1, 1, 2]
    answers[2]["rank"] = 3
    assert rated_row({"prompt": "x", "answers": answers}, "")["ranks"] == [1, 1, 3]


@pytest.mark.parametrize("score", [math.nan, math.inf, None, "7", True])
def test_scores_that_are_no_finite_numbers_are_refused(score: Any) -> None:
    with pytest.raises(BadData, match=r"row 2: a score is .*expected a finite number"):
        rated_row({"messages": SAID, "responses": ["a", "b"], "scores": [1.0, score]}, "row 2")


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ({"text": "x"}, "expected answers"),
        ({"prompt": "x", "answers": "y"}, "expected a list of objects"),
        ({"prompt": "x", "answers": [{"answer": "y", "rank": 1}]}, "at least two answers"),
        ({"messages": SAID, "responses": ["a", None], "scores": [1, 2]}, "an answer is no text"),
        ({"messages": SAID, "responses": ["a", "b"]}, "expected scores or ranks"),
        ({"messages": SAID, "responses": ["a", "b"], "scores": [1]}, "expected one per answer"),
        ({"responses": ["a", "b"], "scores": [1, 2]}, "the prompt is"),
        ({"prompt": " ", "chosen": "a", "rejected": "b"}, "the prompt is"),
        ({**PAIR, "chosen": [{"role": "user", "content": "?"}]}, "not the assistant's"),
    ],
)
def test_what_is_not_a_prompt_with_rated_answers_is_refused(
    item: dict[str, Any], message: str
) -> None:
    with pytest.raises(BadData, match=message):
        rated_row(item, "row 1")


def test_a_file_is_imported_with_unique_ids(tmp_path: Path, run_operation: Any) -> None:
    path = tmp_path / "pairs.jsonl"
    lines = [PAIR, PAIR, ULTRA, NECTAR]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    digest = rated_identity(str(path))
    rows = run_operation("import_rated", {"ref": str(path), "digest": digest}).rows()
    assert len(rows) == 3, "a repeated row counts once"
    with pytest.raises(UserError, match="from offset 9"):
        run_operation("import_rated", {"ref": str(path), "offset": 9})
    path.write_text("".join(json.dumps(line) + "\n" for line in [PAIR, {**PAIR, "chosen": "c"}]))
    with pytest.raises(BadData, match="row 2: another row has the id"):
        run_operation("import_rated", {"ref": str(path)})
    with pytest.raises(BadData, match="changed"):
        run_operation("import_rated", {"ref": str(path), "digest": digest})


def test_the_nano_pairs_are_rated_answers(run_operation: Any) -> None:
    rows = run_operation("import_rated", {"ref": "nano:symbols/costly", "limit": 50}).rows()
    assert len(rows) == 50
    assert all(row["scores"][0] >= row["scores"][1] for row in rows)
    with pytest.raises(UserError, match="symbols"):
        run_operation("import_rated", {"ref": "nano:symbols/cheap"})
