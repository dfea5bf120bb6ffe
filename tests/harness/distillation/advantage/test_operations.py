"""The operations on tiny models: caches, training, advantages of spans, and what they refuse."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from harness.core.errors import BadData, BadRecord
from harness.core.records import parse
from harness.distillation.advantage.operations import cache_teachers, train_on_pairs
from harness.distillation.advantage.pairs import AnswerPairsParams, answer_pairs
from harness.distillation.advantage.settings import (
    CacheTeachersParams,
    PairLoss,
    TrainOnPairsParams,
)
from harness.distillation.advantage.spans import (
    SpanAdvantagesParams,
    span_advantages,
)
from harness.distillation.caches import Cache
from harness.engine.operations import Artifact, Row
from harness.training.held_out import prompt_key, split
from tests.tiny_models import make_model, make_tokenizer

Make = Callable[..., Any]
LIMITS = {"max_length": 64, "max_prompt_length": 20}
ADPA = PairLoss(gamma=0.8)
DCKD = PairLoss(kl_chosen=0.1, kl_response=0.1)


@pytest.fixture
def models(tmp_path: Path) -> Callable[..., Artifact]:
    """Saved models: student, teacher, reference; with another vocabulary on request."""

    def save(name: str, seed: int, *, extra: str = "", noise: float = 0.0) -> Artifact:
        folder = tmp_path / name
        tokenizer = make_tokenizer()
        if extra:
            tokenizer.add_tokens([extra])
        model = make_model("llama", seed, vocabulary=len(tokenizer))
        torch.manual_seed(9)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += noise * torch.randn_like(parameter)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return Artifact(name, folder)

    return save


def rows(count: int = 6, *, answers: bool = True) -> list[Row]:
    words = ["ab cd", "efg", "hi", "jklm n", "o", "pq"][:count]
    made = []
    for place, word in enumerate(words):
        texts = {"chosen": word + word, "rejected": word[::-1]}
        if answers:
            texts["answer"] = "" if place == 1 else word + " no"
        message = {"role": "user", "content": word}
        made.append({"id": f"r{place}", "messages": [message], "responses": texts})
    return made


def params(loss: PairLoss = ADPA, response: str | None = "answer", **more: Any) -> Any:
    settings = {
        "loss": loss, "response": response, "learning_rate": 1e-2, "per_device_batch_size": 3,
        **LIMITS, **more,
    }  # fmt: skip
    return TrainOnPairsParams(**settings)


def cache_params(form: str = "lists", **more: Any) -> CacheTeachersParams:
    settings = {"sides": ("answer",), "values": "ratios", "form": form, "k": 43, **LIMITS, **more}
    return CacheTeachersParams(**settings)


def weights(context: Any) -> dict[str, torch.Tensor]:
    return load_file(context.directory / "model.safetensors")


def log(context: Any) -> list[dict[str, float]]:
    found: list[dict[str, float]] = json.loads(
        (context.directory / "training_log.json").read_text()
    )["log"]
    return found


@pytest.fixture
def trio(models: Make) -> dict[str, Artifact]:
    return {
        "model": models("student", 0),
        "teacher": models("teacher", 1, noise=0.1),
        "reference": models("reference", 1),
    }


def test_live_and_cached_training_agree(
    trio: dict[str, Artifact], rows_artifact: Make, context: Make
) -> None:
    given = rows_artifact(rows())
    live = context("live")
    train_on_pairs(live, params(), rows=given, **trio)
    assert log(live)[0].keys() >= {
        "loss", "nll", "advantage", "entropy", "length/chosen", "length/response",
    }  # fmt: skip
    models = {name: trio[name] for name in ("teacher", "reference")}
    for form in ("hidden", "lists"):
        made, trained = context(f"cache-{form}"), context(f"trained-{form}")
        cache_teachers(made, cache_params(form), rows=given, student=trio["model"], **models)
        cache = Artifact(form, made.directory)
        used = {} if form == "lists" else models
        train_on_pairs(trained, params(), rows=given, model=trio["model"], cache=cache, **used)
        for mine, other in zip(log(trained), log(live), strict=True):
            assert mine["loss"] == pytest.approx(other["loss"], rel=2**-8)
        for name, value in weights(trained).items():
            torch.testing.assert_close(value, weights(live)[name], rtol=0.05, atol=5e-3)
        bytes_each = {"hidden": 2 * 2 * 16, "lists": 43 * 2 + 43 * 2 + 2}[form]
        assert Cache(made.directory).bytes_per_token == bytes_each
    summary = json.loads((context("cache-lists").directory / "summary.json").read_text())
    assert summary["q_tail"] == pytest.approx(0, abs=1e-6)
    assert summary["positions"] > 0


def test_cached_dckd_agrees_with_live_dckd(
    trio: dict[str, Artifact], rows_artifact: Make, context: Make
) -> None:
    given, teacher = rows_artifact(rows(answers=False)), {"teacher": trio["teacher"]}
    live, made, trained = context("live"), context("cache"), context("trained")
    settings = params(DCKD, "rejected")
    train_on_pairs(live, settings, rows=given, model=trio["model"], **teacher)
    wanted = cache_params("hidden", sides=("chosen", "rejected"), values="logps")
    cache_teachers(made, wanted, rows=given, **teacher)
    cache = Artifact("cache", made.directory)
    train_on_pairs(trained, settings, rows=given, model=trio["model"], cache=cache, **teacher)
    for mine, other in zip(log(trained), log(live), strict=True):
        for name in ("loss", "kl_chosen", "kl_response"):
            assert mine[name] == pytest.approx(other[name], rel=2**-8)


def test_accumulation_does_not_change_training(
    trio: dict[str, Artifact], rows_artifact: Make, context: Make
) -> None:
    given, losses = rows_artifact(rows(4)), []
    for size in (4, 2, 1):
        run = context(f"run-{size}")
        settings = params(per_device_batch_size=size, accumulation_steps=4 // size)
        train_on_pairs(run, settings, rows=given, **trio)
        losses.append(log(run)[0]["loss"])
    assert losses == pytest.approx([losses[0]] * 3, abs=1e-6)


def test_equal_teachers_train_the_student_as_gamma_zero_bit_for_bit(
    trio: dict[str, Artifact], rows_artifact: Make, context: Make
) -> None:
    given = rows_artifact(rows())
    same, zero = context("same"), context("zero")
    control = {**trio, "teacher": trio["reference"]}
    train_on_pairs(same, params(), rows=given, **control)
    train_on_pairs(zero, params(PairLoss()), rows=given, model=trio["model"])
    assert all(torch.equal(v, weights(zero)[n]) for n, v in weights(same).items())


def test_own_answers_are_joined_with_their_endings(rows_artifact: Make, context: Make) -> None:
    pairs = rows_artifact(rows(3, answers=False), "pairs")
    said = [
        {
            **{"id": "r0", "responses": ["one"], "finish": ["stop"]},
            **{"response_ids": [[5, 6]], "tokenizer": "t"},
        },
        {"id": "r1", "responses": [" "], "finish": ["stop"]},
        {"id": "r2", "responses": ["two"], "finish": ["length"]},
    ]
    answers = rows_artifact(said, "answers")
    made = answer_pairs(
        context("x"), AnswerPairsParams(), [pairs.rows()], pairs=pairs, answers=answers
    )
    (found,) = list(made)
    assert [row["responses"]["answer"] for row in found] == ["one", " ", "two"]
    assert [row["finish"]["answer"] for row in found] == ["stop", "stop", "length"]
    assert found[0]["response_ids"] == {"answer": [5, 6]}
    assert found[0]["tokenizer"] == "t"
    assert "response_ids" not in found[1]
    lacking = rows_artifact(said[:2], "lacking")
    with pytest.raises(BadData, match='no answer to row "r2"'):
        list(
            answer_pairs(
                context("y"), AnswerPairsParams(), [pairs.rows()], pairs=pairs, answers=lacking
            )
        )


def test_an_answer_that_was_cut_has_no_end_token(
    trio: dict[str, Artifact], rows_artifact: Make, context: Make
) -> None:
    lengths = []
    for name, end in (("whole", "stop"), ("cut", "length")):
        given = rows_artifact([{**row, "finish": {"answer": end}} for row in rows(1)], name)
        run = context(name)
        train_on_pairs(run, params(), rows=given, **trio)
        lengths.append(log(run)[0]["length/response"])
    assert lengths[0] == lengths[1] + 1


def test_models_of_other_tokenizers_are_refused_with_alternatives(
    trio: dict[str, Artifact], models: Make, rows_artifact: Make, context: Make
) -> None:
    other = models("other", 1, extra="zz")
    given = rows_artifact(rows())
    with pytest.raises(BadData, match=r'"zz".*align = "spans"'):
        train_on_pairs(context("a"), params(), rows=given, **{**trio, "teacher": other})
    with pytest.raises(BadData, match="different tokenizers"):
        cache_teachers(
            context("b"), cache_params(), rows=given, teacher=other, reference=trio["reference"]
        )


def test_a_stale_partial_or_damaged_cache_is_refused(
    trio: dict[str, Artifact], models: Make, rows_artifact: Make, context: Make
) -> None:
    given, made = rows_artifact(rows()), context("cache")
    both = {name: trio[name] for name in ("teacher", "reference")}
    cache_teachers(made, cache_params("hidden", shard_rows=2), rows=given, **both)
    cache = Artifact("cache", made.directory)

    def trained(name: str, **changes: Any) -> None:
        used = {"rows": given, "cache": cache, **trio, **changes}
        train_on_pairs(context(name), changes.pop("params", params()), **used)

    changed = [{**row, "responses": {**row["responses"], "answer": "new"}} for row in rows()]
    with pytest.raises(BadData, match=r"cache was made with answers .* stale"):
        trained("rows", rows=rows_artifact(changed, "changed"))
    with pytest.raises(BadData, match="cache was made with models"):
        trained("models", teacher=models("newer", 3))
    with pytest.raises(BadData, match="stale"):
        train_on_pairs(context("limits"), params(max_length=50), rows=given, cache=cache, **trio)
    with pytest.raises(BadData, match="a cache of ratios; the loss needs logps"):
        train_on_pairs(
            context("values"), params(DCKD), rows=given, cache=cache, model=trio["model"],
            teacher=trio["teacher"],
        )  # fmt: skip
    for name in ("partial", "missing", "damaged"):
        folder = made.directory.parent / name
        shutil.copytree(made.directory, folder)
        shard = folder / "shard-00001.safetensors"
        if name == "partial":
            (folder / "complete.json").unlink()
        elif name == "missing":
            shard.unlink()
        else:
            content = bytearray(shard.read_bytes())
            content[-3] ^= 1
            shard.unlink()
            shard.write_bytes(bytes(content))
        expected = {"partial": "not complete", "missing": "is missing", "damaged": "checksum"}
        with pytest.raises(BadData, match=expected[name]):
            trained(name, cache=Artifact(name, folder))


def test_an_interrupted_cache_is_continued(
    trio: dict[str, Artifact], rows_artifact: Make, context: Make
) -> None:
    given, made = rows_artifact(rows()), context("cache")
    both = {name: trio[name] for name in ("teacher", "reference")}
    cache_teachers(made, cache_params(shard_rows=2), rows=given, **both)
    again = context("again")
    shutil.copytree(made.scratch / "cache", again.scratch / "cache")
    (again.scratch / "cache" / "shard-00002.safetensors").unlink()
    (again.scratch / "cache" / "complete.json").unlink()
    cache_teachers(again, cache_params(shard_rows=2), rows=given, **both)
    assert again.tokens < made.tokens
    one, two = (Cache(c.directory) for c in (made, again))
    for name in one:
        for column, value in one[name].columns.items():
            assert torch.equal(value, two[name].columns[column])


def test_what_a_loss_needs_and_lacks_is_named(
    trio: dict[str, Artifact], rows_artifact: Make, context: Make
) -> None:
    given = rows_artifact(rows())
    with pytest.raises(BadData, match=r"teacher and reference; reference missing"):
        train_on_pairs(
            context("a"), params(), rows=given, model=trio["model"], teacher=trio["teacher"]
        )
    with pytest.raises(BadData, match="ratios need a reference"):
        cache_teachers(context("b"), cache_params(), rows=given, teacher=trio["teacher"])
    with pytest.raises(BadData, match="vocabulary of 43"):
        cache_teachers(
            context("c"), cache_params(k=44), rows=given,
            teacher=trio["teacher"], reference=trio["reference"],
        )  # fmt: skip
    with pytest.raises(BadRecord, match="these terms are taken on it"):
        parse(TrainOnPairsParams, {"learning_rate": 1, "loss": {"gamma": 1.0}}, "test")
    both = {"learning_rate": 1, "response": "answer", "loss": {"gamma": 1.0, "kl_response": 1.0}}
    with pytest.raises(BadRecord, match="not both"):
        parse(TrainOnPairsParams, both, "test")
    with pytest.raises(BadData, match="no row has a scored token"):
        train_on_pairs(context("d"), params(), rows=rows_artifact([], "none"), **trio)


def test_a_teacher_with_nan_logits_is_refused_before_training(
    trio: dict[str, Artifact], rows_artifact: Make, context: Make, tmp_path: Path
) -> None:
    broken = make_model("llama", 1)
    with torch.no_grad():
        broken.get_input_embeddings().weight[20] = torch.nan  # a letter of the answers
    broken.save_pretrained(tmp_path / "broken")
    make_tokenizer().save_pretrained(tmp_path / "broken")
    teacher = Artifact("broken", tmp_path / "broken")
    given = rows_artifact(rows())
    for form in ("lists", "hidden"):
        with pytest.raises(BadData, match="not finite"):
            cache_teachers(
                context(form), cache_params(form), rows=given, teacher=teacher,
                reference=trio["reference"],
            )  # fmt: skip
    with pytest.raises(BadData, match="not finite"):
        train_on_pairs(context("live"), params(), rows=given, **{**trio, "teacher": teacher})


def test_no_reference_teacher_and_released_lists(
    trio: dict[str, Artifact], rows_artifact: Make, context: Make
) -> None:
    given, run = rows_artifact(rows()), context("uniform")
    one = {"model": trio["model"], "teacher": trio["teacher"]}
    train_on_pairs(run, params(uniform=True), rows=given, **one)
    assert log(run)[0]["advantage"] != 0
    made, released = context("cache"), context("released")
    both = {name: trio[name] for name in ("teacher", "reference")}
    cache_teachers(made, cache_params(k=5, lists="released"), rows=given, **both)
    clamp = PairLoss(gamma=0.8, advantage_clip="reference_compat", end_token="released")
    train_on_pairs(
        released, params(clamp), rows=given, model=trio["model"],
        cache=Artifact("c", made.directory),
    )  # fmt: skip
    assert log(released)[0]["advantage"] >= 0, "negative advantages are erased"


@pytest.mark.parametrize("level", ["span", "sequence"])
def test_span_advantages_and_training_on_them(
    level: Any, trio: dict[str, Artifact], models: Make, rows_artifact: Make, context: Make
) -> None:
    pair = {
        "teacher": models("t2", 1, extra="ab", noise=0.1),
        "reference": models("r2", 1, extra="ab"),
    }
    given = rows_artifact(rows())
    settings = SpanAdvantagesParams(level=level, **LIMITS)
    (found,) = span_advantages(
        context("s"), settings, [given.rows()], rows=given, student=trio["model"], **pair
    )
    assert found[1]["weights"] == [], "an empty answer has no advantages"
    assert all(len(row["weights"]) > 0 for n, row in enumerate(found) if n != 1)
    made = rows_artifact(found, "weights")
    run = context("run")
    train_on_pairs(run, params(), rows=given, model=trio["model"], weights=made)
    zeros = [{**row, "weights": [0.0] * len(row["weights"])} for row in found]
    none = context("none")
    train_on_pairs(
        none, params(), rows=given, model=trio["model"], weights=rows_artifact(zeros, "zeros")
    )
    assert log(none)[0]["loss"] == pytest.approx(log(none)[0]["nll"], rel=1e-5), "no advantages"
    assert abs(log(run)[0]["loss"] - log(none)[0]["loss"]) > 0.1, "the weights reach the loss"
    wrong = rows_artifact([{**row, "check": 1} for row in found], "wrong")
    with pytest.raises(BadData, match="belong to other tokens"):
        train_on_pairs(context("w"), params(), rows=given, model=trio["model"], weights=wrong)
    with pytest.raises(BadData, match="need a reference"):
        list(
            span_advantages(
                context("n"), settings, [given.rows()], rows=given, student=trio["model"],
                teacher=pair["teacher"],
            )
        )  # fmt: skip


def test_held_out_pairs_leave_the_training_as_it_is(
    trio: dict[str, Artifact], rows_artifact: Make, context: Make
) -> None:
    given, on = rows(), params(validation={"share": 0.3, "points": 2})
    left = split([prompt_key(row) for row in given], on).of(given)[0]
    train_on_pairs(context("with"), on, rows=rows_artifact(given, "all"), **trio)
    train_on_pairs(context("without"), params(), rows=rows_artifact(left, "left"), **trio)
    without = weights(context("without"))
    assert all(torch.equal(v, without[n]) for n, v in weights(context("with")).items())
    assert log(context("with")) == log(context("without"))
    found = json.loads((context("with").directory / "training_log.json").read_text())
    assert found["validation"]["rows"] == 2
    for point in found["validation"]["points"]:
        assert point["loss"] == pytest.approx(point["nll"] - 0.8 * point["advantage"], rel=1e-4)
