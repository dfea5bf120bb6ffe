"""Sparse teachers on disk: top-k next-token predictions of a model, in safetensors shards.

A teacher is a folder:

    teacher.json                 manifest: k, digests of tokenizer, corpus and model
    shard-00000.safetensors ...  some documents each, memory-mapped; created by one rename
    complete.json                number of shards and document counts, written last

A document of L tokens has L - 1 rows, because the prediction after its last token has no target. A
row is k natural log-probabilities (float16) in descending order and k ids (uint16, or uint32 for
vocabularies above 65,536). Missing entries are -inf.

Size: with k = 10 and uint16 ids, a row takes exactly 40 bytes. Log-probabilities are normalised
over the whole vocabulary, so the mass outside the k tokens is 1 - sum exp(row) (`tail_mass`;
accurate to about 1e-4 in float16) and no normaliser is stored. The data per document (id, length,
cross-entropy, checksum of its token ids) takes less than the 40 bytes that its last token saves,
for ids of at most 20 characters. Token ids are not stored: corpus and tokenizer determine them, the
manifest holds the digests of both, and the checksum detects another tokenisation. Cross-entropies
of single tokens (`token_ce`) are optional and take 2 bytes per row.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from harness.core.errors import BadData
from harness.core.hashing import digest
from harness.core.records import Record, parse
from harness.engine.io import replace_file

Array = npt.NDArray[Any]

ROWS = ("ids", "logps", "token_ce")  # tensors with one entry per row; the others are the index
AGAIN = "delete it and run again: only its documents are computed again"


class Manifest(Record):
    """The request that a teacher answers; shards of another manifest are rejected.

    Attributes:
        format: version of the file format.
        k: entries per row.
        vocabulary: upper bound of the ids, exclusive.
        tokenizer: digest of the tokenizer of the ids (`harness.models.tokenize.tokenizer_digest`).
        corpus: digest of the documents (`documents.corpus_digest`).
        model: digest of the model, see `harness.models.references.model_identity`.
        shard_documents: documents per shard.
        token_ce: whether the cross-entropy of each token is stored.
        settings: other settings that the rows depend on.
    """

    format: Literal[1] = 1
    k: int = Field(ge=1)
    vocabulary: int = Field(ge=1)
    tokenizer: str
    corpus: str
    model: str
    shard_documents: int = Field(default=512, ge=1)
    token_ce: bool = False
    settings: dict[str, bool | int | float | str | None] = {}


@dataclass(frozen=True)
class TeacherDocument:
    """A teacher's predictions for one document of L tokens.

    Attributes:
        id: document id.
        logps, ids: (L - 1, k) when written; (L, k) with an empty last row (-inf) when read.
        ce: mean cross-entropy over the document's scored tokens, in nats; NaN if there are none.
        scored: number of scored tokens.
        check: checksum of the token ids, see `token_check`.
        token_ce: (L - 1,) cross-entropy of each next token, NaN where unknown.
    """

    id: str
    logps: Array
    ids: Array
    ce: float
    scored: int
    check: int
    token_ce: Array | None = None


def token_check(token_ids: Sequence[int]) -> int:
    """Checksum (CRC-32) of a document's token ids.

    >>> token_check([1, 2, 3]) == token_check((1, 2, 3)) != token_check([1, 2, 4])
    True
    """
    return zlib.crc32(np.asarray(token_ids, dtype="<u4").tobytes())


def tail_mass(logps: Array) -> Array:
    """Probability outside the top k of rows (..., k): 1 - sum exp(logp), at least 0.

    >>> float(tail_mass(np.log([[0.5, 0.25]]))[0])
    0.25
    """
    return np.clip(1 - np.exp(logps.astype(np.float32)).sum(axis=-1), 0, None)


class ShardWriter:
    """Writes a teacher shard by shard; an interrupted teacher is continued.

    Raises:
        BadData: the folder holds a teacher of another manifest.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder = folder
        self.manifest = manifest
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "teacher.json"
        if not path.exists():
            replace_file(path, json.dumps(manifest.model_dump(), indent=1, sort_keys=True).encode())
        known = read_manifest(folder).model_dump()
        for name, value in manifest.model_dump().items():
            if known[name] != value:
                raise BadData(
                    f"{path}: the folder holds a teacher with {name} {known[name]}; expected "
                    f"{value}; choose another folder or delete this one"
                )

    def has(self, number: int) -> bool:
        """Whether a shard exists; existing shards are complete."""
        return shard_path(self.folder, number).exists()

    def write(self, number: int, documents: Sequence[TeacherDocument]) -> None:
        """Write one shard.

        Raises:
            BadData: the shape of rows is wrong, an id is outside the vocabulary, or values are not
                log-probabilities; the message names the document.
        """
        from safetensors.numpy import save

        for document in documents:
            self._check(document)
        k = self.manifest.k
        id_type = np.uint16 if self.manifest.vocabulary <= 1 << 16 else np.uint32
        with np.errstate(over="ignore"):  # values below float16's range become -inf
            logps = [np.minimum(d.logps, 0).astype(np.float16) for d in documents]
        tensors: dict[str, Array] = {
            "logps": np.concatenate([np.zeros((0, k), np.float16), *logps]),
            "ids": np.concatenate([np.zeros((0, k), id_type), *(d.ids for d in documents)]),
            "lengths": np.asarray([len(d.ids) for d in documents], np.uint32),
            "ce": np.asarray([d.ce for d in documents], np.float32),
            "scored": np.asarray([d.scored for d in documents], np.uint32),
            "checks": np.asarray([d.check for d in documents], np.uint32),
            "names": np.frombuffer("\n".join(d.id for d in documents).encode(), np.uint8),
        }
        tensors["ids"] = tensors["ids"].astype(id_type)
        if self.manifest.token_ce:
            single = [d.token_ce for d in documents if d.token_ce is not None]
            tensors["token_ce"] = np.concatenate([*single, np.zeros(0)]).astype(np.float16)
        sums = {part: _checksum(part, tensors) for part in ("index", "rows")}
        known = {"manifest": digest(self.manifest.model_dump()), **sums}
        # One entry: safetensors writes several in arbitrary order, but shards must be reproducible.
        content = save(tensors, {"teacher": json.dumps(known, sort_keys=True)})
        replace_file(shard_path(self.folder, number), content)

    def finish(self, shards: int, counts: Mapping[str, int] | None = None) -> None:
        """Mark the teacher as complete.

        Args:
            shards: number of shards.
            counts: numbers of documents, e.g. empty, cut, split.
        """
        done = {"shards": shards, "counts": dict(counts or {})}
        replace_file(self.folder / "complete.json", json.dumps(done, sort_keys=True).encode())

    def _check(self, document: TeacherDocument) -> None:
        where, rows = f'document "{document.id}"', len(document.ids)
        found = (document.logps.shape, document.ids.shape)
        if found != ((rows, self.manifest.k),) * 2:
            raise BadData(
                f"{where}: log-probabilities and ids have shapes {found[0]} and {found[1]}; "
                f"expected (length - 1, {self.manifest.k}) both"
            )
        if self.manifest.token_ce and (document.token_ce is None or len(document.token_ce) != rows):
            raise BadData(f"{where} has no cross-entropy for each row; the manifest has token_ce")
        if "\n" in document.id:
            raise BadData(f"document id {document.id!r} has a line break; expected one line")
        if rows and int(document.ids.max()) >= self.manifest.vocabulary:
            raise BadData(
                f"{where}: id {int(document.ids.max())} is outside the vocabulary of "
                f"{self.manifest.vocabulary}"
            )
        wrong = ~(document.logps <= 1e-3).all(axis=1)
        if wrong.any():
            row = int(wrong.argmax())
            raise BadData(
                f"{where}, token {row}: {document.logps[row].tolist()} are not log-probabilities; "
                "expected numbers of at most 0"
            )


