"""Files of teachers and caches as earlier versions wrote them, and their limits."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open

from harness.core.errors import BadData
from harness.distillation.caches import Cache, CachedAnswer, CacheManifest, CacheWriter
from harness.distillation.shards import (
    Manifest,
    ShardWriter,
    Teacher,
    TeacherDocument,
    shard_path,
    tail_mass,
    token_check,
)

MANIFEST = Manifest(
    k=2, vocabulary=50, tokenizer="T", corpus="C", model="M", shard_documents=2, token_ce=True,
    settings={"engine": "hf", "bos": True},
)  # fmt: skip
STORED = """{
 "corpus": "C",
 "format": 1,
 "k": 2,
 "model": "M",
 "settings": {
  "bos": true,
  "engine": "hf"
 },
 "shard_documents": 2,
 "token_ce": true,
 "tokenizer": "T",
 "vocabulary": 50
}"""


def document(id: str, ids: list[list[int]], logps: list[list[float]], **more: Any) -> Any:
    single = np.arange(len(ids)) / 4
    given = {"ce": 0.5, "scored": len(ids), "check": 7, "token_ce": single, **more}
    shape = (len(ids), 2)
    return TeacherDocument(
        id, np.array(logps, np.float32).reshape(shape), np.array(ids).reshape(shape), **given
    )


DOCUMENTS = [
    document("one", [[3, 49], [0, 1]], [[-0.5, -1.0], [-0.25, -np.inf]]),
    document("two", [], [], check=token_check([5])),
]


def written(folder: Path, documents: Any = DOCUMENTS, **changes: Any) -> ShardWriter:
    writer = ShardWriter(folder, MANIFEST.model_copy(update=changes))
    writer.write(0, documents)
    writer.finish(1, {"split": 1, "cut": 2})
    return writer


def stored(path: Path, framework: str) -> tuple[dict[str, Any], dict[str, Any]]:
    with safe_open(path, framework=framework) as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        (text,) = file.metadata().values()
    return tensors, {"text": text, **json.loads(text)}


def test_a_teacher_is_stored_as_in_earlier_versions(tmp_path: Path) -> None:
    folder = tmp_path / "not" / "yet"
    written(folder)
    assert (folder / "teacher.json").read_text() == STORED
    assert (folder / "complete.json").read_text() == (
        '{"counts": {"cut": 2, "split": 1}, "shards": 1}'
    )
    assert shard_path(folder, 0).name == "shard-00000.safetensors"
    tensors, known = stored(shard_path(folder, 0), "np")
    kinds = {name: (value.dtype.name, value.tolist()) for name, value in tensors.items()}
    assert kinds == {
        "logps": ("float16", [[-0.5, -1.0], [-0.25, -np.inf]]),
        "ids": ("uint16", [[3, 49], [0, 1]]), "token_ce": ("float16", [0.0, 0.25]),
        "lengths": ("uint32", [2, 0]), "ce": ("float32", [0.5, 0.5]), "scored": ("uint32", [2, 0]),
        "checks": ("uint32", [7, token_check([5])]), "names": ("uint8", list(b"one\ntwo")),
    }  # fmt: skip
    sums = {
        "index": "ccb708bad419e53cb1237241a50035fc", "manifest": "320f483ce7d775dfb26e43aa385bd956",
        "rows": "9ff8d65f15ec18e540ca1656c214427f",
    }  # fmt: skip
    assert known == {**sums, "text": json.dumps(sums)}
    assert token_check([1, 2, 65_536]) == 3142499388


def test_a_teacher_without_single_cross_entropies_has_none(tmp_path: Path) -> None:
    written(tmp_path, token_ce=False)
    tensors, _ = stored(shard_path(tmp_path, 0), "np")
    assert "token_ce" not in tensors
    teacher = Teacher(tmp_path)
    assert teacher["one"].token_ce is None
    assert teacher.counts == {"split": 1, "cut": 2}
    ShardWriter(tmp_path, teacher.manifest).finish(1)
    assert Teacher(tmp_path).counts == {}


def test_a_shard_may_be_without_documents(tmp_path: Path) -> None:
    written(tmp_path, [])
    assert dict(Teacher(tmp_path)) == {}
    tensors, _ = stored(shard_path(tmp_path, 0), "np")
    shapes = {name: tensors[name].shape for name in ("logps", "ids", "token_ce")}
    assert shapes == {"logps": (0, 2), "ids": (0, 2), "token_ce": (0,)}


def test_documents_are_read_one_by_one(tmp_path: Path) -> None:
    more = document("three", [[7, 8]], [[-2.0, -3.0]], ce=1.5, check=9)
    written(tmp_path, [*DOCUMENTS, more])
    teacher = Teacher(tmp_path)
    assert teacher["one"].ids.tolist() == [[3, 49], [0, 1], [0, 0]]
    assert teacher["two"].logps.tolist() == [[-np.inf, -np.inf]]
    found = teacher["three"]
    assert found.ids.tolist() == [[7, 8], [0, 0]]
    assert found.logps.tolist() == [[-2.0, -3.0], [-np.inf, -np.inf]]
    assert (found.ce, found.scored, found.check) == (1.5, 1, 9)
    assert found.token_ce is not None
    assert found.token_ce.tolist() == [0.0]


def test_log_probabilities_are_cut_to_what_they_can_be(tmp_path: Path) -> None:
    given = document("a", [[1, 2], [3, 4]], [[1e-3, -1e6], [5e-4, -7.0]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        written(tmp_path, [given])
    assert Teacher(tmp_path)["a"].logps[:-1].tolist() == [[0.0, -np.inf], [0.0, -7.0]]
    for wrong in ([[-1.0, -1.0], [-1.0, 1.04e-3]], [[-1.0, -1.0], [np.nan, -1.0]]):
        with pytest.raises(BadData, match=r'"a", token 1: .* are not log-probabilities'):
            written(tmp_path, [document("a", [[1, 2], [3, 4]], wrong)])


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"token_ce": None}, "no cross-entropy for each row"),
        ({"token_ce": np.zeros(1)}, "no cross-entropy for each row"),
        ({"ids": np.array([[0, 1], [50, 2]])}, "id 50 is outside the vocabulary of 50"),
        ({"logps": np.zeros((2, 3))}, r"shapes \(2, 3\) and \(2, 2\); expected"),
        ({"ids": np.zeros((2, 3))}, r"shapes \(2, 2\) and \(2, 3\); expected"),
        ({"id": "a\nb"}, "has a line break"),
    ],
)
def test_rows_of_another_form_are_refused(
    changes: dict[str, Any], complaint: str, tmp_path: Path
) -> None:
    wrong = TeacherDocument(**{**DOCUMENTS[0].__dict__, **changes})
    with pytest.raises(BadData, match=complaint):
        written(tmp_path, [DOCUMENTS[1], wrong])
    if changes.keys() == {"token_ce"}:
        assert written(tmp_path / "without", [wrong], token_ce=False).has(0)


def test_rows_are_checked_unless_told_otherwise(tmp_path: Path) -> None:
    written(tmp_path)
    path = shard_path(tmp_path, 0)
    content = bytearray(path.read_bytes())
    place = bytes(content).index(np.float16(-0.25).tobytes() + np.float16(-np.inf).tobytes())
    content[place] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(BadData, match="the checksum of the shard's rows is wrong"):
        Teacher(tmp_path)["one"]
    assert Teacher(tmp_path, verify=False)["one"].ids[0].tolist() == [3, 49]


def test_the_mass_outside_rows_is_between_zero_and_one() -> None:
    logps = np.array([[np.log(0.5), np.log(0.25)], [-0.5, -0.5], [-np.inf, -np.inf]], np.float32)
    assert tail_mass(logps).tolist() == pytest.approx([0.25, 0.0, 1.0])
    assert tail_mass(np.zeros((2, 0), np.float16)).tolist() == [1.0, 1.0]


CACHE = CacheManifest(
    columns={"ids": 2, "tail": 0}, vocabulary=9, tokenizer="t", answers="a", models={"teacher": "m"}
)


def answer(length: int, check: int = 5) -> CachedAnswer:
    numbers = torch.arange(2 * length).reshape(length, 2)
    return CachedAnswer({"ids": numbers.to(torch.uint16), "tail": -numbers[:, 0].half()}, check)


def cached(folder: Path, *shards: dict[str, CachedAnswer]) -> Path:
    writer = CacheWriter(folder, CACHE)
    for number, answers in enumerate(shards):
        writer.write(number, answers)
    writer.finish(len(shards), {"b": 1, "a": 2})
    return folder


def test_a_cache_is_stored_as_in_earlier_versions(tmp_path: Path) -> None:
    folder = cached(tmp_path / "not" / "yet", {"r/x": answer(2), "s/x": answer(1, 6)})
    text = (folder / "cache.json").read_text()
    assert text == json.dumps(json.loads(text), indent=1, sort_keys=True)
    assert json.loads(text) == CACHE.model_dump()
    done = '{"shards": 1, "summary": {"a": 2, "b": 1}}'
    assert (folder / "complete.json").read_text() == done
    tensors, known = stored(shard_path(folder, 0), "pt")
    kinds = {name: (value.dtype, value.tolist()) for name, value in tensors.items()}
    assert kinds == {
        "ids": (torch.uint16, [[0, 1], [2, 3], [0, 1]]),
        "tail": (torch.float16, [0.0, -2.0, 0.0]), "lengths": (torch.int64, [2, 1]),
        "checks": (torch.int64, [5, 6]), "names": (torch.uint8, list(b"r/x\ns/x")),
    }  # fmt: skip
    sums = {
        "index": "125c85784806e1b22848fe2ea74fcab3", "manifest": "d2a0563d0ae3c3d62ded31e8c18b7f6d",
        "rows": "74e3b133ac1803c1887c31f9fe3f4709",
    }  # fmt: skip
    assert known == {**sums, "text": json.dumps(sums)}


def test_answers_of_several_shards_are_found_by_name(tmp_path: Path) -> None:
    cache = Cache(cached(tmp_path, {"a": answer(2), "b": answer(0), "c": answer(1, 8)},
                         {"d": answer(3, 9)}))  # fmt: skip
    assert list(cache) == ["a", "b", "c", "d"]
    assert [len(cache[name].columns["tail"]) for name in cache] == [2, 0, 1, 3]
    assert [cache[name].check for name in cache] == [5, 5, 8, 9]
    assert cache["c"].columns["ids"].tolist() == [[0, 1]]
    assert cache["d"].columns["ids"].tolist() == [[0, 1], [2, 3], [4, 5]]
    assert cache.bytes_per_token == 2 * 2 + 2
    assert cache.summary == {"a": 2, "b": 1}
    assert Cache(cached(tmp_path / "none", {"a": answer(0)})).bytes_per_token == 0


@pytest.mark.parametrize(
    ("name", "changes", "complaint"),
    [
        ("", {}, "expected one line of text"),
        ("a\nb", {}, "expected one line of text"),
        ("a", {"tail": torch.zeros(2, 1)}, r"column tail has shape \(1,\) per token; expected one"),
        ("a", {"ids": torch.zeros(2, 3)}, r"column ids has shape \(3,\) per token; expected 2"),
        ("a", {"ids": torch.zeros(2)}, r"column ids has shape \(\) per token; expected 2"),
        ("a", {"tail": None}, "column tail has shape None"),
        ("a", {"tail": torch.zeros(3)}, "as many tokens in every column"),
        ("a", {"ids": torch.tensor([[0.0, 1.0], [torch.nan, 1.0]])}, "ids of token 1 is not fin"),
        ("a", {"ids": torch.tensor([[0.0, 1.0], [1.0, torch.inf]])}, "ids of token 1 is not fin"),
    ],
)
def test_columns_of_another_form_are_refused(
    name: str, changes: dict[str, Any], complaint: str, tmp_path: Path
) -> None:
    columns = {**answer(2).columns, **changes}
    given = CachedAnswer({key: value for key, value in columns.items() if value is not None}, 0)
    with pytest.raises(BadData, match=complaint):
        cached(tmp_path, {"good": answer(1), name: given})
