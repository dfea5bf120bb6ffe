"""Published Arena-Hard judgments, as the original's model_judgment/<judge>/<model>.jsonl has them.

One row per prompt: uid, model, judge, games: [{score}, {score}], the baseline shown first in the
first game. A score that is no legal label was never a verdict.
"""

from __future__ import annotations

from collections.abc import Iterator

from harness.data.forms import instruction_id
from harness.engine.operations import Row
from harness.judging.labels import LABEL_STATES
from harness.judging.records import BASELINE, MODEL, Game, model_share
from harness.judging.verdict_sets import JudgedItem, JudgmentForm


def _fits(row: Row) -> bool:
    return ("uid" in row or "question_id" in row) and isinstance(row.get("games"), list)


def _items(row: Row) -> Iterator[JudgedItem]:
    if len(row["games"]) != 2 or not all(isinstance(g, dict | None) for g in row["games"]):
        raise ValueError("expected two games with a score each")
    first, second = row["games"]
    games = (_game(BASELINE, first), _game(MODEL, second))
    yield JudgedItem(
        prompt=str(row["question_id"] if row.get("uid") is None else row["uid"]),
        system=str(row["model"]),
        value=model_share("arena", games),
        text=instruction_id(row["prompt"]) if isinstance(row.get("prompt"), str) else "",
        games=games,
    )


def _game(first: str, game: Row | None) -> Game:
    score = (game or {}).get("score")
    return Game(first, score if isinstance(score, str) and score in LABEL_STATES else None)


FORM = JudgmentForm("arena_hard", "arena", _fits, _items)
