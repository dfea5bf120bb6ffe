"""Published MT-Bench judgments, as the original's model_judgment/*.jsonl has them.

single  question_id, model, judge: [name, prompt], turn, score
pair    question_id, model_1, model_2, g1_winner, g2_winner, judge, turn
"""

from __future__ import annotations

from collections.abc import Iterator

from harness.engine.operations import Row
from harness.judging.records import BASELINE, MODEL, Game, legal_rating, model_share
from harness.judging.verdict_sets import JudgedItem, JudgmentForm

SUITE = "mt_bench"
# Winner of a game that shows model_1 first -> verdict.
_VERDICTS = {"model_1": "A", "model_2": "B", "tie": "tie"}
_SWAPPED = {"A": "B", "B": "A", "tie": "tie"}


def _rates(row: Row) -> bool:
    return "question_id" in row and "score" in row


def _rating(row: Row) -> Iterator[JudgedItem]:
    yield JudgedItem(
        prompt=str(row["question_id"]),
        system=str(row["model"]),
        value=legal_rating(row["score"]),  # -1 is the original's spelling of a missing one
        turn=int(row.get("turn") or 1),
    )


def _compares(row: Row) -> bool:
    return "g1_winner" in row


def _choice(row: Row) -> Iterator[JudgedItem]:
    """A pair; the first name in alphabetical order is the model, so that either listing agrees."""
    names = (str(row["model_1"]), str(row["model_2"]))
    firsts = (MODEL, BASELINE) if names[0] <= names[1] else (BASELINE, MODEL)
    one, two = (_VERDICTS.get(row[key]) for key in ("g1_winner", "g2_winner"))
    games = (Game(firsts[0], one), Game(firsts[1], None if two is None else _SWAPPED[two]))
    yield JudgedItem(
        prompt=str(row["question_id"]),
        system=" against ".join(sorted(names)),
        value=model_share("pairwise", games),
        turn=int(row.get("turn") or 1),
        games=games,
    )


RATINGS = JudgmentForm(SUITE, "rating", _rates, _rating)
CHOICES = JudgmentForm(SUITE, "pairwise", _compares, _choice)
