"""Stages of implicit fusion against tables made by hand: every input and parameter of each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.core.errors import BadData, BadRecord
from harness.core.records import parse
from harness.engine.operations import Estimate
from harness.training import from_responses
from harness.training.from_responses import FusionRecipe
from harness.training.given_preferences import Preferences, check_responses
from tests.recorded_stages import RecordedStages

RECIPE: dict[str, Any] = {
    "method": "m", "systems": [], "suites": [], "seed": 7,
    "models": {
        "target": {"ref": "org/target", "dtype": "bfloat16", "parameters_b": 8.0},
        "sources": [{"ref": "org/a", "revision": "r1"}, {"ref": "org/b", "name": "bee"}],
        "reward": {"ref": "org/reward", "trust_remote_code": True},
    },
    "data": {
        "prompts": "org/prompts", "field": "text", "revision": "r2", "turn": "first",
        "expected_rows": 900, "sft_fraction": 0.25, "ties": "keep",
    },
    "sampling": {"temperature": 0.5, "top_p": 0.8, "max_tokens": 70, "n": 4, "batch_size": 3},
    "target_sampling": {"temperature": 0.6, "n": 2, "repetition_penalty": 1.1},
    "rewards": {"batch_size": 6},
    "sft": {"learning_rate": 1e-3, "seed": 1, "epochs": 3, "field": "response"},
    "train": {
        "loss": "dpo", "learning_rate": 1e-4, "seed": 2, "max_length": 99,
        "max_prompt_length": 44, "released": True, "settings": {"beta": 0.3, "tau": 0.2},
    },
}  # fmt: skip


def recipe(**changes: Any) -> FusionRecipe:
    """The recipe with some tables changed: `data={...}` adds to its table."""
    tables = {name: {**RECIPE[name], **more} for name, more in changes.items()}
    return parse(FusionRecipe, {**RECIPE, **tables}, "test")


def model(name: str, revision: str | None = None, **changes: Any) -> tuple[str, dict[str, Any]]:
    size = changes.pop("size", None)
    plain = {"dtype": None, "trust_remote_code": False, "hint": Estimate(parameters_b=size)}
    digest = f"hub:org/{name}@{revision or 'main'}"
    given = {"ref": f"org/{name}", "revision": revision, "digest": digest}
    return "import_model", {**given, **plain, **changes}


def sampled(of: str, on: str, system: str, **how: Any) -> tuple[str, dict[str, Any]]:
    given = {"prompts": on, "model": of, "system": system, "seed": 7, "keep_ids": False}
    return "sample", {**given, **how}


def rewards(of: str) -> tuple[str, dict[str, Any]]:
    return "score_rewards", {"responses": of, "model": "<model reward>", "batch_size": 6}


def part(name: str, of: str = "<prompts>", key: str = "prompts") -> tuple[str, dict[str, Any]]:
    return "split_prompts", {key: of, "part": name, "fraction": 0.25, "seed": 7}


SOURCES = {"temperature": 0.5, "top_p": 0.8, "max_tokens": 70, "n": 4, "batch_size": 3}
OWN = {
    "temperature": 0.6, "top_p": 0.95, "repetition_penalty": 1.1, "max_tokens": 4096, "n": 2,
    "batch_size": 64, "keep_ids": True,
}  # fmt: skip
SCORED = ["<reward a>", "<reward bee>"]
STAGES = {
    "model target": model("target", dtype="bfloat16", size=8.0),
    "model a": model("a", "r1"),
    "model bee": model("b"),
    "model reward": model("reward", trust_remote_code=True),
    "prompts": (
        "import_prompts",
        {
            "ref": "org/prompts", "limit": None, "digest": "hub:org/prompts@r2", "field": "text",
            "revision": "r2", "turn": "first", "hint": Estimate(rows=900),
        },
    ),
    "sft prompts": part("sft"),
    "preference prompts": part("preference"),
    "sample a": sampled("<model a>", "<prompts>", "a", **SOURCES),
    "sample bee": sampled("<model bee>", "<prompts>", "bee", **SOURCES),
    "reward a": rewards("<sample a>"),
    "reward bee": rewards("<sample bee>"),
    "best source responses (sft)": (
        "best_responses", {"scored": SCORED, "prompts": "<sft prompts>"},
    ),
    "best source responses (preference)": (
        "best_responses", {"scored": SCORED, "prompts": "<preference prompts>"},
    ),
    "sample target-sft": sampled(
        "<SFT on best source responses>", "<preference prompts>", "target-sft", **OWN
    ),
    "reward target-sft": rewards("<sample target-sft>"),
    "preference rows": (
        "preference_pairs",
        {
            "best": "<best source responses (preference)>", "own": "<reward target-sft>",
            "ties": "keep",
        },
    ),
    "reference log-probs": (
        "reference_logps",
        {
            "rows": "<preference rows>", "model": "<SFT on best source responses>",
            "max_length": 99, "max_prompt_length": 44, "released": True, "cut_answers": "no_end",
        },
    ),
}  # fmt: skip
TRAINED = ("SFT on best source responses", "train dpo")


def test_a_recipe_becomes_these_stages() -> None:
    asked, made = RecordedStages(), recipe()
    assert from_responses.preference_model(made, asked, loss="dpo") == "<train dpo>"
    trained = {label: asked.asked.pop(label) for label in TRAINED}
    assert asked.asked == STAGES
    operation, given = trained["SFT on best source responses"]
    rows = {"rows": "<best source responses (sft)>", "model": "<model target>"}
    assert (operation, given) == ("train_sft", {**made.sft.model_dump(), "seed": 7, **rows})
    operation, given = trained["train dpo"]
    rows = {
        "rows": "<preference rows>", "model": "<SFT on best source responses>",
        "reference": "<reference log-probs>",
    }  # fmt: skip
    settings = {"beta": 0.3, "normalisation": "default", "label_smoothing": 0.0}
    chosen = {"loss": "dpo", "settings": settings, "responses": None, "seed": 7}
    assert (operation, given) == (
        "train_preference", {**made.train.model_dump(), **chosen, **rows}
    )  # fmt: skip


def test_another_loss_takes_its_own_settings_and_responses() -> None:
    asked = RecordedStages()
    given = {"loss": "ipo", "responses": ("source", "rejected"), "with_reference": False}
    label = "train ipo (source > rejected)"
    found = from_responses.trained_on(recipe(), asked, "<rows>", "<start>", **given)
    assert (found, list(asked.asked)) == (f"<{label}>", [label])
    made = asked.asked[label][1]
    assert "reference" not in made
    assert made["settings"] == {"beta": 0.3, "normalisation": "default", "tau": 0.2}
    assert (made["responses"], made["loss"]) == (("source", "rejected"), "ipo")


@pytest.mark.parametrize(("rule", "expected"), [("end", "end"), ("leave_out", "no_end")])
def test_the_reference_scores_answers_as_they_are_trained(rule: str, expected: str) -> None:
    asked = RecordedStages()
    made = recipe(train={"cut_answers": rule})
    from_responses.trained_on(made, asked, "<rows>", "<start>", loss="dpo")
    assert asked.asked["reference log-probs"][1]["cut_answers"] == expected
    assert asked.asked["train dpo"][1]["cut_answers"] == rule


def test_without_a_part_for_sft_the_target_itself_is_trained() -> None:
    asked = RecordedStages()
    assert from_responses.sft_model(recipe(data={"sft_fraction": 0.0}), asked) == "<model target>"
    assert list(asked.asked) == ["model target"]


def test_a_limit_comes_before_the_expected_number_of_rows() -> None:
    asked = RecordedStages()
    from_responses.prompts(recipe(data={"limit": 30, "split": "test", "field": None}), asked)
    given = asked.asked["prompts"][1]
    assert (given["limit"], given["hint"], given["split"]) == (30, Estimate(rows=30), "test")
    assert "field" not in given


QUADRUPLE = (
    '{"prompt": "Hi", "chosen": [{"role": "assistant", "content": "a"},'
    ' {"role": "assistant", "content": "b"}], "rejected": [{"role": "assistant", "content": "c"}]}'
)
PAIR = '{"prompt": "Hi", "chosen": "A", "rejected": "B"}\n'


def test_given_preferences_are_split_like_prompts(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text(PAIR)
    table = {"ref": str(path), "split": "test", "bad_rows": "drop"}
    asked, made = RecordedStages(), recipe(data={"preferences": table, "limit": 5})
    assert from_responses.preference_rows(made, asked) == "<preference rows>"
    assert from_responses.sft_model(made, asked) == "<SFT on preferred responses>"
    name = f"preferences {path}"
    operation, given = asked.asked.pop(name)
    assert operation == "import_preferences"
    assert given.pop("digest")
    assert given == {**table, "revision": None, "limit": 5}
    trained = asked.asked.pop("SFT on preferred responses")[1]
    assert (trained["rows"], trained["seed"]) == ("<preferred responses>", 7)
    del asked.asked["model target"]
    assert asked.asked == {
        "sft rows": part("sft", f"<{name}>"),
        "preference rows": part("preference", f"<{name}>"),
        "preferred responses": ("preferred_responses", {"rows": "<sft rows>"}),
    }


def test_given_preferences_are_whole_without_sft(tmp_path: Path) -> None:
    (tmp_path / "pairs.jsonl").write_text(PAIR)
    asked, ref = RecordedStages(), str(tmp_path / "pairs.jsonl")
    made = recipe(data={"preferences": ref, "sft_fraction": 0.0})
    found = from_responses.preference_model(made, asked, loss="dpo")
    assert list(asked.asked) == [
        f"preferences {ref}", "model target", "reference log-probs", "train dpo"
    ]  # fmt: skip
    assert found == "<train dpo>"
    assert asked.asked["train dpo"][1]["rows"] == f"<preferences {ref}>"


def test_responses_that_given_preferences_lack_are_refused(tmp_path: Path) -> None:
    pairs, more = tmp_path / "pairs.jsonl", tmp_path / "more.jsonl"
    pairs.write_text(PAIR)
    more.write_text(QUADRUPLE)
    check_responses(Preferences(ref=str(pairs)), "dpo", None)
    check_responses(Preferences(ref=str(more)), "wrpo", None)
    check_responses(Preferences(ref=str(more)), "dpo", None)
    check_responses(Preferences(ref="org/unknown"), "wrpo", None)
    for loss, responses in (("wrpo", None), ("dpo", ("source", "rejected"))):
        with pytest.raises(BadData, match=r"has the responses target, rejected.*source"):
            check_responses(Preferences(ref=str(pairs)), loss, responses)
    asked, made = RecordedStages(), recipe(data={"preferences": str(pairs)})
    with pytest.raises(BadData, match="compares source, rejected"):
        from_responses.preference_model(
            made, asked, loss="dpo", responses=("source", "rejected")
        )  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "lacking"),
    [
        ({"models": {"sources": []}}, "models.sources, or preferences"),
        ({"models": {"reward": None}}, "models.reward, or preferences"),
        ({"data": {"prompts": ""}}, "data.prompts, or preferences"),
    ],
)
def test_a_recipe_without_preferences_needs_prompts_sources_and_a_reward_model(
    changes: dict[str, Any], lacking: str, tmp_path: Path
) -> None:
    with pytest.raises(BadRecord, match=lacking):
        recipe(**changes)
    (tmp_path / "pairs.jsonl").write_text(PAIR)
    given = {"preferences": str(tmp_path / "pairs.jsonl")}
    assert recipe(**{**changes, "data": {**changes.get("data", {}), **given}}).seed == 7
    alone = recipe(models={"reward": None}, data=given)
    with pytest.raises(BadRecord, match=r"models.reward is missing"):
        from_responses.scored(alone, RecordedStages(), "<rows>", "a")
