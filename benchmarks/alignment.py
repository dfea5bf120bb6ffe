"""Token alignment by dynamic time warping and by offsets compared with the plain algorithm.

    python benchmarks/alignment.py [--golden FOLDER] [--repeats 7] [--variant fusellm]

Texts of about 128 to 2,048 base tokens, tokenised by a SentencePiece-like and a byte-level BPE. The
peer is FuseLLM's algorithm as in its equations, cell by cell in Python: markers stripped and edit
distance (rapidfuzz, compiled) computed in every cell, a numpy matrix, back-trace. All alignments by
warping are compared with the peer's. Times are CPU times of this process, the best of several for
ours, once for the peer; set OMP_NUM_THREADS=1. Memory is the peak of numpy and Python allocations
in a separate run. "offsets" starts from the tokenizer's ids and offsets and includes computing
where each token ends.

Claim: at least 65,000 and 20,000 base tokens per second at 512 and 2,048 tokens by warping, and
1,000,000 by offsets.
"""

from __future__ import annotations

import argparse
import json
import os
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from harness.distillation.align.dtw import dtw
from harness.distillation.align.offsets import Reading, align, ends_in
from harness.distillation.align.tokens import Vocabulary, decoded, vocabulary

DATA = Path(__file__).parents[1] / "tests" / "golden" / "data"


def plain(
    base: list[str], source: list[str], base_marker: str, source_marker: str, variant: str
) -> list[list[int]]:
    """The peer: source positions of each base position."""
    from rapidfuzz.distance import Levenshtein

    def cost(a: str, b: str) -> float:
        x, y = a.replace(source_marker, ""), b.replace(base_marker, "")
        if variant == "fusechat_v2" and not (x and y):
            x, y = a.replace(source_marker, base_marker), b
        distance = Levenshtein.distance(x, y)
        return distance * 0.1 if variant == "fusechat_v1" and (x in y or y in x) else distance

    n, m = len(source), len(base)
    sums = np.full((n + 1, m + 1), np.inf)
    sums[0, 0] = 0
    for i in range(n):
        for j in range(m):
            before = min(sums[i, j + 1], sums[i + 1, j], sums[i, j])
            sums[i + 1, j + 1] = cost(source[i], base[j]) + before
    moves = ((1, 1), (0, 1), (1, 0)) if variant == "fusechat_v2" else ((1, 1), (1, 0), (0, 1))
    i, j = n, m
    found: list[list[int]] = [[] for _ in base]
    found[-1].append(n - 1)
    while (i, j) != (1, 1):
        i, j = min(((i - a, j - b) for a, b in moves), key=lambda cell: sums[cell])
        found[j - 1].append(i - 1)
    return [places[::-1] for places in found]


def seconds(run: Callable[[], Any], repeats: int) -> float:
    best = float("inf")
    for _ in range(repeats):
        started = time.process_time()
        run()
        best = min(best, time.process_time() - started)
    return best


def peak(run: Callable[[], Any]) -> float:
    tracemalloc.start()
    run()
    found = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()
    return found


def load(folder: Path, name: str) -> tuple[Any, Vocabulary]:
    from transformers import PreTrainedTokenizerFast

    file = folder / "fusellm" / "tokenizers" / f"{name}.json"
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(file))
    return tokenizer, vocabulary(tokenizer)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--golden", type=Path, default=os.environ.get("CRUCIBLE_GOLDEN") or DATA)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument(
        "--variant", default="fusellm", choices=("fusellm", "fusechat_v1", "fusechat_v2")
    )
    options = parser.parse_args()
    folder = Path(options.golden)
    pair = [load(folder, name) for name in ("sp_bpe", "byte_bpe")]
    texts = json.loads((folder / "fusellm" / "bench" / "alignment_inputs.json").read_text())
    print(f"{'base x source':>14}{'':>10}{'tokens/s':>12}{'peak MiB':>10}{'ratio':>8}  equal")
    for entry in texts:
        compare(pair, entry["text"], options)


def compare(pair: list[tuple[Any, Vocabulary]], text: str, options: argparse.Namespace) -> None:
    found = [
        tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        for tokenizer, _ in pair
    ]
    ids = [np.array(one["input_ids"]) for one in found]
    offsets = [np.array(one["offset_mapping"]) for one in found]
    if options.variant == "fusechat_v2":
        tokens = [decoded(tokenizer, i.tolist()) for (tokenizer, _), i in zip(pair, ids)]
    else:
        tokens = [vocabulary.strings(i) for (_, vocabulary), i in zip(pair, ids)]
    inputs: Any = (*tokens, *(vocabulary.marker for _, vocabulary in pair), options.variant)

    def by_offsets() -> Any:
        return align(
            *(Reading(i, ends_in(text, v, i, o), v) for i, o, (_, v) in zip(ids, offsets, pair))
        )

    runs = {
        "plain": (lambda: plain(*inputs), 1),
        "dtw": (lambda: dtw(*inputs).base_to_source(), options.repeats),
        "offsets": (by_offsets, options.repeats),
    }
    rates = {}
    for name, (run, repeats) in runs.items():
        rates[name] = len(ids[0]) / seconds(run, repeats)
        equal = {"dtw": lambda: str(plain(*inputs) == dtw(*inputs).base_to_source())}
        print(
            f"{len(ids[0]):>6} x {len(ids[1]):<5}{name:>10}{rates[name]:12,.0f}{peak(run):10.1f}"
            f"{rates[name] / rates['plain']:8.0f}  {equal[name]() if name in equal else ''}"
        )


if __name__ == "__main__":
    main()
