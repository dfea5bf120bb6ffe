"""Caches of teachers: manifest, names, batches, columns and progress, against tables by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch

from harness.core.errors import BadData, UserError
from harness.distillation.advantage import making
from harness.distillation.advantage.checks import answers_digest, identity_of
from harness.distillation.advantage.making import Maker
from harness.distillation.advantage.operations import cache_teachers
from harness.distillation.advantage.settings import CacheTeachersParams
from harness.distillation.caches import Cache
from harness.distillation.shards import token_check
from harness.engine.operations import Row
from harness.models.checkpoints import load_causal_lm
from harness.models.tokenize import tokenizer_digest
from tests.tiny_models import make_tokenizer

Make = Callable[..., Any]
WORDS = {"chosen": ["c", "dd", "e"], "answer": ["ffff", "", "gg"]}
ROWS: list[Row] = [
    {
        "id": f"r{n}", "messages": [{"role": "user", "content": "ab" * (n + 1)}],
        "responses": {name: texts[n] for name, texts in WORDS.items()},
    }
    for n in range(3)
]  # fmt: skip
PROMPTS = [5, 7, 9]  # <s> <u> ab... <a>


def params(**changes: Any) -> CacheTeachersParams:
    plain: dict[str, Any] = {"sides": ("chosen", "answer"), "values": "logps", "form": "lists",
                             "k": 4, "shard_rows": 2}  # fmt: skip
    return CacheTeachersParams(**{**plain, **changes})


@pytest.fixture
def maker(context: Make, rows_artifact: Make, checkpoint: Make) -> Make:
    """`maker(reference, student, **params)`: of a tied teacher and a llama reference."""

    def make(reference: bool = True, student: bool = False, **changes: Any) -> Maker:
        given = (
            checkpoint("llama") if reference else None,
            checkpoint("neox") if student else None,
        )
        rows = rows_artifact(ROWS)
        return Maker(context("run"), params(**changes), rows, checkpoint("tied"), *given)

    return make


def test_the_manifest_says_what_the_rows_depend_on(
    maker: Make, rows_artifact: Make, checkpoint: Make
) -> None:
    found = maker(student=True, student_k=1, values="ratios", lists="released", dtype="float32")
    manifest = found.manifest()
    names = {"teacher": "tied", "reference": "llama", "student": "neox"}
    assert manifest.model_dump() == {
        "format": 1, "columns": {"ids": 4, "values": 4, "tail": 0}, "vocabulary": 43,
        "tokenizer": tokenizer_digest(make_tokenizer()),
        "answers": answers_digest(rows_artifact(ROWS), params()),
        "models": {name: identity_of(checkpoint(kind)) for name, kind in names.items()},
        "shard_rows": 2,
        "settings": {
            "values": "ratios", "form": "lists", "k": 4, "student_k": 1, "lists": "released",
            "uniform": False, "dtype": "float32", "sides": "chosen,answer",
        },
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "columns"),
    [
        ({"values": "ratios"}, {"teacher": 16, "reference": 16}),
        ({"values": "ratios", "uniform": True}, {"teacher": 16}),
        ({"values": "logps"}, {"teacher": 16}),
    ],
)
def test_hidden_states_are_of_the_models_that_are_needed(
    changes: dict[str, Any], columns: dict[str, int], maker: Make
) -> None:
    made = maker(form="hidden", student=True, **changes)
    manifest = made.manifest()
    assert manifest.columns == columns
    assert set(manifest.models) == {"teacher", "reference"}  # the student decides no row
    assert dict(made._answers(ROWS[:1]))["r0/chosen"].columns.keys() == columns.keys()


def test_ratios_need_a_reference_or_the_uniform_distribution(maker: Make) -> None:
    for changes in ({"values": "logps"}, {"values": "ratios", "uniform": True}):
        assert maker(reference=False, **changes)
    with pytest.raises(BadData, match="ratios need a reference"):
        maker(reference=False, values="ratios")


def test_every_answer_that_is_read_has_a_name(maker: Make) -> None:
    def names(**changes: Any) -> list[str]:
        made = maker(**changes)
        return [name for row in ROWS for name, _ in made._sequences(row)]

    both = ["r0/chosen", "r0/answer", "r1/chosen", "r2/chosen", "r2/answer"]
    assert names() == names(sides=("answer", "chosen")) == both
    assert names(sides=("answer",)) == ["r0/answer", "r2/answer"]
    assert names(sides=("chosen",)) == ["r0/chosen", "r1/chosen", "r2/chosen"]
    swapped = ["r0/answer", "r0/chosen", "r1/chosen", "r2/answer", "r2/chosen"]
    assert [name for row in ROWS for name, _ in maker(anchor="answer")._sequences(row)
            if name != "r1/answer"] == swapped  # fmt: skip


@pytest.mark.parametrize(
    ("batch_tokens", "expected"),
    [
        (1, [[12], [11], [10], [10], [7]]),
        (24, [[12, 11], [10, 10], [7]]),
        (23, [[12], [11, 10], [10, 7]]),
        (36, [[12, 11, 10], [10, 7]]),
        (999, [[12, 11, 10, 10, 7]]),
    ],
)
def test_answers_are_batched_from_the_longest(
    batch_tokens: int, expected: list[list[int]], maker: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, seen = maker(batch_tokens=batch_tokens), []

    def read(named: Any) -> Any:
        seen.append([len(tokens.input_ids) for _, tokens in named])
        return iter([])

    monkeypatch.setattr(made, "_read", read)
    assert list(made._answers(ROWS)) == []
    assert seen == expected


def logps_of(model: Any, text: str, prompt: int) -> torch.Tensor:
    tokenizer = make_tokenizer()
    messages = [{"role": "user", "content": "ab" * prompt}]
    ids = tokenizer.apply_chat_template(
        [*messages, {"role": "assistant", "content": text}], return_dict=False
    )
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0]
    return logits[-len(text) - 2 : -1].log_softmax(-1)


@pytest.mark.parametrize("values", ["logps", "ratios"])
def test_a_cache_has_the_teachers_rows_of_each_scored_token(
    values: str, context: Make, rows_artifact: Make, checkpoint: Make
) -> None:
    run, rows = context("run"), rows_artifact(ROWS)
    how = params(values=values, batch_tokens=20)
    both = {"teacher": checkpoint("tied"), "reference": checkpoint("llama")}
    cache_teachers(run, how, rows=rows, **both)
    cache = Cache(run.directory)
    assert set(cache) == {"r0/chosen", "r0/answer", "r1/chosen", "r2/chosen", "r2/answer"}
    teacher, reference = (load_causal_lm(model.path)[0] for model in both.values())
    for place, name, text in ((0, "r0/answer", "ffff"), (2, "r2/chosen", "e")):
        q, r = (logps_of(model, text, place + 1) for model in (teacher, reference))
        ids = [make_tokenizer().convert_tokens_to_ids(letter) for letter in text]
        found = cache.answer(name, [*ids, 2]).columns
        best = q.topk(4)
        assert found["ids"].tolist() == best.indices.tolist()
        wanted = best.values if values == "logps" else (q - r).gather(1, best.indices)
        torch.testing.assert_close(found["values"].float(), wanted, rtol=2e-3, atol=2e-3)
        assert cache[name].check == token_check([*ids, 2])
    read = sum(PROMPTS[n] + len(text) + 1 for texts in WORDS.values()
               for n, text in enumerate(texts) if text)  # fmt: skip
    assert run.tokens == read  # counted once, however many models read it
    assert run.reports == [(2, 3, "rows"), (3, 3, "rows")]
    summary = json.loads((run.directory / "summary.json").read_text())
    assert (summary["form"], summary["positions"]) == ("lists", 2 + 5 + 3 + 2 + 3)
    assert json.loads((run.directory / "complete.json").read_text())["shards"] == 2


def test_a_teacher_whose_head_cannot_be_read_is_refused(
    maker: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(model: Any) -> None:
        raise UserError("another head")

    monkeypatch.setattr(making, "check_head", refuse)
    with pytest.raises(UserError, match="another head"):
        maker()
