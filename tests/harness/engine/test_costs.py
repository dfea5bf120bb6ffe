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


def near(estimate: Estimate) -> dict[str, object]:
    """What an estimate knows; GPU figures to six digits."""
    known = {name: value for name, value in vars(estimate).items() if value is not None}
    return {n: float(f"{v:.6g}") if n.startswith("gpu") else v for n, v in known.items()}


# A model of 8e9 parameters: 2 bytes each and a fifth on top are 17.8814 GiB for inference, 16 bytes
# 143.051 GiB for training. A token takes 16e9 operations of 78e12 a second, 48e9 of 124.8e12.
INFERENCE, TRAINING = 17.8814, 143.051


def test_every_figure_of_an_estimate_by_hand() -> None:
    sampled = costs.sampling(SimpleNamespace(n=2, max_tokens=100), Estimate(rows=10), MODEL)
    assert near(sampled) == {
        "rows": 10, "tokens": 4000, "requests": 10, "tokens_out": 2000, "at_most": False,
        "gpu_gib": INFERENCE, "gpu_seconds": 0.820513,
    }  # fmt: skip
    scored = costs.scoring(Record(), Estimate(rows=10, tokens=11_000), MODEL)
    assert near(scored) == {
        "rows": 10, "tokens": 13_000, "at_most": False, "gpu_gib": INFERENCE,
        "gpu_seconds": 2.66667,
    }  # fmt: skip
    read = costs.reference(Record(), Estimate(rows=10, responses=3), MODEL)
    assert near(read) == {
        "rows": 10, "tokens": 19_500, "at_most": False, "gpu_gib": INFERENCE, "gpu_seconds": 4.0,
    }  # fmt: skip
    taught = costs.training(trained(2, 0.5), Estimate(rows=10), MODEL, read)
    assert near(taught) == {
        "rows": 10, "tokens": 6500, "parameters_b": 8.0, "at_most": False, "gpu_gib": TRAINING,
        "gpu_seconds": 2.5,
    }  # fmt: skip
    asked = costs.asking(10, 3, 100, 29, MODEL)
    assert near(asked) == {
        "rows": 10, "tokens": 1290, "requests": 30, "tokens_out": 290, "at_most": False,
        "gpu_gib": INFERENCE, "gpu_seconds": 0.264615,
    }  # fmt: skip


def test_a_short_response_is_read_once() -> None:
    few = costs.scoring(Record(), Estimate(rows=10, tokens=2500), MODEL)
    assert few.tokens == 2500
    assert costs.scoring(Record(), Estimate(rows=10), MODEL).tokens is None
    assert costs.scoring(Record(), Estimate(tokens=10), MODEL).tokens is None


def test_models_below_fifty_million_parameters_take_no_time() -> None:
    for billions, known in ((0.05, True), (0.0499, False)):
        made = costs.asking(1, 1, 1, 1, Estimate(parameters_b=billions))
        assert (made.gpu_seconds is not None) is known
        assert (made.gpu_gib is not None) is known
    unknown = costs.asking(1, 1, 1, 1, Estimate())
    assert (unknown.gpu_seconds, unknown.gpu_gib) == (None, None)
    assert costs.sampling(SimpleNamespace(n=2, max_tokens=1), Estimate(), MODEL).tokens is None
    assert costs.sampling(SimpleNamespace(n=2, max_tokens=1), Estimate(), MODEL).tokens_out is None
    assert costs.split(SimpleNamespace(part="sft", fraction=0.5), Estimate()).rows is None
    half = costs.split(SimpleNamespace(part="sft", fraction=0.34), Estimate(rows=10)).rows
    assert (half, type(half)) == (3, int)
    assert costs.reference(Record(), Estimate(responses=2), MODEL).tokens is None
