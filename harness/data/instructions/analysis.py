"""Figures of instruction data sets: `Analysis`, and the operation `analyse_instructions`.

    imports ──┬─> find_verb_nouns ──┐
              ├─> measure_overlaps ─┼─> analyse_instructions ──> analysis.json
              └─────────────────────┘

Counts (unique pairs, repeats) describe a file completely and have no interval. Means over
instructions have one: instructions are resampled. The number of unique pairs grows with the size of
a data set; `unique_at_equal_size` is its expectation for as many random instructions as the
smallest set has (rarefaction, Hurlbert 1971), so that sets of different sizes can be compared.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from pydantic import Field

from harness.core.errors import BadData
from harness.core.hashing import digest
from harness.core.records import Interval, Record
from harness.data.instructions.operations import TOKENS, Tokens
from harness.data.instructions.overlaps import pair_replicates
from harness.data.instructions.pair_statistics import pair_statistics
from harness.engine.io import write_json
from harness.engine.operations import Artifact, Context, Row, operation
from harness.stats.bootstrap import percentile_interval, replicate_means, resample_counts

OVER_INSTRUCTIONS = "bootstrap over instructions"
TOP = 15
BINS = 25  # of the distribution of overlaps, equal widths over [0, 1]


class Estimated(Record):
    """A mean over instructions, in [0, 1]; no interval below two."""

    value: float
    interval: Interval | None


class PairCount(Record):
    """A verb-noun pair, its number, and its share of all pairs of the data set."""

    verb: str
    noun: str
    count: int
    share: float


class SetAnalysis(Record):
    """One data set.

    Attributes:
        rows, bad: number of rows read, and of those without an instruction, which are left out.
        named: the first bad rows.
        instructions: number of instructions.
        without_tokens: of which ROUGE-L reads nothing (another script, or none).
        paired: number of instructions with a verb-noun pair.
        deviation, sample_deviation: of the occurrence of pairs, dividing by n and n - 1.
        compared: number of instructions compared with all others.
        nearest: mean ROUGE-L with the nearest other instruction.
        near: share of instructions whose nearest is above the threshold.
        pairwise: mean ROUGE-L of all pairs of instructions.
        histogram: number of compared instructions per bin of the nearest ROUGE-L.
        repeated: instructions that occur earlier in the set, word for word.
        repeated_with_input: rows whose instruction and input occur earlier.
        artifacts: stages behind the figures.
    """

    name: str
    ref: str
    rows: int
    bad: int
    named: tuple[str, ...]
    instructions: int
    without_tokens: int
    paired: int
    unique_pairs: int
    unique_at_equal_size: float | None
    average_occurrence: float | None
    deviation: float | None
    sample_deviation: float | None
    top_share: float | None
    top: tuple[PairCount, ...]
    compared: int
    nearest: Estimated | None
    near: Estimated | None
    pairwise: Estimated | None
    histogram: tuple[int, ...]
    repeated: int
    repeated_with_input: int
    artifacts: dict[str, str]


class Shared(Record):
    """Rows of one data set whose instruction occurs in another, word for word."""

    set: str
    other: str
    rows: int
    share: float


class Analysis(Record):
    """Data sets side by side.

    Attributes:
        parser: name of the dependency parser, with versions.
        threshold: of `SetAnalysis.near`.
        equal_size: instructions of the smallest data set; None for a single one.
    """

    parser: str
    tokens: Tokens
    threshold: float
    equal_size: int | None
    rounds: int
    sets: tuple[SetAnalysis, ...]
    shared: tuple[Shared, ...]


class AnalysisParams(Record):
    """What is analysed, and how.

    Attributes:
        names, refs: of the data sets, in the order of the inputs.
        level: of intervals.
        rounds: number of resamples.
    """

    names: tuple[str, ...]
    refs: tuple[str, ...]
    parser: str
    tokens: Tokens = "rouge"
    threshold: float = 0.7
    level: float = Field(default=0.95, gt=0, lt=1)
    rounds: int = Field(default=1000, ge=1)


@operation("analyse_instructions", version=1, params=AnalysisParams)
def analyse_instructions(
    context: Context,
    params: AnalysisParams,
    *,
    instructions: Sequence[Artifact],
    verb_nouns: Sequence[Artifact],
    overlaps: Sequence[Artifact],
) -> None:
    """Write analysis.json, an `Analysis`."""
    listed = [artifact.rows() for artifact in instructions]
    sizes = [len(rows) for rows in listed]
    equal = min(sizes) if len(sizes) > 1 else None
    sets = []
    for place, rows in enumerate(listed):
        artifacts = {
            "instructions": instructions[place],
            "verb_nouns": verb_nouns[place],
            "overlaps": overlaps[place],
        }
        sets.append(_set_analysis(params, place, rows, artifacts, equal))
        context.progress(place + 1, len(listed), "data sets")
    analysis = Analysis(
        parser=params.parser,
        tokens=params.tokens,
        threshold=params.threshold,
        equal_size=equal,
        rounds=params.rounds,
        sets=tuple(sets),
        shared=shared_instructions(dict(zip(params.names, listed, strict=True))),
    )
    write_json(context.directory / "analysis.json", analysis.model_dump(mode="json"), ascii=False)


def _set_analysis(
    params: AnalysisParams,
    place: int,
    rows: Sequence[Row],
    artifacts: Mapping[str, Artifact],
    equal: int | None,
) -> SetAnalysis:
    read = artifacts["instructions"].read_json("summary.json")
    texts = [row["instruction"] for row in rows]
    pairs = [
        (row["verb"], row["noun"]) if row["verb"] and row["noun"] else None
        for row in artifacts["verb_nouns"].rows()
    ]
    found = pair_statistics(pairs)
    measured = [row for row in artifacts["overlaps"].rows() if row.get("rouge_l") is not None]
    return SetAnalysis(
        name=params.names[place],
        ref=params.refs[place],
        rows=read["rows"],
        bad=read["bad"],
        named=tuple(read["named"]),
        instructions=len(rows),
        without_tokens=sum(not TOKENS[params.tokens](text) for text in texts),
        paired=found.total,
        unique_pairs=found.unique,
        unique_at_equal_size=None
        if equal is None
        else expected_unique(found.counts.values(), len(rows), equal),
        average_occurrence=found.average,
        deviation=found.deviation(),
        sample_deviation=found.deviation(sample=True),
        top_share=found.top_share(TOP),
        top=tuple(
            PairCount(verb=pair[0], noun=pair[1], count=count, share=share)
            for pair, count, share in found.top(TOP)
        ),
        compared=len(measured),
        **_estimates(params, texts, measured),
        histogram=histogram([row["rouge_l"] for row in measured]),
        repeated=len(texts) - len(set(texts)),
        repeated_with_input=len(rows) - len({(row["instruction"], row["input"]) for row in rows}),
        artifacts={name: artifact.id for name, artifact in artifacts.items()},
    )


def _estimates(
    params: AnalysisParams, texts: Sequence[str], measured: Sequence[Row]
) -> dict[str, Estimated | None]:
    """Means over instructions with their intervals."""
    if not measured:
        return {"nearest": None, "near": None, "pairwise": None}
    q = len(measured)
    counts = resample_counts(digest(texts), q, params.rounds)
    nearest = np.array([row["rouge_l"] for row in measured])
    means = np.array([row["mean"] for row in measured])
    near = (nearest > params.threshold).astype(np.float64)
    made: dict[str, Estimated | None] = {}
    for name, values in (("nearest", nearest), ("near", near), ("pairwise", means)):
        point = math.fsum(values) / q
        replicates = (
            pair_replicates(values, counts, len(texts))
            if name == "pairwise"
            else replicate_means(values, counts)
        )
        interval = percentile_interval(
            replicates,
            params.level,
            point=point,
            kind=OVER_INSTRUCTIONS,
            units=q,
            span=(0.0, 1.0),
        )
        made[name] = Estimated(value=point, interval=interval)
    return made


def histogram(values: Sequence[float], bins: int = BINS) -> tuple[int, ...]:
    """Number of values in each of the equal bins of [0, 1]; 1 belongs to the last bin.

    >>> histogram([0.0, 0.3, 0.5, 1.0], 2)
    (2, 2)
    """
    counts = Counter(min(int(value * bins), bins - 1) for value in values)
    return tuple(counts[place] for place in range(bins))


def expected_unique(counts: Iterable[int], n: int, size: int) -> float:
    """Expected number of unique pairs among `size` of n instructions drawn without replacement.

    A pair of c instructions is missing with probability C(n - c, size) / C(n, size).

    >>> expected_unique([2, 1], 4, 4), expected_unique([1, 1, 1], 3, 1)
    (2.0, 1.0)
    """
    if not 0 <= size <= n:
        raise BadData(f"cannot draw {size} of {n} instructions")
    expected = 0.0
    for count, pairs in Counter(counts).items():
        missing = math.prod(max(n - size - i, 0) / (n - i) for i in range(count))
        expected += pairs * (1.0 - missing)
    return expected


def shared_instructions(sets: Mapping[str, Sequence[Row]]) -> tuple[Shared, ...]:
    """Rows of each data set whose instruction occurs in each other one."""
    texts = {name: [row["instruction"] for row in rows] for name, rows in sets.items()}
    distinct = {name: set(listed) for name, listed in texts.items()}
    found = []
    for name, other in itertools.permutations(texts, 2):
        rows = sum(text in distinct[other] for text in texts[name])
        share = rows / len(texts[name]) if texts[name] else 0.0
        found.append(Shared(set=name, other=other, rows=rows, share=share))
    return tuple(found)
