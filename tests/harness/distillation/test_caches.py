"""Caches of teachers' rows: what is written is read, and everything else is refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from harness.core.errors import BadData
from harness.distillation.caches import Cache, CachedAnswer, CacheManifest, CacheWriter
from harness.distillation.shards import token_check

IDS = {"a/x": [1, 2, 3], "b/x": [4], "c/x": []}


def manifest(**changes: Any) -> CacheManifest:
    plain: dict[str, Any] = {
        "columns": {"ids": 2, "values": 2, "tail": 0},
        "vocabulary": 9,
        "tokenizer": "t",
        "answers": "a",
        "models": {"teacher": "m"},
    }
    return CacheManifest(**{**plain, **changes})


def columns(length: int, **changes: Tensor) -> dict[str, Tensor]:
    numbers = torch.arange(2.0 * length).reshape(length, 2)
    made = {"ids": numbers.to(torch.uint16), "values": numbers.half(), "tail": numbers[:, 0].half()}
    return {**made, **changes}


def written(folder: Path, **changes: Any) -> CacheWriter:
    writer = CacheWriter(folder, manifest(**changes))
    answers = {name: CachedAnswer(columns(len(ids)), token_check(ids)) for name, ids in IDS.items()}
    writer.write(0, answers)
    writer.finish(1, {"form": "lists"})
    return writer


def test_what_is_written_is_read(tmp_path: Path) -> None:
    written(tmp_path)
    cache = Cache(tmp_path, {"tokenizer": "t"})
    assert list(cache) == list(IDS)
    assert len(cache) == 3
    assert cache.summary == {"form": "lists"}
    for name, ids in IDS.items():
        found = cache.answer(name, ids)
        for column, value in columns(len(ids)).items():
            assert found.columns[column].dtype == value.dtype
            assert torch.equal(found.columns[column].float(), value.float())
    assert cache.bytes_per_token == 2 * 2 + 2 * 2 + 2


def test_bfloat16_states_are_kept_exactly(tmp_path: Path) -> None:
    states = torch.randn(3, 8).bfloat16()
    writer = CacheWriter(tmp_path, manifest(columns={"teacher": 8}))
    writer.write(0, {"a/x": CachedAnswer({"teacher": states}, token_check([1, 2, 3]))})
    writer.finish(1, {})
    cache = Cache(tmp_path)
    assert torch.equal(cache.answer("a/x", [1, 2, 3]).columns["teacher"], states)
    assert cache.bytes_per_token == 16


def test_an_answer_of_other_tokens_is_refused(tmp_path: Path) -> None:
    written(tmp_path)
    cache = Cache(tmp_path)
    for ids in ([1, 2, 4], [1, 2]):
        with pytest.raises(BadData, match="labels of teacher and student differ"):
            cache.answer("a/x", ids)
    with pytest.raises(BadData, match='no answer "d/x"'):
        cache.answer("d/x", [])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"values": torch.zeros(3, 3)}, "column values has shape"),
        ({"tail": torch.zeros(2)}, "as many tokens in every column"),
        ({"values": torch.full((3, 2), torch.nan)}, "values of token 0 is not finite"),
        ({"tail": torch.tensor([0.0, torch.inf, 0.0])}, "tail of token 1 is not finite"),
    ],
)
def test_wrong_columns_are_refused(
    tmp_path: Path, changes: dict[str, Tensor], message: str
) -> None:
    writer = CacheWriter(tmp_path, manifest())
    with pytest.raises(BadData, match=f'answer "a/x".*{message}'):
        writer.write(0, {"a/x": CachedAnswer(columns(3, **changes), 0)})
    with pytest.raises(BadData, match="expected one line"):
        writer.write(0, {"a\n": CachedAnswer(columns(3), 0)})


def test_another_request_is_refused_by_what_differs(tmp_path: Path) -> None:
    written(tmp_path)
    with pytest.raises(BadData, match="made with vocabulary 9; expected 10"):
        CacheWriter(tmp_path, manifest(vocabulary=10))
    with pytest.raises(BadData, match=r"made with answers a; expected b; it is stale"):
        Cache(tmp_path, {"answers": "b"})
    with pytest.raises(BadData, match="expected a folder with a cache"):
        Cache(tmp_path / "nowhere")


def test_partial_and_foreign_and_damaged_shards_are_refused(tmp_path: Path) -> None:
    writer = written(tmp_path / "one")
    shard = tmp_path / "one" / "shard-00000.safetensors"
    whole = shard.read_bytes()
    (tmp_path / "one" / "complete.json").unlink()
    with pytest.raises(BadData, match="not complete"):
        Cache(tmp_path / "one")
    writer.finish(1, {})
    written(tmp_path / "two", answers="other")
    shard.write_bytes((tmp_path / "two" / "shard-00000.safetensors").read_bytes())
    with pytest.raises(BadData, match="belongs to another cache"):
        Cache(tmp_path / "one")
    shard.write_bytes(whole[:-4])
    with pytest.raises(BadData, match="truncated"):
        Cache(tmp_path / "one")
    for place in range(1, 40):  # the columns and the index are both at the end of the file
        changed = bytearray(whole)
        changed[-place] ^= 1
        shard.write_bytes(bytes(changed))
        with pytest.raises(BadData, match="checksum"):
            Cache(tmp_path / "one").answer("a/x", IDS["a/x"])
