"""Defaults and bounds of the settings of trainings: what a recipe that names none gets."""

from __future__ import annotations

from typing import Any

import pytest

from harness.core.errors import BadRecord
from harness.core.records import parse
from harness.training.from_responses import Data, Decoding, Models, ResponsesRecipe, Rewards
from harness.training.given_preferences import Preferences
from harness.training.pair_losses import (
    IpoSettings,
    MarginSettings,
    PairSettings,
    SimpoSettings,
    SmoothedSettings,
)
from harness.training.preference_data import PreferencePairsParams, SplitPromptsParams
from harness.training.preference_operations import ReferenceLogpsParams, TrainPreferenceParams
from harness.training.settings import AnswerEnds, LoraSettings, PromptLimit, RunSettings, Validation
from harness.training.sft import SftParams
from tests.setting_bounds import assert_bounds, assert_left_out, values_of

RATE = {"learning_rate": 1e-3}
RUN: dict[str, Any] = {
    "learning_rate": 1e-3, "epochs": 1.0, "max_steps": None, "per_device_batch_size": 8,
    "accumulation_steps": 1, "warmup_ratio": 0.1, "scheduler": "cosine", "weight_decay": 0.0,
    "max_grad_norm": 1.0, "seed": 42, "dtype": "float32", "gradient_checkpointing": False,
    "save_steps": None, "validation": None, "lora": None, "launch": None,
}  # fmt: skip
LIMITS = {
    "max_length": 2048, "max_prompt_length": 1800, "released": False, "cut_answers": "no_end"
}  # fmt: skip
POSITIVE = ([1e-9, 5.0], [0.0, -1.0])
NOT_NEGATIVE = ([0.0, 0.5], [-1e-9])
COUNT: tuple[list[Any], list[Any]] = ([1, 2], [0])


def test_a_run_has_these_settings_unless_told_otherwise() -> None:
    assert values_of(RunSettings, **RATE) == RUN
    assert values_of(Validation) == {"share": 0.1, "points": 8}
    lora = {"rank": 16, "alpha": 32.0, "dropout": 0.0, "targets": "all-linear", "quantise": None}
    assert values_of(LoraSettings) == lora
    assert RunSettings(**RATE).sequences_per_row == 1
    with pytest.raises(BadRecord, match="learning_rate"):
        parse(RunSettings, {}, "test")


def test_numbers_of_a_run_are_bounded() -> None:
    bounds = {
        "learning_rate": POSITIVE, "epochs": POSITIVE, "max_steps": COUNT, "save_steps": COUNT,
        "per_device_batch_size": COUNT, "accumulation_steps": COUNT,
        "warmup_ratio": ([0.0, 0.99], [-0.01, 1.0]), "weight_decay": NOT_NEGATIVE,
        "max_grad_norm": NOT_NEGATIVE,
        "scheduler": (["cosine", "linear", "constant_with_warmup", "constant"], ["step"]),
        "dtype": (["float32", "bfloat16"], ["float16"]),
    }  # fmt: skip
    assert_bounds(RunSettings, RATE, bounds)
    assert_bounds(Validation, {}, {"share": ([1e-9, 0.999], [0.0, 1.0]), "points": COUNT})
    assert_bounds(
        LoraSettings, {}, {"rank": COUNT, "alpha": POSITIVE, "dropout": ([0.0, 0.99], [-0.01, 1.0])}
    )
    assert_left_out(RunSettings, RATE, {"validation": {"share": 0.2, "points": 8}})
    assert_left_out(RunSettings, RATE, {"lora": values_of(LoraSettings, rank=8)})


def test_limits_of_a_row_leave_room_for_a_response() -> None:
    assert values_of(PromptLimit) == LIMITS
    assert_bounds(PromptLimit, {"max_prompt_length": 1}, {"max_length": ([2, 3], [1])})
    bounds = {"max_prompt_length": ([1, 2047], [0, 2048])}
    assert_bounds(PromptLimit, {}, bounds)
    assert_left_out(AnswerEnds, {}, {"cut_answers": "end"})
    assert_left_out(PromptLimit, {}, {"cut_answers": "leave_out"})


