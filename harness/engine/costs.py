"""What a stage will cost, before it runs: rows, tokens, GPU memory and GPU time.

Rough by nature and meant for planning: arithmetic of model sizes, not measurements. Assumptions:
one A100-class GPU does 312e12 bf16 operations a second, sampling with a batching engine reaches
25 % of it and training 40 %; prompts have 200 tokens and responses 450 where nothing is known
(chat-instruction data); weights take 2 bytes a parameter for inference, 16 for training with Adam
(weights, gradients and moments), the KV cache and activations another 20 %. An estimate that
depends on something unknown is None, never zero.
"""

from __future__ import annotations

from collections.abc import Callable

from harness.core.records import Record
from harness.engine.operations import Estimate

PEAK = 312e12
SAMPLING_SHARE = 0.25
TRAINING_SHARE = 0.40
PROMPT_TOKENS = 200
RESPONSE_TOKENS = 450
GIB = 2**30
TINY_B = 0.05  # below this, GPU time means nothing


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


def _field(params: Record, name: str, default: float) -> float:
    value = getattr(params, name, None)
    return default if value is None else float(value)


def rows_of(name: str) -> Callable[..., Estimate]:
    """For a stage that has the rows of one input and costs nothing else worth counting."""

    def estimate(params: Record, **inputs: Estimate | tuple[Estimate, ...]) -> Estimate:
        value = inputs[name]
        return Estimate(rows=(value[0] if isinstance(value, tuple) else value).rows)

    return estimate


def prompts(params: Record) -> Estimate:
    limit = getattr(params, "limit", None)
    return Estimate(rows=limit)


def split(params: Record, prompts: Estimate) -> Estimate:
    fraction = _field(params, "fraction", 1 / 3)
    share = fraction if getattr(params, "part", "") == "sft" else 1 - fraction
    return Estimate(rows=None if prompts.rows is None else round(share * prompts.rows))


def sampling(params: Record, prompts: Estimate, model: Estimate) -> Estimate:
    """Prompt once, then n responses a row."""
    n = int(_field(params, "n", 1))
    length = min(_field(params, "max_tokens", RESPONSE_TOKENS), RESPONSE_TOKENS)
    tokens = None if prompts.rows is None else round(prompts.rows * (PROMPT_TOKENS + n * length))
    return Estimate(
        rows=prompts.rows,
        tokens=tokens,
        requests=prompts.rows,
        tokens_out=None if prompts.rows is None else round(prompts.rows * n * length),
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
    """Three responses a row, forward only."""
    tokens = None if rows.rows is None else 3 * rows.rows * (PROMPT_TOKENS + RESPONSE_TOKENS)
    return Estimate(
        rows=rows.rows,
        tokens=tokens,
        gpu_gib=_memory(model.parameters_b, 2),
        gpu_seconds=_seconds(model.parameters_b, tokens, 2, SAMPLING_SHARE),
    )


def training(
    params: Record, rows: Estimate, model: Estimate, reference: Estimate | None = None
) -> Estimate:
    """Forward and backward over one response a row (SFT) or three (preferences)."""
    each = 1 if type(params).__name__.startswith("Sft") else 3
    tokens = None
    if rows.rows is not None:
        epochs = _field(params, "epochs", 1)
        tokens = round(epochs * each * rows.rows * (PROMPT_TOKENS + RESPONSE_TOKENS))
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
    """So many requests and tokens a row."""

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
