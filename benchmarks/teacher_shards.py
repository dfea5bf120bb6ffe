"""Sparse teachers in shards compared with a `datasets` folder, the format of FuseLLM's code.

Documents of 20 to 2,048 tokens with 10 log-probabilities and ids per token (vocabulary 32,000).
Measures bytes per token, and tokens per second written and read document by document in random
order as numpy arrays (checksums verified). The peer stores input_ids, attention_mask, labels and
ids as 8-byte integers and logits as float16, without the original's padding to 2,048 rows.

    python benchmarks/teacher_shards.py

Claim: at most 40 bytes per token.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

K, VOCABULARY = 10, 32_000


def main() -> None:
    made = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    made.add_argument("--documents", type=int, default=1500)
    made.add_argument("--repeats", type=int, default=3)
    options = made.parse_args()
    documents = make(options.documents)
    tokens = sum(len(document["input_ids"]) for document in documents)
    print(f"{len(documents)} documents, {tokens} tokens, k {K}, median of {options.repeats}")
    print(f"{'':10}{'bytes/token':>14}{'written, tokens/s':>20}{'read, tokens/s':>18}")
    for name, (write, read) in {
        "shards": (write_ours, read_ours),
        "datasets": (write_peer, read_peer),
    }.items():
        found = [measure(documents, tokens, write, read) for _ in range(options.repeats)]
        size, written, seen = (statistics.median(column) for column in zip(*found))
        print(f"{name:10}{size:14.2f}{written:20,.0f}{seen:18,.0f}")


def make(count: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    lengths = np.clip(rng.lognormal(5.5, 1.0, count).astype(int), 20, 2048)
    made = []
    for number, length in enumerate(lengths):
        logps = -np.sort(rng.gumbel(4, 2, (length, K)).clip(0.01), axis=1).astype(np.float32)
        top = rng.integers(0, VOCABULARY, (length, K))
        ids = rng.integers(0, VOCABULARY, length)
        made.append({"id": f"train-{number:08}", "input_ids": ids, "logps": logps, "top": top})
    return made


def measure(documents: list[dict[str, Any]], tokens: int, write: Any, read: Any) -> list[float]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        start = time.perf_counter()
        write(folder, documents)
        written = time.perf_counter() - start
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        order = np.random.default_rng(1).permutation(len(documents)).tolist()
        start = time.perf_counter()
        total = read(folder, documents, order)
        seconds = time.perf_counter() - start
        assert abs(total - sum(float(d["logps"][:-1].sum()) for d in documents)) < 1e-2 * abs(total)
        return [size / tokens, tokens / written, tokens / seconds]


def write_ours(folder: Path, documents: list[dict[str, Any]]) -> None:
    from harness.distillation.shards import Manifest, ShardWriter, TeacherDocument, token_check

    manifest = Manifest(k=K, vocabulary=VOCABULARY, tokenizer="t", corpus="c", model="m")
    writer = ShardWriter(folder, manifest)
    size = manifest.shard_documents
    for number, start in enumerate(range(0, len(documents), size)):
        part = [
            TeacherDocument(
                d["id"], d["logps"][:-1], d["top"][:-1], 2.0, len(d["top"]) - 1,
                token_check(d["input_ids"]),
            )
            for d in documents[start : start + size]
        ]  # fmt: skip
        writer.write(number, part)
    writer.finish(number + 1)


def read_ours(folder: Path, documents: list[dict[str, Any]], order: list[int]) -> float:
    from harness.distillation.shards import Teacher

    teacher, total = Teacher(folder, tokenizer="t", corpus="c"), 0.0
    for place in order:
        found = teacher.document(documents[place]["id"], documents[place]["input_ids"])
        total += float(found.logps[:-1].sum(dtype=np.float32))
    return total


def write_peer(folder: Path, documents: list[dict[str, Any]]) -> None:
    import datasets

    datasets.disable_progress_bars()
    rows = datasets.List
    features = datasets.Features(
        {
            **{
                name: rows(datasets.Value("int64"))
                for name in ("input_ids", "attention_mask", "labels")
            },
            "per_step_logits": rows(rows(datasets.Value("float16"))),
            "per_step_indices": rows(rows(datasets.Value("int64"))),
            "metric_ce": datasets.Value("float16"),
        }
    )
    columns: dict[str, list[Any]] = {
        "input_ids": [d["input_ids"] for d in documents],
        "attention_mask": [np.ones_like(d["input_ids"]) for d in documents],
        "labels": [d["input_ids"] for d in documents],
        "per_step_logits": [list(d["logps"].astype(np.float16)) for d in documents],
        "per_step_indices": [list(d["top"]) for d in documents],
        "metric_ce": [np.float16(2.0)] * len(documents),
    }
    datasets.Dataset.from_dict(columns, features=features).save_to_disk(folder)


def read_peer(folder: Path, documents: list[dict[str, Any]], order: list[int]) -> float:
    import datasets

    wanted = ["per_step_logits", "per_step_indices"]
    stored, total = datasets.load_from_disk(str(folder)).with_format("numpy", columns=wanted), 0.0
    for place in order:
        row = stored[place]
        total += float(np.stack(row["per_step_logits"])[:-1].sum(dtype=np.float32))
        np.stack(row["per_step_indices"])
    return total


if __name__ == "__main__":
    main()
