"""A trained system at work: retrieve, and write replies."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from harness.models.checkpoints import load_encoder, load_seq2seq
from harness.suites.dialogue.encoding import longest
from harness.suites.dialogue.records import Knowledge
from harness.suites.dialogue.search import Index
from methods.mktod.joint import GENERATOR, RETRIEVER
from methods.mktod.network import Generator, TurnViews
from methods.mktod.reading import GeneratorReader, QueryReader, classes, named_in
from methods.mktod.retriever import encoded
from methods.mktod.settings import Layout

Found = tuple[list[int], list[float]]  # indices of records in their base, best first, and scores


class Replier:
    """Generator and retriever of a folder that `train_mktod` wrote.

    Raises:
        BadData: a checkpoint of another kind, or damaged.
    """

    def __init__(self, folder: Path, device: str, layout: Layout) -> None:
        self.layout = layout
        self.encoder, pieces = load_encoder(folder, device, part=RETRIEVER)
        model, words = load_seq2seq(folder, device, part=GENERATOR)
        limit = longest(self.encoder, layout.max_query)
        self.queries = QueryReader(pieces, limit, layout.released)
        self.pad = pieces.pad_token_id or 0
        self.reader = GeneratorReader(words, layout)
        self.generator = Generator(model, layout.fusion, layout.copying, self.reader.end)
        self._indices: dict[str, Index] = {}

    def retrieve(
        self, contexts: Sequence[list[str]], bases: Sequence[Knowledge], keep: int
    ) -> list[Found]:
        """The `keep` best records of each turn, at least those that the generator reads."""
        queries = encoded(self.encoder, [self.queries.context(c) for c in contexts], self.pad)
        found: list[Found] = []
        for query, base in zip(queries, bases, strict=True):
            if not base.records:
                found.append(([], []))
                continue
            places, scores = self._index(base).search(
                query[None], max(keep, self.layout.k), base.ids
            )
            found.append((places[0].tolist(), scores[0].tolist()))
        return found

    def _index(self, base: Knowledge) -> Index:
        if base.digest not in self._indices:
            texts = [self.queries.record(record) for record in base.records]
            # One at a time: sessions are many.
            self._indices = {
                base.digest: Index.of(encoded(self.encoder, texts, self.pad), base.ids)
            }
        return self._indices[base.digest]

    @torch.no_grad()
    def write(
        self, contexts: Sequence[list[str]], bases: Sequence[Knowledge], found: Sequence[Found]
    ) -> list[str]:
        """A reply to each turn."""
        views = [
            self._views(context, base, own)
            for context, base, own in zip(contexts, bases, found, strict=True)
        ]
        memory = self.generator.memories(views, singles=False, bare=False).joint
        return [
            self.reader.text(ids) for ids in self.generator.greedy(memory, self.layout.max_reply)
        ]

    def _views(self, context: list[str], base: Knowledge, found: Found) -> TurnViews:
        records = []
        shown = list(zip(*found, strict=True))[: self.layout.k]
        seen = named_in([base.records[place] for place, _ in shown], context)
        for number, (place, score) in enumerate(shown):
            known = classes(number + 1, score, number in seen, self.layout)
            records.append(self.reader.meta(known) + self.reader.record(base.records[place]))
        return TurnViews(self.reader.context(context), records)
