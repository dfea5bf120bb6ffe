"""Diversity filter of instructions by ROUGE-L: time, memory, growth, and decisions of the peers.

    python benchmarks/diversity_filter.py [--data FILE] [--sizes 1000,5000,10000] [--reference 1000]

Instructions: half from the file (any shape that `crucible analyse` reads), drawn with repeats, and
half made from templates and words with seed 7; without a file, all are made. Peers: rouge-score's
own LCS on all pairs of a text and the kept ones, as the released code does in one process (up to
`--reference` texts; about 75 us per pair), and blocks of rapidfuzz's `cdist` (up to 10,000). All
must take the same decisions. One core; times are medians of `--passes` runs, peers run once.
"""

from __future__ import annotations

import argparse
import math
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from peak_memory import measured
from rapidfuzz.distance import LCSseq
from rapidfuzz.process import cdist
from rouge_score.rouge_scorer import _score_lcs

from harness.data.instructions.diversity import diversity_filter
from harness.data.instructions.reading import instruction_of
from harness.data.instructions.rouge_l import rouge_tokens
from harness.data.tables import read_table

THRESHOLD = 0.7
BLOCK = 256
CDIST_MOST = 10_000
VERBS = "Write Rewrite Summarize Explain Describe List Improve Edit Translate Simplify".split()  # noqa: SIM905
FRAMES = (
    "{v} a {a} {b} about {c} for {d}.",
    "{v} the following {a} so that it {b} the {c} with {d} {e}.",
    "{v} {a} {b} {c} and give reasons.",
    "Please {v} how {a} {b} {c} in {d}.",
    "{v} three {a} that {b} a {c} {d} {e}.",
)


def corpus(n: int, real: Sequence[str], seed: int = 7) -> list[str]:
    """Real and made instructions, mixed."""
    rng = random.Random(seed)
    words = sorted({w for text in real for w in text.split() if w.isalpha() and len(w) > 3})
    words = words or [f"word{number}" for number in range(1500)]
    texts = []
    for _ in range(n):
        if real and rng.random() < 0.5:
            texts.append(rng.choice(real))
            continue
        chosen = {key: rng.choice(words) for key in "abcde"}
        texts.append(rng.choice(FRAMES).format(v=rng.choice(VERBS), **chosen))
    return texts


def ours(texts: Sequence[str]) -> list[bool]:
    return [decision.kept for decision in diversity_filter(texts, THRESHOLD)]


def by_rouge_score(texts: Sequence[str]) -> list[bool]:
    """Every text against every kept one with rouge-score."""
    kept: list[list[str]] = []
    decisions = []
    for row in map(rouge_tokens, texts):
        highest = max((_score_lcs(other, row).fmeasure for other in kept), default=-1.0)
        decisions.append(highest <= THRESHOLD)
        if decisions[-1]:
            kept.append(row)
    return decisions


def by_cdist(texts: Sequence[str]) -> list[bool]:
    """Blocks of texts against the kept ones, and against each other, with rapidfuzz."""
    numbers: dict[str, int] = {}
    rows = [[numbers.setdefault(t, len(numbers)) for t in rouge_tokens(text)] for text in texts]
    coded = ["".join(chr(k if k < 0xD800 else k + 0x800) for k in row) for row in rows]
    kept: list[str] = []
    decisions: list[bool] = []
    for start in range(0, len(coded), BLOCK):
        block = coded[start : start + BLOCK]
        far = ~(f_table(block, kept) > THRESHOLD).any(axis=1)
        inside = f_table(block, block) > THRESHOLD
        for place in range(len(block)):
            keep = bool(far[place]) and not inside[place, :place][far[:place]].any()
            far[place] = keep
            decisions.append(keep)
        kept += [text for text, keep in zip(block, far) if keep]
    return decisions


def f_table(rows: Sequence[str], columns: Sequence[str]) -> np.ndarray:
    lcs = cdist(rows, columns, scorer=LCSseq.similarity, dtype=np.int32, workers=1)
    lcs = lcs.reshape(len(rows), len(columns))
    recall = lcs / np.maximum([len(row) for row in rows], 1)[:, None]
    precision = lcs / np.maximum([len(row) for row in columns], 1)[None, :]
    both = precision + recall
    return np.divide(2 * precision * recall, both, out=np.zeros_like(both), where=both > 0)


def report(
    name: str, work: Callable[[Sequence[str]], list[bool]], texts: list[str], passes: int
) -> tuple[list[bool], float]:
    found, cost = measured(lambda: work(texts), passes=passes)
    print(
        f"{len(texts):>7,} {name:<12} {cost['seconds']:9.3f} s  {cost['cpu']:9.3f} s CPU  "
        f"{cost['bytes'] / 2**20:6.0f} MiB  {sum(found):,} kept",
        flush=True,
    )
    return found, cost["cpu"]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--sizes", default="1000,5000,10000")
    parser.add_argument("--reference", type=int, default=1000, help="largest size of rouge-score")
    parser.add_argument("--passes", type=int, default=3)
    options = parser.parse_args(arguments)
    real = []
    if options.data is not None:
        rows = enumerate(read_table(options.data), 1)
        real = [instruction_of(row, f"row {number}")[0] for number, row in rows]
    before: tuple[int, float] | None = None
    for size in map(int, options.sizes.split(",")):
        texts = corpus(size, real)
        found, seconds = report("ours", ours, texts, options.passes)
        if before is not None:
            growth = math.log(seconds / before[1]) / math.log(size / before[0])
            print(f"{'':7} growth       n^{growth:.2f} since {before[0]:,}")
        before = (size, seconds)
        for name, peer, most in (
            ("rapidfuzz", by_cdist, CDIST_MOST),
            ("rouge-score", by_rouge_score, options.reference),
        ):
            if size <= most:
                theirs, cost = report(name, peer, texts, 1)
                assert found == theirs, f"{name}: decisions differ"
                print(f"{'':7} same decisions; {name} takes {cost / seconds:,.1f} times as long")


if __name__ == "__main__":
    main()
