"""Corpora as rows, and bits per byte of held-out documents."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.core.errors import BadData, UserError
from harness.core.records import Cell
from harness.distillation.corpus import DocumentsParams, import_documents
from harness.distillation.documents import encode_chat
from harness.engine.operations import Artifact, Row
from harness.models.checkpoints import load_causal_lm
from harness.suites.conformance import check_suite
from harness.suites.perplexity.operations import (
    ReadDocumentsParams,
    ScorePerplexityParams,
    read_documents,
    score_perplexity,
)
from harness.suites.perplexity.suite import SUITE
from tests.tokenizers import WEIGHTS


@dataclass
class FakeContext:
    directory: Path
    device: str = "cpu"
    reports: list[Any] = field(default_factory=list)

    def progress(self, *now: Any, **_: Any) -> None:
        self.reports.append(now)


def imported(folder: Path, ref: str, models: tuple[str, ...] = (), **params: Any) -> list[Row]:
    folder.mkdir(exist_ok=True)
    artifacts = tuple(Artifact(name, WEIGHTS / name) for name in models)
    context: Any = FakeContext(folder)
    import_documents(context, DocumentsParams(ref=ref, **params), models=artifacts)
    return Artifact("rows", folder).rows()


def read(rows: list[Row], name: str, **params: Any) -> list[Row]:
    nothing: Any = FakeContext(Path())
    model = Artifact(name, WEIGHTS / name)
    batches = [rows[:5], rows[5:]] if len(rows) > 5 else [rows]
    found = read_documents(
        nothing, ReadDocumentsParams(**params), batches, documents=model, model=model
    )
    return [row for batch in found for row in batch]


def write(path: Path, rows: list[Row]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def test_nano_documents_are_right_answers_of_a_split(tmp_path: Path) -> None:
    rows = imported(tmp_path / "a", "nano:train", limit=16)
    assert len({row["domain"] for row in rows}) == 8
    assert {"id", "messages", "response", "domain"} == set(rows[0])
    held_out = imported(tmp_path / "b", "nano:reward", limit=50)
    asked = [{row["messages"][0]["content"] for row in part} for part in (rows, held_out)]
    assert not asked[0] & asked[1]
    texts = imported(tmp_path / "c", "nano:train", limit=3, offset=2, form="text")
    assert [row["id"] for row in texts] == [row["id"] for row in rows[2:5]]
    assert texts[0]["text"] == f"{rows[2]['messages'][0]['content']}\n{rows[2]['response']}"


def test_files_of_texts_are_cut_for_every_tokenizer(tmp_path: Path) -> None:
    said = [{"text": "word " * 40, "domain": "d"}, {"id": "x", "text": "short"}]
    ref = write(tmp_path / "texts.jsonl", said)
    rows = imported(tmp_path / "whole", ref)
    assert [row.get("domain") for row in rows] == ["d", "all"]
    cut = imported(tmp_path / "cut", ref, ("target", "source_b"), max_tokens=60)
    assert len(cut) > 2
    assert "".join(row["text"] for row in cut[:-1]) == said[0]["text"]
    assert cut[-1]["id"] == "x"


@pytest.mark.parametrize(
    ("rows", "params", "error", "message"),
    [
        ([{"other": 1}], {}, BadData, 'no text "text"'),
        ([{"id": 1, "text": "a"}, {"id": 1, "text": "b"}], {}, BadData, "one id"),
        ([{"text": "a"}], {"offset": 3}, UserError, "no documents from offset 3"),
        ([{"text": "a"}], {"digest": "other"}, BadData, "changed since the plan"),
    ],
)
def test_what_is_no_corpus_is_refused(
    rows: list[Row], params: dict[str, Any], error: type[Exception], message: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message):
        imported(tmp_path / "out", write(tmp_path / "rows.jsonl", rows), **params)


def test_bits_are_the_models_own_whatever_the_batches(tmp_path: Path) -> None:
    rows = imported(tmp_path / "a", "nano:reward", limit=9)
    model, tokenizer = load_causal_lm(WEIGHTS / "source_a")
    found = read(rows, "source_a")
    for row, one in zip(rows, found, strict=True):
        tokens = encode_chat(tokenizer, row).tokens
        with torch.no_grad():
            logps = model(torch.tensor([tokens.input_ids])).logits[0].log_softmax(-1)
        places = [t for t in range(len(tokens.labels) - 1) if tokens.labels[t] != -100]
        nats = -sum(float(logps[t - 1, tokens.input_ids[t]]) for t in places)
        assert one["bits"] == pytest.approx(nats / math.log(2), rel=1e-4)
        assert one["bytes"] == len(row["response"].encode())
    again = read(rows, "source_a", batch_size=1)
    assert [row["bits"] for row in again] == pytest.approx([row["bits"] for row in found], rel=1e-5)


def test_long_texts_are_read_whole_in_pieces() -> None:
    text = "The sum of 12 and 30 is 42. " * 60
    whole, part = ({"id": i, "domain": "d", "text": t} for i, t in (("w", text), ("p", text[:28])))
    found = read([whole, part], "target")
    assert found[0]["bytes"] == len(text)
    assert found[0]["bits"] > 20 * found[1]["bits"] > 0


def test_cells_are_ratios_by_domain_with_intervals(tmp_path: Path) -> None:
    rows = [
        {"id": str(n), "domain": "ab"[n % 2], "content": str(n), "bits": bits, "bytes": 10 + n}
        for n, bits in enumerate([5.0, 9.0, 6.0, 12.0, None, 8.0])
    ]
    write(tmp_path / "rows.jsonl", rows)
    params = ScorePerplexityParams(suite="perplexity", system="s", scale="nano")
    out: Any = FakeContext(tmp_path / "out")
    out.directory.mkdir()
    score_perplexity(out, params, readings=Artifact("r", tmp_path))
    cells = [Cell.model_validate(c) for c in json.loads((out.directory / "cells.json").read_text())]
    by = {cell.metric: cell for cell in cells}
    assert list(by) == ["bits_per_byte", "bits_per_byte:a", "bits_per_byte:b"]
    assert by["bits_per_byte:a"].value == pytest.approx(11 / 22)
    assert by["bits_per_byte:b"].value == pytest.approx(29 / 39)
    assert by["bits_per_byte"].value == pytest.approx(40 / 61)
    assert (by["bits_per_byte"].n_expected, by["bits_per_byte"].n_failed) == (6, 1)
    assert [cell.primary for cell in cells] == [True, False, False]
    for cell in cells:
        assert cell.interval is not None
        assert cell.value is not None
        assert cell.interval.low <= cell.value <= cell.interval.high
        assert not cell.higher_is_better


def test_the_suite_conforms() -> None:
    check_suite(SUITE)
