"""Bits per byte by hand: pieces of a long text, resamples of documents, settings."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from harness.core.records import Cell
from harness.engine.operations import Artifact
from harness.models.checkpoints import load_causal_lm
from harness.stats.bootstrap import resample_counts
from harness.suites.perplexity.operations import (
    ReadDocumentsParams,
    ScorePerplexityParams,
    score_perplexity,
)
from tests.harness.suites.perplexity.test_perplexity import FakeContext, read, write
from tests.tokenizers import WEIGHTS


def test_a_long_text_is_the_sum_of_pieces_that_each_begin_anew() -> None:
    model, tokenizer = load_causal_lm(WEIGHTS / "target")
    text = "The sum of 12 and 30 is 42. " * 60
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    start = tokenizer.bos_token_id
    start = tokenizer.eos_token_id if start is None else start
    size = model.config.max_position_embeddings - 1
    assert len(ids) > size
    nats = 0.0
    for place in range(0, len(ids), size):
        piece = [start, *ids[place : place + size]]
        with torch.no_grad():
            logps = model(torch.tensor([piece])).logits[0].log_softmax(-1)
        nats -= sum(float(logps[t - 1, piece[t]]) for t in range(1, len(piece)))
    row = {"id": "w", "domain": "d", "text": text}
    (found,) = read([row], "target")
    assert found["bits"] == pytest.approx(nats / math.log(2), rel=1e-4)
    assert set(found) == {"id", "domain", "content", "bits", "bytes"}
    (wide,) = read([{**row, "text": "Größe 1"}], "target")
    assert wide["bytes"] == 9


def cells(tmp_path: Path, rows: list[dict[str, Any]], **more: Any) -> dict[str, Cell]:
    write(tmp_path / "rows.jsonl", rows)
    params = ScorePerplexityParams(suite="p", system="s", scale="nano", rounds=60, **more)
    out: Any = FakeContext(tmp_path / "out")
    out.directory.mkdir()
    score_perplexity(out, params, readings=Artifact("r", tmp_path))
    found = json.loads((out.directory / "cells.json").read_text())
    return {cell["metric"]: Cell.model_validate(cell) for cell in found}


def row(id: str, bits: float | None, size: int, domain: str = "d") -> dict[str, Any]:
    return {"id": id, "domain": domain, "content": id, "bits": bits, "bytes": size}


def test_documents_are_drawn_with_their_bytes(tmp_path: Path) -> None:
    found = cells(tmp_path, [row("a", 5.0, 10), row("b", None, 20), row("c", 30.0, 20)])
    assert list(found) == ["bits_per_byte"]  # of one domain there is no part
    cell = found["bits_per_byte"]
    assert cell.value == pytest.approx(35 / 30)
    drawn = resample_counts(cell.prompt_set, 3, 60).astype(float)
    below = drawn @ [10, 0, 20]
    expected = np.where(below > 0, drawn @ [5, 0, 30] / np.maximum(below, 1), 35 / 30)
    assert (below == 0).any()
    assert cell.replicates == pytest.approx(expected)
    assert cell.resampled.values == (5, None, 30)
    assert cell.resampled.weights == (10, 20, 20)
    assert (cell.unit, cell.interval.kind) == ("bits per byte", "bootstrap over documents")


def test_without_readable_documents_there_is_no_value(tmp_path: Path) -> None:
    cell = cells(tmp_path, [row("a", None, 10), row("b", None, 20)])["bits_per_byte"]
    assert (cell.value, cell.replicates, cell.n_expected, cell.n_failed) == (None, (), 2, 2)


def test_sixteen_pieces_are_read_together() -> None:
    assert ReadDocumentsParams().model_dump() == {"batch_size": 16, "dtype": None}
    assert ReadDocumentsParams(batch_size=1).batch_size == 1
    with pytest.raises(ValidationError):
        ReadDocumentsParams(batch_size=0)
