"""Stages of explicit fusion against tables made by hand: every input and parameter of each."""

from __future__ import annotations

from typing import Any

import pytest

from harness.core.records import parse
from harness.distillation import explicit_fusion
from harness.distillation.explicit_fusion import ExplicitFusionRecipe, trained
from harness.engine.operations import Estimate
from tests.recorded_stages import RecordedStages

RECIPE: dict[str, Any] = {
    "method": "m", "systems": [], "suites": [], "seed": 5,
    "models": {
        "target": {"ref": "org/target"}, "teacher": {"ref": "org/more"},
        "sources": [{"ref": "org/a", "name": "one"}, {"ref": "org/b"}],
    },
    "data": {
        "documents": "org/texts", "split": "test", "field": "body", "form": "text",
        "expected_rows": 70, "max_tokens": 30, "long": "cut", "domains": ["d"], "exchanges": 2,
    },
    "teachers": {"k": 3, "token_ce": True, "bos": False, "shard_documents": 9},
    "mapping": {"alignment": "dtw", "vocabulary": "mined", "onehot_target": "none"},
    "train": {
        "learning_rate": 0.5, "seed": 1, "block_size": 8, "level": "token",
        "loss": {"fusion": "avg_ce", "lm_weight": 0.25},
    },
}  # fmt: skip


def recipe(**data: Any) -> ExplicitFusionRecipe:
    tables = {**RECIPE, "data": {**RECIPE["data"], **data}}
    return parse(ExplicitFusionRecipe, tables, "test")


READ = {"bos": False, "eos": True}
TEACHER = {
    **READ, "k": 3, "token_ce": True, "shard_documents": 9, "batch_tokens": 8192, "dtype": None
}  # fmt: skip
MAPPED = {
    **READ, "alignment": "dtw", "vocabulary": "mined", "onehot_target": "none",
    "duplicates": "sum", "ce_per": "target_token", "released": None,
}  # fmt: skip


def teacher_of(name: str) -> tuple[str, dict[str, Any]]:
    return "make_teacher", {"corpus": "<corpus>", "model": f"<model {name}>", **TEACHER}


def mapped_of(name: str) -> tuple[str, dict[str, Any]]:
    inputs = {
        "corpus": "<corpus>", "teacher": f"<teacher {name}>", "target": "<model target>",
        "source": f"<model {name}>",
    }  # fmt: skip
    return "map_teacher", {**inputs, **MAPPED}


def test_sources_teach_through_their_mapping_and_the_target_itself_first() -> None:
    asked, made = RecordedStages(), recipe()
    found = trained(made, asked, made.models.sources, temperature=2.0)
    label = "train avg_ce of 3 teachers"
    assert found == f"<{label}>"
    models = {name: asked.asked.pop(f"model {name}") for name in ("target", "one", "b", "more")}
    assert [given["ref"] for _, given in models.values()] == [
        "org/target", "org/a", "org/b", "org/more"
    ]  # fmt: skip
    operation, given = asked.asked.pop(label)
    loss = {**made.train.loss.model_dump(), "temperature": 2.0}
    assert (operation, given) == (
        "train_fusion",
        {
            **made.train.model_dump(), **READ, "loss": loss, "seed": 5, "corpus": "<corpus>",
            "model": "<model target>", "teachers": ("<teacher target>", "<map one>", "<map b>"),
        },
    )  # fmt: skip
    assert asked.asked == {
        "corpus": (
            "import_documents",
            {
                "models": ("<model target>", "<model one>", "<model b>", "<model more>"),
                "ref": "org/texts", "digest": "hub:org/texts@main", "hint": Estimate(rows=70),
                "split": "test", "field": "body", "form": "text", "limit": None, "max_tokens": 30,
                "long": "cut", "domains": ("d",), "exchanges": 2,
            },
        ),
        "teacher target": teacher_of("target"), "teacher one": teacher_of("one"),
        "teacher b": teacher_of("b"), "map one": mapped_of("one"), "map b": mapped_of("b"),
    }  # fmt: skip


def test_without_sources_the_target_learns_from_the_text_alone() -> None:
    asked, made = RecordedStages(), recipe()
    assert trained(made, asked, [], lm_weight=1.0) == "<train CLM>"
    given = asked.asked["train CLM"][1]
    assert "teachers" not in given
    assert given["loss"]["lm_weight"] == 1.0
    assert not [label for label in asked.asked if label.startswith(("teacher", "map"))]
    assert trained(made, asked, [], "mine") == "<mine>"


@pytest.mark.parametrize(("limit", "rows"), [(4, 4), (None, 70)])
def test_a_limit_of_documents_is_their_expected_number(limit: int | None, rows: int) -> None:
    asked = RecordedStages()
    explicit_fusion.corpus(recipe(limit=limit), asked)
    assert asked.asked["corpus"][1]["hint"] == Estimate(rows=rows)
    assert asked.asked["corpus"][1]["limit"] == limit
    tables = {**RECIPE, "models": {**RECIPE["models"], "teacher": None}}
    asked = RecordedStages()
    explicit_fusion.corpus(parse(ExplicitFusionRecipe, tables, "test"), asked)
    assert len(asked.asked["corpus"][1]["models"]) == 3
