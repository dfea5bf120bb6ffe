"""Making cells: the metadata that every score carries, intervals, bounds and counts.

The `score_*` operation of each suite turns its rows into `cells.json`, a list of `Cell` dumps.
Statistics are in the suites' `metrics.py` and in `harness.stats`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from harness.backends.saying import UNENDED
from harness.core.hashing import digest, finite
from harness.core.records import Cell, Interval, Record, Resampled
from harness.engine.io import write_json
from harness.engine.operations import Artifact, Context, Row
from harness.judging.annotators import LEAST_MASS, USUAL_MASS
from harness.judging.records import Judged
from harness.stats.bootstrap import (
    OVER_PROMPTS,
    cluster_counts,
    percentile_interval,
    replicate_means,
)

Floats = NDArray[np.float64]


class CellParams(Record):
    """Parameters of every scoring stage: the metadata of its cells.

    Attributes:
        seed: seed of the run that made the system.
        judge: None for a suite without a judge, whose `judge_fingerprint` is that of its scoring
            rule.
        rounds: number of prompt resamples for intervals and paired differences.
        data: content identity of prompts, baseline, references and tables, see
            `harness.suites.base.contents`; "" for the nano world's. It is part of the prompt set,
            so that boards do not rank cells of different contents together.
        stored: the system's answers are stored outputs with unknown decoding settings.
        cut: prompts without room for an answer were cut, see `harness.backends.sampling`.
    """

    suite: str
    system: str
    scale: str
    seed: int = 0
    judge: str | None = None
    judge_fingerprint: str | None = None
    decode_fingerprint: str | None = None
    rounds: int = Field(default=1000, ge=1)
    level: float = Field(default=0.95, gt=0, lt=1)
    data: str = ""
    stored: bool = False
    cut: bool = False

    def origin(self) -> dict[str, str]:
        """Origin of prompts and answers, for the details of every cell."""
        found = {"data": self.data} if self.data else {}
        if self.stored:
            found["answers"] = "stored outputs"
        if self.cut:
            found["long prompts"] = "cut to the model's context"
        return found


@dataclass(frozen=True)
class Tally:
    """Number of prompts (or turns) of a metric, and of those with a value."""

    expected: int
    scored: int

    @property
    def failed(self) -> int:
        return self.expected - self.scored


@dataclass(frozen=True)
class CellMaker:
    """Makes cells with the fields that all cells of one scoring stage share.

    Attributes:
        answers: number of answers that ended otherwise than by themselves, or of another model.
    """

    params: CellParams
    prompt_set: str
    artifacts: dict[str, str]
    answers: Mapping[str, int] = field(default_factory=dict)

    def cell(
        self,
        metric: str,
        value: float | None,
        tally: Tally,
        *,
        replicates: Sequence[float] | Floats = (),
        interval: Interval | None = None,
        kind: str = OVER_PROMPTS,
        bounds: tuple[float, float] | None = None,
        resampled: Resampled | None = None,
        details: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> Cell:
        """One cell; without an interval, one is computed from the replicates.

        Args:
            resampled: units (and rows) behind the replicates; without it, as many units as scored
                prompts.
        """
        params, number = self.params, None if value is None else finite(float(value))
        draws = tuple(float(draw) for draw in replicates) if number is not None else ()
        if interval is None and draws and number is not None:
            interval = percentile_interval(
                draws,
                params.level,
                point=number,
                kind=kind,
                units=tally.scored if resampled is None else resampled.units,
                span=None if resampled is None else resampled.span,
            )
        return Cell(
            system=params.system,
            suite=params.suite,
            metric=metric,
            value=number,
            interval=interval if number is not None else None,
            n_expected=tally.expected,
            n_scored=tally.scored,
            n_failed=tally.failed,
            bounds=bounds,
            seed=params.seed,
            scale=params.scale,
            judge=params.judge,
            judge_fingerprint=params.judge_fingerprint,
            decode_fingerprint=params.decode_fingerprint,
            prompt_set=self.prompt_set,
            artifacts=self.artifacts,
            replicates=draws,
            resampled=resampled if number is not None else None,
            details={
                key: _plain(item)
                for key, item in {**(details or {}), **self.answers, **params.origin()}.items()
            },
            **more,
        )

    def mean_cell(
        self,
        metric: str,
        values: Sequence[float | None],
        clusters: Sequence[Hashable],
        among: Sequence[bool] | None = None,
        *,
        factor: float = 1.0,
        span: tuple[float, float] | None = (0.0, 1.0),
        **more: Any,
    ) -> Cell:
        """The mean of per-prompt values, where None is a failed judgment.

        Args:
            clusters: prompt (or topic) of each value, over the complete prompt set.
            among: which values belong to the metric. The others are excluded from value and counts
                but keep their place in the resamples, which all metrics of the prompt set share.
            factor: unit of the result.
            span: least and greatest value of a prompt; None has no bounds.
        """
        chosen = np.ones(len(values), bool) if among is None else np.array(among, bool)
        array = np.array([np.nan if value is None else value for value in values], float)
        array[~chosen] = np.nan
        scored = int((~np.isnan(array)).sum())
        tally = Tally(int(chosen.sum()), scored)
        if not scored:
            return self.cell(metric, None, tally, **more)
        counts = cluster_counts(self.prompt_set, clusters, self.params.rounds)
        total = float(np.nansum(array))
        bounds, ends = None, None
        if span is not None:
            ends = (factor * span[0], factor * span[1])
        if span is not None and tally.failed:
            low, high = (factor * (total + end * tally.failed) / tally.expected for end in span)
            bounds = (low, high)
        replicates = factor * replicate_means(array, counts)
        sample = sample_of(factor * array, clusters, span=ends)
        value = factor * total / scored
        return self.cell(
            metric, value, tally, replicates=replicates, bounds=bounds, resampled=sample, **more
        )


def sample_of(
    values: Floats,
    clusters: Sequence[Hashable],
    weights: Floats | None = None,
    span: tuple[float, float] | None = None,
) -> Resampled:
    """The sample of a mean or ratio, for its cell.

    Args:
        values: numerator of each row of the prompt set, NaN where there is none.
        clusters: resampling unit of each row, as given to `cluster_counts`.
        weights: denominator of each row; None for a mean.
        span: lowest and highest possible value of the metric.
    """
    numbers: dict[Hashable, int] = {}
    member = [numbers.setdefault(name, len(numbers)) for name in clusters]
    scored = ~np.isnan(values)
    return Resampled(
        units=len({unit for unit, has in zip(member, scored, strict=True) if has}),
        span=span,
        values=tuple(None if np.isnan(value) else float(value) for value in values),
        weights=() if weights is None else tuple(float(weight) for weight in weights),
        clusters=() if len(numbers) == len(member) else tuple(member),
    )


def with_columns(
    sample: Resampled, statistic: str, columns: Floats, clusters: Sequence[Hashable] = ()
) -> Resampled:
    """A sample with what its statistic depends on, see `harness.suites.statistics`.

    Args:
        columns: (rows, columns), 0 for rows left out.
        clusters: resampling unit of each row; () if every row is one.
    """
    numbers: dict[Hashable, int] = {}
    member = tuple(numbers.setdefault(name, len(numbers)) for name in clusters)
    return sample.model_copy(
        update={
            "statistic": statistic,
            "columns": tuple(tuple(column) for column in columns.T.astype(float).tolist()),
            "clusters": () if len(numbers) == len(member) else member,
        }
    )


def cell_maker(
    params: CellParams, texts: Mapping[str, Sequence[str]], **links: Artifact | None
) -> CellMaker:
    """A maker of cells on the prompt set `texts` (id -> user turns).

    Args:
        links: role -> artifact that the cells refer to; of `generations` the endings of answers are
            counted.
    """
    artifacts = {role: artifact.id for role, artifact in links.items() if artifact is not None}
    prompt_set = prompt_set_hash(texts)
    if params.data:
        prompt_set = digest([prompt_set, params.data])
    answers = links.get("generations")
    rows = answers.rows() if answers is not None else []
    return CellMaker(params, prompt_set, artifacts, {**endings(rows), **served(rows)})


def prompt_set_hash(texts: Mapping[str, Sequence[str]]) -> str:
    """Digest of the ids and texts of a prompt set, independent of their order."""
    return digest(sorted((id, list(turns)) for id, turns in texts.items()))


def write_cells(context: Context, cells: Sequence[Cell]) -> None:
    """Write cells.json, which boards read."""
    data = [cell.model_dump(mode="json") for cell in cells]
    write_json(context.directory / "cells.json", data, sort_keys=False, ascii=False)


def failures(rows: Iterable[Judged]) -> dict[str, int]:
    """Number of games lost for each reason, for the details of a cell."""
    reasons = [
        f"failed: {game.failure[:60]}"
        for row in rows
        for game in row.games
        if game.verdict is None and game.failure
    ]
    return dict(Counter(reasons))


ENDINGS = {
    "n_unended_thoughts": "thoughts that never end",
    "n_filtered_answers": "ended by a content filter",
    "n_refused_answers": "refusals",
    "n_tool_call_answers": "tool calls without an answer",
    "n_cut_answers": "cut at the token limit",
    "n_empty_answers": "empty",
}
_FINISHES = {
    "content_filter": "n_filtered_answers",
    "refusal": "n_refused_answers",
    "tool_calls": "n_tool_call_answers",
    "length": "n_cut_answers",
}


def endings(rows: Iterable[Row]) -> dict[str, int]:
    """Number of answers that did not end by themselves or are empty, by reason, see ENDINGS."""
    found: Counter[str] = Counter()
    for row in rows:
        finish = (row.get("finish") or ["stop"])[0]
        said = row.get("responses") or ["-"]
        if row.get("first_finish") and not row.get("first_error"):
            found[_FINISHES[row["first_finish"]]] += 1
        if row.get("no_answer") or row.get("first_error") == UNENDED:
            found["n_unended_thoughts"] += 1
        elif finish in _FINISHES:
            found[_FINISHES[finish]] += 1
        elif not said[0].strip():
            found["n_empty_answers"] += 1
    return {name: found[name] for name in ENDINGS if found[name]}


def served(rows: Iterable[Row]) -> dict[str, int]:
    """Number of answers of each model that is not the one asked for."""
    names = (row.get("served_by") for row in rows)
    return dict(Counter(f"answered by {name}" for name in names if name))


def suspicious(rows: Iterable[Judged]) -> dict[str, int]:
    """What to look into, for the details of a cell; nothing where there is nothing.

    The number of prompts with a suspicious answer, of verdicts whose identifiers have a small part
    of the probability, and of replies of another model than the judge.
    """
    found: Counter[str] = Counter()
    for row in rows:
        found["n_suspicious"] += bool(row.suspicious)
        for game in row.games:
            if game.verdict is not None and game.mass is not None and game.mass < USUAL_MASS:
                low = f"below {LEAST_MASS}"
                between = f"{LEAST_MASS} to {USUAL_MASS}"
                found[f"identifiers' mass {low if game.mass < LEAST_MASS else between}"] += 1
            if game.served_by is not None:
                found[f"judged by {game.served_by}"] += 1
    return {name: number for name, number in found.items() if number}


def percent(interval: Interval | None) -> Interval | None:
    """An interval of shares in per cent."""
    if interval is None:
        return None
    return interval.model_copy(update={"low": 100 * interval.low, "high": 100 * interval.high})


def _plain(value: Any) -> float | int | str | bool | None:
    """A detail as a JSON value: numpy numbers unwrapped, NaN and infinity replaced by None."""
    if isinstance(value, np.generic):
        value = value.item()
    return finite(value) if isinstance(value, float) else value
