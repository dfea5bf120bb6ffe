"""A backend that runs a transformers model in this process.

Prompts are rendered by `harness.models.chat`, sorted by length and decoded in chunks of at most
`max_rows` samples; if one sample per prompt is wanted of more prompts, rows that have ended are
replaced by the next prompts (`rolling`). Which samples are decoded together depends on the requests
and the model only, never on the machine, so that the same call gives the same answers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from harness.backends.base import (
    Backend,
    Completion,
    Request,
    Response,
    Sampling,
    Score,
    ScoreRequest,
    TopLogprobs,
    check_unique,
    plain_messages,
)
from harness.backends.continuations import ContinuationScorer
from harness.backends.decoding import Decoded, decode, uniforms
from harness.backends.prefixes import Prefixes, Reading, sample_states
from harness.backends.reading import accepts, forward_options, left_padded, read_prompts
from harness.backends.rolling import can_roll, decode_rolling
from harness.core.errors import BadData, EnvironmentProblem
from harness.core.hashing import digest
from harness.models import chat
from harness.models.spoken import decode_answers
from harness.models.threads import is_small, map_chunks

LOGIT_BYTES = 1 << 29  # maximum for the float32 logits of one scored chunk
STREAM = 1024  # maximum number of prompts that pass through one rolling batch,
STREAM_TOKENS = 1 << 24  # and of tokens that may be generated for all of them
SIDE_BY_SIDE = 64  # maximum number of dialogues per chunk of a small model, to use all cores
UNEVEN = 32  # padding allowed per prompt beyond its own number of unread tokens
PREFIX_BYTES = 1 << 30  # of states kept on a CPU; a GPU may use an eighth of its memory


@dataclass(frozen=True)
class _Prompt:
    request: Request
    ids: list[int]
    reading: Reading | None = None

    @property
    def rest(self) -> int:
        """Number of tokens to be read."""
        return len(self.ids) - (self.reading.known if self.reading else 0)


class HFBackend(Backend):
    """Generate and score with a causal language model of transformers.

    Args:
        model, tokenizer: as `harness.models.checkpoints.load_causal_lm` returns them.
        identity: identity of the weights, for the fingerprint (see `models.model_identity`).
        max_rows: maximum number of samples decoded at once; lower it when memory runs out.
        prefix_bytes: maximum memory for `keeping_prefixes`, 0 for none; None depends on the device.
    """

    context: int

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        identity: str = "unnamed",
        max_rows: int = 320,
        prefix_bytes: int | None = None,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.max_rows = max_rows
        self._prefix_bytes = _prefix_bytes(model) if prefix_bytes is None else prefix_bytes
        self._prefixes: Prefixes | None = None
        self._scorer: ContinuationScorer | None = None
        dtype = str(next(model.parameters()).dtype).removeprefix("torch.")
        self._fingerprint = digest(["hf", identity, dtype, str(tokenizer.chat_template)])[:16]
        self._stop = sorted({*chat.stop_ids(tokenizer), *_generation_ends(model)})
        limit = getattr(model.config, "max_position_embeddings", None)
        self.context = int(limit) if limit else 1 << 30

    @property
    def fingerprint(self) -> str:
        return self._fingerprint

    @contextmanager
    def keeping_prefixes(self) -> Iterator[None]:
        """Inside, `generate` reads a common beginning of prompts once, within and across calls.

        Worth it for dialogues and for several questions about one text; other prompts would only be
        copied. An answer differs from the one given outside by rounding only: a greedy one only
        where two tokens are almost equally likely. Models whose caches are not plain (see
        `can_roll`) keep nothing.
        """
        outer = self._prefixes
        if outer is None and self._prefix_bytes and _keeps_states(self.model):
            sample = sample_states(self.model)
            self._prefixes = None if sample is None else Prefixes(sample, self._prefix_bytes)
        try:
            yield
        finally:
            self._prefixes = outer

    def generate(self, requests: Sequence[Request]) -> Iterator[Response]:
        """Answer requests; the response to a prompt that fails has an error.

        The n samples of a request depend on its seed, id and prompt. The other samples of its chunk
        change it through rounding only; the requests of the call determine the chunks.

        Raises:
            BadData: two requests have one id.
            UserError: the tokenizer has no chat template.
            EnvironmentProblem: GPU memory ran out.
        """
        check_unique([request.id for request in requests])
        prompts: list[_Prompt] = []
        for request in requests:
            try:
                prompts.append(self._prompt(request))
            except BadData as error:
                yield Response(id=request.id, error=str(error))
        chunks = list(self._chunks(self._read_ahead(prompts)))
        for responses in map_chunks(self._decode_chunk, chunks, self.model):
            yield from responses

    def score(self, requests: Sequence[ScoreRequest]) -> Iterator[Score]:
        """Log-probabilities of answers, including their end-of-turn token, or of plain texts.

        Raises:
            BadData, UserError, EnvironmentProblem: as for `generate`.
        """
        check_unique([request.id for request in requests])
        pairs: list[tuple[str, list[int], list[int]]] = []
        for request in requests:
            if request.form == "text":
                continue
            try:
                messages = plain_messages(request.messages)
                given = chat.answered(self.tokenizer, messages, request.response)
                prompt, answer = given.prompt, given.answer
                self._check_fits(len(prompt) + len(answer), "prompt and answer have")
            except BadData as error:
                yield Score(id=request.id, logp=None, tokens=0, error=str(error))
            else:
                pairs.append((request.id, prompt, answer))
        pairs.sort(key=lambda pair: (len(pair[2]), len(pair[1]), pair[0]))
        for scores in map_chunks(self._score_chunk, list(self._score_chunks(pairs)), self.model):
            yield from scores
        plain = [request for request in requests if request.form == "text"]
        if plain and self._scorer is None:
            sample = sample_states(self.model) if _keeps_states(self.model) else None
            self._scorer = ContinuationScorer(self.model, self.tokenizer, sample, self.max_rows)
        if plain and self._scorer is not None:
            yield from self._scorer.score(plain, self.context)

    def _prompt(self, request: Request) -> _Prompt:
        ids = chat.prompt_ids(self.tokenizer, plain_messages(request.messages))
        self._check_fits(len(ids) + 1, "the prompt and one answer token are")
        return _Prompt(request, ids)

    def _read_ahead(self, prompts: list[_Prompt]) -> list[_Prompt]:
        """Plan how prompts are read, and read the beginnings that several of them share."""
        if self._prefixes is None or not prompts:
            return prompts
        prompts = sorted(prompts, key=lambda prompt: (len(prompt.ids), prompt.request.id))
        *ahead, last = self._prefixes.plan([prompt.ids for prompt in prompts])
        for stage in ahead:
            stage.sort(key=lambda reading: len(reading.ids) - reading.known)
            rows = range(0, len(stage), self.max_rows)
            chunks = [stage[first : first + self.max_rows] for first in rows]
            list(map_chunks(self._read_chunk, chunks, self.model))
        return [_Prompt(p.request, p.ids, reading) for p, reading in zip(prompts, last)]

    def _read_chunk(self, readings: list[Reading]) -> None:
        try:
            read_prompts(self.model, [reading.ids for reading in readings], readings)
        except torch.OutOfMemoryError:
            raise EnvironmentProblem(
                f"out of GPU memory while reading {len(readings)} prompts of up to "
                f"{max(len(reading.ids) for reading in readings)} tokens at once; lower max_rows"
            ) from None

    def _check_fits(self, tokens: int, what: str) -> None:
        if tokens > self.context:
            raise BadData(f"{what} {tokens} tokens; the model reads at most {self.context}")

    def _chunks(self, prompts: list[_Prompt]) -> Iterator[list[_Prompt]]:
        """Prompts that are decoded together: equal settings, similar lengths."""
        groups: dict[Sampling, list[_Prompt]] = {}
        for prompt in prompts:
            settings = prompt.request.sampling.model_copy(update={"seed": 0})
            groups.setdefault(settings, []).append(prompt)
        for settings, group in groups.items():
            group.sort(key=lambda prompt: (prompt.rest, len(prompt.ids), prompt.request.id))
            size = max(1, self.max_rows // settings.n)
            if size < len(group) and settings.n == 1 and not settings.top_logprobs:
                stream = min(STREAM, STREAM_TOKENS // settings.max_tokens)
                size = max(size, stream) if can_roll(self.model) else size
            elif group[0].reading is not None and is_small(self.model):
                chunks = -(-len(group) // SIDE_BY_SIDE)
                size = min(size, -(-len(group) // chunks))
            start = 0
            for place, prompt in enumerate(group):
                # Without this, the short rest of a known prompt is padded to a whole new one.
                longer = prompt.reading is not None and prompt.rest > 2 * group[start].rest + UNEVEN
                if longer or place == start + size:
                    yield group[start:place]
                    start = place
            yield group[start:]

    def _decode_chunk(self, chunk: list[_Prompt]) -> list[Response]:
        sampling = chunk[0].request.sampling
        limits = [min(sampling.max_tokens, self.context - len(p.ids)) for p in chunk]
        draws = np.concatenate(
            [uniforms(p.request.sampling, p.request.id, max(limits)) for p in chunk]
        )
        try:
            decoded = self._decode(chunk, sampling, draws, limits)
        except torch.OutOfMemoryError:
            raise EnvironmentProblem(
                f"out of GPU memory while sampling {min(len(draws), self.max_rows)} answers of up "
                f"to {max(limits)} tokens at once; lower max_rows"
            ) from None
        texts = self._texts(decoded)
        return [
            self._response(prompt, decoded, texts, number * sampling.n)
            for number, prompt in enumerate(chunk)
        ]

    def _decode(
        self,
        chunk: list[_Prompt],
        sampling: Sampling,
        draws: np.ndarray,
        limits: list[int],
    ) -> Decoded:
        common = (self.model, [p.ids for p in chunk], sampling, draws, limits, self._stop)
        readings = [p.reading for p in chunk if p.reading]  # all prompts have one, or none has
        rolls = sampling.n == 1 and sampling.repetition_penalty == 1
        if len(draws) > self.max_rows and rolls:
            return decode_rolling(*common, capacity=self.max_rows, readings=readings)
        return decode(*common, readings=readings)

    def _texts(self, decoded: Decoded) -> list[str]:
        rows = [
            row[: length - int(ended)].tolist()
            for row, length, ended in zip(decoded.tokens, decoded.lengths, decoded.stopped)
        ]
        return decode_answers(self.tokenizer, rows)

    def _response(
        self, prompt: _Prompt, decoded: Decoded, texts: list[str], first: int
    ) -> Response:
        rows = range(first, first + prompt.request.sampling.n)
        if decoded.broken[list(rows)].any():
            return Response(
                id=prompt.request.id,
                tokens_in=len(prompt.ids),
                error="the model gave logits that are not finite numbers; its weights are broken "
                "or overflow in this dtype",
            )
        return Response(
            id=prompt.request.id,
            completions=tuple(self._completion(decoded, texts, row) for row in rows),
            tokens_in=len(prompt.ids),
            tokens_out=int(decoded.lengths[list(rows)].sum()),
            prompt_ids=tuple(prompt.ids),
        )

    def _completion(self, decoded: Decoded, texts: list[str], row: int) -> Completion:
        stopped = bool(decoded.stopped[row])
        length = int(decoded.lengths[row]) - int(stopped)
        return Completion(
            text=texts[row],
            finish="stop" if stopped else "length",
            token_ids=tuple(decoded.tokens[row, :length].tolist()),
            top_logprobs=self._tops(decoded, row, length),
        )

    def _tops(self, decoded: Decoded, row: int, length: int) -> TopLogprobs | None:
        if decoded.top_ids is None or decoded.top_logps is None:
            return None
        return tuple(
            tuple(
                (self.tokenizer.decode([token]), float(logp))
                for token, logp in zip(ids.tolist(), logps.tolist())
                if logp != -np.inf
            )
            for ids, logps in zip(decoded.top_ids[row, :length], decoded.top_logps[row, :length])
        )

    def _score_chunks(
        self, pairs: list[tuple[str, list[int], list[int]]]
    ) -> Iterator[list[tuple[str, list[int], list[int]]]]:
        """Consecutive pairs whose logits fit into a fixed amount of memory."""
        vocabulary = self.model.config.get_text_config().vocab_size
        chunk: list[tuple[str, list[int], list[int]]] = []
        for pair in pairs:  # sorted by length: the last answer is the longest
            positions = len(pair[2]) + 1
            if not accepts(self.model, "logits_to_keep"):
                positions += max([len(pair[1]), *(len(known[1]) for known in chunk)])
            cost = (len(chunk) + 1) * positions * vocabulary * 4
            if chunk and (cost > LOGIT_BYTES or len(chunk) >= self.max_rows):
                yield chunk
                chunk = []
            chunk.append(pair)
        if chunk:
            yield chunk

    @torch.inference_mode()
    def _score_chunk(self, chunk: list[tuple[str, list[int], list[int]]]) -> list[Score]:
        """Score answers that all end in the last column: (B, L) ids, padded on the left."""
        rows = [prompt + answer for _, prompt, answer in chunk]
        ids, mask, positions = left_padded(rows, self.model.device)
        keep = min(max(len(answer) for _, _, answer in chunk) + 1, ids.shape[1])
        options = forward_options(self.model, positions, keep)
        output = self.model(input_ids=ids, attention_mask=mask, use_cache=False, **options)
        logits = output.logits[
            :, -keep:-1
        ].float()  # (B, keep - 1, V), which predict the last columns
        targets = ids[:, -(keep - 1) :]
        chosen = logits.gather(-1, targets[..., None])[..., 0] - logits.logsumexp(dim=-1)
        values = chosen.double().cpu().numpy()
        return [
            _score(name, values[row, keep - 1 - len(answer) :])
            for row, (name, _, answer) in enumerate(chunk)
        ]


def _score(name: str, logps: np.ndarray) -> Score:
    if not np.isfinite(logps).all():
        return Score(
            id=name, logp=None, tokens=len(logps), error="the log-probability is not finite"
        )
    return Score(
        id=name, logp=float(logps.sum()), tokens=len(logps), token_logps=tuple(logps.tolist())
    )


def _keeps_states(model: Any) -> bool:
    """Whether the states of tokens do not depend on the number of tokens after them."""
    scaling = str(getattr(model.config, "rope_parameters", None) or "")
    return can_roll(model) and "dynamic" not in scaling and "longrope" not in scaling


def _prefix_bytes(model: Any) -> int:
    device = next(model.parameters()).device
    if device.type != "cuda":
        return PREFIX_BYTES
    return int(torch.cuda.get_device_properties(device).total_memory // 8)


def _generation_ends(model: Any) -> list[int]:
    """Stop ids of the checkpoint's generation_config.json."""
    ends = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    if ends is None:
        return []
    return [int(end) for end in ends] if isinstance(ends, list | tuple) else [int(ends)]
