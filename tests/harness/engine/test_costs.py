"""Estimates of stages: what they read from parameters and inputs, and what stays unknown."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from harness.core.records import Record
from harness.engine import costs
from harness.engine.operations import Estimate

EACH = costs.PROMPT_TOKENS + costs.RESPONSE_TOKENS
ROWS = Estimate(rows=100)
MODEL = Estimate(parameters_b=8.0)


def trained(sequences: int, epochs: float = 1.0) -> SimpleNamespace:
    return SimpleNamespace(epochs=epochs, sequences_per_row=sequences)


@pytest.mark.parametrize("sequences", [1, 2, 3])
def test_training_counts_the_sequences_of_each_row(sequences: int) -> None:
    found = costs.training(trained(sequences, epochs=1.5), ROWS, MODEL)
    assert found.tokens == 150 * sequences * EACH
    assert (found.rows, found.parameters_b) == (100, 8.0)
    assert found.gpu_seconds == pytest.approx(6 * 8e9 * 150 * sequences * EACH / (312e12 * 0.4))
    assert found.gpu_gib == pytest.approx(1.2 * 16 * 8e9 / 2**30)


def test_reference_log_probabilities_read_every_response() -> None:
    found = costs.reference(Record(), Estimate(rows=100, responses=2), MODEL)
    assert found.tokens == 200 * EACH
    assert costs.reference(Record(), ROWS, MODEL).tokens is None


def test_sampling_reads_a_prompt_once_and_writes_n_responses() -> None:
    short = SimpleNamespace(n=5, max_tokens=96)
    found = costs.sampling(short, ROWS, MODEL)
    assert (found.tokens, found.tokens_out, found.requests) == (68_000, 48_000, 100)
    long = SimpleNamespace(n=1, max_tokens=4096)
    assert costs.sampling(long, ROWS, MODEL).tokens_out == 45_000


def test_scoring_repeats_the_prompt_for_each_response() -> None:
    sampled = costs.sampling(SimpleNamespace(n=5, max_tokens=450), ROWS, MODEL)
    assert costs.scoring(Record(), sampled, MODEL).tokens == 500 * EACH


def test_splits_and_rows_of_an_input() -> None:
    for part, rows in (("sft", 25), ("preference", 75)):
        assert costs.split(SimpleNamespace(part=part, fraction=0.25), ROWS).rows == rows
    estimate = costs.rows_of("own", responses=3)
    assert estimate(Record(), own=ROWS) == Estimate(rows=100, responses=3)
    assert costs.rows_of("own")(Record(), own=(ROWS, MODEL)) == ROWS
    assert costs.prompts(SimpleNamespace(limit=7)).rows == 7


def test_what_is_unknown_is_none() -> None:
    unknown = costs.training(trained(2), Estimate(), MODEL)
    assert (unknown.tokens, unknown.gpu_seconds) == (None, None)
    assert costs.training(trained(2), ROWS, Estimate()).gpu_seconds is None
    tiny = costs.training(trained(2), ROWS, Estimate(parameters_b=0.001))
    assert (tiny.tokens, tiny.gpu_gib, tiny.gpu_seconds) == (200 * EACH, None, None)
    assert costs.asking(None, 1, 2, 3, MODEL).tokens is None
    assert costs.asking(10, 2, 30, 4, MODEL).tokens == 340
