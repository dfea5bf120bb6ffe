"""Generator and retriever at work: views of records, encoder states, likelihoods, greedy replies.

A *view* is what the generator's encoder reads about one record. All views of a batch are encoded
once; the states are then shared by the decoder that sees all records of a turn (`joint`), and by
the decoders that see one record each (`singles`).

    fid      view i = context + record i            joint = all views of the turn
    split    view i = record i, and the context     joint = context + all views
    concat   joint = context + all records          singles need encoder passes of their own
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers.modeling_outputs import BaseModelOutput

from methods.mktod.settings import Fusion

Ids = list[int]


class Memory(NamedTuple):
    """Encoder states (n, m, d) that decoders read, their mask and token ids (n, m)."""

    states: Tensor
    mask: Tensor
    ids: Tensor

    def rows(self, chosen: Tensor) -> Memory:
        return Memory(self.states[chosen], self.mask[chosen], self.ids[chosen])


class TurnViews(NamedTuple):
    """What the generator reads about one turn.

    Attributes:
        context: token ids; records: token ids of each record with its meta knowledge.
    """

    context: Ids
    records: Sequence[Ids]


class Memories(NamedTuple):
    """Encoder states of a batch of b turns.

    Attributes:
        joint: of all records of a turn, n = b.
        singles: of each record with its context, n = b * width, turn by turn; a record that does
            not exist has a mask of one token. None if not asked for.
        bare: of contexts without any record, n = b; None if not asked for.
        present: (b, width), whether a record exists.
    """

    joint: Memory
    singles: Memory | None
    bare: Memory | None
    present: Tensor


class Generator:
    """A sequence-to-sequence model that reads several records.

    Args:
        model: transformers encoder-decoder.
        copying: tokens of what was read compete with the vocabulary in one softmax (as in CopyNet,
            arXiv 1603.06393, without new parameters): a token read at a place with encoder state e
            has the logit d.e / sqrt(width), with d the last decoder state.
        end: id of the end token.
    """

    def __init__(self, model: Any, fusion: Fusion, copying: bool, end: int) -> None:
        self.model, self.fusion, self.copying, self.end = model, fusion, copying, end
        self.pad: int = model.config.pad_token_id
        self.start: int = model.config.decoder_start_token_id

    def encode(self, texts: Sequence[Ids]) -> Memory:
        """States of texts, each with the end token after it."""
        ids, mask = padded([[*text, self.end] for text in texts], self.pad, self.model.device)
        encoder = self.model.get_encoder()
        states = encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        return Memory(states, mask, ids)

    def memories(self, turns: Sequence[TurnViews], singles: bool, bare: bool) -> Memories:
        """Encode a batch; see `Memories`."""
        width = max(1, max(len(turn.records) for turn in turns))
        counts = torch.tensor([len(turn.records) for turn in turns], device=self.model.device)
        places = torch.arange(width, device=self.model.device)
        present = places[None, :] < counts[:, None]
        make = {"fid": self._fid, "split": self._split, "concat": self._concat}[self.fusion]
        joint, each, without = make(turns, width, singles, bare, present)
        return Memories(joint, each, without, present)

    def _fid(
        self,
        turns: Sequence[TurnViews],
        width: int,
        singles: bool,
        bare: bool,
        present: Tensor,
    ) -> tuple[Memory, Memory | None, Memory | None]:
        texts: list[Ids] = []
        for turn in turns:
            own = [turn.context + record for record in turn.records] or [turn.context]
            texts += own + [[]] * (width - len(own))
        views = self.encode(texts + ([turn.context for turn in turns] if bare else []))
        n = len(turns) * width
        each, without = (
            Memory(*(t[:n] for t in views)), Memory(*(t[n:] for t in views))
        )  # fmt: skip
        used = present.clone()
        used[:, 0] = True  # a turn without records reads its context
        joint = _flat(each, used)
        return joint, each if singles else None, without if bare else None

    def _split(
        self,
        turns: Sequence[TurnViews],
        width: int,
        singles: bool,
        bare: bool,
        present: Tensor,
    ) -> tuple[Memory, Memory | None, Memory | None]:
        contexts = self.encode([turn.context for turn in turns])
        texts = [
            record
            for turn in turns
            for record in [*turn.records, *[[]] * (width - len(turn.records))]
        ]
        records = self.encode(texts)
        joint = _beside(contexts, _flat(records, present))
        each = None
        if singles:
            turn_of = torch.arange(len(turns), device=present.device).repeat_interleave(width)
            each = _beside(contexts.rows(turn_of), records)
        return joint, each, contexts if bare else None

    def _concat(
        self,
        turns: Sequence[TurnViews],
        width: int,
        singles: bool,
        bare: bool,
        present: Tensor,
    ) -> tuple[Memory, Memory | None, Memory | None]:
        joint = self.encode([sum(turn.records, turn.context) for turn in turns])
        texts: list[Ids] = []
        if singles:
            for turn in turns:
                own = [turn.context + record for record in turn.records]
                texts += own + [[]] * (width - len(own))
        n = len(texts)
        texts += [turn.context for turn in turns] if bare else []
        if not texts:
            return joint, None, None
        views = self.encode(texts)
        each, without = Memory(*(t[:n] for t in views)), Memory(*(t[n:] for t in views))
        return joint, each if singles else None, without if bare else None

    def token_log_probs(self, memory: Memory, labels: Tensor) -> Tensor:
        """Log-probability (n, t) of each token of labels (n, t); padding is -100 and gives 0."""
        wanted = labels.clamp(min=0)
        begin = wanted.new_full((len(labels), 1), self.start)
        logits, copied, _ = self._logits(memory, torch.cat([begin, wanted[:, :-1]], dim=1))
        chosen = logits.gather(2, wanted[..., None])[..., 0]
        total = logits.logsumexp(dim=-1)
        if copied is not None:
            match = memory.ids[:, None, :] == wanted[..., None]
            own = copied.masked_fill(~match, _lowest(copied)).logsumexp(dim=-1)
            chosen = torch.logaddexp(chosen, own)
            total = torch.logaddexp(total, copied.logsumexp(dim=-1))
        return torch.where(labels >= 0, chosen - total, 0.0)

    def _logits(
        self, memory: Memory, inputs: Tensor, cache: Any = None, keep: bool = False
    ) -> tuple[Tensor, Tensor | None, Any]:
        """Logits (n, t, vocabulary), those of copying (n, t, m) or None, and the cache."""
        found = self.model(
            encoder_outputs=BaseModelOutput(last_hidden_state=memory.states),
            attention_mask=memory.mask,
            decoder_input_ids=inputs,
            past_key_values=cache,
            output_hidden_states=self.copying,
            use_cache=keep,
        )
        copied = None
        if self.copying:
            state = found.decoder_hidden_states[-1].float()
            copied = state @ memory.states.float().transpose(1, 2) / state.shape[-1] ** 0.5
            copied = copied.masked_fill(memory.mask[:, None, :] == 0, _lowest(copied))
        return found.logits.float(), copied, found.past_key_values

    @torch.no_grad()
    def greedy(self, memory: Memory, most: int) -> list[Ids]:
        """The most probable token, one after another, up to the end token or `most` tokens."""
        n, cache = len(memory.ids), None
        last = memory.ids.new_full((n, 1), self.start)
        written: list[Ids] = [[] for _ in range(n)]
        done = [False] * n
        for _ in range(most):
            logits, copied, cache = self._logits(memory, last, cache, keep=True)
            scores = logits[:, -1]
            if copied is not None:
                both = torch.softmax(torch.cat([scores, copied[:, -1]], dim=-1), dim=-1)
                size = scores.shape[-1]
                scores = both[:, :size].scatter_add(1, memory.ids, both[:, size:])
            last = scores.argmax(dim=-1, keepdim=True)
            for row, id in enumerate(last[:, 0].tolist()):
                done[row] = done[row] or id == self.end
                if not done[row]:
                    written[row].append(id)
            if all(done):
                break
        return written


def _lowest(values: Tensor) -> float:
    """The lowest number; -inf would have a gradient that is not a number."""
    return torch.finfo(values.dtype).min


def padded(rows: Sequence[Ids], pad: int, device: Any) -> tuple[Tensor, Tensor]:
    """Ids and mask (n, longest) of rows of ids."""
    width = max(map(len, rows))
    ids = torch.tensor([[*row, *[pad] * (width - len(row))] for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    return ids.to(device), mask.to(device)


def _flat(each: Memory, present: Tensor) -> Memory:
    """Memory of all records of each turn side by side."""
    b, width = present.shape
    mask = each.mask.reshape(b, width, -1) * present[..., None]
    return Memory(
        each.states.reshape(b, -1, each.states.shape[-1]),
        mask.reshape(b, -1),
        each.ids.reshape(b, -1),
    )


def _beside(first: Memory, second: Memory) -> Memory:
    return Memory(*(torch.cat(pair, dim=1) for pair in zip(first, second, strict=True)))


def stacked(rows: Sequence[Ids], device: Any = None) -> Tensor:
    """Labels (n, longest), padded by -100."""
    tensors = [torch.tensor(row, dtype=torch.long) for row in rows]
    found = pad_sequence(tensors, batch_first=True, padding_value=-100)
    return found.to(device)
