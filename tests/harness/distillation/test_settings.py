"""Defaults and bounds of the settings of distillation: what a recipe that names none gets."""

from __future__ import annotations

from typing import Any

import pytest

from harness.core.errors import BadRecord
from harness.core.records import parse
from harness.distillation.advantage.choice import TeacherAccess
from harness.distillation.advantage.settings import (
    CacheTeachersParams,
    PairLoss,
    TrainOnPairsParams,
)
from harness.distillation.advantage.spans import SpanAdvantagesParams
from harness.distillation.caches import CacheManifest
from harness.distillation.corpus import DocumentsParams
from harness.distillation.explicit_fusion import Data, ExplicitFusionRecipe, Models
from harness.distillation.operations import (
    VLLM_LOGPROBS,
    MakeTeacherParams,
    MapTeacherParams,
    Reading,
    TrainFusionParams,
)
from harness.distillation.settings import FusionSettings, MappingSettings
from harness.distillation.shards import Manifest
from tests.harness.training.test_settings import COUNT, LIMITS, NOT_NEGATIVE, POSITIVE, RATE, RUN
from tests.setting_bounds import assert_bounds, assert_left_out, values_of

MAPPING: dict[str, Any] = {
    "alignment": "offset", "vocabulary": "prefix", "onehot_target": "next", "duplicates": "sum",
    "ce_per": "target_token", "released": None,
}  # fmt: skip
READING = {"bos": True, "eos": True}


def test_the_fusion_loss_has_these_settings() -> None:
    assert values_of(FusionSettings) == {
        "fusion": "min_ce", "divergence": "ce", "temperature": 1.0, "lm_weight": 0.9,
        "weighting": "fixed", "positions": "scored", "with_base": True, "released": False,
    }  # fmt: skip
    bounds = {"temperature": POSITIVE, "lm_weight": ([0.0, 1.0], [-0.01, 1.01])}
    assert_bounds(FusionSettings, {}, bounds)
    made = values_of(TrainFusionParams, **RATE)
    assert made == {
        **RUN, **READING, "loss": FusionSettings(), "block_size": 2048, "packing": "documents",
        "level": "block", "adam_beta2": 0.999,
    }  # fmt: skip
    bounds = {"block_size": ([2], [1]), "adam_beta2": ([1e-9, 0.99], [0.0, 1.0])}
    assert_bounds(TrainFusionParams, RATE, bounds)


def test_teachers_are_made_and_mapped_with_these_settings() -> None:
    assert values_of(Reading) == READING
    assert values_of(MakeTeacherParams) == {
        **READING, "k": 10, "engine": None, "token_ce": False, "shard_documents": 512,
        "batch_tokens": 8192, "dtype": None,
    }  # fmt: skip
    assert_bounds(MakeTeacherParams, {}, dict.fromkeys(("k", "shard_documents", "batch_tokens"),
                                                       COUNT))  # fmt: skip
    assert_left_out(MakeTeacherParams, {}, {"engine": "vllm"})
    assert values_of(MappingSettings) == MAPPING
    assert values_of(MapTeacherParams) == {**MAPPING, **READING}
    for released in ("fusellm", "fusechat_v1", "fusechat_v2"):
        with pytest.raises(BadRecord, match=f'released = "{released}"'):
            parse(MappingSettings, {"released": released}, "test")
        for kind in ("exact", "mined", "cooccurrence", "statistics"):
            assert parse(MappingSettings, {"released": released, "vocabulary": kind}, "test")
    assert VLLM_LOGPROBS == 20  # `vllm serve --max-logprobs`


def test_documents_are_imported_with_these_settings() -> None:
    assert values_of(DocumentsParams, ref="a") == {
        "ref": "a", "split": "train", "revision": None, "field": "text", "form": "chat",
        "limit": None, "offset": 0, "digest": None, "max_tokens": None, "long": "split",
        "domains": (), "exchanges": None,
    }  # fmt: skip
    bounds = {"limit": COUNT, "offset": ([0, 3], [-1]), "max_tokens": COUNT, "exchanges": COUNT}
    assert_bounds(DocumentsParams, {"ref": "a"}, bounds)
    assert_left_out(DocumentsParams, {"ref": "a"}, {"domains": ["x"], "exchanges": 3})
    assert values_of(Data, documents="a") == {
        "documents": "a", "split": "train", "field": "text", "form": "chat", "limit": None,
        "expected_rows": None, "max_tokens": 2000, "long": "split", "domains": (),
        "exchanges": None,
    }  # fmt: skip
    assert_bounds(Data, {"documents": "a"}, dict.fromkeys(("limit", "max_tokens", "exchanges"),
                                                          COUNT))  # fmt: skip
    rehearsed = Data.model_fields["max_tokens"].metadata
    (lower,) = [each for each in rehearsed if hasattr(each, "value")]
    assert [lower.value(most) for most in (100, 200, 2000)] == [100, 200, 200]


def test_a_recipe_has_a_source_and_begins_with_the_first() -> None:
    target = {"ref": "a"}
    with pytest.raises(BadRecord, match="sources"):
        parse(Models, {"target": target, "sources": []}, "test")
    assert values_of(Models, target=target, sources=[target])["teacher"] is None
    recipe = {
        "method": "m", "systems": [], "suites": [], "data": {"documents": "a"}, "train": RATE,
        "models": {"target": target, "sources": [target]},
    }  # fmt: skip
    made = values_of(ExplicitFusionRecipe, **recipe)
    assert (made["source"], made["teachers"]) == (0, MakeTeacherParams())
    assert made["mapping"] == MappingSettings()
    assert_bounds(ExplicitFusionRecipe, recipe, {"source": ([0, 4], [-1])})


