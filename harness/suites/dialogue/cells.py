"""The operation `score_dialogue`: cells from the turns and what a system answered.

    bleu, sacrebleu                              corpus scores
    entity_f1_surface_micro, _gold_micro, _gold_macro, entity_f1_strict
    entity_f1_surface_micro:hotel, ...           one domain
    recall_turn:7, recall_value:7, recall_name:7 retrieval, in three readings
    <metric>_ceiling                             where the data cannot reach 100

Every metric is a function of counts that add up over turns, so that a resample of dialogues is a
weighted sum. Draws depend on the data alone: systems are paired by dialogue. A turn that a system
failed to answer is left out and counted; the bounds replace it by an empty reply and by its
reference. A ceiling is the score of the references themselves, or of the whole knowledge base.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from harness.core.errors import BadData
from harness.core.records import Cell, Resampled
from harness.engine.operations import Artifact, Context, Row, operation
from harness.stats.bootstrap import cluster_counts
from harness.suites.dialogue import metrics_released as compat
from harness.suites.dialogue.answering import Base, shared_base
from harness.suites.dialogue.bleu import bleu, has_sacrebleu, sacrebleu, sacrebleu_counts
from harness.suites.dialogue.entities import entity_list
from harness.suites.dialogue.entity_f1 import f1_percent, scores
from harness.suites.dialogue.recall import READINGS
from harness.suites.dialogue.records import Knowledge
from harness.suites.dialogue.text import value_runs
from harness.suites.dialogue.turns import (
    Answer,
    Scorer,
    TextCounts,
    Wanted,
    mentions,
    read_answer,
    recall_counts,
    text_counts,
)
from harness.suites.scoring import (
    CellMaker,
    CellParams,
    Tally,
    cell_maker,
    endings,
    sample_of,
    with_columns,
    write_cells,
)
from harness.suites.statistics import percent

Floats = NDArray[np.float64]
KIND = "bootstrap over dialogues"
SPAN = (0.0, 100.0)
SHOWN = 60  # maximum characters of a failure in details


class ScoreDialogueParams(CellParams):
    """Parameters of `score_dialogue`; see `CellParams` for the rest.

    Attributes:
        knowledge: see `harness.suites.dialogue.answering.KnowledgeParams`.
        recall_at: values of K; a K above the number of kept records is refused.
        released: score as the released code does, see `metrics_released`.
    """

    knowledge: Base = "shared"
    recall_at: tuple[int, ...] = (1, 5, 7)
    released: bool = Field(default=False, exclude_if=lambda value: not value)


@operation("score_dialogue", version=1, params=ScoreDialogueParams, libraries=("sacrebleu",))
def score_dialogue(
    context: Context,
    params: ScoreDialogueParams,
    *,
    dialogues: Artifact,
    replies: Artifact,
    model: Artifact | None = None,
) -> None:
    """Write the cells of one system.

    Raises:
        BadData: rows of other turns; retrieved records of another knowledge base.
    """
    turns = dialogues.rows()
    about = dialogues.read_json("set.json")
    texts = {row["id"]: [row["messages"][0]["content"], row["reference"]] for row in turns}
    maker = cell_maker(params, texts, checkpoint=model, generations=replies, dialogues=dialogues)
    answers = _answers(params, turns, dialogues, replies)
    rules = entity_list(dialogues.read_json("entities.json"), about["rules"])
    scorer = _Cells(maker, params, turns, answers, Scorer.of(rules, params.released), about)
    texts_given = not all(answer.silent for answer in answers)
    records_given = any(answer.records is not None for answer in answers)
    base = Knowledge.of(dialogues.read_json("records.json"))
    cells = scorer.text_cells() if texts_given else scorer.absent(TEXT, "it only retrieves")
    recalls = [f"recall_turn:{k}" for k in ends(params.recall_at)]
    cells += (
        scorer.recall_cells(base)
        if records_given
        else scorer.absent(recalls, "it retrieves nothing")
    )
    write_cells(context, cells)


def _answers(
    params: ScoreDialogueParams, turns: Sequence[Row], dialogues: Artifact, replies: Artifact
) -> list[Answer]:
    rows = {row["id"]: row for row in replies.rows()}
    strange = sorted(set(rows) ^ {turn["id"] for turn in turns})
    if strange:
        raise BadData(
            f"{replies.operation} {replies.id[:10]} answers {len(rows)} turns; expected the "
            f'{len(turns)} imported ones: "{strange[0]}" is in only one of the two'
        )
    shared = shared_base(dialogues, params.knowledge)
    common = dict(zip(shared.ids, shared.records, strict=True))
    found = []
    for turn in turns:
        known = common
        if params.knowledge == "session":
            own = Knowledge.of(turn["kb"])
            known = dict(zip(own.ids, own.records, strict=True))
        found.append(read_answer(rows[turn["id"]], known))
    return found


def ends(recall_at: Sequence[int]) -> list[int]:
    """The smallest and the largest K, whose turn reading is primary."""
    return sorted({min(recall_at), max(recall_at)})


Statistic = Callable[[Floats], Floats]  # summed counts (..., c) -> values (...), NaN undefined
_NAMES: dict[Statistic, str] = {bleu: "bleu", f1_percent: "entity_f1", percent: "percent"}


@dataclass(frozen=True)
class _Table:
    """Counts of a metric, arrays (turns, c).

    Attributes:
        rows: of the answers.
        empty, right: of empty answers, and of the best possible ones, whose score is the ceiling.
        scored: mask of turns that have an answer.
        among: mask of turns that belong to the metric.
        ratio: the statistic is a ratio of the two columns.
    """

    rows: Floats
    empty: Floats
    right: Floats
    scored: NDArray[np.bool_]
    among: NDArray[np.bool_]
    ratio: bool = False

    @property
    def chosen(self) -> NDArray[np.bool_]:
        return self.among & self.scored

    def failed_as(self, other: Floats) -> Floats:
        """The counts with those of `other` for turns without an answer."""
        return np.where(self.scored[:, None], self.rows, other)


@dataclass(frozen=True)
class _Cells:
    maker: CellMaker
    params: ScoreDialogueParams
    turns: Sequence[Row]
    answers: Sequence[Answer]
    scorer: Scorer
    about: dict[str, Any]

    @cached_property
    def counts(self) -> Floats:
        """Draws of each turn in each resample of dialogues (rounds, turns)."""
        clusters = [turn["dialogue"] for turn in self.turns]
        drawn = cluster_counts(self.maker.prompt_set, clusters, self.params.rounds)
        return drawn.astype(np.float64)

    @cached_property
    def details(self) -> dict[str, Any]:
        found: dict[str, Any] = {"data version": self.about["digest"]}
        found |= {name: self.about[name] for name in ("dialogues", "records")}
        found |= {"knowledge": self.params.knowledge}
        if self.about["names_with_several_records"]:
            found["names with several records"] = self.about["names_with_several_records"]
        if self.params.released:
            found["handling"] = "released"
        ended = [a for a in self.answers if a.finish is not None]
        found |= endings({"finish": [a.finish], "responses": [a.text or ""]} for a in ended)
        reasons = Counter(answer.failed[:SHOWN] for answer in self.answers if answer.failed)
        return found | {f"failed: {reason}": n for reason, n in sorted(reasons.items())}

    # --- Texts

    def text_cells(self) -> list[Cell]:
        """BLEU, Entity F1 and their ceilings."""
        runs = value_runs(self.scorer.entities.values)
        wanted = [Wanted.of(self.scorer, turn, runs) for turn in self.turns]

        def counted(texts: Iterable[str]) -> list[TextCounts]:
            return [text_counts(self.scorer, w, t) for w, t in zip(wanted, texts, strict=True)]

        said = counted(answer.text or "" for answer in self.answers)
        empty = counted("" for _ in self.turns)
        right = counted(turn["reference"] for turn in self.turns)
        scored = np.array([answer.text is not None for answer in self.answers])

        def table(pick: Callable[[TextCounts], Sequence[float]], among: Any) -> _Table:
            own, low, high = (
                np.array([pick(counts) for counts in part], float) for part in (said, empty, right)
            )
            return _Table(own, low, high, scored, np.broadcast_to(among, scored.shape))

        cells: list[Cell] = []
        for name, pick, value, primary in _TEXT_METRICS:
            own = table(pick, True)
            cells.append(self._cell(name, own, value, primary=primary))
            cells.append(self._ceiling(name, own, value, primary=primary))
        names = np.array([turn["domain"] for turn in self.turns])
        domains = sorted(set(names.tolist()))
        for domain in domains if len(domains) > 1 else ():
            own = table(lambda counts: counts.surface, names == domain)
            cells.append(self._cell(f"{SURFACE}:{domain}", own, f1_percent, primary=False))
        return [*cells, self._sacrebleu(scored)]

    def _sacrebleu(self, scored: NDArray[np.bool_]) -> Cell:
        n, name = len(self.turns), "sacrebleu"
        tally = Tally(n, int(scored.sum()))
        if not has_sacrebleu():
            reason = "sacrebleu is not installed (extra dialogue)"
            return self.maker.cell(name, None, tally, primary=False, details={"reason": reason})
        said = [self.scorer.prediction(answer.text or "") for answer in self.answers]
        wanted = [self.scorer.prediction(turn["reference"]) for turn in self.turns]
        found = sacrebleu_counts(said, wanted)
        right = sacrebleu_counts(wanted, wanted).counts.astype(float)
        empty = np.zeros_like(right)
        empty[:, -1] = right[:, -1]  # an empty reply has nothing but a reference's length
        table = _Table(found.counts.astype(float), empty, right, scored, np.ones(n, bool))
        signature = {"signature": found.signature}
        return self._cell(name, table, sacrebleu, primary=False, details=signature)

    # --- Retrieval

    def recall_cells(self, base: Knowledge) -> list[Cell]:
        """Recall@K in three readings, over first mentions."""
        scope = mentions(self.turns)
        among = np.array([mention.counts for mention in scope])
        scored = np.array([answer.records is not None for answer in self.answers])
        shared = self.params.knowledge == "shared"

        def counted(records: Sequence[Sequence[Any]]) -> Floats:
            """Numerators and denominators (turns, readings, 2) of the turns in scope, else 0."""
            found = np.zeros((len(scope), len(READINGS), 2))
            for place in np.flatnonzero(among).tolist():
                turn, mention = self.turns[place], scope[place]
                found[place] = recall_counts(turn, mention, records[place], self.params.released)
            return found

        none = counted([() for _ in self.turns])
        reach = counted([base.records if shared else turn["kb"] for turn in self.turns])
        shown = ends(self.params.recall_at)
        cells = []
        for k in self.params.recall_at:
            found = counted([(answer.records or ())[:k] for answer in self.answers])
            for place, reading in enumerate(READINGS):
                own, low, high = (part[:, place] for part in (found, none, reach))
                table = _Table(own, low, high, scored, among, ratio=True)
                name = f"recall_{reading}"
                primary = place == 0 and k in shown
                cells.append(self._cell(f"{name}:{k}", table, percent, primary=primary))
                if k == shown[-1]:
                    cells.append(self._ceiling(name, table, percent, primary=place == 0))
        return cells

    # --- One cell

    def absent(self, names: Sequence[str], reason: str) -> list[Cell]:
        """Cells without a value, for metrics of what the system does not give."""
        details = self.details | {"reason": reason}
        return [self.maker.cell(name, None, Tally(0, 0), details=details) for name in names]

    def _ceiling(self, name: str, table: _Table, value: Statistic, primary: bool) -> Cell:
        """Score of the best possible answers; a column of its own only where it is below 100."""
        n, found = int(table.among.sum()), _value(value, table.right, table.among)
        below = found is not None and found < SPAN[1] - 1e-9
        return self.maker.cell(
            f"{name}_ceiling", found, Tally(n, n), primary=primary and below, details=self.details
        )

    def _cell(
        self,
        name: str,
        table: _Table,
        value: Statistic,
        *,
        primary: bool = True,
        details: dict[str, Any] | None = None,
    ) -> Cell:
        tally = Tally(int(table.among.sum()), int(table.chosen.sum()))
        point = _value(value, table.rows, table.chosen)
        ceiling = _value(value, table.right, table.among)
        own = self.details | {"ceiling": ceiling} | (details or {})
        if point is None:
            own["reason"] = "no turn was answered" if tally.expected else "no turn to score"
            return self.maker.cell(name, None, tally, primary=primary, details=own)
        if name == "bleu" and self.params.released:
            point = compat.rounded(point)
        draws = value(self.counts[:, table.chosen] @ table.rows[table.chosen])
        bounds = None
        if tally.failed:
            found = [
                _value(value, table.failed_as(other), table.among)
                for other in (table.empty, table.right)
            ]
            known = [point, *(end for end in found if end is not None)]
            bounds = (min(known), max(known))
        return self.maker.cell(
            name,
            point,
            tally,
            replicates=np.where(np.isnan(draws), point, draws),
            bounds=bounds,
            resampled=self._sample(table, value),
            kind=KIND,
            primary=primary,
            details=own,
        )

    def _sample(self, table: _Table, value: Statistic) -> Resampled:
        clusters = [turn["dialogue"] for turn in self.turns]
        if table.ratio:
            top = np.where(table.chosen, 100 * table.rows[:, 0], np.nan)
            return sample_of(top, clusters, np.where(table.chosen, table.rows[:, 1], 0.0), SPAN)
        units = {name for name, has in zip(clusters, table.chosen, strict=True) if has}
        sample = Resampled(units=len(units), span=SPAN)
        if value not in _NAMES:
            return sample
        rows = np.where(table.chosen[:, None], table.rows, 0.0)
        return with_columns(sample, _NAMES[value], rows, clusters)


def _value(value: Statistic, rows: Floats, chosen: NDArray[np.bool_]) -> float | None:
    """The statistic of the chosen turns; None if it is undefined."""
    if not chosen.any():
        return None
    found = float(value(rows[chosen].sum(axis=0)))
    return None if np.isnan(found) else found


def _macro(counts: TextCounts) -> tuple[float, float]:
    """Summands of the mean F1 over turns with gold values."""
    gold = counts.gold
    return (float(scores(gold).f1), 1.0) if gold.tp + gold.fn else (0.0, 0.0)


SURFACE = "entity_f1_surface_micro"
TEXT = ("bleu", SURFACE)  # primary metrics of texts
# Name, counts of a turn, statistic of their sums, whether it is primary.
_TEXT_METRICS: tuple[tuple[str, Callable[[TextCounts], Sequence[float]], Statistic, bool], ...] = (
    ("bleu", lambda counts: counts.bleu, bleu, True),
    (SURFACE, lambda counts: counts.surface, f1_percent, True),
    ("entity_f1_strict", lambda counts: counts.strict, f1_percent, False),
    ("entity_f1_gold_micro", lambda counts: counts.gold, f1_percent, False),
    ("entity_f1_gold_macro", _macro, percent, False),
)
