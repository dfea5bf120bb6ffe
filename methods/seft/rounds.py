"""What happened in each round: records kept with the checkpoint, their table, and a suite.

    rounds of accept_revisions, checkpoint ──> record_rounds ──> the same checkpoint with
                                                                 rounds.jsonl and rounds.svg
    checkpoint with rounds.jsonl ──> suite `seft_rounds` ──> cells no_revise:1, source_score:1, ...

A checkpoint without rounds has no such cells.
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from harness.core.hashing import digest
from harness.core.records import Cell, Record
from harness.engine.io import read_objects, write_rows
from harness.engine.operations import Artifact, Context, Estimate, Row, operation
from harness.engine.plan import Handle, StageMaker
from harness.stats.bootstrap import cluster_counts
from harness.suites.base import Metric, Suite, System
from harness.suites.scoring import CellParams, Tally, cell_maker, sample_of, write_cells
from methods.seft.labels import LABELS, NO
from methods.seft.revising import ROUND

ROUNDS = "rounds.jsonl"
PLOT = "rounds.svg"


class Measure(Record):
    """A quantity of a round: a sum over prompts divided by another sum.

    Attributes:
        name: of the metric.
        share: whether it is a share, shown in %.
        of_revisions: whether it counts revisions only, so that other prompts are not expected.
        coarse: whether its numbers are rounded, see `coarse`.
    """

    name: str
    unit: str
    summary: str
    higher_is_better: bool = True
    share: bool = False
    of_revisions: bool = False
    coarse: bool = False


MEASURES = (
    *(
        Measure(name=label, unit="%", summary=f"answers with the label {label}", share=True)
        for label in LABELS
    ),
    Measure(name="accepted", unit="%", summary="accepted revisions, of all revisions", share=True,
            of_revisions=True),
    Measure(name="worse", unit="%", summary="revisions that score below their source, of all "
            "revisions", higher_is_better=False, share=True, of_revisions=True),
    Measure(name="source_score", unit="score", summary="score of the policy's answers",
            coarse=True),
    Measure(name="target_score", unit="score", summary="score of the training targets",
            coarse=True),
    Measure(name="source_tokens", unit="tokens", summary="length of the policy's answers"),
    Measure(name="target_tokens", unit="tokens", summary="length of the training targets"),
    Measure(name="entropy", unit="nats per token", summary="entropy of the policy's answers at "
            "temperature 1, estimated by their own log-probabilities"),
    Measure(name="decoded", unit="tokens", summary="tokens that the reviser wrote per answer, "
            "deciding first", higher_is_better=False),
    Measure(name="decoded_without", unit="tokens", summary="the same if it wrote a text for every "
            "answer, copies included", higher_is_better=False),
)  # fmt: skip

Floats = NDArray[np.float64]
Part = tuple[float, float]  # a row's share of numerator and denominator
NONE: Part = (0.0, 0.0)


def parts(row: Row) -> dict[str, Part]:
    """Numerator and denominator of one prompt for every measure; NONE where it does not count."""
    if not is_scored(row):
        return {measure.name: NONE for measure in MEASURES}
    revised = row["label"] != NO
    scored = row["source_score"] is not None
    known = row["source_logp"] is not None and row["source_logp_tokens"]
    target = row["target_tokens"] is not None
    found: dict[str, Part] = {label: (float(row["label"] == label), 1.0) for label in LABELS}
    found["accepted"] = (float(bool(row["accepted"])), 1.0) if revised else NONE
    worse = scored and revised and row["revised_score"] < row["source_score"]
    found["worse"] = (float(worse), 1.0) if scored and revised else NONE
    found["source_score"] = (row["source_score"], 1.0) if scored else NONE
    found["target_score"] = (row["target_score"], 1.0) if scored and target else NONE
    found["source_tokens"] = (row["source_tokens"], 1.0)
    found["target_tokens"] = (row["target_tokens"], 1.0) if target else NONE
    found["entropy"] = (-row["source_logp"], row["source_logp_tokens"]) if known else NONE
    found["decoded"] = (row["decoded_tokens"], 1.0)
    copied = 0 if row["decoded_tokens"] else row["source_tokens"]
    found["decoded_without"] = (row["decoded_tokens"] + copied, 1.0)
    return found


def coarse(numbers: Floats) -> Floats:
    """Numbers (n,) to the power of ten below a hundredth of their range.

    A scorer's noise is larger, and a board keeps the score of every prompt of every round.

    >>> coarse(np.array([-3.21456, 0.5, 14.98765])).tolist()
    [-3.2, 0.5, 15.0]
    """
    width = float(np.ptp(numbers)) if numbers.size else 0.0
    if not width > 0:
        return numbers
    return np.round(numbers, -math.floor(math.log10(width / 100)))


def is_scored(row: Row) -> bool:
    """Whether a prompt has an answer that was put to a reviser."""
    return "label" in row


def round_table(rows: Sequence[Row]) -> list[dict[str, float | None]]:
    """One row per round: its number, its prompts, and every measure (None where undefined).

    Prompts without a usable answer are among the prompts and count in no measure.
    """
    table = []
    for number in sorted({row["round"] for row in rows}):
        own = [parts(row) for row in rows if row["round"] == number]
        line: dict[str, float | None] = {"round": number, "prompts": len(own)}
        for measure in MEASURES:
            top, bottom = (sum(part[measure.name][side] for part in own) for side in (0, 1))
            line[measure.name] = (100 if measure.share else 1) * top / bottom if bottom else None
        table.append(line)
    return table


class RecordRoundsParams(Record):
    """No settings."""


@operation(
    "record_rounds",
    version=1,
    params=RecordRoundsParams,
    estimate=lambda params, model, **inputs: Estimate(parameters_b=model.parameters_b),
)
def record_rounds(
    context: Context,
    params: RecordRoundsParams,
    *,
    model: Artifact,
    prompts: tuple[Artifact, ...],
    rounds: tuple[Artifact, ...],
) -> None:
    """The checkpoint (hard links), with rounds.jsonl and rounds.svg.

    Args:
        prompts, rounds: prompts of each round and its artifact of `accept_revisions`, in order.
    """
    from methods.seft.plot import rounds_svg

    hidden = shutil.ignore_patterns("manifest.json", "training_log.json")
    shutil.copytree(
        model.path, context.directory, copy_function=_link, dirs_exist_ok=True, ignore=hidden
    )
    rows: list[Row] = []
    for number, (asked, made) in enumerate(zip(prompts, rounds, strict=True), start=1):
        known = {row["id"]: row for row in read_objects(made.path / ROUND)}
        for prompt in asked.rows():
            bare = {"id": prompt["id"], "messages": prompt["messages"]}
            rows.append({**known.get(prompt["id"], bare), "round": number})
    write_rows(context.directory / ROUNDS, rows)
    (context.directory / PLOT).write_text(rounds_svg(round_table(rows)), encoding="utf-8")


def _link(source: str, target: str) -> str:
    os.link(source, target)
    return target


class ScoreRoundsParams(CellParams):
    """limit: number of prompts of each round, from the first; None for all."""

    limit: int | None = None


@operation("score_seft_rounds", version=2, params=ScoreRoundsParams)
def score_seft_rounds(context: Context, params: ScoreRoundsParams, *, model: Artifact) -> None:
    """Cells `<measure>:<round>`; none for a checkpoint without rounds."""
    path = model.path / ROUNDS
    rows = read_objects(path) if path.exists() else []
    cells: list[Cell] = []
    for number in sorted({row["round"] for row in rows}):
        own = [row for row in rows if row["round"] == number][: params.limit]
        cells += _cells(params, number, own, model)
    write_cells(context, cells)


def _cells(
    params: ScoreRoundsParams, number: int, rows: list[Row], model: Artifact
) -> Iterator[Cell]:
    texts = {row["id"]: [message["content"] for message in row["messages"]] for row in rows}
    maker = cell_maker(params, texts, checkpoint=model)
    counts = cluster_counts(maker.prompt_set, list(texts), params.rounds).astype(float)
    table = [parts(row) for row in rows]
    missing = sum(not is_scored(row) for row in rows)
    for measure in MEASURES:
        top, bottom = (
            np.array([part[measure.name][side] for part in table], float) for side in (0, 1)
        )
        counted, total = bottom > 0, float(bottom.sum())
        lost = 0 if measure.of_revisions else missing
        top *= 100 if measure.share else 1
        if measure.coarse:
            top[counted] = coarse(top[counted])
        value = float(top.sum()) / total if total else None
        drawn = counts @ bottom
        draws = np.where(drawn > 0, counts @ top / np.where(drawn > 0, drawn, 1), value or 0.0)
        yield maker.cell(
            f"{measure.name}:{number}",
            value,
            Tally(int(counted.sum()) + lost, int(counted.sum())),
            replicates=draws if total else (),
            resampled=sample_of(np.where(counted, top, np.nan), list(texts), bottom),
            unit=measure.unit,
            higher_is_better=measure.higher_is_better,
            primary=False,
        )


class SeftRoundsSettings(Record):
    """Settings of the suite.

    Attributes:
        limit: number of prompts of each round, from the first; None for all.
        rounds: number of prompt resamples per interval.
    """

    limit: int | None = Field(default=None, ge=1)
    rounds: int = Field(default=1000, ge=1)


def plan(system: System, settings: SeftRoundsSettings, stage: StageMaker) -> Handle:
    system.program_for("rounds", "seft_rounds")  # refuses programs
    return stage(
        "score_seft_rounds",
        model=system.model,
        suite="seft_rounds",
        system=system.name,
        scale=system.scale,
        seed=system.seed,
        judge_fingerprint=digest(["seft_rounds", 2])[:16],
        decode_fingerprint=digest(["training rounds", 1])[:16],
        **settings.model_dump(),
    )


SUITE = Suite(
    name="seft_rounds",
    version=2,
    summary="what happened in each round of self-evolution: labels, acceptance, scores, lengths",
    metrics=(
        Metric(f"{NO}:*", "%", "answers left alone in each round"),
        *(
            Metric(f"{measure.name}:*", measure.unit, measure.summary, primary=False)
            for measure in MEASURES
            if measure.name != NO
        ),
    ),
    settings=SeftRoundsSettings,
    plan=plan,
)