def test_files_of_teachers_have_these_settings() -> None:
    given = {"k": 1, "vocabulary": 1, "tokenizer": "t", "corpus": "c", "model": "m"}
    assert values_of(Manifest, **given) == {
        **given, "format": 1, "shard_documents": 512, "token_ce": False, "settings": {}
    }  # fmt: skip
    assert_bounds(Manifest, given, dict.fromkeys(("k", "vocabulary", "shard_documents"), COUNT))
    assert_bounds(Manifest, given, {"format": ([1], [0, 2])})
    given = {"columns": {}, "vocabulary": 1, "tokenizer": "t", "answers": "a", "models": {}}
    assert values_of(CacheManifest, **given) == {
        **given, "format": 1, "shard_rows": 256, "settings": {}
    }  # fmt: skip
    assert_bounds(CacheManifest, given, dict.fromkeys(("vocabulary", "shard_rows"), COUNT))


def test_teachers_of_pairs_are_read_with_these_settings() -> None:
    assert values_of(TeacherAccess) == {
        "form": "auto", "k": 50, "student_k": 0, "lists": "full", "teacher_b": None,
        "student_b": None, "hidden": None, "vocabulary": None, "tokens_per_answer": 450,
        "disk_gib": None, "gpu_gib": None, "batch_tokens": 4096, "shard_rows": 256, "dtype": None,
    }  # fmt: skip
    counts = ("k", "hidden", "vocabulary", "tokens_per_answer", "batch_tokens", "shard_rows")
    assert_bounds(TeacherAccess, {}, dict.fromkeys(counts, COUNT))
    assert_bounds(TeacherAccess, {}, dict.fromkeys(("teacher_b", "student_b"), NOT_NEGATIVE))
    assert_bounds(TeacherAccess, {}, dict.fromkeys(("disk_gib", "gpu_gib"), POSITIVE))
    assert_bounds(TeacherAccess, {}, {"student_k": ([0, 1], [-1])})
    given = {"sides": ("answer",), "values": "logps", "form": "lists"}
    assert values_of(CacheTeachersParams, **given) == {
        **LIMITS, **given, "anchor": "chosen", "k": 50, "student_k": 0, "lists": "full",
        "uniform": False, "batch_tokens": 4096, "shard_rows": 256, "dtype": None,
    }  # fmt: skip
    bounds = dict.fromkeys(("k", "batch_tokens", "shard_rows"), COUNT)
    assert_bounds(CacheTeachersParams, given, {**bounds, "student_k": ([0, 1], [-1])})
    assert_bounds(CacheTeachersParams, given, {"sides": ([("a",), ("a", "b")], [()])})
    given = {"level": "span"}
    assert values_of(SpanAdvantagesParams, **given) == {
        **LIMITS, **given, "anchor": "chosen", "response": "answer", "uniform": False,
        "batch_size": 16, "dtype": None,
    }  # fmt: skip
    assert_bounds(SpanAdvantagesParams, given, {"batch_size": COUNT})


def test_pairs_are_trained_with_these_settings() -> None:
    assert values_of(PairLoss) == {
        "sft": 1.0, "distill": 1.0, "kl_chosen": 0.0, "kl_response": 0.0, "gamma": 0.0,
        "end_token": "distilled", "beta": 1.0, "advantage_clip": None, "reduction": "token",
    }  # fmt: skip
    weights = ("sft", "distill", "kl_chosen", "kl_response", "gamma")
    assert_bounds(PairLoss, {}, dict.fromkeys(weights, NOT_NEGATIVE))
    clips = ([1e-9, 2.0, "reference_compat", None], [0.0, -1.0, float("nan")])
    assert_bounds(PairLoss, {}, {"beta": POSITIVE, "advantage_clip": clips})
    given = {**RATE, "loss": PairLoss()}
    assert values_of(TrainOnPairsParams, **given) == {
        **RUN, **LIMITS, **given, "anchor": "chosen", "response": None, "uniform": False,
        "teacher_dtype": None,
    }  # fmt: skip
    assert TrainOnPairsParams(**given).sequences_per_row == 2


@pytest.mark.parametrize(
    ("loss", "response", "complaint"),
    [
        ({"gamma": 1.0}, None, 'response = "rejected" or "answer"'),
        ({"kl_response": 1.0}, None, 'response = "rejected" or "answer"'),
        ({"gamma": 1.0, "kl_response": 1.0}, "answer", "not both"),
        ({"gamma": 1.0}, "answer", ""),
        ({"kl_response": 1.0}, "answer", ""),
        ({"kl_chosen": 1.0}, None, ""),
        ({}, "answer", ""),
    ],
)
def test_a_second_answer_has_one_term(
    loss: dict[str, float], response: str | None, complaint: str
) -> None:
    given = {**RATE, "loss": loss, "response": response}
    if complaint:
        with pytest.raises(BadRecord, match=complaint):
            parse(TrainOnPairsParams, given, "test")
    else:
        assert parse(TrainOnPairsParams, given, "test").response == response
