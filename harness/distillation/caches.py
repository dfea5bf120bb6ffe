"""Rows of teachers on disk for given answers: any columns per scored token, in safetensors shards.

`harness.distillation.shards` keeps a row per token of a text. A cache keeps one per SCORED token of
an answer, with columns of its own: a list of ids with values and a rest, or hidden states.

    cache.json                  manifest: columns, digests of tokenizer, answers and models
    shard-00000.safetensors ... some answers each, memory-mapped; created by one rename
    complete.json               number of shards and a summary, written last

Size: exactly the bytes of the columns per token, and an index of about 40 bytes per answer. A list
of k = 50 ids of a large vocabulary with float16 values and rest has 50 * 4 + 50 * 2 + 2 = 302.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from harness.core.errors import BadData
from harness.core.hashing import digest
from harness.core.records import Record, parse
from harness.distillation.shards import AGAIN, read_listing, shard_path, token_check
from harness.engine.io import replace_file

INDEX = ("lengths", "checks", "names")


class CacheManifest(Record):
    """The request that a cache answers; one of another manifest is refused.

    Attributes:
        columns: width of each column per token; 0 is a single number.
        vocabulary: upper bound of ids, exclusive.
        tokenizer, answers: digests of the tokenizer, and of the rows with their token limits.
        models: name -> identity of the models that were read.
        shard_rows: answers per shard.
        settings: other settings that the rows depend on.
    """

    format: Literal[1] = 1
    columns: dict[str, int]
    vocabulary: int = Field(ge=1)
    tokenizer: str
    answers: str
    models: dict[str, str]
    shard_rows: int = Field(default=256, ge=1)
    settings: dict[str, bool | int | float | str | None] = {}


@dataclass(frozen=True)
class CachedAnswer:
    """The rows of one answer: columns (L, width) or (L,), and the checksum of its L token ids."""

    columns: Mapping[str, Tensor]
    check: int


class CacheWriter:
    """Writes a cache shard by shard; an interrupted cache is continued.

    Raises:
        BadData: the folder holds a cache of another manifest.
    """

    def __init__(self, folder: Path, manifest: CacheManifest) -> None:
        self.folder = folder
        self.manifest = manifest
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "cache.json"
        if not path.exists():
            content = json.dumps(manifest.model_dump(), indent=1, sort_keys=True)
            replace_file(path, content.encode())
        refuse_other(path, read_cache_manifest(folder), manifest.model_dump())

    def has(self, number: int) -> bool:
        """Whether a shard exists; existing shards are complete."""
        return shard_path(self.folder, number).exists()

    def write(self, number: int, answers: Mapping[str, CachedAnswer]) -> None:
        """Write one shard.

        Raises:
            BadData: a column is missing or has another shape, or values are not finite; the
                message names the answer.
        """
        from safetensors.torch import save

        for name, answer in answers.items():
            self._check(name, answer)
        tensors = {
            column: torch.cat([answer.columns[column] for answer in answers.values()])
            for column in self.manifest.columns
        }
        first = next(iter(self.manifest.columns))
        lengths = [len(answer.columns[first]) for answer in answers.values()]
        tensors["lengths"] = torch.tensor(lengths, dtype=torch.int64)
        checks = [answer.check for answer in answers.values()]
        tensors["checks"] = torch.tensor(checks, dtype=torch.int64)
        written = bytearray("\n".join(answers).encode())
        tensors["names"] = torch.frombuffer(written, dtype=torch.uint8)
        known = {"manifest": digest(self.manifest.model_dump()), **_checksums(tensors)}
        content = save(tensors, {"cache": json.dumps(known, sort_keys=True)})
        replace_file(shard_path(self.folder, number), content)

    def finish(self, shards: int, summary: Mapping[str, Any]) -> None:
        """Mark the cache as complete."""
        done = {"shards": shards, "summary": dict(summary)}
        replace_file(self.folder / "complete.json", json.dumps(done, sort_keys=True).encode())

    def _check(self, name: str, answer: CachedAnswer) -> None:
        if not name or "\n" in name:
            raise BadData(f"answer name {name!r}: expected one line of text")
        sizes = {len(column) for column in answer.columns.values()}
        for column, width in self.manifest.columns.items():
            found = answer.columns.get(column)
            shape = None if found is None else tuple(found.shape[1:])
            if shape != ((width,) if width else ()) or len(sizes) != 1:
                raise BadData(
                    f'answer "{name}": column {column} has shape {shape} per token; expected '
                    f"{width or 'one number'}, and as many tokens in every column"
                )
            if found is not None and found.is_floating_point() and not found.isfinite().all():
                row = int((~found.isfinite()).reshape(len(found), -1).any(1).nonzero()[0])
                raise BadData(
                    f'answer "{name}": {column} of token {row} is not finite; the model gives NaN '
                    "or infinite logits: load it in a wider dtype, or omit the row"
                )


class Cache(Mapping[str, CachedAnswer]):
    """Answers of a cache by name, read from memory-mapped shards.

    Args:
        expected: fields of the manifest that must have these values.

    Raises:
        BadData: the cache is incomplete, has another manifest, or a shard is missing, truncated,
            corrupt or from another cache; the message names the file.
    """

    def __init__(self, folder: Path, expected: Mapping[str, Any] | None = None) -> None:
        self.folder = folder
        self.manifest = read_cache_manifest(folder)
        refuse_other(folder / "cache.json", self.manifest, expected or {})
        done = read_listing(folder / "complete.json", "the cache is not complete: run it again")
        self.summary: dict[str, Any] = done["summary"]
        mine = digest(self.manifest.model_dump())
        self._places: dict[str, tuple[_CacheShard, int]] = {}
        for number in range(done["shards"]):
            shard = _CacheShard(shard_path(folder, number), mine)
            self._places |= {name: (shard, place) for place, name in enumerate(shard.names)}

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __getitem__(self, name: str) -> CachedAnswer:
        shard, place = self._places[name]
        return shard.answer(place)

    def answer(self, name: str, token_ids: Sequence[int]) -> CachedAnswer:
        """The rows of an answer with these token ids.

        Raises:
            BadData: the cache lacks it, or it was made from other tokens.
        """
        if name not in self._places:
            raise BadData(
                f'{self.folder}: the cache has no answer "{name}"; make it again from these rows'
            )
        shard, place = self._places[name]
        if shard.lengths[place] != len(token_ids) or shard.checks[place] != token_check(token_ids):
            raise BadData(
                f'{self.folder}: answer "{name}" was cached with {shard.lengths[place]} tokens; '
                f"expected these {len(token_ids)}: the labels of teacher and student differ, so "
                "use the same rows, tokenizer and limits for both"
            )
        return shard.answer(place)

    @property
    def bytes_per_token(self) -> float:
        """Bytes of the columns per token."""
        shards = {shard for shard, _ in self._places.values()}
        rows = [row for shard in shards for row in shard.rows().values()]
        tokens = sum(sum(shard.lengths) for shard in shards)
        return sum(row.numel() * row.element_size() for row in rows) / max(1, tokens)


class _CacheShard:
    """One shard file: the index in memory, the columns memory-mapped."""

    def __init__(self, path: Path, manifest: str) -> None:
        from safetensors import SafetensorError, safe_open

        self.path = path
        try:
            self._file = safe_open(path, framework="pt")
            self._known = json.loads(self._file.metadata()["cache"])
            names = list(self._file.keys())
            index = {name: self._file.get_tensor(name) for name in INDEX}
        except OSError:
            raise BadData(f"{path}: the shard is missing; run the cache again") from None
        except (SafetensorError, KeyError, TypeError, ValueError):
            raise BadData(f"{path}: the shard is truncated or not a shard; {AGAIN}") from None
        if self._known.get("manifest") != manifest:
            raise BadData(f"{path}: the shard belongs to another cache; {AGAIN}")
        if _tensor_digest(index) != self._known.get("index"):
            raise BadData(f"{path}: the checksum of the shard's index is wrong; {AGAIN}")
        self.names = index["names"].numpy().tobytes().decode().split("\n")
        self.lengths: list[int] = index["lengths"].tolist()
        self.checks: list[int] = index["checks"].tolist()
        self.columns = sorted(set(names) - set(INDEX))
        self._starts = [0]
        for length in self.lengths:
            self._starts.append(self._starts[-1] + length)
        self._rows: dict[str, Tensor] | None = None

    def rows(self) -> dict[str, Tensor]:
        """All columns of the shard, memory-mapped; the first call checks them."""
        if self._rows is None:
            rows = {name: self._file.get_tensor(name) for name in self.columns}
            if _tensor_digest(rows) != self._known.get("rows"):
                raise BadData(f"{self.path}: the checksum of the shard's rows is wrong; {AGAIN}")
            self._rows = rows
        return self._rows

    def answer(self, place: int) -> CachedAnswer:
        span = slice(*self._starts[place : place + 2])
        columns = {name: column[span] for name, column in self.rows().items()}
        return CachedAnswer(columns, self.checks[place])


def read_cache_manifest(folder: Path) -> CacheManifest:
    """The manifest of a cache's folder.

    Raises:
        BadData, BadRecord: the manifest is missing or cannot be read.
    """
    path = folder / "cache.json"
    return parse(CacheManifest, read_listing(path, "expected a folder with a cache"), str(path))


def refuse_other(path: Path, found: CacheManifest, expected: Mapping[str, Any]) -> None:
    """Raise BadData if fields of a manifest differ from the expected ones."""
    known = found.model_dump()
    for name, value in expected.items():
        if known[name] != value:
            raise BadData(
                f"{path}: the cache was made with {name} {known[name]}; expected {value}; it is "
                "stale: make the cache again, or choose another folder"
            )


def _checksums(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    index = {name: value for name, value in tensors.items() if name in INDEX}
    rows = {name: value for name, value in tensors.items() if name not in INDEX}
    return {"index": _tensor_digest(index), "rows": _tensor_digest(rows)}


def _tensor_digest(tensors: Mapping[str, Tensor]) -> str:
    state = hashlib.blake2b(digest_size=16)
    for name in sorted(tensors):
        value = tensors[name].contiguous()
        state.update(f"{name} {value.dtype} {tuple(value.shape)}\0".encode())
        state.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return state.hexdigest()
