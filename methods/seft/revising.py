"""One round of revision: a verdict on every answer first, then text only where it is needed.

    answers of the policy ──> revision_requests ──> score_texts (all verdicts, one short pass)
        ──> decide_revisions ──> revision_prompts ──> sample (only answers to be revised)
        ──> join_revisions ──> scores, if there is a scorer ──> accept_revisions ──> training rows

Each operation writes what it dropped into summary.json. `accept_revisions` also writes round.jsonl,
the record of every prompt of the round, from which tables and plots are made.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from harness.core.errors import BadData
from harness.core.records import Record
from harness.engine import costs
from harness.engine.io import read_objects, write_json, write_rows
from harness.engine.operations import Artifact, Context, Row, operation
from methods.seft.labels import (
    LABELS,
    MAJOR,
    MINOR,
    NO,
    Gate,
    Label,
    check_finite,
    decide,
    label_probabilities,
)
from methods.seft.wording import Wording

log = logging.getLogger(__name__)

# Who decides about an answer: the reviser's verdict, nobody, or the scores of both revisions.
Decider = Literal["reviser", "always", "never", "oracle"]
FEW = 20  # fewer rows than this may agree in their label without a warning
ROUND = "round.jsonl"


class RevisionRequestsParams(Record):
    """Which answers are put to a reviser, and how.

    Attributes:
        start, stop: window of the usable rows, as shares.
    """

    wording: Wording = Wording()
    start: float = Field(default=0.0, ge=0, le=1)
    stop: float = Field(default=1.0, ge=0, le=1)


@operation(
    "revision_requests",
    version=1,
    params=RevisionRequestsParams,
    estimate=costs.rows_of("answers"),
)
def revision_requests(
    context: Context, params: RevisionRequestsParams, *, answers: Artifact
) -> None:
    """Rows with the verdict question as `messages` and the three labels as `texts`.

    Answers that failed, are empty, or were cut at the token limit are no targets even if they were
    copied: they are dropped and counted.

    Args:
        answers: rows of `sample` that `score_texts` completed with the policy's log-probabilities
            (`own_logps`).
    """
    rows, dropped = [], Counter[str]()
    for row in answers.rows():
        reason = _unusable(row)
        if reason:
            dropped[reason] += 1
            continue
        own = row["own_logps"][0]
        rows.append(
            {
                "id": row["id"],
                "messages": params.wording.ask_verdict(row["messages"], row["responses"][0]),
                "asked": row["messages"],
                "source": row["responses"][0],
                "source_tokens": row["tokens_out"][0],
                "source_logp": own["logp"],
                "source_logp_tokens": own["tokens"],
                "texts": params.wording.labels,
            }
        )
    first, last = (round(share * len(rows)) for share in (params.start, params.stop))
    write_rows(context.directory / "rows.jsonl", rows[first:last])
    summary = {"rows": last - first, "dropped": dict(sorted(dropped.items()))}
    write_json(context.directory / "summary.json", summary, end="")


def _unusable(row: Row) -> str:
    if not row["responses"]:
        return "failed"
    if not row["responses"][0].strip():
        return "empty"
    return "" if row["finish"][0] == "stop" else "cut at the token limit"


class DecideRevisionsParams(Record):
    """Who decides.

    Attributes:
        decide: "reviser" by its verdict; "always" rewrites every answer; "never" copies every one
            (the identity control); "oracle" writes both revisions, and the scores choose between
            them and the source.
        no_revise_threshold: see `methods.seft.labels.decide`.
    """

    decide: Decider = "reviser"
    no_revise_threshold: float | None = None


@operation(
    "decide_revisions",
    version=1,
    params=DecideRevisionsParams,
    estimate=costs.rows_of("verdicts"),
)
def decide_revisions(
    context: Context, params: DecideRevisionsParams, *, verdicts: Artifact
) -> None:
    """The rows of `revision_requests` with `p_label` and `write`, the labels to write a text for.

    A verdict that could not be scored drops the row. A reviser that gives all rows one label is
    warned about, with the mix.
    """
    rows, failed = [], 0
    for row in verdicts.rows():
        logps = [score["logp"] for score in row["label_scores"]]
        if None in logps:
            failed += 1
            continue
        p = label_probabilities(logps)
        kept = {k: v for k, v in row.items() if k not in ("messages", "texts", "label_scores")}
        rows.append({**kept, "p_label": list(p), "write": list(_to_write(params, p))})
    mix = Counter(row["write"][-1] if row["write"] else NO for row in rows)
    summary = {"rows": len(rows), "failed": failed, "mix": {k: mix[k] for k in LABELS}}
    if params.decide == "reviser" and len(rows) >= FEW and len(mix) == 1:
        summary["warning"] = "one label for all rows"
        log.warning(
            "the reviser says %s to all %d answers (mix: %s); its verdicts decide nothing, look at "
            "label/accuracy in its training_log.json and at the mix of its training pairs",
            next(iter(mix)), len(rows), summary["mix"],
        )  # fmt: skip
    write_rows(context.directory / "rows.jsonl", rows)
    write_json(context.directory / "summary.json", summary, end="")


def _to_write(params: DecideRevisionsParams, p: tuple[float, float, float]) -> tuple[Label, ...]:
    if params.decide == "always":
        return (MAJOR,)
    if params.decide == "never":
        return ()
    if params.decide == "oracle":
        return (MINOR, MAJOR)
    label = decide(p, params.no_revise_threshold)
    return () if label == NO else (label,)


class RevisionPromptsParams(Record):
    """How a revision is asked for."""

    wording: Wording = Wording()


@operation(
    "revision_prompts",
    version=1,
    params=RevisionPromptsParams,
    estimate=costs.rows_of("decided"),
)
def revision_prompts(context: Context, params: RevisionPromptsParams, *, decided: Artifact) -> None:
    """One prompt for each text to be written; none for answers that are copied."""
    rows = [
        {
            "id": f"{row['id']}#{label}",
            "messages": params.wording.ask_text(row["asked"], row["source"], label),
        }
        for row in decided.rows()
        for label in row["write"]
    ]
    write_rows(context.directory / "rows.jsonl", rows)


class JoinRevisionsParams(Record):
    """No settings."""


@operation(
    "join_revisions",
    version=1,
    params=JoinRevisionsParams,
    estimate=costs.rows_of("decided", responses=2),
)
def join_revisions(
    context: Context,
    params: JoinRevisionsParams,
    *,
    decided: tuple[Artifact, ...],
    written: tuple[Artifact, ...],
) -> None:
    """Rows whose `responses` are the source and its revisions, with `labels`, `tokens`, `finish`.

    Args:
        decided, written: of each reviser of the round, in the same order.
    """
    rows = []
    for one, two in zip(decided, written, strict=True):
        texts = {row["id"]: row for row in two.rows()}
        for row in one.rows():
            found = [_written(texts[f"{row['id']}#{label}"]) for label in row["write"]]
            source = (row["source"], row["source_tokens"], "stop")
            responses, tokens, finish = zip(source, *found, strict=True)
            rows.append(
                {
                    "id": row["id"],
                    "messages": row["asked"],
                    "responses": list(responses),
                    "labels": [NO, *row["write"]],
                    "tokens": list(tokens),
                    "finish": list(finish),
                    "p_label": row["p_label"],
                    "source_logp": row["source_logp"],
                    "source_logp_tokens": row["source_logp_tokens"],
                }
            )
    write_rows(context.directory / "rows.jsonl", rows)


def _written(row: Row) -> tuple[str, int, str]:
    """Text, tokens and ending of a revision; an error is an empty revision."""
    if not row["responses"]:
        return "", 0, "error"
    return row["responses"][0], row["tokens_out"][0], row["finish"][0]


class AcceptRevisionsParams(Record):
    """Which revisions become training targets.

    Attributes:
        by_score: take the source or revision with the highest score (of equal ones the least
            invasive), in place of the last revision.
    """

    gate: Gate = Gate()
    by_score: bool = False


@operation(
    "accept_revisions",
    version=1,
    params=AcceptRevisionsParams,
    estimate=costs.rows_of("revisions", responses=1),
)
def accept_revisions(
    context: Context, params: AcceptRevisionsParams, *, revisions: Artifact
) -> None:
    """Training rows {"id", "messages", "response", ...}: an accepted revision or the source.

    Revisions that are empty or did not end by themselves are always rejected. Rows with `rewards`
    carry the scores of source and target.

    Raises:
        BadData: scores are needed and missing or not finite, or no row is left.
    """
    record = [_accepted(row, params) for row in revisions.rows()]
    kept = [row for row in record if row["response"] is not None]
    if not kept:
        raise BadData(
            f"none of {len(record)} answers is left to train on; expected accepted revisions "
            '(gate.on_reject = "source" keeps the sources of rejected ones)'
        )
    write_rows(context.directory / "rows.jsonl", kept)
    write_rows(context.directory / ROUND, record)


def _accepted(row: Row, params: AcceptRevisionsParams) -> Row:
    scores: list[float] | None = row.get("rewards")
    for value in scores or ():
        check_finite(f'row "{row["id"]}": a score', value)
    place = len(row["responses"]) - 1
    if params.by_score:
        if scores is None:
            raise BadData('decide = "oracle" compares scores; set models.scorer or scorer')
        place = scores.index(max(scores))
    label: Label = row["labels"][place]
    source_score = scores[0] if scores else None
    revised_score = scores[place] if scores else None
    accepted: bool | None = None
    if label != NO:
        tokens = row["tokens"]
        whole = row["finish"][place] == "stop" and bool(row["responses"][place].strip())
        accepted = whole and params.gate.accepts(
            source_score, revised_score, tokens[0], tokens[place]
        )
    target = place if accepted else 0
    dropped = accepted is False and params.gate.on_reject == "drop"
    return {
        "id": row["id"],
        "messages": row["messages"],
        "response": None if dropped else row["responses"][target],
        "source": row["responses"][0],
        "revised": row["responses"][place] if label != NO else None,
        "label": label,
        "p_label": row["p_label"],
        "accepted": accepted,
        "source_score": source_score,
        "revised_score": revised_score,
        "target_score": None if dropped or not scores else scores[target],
        "source_tokens": row["tokens"][0],
        "target_tokens": None if dropped else row["tokens"][target],
        "decoded_tokens": sum(row["tokens"][1:]),
        "source_logp": row["source_logp"],
        "source_logp_tokens": row["source_logp_tokens"],
    }


class RevisionPreferencesParams(Record):
    """No settings."""


@operation(
    "revision_preferences",
    version=1,
    params=RevisionPreferencesParams,
    estimate=costs.rows_of("accepted", responses=2),
)
def revision_preferences(
    context: Context, params: RevisionPreferencesParams, *, accepted: Artifact
) -> None:
    """Preference rows (revised, source) of the accepted revisions that differ from their source.

    Raises:
        BadData: there are none.
    """
    rows = list(_preferences(read_objects(accepted.path / "rows.jsonl")))
    if not rows:
        raise BadData("no answer was revised, so that there is no pair (source, revised)")
    write_rows(context.directory / "rows.jsonl", rows)


def _preferences(rows: list[Row]) -> Iterator[Row]:
    for row in rows:
        if row["accepted"] and row["revised"] != row["source"]:
            responses = {"target": row["revised"], "rejected": row["source"]}
            yield {"id": row["id"], "messages": row["messages"], "responses": responses}
