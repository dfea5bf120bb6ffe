"""The operation `score_labels`: cells from predicted labels and the authors' true labels.

    macro_f1, accuracy                    means over the traits
    macro_f1:ext, accuracy:ext, ...       one trait
    macro_f1_third_class, macro_f1_drop   macro-F1 with other policies for abstentions
    abstained                             share of labels that a system did not give
    macro_f1_worst, macro_f1_sd           minimum and standard deviation over orders
    flip_rate, flip_rate:options, ...     share of labels that change with another order

Rows are sorted by id and draws depend only on the authors, so that two systems are paired by
author. The details of `accuracy:<trait>` contain the packed outcomes for McNemar's test. An
abstention counts as failed; the bounds show the effect of all possible labels in its place.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core.errors import BadData
from harness.core.hashing import canonical_json
from harness.core.records import Cell, Interval, Resampled
from harness.engine.operations import Artifact, Context, Row, operation
from harness.stats.bootstrap import NOT_IDENTIFIED, cluster_counts
from harness.stats.mcnemar import OUTCOMES, pack
from harness.suites.personality.labels import POLICIES, Policy, indicators_of, label_scores
from harness.suites.scoring import (
    CellMaker,
    CellParams,
    Tally,
    cell_maker,
    with_columns,
    write_cells,
)

Floats = NDArray[np.float64]
KIND = "bootstrap over authors"
SHOWN = 40  # maximum characters of a status in details


class ScoreLabelsParams(CellParams):
    """Parameters of `score_labels`; see `CellParams` for the rest.

    Attributes:
        policy: treatment of abstentions in `macro_f1` and `accuracy`.
        orders: names of the orders of the inputs `perturbed`.
    """

    policy: Policy = "wrong"
    orders: tuple[str, ...] = ()


@dataclass(frozen=True)
class Answers:
    """Predicted labels of one system.

    Attributes:
        labels: (authors, traits), 0 or 1, NaN for an abstention.
        status: number of abstentions by reason.
        cross_validated: the labels were made out of fold on the authors themselves.
    """

    labels: Floats
    status: Counter[str]
    cross_validated: bool

    @property
    def silent(self) -> NDArray[np.bool_]:
        """Mask of abstentions (authors, traits)."""
        return np.isnan(self.labels)


@operation("score_labels", version=2, params=ScoreLabelsParams)
def score_labels(
    context: Context,
    params: ScoreLabelsParams,
    *,
    authors: Artifact,
    labels: Artifact,
    perturbed: tuple[Artifact, ...] | Artifact = (),
    model: Artifact | None = None,
) -> None:
    """Write the cells of one system.

    Args:
        labels: predicted labels; perturbed: those of the same system with other orders.

    Raises:
        BadData: label rows of other authors, or a label other than 0, 1 and null.
    """
    rows = sorted(authors.rows(), key=lambda row: str(row["id"]))
    traits = [trait["name"] for trait in authors.read_json("traits.json")]
    # The set's identity is texts and labels only, so that it does not depend on the file.
    texts = {row["id"]: [_text(row), canonical_json(row["labels"]).decode()] for row in rows}
    unsourced = params.model_copy(update={"data": ""})
    maker = cell_maker(unsourced, texts, results=labels, authors=authors, checkpoint=model)
    maker = replace(maker, params=params)
    scorer = _Scorer(
        maker,
        params,
        traits,
        np.array([[row["labels"][name] for name in traits] for row in rows], dtype=float),
        cluster_counts(maker.prompt_set, [row["id"] for row in rows], params.rounds),
    )
    base = read_answers(labels, list(texts), traits)
    masked = authors.read_json("summary.json")["masked_posts"]
    cells = scorer.cells(base, {"posts with masked type words": masked} if masked else {})
    others = perturbed if isinstance(perturbed, tuple) else (perturbed,)
    if others:
        found = [read_answers(other, list(texts), traits) for other in others]
        cells += scorer.robustness(base, dict(zip(params.orders, found, strict=True)))
    write_cells(context, cells)


def _text(row: Row) -> str:
    return "\n\n".join(row["posts"]) if "posts" in row else str(row["text"])


def read_answers(labels: Artifact, ids: Sequence[str], traits: Sequence[str]) -> Answers:
    """Labels of a system by author and trait; raises as `score_labels`."""
    rows = {row["id"]: row for row in labels.rows()}
    strange = sorted(set(rows) ^ set(ids))
    if strange:
        raise BadData(
            f"{labels.operation} {labels.id[:10]} labels {len(rows)} authors; expected the "
            f'{len(ids)} imported ones: "{strange[0]}" is in only one of the two'
        )
    found, status = np.full((len(ids), len(traits)), np.nan), Counter[str]()
    for number, id in enumerate(ids):
        given = rows[id].get("labels") or {}
        for column, trait in enumerate(traits):
            label = given.get(trait)
            if label not in (0, 1, None):
                raise BadData(
                    f'{labels.operation} {labels.id[:10]}, author "{id}": {trait} is '
                    f"{label!r}; expected 0, 1 or null"
                )
            found[number, column] = np.nan if label is None else label
            reason = "" if label is not None else (rows[id].get("status") or {}).get(trait)
            status[str(reason).partition(":")[0][:SHOWN]] += label is None
    crossed = any(row.get("cross_validated") for row in rows.values())
    return Answers(found, +status, crossed)


@dataclass(frozen=True)
class _Scorer:
    maker: CellMaker
    params: ScoreLabelsParams
    traits: list[str]
    gold: Floats  # (authors, traits)
    counts: NDArray[np.int32]  # (rounds, authors)

    def cells(self, answers: Answers, more: dict[str, Any]) -> list[Cell]:
        details: dict[str, Any] = {"abstentions": self.params.policy, **more}
        details |= {f"abstained: {name}": n for name, n in sorted(answers.status.items())}
        if answers.cross_validated:
            details["cross_validated"] = True
        policy, everything = self.params.policy, range(len(self.traits))
        balanced = self._mean(answers.labels, everything, policy, "balanced_accuracy")
        whole = details | {"balanced_accuracy": None if balanced is None else 100 * balanced[0]}
        cells = [self._cell("macro_f1", answers, everything, policy, details=whole)]
        cells.append(self._cell("accuracy", answers, everything, policy, details=whole))
        for other in POLICIES:
            if other != policy:
                name = f"macro_f1_{other}"
                cells.append(self._cell(name, answers, everything, other, primary=False))
        for column, trait in enumerate(self.traits):
            for metric, own in (
                ("macro_f1", self._trait_details(answers, column)),
                ("accuracy", {OUTCOMES: pack(answers.labels[:, column] == self.gold[:, column])}),
            ):
                name = f"{metric}:{trait}"
                cells.append(
                    self._cell(name, answers, [column], policy, primary=False, details=own)
                )
        cells.append(self._share_cell("abstained", answers.silent))
        return cells

    def robustness(self, base: Answers, others: dict[str, Answers]) -> list[Cell]:
        """Cells over the orders; `base` is one of them."""
        # With "drop" an order could have nothing to score.
        policy: Policy = "wrong" if self.params.policy == "drop" else self.params.policy
        everything = range(len(self.traits))
        runs = {"as is": base, **others}
        found = [
            [
                self._mean(run.labels, everything, policy, "macro_f1", counts)
                for run in runs.values()
            ]
            for counts in (None, self.counts)
        ]
        # (orders, 1) and (orders, rounds)
        values, resampled = (100 * np.array(scores, dtype=float) for scores in found)
        details = {f"macro_f1, {name}": value[0] for name, value in zip(runs, values, strict=True)}
        n = self.gold.size * len(runs)
        columns = [self._indicators(run.labels, everything, policy) for run in runs.values()]
        sample, number = np.concatenate(columns, axis=1), len(runs)
        tally = Tally(n, n - sum(int(answers.silent.sum()) for answers in runs.values()))
        cells = [
            self.maker.cell(
                f"macro_f1_{name}",
                over(values)[0],
                tally,
                replicates=over(resampled),
                resampled=self._sample(policy, f"label_macro_f1_{name}:{number}", sample),
                kind=KIND,
                primary=False,
                higher_is_better=name == "worst",
                details=details,
            )
            for name, over in (
                ("worst", lambda scores: scores.min(axis=0)),
                ("sd", lambda scores: scores.std(axis=0, ddof=1)),
            )
        ]
        flips = [
            (answers.labels != base.labels) & ~(answers.silent & base.silent)
            for answers in others.values()
        ]
        cells += [self._share_cell(f"flip_rate:{name}", flip) for name, flip in zip(others, flips)]
        return [*cells, self._share_cell("flip_rate", np.concatenate(flips, axis=1))]

    def _mean(
        self,
        labels: Floats,
        columns: Sequence[int],
        policy: Policy,
        measure: str,
        counts: NDArray[np.int32] | None = None,
    ) -> Floats | None:
        """Mean over traits of one measure, in each resample; None if it is undefined for one."""
        found = [
            label_scores(self.gold[:, column], labels[:, column], policy, counts)
            for column in columns
        ]
        values = [getattr(scores, measure) for scores in found if scores is not None]
        return np.mean(values, axis=0) if len(values) == len(found) else None

    def _cell(
        self, name: str, answers: Answers, columns: Sequence[int], policy: Policy, **more: Any
    ) -> Cell:
        measure = "accuracy" if name.startswith("accuracy") else "macro_f1"
        labels, silent = answers.labels, answers.silent
        value = self._mean(labels, columns, policy, measure)
        draws = self._mean(labels, columns, policy, measure, self.counts)
        ends = [
            self._mean(np.where(silent, fill, labels), columns, policy, measure)
            for fill in (1 - self.gold, self.gold)
        ]
        n = len(labels) * len(columns)
        failed = int(silent[:, list(columns)].sum())
        low, high = (100 * float(end[0]) for end in ends if end is not None)
        details, interval = dict(more.pop("details", {})), None
        if value is None:
            details["reason"] = "a trait without any label"
        absent = [self.traits[c] for c in columns if len(set(self.gold[:, c].tolist())) < 2]
        if absent and measure == "macro_f1":
            # The F1 of a class that no author has is 0 / 0; by convention it counts as 0.
            details["class without authors"] = ", ".join(absent)
            draws = None
            interval = Interval(low=0.0, high=100.0, level=self.params.level, kind=NOT_IDENTIFIED)
        return self.maker.cell(
            name,
            None if value is None else 100 * value[0],
            Tally(n, n - failed),
            replicates=() if draws is None else 100 * draws,
            interval=interval,
            details=details,
            bounds=(low, high) if failed else None,
            resampled=self._sample(
                policy, f"label_{measure}", self._indicators(labels, columns, policy)
            ),
            kind=KIND,
            **more,
        )

    def _share_cell(self, name: str, happened: NDArray[np.bool_]) -> Cell:
        """Cell of the share of labels for which `happened` is true, which is undesired."""
        shares = happened.mean(axis=1)
        return self.maker.cell(
            name,
            100 * shares.mean(),
            Tally(happened.size, happened.size),
            replicates=100 * (self.counts @ shares) / len(shares),
            resampled=self._sample(
                "wrong",
                "percent",
                np.stack([happened.sum(axis=1), np.full(len(shares), happened.shape[1])], axis=1),
            ),
            kind=KIND,
            primary=False,
            higher_is_better=False,
        )

    def _indicators(self, labels: Floats, columns: Sequence[int], policy: Policy) -> Floats:
        parts = [indicators_of(self.gold[:, c], labels[:, c], policy) for c in columns]
        return np.concatenate(parts, axis=1)

    def _sample(self, policy: Policy, statistic: str, columns: NDArray[Any]) -> Resampled:
        scored = policy != "drop"
        sample = Resampled(units=len(self.gold), span=(0.0, 100.0), failed_scored=scored)
        return with_columns(sample, statistic, columns)

    def _trait_details(self, answers: Answers, column: int) -> dict[str, Any]:
        gold, given = self.gold[:, column], answers.labels[:, column]
        scores = label_scores(gold, given, self.params.policy)
        if scores is None:
            return {}
        details = {"balanced_accuracy": scores.balanced_accuracy[0]}
        for c in (0, 1):
            details |= {f"f1 of {c}": scores.f1[c][0], f"recall of {c}": scores.recall[c][0]}
        details["share of 1"] = gold.mean()
        flipped = label_scores(gold, 1 - given, self.params.policy)
        if flipped is not None and scores.macro_f1[0] < 0.5:
            # High if the trait's poles were exchanged.
            details["macro_f1 if inverted"] = flipped.macro_f1[0]
        return {name: 100 * float(value) for name, value in details.items()}
