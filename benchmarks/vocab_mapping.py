"""Nearest of 32,000 base tokens for 50,000 source tokens: pruned search compared with full search.

    python benchmarks/vocab_mapping.py [--golden FOLDER] [--sample 25]

Two synthetic vocabularies with markers exchanged; 35,001 tokens have no exact match. The peer is
FuseLLM's algorithm in plain Python: a scan of the list for an equal token, else one edit distance
(rapidfuzz, compiled) per base token; it is timed on a sample of unmatched tokens and 200 matched
ones and extrapolated. A second sample is compared with full distance tables. Times are CPU times
and memory is the peak of this process; set OMP_NUM_THREADS=1.

Claim: at most 20 seconds, minima identical to the full search.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import time
from pathlib import Path

from rapidfuzz.distance import Levenshtein
from rapidfuzz.process import cdist

from harness.distillation.align.tokens import swap_marker
from harness.distillation.align.vocab import nearest_tokens

DATA = Path(__file__).parents[1] / "tests" / "golden" / "data"


def plain(keys: list[str], base: list[str]) -> list[int]:
    """The peer: index of the first base token at the minimum distance."""
    found = []
    for key in keys:
        if key in base:
            found.append(base.index(key))
        else:
            distances = [Levenshtein.distance(key, token) for token in base]
            found.append(distances.index(min(distances)))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--golden", type=Path, default=os.environ.get("CRUCIBLE_GOLDEN") or DATA)
    parser.add_argument("--sample", type=int, default=25)
    options = parser.parse_args()
    folder = Path(options.golden) / "fusellm" / "bench"
    base, source = (
        (folder / f"vocab_{name}.txt").read_text(encoding="utf-8").splitlines()
        for name in ("base_32000", "blending_50000")
    )
    keys = swap_marker(source, "Ġ", "▁")
    known = set(base)
    lost = [key for key in keys if key not in known]
    matched = [key for key in keys if key in known]
    started = time.process_time()
    ties, distances = nearest_tokens(keys, base)
    ours = time.process_time() - started
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"ours: {ours:.1f} s, {len(keys):,} x {len(base):,}, peak {memory:.0f} MiB")

    chosen = random.Random(0)
    parts = ((lost, options.sample), (matched, 200))
    theirs, equal = 0.0, True
    places = {key: int(tied[0]) for key, tied in zip(keys, ties)}
    for tokens, count in parts:
        sample = chosen.sample(tokens, min(count, len(tokens)))
        started = time.process_time()
        found = plain(sample, base)
        theirs += (time.process_time() - started) * len(tokens) / len(sample)
        equal &= found == [places[key] for key in sample]
    print(f"plain: {theirs:.0f} s, extrapolated; ratio {theirs / ours:.0f}; choices equal: {equal}")

    checked = chosen.sample(range(len(keys)), min(2000, len(keys)))
    table = cdist([keys[i] for i in checked], base, scorer=Levenshtein.distance)
    same = all(
        int(row.min()) == distances[i]
        and (row == row.min()).nonzero()[0].tolist() == ties[i].tolist()
        for i, row in zip(checked, table)
    )
    print(f"minima and ties of {len(checked)} tokens equal to the full tables: {same}")


if __name__ == "__main__":
    main()
