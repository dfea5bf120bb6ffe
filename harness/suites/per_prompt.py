"""Suites whose score is a function of one prompt and its answer: prompts and a function.

    def score(row, response):
        return {"exact": float(response.strip() == row["answer"])}

    SUITE = per_prompt_suite(
        "my_suite", version=1, summary="...", prompts="questions.jsonl", score=score,
        metrics=(Metric("exact", "%", "answers equal to the expected one"),),
    )

Data flow: prompts -> one answer per prompt -> `score:<suite>`, rows with `metrics` (shares in
[0, 1], higher is better) -> `score_prompts`, cells: the mean of each metric in %, with an interval
over prompts. A prompt that could not be answered counts as failed and widens the bounds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import create_model

from harness.core.errors import BadData
from harness.core.hashing import digest
from harness.core.records import Record
from harness.engine.operations import Artifact, Context, Row, operation
from harness.engine.plan import Handle, StageMaker
from harness.suites.base import (
    Decode,
    Metric,
    PromptSuiteSettings,
    Suite,
    System,
    answers_of,
    cell_arguments,
    contents,
    import_prompts,
)
from harness.suites.scoring import CellParams, cell_maker, write_cells

Score = Callable[[Row, str], Mapping[str, float]]
BATCH = 256  # rows scored, and kept, together


class PerPromptSettings(PromptSuiteSettings):
    """Settings of every such suite; `decode` are the systems' decoding settings."""

    decode: Decode = Decode()


class ScoreRowsParams(Record):
    """Names of the metrics that the scoring function returns."""

    metrics: tuple[str, ...]


class ScorePromptsParams(CellParams):
    """metrics: metric -> whether it is primary."""

    metrics: dict[str, bool]


def per_prompt_suite(
    name: str,
    *,
    version: int,
    summary: str,
    prompts: str | Path,
    score: Score,
    metrics: tuple[Metric, ...],
    decode: Decode = Decode(),  # noqa: B008
    **more: Any,
) -> Suite:
    """A suite that asks each prompt once and scores each answer with a function.

    Args:
        version: version of prompts and function together; raise it when the same answers would get
            other scores. It is part of the cells' fingerprint: boards do not mix two versions.
        prompts: default of the setting: a file or another source, see `harness.data.prompts`.
        score: (prompt row, answer) -> a share in [0, 1] per metric.
        decode: default decoding settings.
        more: further fields of `Suite`, such as `paper`.
    """
    names = tuple(metric.name for metric in metrics)

    def scored(
        context: Context, params: Record, batches: Iterable[list[Row]], *, answers: Artifact
    ) -> Iterator[list[Row]]:
        for batch in batches:
            yield [_scored(name, names, score, row) for row in batch]

    scored.__module__ = score.__module__  # distinguishes two packages with a suite of this name
    step = f"score:{name}"
    operation(
        step, version=version, params=ScoreRowsParams, rows="answers", batch_size=lambda _: BATCH
    )(scored)

    def plan(system: System, settings: PerPromptSettings, stage: StageMaker) -> Handle:
        questions = import_prompts(settings, stage)
        answers = answers_of(system, questions, settings, settings.decode, stage, name)
        samples = stage(step, answers=answers, metrics=names)
        judging = {"judge": "", "fingerprint": digest([name, version])[:16]}
        return stage(
            "score_prompts",
            samples=samples,
            generations=answers,
            **system.links(),
            metrics={metric.name: metric.primary for metric in metrics},
            **cell_arguments(name, system, settings, judging, settings.decode, contents(settings)),
        )

    settings = create_model(
        "Settings",
        __base__=PerPromptSettings,
        __module__=__name__,
        prompts=(str, str(prompts)),
        decode=(Decode, decode),
    )
    return Suite(name, version, summary, metrics, settings, plan, **more)


def _scored(suite: str, names: tuple[str, ...], score: Score, row: Row) -> Row:
    """The row with its `metrics`, None if the prompt could not be answered."""
    if not row["responses"]:
        return {**row, "metrics": None}
    found = dict(score(row, row["responses"][0]))
    if set(found) != set(names) or not all(0 <= share <= 1 for share in found.values()):
        raise BadData(
            f'suite {suite}, row "{row["id"]}": scores {found}; expected a share in [0, 1] for '
            f"each of {', '.join(names)}"
        )
    return {**row, "metrics": {metric: float(found[metric]) for metric in names}}


@operation("score_prompts", version=2, params=ScorePromptsParams)
def score_prompts(
    context: Context,
    params: ScorePromptsParams,
    *,
    samples: Artifact,
    generations: Artifact,
    model: Artifact | None = None,
) -> None:
    """Write the cells of one system: the mean of every metric."""
    rows = samples.rows()
    turns = {row["id"]: [message["content"] for message in row["messages"]] for row in rows}
    maker = cell_maker(params, turns, checkpoint=model, samples=samples, generations=generations)
    clusters = [row.get("cluster", row["id"]) for row in rows]
    cells = []
    for metric, primary in params.metrics.items():
        shares = [None if row["metrics"] is None else row["metrics"][metric] for row in rows]
        cells.append(maker.mean_cell(metric, shares, clusters, factor=100, primary=primary))
    write_cells(context, cells)
