"""Published MT-Bench judgments as verdicts: ratings, and pairs in either listing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.core.errors import BadData
from harness.judging.verdict_sets import read_verdicts


def write(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_ratings_and_their_repetitions(tmp_path: Path) -> None:
    def row(question: int, turn: int, score: float) -> dict[str, object]:
        judge = ["gpt-4", "single-v1"]
        return {
            "question_id": question,
            "model": "m",
            "judge": judge,
            "score": score,
            "turn": turn,
        }

    rows = [row(81, 1, 7), row(81, 2, -1), row(82, 1, -1), row(82, 1, 4)]
    found = read_verdicts(write(tmp_path / "gpt-4_single.jsonl", rows))
    assert (found.judge, found.kind, found.repeated) == ("gpt-4", "rating", 1)
    assert [(item.prompt, item.turn, item.value) for item in found.items] == [
        ("81", 1, 7.0),
        ("81", 2, None),
        ("82", 1, 4.0),
    ]
    contradicting = write(tmp_path / "two_runs.jsonl", [*rows, row(82, 1, 3)])
    with pytest.raises(BadData, match='rows 3 and 5 have different verdicts on m, prompt "82"'):
        read_verdicts(contradicting)


def test_pairs_mean_the_same_in_either_order(tmp_path: Path) -> None:
    def row(one: str, two: str, first: str, second: str) -> dict[str, object]:
        return {
            "question_id": 81,
            "model_1": one,
            "model_2": two,
            "g1_winner": first,
            "g2_winner": second,
            "judge": ["gpt-4", "pair-v2"],
            "turn": 1,
        }

    read = [
        read_verdicts(write(tmp_path / "pair.jsonl", [row(*said)])).items[0]
        for said in (
            ("alpha", "beta", "model_1", "model_1"),
            ("beta", "alpha", "model_2", "model_2"),
            ("alpha", "beta", "model_1", "tie"),
            ("alpha", "beta", "error", "tie"),
        )
    ]
    assert [item.value for item in read] == [1.0, 1.0, 0.5, None]
    assert {item.system for item in read} == {"alpha against beta"}
    # alpha ("model") was shown first in game 1 of the first row, beta in that of the second.
    assert read[0].shares == [("model", 1.0), ("baseline", 1.0)]
    assert read[1].shares == [("baseline", 1.0), ("model", 1.0)]
    assert read[3].shares == [("baseline", 0.5)]
