"""Rows of teachers from models and servers: batches, vocabularies, limits, by hand."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from harness.core.errors import BadData, UserError
from harness.distillation import produce
from harness.distillation.documents import Document
from harness.distillation.produce import TopK, make_teacher, teacher_document
from harness.distillation.prompt_logprobs import ServedTopK, document_rows
from harness.distillation.shards import Manifest, Teacher, token_check
from harness.models.tokenize import IGNORE, TokenSequence
from tests.tiny_models import make_model

Make = Callable[..., Any]


def document(id: str, *ids: int, labels: list[int] | None = None) -> Document:
    return Document(id, TokenSequence(list(ids), list(ids) if labels is None else labels))


@pytest.mark.parametrize(
    ("batch_tokens", "expected"),
    [(1, [[5], [4], [2], [1]]), (9, [[5], [4, 2], [1]]), (10, [[5, 4], [2, 1]]),
     (14, [[5, 4], [2, 1]]), (15, [[5, 4, 2], [1]]), (20, [[5, 4, 2, 1]])],
)  # fmt: skip
def test_documents_are_batched_from_the_longest(
    batch_tokens: int, expected: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[int]] = []

    def chunks(function: Any, batches: Any, model: Any) -> Iterator[Any]:
        seen.extend([len(each.tokens.input_ids) for each in batch] for batch in batches)
        return iter([])

    monkeypatch.setattr(produce, "map_chunks", chunks)
    model = make_model("llama").train()
    read = TopK(model, 2, 43, batch_tokens=batch_tokens)
    assert list(read([document(f"{n}", *range(6, 6 + n)) for n in (2, 5, 1, 4)])) == []
    assert seen == expected
    assert not model.training


@pytest.mark.parametrize(("known", "size"), [(40, 40), (43, 43), (50, 43)])
def test_rows_are_of_the_ids_that_tokenizer_and_head_have(known: int, size: int) -> None:
    model = make_model("llama")
    read = TopK(model, size, known)
    assert (read.vocabulary, read.logits, read.k) == (size, 43, size)
    assert read.settings == {"engine": "hf", "dtype": "float32", "logits": 43}
    ids = [6, 42, 7]
    (found,) = read([document("a", *ids)])
    with torch.no_grad():
        logps = model(torch.tensor([ids])).logits[0, :, :size].log_softmax(-1)
    best = logps[:-1].topk(size)
    np.testing.assert_array_equal(found.ids, best.indices)
    np.testing.assert_allclose(found.logps, best.values, atol=1e-5)
    # An id that the tokenizer lacks is taken for its last one.
    wanted = [-float(logps[0, min(42, size - 1)]), -float(logps[1, 7])]
    np.testing.assert_allclose(found.token_ce, wanted, rtol=1e-5)
    assert (found.scored, found.check) == (2, token_check(ids))
    assert found.ce == pytest.approx(sum(wanted) / 2, rel=1e-5)
    with pytest.raises(BadData, match=f"k is {size + 1}; the vocabulary has only {size} tokens"):
        TopK(model, size + 1, known)


def test_a_bias_of_the_head_is_cut_with_it() -> None:
    """GPT-NeoX with a bias on its output, which its configuration does not have."""
    model = make_model("llama")
    model.lm_head.bias = torch.nn.Parameter(torch.linspace(0, 9, 43))
    read = TopK(model, 3, 20)
    assert read._head.bias is not None
    assert torch.equal(read._head.bias, model.lm_head.bias[:20])
    assert torch.equal(read._head.weight, model.lm_head.weight[:20])


def test_the_context_and_the_vocabulary_of_a_model_are_limits() -> None:
    model = make_model("llama", max_position_embeddings=4)
    read = TopK(model, 2, 43)
    assert len(list(read([document("a", 6, 7, 8, 42), document("b", 6)]))) == 2
    for ids in ([6] * 5, []):
        with pytest.raises(BadData, match=f'"a" has {len(ids)} tokens; the model reads 1 to 4:'):
            list(read([document("a", *ids)]))
    with pytest.raises(BadData, match='"a" has token id 43; the model knows 43'):
        list(read([document("a", 6, 43)]))


def test_the_token_at_which_logits_are_not_finite_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain, read = produce.hidden_states, TopK(make_model("llama"), 2, 43)

    def broken(model: Any, batch: Any) -> Any:
        found = plain(model, batch).clone()
        found[1, 2] = torch.nan  # the second longest document
        return found

    monkeypatch.setattr(produce, "hidden_states", broken)
    with pytest.raises(BadData, match=r'"b": .* not finite at token 2; load'):
        list(read([document("a", 6, 7, 6, 7, 6), document("b", 6, 7, 8, 6)]))


def test_a_head_that_cannot_be_read_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(model: Any) -> None:
        raise UserError("another head")

    monkeypatch.setattr(produce, "check_head", refuse)
    with pytest.raises(UserError, match="another head"):
        TopK(make_model("llama"), 2, 43)


def test_the_cross_entropy_of_a_document_is_over_its_scored_tokens() -> None:
    given = document("a", 5, 6, 7, 8, labels=[5, IGNORE, 7, 8])
    ce = np.array([1.0, 2.0, 4.0], np.float32)
    found = teacher_document(given, np.zeros((3, 1)), np.ones((3, 1)), ce)
    assert (found.ce, found.scored, found.check) == (3.0, 2, token_check([5, 6, 7, 8]))
    assert found.token_ce is ce
    none = document("a", 5, 6, labels=[5, IGNORE])
    found = teacher_document(none, np.zeros((1, 1)), np.ones((1, 1)), ce[:1])
    assert math.isnan(found.ce)
    assert found.scored == 0


def test_shards_are_made_in_the_order_of_rows_whatever_a_reader_gives(tmp_path: Path) -> None:
    rows = [{"id": name} for name in "abcde"]
    manifest = Manifest(k=1, vocabulary=9, tokenizer="t", corpus="c", model="m", shard_documents=2)
    asked: list[list[str]] = []

    def read(documents: Any) -> Any:
        asked.append([each.id for each in documents])
        made = (teacher_document(each, np.zeros((1, 1)), np.ones((1, 1), int), np.zeros(1))
                for each in documents)  # fmt: skip
        return reversed(list(made))

    done: list[tuple[int, int]] = []
    for counts in ({"cut": 3}, None):
        make_teacher(
            tmp_path, manifest, rows, lambda row: document(row["id"], 1, 2), read, counts=counts,
            progress=lambda *now: done.append(now),
        )  # fmt: skip
        expected = {"documents": 5, **(counts or {})}
        teacher = Teacher(tmp_path)
        assert (list(teacher), teacher.counts) == (list("abcde"), expected)
    assert asked == [["a", "b"], ["c", "d"], ["e"]]  # once
    assert done == [(2, 5), (4, 5), (5, 5)] * 2


def entry(**logps: Any) -> dict[str, Any]:
    return {name[1:]: {"logprob": value} for name, value in logps.items()}


def test_a_servers_rows_are_sorted_by_value_then_id_and_cut() -> None:
    given = document("a", 1, 5, 7)
    tokens = [None, entry(_9=-1.0, _4=-1.0, _5=-0.5, _3=-1.0), entry(_7=0.25, _8=-0.5)]
    found = document_rows(given, tokens, 2, 9)
    assert found.ids.tolist() == [[5, 3], [7, 8]]
    assert found.logps.tolist() == [[-0.5, -1.0], [0.0, -0.5]]  # at most 0
    assert found.token_ce is not None
    assert found.token_ce.tolist() == [0.5, 0.0]
    assert found.ids.dtype == np.int64
    low = document_rows(given, [None, entry(_5=-0.5, _8=-1.0), entry(_7=-2.0, _8=-0.5)], 2, 8)
    assert low.ids.tolist() == [[5, 0], [7, 0]]  # 8 is beyond the vocabulary
    assert low.logps.tolist() == [[-0.5, -np.inf], [-2.0, -np.inf]]
    for wrong in (entry(_7=None, _8=-0.5), {"7": 0.5, "8": {"logprob": -1}}, entry(_7=-1.0)):
        with pytest.raises(BadData, match=r'document "a", token 2 \(id 7\): the server gave'):
            document_rows(given, [*tokens[:2], wrong], 2, 9)


def test_a_server_is_asked_for_k_and_its_errors_are_named() -> None:
    asked: list[Any] = []

    def prompt_logprobs(prompts: Any, k: int) -> Iterator[Any]:
        asked.append((dict(prompts), k))
        for id in reversed(list(prompts)):
            tokens = [None, entry(_5=-0.5, _6=-1.0)]
            yield SimpleNamespace(id=id, error="busy" if id == "bad" else None, tokens=tokens)

    read = ServedTopK(SimpleNamespace(prompt_logprobs=prompt_logprobs), 2, 9)
    assert read.settings == {"engine": "vllm", "dtype": None, "logits": None}
    found = list(read([document("a", 1, 5), document("b", 2, 6)]))
    assert asked == [({"a": [1, 5], "b": [2, 6]}, 2)]
    assert [(each.id, each.ce) for each in found] == [("b", 1.0), ("a", 0.5)]
    with pytest.raises(BadData, match='document "bad": the server gave no scores: busy'):
        list(read([document("bad", 1, 5)]))