class Teacher(Mapping[str, TeacherDocument]):
    """Documents of a teacher by id, read from memory-mapped shards.

    Args:
        folder: the teacher's folder.
        tokenizer, corpus: expected digests; None is not checked.
        verify: check a shard's rows before its first document is read.

    Raises:
        BadData: the teacher is incomplete, has another tokenizer or corpus, or a shard is missing,
            truncated, corrupt or from another teacher; the message names the file.
    """

    def __init__(
        self,
        folder: Path,
        *,
        tokenizer: str | None = None,
        corpus: str | None = None,
        verify: bool = True,
    ) -> None:
        self.folder = folder
        self.manifest = read_manifest(folder)
        for name, expected in (("tokenizer", tokenizer), ("corpus", corpus)):
            found = getattr(self.manifest, name)
            if expected is not None and found != expected:
                raise BadData(
                    f"{folder}: the teacher was made with {name} {found}; expected {expected}; "
                    f"make the teacher again with the {name} of this run"
                )
        done = read_listing(folder / "complete.json", "the teacher is not complete: run it again")
        self.counts: dict[str, int] = done["counts"]
        mine = digest(self.manifest.model_dump())
        paths = [shard_path(folder, number) for number in range(done["shards"])]
        shards = [_Shard(path, mine, verify) for path in paths]
        self._places = {
            name: (shard, place) for shard in shards for place, name in enumerate(shard.names)
        }

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __getitem__(self, id: str) -> TeacherDocument:
        shard, place = self._places[id]
        return shard.document(place)

    def document(self, id: str, token_ids: Sequence[int]) -> TeacherDocument:
        """The predictions for a document with these token ids.

        Raises:
            BadData: the teacher lacks the document, or tokenised it differently.
        """
        if id not in self._places:
            raise BadData(f'{self.folder}: the teacher has no document "{id}"')
        found = self[id]
        if len(found.ids) != len(token_ids) or found.check != token_check(token_ids):
            raise BadData(
                f'{self.folder}: the teacher read {len(found.ids)} tokens of document "{id}"; '
                f"expected these {len(token_ids)}; tokenise both with the same settings"
            )
        return found


