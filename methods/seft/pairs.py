"""Training pairs of the reviser: mined from rated answers, and labelled.

    rated answers ──> mine_pairs ──> pairs (source, target) ──> label_pairs ──> with `label`
                                         └─ rule "likelihood": scored twice in between

Both operations write what they dropped, their thresholds and the label mix into summary.json.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from harness.core.errors import BadData
from harness.core.hashing import seed_from
from harness.core.records import Record
from harness.engine import costs
from harness.engine.io import write_json, write_rows
from harness.engine.operations import Artifact, Context, Row, operation
from harness.engine.recipe import Rehearsed
from methods.seft.labels import (
    LABELS,
    NO,
    Label,
    ScoreThresholds,
    check_finite,
    label_by_likelihood,
    label_by_rank_gap,
    label_by_score_gap,
)

log = logging.getLogger(__name__)
ALONE, GIVEN = "alone", "given"  # fields of the scores of a target without and with its source


class MinePairsParams(Record):
    """Which answers are paired.

    Attributes:
        pairing: each answer with the best one ("best"), or with every one that is not worse
            ("all"). The best answer is its own target, a pair without a gap.
    """

    pairing: Literal["best", "all"] = "best"


@operation(
    "mine_pairs", version=1, params=MinePairsParams, estimate=costs.rows_of("rated", responses=2)
)
def mine_pairs(context: Context, params: MinePairsParams, *, rated: Artifact) -> None:
    """Pairs {"id", "messages", "source", "target", and scores or ranks of both} of rated answers.

    A target is never worse than its source. Pairs of two different answers with equal scores or
    ranks teach nothing and are dropped, as are prompts whose answers are all tied (their best
    answer is not known to be good) and empty answers; all are counted.

    Raises:
        BadData: no pair is left.
    """
    rows: list[Row] = []
    dropped = Counter[str]()
    prompts = 0
    for row in rated.rows():
        prompts += 1
        values = _values(row)
        if len({value for value, _ in values}) == 1 and len(set(row["responses"])) > 1:
            dropped["prompts whose answers are all tied"] += 1
            continue
        rows += _pairs_of(row, values, params.pairing, dropped)
    if not rows:
        raise BadData(
            f"no pair can be made of {prompts} prompts with rated answers "
            f"({_list(dropped)}); expected answers that differ in score or rank"
        )
    write_rows(context.directory / "rows.jsonl", rows)
    summary = {"prompts": prompts, "pairs": len(rows), "dropped": dict(sorted(dropped.items()))}
    write_json(context.directory / "summary.json", summary, end="")


def _values(row: Row) -> list[tuple[float, Row]]:
    """A value that grows with quality, and the fields of the rating, for each answer."""
    # Rewards are of the responses at hand; a row may still have the ratings of earlier ones.
    if "rewards" not in row and "ranks" in row:
        return [(-float(rank), {"rank": rank}) for rank in row["ranks"]]
    scores = row["rewards"] if "rewards" in row else row["scores"]
    for value in scores:
        check_finite(f'row "{row["id"]}": a score', value)
    return [(float(score), {"score": float(score)}) for score in scores]


def _pairs_of(
    row: Row, values: Sequence[tuple[float, Row]], pairing: str, dropped: Counter[str]
) -> Iterator[Row]:
    texts = row["responses"]
    best = max(range(len(texts)), key=lambda place: values[place][0])
    for source in range(len(texts)):
        targets = [best] if pairing == "best" else range(len(texts))
        for target in targets:
            gain = values[target][0] - values[source][0]
            itself = source == target == best
            if gain < 0 or (source == target and not itself):
                continue
            if not texts[source].strip() or not texts[target].strip():
                dropped["empty answers"] += 1
            elif gain == 0 and texts[source] != texts[target]:
                dropped["ties"] += 1
            elif gain == 0 and not itself and texts[source] == texts[best]:
                dropped["repeated answers"] += 1
            else:
                rating = {f"source_{key}": value for key, value in values[source][1].items()}
                rating |= {f"target_{key}": value for key, value in values[target][1].items()}
                yield {
                    "id": f"{row['id']}/{source}-{target}",
                    "messages": row["messages"],
                    "source": texts[source],
                    "target": texts[target],
                    **rating,
                }


Rule = Literal["score_gap", "rank_gap", "likelihood"]


def _with_scores(rule: Rule) -> Rule:
    """The rule for the rated answers of a rehearsal, which have scores and no ranks."""
    return "score_gap" if rule == "rank_gap" else rule


class LabelPairsParams(Record):
    """How pairs are labelled; see `methods.seft.labels`.

    Attributes:
        rule: what the labels depend on; "likelihood" needs the pairs scored by a model.
        t_no, t_major: thresholds of the score gap; None takes the quantiles 1/3 and 2/3 of the
            positive gaps.
        ceiling_quantile: quantile of the source scores from which an answer is good enough; None
            for no ceiling.
        max_minor: greatest rank gap of a minor revision.
        balance: keep as many pairs of each label as the rarest has.
    """

    rule: Annotated[Rule, Rehearsed(_with_scores)] = "score_gap"
    t_no: float | None = Field(default=None, ge=0)
    t_major: float | None = None
    ceiling_quantile: float | None = Field(default=0.9, ge=0, le=1)
    max_minor: int = Field(default=2, ge=1)
    balance: bool = True
    seed: int = 0


@operation("label_pairs", version=1, params=LabelPairsParams, estimate=costs.rows_of("pairs"))
def label_pairs(
    context: Context,
    params: LabelPairsParams,
    *,
    pairs: Artifact,
    alone: Artifact | None = None,
    given: Artifact | None = None,
) -> None:
    """The pairs with `label` and `rule`; the target of a no_revise pair is its source.

    summary.json contains the thresholds and the label mix before and after balancing. A label that
    no pair has is warned about.

    Args:
        alone, given: for "likelihood", the pairs with the scores of their targets without and with
            the source, see `target_scoring`.

    Raises:
        BadData: pairs without the ratings of the rule.
    """
    rows = pairs.rows()
    if params.rule == "likelihood":
        rows, labels, used = _by_likelihood(rows, alone, given, params)
    elif params.rule == "rank_gap":
        labels, used = _by_ranks(rows, params), {"max_minor": float(params.max_minor)}
    else:
        labels, used = _by_scores(rows, params)
    labelled = [
        {
            **row,
            "label": label,
            "rule": params.rule,
            "target": row["source"] if label == NO else row["target"],
        }
        for row, label in zip(rows, labels, strict=True)
    ]
    kept = _balanced(labelled, params.seed) if params.balance else labelled
    before, after = label_mix(labelled), label_mix(kept)
    if missing := [label for label in LABELS if not before[label]]:
        log.warning(
            "no training pair has the label %s; the mix is %s", ", ".join(missing), _list(before)
        )
    write_rows(context.directory / "rows.jsonl", kept)
    summary = {"thresholds": used, "mix": before, "balanced_mix": after, "pairs": len(kept)}
    write_json(context.directory / "summary.json", summary, end="")


def label_mix(rows: Sequence[Row]) -> dict[str, int]:
    """Number of rows per label."""
    found = Counter(row["label"] for row in rows)
    return {label: found[label] for label in LABELS}


def score_thresholds(rows: Sequence[Row], params: LabelPairsParams) -> ScoreThresholds:
    """The thresholds of the score gap, as given or from the pairs.

    Where the quantiles are equal, the lower one becomes the next smaller gap, or 0.

    Raises:
        BadData: no pair has a positive gap, or given thresholds do not separate labels.
    """
    gaps = [row["target_score"] - row["source_score"] for row in rows]
    positive = [gap for gap in gaps if gap > 0]
    if not positive:
        raise BadData(f"all {len(rows)} pairs have equal scores; expected targets that are better")
    low, high = (float(np.quantile(positive, share)) for share in (1 / 3, 2 / 3))
    t_major = high if params.t_major is None else params.t_major
    if params.t_no is not None:
        t_no = params.t_no
    else:
        t_no = low if low < t_major else max((g for g in positive if g < t_major), default=0.0)
    if t_no >= t_major:
        raise BadData(
            f"the thresholds of the score gap are {t_no} and {t_major}, so that no pair is a minor "
            "revision; set labels.t_no and labels.t_major"
        )
    ceiling = None
    if params.ceiling_quantile is not None:
        scores = [row["source_score"] for row in rows]
        ceiling = float(np.quantile(scores, params.ceiling_quantile))
    return ScoreThresholds(t_no=t_no, t_major=t_major, ceiling=ceiling)


def _by_scores(
    rows: Sequence[Row], params: LabelPairsParams
) -> tuple[list[Label], dict[str, float | None]]:
    _require(rows, "score", params.rule)
    found = score_thresholds(rows, params)
    limits = found.model_dump()
    labels = [label_by_score_gap(r["source_score"], r["target_score"], **limits) for r in rows]
    return labels, limits


def _by_ranks(rows: Sequence[Row], params: LabelPairsParams) -> list[Label]:
    _require(rows, "rank", params.rule)
    most = params.max_minor
    return [label_by_rank_gap(r["source_rank"], r["target_rank"], max_minor=most) for r in rows]


def _by_likelihood(
    rows: Sequence[Row], alone: Artifact | None, given: Artifact | None, params: LabelPairsParams
) -> tuple[list[Row], list[Label], dict[str, float | None]]:
    if alone is None or given is None:
        raise BadData('rule "likelihood" needs the targets scored without and with their sources')
    without = {row["id"]: row[ALONE][0] for row in alone.rows()}
    source_known = {row["id"]: row[GIVEN][0] for row in given.rows()}
    kept, information = [], []
    for row in rows:
        one, two = without[row["id"]], source_known[row["id"]]
        if one["logp"] is None or two["logp"] is None or not one["tokens"]:
            continue
        if one["tokens"] != two["tokens"]:
            raise BadData(
                f'pair "{row["id"]}": the target has {one["tokens"]} tokens without its source and '
                f"{two['tokens']} with it; expected the same model and text"
            )
        kept.append(row)
        information.append((two["logp"] - one["logp"]) / one["tokens"])
    scored = all("source_score" in row for row in kept)
    gaps = [r["target_score"] - r["source_score"] for r in kept] if scored else None
    found = label_by_likelihood(information, gaps, t_no=params.t_no or 0.0)
    used: dict[str, float | None] = {
        "q1": found.q1,
        "q2": found.q2,
        "failed": float(len(rows) - len(kept)),
    }
    return kept, list(found.labels), used


def _require(rows: Sequence[Row], rating: str, rule: str) -> None:
    for row in rows:
        if f"source_{rating}" not in row:
            other = "rank_gap" if rating == "score" else "score_gap"
            raise BadData(
                f'pair "{row["id"]}" has no {rating}s, which the rule "{rule}" needs; use '
                f'labels.rule = "{other}" or "likelihood"'
            )


def _balanced(rows: Sequence[Row], seed: int) -> list[Row]:
    """As many rows of each label that occurs as the rarest has, chosen by seed and id."""
    mix = label_mix(rows)
    least = min(number for number in mix.values() if number)
    kept: set[str] = set()
    for label in LABELS:
        ids = sorted(row["id"] for row in rows if row["label"] == label)
        ids.sort(key=lambda id: seed_from(seed, "balance", id))
        kept.update(ids[:least])
    return [row for row in rows if row["id"] in kept]


def _list(counts: dict[str, int] | Counter[str]) -> str:
    return ", ".join(f"{number} {name}" for name, number in counts.items()) or "none dropped"


class TargetScoringParams(Record):
    """Whether the prompt contains the source.

    Attributes:
        wording: how a prompt shows the source, with {prompt} and {answer}.
    """

    wording: str


@operation("target_scoring", version=1, params=TargetScoringParams, estimate=costs.rows_of("pairs"))
def target_scoring(context: Context, params: TargetScoringParams, *, pairs: Artifact) -> None:
    """Rows for `score_texts`: prompts with or without the source, and the target as `texts`.

    The alone rows are those of a wording without {answer}.
    """
    from methods.seft.wording import shown

    rows = [
        {
            "id": row["id"],
            "messages": shown(params.wording, row["messages"], row["source"]),
            "texts": [row["target"]],
        }
        for row in pairs.rows()
    ]
    write_rows(context.directory / "rows.jsonl", rows)