def test_supervised_training_keeps_three_quarters_for_a_prompt() -> None:
    assert values_of(SftParams, **RATE) == {
        **RUN, "cut_answers": "no_end", "field": "response", "loss_on": "completion",
        "packing": False, "max_length": 2048, "max_prompt_length": None, "chat_template": "",
        "prompt_mask": "text",
    }  # fmt: skip
    limits = {n: SftParams(**RATE, max_length=n).prompt_limit for n in (2, 3, 4, 9, 2048)}
    assert limits == {2: 1, 3: 2, 4: 3, 9: 6, 2048: 1536}
    assert SftParams(**RATE, max_prompt_length=7).prompt_limit == 7
    bounds = {"max_length": ([2], [1]), "max_prompt_length": ([1, 2047], [0, 2048])}
    assert_bounds(SftParams, RATE, bounds)
    changed = {"chat_template": "alpaca", "prompt_mask": "released", "cut_answers": "end"}
    assert_left_out(SftParams, RATE, changed)


def test_preference_training_and_its_reference_take_the_same_limits() -> None:
    made = values_of(TrainPreferenceParams, **RATE)
    assert made.pop("settings") == SmoothedSettings(beta=0.1)
    assert made == {**RUN, **LIMITS, "loss": "dpo", "responses": None}
    assert values_of(ReferenceLogpsParams) == {**LIMITS, "batch_size": 8, "dtype": None}
    assert_bounds(ReferenceLogpsParams, {}, {"batch_size": COUNT})


def test_preference_data_are_split_and_paired_by_these_settings() -> None:
    given = {"part": "sft", "seed": 1}
    assert values_of(SplitPromptsParams, **given) == {**given, "fraction": 1 / 3}
    assert_bounds(SplitPromptsParams, given, {"fraction": ([0.0, 1.0], [-0.01, 1.01])})
    assert values_of(PreferencePairsParams) == {"ties": "drop"}
    assert values_of(Preferences, ref="a") == {
        "ref": "a", "split": "train", "revision": None, "bad_rows": "refuse"
    }  # fmt: skip


def test_losses_have_these_settings() -> None:
    pair = {"beta": 0.1, "normalisation": "default"}
    smoothed, margin = {**pair, "label_smoothing": 0.0}, {**pair, "gamma_over_beta": 0.0}
    assert values_of(PairSettings) == pair
    assert values_of(SmoothedSettings) == smoothed
    assert values_of(IpoSettings) == {**pair, "tau": None}
    assert values_of(MarginSettings) == margin
    assert values_of(SimpoSettings) == {**smoothed, **margin}
    assert_bounds(PairSettings, {}, {"beta": POSITIVE})
    assert_bounds(SmoothedSettings, {}, {"label_smoothing": ([0.0, 0.49], [-0.01, 0.5])})
    assert_bounds(IpoSettings, {}, {"tau": POSITIVE})
    assert_bounds(MarginSettings, {}, {"gamma_over_beta": NOT_NEGATIVE})


def test_responses_are_sampled_and_ranked_by_these_settings() -> None:
    assert values_of(Decoding) == {
        "temperature": 0.8, "top_p": 0.95, "repetition_penalty": 1.0, "max_tokens": 4096, "n": 5,
        "batch_size": 64,
    }  # fmt: skip
    bounds = {
        "temperature": NOT_NEGATIVE, "top_p": ([1e-9, 1.0], [0.0, 1.01]),
        "repetition_penalty": POSITIVE, "max_tokens": COUNT, "n": COUNT, "batch_size": COUNT,
    }  # fmt: skip
    assert_bounds(Decoding, {}, bounds)
    assert_left_out(Decoding, {}, {"repetition_penalty": 1.01})
    assert values_of(Rewards) == {"batch_size": 32, "max_length": None}
    assert_bounds(Rewards, {}, {"batch_size": COUNT})
    assert values_of(Models, target={"ref": "a"})["sources"] == ()


def test_data_of_a_recipe_have_these_settings() -> None:
    assert values_of(Data) == {
        "prompts": "", "split": None, "field": None, "revision": None, "turn": "last",
        "preferences": None, "limit": None, "expected_rows": None, "sft_fraction": 1 / 3,
        "ties": "drop",
    }  # fmt: skip
    bounds = {"limit": ([2], [1]), "sft_fraction": ([0.0, 0.99], [-0.01, 1.0])}
    assert_bounds(Data, {}, bounds)
    assert_left_out(Data, {}, {"revision": "r", "turn": "first", "preferences": {"ref": "a"}})
    recipe = {
        "method": "m", "systems": [], "suites": [], "models": {"target": {"ref": "a"}},
        "sft": RATE, "train": RATE,
    }  # fmt: skip
    made = values_of(ResponsesRecipe, **recipe)
    assert (made["source"], made["sampling"], made["rewards"]) == (0, Decoding(), Rewards())
    assert_bounds(ResponsesRecipe, recipe, {"source": ([0, 3], [-1])})