class _Shard:
    """One shard file: the index in memory, the rows memory-mapped."""

    def __init__(self, path: Path, manifest: str, verify: bool) -> None:
        from safetensors import SafetensorError, safe_open

        try:
            self._file = safe_open(path, framework="np")
            self._sums = json.loads(self._file.metadata()["teacher"])
            names = list(self._file.keys())
            self.index = {n: self._file.get_tensor(n) for n in names if n not in ROWS}
            self._rows = {n: self._file.get_slice(n) for n in names if n in ROWS}
        except OSError:
            raise BadData(f"{path}: the shard is missing; run the teacher again") from None
        except (SafetensorError, KeyError, TypeError, ValueError):
            raise BadData(f"{path}: the shard is truncated or not a shard; {AGAIN}") from None
        self.path = path
        self._unverified = verify
        self._verify("index", self.index)
        if self._sums.get("manifest") != manifest:
            raise BadData(f"{path}: the shard belongs to another teacher; {AGAIN}")
        self.starts = np.concatenate([[0], np.cumsum(self.index["lengths"], dtype=np.int64)])
        text = self.index["names"].tobytes().decode()
        self.names = text.split("\n") if len(self.index["lengths"]) else []

    def document(self, place: int) -> TeacherDocument:
        if self._unverified:
            self._verify("rows", {name: self._file.get_tensor(name) for name in self._rows})
            self._unverified = False
        first, last = self.starts[place : place + 2]
        rows = {name: part[first:last] for name, part in self._rows.items()}
        size = (last - first + 1, rows["ids"].shape[1])
        logps, ids = np.full(size, -np.inf, np.float16), np.zeros(size, rows["ids"].dtype)
        logps[:-1], ids[:-1] = rows["logps"], rows["ids"]
        ce, scored, check = (self.index[name][place].item() for name in ("ce", "scored", "checks"))
        single = rows.get("token_ce")
        return TeacherDocument(self.names[place], logps, ids, ce, scored, check, single)

    def _verify(self, part: str, tensors: Mapping[str, Array]) -> None:
        if _checksum(part, tensors) != self._sums.get(part):
            raise BadData(f"{self.path}: the checksum of the shard's {part} is wrong; {AGAIN}")


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a teacher's folder.

    Raises:
        BadData, BadRecord: the manifest is missing or cannot be read.
    """
    path = folder / "teacher.json"
    return parse(Manifest, read_listing(path, "expected a folder with a teacher"), str(path))


def read_listing(path: Path, hint: str) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise BadData(f"{path}: not found; {hint}") from None
    except ValueError:
        raise BadData(f"{path}: not JSON; delete the folder and run again") from None


def shard_path(folder: Path, number: int) -> Path:
    return folder / f"shard-{number:05}.safetensors"


def _checksum(part: str, tensors: Mapping[str, Array]) -> str:
    """Digest of a shard's row tensors, or of all other tensors."""
    state = hashlib.blake2b(digest_size=16)
    for name in sorted(name for name in tensors if (name in ROWS) == (part == "rows")):
        value = np.ascontiguousarray(tensors[name])
        state.update(f"{name} {value.dtype.name} {value.shape}\0".encode())
        state.update(value.reshape(-1).view(np.uint8).data)
    return state.hexdigest()
