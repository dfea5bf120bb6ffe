"""What the front page of a published folder adds to a board's page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from leaderboards.board import Board
from leaderboards.render import text
from leaderboards.scores import Score, ScoreKey

View = dict[str, object]

# Details are not laid out before the script at the end folds them; that is most of a page's time.
EARLY = 'document.documentElement.className = "folding";'

ANSWERS_COLUMN: View = {
    "title": "answers",
    "unit": "characters, n",
    "direction": "ascending",
    "arrow": "",
    "ranking": False,
}


@dataclass(frozen=True)
class Answers:
    """Answers of a system on a suite.

    Attributes:
        length: mean length in characters; None if unknown.
        n_scored, n_expected: over seeds.
    """

    length: float | None
    n_scored: int
    n_expected: int


@dataclass(frozen=True)
class Extras:
    """What the front page of a published folder adds to a board.

    Attributes:
        links: (system, suite, metric, seed) -> address of the samples; "" if there are none.
        rows, scores: anchors of systems and of (system, suite, metric).
        ranges: system -> lowest and highest possible rank, see `leaderboards.ranks`.
        answers: by system and suite.
        equals: system -> systems with the same scores, row by row.
        files: (name, description) of the files beside the page.
        reasons: why scores have no samples.
    """

    links: Mapping[tuple[str, str, str, int], str]
    rows: Mapping[str, str]
    scores: Mapping[ScoreKey, str]
    ranges: Mapping[str, tuple[int, int]]
    answers: Mapping[tuple[str, str], Answers]
    equals: Mapping[str, tuple[str, ...]]
    files: tuple[tuple[str, str], ...]
    reasons: tuple[str, ...]


def range_text(ends: tuple[int, int] | None) -> str:
    """ "1 to 8"; "" where the rank is certain or nothing is known."""
    return "" if ends is None or ends[0] == ends[1] else f"{ends[0]} to {ends[1]}"


def answers_view(answers: Answers | None) -> View:
    """The entry of the column that describes a suite's answers."""
    view = dict.fromkeys(("bar", "mark", "said", "standing", "reason", "failed", "reference"), "")
    if answers is None:
        missing = {"value": text.MISSING, "sort": None, "missing": True, "span": None, "link": ""}
        return {**view, **missing, "reason": "not run"}
    known = answers.length is not None
    counts = f"n {answers.n_expected:,}"
    if answers.n_scored != answers.n_expected:
        counts = f"n {answers.n_scored:,} of {answers.n_expected:,}"
    return {
        **view,
        "value": f"{answers.length:,.0f}" if known else text.MISSING,
        "sort": answers.length,
        "missing": False,
        "span": counts,
        "link": "",
    }


def link_of(score: Score | None, extras: Extras | None) -> str:
    """Where a score's value leads: samples of its first seed that has any, else its details."""
    if score is None or extras is None:
        return ""
    key = (score.system, score.suite, score.metric)
    for cell in score.cells:
        if address := extras.links.get((*key, cell.seed)):
            return address
    return f"#{extras.scores[key]}" if key in extras.scores else ""


def extra_notes(board: Board, extras: Extras | None) -> list[str]:
    """Meaning of what a published folder adds."""
    if extras is None:
        return []
    notes = [
        "Scores lead to the samples they were made from (of several seeds, the first; the details "
        "of a system have all)."
    ]
    if any(low != high for low, high in extras.ranges.values()):
        notes.append(
            f"Ranks below a place: {100 * board.spec.level:g} % confidence for all systems "
            "together, from all paired differences at once (Mogstad et al., 2024)."
        )
    notes.append(
        "Answers: mean length in characters, and n, the judgments or rows scored over all seeds."
    )
    if extras.equals:
        notes.append("Identical here: every common score is equal on every prompt.")
    return [*notes, *extras.reasons]
