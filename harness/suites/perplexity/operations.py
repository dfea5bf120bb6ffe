"""Held-out perplexity in bits per byte, by domain.

    rows {"id", "text" or "messages", "domain"}
        --read_documents-->   rows {"id", "domain", "bits", "bytes"}
        --score_perplexity--> bits per byte of each domain

    bits per byte = - sum_d log2 p(d) / sum_d bytes(d)

Bytes do not depend on the tokenizer, so models with different tokenizers are comparable. Of a
conversation only the answers are scored; tokens that end texts and turns are not. A text is
prefixed with the tokenizer's BOS, or its EOS if it has no BOS; a text longer than the context is
split into independent pieces.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from pydantic import Field

from harness.core.hashing import digest
from harness.core.records import Record
from harness.engine import costs
from harness.engine.operations import Artifact, Context, Row, operation
from harness.stats.bootstrap import cluster_counts
from harness.suites.scoring import CellParams, Tally, cell_maker, sample_of, write_cells
from harness.training.settings import Dtype

OVERALL = "bits_per_byte"
OVER_DOCUMENTS = "bootstrap over documents"


class ReadDocumentsParams(Record):
    """Parameters of `read_documents`.

    Attributes:
        batch_size: pieces per forward pass.
        dtype: numeric type of the model; None uses the default for the device.
    """

    batch_size: int = Field(default=16, ge=1)
    dtype: Dtype | None = None


@operation(
    "read_documents",
    version=1,
    params=ReadDocumentsParams,
    rows="documents",
    libraries=("torch", "transformers"),
    batch_size=lambda params: 8 * params.batch_size,
    estimate=costs.rows_of("documents"),
)
def read_documents(
    context: Context,
    params: ReadDocumentsParams,
    batches: Iterable[list[Row]],
    *,
    documents: Artifact,
    model: Artifact,
) -> Iterator[list[Row]]:
    """Bits and bytes of each document; bits are None if the log-likelihood is not finite."""
    import torch

    from harness.models.checkpoints import load_causal_lm
    from harness.models.collate import pad
    from harness.models.heads import check_head
    from harness.models.logprobs import sequence_logprobs
    from harness.models.threads import map_chunks

    network, tokenizer = load_causal_lm(model.path, context.device, params.dtype)
    check_head(network)
    length = getattr(network.config, "max_position_embeddings", None)

    @torch.no_grad()
    def nats(pieces: list[Any]) -> list[float]:
        batch = {name: value.to(network.device) for name, value in pad(pieces, 0).items()}
        return [-float(value) for value in sequence_logprobs(network, batch)[0]]

    for batch in batches:
        parts = [_pieces(tokenizer, row, length) for row in batch]
        flat = [piece for part in parts for piece in part]
        starts = range(0, len(flat), params.batch_size)
        chunks = [flat[start : start + params.batch_size] for start in starts]
        found = iter([value for values in map_chunks(nats, chunks, network) for value in values])
        yield [_row(row, sum(next(found) for _ in part)) for row, part in zip(batch, parts)]


def _row(row: Row, nats: float) -> Row:
    from harness.distillation.documents import scored_texts

    text = "".join(scored_texts(row))
    return {
        "id": row["id"],
        "domain": row["domain"],
        "content": digest([row.get("messages"), text]),
        "bits": nats / math.log(2) if math.isfinite(nats) else None,
        "bytes": len(text.encode("utf-8", "replace")),
    }


def _pieces(tokenizer: Any, row: Row, context: int | None) -> list[Any]:
    from harness.distillation.documents import encode_chat, encode_text, scored_spans
    from harness.models.tokenize import IGNORE, TokenSequence

    if "messages" in row:
        tokens = encode_chat(tokenizer, row).tokens
        for _, stop in scored_spans(tokens.labels):
            tokens.labels[stop - 1] = IGNORE  # the end of the turn
        return [TokenSequence(tokens.input_ids[:-1], tokens.labels[:-1])]
    ids = encode_text(tokenizer, row, bos=False, eos=False).tokens.input_ids
    start = tokenizer.bos_token_id
    start = tokenizer.eos_token_id if start is None else start
    before = [] if start is None else [start]
    size = (context or len(ids) + 1) - len(before)
    parts = [ids[place : place + size] for place in range(0, len(ids), size)]
    return [TokenSequence(before + part, [IGNORE] * len(before) + part) for part in parts]


class ScorePerplexityParams(CellParams):
    """Parameters of `score_perplexity`; see `CellParams`."""


@operation("score_perplexity", version=2, params=ScorePerplexityParams)
def score_perplexity(
    context: Context,
    params: ScorePerplexityParams,
    *,
    readings: Artifact,
    model: Artifact | None = None,
) -> None:
    """Write the cells of one system: bits per byte of all documents, and of each domain."""
    rows = readings.rows()
    texts = {row["id"]: [row["content"]] for row in rows}
    maker = cell_maker(params, texts, checkpoint=model, readings=readings)
    counts = cluster_counts(maker.prompt_set, list(texts), params.rounds).astype(float)
    known = np.array([row["bits"] is not None for row in rows])
    bits = np.array([row["bits"] or 0.0 for row in rows])
    size = np.array([row["bytes"] for row in rows], float)
    domains = np.array([row["domain"] for row in rows])
    among = {OVERALL: np.ones(len(rows), bool)}
    names = sorted(set(domains.tolist()))
    among |= {f"{OVERALL}:{name}": domains == name for name in names if len(names) > 1}
    cells = []
    for metric, wanted in among.items():
        chosen = wanted & known
        total = float(size[chosen].sum())
        value = float(bits[chosen].sum()) / total if total else None
        drawn = counts[:, chosen] @ size[chosen]
        draws = counts[:, chosen] @ bits[chosen] / np.where(drawn > 0, drawn, 1)
        cells.append(
            maker.cell(
                metric,
                value,
                Tally(int(wanted.sum()), int(chosen.sum())),
                replicates=np.where(drawn > 0, draws, value or 0.0) if total else (),
                kind=OVER_DOCUMENTS,
                resampled=sample_of(np.where(chosen, bits, np.nan), list(texts), size),
                unit="bits per byte",
                higher_is_better=False,
                primary=metric == OVERALL,
            )
        )
    write_cells(context, cells)
