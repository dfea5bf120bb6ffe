"""Transfer a source model's teacher to the target's tokenizer.

    source shards + documents + two tokenizers --align positions, map tokens--> target shards

Alignment covers the text of a document or each answer of a conversation. Each model reads prompts
in its own chat template, so rows inside prompts are empty. The prediction at the last token before
a text (BOS, or the end of the prompt) is transferred to the corresponding position, and the models'
end-of-turn tokens map to each other. A position without a counterpart is one-hot on the next token
(`harness.distillation.align.transfer`).

A document's cross-entropy is its total negative log-likelihood divided by the number of target
tokens. Divided by the source's own tokens, character-level models would appear better than all
others (`ce_per`).

`released` follows a paper's released code instead: alignment by spelling over whole sequences, with
its transfer rules and tie-breaking (`harness.distillation.align.legacy`). Departure even then:
sources store normalised log-probabilities, so where FuseChat v1 mixes the logits of several steps,
here log-probabilities are mixed, and only the k largest entries of a mixture are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from harness.core.errors import BadData
from harness.distillation.align.counts import pair_counts, statistics_mapping
from harness.distillation.align.dtw import Ints, dtw
from harness.distillation.align.legacy import Rows, Stored, fusechat_steps, fusellm_steps
from harness.distillation.align.offsets import Alignment, Reading, align, ends_in, read
from harness.distillation.align.report import AlignmentReport, alignment_report
from harness.distillation.align.tokens import Vocabulary, decoded, swap_marker, vocabulary
from harness.distillation.align.transfer import transfer
from harness.distillation.align.vocab import cooccurrences, map_vocabulary, nearest_tokens
from harness.distillation.documents import (
    Document,
    corpus_digest,
    scored_spans,
    scored_texts,
    vocabulary_size,
)
from harness.distillation.produce import Progress
from harness.distillation.settings import MappingSettings
from harness.distillation.shards import (
    Array,
    Manifest,
    ShardWriter,
    Teacher,
    TeacherDocument,
    token_check,
)
from harness.engine.operations import Row
from harness.models import chat
from harness.models.tokenize import IGNORE, tokenizer_digest


@dataclass(frozen=True, eq=False)
class Side:
    """One of the two models: its tokenizer, and the function that tokenises a row."""

    tokenizer: Any
    encode: Callable[[Row], Document]

    @cached_property
    def vocabulary(self) -> Vocabulary:
        return vocabulary(self.tokenizer)

    @cached_property
    def decoded(self) -> list[str]:
        return decoded(self.tokenizer, range(len(self.vocabulary)))

    def texts(self, row: Row, document: Document) -> list[tuple[Reading, int]]:
        """The texts of a document to align, each with the position of its first token.

        Raises:
            BadData: the labels do not mark one span per text.
        """
        tokens, found = document.tokens, []
        texts, spans = scored_texts(row), scored_spans(tokens.labels)
        if len(texts) != len(spans):
            raise BadData(
                f'document "{row["id"]}": {len(spans)} of {len(texts)} answers are scored'
            )
        for text, (start, stop) in zip(texts, spans):
            one = read(self.tokenizer, self.vocabulary, text.encode(errors="replace").decode())
            if "messages" in row:
                stop -= 1  # the end of the turn
            else:
                start = int(tokens.input_ids[: len(one.ids)] != one.ids.tolist())
                stop = start + len(one.ids)
            ids = tokens.input_ids[start:stop]
            if ids != one.ids.tolist():  # after a template, a text may be tokenised differently
                inner = np.array(ids, np.int64)
                one = Reading(inner, ends_in(text, self.vocabulary, inner, None), self.vocabulary)
            found.append((one, start))
        return found


@dataclass(frozen=True, eq=False)
class Part:
    """One text tokenised by (base, source), its first positions in both, and the alignment."""

    readings: tuple[Reading, Reading]
    starts: tuple[int, int]
    alignment: Alignment


@dataclass(frozen=True, eq=False)
class Pair:
    """A document tokenised by both models: one part, or one part per answer of a conversation."""

    base: Document
    source: Document
    parts: tuple[Part, ...]

    @property
    def step(self) -> Ints:
        """(M,) source position of each target position, -1 where the source has no prediction."""
        step = np.full(len(self.base.tokens.input_ids), -1, np.int64)
        for part in self.parts:
            inner, (b, s) = part.alignment.step, part.starts
            step[b : b + len(inner)] = np.where(inner >= 0, inner + s, -1)
            if b and s:
                step[b - 1] = s - 1
        step[step == len(self.source.tokens.input_ids) - 1] = -1
        return step

    @property
    def outside(self) -> NDArray[np.bool_]:
        """(M,) whether the next token of a target position is not scored."""
        labels = np.array(self.base.tokens.labels, np.int64)
        return np.append(labels[1:] == IGNORE, False)


def map_teacher(
    folder: Path,
    rows: Sequence[Row],
    teacher: Teacher,
    base: Side,
    source: Side,
    settings: MappingSettings,
    *,
    progress: Progress = lambda done, total: None,
) -> AlignmentReport:
    """Write a source's teacher in the target's tokens, or the missing shards of an interrupted one.

    Args:
        folder: of the target teacher.
        rows: the documents that the source teacher read.
        teacher: the source's teacher.
        base, source: the target model's and the source model's side.
        progress: called after each shard with the documents done and their total number.

    Returns:
        The alignment report over all documents, aligned by `settings.alignment` (by offsets with
        `released`).

    Raises:
        BadData: the teacher lacks a document or tokenised it differently, or alignment, transfer
            or writing fails.
    """
    known = teacher.manifest
    manifest = Manifest(
        k=known.k,
        vocabulary=vocabulary_size(base.tokenizer),
        tokenizer=tokenizer_digest(base.tokenizer),
        corpus=corpus_digest(rows),
        model=known.model,
        shard_documents=known.shard_documents,
        token_ce=known.token_ce,
        settings={**settings.model_dump(), "source": known.tokenizer},
    )
    writer, size = ShardWriter(folder, manifest), known.shard_documents
    pair = partial(_pair, base, source, "offset" if settings.released else settings.alignment)
    made = (_Released if settings.released else _Transfer)(base, source, settings, rows, pair)

    def every() -> Iterator[tuple[Reading, Reading, Alignment]]:
        for number, start in enumerate(range(0, len(rows), size)):
            pairs = [pair(row) for row in rows[start : start + size]]
            if not writer.has(number):
                writer.write(number, [made.document(one, teacher) for one in pairs])
            yield from ((*part.readings, part.alignment) for one in pairs for part in one.parts)
            progress(start + len(pairs), len(rows))

    report = alignment_report(every()).model_copy(update={"documents": len(rows)})
    writer.finish(-(-len(rows) // size), {"documents": len(rows)})
    return report


def _pair(base: Side, source: Side, mode: Literal["offset", "dtw"], row: Row) -> Pair:
    documents = (base.encode(row), source.encode(row))
    sides = (side.texts(row, document) for side, document in zip((base, source), documents))
    parts = [
        Part((ours, theirs), (b, s), align(ours, theirs, mode))
        for (ours, b), (theirs, s) in zip(*sides)
    ]
    return Pair(*documents, tuple(parts))


class _Transfer:
    """Computes the target rows of one document at a time."""

    def __init__(
        self,
        base: Side,
        source: Side,
        settings: MappingSettings,
        rows: Sequence[Row],
        pair: Callable[[Row], Pair],
    ) -> None:
        self.base, self.source, self.settings = base, source, settings
        self.mapping = self._mapping(map(pair, rows))
        if any("messages" in row for row in rows) and not settings.released:
            ours, theirs = (chat.end_of_turn_id(side.tokenizer) for side in (base, source))
            self.mapping[theirs] = ours

    def document(self, pair: Pair, teacher: Teacher) -> TeacherDocument:
        found = teacher.document(pair.source.id, pair.source.tokens.input_ids)
        ids = np.where(found.logps > -np.inf, found.ids.astype(np.int64), -1)
        logps, mapped, step = self.rows(pair, found.logps, ids)
        ours = pair.base.tokens.input_ids
        single = None
        if found.token_ce is not None:
            known = np.append(found.token_ce.astype(np.float32), np.float32(np.nan))
            single = np.where(step >= 0, known[step], np.nan)[:-1]
        ce, scored = found.ce, found.scored
        if self.settings.ce_per == "target_token" and not self.settings.released:
            mine = sum(label != IGNORE for label in pair.base.tokens.labels[1:])
            ce, scored = (ce * scored / mine if mine else float("nan")), mine
        return TeacherDocument(
            found.id,
            logps[:-1],
            np.maximum(mapped[:-1], 0),
            ce,
            scored,
            token_check(ours),
            single,
        )

    def rows(self, pair: Pair, logps: Array, ids: Ints) -> tuple[Array, Ints, Ints]:
        """Log-probabilities and ids (M, k), and the source position (M,) of each row."""
        step = pair.step
        found = transfer(
            logps,
            ids,
            step,
            self.mapping,
            np.array(pair.base.tokens.input_ids, np.int64),
            onehot_target=self.settings.onehot_target,
            duplicates=self.settings.duplicates,
        )
        found.logps[pair.outside] = -np.inf  # inside a prompt
        return found.logps, found.ids, step

    def _mapping(self, pairs: Iterable[Pair]) -> Ints:
        ours, theirs = self.base.vocabulary, self.source.vocabulary
        kind = self.settings.vocabulary
        if kind == "statistics":
            aligned = (
                (ours.ids, theirs.ids, part.alignment.first, part.alignment.last)
                for pair in pairs
                for part in pair.parts
                for ours, theirs in [part.readings]
            )
            counted = pair_counts(aligned, (len(ours), len(theirs)))
            return statistics_mapping(counted, ours, theirs)
        counts = None
        if kind == "cooccurrence":
            read_ids = [[d.tokens.input_ids for d in (p.base, p.source)] for p in pairs]
            sizes = (len(ours), len(theirs))
            counts = tuple(cooccurrences(ids, n) for ids, n in zip(zip(*read_ids), sizes))
        mode = kind if kind in ("exact", "prefix") else "nearest"
        return map_vocabulary(ours, theirs, cast(Any, mode), cast(Any, counts))


class _Released(_Transfer):
    """The rules of the papers' released code."""

    counts: Any = None

    def rows(self, pair: Pair, logps: Array, ids: Ints) -> tuple[Array, Ints, Ints]:
        warp = self._warp(pair)
        kept = [row >= 0 for row in ids]
        stored = Stored(
            pair.base.tokens.input_ids,
            pair.source.tokens.input_ids,
            [row[flags].astype(float).tolist() for row, flags in zip(logps, kept)],
            [row[flags].tolist() for row, flags in zip(ids, kept)],
            warp.base_to_source(),
        )
        return *_arrays(self._steps(stored), logps.shape[1]), warp.ranges()[1]

    def _steps(self, stored: Stored) -> Rows:
        ours, theirs = self.base.vocabulary, self.source.vocabulary
        exact = self.settings.vocabulary == "exact"
        if self.settings.released == "fusellm":
            keys = swap_marker(theirs.tokens, theirs.marker, ours.marker)
            mapped = {key: ours.tokens[i] for key, i in zip(keys, self.mapping.tolist()) if i >= 0}
            return fusellm_steps(stored, ours, theirs, None if exact else mapped)
        second = self.settings.released == "fusechat_v2"
        return fusechat_steps(
            stored,
            ours,
            theirs,
            None if exact else self.mapping.tolist(),
            version="v2" if second else "v1",
            strings=(self.base.decoded, self.source.decoded) if second else None,
            counts=self.counts,
        )

    def _warp(self, pair: Pair) -> Any:
        variant = self.settings.released or "fusellm"
        sides = ((self.base, pair.base), (self.source, pair.source))
        ours, theirs = (
            [side.decoded[i] for i in document.tokens.input_ids]
            if variant == "fusechat_v2"
            else side.vocabulary.strings(document.tokens.input_ids)
            for side, document in sides
        )
        markers = (self.base.vocabulary.marker, self.source.vocabulary.marker)
        return dtw(ours, theirs, *markers, variant)

    def _mapping(self, pairs: Iterable[Pair]) -> Ints:
        ours, theirs = self.base.vocabulary, self.source.vocabulary
        if self.settings.vocabulary == "mined":
            used = [i for i, token in enumerate(ours.tokens) if token]
            keys = swap_marker(theirs.tokens, theirs.marker, ours.marker)
            ties, _ = nearest_tokens(keys, [ours.tokens[i] for i in used])
            return np.array([used[found[0]] for found in ties], np.int64)
        if self.settings.vocabulary != "statistics":
            return super()._mapping(pairs)
        aligned = (
            (p.base.tokens.input_ids, p.source.tokens.input_ids, *self._warp(p).ranges())
            for p in pairs
        )
        self.counts = pair_counts(aligned, (len(ours), len(theirs)))
        return statistics_mapping(
            self.counts,
            ours,
            theirs,
            mode="legacy_sigmoid",
            unseen="unk",
            variant=self.settings.released or "fusellm",
        )


def _arrays(rows: Rows, k: int) -> tuple[Array, Ints]:
    """Rows given as lists, as arrays (M, k) with the k largest values in descending order."""
    logps, ids = np.full((len(rows[0]), k), -np.inf, np.float32), np.full((len(rows[0]), k), -1)
    for place, (values, tokens) in enumerate(zip(*rows)):
        order = np.argsort(-np.array(values, float), kind="stable")[:k]
        # A one-hot row has logit 1, which after the softmax is a probability of 1: log 1 = 0.
        logps[place, : len(order)] = np.minimum(np.array(values, float)[order], 0)
        ids[place, : len(order)] = np.array(tokens, np.int64)[order]
    return logps, ids
