"""Data of explicit fusion: documents with their teachers, packed into blocks and batches.

    Document + Teachers --fusion_example--> FusionExample --pack--> blocks --FusionCollator--> batch

Packing "documents" fills blocks with whole documents (only those longer than a block are cut);
position ids restart with each document, so that documents do not see each other, and the first
token of a document is not predicted from the previous document. "wrapped" concatenates documents
and cuts every `block_size` tokens, as the code released with FuseLLM does: documents in one block
see each other. "none" puts one document into each row.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from harness.distillation.documents import Document
from harness.distillation.shards import Teacher
from harness.models.tokenize import IGNORE

Packing = Literal["documents", "wrapped", "none"]
Level = Literal["block", "document", "token"]
WINDOW = 1000  # documents that "wrapped" concatenates at a time, as the released code does


class Piece(NamedTuple):
    """The tokens of a document from start to stop."""

    document: int
    start: int
    stop: int

    def __repr__(self) -> str:
        return f"Piece{tuple(self)}"


@dataclass(frozen=True)
class FusionExample:
    """Columns of one sequence of L tokens with K teachers of k entries each.

    Attributes:
        positions: (L,) position of each token in its document.
        teacher_logps, teacher_ids: (L, K, k), the base first; (L, 0, 0) without teachers.
        teacher_ce: (L, K) cross-entropies by which teachers are chosen.
    """

    input_ids: Any
    labels: Any
    positions: Any
    teacher_logps: Any
    teacher_ids: Any
    teacher_ce: Any

    def __len__(self) -> int:
        return len(self.input_ids)


def fusion_example(
    document: Document, teachers: Sequence[Teacher], level: Level = "block"
) -> FusionExample:
    """The columns of a document: its tokens and the rows of its teachers.

    Args:
        level: "token" takes each teacher's cross-entropy of the next token, which its shards must
            contain; otherwise it is that of the document.

    Raises:
        BadData: a teacher that did not read this document with these tokens.
    """
    ids = document.tokens.input_ids
    length, count = len(ids), len(teachers)
    found = [teacher.document(document.id, ids) for teacher in teachers]
    k = max((one.ids.shape[1] for one in found), default=0)
    logps = np.full((length, count, k), -np.inf, np.float16)
    words = np.zeros((length, count, k), np.uint32)
    ce = np.full((length, count), np.nan, np.float32)
    for place, one in enumerate(found):
        width = one.ids.shape[1]
        logps[:, place, :width], words[:, place, :width] = one.logps, one.ids
        if level != "token":
            ce[:, place] = one.ce
        elif one.token_ce is not None:
            ce[:-1, place] = one.token_ce
        else:
            from harness.core.errors import BadData

            raise BadData(
                f"{teachers[place].folder}: the teacher has no cross-entropies of single tokens; "
                "make it with token_ce, or choose teachers by block or document"
            )
    labels = np.asarray(document.tokens.labels)
    return FusionExample(np.asarray(ids), labels, np.arange(length), logps, words, ce)


def plan_blocks(lengths: Sequence[int], block_size: int, packing: Packing) -> list[list[Piece]]:
    """The pieces of documents that make up each block; every token is in exactly one block.

    >>> plan_blocks([3, 2], 4, "wrapped")
    [[Piece(0, 0, 3), Piece(1, 0, 1)], [Piece(1, 1, 2)]]
    >>> plan_blocks([2, 5, 1], 4, "documents")
    [[Piece(1, 0, 4)], [Piece(0, 0, 2), Piece(1, 4, 5), Piece(2, 0, 1)]]
    """
    if packing == "wrapped":
        return _wrapped(lengths, block_size)
    pieces = [
        Piece(number, start, min(start + block_size, length))
        for number, length in enumerate(lengths)
        for start in range(0, length, block_size)
    ]
    if packing == "none":
        return [[piece] for piece in pieces]
    # Best fit, longest first: into the fullest block that has room for the piece.
    blocks: list[list[Piece]] = []
    room: list[tuple[int, int]] = []  # (tokens free, block), sorted
    for piece in sorted(pieces, key=lambda piece: piece.start - piece.stop):
        size = piece.stop - piece.start
        place = bisect_left(room, (size, 0))
        free, block = room.pop(place) if place < len(room) else (block_size, len(blocks))
        if block == len(blocks):
            blocks.append([])
        blocks[block].append(piece)
        if free > size:
            insort(room, (free - size, block))
    return blocks


def _wrapped(lengths: Sequence[int], block_size: int) -> list[list[Piece]]:
    blocks: list[list[Piece]] = []
    for first in range(0, len(lengths), WINDOW):
        room = 0
        for number in range(first, min(first + WINDOW, len(lengths))):
            start = 0
            while start < lengths[number]:
                if not room:
                    blocks.append([])
                    room = block_size
                stop = min(lengths[number], start + room)
                blocks[-1].append(Piece(number, start, stop))
                room -= stop - start
                start = stop
    return blocks


def pack(
    load: Callable[[int], FusionExample],
    block: Sequence[Piece],
    packing: Packing,
    level: Level = "block",
) -> FusionExample:
    """One block as an example; `load` returns the example of a document by its number.

    The cross-entropy of a block ("block") is the mean over its tokens of the cross-entropies of
    their documents, as in the released code; documents without scored tokens do not count.
    """
    parts = []
    for piece in block:
        part = _slice(load(piece.document), slice(piece.start, piece.stop))
        if packing != "wrapped":
            labels = part.labels.copy()
            labels[0] = IGNORE
            part = replace(part, labels=labels, positions=np.arange(len(part)))
        parts.append(part)
    names = [field.name for field in fields(FusionExample)]
    columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    if level == "block":
        known = ~np.isnan(columns["teacher_ce"])
        total = np.where(known, columns["teacher_ce"], 0).sum(axis=0)
        with np.errstate(invalid="ignore"):
            columns["teacher_ce"] = np.broadcast_to(total / known.sum(axis=0), known.shape)
    return FusionExample(**columns)


def _slice(example: FusionExample, part: slice) -> FusionExample:
    return FusionExample(*(getattr(example, f.name)[part] for f in fields(FusionExample)))


@dataclass(frozen=True)
class Blocks:
    """Packed blocks by index, each made on access.

    Attributes:
        load: the example of a document by its number.
        plan: the pieces of each block, see `plan_blocks`.
    """

    load: Callable[[int], FusionExample]
    plan: Sequence[Sequence[Piece]]
    packing: Packing
    level: Level

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, place: int) -> FusionExample:
        return pack(self.load, self.plan[place], self.packing, self.level)


@dataclass(frozen=True)
class FusionCollator:
    """Makes batches for `fusion_loss.fusion_sums`, padded on the right.

    {input_ids, attention_mask, labels: (B, L)}; with packing "documents" also position_ids (padding
    counts as a document); with teachers also teacher_logps and teacher_ids (B, L, K, k) and
    teacher_ce (B, L, K).
    """

    pad_id: int
    packing: Packing = "none"

    def __call__(self, examples: Sequence[FusionExample]) -> dict[str, Tensor]:
        length = max(map(len, examples))

        def column(name: str, fill: float, dtype: torch.dtype) -> Tensor:
            values = [getattr(example, name) for example in examples]
            shape = (len(values), length, *(max(s) for s in zip(*(v.shape[1:] for v in values))))
            padded: Any = np.full(shape, fill, values[0].dtype)
            for row, value in enumerate(values):
                padded[(row, *(slice(size) for size in value.shape))] = value
            return torch.from_numpy(padded).to(dtype)

        ids = column("input_ids", self.pad_id, torch.long)
        sizes = torch.tensor([len(example) for example in examples])
        batch = {
            "input_ids": ids,
            "attention_mask": (torch.arange(length) < sizes[:, None]).long(),
            "labels": column("labels", IGNORE, torch.long),
        }
        if self.packing == "documents":
            beyond = torch.arange(length) - sizes[:, None]
            positions = column("positions", 0, torch.long)
            batch["position_ids"] = torch.where(beyond >= 0, beyond, positions)
        if examples[0].teacher_ids.shape[1]:
            batch["teacher_logps"] = column("teacher_logps", -np.inf, torch.float32)
            batch["teacher_ids"] = column("teacher_ids", 0, torch.long)
            batch["teacher_ce"] = column("teacher_ce", np.nan, torch.float32)
        return batch


def unpack(blocks: Sequence[Sequence[Piece]], columns: Sequence[Any]) -> list[Any]:
    """Columns of documents from columns of blocks: the inverse of packing."""
    parts: dict[int, list[tuple[int, Any]]] = {}
    for block, column in zip(blocks, columns, strict=True):
        done = 0
        for piece in block:
            size = piece.stop - piece.start
            found = column[done : done + size]
            parts.setdefault(piece.document, []).append((piece.start, found))
            done += size
    return [
        np.concatenate([part for _, part in sorted(parts[number], key=lambda pair: pair[0])])
        for number in sorted(parts)
    ]
