"""Scores of texts that continue plain prompts, several of one prompt from one forward pass.

A text of one token, such as the letter of an option, needs the logits of its prompt only, so that
all letters of a question come from one row. Prompts that begin with the same passages (the
demonstrations of an exam) share their key-value states, which are read once and kept.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from harness.backends.base import Message, Score, ScoreRequest, plain_messages
from harness.backends.prefixes import AHEAD, Beginning, Reading
from harness.backends.reading import accepts, read_columns
from harness.core.errors import BadData
from harness.models.passages import Continuation, PlainText
from harness.models.threads import is_small, map_chunks

KEPT = 4  # beginnings whose states are kept
LOGIT_BYTES = 1 << 29  # maximum for the float32 logits of one chunk
SIDE_BY_SIDE = 64  # maximum number of rows per chunk of a small model, whose states are copied


@dataclass
class _Row:
    """Token ids that are read together, and the answers that end behind them."""

    ids: tuple[int, ...]
    asked: list[tuple[str, Continuation]]
    reading: Reading | None = None

    @property
    def keep(self) -> int:
        """Number of last positions whose logits are needed."""
        return max(len(one.answer) for _, one in self.asked)

    @property
    def rest(self) -> int:
        return len(self.ids) - (self.reading.known if self.reading else 0)


class ContinuationScorer:
    """Scores continuations with one model; keeps the states of common beginnings.

    Args:
        model, tokenizer: as `harness.models.checkpoints.load_causal_lm` returns them.
        sample: states of one token, see `prefixes.sample_states`; None shares nothing.
        max_rows: maximum number of rows per forward pass.
    """

    def __init__(
        self, model: Any, tokenizer: Any, sample: torch.Tensor | None, max_rows: int
    ) -> None:
        self.model = model
        self.text = PlainText(tokenizer)
        self.max_rows = min(max_rows, SIDE_BY_SIDE) if is_small(model) else max_rows
        self._sample = sample
        self._kept: OrderedDict[tuple[int, ...], Beginning] = OrderedDict()

    def score(self, requests: Sequence[ScoreRequest], context: int) -> Iterator[Score]:
        """One score per request, by id; requests are of the form "text".

        Args:
            context: maximum number of tokens of prompt and text.
        """
        prompts: dict[tuple[Message, ...], list[ScoreRequest]] = {}
        for request in requests:
            prompts.setdefault(request.messages, []).append(request)
        asked: dict[str, Continuation] = {}
        for messages, same in prompts.items():
            texts = [request.response for request in same]
            try:
                found = self.text.continuations(plain_messages(messages), texts, context)
            except BadData as error:
                for request in same:
                    yield Score(id=request.id, logp=None, tokens=0, error=str(error))
            else:
                asked.update(zip((request.id for request in same), found))
        yield from self._score(asked)

    def _score(self, asked: Mapping[str, Continuation]) -> Iterator[Score]:
        rows: dict[tuple[int, ...], _Row] = {}
        for name, one in asked.items():
            ids = (*one.prompt, *one.answer[:-1])
            rows.setdefault(ids, _Row(ids, [])).asked.append((name, one))
        for row in rows.values():
            row.reading = self._reading(row, len(rows))
        for scores in map_chunks(self._score_chunk, list(self._chunks(rows.values())), self.model):
            yield from scores

    def _reading(self, row: _Row, rows: int) -> Reading | None:
        """How a row is read: behind its kept beginning, or whole."""
        if self._sample is None:
            return None
        shared = row.asked[0][1].shared
        known = min(len(one.prompt) for _, one in row.asked) - 1
        agree = next((n for n, (a, b) in enumerate(zip(shared, row.ids)) if a != b), len(shared))
        known = min(known, agree)
        if known < AHEAD or (rows == 1 and shared not in self._kept):
            return Reading(row.ids, 0, [], [], self._sample)
        if shared not in self._kept:
            beginning = Beginning(shared)
            reading = Reading(shared, 0, [beginning], [(0, beginning)], self._sample)
            read_columns(self.model, [shared], [reading], keep=1, spare=0)
            self._kept[shared] = beginning
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(shared)
        return Reading(row.ids, known, [self._kept[shared]], [], self._sample)

    def _chunks(self, rows: Any) -> Iterator[list[_Row]]:
        """Rows of similar length whose logits fit into a fixed amount of memory."""
        vocabulary = self.model.config.get_text_config().vocab_size
        short = accepts(self.model, "logits_to_keep")
        chunk: list[_Row] = []
        width = 0
        for row in sorted(rows, key=lambda row: (row.rest, row.keep, row.ids)):
            width = max(width, row.keep if short else row.rest)
            cost = (len(chunk) + 1) * width * vocabulary * 4
            if chunk and (cost > LOGIT_BYTES or len(chunk) >= self.max_rows):
                yield chunk
                chunk, width = [], row.keep if short else row.rest
            chunk.append(row)
        if chunk:
            yield chunk

    @torch.inference_mode()
    def _score_chunk(self, chunk: Sequence[_Row]) -> list[Score]:
        keep = max(row.keep for row in chunk)
        readings = [row.reading for row in chunk if row.reading is not None]
        logits, *_ = read_columns(
            self.model, [row.ids for row in chunk], readings, keep=keep, spare=0
        )
        logps = logits.float().log_softmax(dim=-1)  # (B, keep, V)
        return [
            _score(name, logps[place], one.answer)
            for place, row in enumerate(chunk)
            for name, one in row.asked
        ]


def _score(name: str, logps: torch.Tensor, answer: Sequence[int]) -> Score:
    """Score of an answer that ends one token behind the last of (keep, V) log-probabilities."""
    chosen = logps[-len(answer) :].gather(-1, torch.tensor(answer, device=logps.device)[:, None])
    values = chosen[:, 0].double().cpu()
    if not bool(values.isfinite().all()):
        error = "the log-probability is not finite"
        return Score(id=name, logp=None, tokens=len(answer), error=error)
    found = tuple(values.tolist())
    return Score(id=name, logp=float(values.sum()), tokens=len(answer), token_logps=found)
