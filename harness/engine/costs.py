"""Estimates of stages before they run: rows, tokens, GPU memory and GPU time.

Rough arithmetic of model sizes for planning, not measurements. Assumptions: one A100-class GPU does
312e12 bf16 operations per second, of which sampling with a batching engine reaches 25 % and
training 40 %; prompts have 200 tokens and responses 450 where nothing is known (chat-instruction
data); weights take 2 bytes per parameter for inference and 16 for training with Adam (weights,
gradients and moments), the KV cache and activations another 20 %. An estimate that depends on an
unknown quantity is None, never zero.

The protocols list what each estimate reads from a stage's parameters.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from harness.core.records import Record
from harness.engine.operations import Estimate

PEAK = 312e12
SAMPLING_SHARE = 0.25
TRAINING_SHARE = 0.40
PROMPT_TOKENS = 200
RESPONSE_TOKENS = 450
GIB = 2**30
TINY_B = 0.05  # GPU time is meaningless for smaller models


class Limited(Protocol):
    @property
    def limit(self) -> int | None: ...


class Part(Protocol):
    @property
    def part(self) -> str: ...
    @property
    def fraction(self) -> float: ...


class Sampled(Protocol):
    @property
    def n(self) -> int: ...
    @property
    def max_tokens(self) -> int: ...


class Trained(Protocol):
    @property
    def epochs(self) -> float: ...
    @property
    def sequences_per_row(self) -> int: ...


def _seconds(
    parameters_b: float | None, tokens: int | None, per_token: int, share: float
) -> float | None:
    if parameters_b is None or tokens is None or parameters_b < TINY_B:
        return None
    return per_token * parameters_b * 1e9 * tokens / (PEAK * share)


def _memory(parameters_b: float | None, bytes_each: int) -> float | None:
    if parameters_b is None or parameters_b < TINY_B:
        return None
    return 1.2 * bytes_each * parameters_b * 1e9 / GIB


def rows_of(name: str, *, responses: int | None = None) -> Callable[..., Estimate]:
    """For a stage that has the rows of one input and no other cost.

    Args:
        responses: responses in each row that it makes.
    """

    def estimate(params: Record, **inputs: Estimate | tuple[Estimate, ...]) -> Estimate:
        value = inputs[name]
        first = value[0] if isinstance(value, tuple) else value
        return Estimate(rows=first.rows, responses=responses)

    return estimate


def prompts(params: Limited) -> Estimate:
    return Estimate(rows=params.limit)


def split(params: Part, prompts: Estimate) -> Estimate:
    share = params.fraction if params.part == "sft" else 1 - params.fraction
    return Estimate(rows=None if prompts.rows is None else round(share * prompts.rows))


def sampling(params: Sampled, prompts: Estimate, model: Estimate) -> Estimate:
    """The prompt once, then n responses per row."""
    length = min(params.max_tokens, RESPONSE_TOKENS)
    written = None if prompts.rows is None else prompts.rows * params.n * length
    tokens = None if prompts.rows is None else prompts.rows * (PROMPT_TOKENS + params.n * length)
    return Estimate(
        rows=prompts.rows,
        tokens=tokens,
        requests=prompts.rows,
        tokens_out=written,
        gpu_gib=_memory(model.parameters_b, 2),
        gpu_seconds=_seconds(model.parameters_b, tokens, 2, SAMPLING_SHARE),
    )


def scoring(params: Record, responses: Estimate, model: Estimate) -> Estimate:
    """Each response is read once with its prompt."""
    tokens = None
    if responses.rows is not None and responses.tokens is not None:
        each = max(1, round((responses.tokens / responses.rows - PROMPT_TOKENS) / RESPONSE_TOKENS))
        tokens = responses.tokens + (each - 1) * PROMPT_TOKENS * responses.rows
    return Estimate(
        rows=responses.rows,
        tokens=tokens,
        gpu_gib=_memory(model.parameters_b, 2),
        gpu_seconds=_seconds(model.parameters_b, tokens, 2, SAMPLING_SHARE),
    )


def reference(params: Record, rows: Estimate, model: Estimate) -> Estimate:
    """A forward pass over every response of each row."""
    tokens = None
    if rows.rows is not None and rows.responses is not None:
        tokens = rows.responses * rows.rows * (PROMPT_TOKENS + RESPONSE_TOKENS)
    return Estimate(
        rows=rows.rows,
        tokens=tokens,
        gpu_gib=_memory(model.parameters_b, 2),
        gpu_seconds=_seconds(model.parameters_b, tokens, 2, SAMPLING_SHARE),
    )


def training(
    params: Trained, rows: Estimate, model: Estimate, reference: Estimate | None = None
) -> Estimate:
    """Forward and backward over all sequences of each row."""
    tokens = None
    if rows.rows is not None:
        sequences = params.epochs * params.sequences_per_row * rows.rows
        tokens = round(sequences * (PROMPT_TOKENS + RESPONSE_TOKENS))
    return Estimate(
        rows=rows.rows,
        tokens=tokens,
        parameters_b=model.parameters_b,
        gpu_gib=_memory(model.parameters_b, 16),
        gpu_seconds=_seconds(model.parameters_b, tokens, 6, TRAINING_SHARE),
    )


def asking(
    rows: int | None, requests: int, tokens_in: int, tokens_out: int, model: Estimate
) -> Estimate:
    """The given numbers of requests and tokens per row."""

    def all_rows(each: int) -> int | None:
        return None if rows is None else rows * each

    tokens = all_rows(tokens_in + tokens_out)
    return Estimate(
        rows=rows,
        tokens=tokens,
        requests=all_rows(requests),
        tokens_out=all_rows(tokens_out),
        gpu_gib=_memory(model.parameters_b, 2),
        gpu_seconds=_seconds(model.parameters_b, tokens, 2, SAMPLING_SHARE),
    )
