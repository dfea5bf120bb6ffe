"""Teachers from models and servers: rows, resumption, bad input, vLLM's prompt log-probs."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from harness.core.errors import BadData
from harness.distillation.documents import (
    Document,
    corpus_digest,
    encode_chat,
    encode_text,
    fit_documents,
    vocabulary_size,
)
from harness.distillation.produce import TopK, make_teacher
from harness.distillation.prompt_logprobs import ServedTopK, document_rows
from harness.distillation.shards import Manifest, Teacher, token_check
from harness.engine.plan import Plan
from harness.engine.run import InlineExecutor
from harness.engine.store import Store
from harness.models.references import model_identity
from harness.models.tokenize import TokenSequence, tokenizer_digest

Make = Callable[..., Any]
TEXTS = ["one two three", "a", "The sum of 12 and 30 is 42.", "red green blue " * 6, "colours"]
ROWS = [{"id": f"t{n}", "text": text} for n, text in enumerate(TEXTS)]


@pytest.fixture
def tokenizer(make_byte_tokenizer: Make) -> Any:
    return make_byte_tokenizer()


def manifest_of(tokenizer: Any, read: Any, **changes: Any) -> Manifest:
    return Manifest(
        **{
            "k": read.k,
            "vocabulary": read.vocabulary,
            "tokenizer": tokenizer_digest(tokenizer),
            "corpus": corpus_digest(ROWS),
            "model": "tiny",
            "shard_documents": 2,
            "token_ce": True,
            "settings": read.settings,
            **changes,
        }
    )


def test_rows_are_the_models_likeliest_words(
    tokenizer: Any, make_tiny_model: Make, tmp_path: Path
) -> None:
    size = vocabulary_size(tokenizer)
    model = make_tiny_model("llama", vocabulary=size + 13)  # wider than the tokenizer
    read = TopK(model, 5, size, batch_tokens=64)
    assert (read.vocabulary, read.settings["logits"]) == (size, size + 13)
    encode = partial(encode_text, tokenizer)
    done: list[tuple[int, int]] = []
    make_teacher(
        tmp_path, manifest_of(tokenizer, read), ROWS, encode, read,
        counts={"cut": 2}, progress=lambda *now: done.append(now),
    )  # fmt: skip
    assert done == [(2, 5), (4, 5), (5, 5)]
    teacher = Teacher(tmp_path)
    assert teacher.counts == {"cut": 2, "documents": 5}
    for row in ROWS:
        document = encode(row)
        ids = document.tokens.input_ids
        found = teacher.document(row["id"], ids)
        with torch.no_grad():
            logits = model(torch.tensor([ids])).logits[0, :, :size]
        logps = logits.log_softmax(-1)
        best = logps.topk(5)
        np.testing.assert_allclose(found.logps[:-1], best.values[:-1], atol=4e-3)
        assert found.ids.max() < size
        gathered = logps[:-1].gather(1, torch.tensor(found.ids[:-1].astype(np.int64)))
        np.testing.assert_allclose(gathered, best.values[:-1], atol=1e-4)
        ce = torch.nn.functional.cross_entropy(logits[:-1], torch.tensor(ids[1:]))
        assert found.ce == pytest.approx(float(ce), rel=1e-4)
        assert found.token_ce is not None
        assert float(found.token_ce.mean()) == pytest.approx(float(ce), rel=1e-3)
        assert found.scored == len(ids) - 1


def test_a_run_goes_on_where_it_was_killed(
    tokenizer: Any, make_tiny_model: Make, tmp_path: Path
) -> None:
    read = TopK(make_tiny_model("llama", vocabulary=400), 3, 400)
    asked: Counter[str] = Counter()

    def killed(documents: Any, after: int = 3) -> Any:
        for document in read(documents):
            asked[document.id] += 1
            if asked.total() > after:
                raise KeyboardInterrupt
            yield document

    encode, manifest = partial(encode_text, tokenizer), manifest_of(tokenizer, read)
    with pytest.raises(KeyboardInterrupt):
        make_teacher(tmp_path / "broken", manifest, ROWS, encode, killed)
    with pytest.raises(BadData, match="not complete"):
        Teacher(tmp_path / "broken")
    finished = partial(killed, after=1000)
    make_teacher(tmp_path / "broken", manifest, ROWS, encode, finished)
    assert asked == {"t0": 1, "t1": 1, "t2": asked["t2"], "t3": asked["t3"], "t4": 1}
    make_teacher(tmp_path / "whole", manifest, ROWS, encode, read)
    names = sorted(path.name for path in (tmp_path / "whole").iterdir())
    assert len(names) == 5
    assert names == sorted(path.name for path in (tmp_path / "broken").iterdir())
    for name in names:
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "broken" / name).read_bytes()


def test_batches_change_rows_by_rounding_only(tokenizer: Any, make_tiny_model: Make) -> None:
    model = make_tiny_model("llama", vocabulary=400)
    documents = [encode_text(tokenizer, row) for row in ROWS]
    one, other = (
        {d.id: d for d in TopK(model, 4, 400, batch_tokens=n)(documents)} for n in (1, 999)
    )
    for id, document in one.items():
        np.testing.assert_allclose(document.logps, other[id].logps, atol=1e-4)


def test_bad_documents_and_logits_stop_by_name(tokenizer: Any, make_tiny_model: Make) -> None:
    model = make_tiny_model("llama", vocabulary=400)
    read = TopK(model, 4, 400)

    def of(*ids: int) -> Document:
        return Document("x", TokenSequence(list(ids), list(ids)))

    limit = model.config.max_position_embeddings
    for ids in ([], [1] * (limit + 1)):
        with pytest.raises(BadData, match=f'"x" has {len(ids)} tokens; the model reads 1 to'):
            list(read([of(*ids)]))
    with pytest.raises(BadData, match="token id 400; the model knows 400"):
        list(read([of(1, 400)]))
    with pytest.raises(BadData, match="k is 401"):
        TopK(model, 401, 500)
    model.get_input_embeddings().weight.data[7] = torch.nan
    list(read([of(1, 2, 3)]))
    with pytest.raises(BadData, match='"x": the model gives logits that are not finite at'):
        list(read([of(1, 2, 7, 3)]))


def test_one_token_has_no_row(make_tiny_model: Make) -> None:
    read = TopK(make_tiny_model("llama", vocabulary=400), 4, 400)
    (found,) = read([Document("x", TokenSequence([5], [5]))])
    assert found.logps.shape == (0, 4)
    assert np.isnan(found.ce)


def test_only_answers_count_in_a_chats_cross_entropy(tokenizer: Any, make_tiny_model: Make) -> None:
    row = {"id": "c", "messages": [{"role": "user", "content": "hi"}], "response": "blue"}
    document = encode_chat(tokenizer, row)
    labels = document.tokens.labels
    assert 0 < sum(label != -100 for label in labels) < len(labels)
    (found,) = TopK(make_tiny_model("llama", vocabulary=400), 4, 400)([document])
    scored = [n for n, label in enumerate(labels[1:]) if label != -100]
    assert found.scored == len(scored)
    assert found.token_ce is not None
    assert found.ce == pytest.approx(float(found.token_ce[scored].mean()), rel=1e-5)


# Documents


def test_beginnings_and_ends_are_put_once(tokenizer: Any) -> None:
    bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
    ids = encode_text(tokenizer, ROWS[0]).tokens.input_ids
    assert (ids[0], ids[-1], ids.count(bos), ids.count(eos)) == (bos, eos, 1, 1)
    spelt = f"{tokenizer.bos_token}one two three{tokenizer.eos_token}"
    assert encode_text(tokenizer, {"id": "x", "text": spelt}).tokens.input_ids == ids
    bare = encode_text(tokenizer, ROWS[0], bos=False, eos=False).tokens.input_ids
    assert bare == ids[1:-1]


def test_long_documents_are_cut_split_or_refused(
    make_byte_tokenizer: Make, make_metaspace_tokenizer: Make
) -> None:
    tokenizers = [make_byte_tokenizer(), make_metaspace_tokenizer()]
    text = "The sum of 12 and 30 is 42. Größe 今日は! " * 20
    rows = [{"id": "a", "text": text}, {"id": "b", "text": "short"}, {"id": "c", "text": ""}]
    split, counts = fit_documents(rows, tokenizers, 20, "split")
    assert counts == {"empty": 1, "cut": 0, "split": 1}
    pieces = [row for row in split if row["id"].startswith("a#")]
    assert "".join(row["text"] for row in pieces) == text
    assert [row["id"] for row in split] == [f"a#{n}" for n in range(len(pieces))] + ["b"]
    sizes = [
        max(len(t(row["text"], add_special_tokens=False)["input_ids"]) for t in tokenizers)
        for row in pieces
    ]
    assert max(sizes) <= 20
    assert sum(sizes) > 15 * (len(sizes) - 1)  # no smaller than need be
    cut, counts = fit_documents(rows, tokenizers, 20, "cut")
    assert counts == {"empty": 1, "cut": 1, "split": 0}
    assert [row["text"] for row in cut] == [pieces[0]["text"], "short"]
    with pytest.raises(BadData, match=r'document "a" has .* the limit is 20'):
        fit_documents(rows, tokenizers, 20, "refuse")
    assert fit_documents(rows[1:2], tokenizers, 20, "refuse") == (
        [rows[1]],
        {"empty": 0, "cut": 0, "split": 0},
    )
    with pytest.raises(BadData, match='"b" occurs twice'):
        fit_documents([rows[1], rows[1]], tokenizers, 20)
    with pytest.raises(BadData, match='"n" has no text'):
        fit_documents([{"id": "n"}], tokenizers, 20)


def test_digests_tell_tokenizers_and_corpora_apart(
    make_byte_tokenizer: Make, make_metaspace_tokenizer: Make
) -> None:
    tokenizer = make_byte_tokenizer()
    before = tokenizer_digest(tokenizer)
    tokenizer(["a b", "c"], padding=False, truncation=True, max_length=5)
    assert tokenizer_digest(tokenizer) == before == tokenizer_digest(make_byte_tokenizer())
    other = make_byte_tokenizer()
    other.add_tokens(["brand new"])
    assert len({before, tokenizer_digest(other), tokenizer_digest(make_metaspace_tokenizer())}) == 3
    assert vocabulary_size(other) == vocabulary_size(tokenizer) + 1
    assert corpus_digest(ROWS) == corpus_digest([{**row, "note": 1} for row in ROWS])
    assert len({corpus_digest(ROWS), corpus_digest(ROWS[::-1]), corpus_digest(ROWS[1:])}) == 3


# vLLM


def entry(*pairs: tuple[int, float]) -> dict[str, Any]:
    return {
        str(id): {"logprob": logp, "rank": rank + 1, "decoded_token": "?"}
        for rank, (id, logp) in enumerate(pairs)
    }


# As vLLM 0.11 answers /v1/completions with prompt_logprobs 2: the prompt's own token comes first
# and is an entry more where it is not among the likeliest.
PAYLOAD: list[dict[str, Any] | None] = [
    None,
    entry((5, -0.25), (9, -1.75)),
    entry((7, -4.0), (3, -0.5), (4, -1.0)),
    entry((8, -0.125), (2, -9999.0)),
]
DOCUMENT = Document("v", TokenSequence([1, 5, 7, 8], [1, 5, 7, 8]))


def test_prompt_logprobs_become_rows() -> None:
    found = document_rows(DOCUMENT, PAYLOAD, 2, 100)
    assert found.ids.tolist() == [[5, 9], [3, 4], [8, 0]]
    assert found.logps.tolist() == [[-0.25, -1.75], [-0.5, -1.0], [-0.125, -np.inf]]
    assert found.token_ce is not None
    assert found.token_ce.tolist() == [0.25, 4.0, 0.125]
    assert found.ce == pytest.approx(4.375 / 3)
    assert found.check == token_check([1, 5, 7, 8])
    narrow = document_rows(DOCUMENT, PAYLOAD, 2, 9)
    assert narrow.ids[0].tolist() == [5, 0]
    assert narrow.logps[0].tolist() == [-0.25, -np.inf]


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (None, '"v": no scored tokens; expected 4'),
        (PAYLOAD[:3], '"v": 3 scored tokens; expected 4'),
        ([*PAYLOAD[:3], None], r'"v", token 3 \(id 8\)'),
        ([*PAYLOAD[:3], entry((8, -1.0))], "larger --max-logprobs"),
        ([*PAYLOAD[:3], entry((1, -1.0), (2, -2.0))], r"token 3 \(id 8\)"),
        ([*PAYLOAD[:3], entry((8, float("nan")), (2, -2.0))], r"token 3 \(id 8\)"),
    ],
)
def test_payloads_that_are_none_are_refused(tokens: Any, message: str) -> None:
    with pytest.raises(BadData, match=message):
        document_rows(DOCUMENT, tokens, 2, 100)


def test_a_served_model_is_a_teacher(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from harness.backends import vllm_machine
    from harness.backends.vllm import VLLMBackend
    from harness.engine.calls import Services

    fake = Path(__file__).parents[1] / "backends" / "vllm_server" / "fake_vllm"
    monkeypatch.setenv("PYTHONPATH", str(fake))
    monkeypatch.setenv(vllm_machine.VARIABLE, sys.executable)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with Services() as services:
        backend = VLLMBackend("nano:target", services)
        size = vocabulary_size(backend.tokenizer)
        read = ServedTopK(backend, 6, size)
        encode = partial(encode_text, backend.tokenizer, eos=False)
        manifest = manifest_of(backend.tokenizer, read)
        make_teacher(tmp_path, manifest, ROWS, encode, read)
        long = {"id": "long", "text": "blue " * 300}
        with pytest.raises(BadData, match='document "long" and one more token'):
            list(read([encode(long)]))
    teacher = Teacher(tmp_path)
    for row in ROWS:
        found = teacher.document(row["id"], encode(row).tokens.input_ids)
        assert np.isfinite(found.logps[:-1]).all()
        assert (np.diff(found.logps[:-1].astype(np.float32), axis=1) <= 0).all()
        assert (np.exp(found.logps.astype(np.float32)).sum(axis=1) <= 1.01).all()


def test_a_stage_makes_a_teacher_by_the_engine_of_its_model(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from harness.backends import vllm_machine

    fake = Path(__file__).parents[1] / "backends" / "vllm_server" / "fake_vllm"
    monkeypatch.setenv("PYTHONPATH", str(fake))
    monkeypatch.setenv(vllm_machine.VARIABLE, sys.executable)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    store, plan = Store(tmp_path), Plan()
    corpus = plan.stage("import_documents", ref="nano:train", limit=5)
    made = {}
    for ref, k in (("vllm:nano:target", 4), ("vllm:nano:target", 30), ("nano:target", 4)):
        model = plan.stage("import_model", ref=ref, digest=model_identity(ref))
        made[ref, k] = plan.stage("make_teacher", corpus=corpus, model=model, k=k)
    InlineExecutor().execute(plan, list(made.values()), store)
    for (ref, k), handle in made.items():
        teacher = Teacher(store.folder(handle.id))
        served = ref.startswith("vllm:")
        assert (teacher.manifest.settings.get("engine") == "vllm") == served
        assert teacher.manifest.k == k
