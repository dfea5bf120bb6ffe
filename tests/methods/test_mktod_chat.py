"""Retrievers and the chat model as systems: plans, prompts, and the paper's figures."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from harness.backends.prompting import function
from harness.core.errors import BadRecord
from harness.engine.plan import Plan
from harness.engine.recipe import load_recipe
from harness.engine.registry import table
from harness.reproduce import reproduce
from harness.suites.base import Program
from methods.mktod.method import MKTOD_CHAT, RECIPE, RECORDS_CHAT, SLOT_HYBRID, DialogueRecipe
from methods.mktod.prompting import mktod_reply, mktod_reply_prefix

ROW: dict[str, Any] = {
    "records": [{"name": "curry_garden", "food": "indian"}, {"name": "efes", "food": "turkish"}],
    "scores": [3.0, 1.0],
    "facts": {},
    "context": ["is efes open ?"],
}


def recipe(profile: str = "nano", *changes: str) -> DialogueRecipe:
    return load_recipe(DialogueRecipe, RECIPE, profile, changes)


def asked(method: Any, given: DialogueRecipe) -> dict[str, Any]:
    """Parameters of the stage that asks the chat model."""
    plan = Plan()
    made = method.plan(given, plan.stage)
    assert isinstance(made, Program)
    from harness.suites.base import Decode

    dialogues = plan.stage("import_dialogues", ref="nano:dialogues")
    how = {"knowledge": "shared", "keep": 3, "decode": Decode(), "seed": 1, "batch_size": 4}
    handle = made.answer(dialogues, plan.stage, train=None, **how)
    return plan.stages[handle.id].params.model_dump()


def test_sentences_tell_rank_confidence_and_mention() -> None:
    (message,) = mktod_reply(ROW, k=2)
    text = message["content"]
    assert "food: indian, retrieval: match number 1, high confidence, not mentioned yet" in text
    assert "retrieval: match number 2, middle confidence, mentioned in the dialogue" in text
    assert text.index("is followed by") < text.index("Records:") < text.index("user: is efes")


def test_tags_stand_before_their_record() -> None:
    text = mktod_reply_prefix(ROW, k=1)[0]["content"]
    assert "1. tags: <new-entity> <high-confidence> <1th-entity>, name: curry garden" in text
    assert "efes, food" not in text


@pytest.mark.parametrize("name", ["mktod_reply", "mktod_reply_prefix"])
def test_prompts_are_registered(name: str) -> None:
    assert name in table("PROMPTS")
    assert function("PROMPTS", name, 1, {"k": 1})({**ROW, "records": [], "scores": []})


def test_the_chat_model_is_told_what_the_recipe_says() -> None:
    assert asked(RECORDS_CHAT, recipe())["prompt"] == "dialogue_reply"
    told = asked(MKTOD_CHAT, recipe())
    assert (told["prompt"], told["prompt_settings"], told["into"]) == (
        "mktod_reply", {"k": 7}, "reply",
    )  # fmt: skip
    tagged = asked(MKTOD_CHAT, recipe("nano", "retrieval.meta=prefix", "retrieval.k=2"))
    assert (tagged["prompt"], tagged["prompt_settings"]) == ("mktod_reply_prefix", {"k": 2})


def test_a_dense_retriever_without_an_encoder_is_refused() -> None:
    given = recipe()
    lacking = given.model_copy(update={"models": given.models.model_copy(update={"encoder": None})})
    with pytest.raises(BadRecord, match=r"needs models\.encoder"):
        SLOT_HYBRID.plan(lacking, Plan().stage)


def test_claims_quote_the_table_of_expected_figures() -> None:
    with RECIPE.with_name("expected.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    figures = {(r["row"], r["suite"], r["metric"]): float(r["value"]) for r in rows}
    names = {
        "value_frequency": "Frequency",
        "bm25": "BM25",
        "mktod_prompt": "MK-TOD prompt (ChatGPT)",
        "records_chat": "ChatGPT (gpt-3.5-turbo)",
    }
    claims = reproduce("mktod_chat", "paper").recipe.claims
    assert len(claims) == 3
    for claim in claims:
        metric = claim["metric"].replace("recall_turn:", "recall@")
        for side in ("better", "worse"):
            key = (names[claim[side]], claim["suite"], metric)
            assert claim[f"paper_{side}"] == figures[key], claim["id"]


def test_the_recipe_is_beside_its_readme() -> None:
    text = (Path(RECIPE).parent / "README.md").read_text(encoding="utf-8")
    for path in Path(RECIPE).parent.glob("*.py"):
        assert path.name == "__init__.py" or f"`{path.name}`" in text
