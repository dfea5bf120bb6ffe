"""Teachers on disk (top 10, documents of 512 tokens): written, read, mapped to other tokens."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from measuring import Case, Work, apart
from of_alignment import BASE, DOCUMENT, LARGEST, SOURCE, document, tokenizer_of

from harness.distillation.documents import Document, corpus_digest, encode_text, vocabulary_size
from harness.distillation.mapping import Side, map_teacher
from harness.distillation.produce import make_teacher, teacher_document
from harness.distillation.settings import MappingSettings
from harness.distillation.shards import Manifest, Teacher, TeacherDocument
from harness.engine.operations import Row
from harness.models.tokenize import tokenizer_digest

K = 10
SIZES = (10_000, 100_000, 1_000_000)


def corpus(tokens: int) -> list[Row]:
    text = document()
    return [{"id": f"document-{n:07d}", "text": text} for n in range(max(2, tokens // DOCUMENT))]


def predicted(documents: Sequence[Document]) -> Iterator[TeacherDocument]:
    """Random predictions in place of a model's."""
    draws = np.random.default_rng(0)
    for one in documents:
        rows = len(one.tokens.input_ids) - 1
        scores = -np.sort(-draws.gumbel(0, 2, (rows, K)), axis=1)
        logps = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True)) - 0.1
        ids = (draws.integers(0, 200, (rows, 1)) + np.arange(K)) % 200
        yield teacher_document(one, logps, ids, draws.random(rows).astype(np.float32))


def write(tokens: int, folder: Path) -> None:
    rows, tokenizer = corpus(tokens), tokenizer_of(SOURCE)
    manifest = Manifest(
        k=K,
        vocabulary=vocabulary_size(tokenizer),
        tokenizer=tokenizer_digest(tokenizer),
        corpus=corpus_digest(rows),
        model="random",
    )
    make_teacher(folder, manifest, rows, partial(encode_text, tokenizer), predicted)


def written(tokens: int, folder: Path) -> Work:
    return lambda: write(tokens, folder / "teacher")


def read(tokens: int, folder: Path) -> Work:
    """Every document in random order, with its checksums verified, as a training reads them."""
    apart(partial(write, tokens, folder))
    rows, tokenizer = corpus(tokens), tokenizer_of(SOURCE)
    ids = encode_text(tokenizer, rows[0]).tokens.input_ids
    names = [row["id"] for row in rows]
    random.Random(0).shuffle(names)

    def work() -> dict[str, float]:
        teacher = Teacher(folder)
        for name in names:
            teacher.document(name, ids)
        return {}

    return work


def mapped(tokens: int, folder: Path) -> Work:
    apart(partial(write, tokens, folder / "source"))
    rows = corpus(tokens)
    base, source = (Side(t, partial(encode_text, t)) for t in map(tokenizer_of, (BASE, SOURCE)))

    def work() -> dict[str, float]:
        teacher = Teacher(folder / "source")
        made = map_teacher(folder / "target", rows, teacher, base, source, MappingSettings())
        return {"% transferable": 100 * made.transferable}

    return work


CASES = {
    "written": Case(written, SIZES, "tokens", LARGEST),
    "read": Case(read, SIZES, "tokens", LARGEST),
    "mapped": Case(mapped, SIZES, "tokens", LARGEST),
}
