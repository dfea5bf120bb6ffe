"""Shards of sparse teachers: what goes in comes out, and nothing broken or foreign is read."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.core.errors import BadData, BadRecord
from harness.distillation.shards import (
    Manifest,
    ShardWriter,
    Teacher,
    TeacherDocument,
    read_manifest,
    tail_mass,
    token_check,
)

BASE = Manifest(k=4, vocabulary=50, tokenizer="T1", corpus="C1", model="M1", shard_documents=2)


def make_document(id: str, length: int, k: int = 4, vocabulary: int = 50) -> TeacherDocument:
    rng = np.random.default_rng(length)
    logps = np.log(rng.dirichlet(np.ones(k + 1), length - 1)[:, :k])
    logps = -np.sort(-logps, axis=1).astype(np.float32)
    ids = rng.random((length - 1, vocabulary)).argsort(axis=1)[:, :k]
    check = token_check(range(length))
    single = rng.random(length - 1).astype(np.float32)
    return TeacherDocument(id, logps, ids, 1.5, length - 1, check, single)


def write(folder: Path, manifest: Manifest = BASE) -> list[TeacherDocument]:
    k, vocabulary = manifest.k, manifest.vocabulary
    documents = [make_document(f"d{n}", n, k, vocabulary) for n in (1, 5, 3, 9)]
    writer = ShardWriter(folder, manifest)
    writer.write(0, documents[:2])
    writer.write(1, documents[2:])
    writer.finish(2, {"empty": 1})
    return documents


@pytest.mark.parametrize("vocabulary", [50, 65_536, 65_537, 200_000])
def test_rows_come_back(vocabulary: int, tmp_path: Path) -> None:
    manifest = BASE.model_copy(update={"vocabulary": vocabulary, "token_ce": True})
    documents = write(tmp_path, manifest)
    teacher = Teacher(tmp_path, tokenizer="T1", corpus="C1")
    assert list(teacher) == [document.id for document in documents] == ["d1", "d5", "d3", "d9"]
    assert teacher.counts == {"empty": 1}
    for document in documents:
        length = len(document.ids) + 1
        found = teacher.document(document.id, range(length))
        assert found.logps.shape == found.ids.shape == (length, 4)
        assert found.ids.dtype == (np.uint16 if vocabulary <= 65_536 else np.uint32)
        assert (found.ids[:-1] == document.ids).all()
        np.testing.assert_allclose(found.logps[:-1], document.logps, rtol=2**-11)
        assert (found.logps[-1] == -np.inf).all()
        np.testing.assert_allclose(found.token_ce, document.token_ce, rtol=1e-3)
        assert (found.ce, found.scored) == (1.5, length - 1)


def test_a_token_takes_at_most_forty_bytes(tmp_path: Path) -> None:
    manifest = BASE.model_copy(update={"k": 10, "vocabulary": 65_536})
    writer = ShardWriter(tmp_path, manifest)
    documents = [make_document(f"minipile-{n:011}", 20 + n % 60, 10, 500) for n in range(500)]
    writer.write(0, documents)
    tokens = sum(len(document.ids) + 1 for document in documents)
    assert sum(path.stat().st_size for path in tmp_path.glob("shard-*")) <= 40 * tokens


def test_the_mass_outside_the_row_is_known(tmp_path: Path) -> None:
    documents = write(tmp_path)
    teacher = Teacher(tmp_path)
    for document in documents:
        exact = 1 - np.exp(document.logps).sum(axis=1)
        np.testing.assert_allclose(tail_mass(teacher[document.id].logps[:-1]), exact, atol=1e-3)


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"tokenizer": "T2"}, "was made with tokenizer T1; expected T2"),
        ({"corpus": "C2"}, "was made with corpus C1; expected C2"),
    ],
)
def test_another_tokenizer_or_corpus_is_refused(
    told: dict[str, str], message: str, tmp_path: Path
) -> None:
    write(tmp_path)
    with pytest.raises(BadData, match=message):
        Teacher(tmp_path, **told)  # type: ignore[arg-type]


def test_other_tokens_and_unknown_documents_are_refused(tmp_path: Path) -> None:
    write(tmp_path)
    teacher = Teacher(tmp_path)
    with pytest.raises(BadData, match='no document "d7"'):
        teacher.document("d7", [1])
    for tokens in ([9, 9, 9, 9, 9], [0, 1, 2, 3]):
        with pytest.raises(BadData, match=r'read 5 tokens of document "d5".*same settings'):
            teacher.document("d5", tokens)


def test_a_truncated_shard_is_named(tmp_path: Path) -> None:
    write(tmp_path)
    path = tmp_path / "shard-00001.safetensors"
    whole = path.read_bytes()
    for size in (0, 5, 100, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(BadData, match=r"shard-00001.*truncated.*run again"):
            Teacher(tmp_path)
    path.unlink()
    with pytest.raises(BadData, match=r"shard-00001.*missing"):
        Teacher(tmp_path)


@settings(max_examples=60, deadline=None)
@given(place=st.floats(0, 0.999), bit=st.integers(0, 7))
def test_any_flipped_bit_is_noticed(
    place: float, bit: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("flipped")
    documents = write(folder)
    path = folder / "shard-00000.safetensors"
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 1 << bit
    path.write_bytes(bytes(content))
    found, message = [], ""
    try:
        teacher = Teacher(folder)
        found = [teacher[document.id] for document in documents]
    except BadData as error:
        message = str(error)
    # Read after all: a bit of the header that means nothing, such as a blank.
    assert "shard-00000" in message or found
    for one, document in zip(found, documents):
        assert (one.ids[:-1] == document.ids).all()
        assert one.ce == document.ce
    shutil.rmtree(folder)


def test_a_shard_of_another_teacher_is_named(tmp_path: Path) -> None:
    write(tmp_path / "one")
    write(tmp_path / "two", BASE.model_copy(update={"model": "M2"}))
    name = "shard-00000.safetensors"
    shutil.copy(tmp_path / "two" / name, tmp_path / "one" / name)
    with pytest.raises(BadData, match=r"shard-00000.*belongs to another teacher"):
        Teacher(tmp_path / "one")


def test_a_folder_that_is_no_complete_teacher_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadData, match=r"teacher\.json: not found; expected a folder"):
        Teacher(tmp_path)
    writer = ShardWriter(tmp_path, BASE)
    writer.write(0, [make_document("a", 3)])
    with pytest.raises(BadData, match="not complete"):
        Teacher(tmp_path)
    (tmp_path / "teacher.json").write_text('{"format": 2}')
    with pytest.raises(BadRecord, match="format"):
        read_manifest(tmp_path)
    (tmp_path / "teacher.json").write_text("{")
    with pytest.raises(BadData, match="not JSON"):
        read_manifest(tmp_path)


def test_a_writer_does_not_mix_teachers(tmp_path: Path) -> None:
    ShardWriter(tmp_path, BASE).write(0, [make_document("a", 3)])
    again = ShardWriter(tmp_path, BASE)
    assert again.has(0)
    assert not again.has(1)
    with pytest.raises(BadData, match="holds a teacher with k 4; expected 5"):
        ShardWriter(tmp_path, BASE.model_copy(update={"k": 5}))


def changed(**fields: Any) -> TeacherDocument:
    return TeacherDocument(**{**make_document("a", 3).__dict__, **fields})


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (changed(logps=np.zeros((2, 3))), r"shapes \(2, 3\) and \(2, 4\); expected \(length"),
        (changed(ids=np.full((2, 4), 50)), '"a": id 50 is outside the vocabulary of 50'),
        (changed(logps=np.full((2, 4), 0.5)), "are not log-probabilities"),
        (changed(logps=np.full((2, 4), np.nan)), '"a", token 0:'),
        (changed(id="a\nb"), "line break"),
        (changed(token_ce=None), "no cross-entropy for each row"),
    ],
)
def test_rows_that_are_none_are_refused(
    document: TeacherDocument, message: str, tmp_path: Path
) -> None:
    writer = ShardWriter(tmp_path, BASE.model_copy(update={"token_ce": True}))
    with pytest.raises(BadData, match=message):
        writer.write(0, [document])
    assert not writer.has(0)
