"""Preference pairs: shapes of rows, what is refused, and the nano world's pairs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.core.errors import BadData, UserError
from harness.data.pairs import ImportPairsParams, import_pairs, pair_row, pairs_identity
from harness.nano import world
from tests.tiny_models import FakeContext

ASKED = [{"role": "user", "content": "Two and two?"}]


def said(text: str) -> list[dict[str, str]]:
    return [*ASKED, {"role": "assistant", "content": text}]


@pytest.mark.parametrize(
    "item",
    [
        {"prompt": "Two and two?", "chosen": "4", "rejected": "5"},
        {"instruction": "Two and two?", "chosen": "4", "rejected": "5"},
        {"messages": ASKED, "chosen": "4", "rejected": "5"},
        {"chosen": said("4"), "rejected": said("5")},
        {"messages": ASKED, "responses": {"chosen": "4", "rejected": "5"}},
    ],
)
def test_shapes_of_pairs(item: dict[str, Any]) -> None:
    row = pair_row(item, "row 1")
    assert row["messages"] == ASKED
    assert row["responses"] == {"chosen": "4", "rejected": "5"}
    assert row["id"]


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ({"prompt": "p", "chosen": "4"}, "rejected"),
        ({"prompt": "", "responses": {"chosen": "4", "rejected": 5}}, 'no answer "rejected"'),
        ({"prompt": "p", "responses": {"chosen": "4"}}, 'no answer "rejected"'),
    ],
)
def test_rows_that_are_no_pairs_are_refused(item: dict[str, Any], message: str) -> None:
    with pytest.raises(BadData, match=message):
        pair_row(item, "row 1")


def imported(tmp_path: Path, ref: str, **more: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    context = FakeContext(tmp_path / "out", tmp_path / "scratch")
    context.directory.mkdir(exist_ok=True)
    import_pairs(context, ImportPairsParams(ref=ref, digest=pairs_identity(ref), **more))
    lines = (context.directory / "rows.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines], json.loads(
        (context.directory / "summary.json").read_text()
    )


def test_equal_answers_are_dropped_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    items = [{"prompt": "p", "chosen": c, "rejected": "5"} for c in ("4", "5", "6")]
    path.write_text("".join(json.dumps(item) + "\n" for item in items))
    rows, summary = imported(tmp_path, str(path))
    assert [row["responses"]["chosen"] for row in rows] == ["4", "6"]
    assert summary == {"rows": 2, "equal_answers": 1}
    assert len(imported(tmp_path, str(path), offset=2)[0]) == 1
    with pytest.raises(UserError, match="no pairs from offset 9"):
        imported(tmp_path, str(path), offset=9)
    path.write_text((json.dumps({"id": "a", **items[0]}) + "\n") * 2)
    with pytest.raises(BadData, match='the id "a" occurs twice'):
        imported(tmp_path, str(path))


def test_nano_pairs_prefer_the_better_answer(tmp_path: Path) -> None:
    rows, _ = imported(tmp_path, "nano:train", limit=40)
    assert len(rows) == 40
    items = {item.id: item for item in world.items("train", 40)}
    for row in rows:
        grades = {
            name: world.grade(items[row["id"]], text).total
            for name, text in row["responses"].items()
        }
        assert grades["chosen"] > grades["rejected"]
        assert row["response"] == row["responses"]["neutral"]
    coin, _ = imported(tmp_path, "nano:train/unordered", limit=40)
    sides = [row["responses"] for row in coin]
    assert [{*side.values()} for side in sides] == [{*row["responses"].values()} for row in rows]
    same = sum(side == row["responses"] for side, row in zip(sides, rows))
    assert 10 < same < 30, "a coin decides which answer is chosen"
    with pytest.raises(UserError, match='no pairs "nowhere"'):
        pairs_identity("nowhere")
