"""Joint training of generator and retriever (sections 3.3 to 3.5).

Each update: retrieve the K best records of every turn from the index; encode them again with
gradient; encode all views once; decode the reply from all records (L_NLL) and from each record
(L_MML), or from the first ones and from none (L_CTR).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from harness.suites.dialogue.encoding import pooled
from harness.training.objective import Batch, Counts, Objective, Sums
from harness.training.parts import Parts
from methods.mktod.losses import contrastive_loss, marginal_loss, sequence_log_likelihood
from methods.mktod.network import Generator, Memories, TurnViews, stacked
from methods.mktod.reading import GeneratorReader, classes
from methods.mktod.retriever import Index, encoded, retrieved, rows_of
from methods.mktod.settings import JointParams

GENERATOR, RETRIEVER = "generator", "retriever"
Ids = list[int]


class Turn(NamedTuple):
    """A training turn.

    Attributes:
        query: token ids of the retriever; context, reply: those of the generator.
        allowed: indices of the records that it may use; None for all.
        seen: indices of records whose name is in the dialogue.
    """

    query: Ids
    context: Ids
    reply: Ids
    allowed: Sequence[int] | None
    seen: frozenset[int]


class Chosen(NamedTuple):
    """Records of a turn in training: best first, then the negative one, if there is one."""

    places: list[int]
    negative: bool


@dataclass
class JointObjective(Objective):
    """alpha L_NLL + beta L_MML + gamma L_CTR, each a mean over turns.

    Logs the losses without their weights, `nll_per_token`, and Recall of the validation turns.

    Attributes:
        turns: training turns; an example is an index of them.
        records: token ids of the records for the generator.
        measure: recall of a retriever in percent, or None.
    """

    turns: Sequence[Turn]
    records: Sequence[Ids]
    index: Index
    reader: GeneratorReader
    params: JointParams
    measure: Callable[[Any, Index], float] | None = None
    _recall: float | None = None
    _parts: Parts | None = None
    _refreshed: int | None = None
    _measures: bool = False  # on held-out turns, without dropout
    _frozen: dict[int, Tensor] = field(default_factory=dict)  # queries of turns, while it waits

    def prepare(self, model: nn.Module) -> None:
        assert isinstance(model, Parts)
        self._parts = model
        layout = self.params.layout
        self._generator = Generator(
            model[GENERATOR], layout.fusion, layout.copying, self.reader.end
        )

    def rates(self) -> Mapping[str, float]:
        own = self.params.retriever_learning_rate
        return {} if own is None else {f"models.{RETRIEVER}.": own}

    def collate(self, examples: Sequence[int]) -> Batch:
        turns = [self.turns[place] for place in examples]
        return {
            "turns": torch.tensor(list(examples)),
            "queries": stacked([turn.query for turn in turns]),
            "labels": stacked([turn.reply for turn in turns]),
        }

    def counts(self, batch: Batch) -> Counts:
        rows = torch.tensor(len(batch["turns"]))
        return dict.fromkeys(self._terms, rows)

    @property
    def _terms(self) -> list[str]:
        found = ["nll"]
        if self.params.weights.beta:
            found.append("mml")
        if self.params.layout.meta == "contrastive" and self.params.weights.gamma:
            found.append("contrastive")
        return found

    def scheduled(self, step: int, total: int) -> dict[str, float]:
        """Whether the retriever learns; refreshes the index."""
        learns = self.params.weights.beta > 0 and step >= self.params.mml_start * total
        due = step - step % self.params.refresh_steps
        changed = self._refreshed is None or learns
        if changed and self._refreshed != due:
            self._recall = self.recall()
            self._refreshed = due
        found = {"retriever_learns": float(learns)}
        return found if self._recall is None else {**found, "valid_recall": self._recall}

    def recall(self) -> float | None:
        """Refresh the index, and measure the retriever as it is now; None without `measure`."""
        assert self._parts is not None
        retriever = self._parts[RETRIEVER]
        self.index.refresh(retriever)
        return None if self.measure is None else self.measure(retriever, self.index)

    @contextmanager
    def held_out(self, total: int) -> Iterator[Mapping[str, float]]:
        """All terms, with an index of the retriever as it is now; index and queries are put back.

        Where the retriever never learns, its marginal likelihood is measured all the same.
        """
        assert self._parts is not None
        kept = self.index.vectors, self._frozen
        self._frozen, self._measures = {}, True
        try:
            self.index.refresh(self._parts[RETRIEVER])
            yield {"retriever_learns": float(self.params.weights.beta > 0)}
        finally:
            self.index.vectors, self._frozen = kept
            self._measures = False

    def sums(
        self, model: nn.Module, batch: Batch, scheduled: Mapping[str, float]
    ) -> tuple[Sums, Sums]:
        assert isinstance(model, Parts)
        places = batch["turns"].tolist()
        turns = [self.turns[place] for place in places]
        learns = bool(scheduled["retriever_learns"])
        queries = self._queries(model[RETRIEVER], places, batch["queries"], learns)
        chosen = self._choose(turns, queries)
        scores = self._scores(model[RETRIEVER], queries, chosen, learns)
        views = [
            self._views(turn, own, row)
            for turn, own, row in zip(turns, chosen, scores.tolist(), strict=True)
        ]
        terms = self._terms
        contrasts = "contrastive" in terms
        memories = self._generator.memories(
            views, singles=contrasts or (learns and "mml" in terms), bare=contrasts
        )
        labels = batch["labels"]
        own = self._generator.token_log_probs(memories.joint, labels)
        nll = -own.sum(dim=-1)
        losses = {"nll": nll, **self._record_losses(memories, labels, scores, chosen, learns)}
        weights = self.params.weights
        weight = {"nll": weights.alpha, "mml": weights.beta, "contrastive": weights.gamma}
        count = torch.tensor(float(len(turns)), device=labels.device)
        tokens = (labels >= 0).sum()
        found = {name: losses.get(name, torch.zeros_like(nll)).sum() for name in terms}
        return (
            {name: (weight[name] * value, count) for name, value in found.items()},
            {
                **{name: (value, count) for name, value in found.items()},
                "nll_per_token": (nll.sum(), tokens),
            },
        )

    def _record_losses(
        self,
        memories: Memories,
        labels: Tensor,
        scores: Tensor,
        chosen: Sequence[Chosen],
        learns: bool,
    ) -> dict[str, Tensor]:
        """Losses that look at records one by one."""
        if memories.singles is None:
            return {}
        present, found = memories.present, {}
        b, width = present.shape
        repeated = labels.repeat_interleave(width, dim=0)
        log_probs = self._generator.token_log_probs(memories.singles, repeated)
        total, mean = sequence_log_likelihood(log_probs, repeated >= 0)
        total, mean = total.reshape(b, width), mean.reshape(b, width)
        last = torch.tensor([own.negative for own in chosen], device=present.device)
        places = torch.arange(width, device=present.device)
        negative = last[:, None] & (places == present.sum(dim=1, keepdim=True) - 1)
        good = present & ~negative
        if learns and "mml" in self._terms:
            likelihood = total if self.params.mml_updates_generator else total.detach()
            mask = present if self.params.negative_in_mml else good
            found["mml"] = marginal_loss(scores, likelihood, self.params.temperature, mask)
        if memories.bare is not None:
            bare = self._generator.token_log_probs(memories.bare, labels)
            _, baseline = sequence_log_likelihood(bare, labels >= 0)
            used = good & (places < self.params.positives)
            # A record that is not there contrasts with nothing: its term is 0.
            margin = self.params.weights.margin
            positive = torch.where(used, mean, baseline[:, None] + margin)
            found["contrastive"] = contrastive_loss(positive, baseline, margin)
        return found

    def _choose(self, turns: Sequence[Turn], queries: Tensor) -> list[Chosen]:
        found = retrieved(
            self.index.scores(queries), [turn.allowed for turn in turns], self.params.layout.k
        )
        wanted = self.params.negative
        return [
            Chosen([*best, worst], True) if wanted and worst is not None else Chosen(best, False)
            for best, worst in found
        ]

    def _queries(
        self, encoder: Any, places: Sequence[int], queries: Tensor, learns: bool
    ) -> Tensor:
        """Vectors of contexts; those of a retriever that does not learn are kept."""
        texts, pad = rows_of(queries.clamp(min=-1)), self.index.pad
        if learns:
            self._frozen.clear()
            encoder.train(not self._measures)
            return pooled(encoder, texts, pad)
        new = {p: text for p, text in zip(places, texts, strict=True) if p not in self._frozen}
        if new:
            vectors = torch.from_numpy(encoded(encoder, list(new.values()), pad))
            self._frozen |= dict(zip(new, vectors.to(queries.device), strict=True))
        return torch.stack([self._frozen[place] for place in places])

    def _scores(
        self, encoder: Any, queries: Tensor, chosen: Sequence[Chosen], learns: bool
    ) -> Tensor:
        """Scores (b, width) of the chosen records; 0 where there is none.

        Records of a retriever that learns are encoded again, with gradient.
        """
        distinct = sorted({place for own in chosen for place in own.places})
        width = max(1, max(len(own.places) for own in chosen))
        if not distinct:
            return queries.new_zeros(len(chosen), width)
        if learns:
            texts = [self.index.texts[place] for place in distinct]
            vectors = pooled(encoder, texts, self.index.pad)
        else:
            vectors = torch.from_numpy(self.index.vectors[distinct]).to(queries.device)
        row_of = {place: row for row, place in enumerate(distinct)}
        table = queries @ vectors.T
        columns = torch.tensor(
            [
                [row_of[place] for place in own.places] + [0] * (width - len(own.places))
                for own in chosen
            ],
            device=queries.device,
        )
        return table.gather(1, columns)

    def _views(self, turn: Turn, chosen: Chosen, scores: Sequence[float]) -> TurnViews:
        found = []
        for number, place in enumerate(chosen.places):
            last = chosen.negative and number == len(chosen.places) - 1
            rank = None if last else number + 1
            known = classes(rank, scores[number], place in turn.seen, self.params.layout)
            found.append(self.reader.meta(known) + self.records[place])
        return TurnViews(turn.context, found)
