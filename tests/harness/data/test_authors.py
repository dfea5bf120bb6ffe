"""Importing authors from every source."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.core.errors import BadData, EnvironmentProblem, UserError
from harness.core.hashing import digest, file_digest
from harness.data import authors
from harness.data.authors import authors_identity, may_have_posts
from harness.data.traits import BIG_FIVE
from harness.engine.operations import Artifact
from harness.engine.plan import Plan

Run = Callable[..., Artifact]
ROWS = [{"id": f"e{n}", "text": f"text {n}", **{t.name: n % 2 for t in BIG_FIVE}} for n in (1, 2)]
LABELS = [{t.name: n % 2 for t in BIG_FIVE} for n in (1, 2)]


def written(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_authors_of_a_file(tmp_path: Path, run_operation: Run) -> None:
    ref = written(tmp_path / "a.jsonl", ROWS)
    planned = authors_identity(ref)
    assert planned == f"file@{file_digest(tmp_path / 'a.jsonl')}"
    params = {"ref": ref, "scheme": "big_five", "digest": planned}
    made = run_operation("import_authors", params)
    assert [row["labels"] for row in made.rows()] == LABELS
    assert (made.path / "summary.json").read_text() == '{"masked_posts": 0}\n'
    assert made.read_json("traits.json") == [trait.model_dump() for trait in BIG_FIVE]
    assert len(run_operation("import_authors", params | {"limit": 1}).rows()) == 1
    written(tmp_path / "a.jsonl", ROWS[:1])
    with pytest.raises(BadData, match=r"authors .*a\.jsonl changed since the plan was made"):
        run_operation("import_authors", params)


def test_nano_authors(run_operation: Run) -> None:
    rows = run_operation("import_authors", {"ref": "nano:posts", "scheme": "mbti"}).rows()
    assert authors_identity("nano:posts") == f"nano:posts@{digest(rows)}"
    with pytest.raises(UserError, match="not labelled by the scheme big_five"):
        run_operation("import_authors", {"ref": "nano:posts", "scheme": "big_five"})


def test_authors_of_the_hub(run_operation: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load(ref: str, split: str) -> list[dict[str, Any]]:
        asked.append((ref, split))
        return ROWS

    monkeypatch.setattr(authors, "load_dataset", load)
    for ref in ("org/name", "org/name:train"):
        assert authors_identity(ref) == f"hub:{ref}@main"
        made = run_operation("import_authors", {"ref": ref, "scheme": "big_five"})
        assert [row["id"] for row in made.rows()] == ["e1", "e2"]
    assert asked == [("org/name", "test"), ("org/name", "train")]


def test_a_data_set_of_the_hub_without_a_network(run_operation: Run) -> None:
    with pytest.raises(EnvironmentProblem, match=r"org/nothing \(train\) is not on this machine"):
        run_operation("import_authors", {"ref": "org/nothing:train", "scheme": "big_five"})


@pytest.mark.parametrize("ref", ["essays.csv", "data/essays.csv", "data/test.pkl"])
def test_a_reference_that_leads_nowhere(ref: str) -> None:
    with pytest.raises(UserError, match="expected nano:essays, nano:posts, official:essays_test"):
        authors_identity(ref)


def test_the_number_of_authors_is_known_beforehand() -> None:
    plan = Plan()
    for ref, limit, rows in (
        ("nano:essays", None, 160),
        ("nano:essays", 10, 10),
        ("official:kaggle_mbti_test", None, 200),
        ("official:kaggle_mbti_test", 500, 200),
        ("org/name", None, None),
        ("org/name", 5, 5),
    ):
        handle = plan.stage("import_authors", ref=ref, scheme="mbti", limit=limit)
        assert plan.estimates()[handle.id].rows == rows


@pytest.mark.parametrize(
    ("ref", "scheme", "posts"),
    [
        ("nano:posts", "mbti", True),
        ("nano:essays", "big_five", False),
        ("official:kaggle_mbti_test", "mbti", True),
        ("org/name", "big_five", False),
    ],
)
def test_whether_posts_can_be_reordered(ref: str, scheme: str, posts: bool) -> None:
    assert may_have_posts(authors.ImportAuthorsParams(ref=ref, scheme=scheme)) == posts
