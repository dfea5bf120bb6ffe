"""Judged records: the rows that judge operations store, and the games in them.

A `Judged` row is one prompt: its turns with the answers as the judge read them, and for each turn
the games, one per question to the judge. `Judged.row` and `Judged.read` are the only writer and the
only reader of the stored form. Four kinds of rows exist, named like the frames:

    alpaca     one turn, P(the answer shown first is better) per game, `preference` of the prompt
    arena      one turn, one of five labels per game
    pairwise   a dialogue, "A", "B" or "tie" per game
    rating     a dialogue, a rating of the system's answer to each turn

Dataclasses instead of validated records: texts of models may contain what no validator accepts
(lone surrogates, NUL) and must be stored unchanged.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from harness.core.errors import BadData
from harness.engine.operations import Row
from harness.judging.frames import Kind
from harness.judging.judge import Judgment, Verdict
from harness.judging.labels import EMPHASIS, LABEL_STATES, label_rows
from harness.judging.verdicts import RATING_SCALE

MODEL, BASELINE = "model", "baseline"  # the two sides, as `Game.first` and stored answers name them
# Fields of a prompt row that scores, boards and filters group by.
_PROMPT_FIELDS = (
    "category",
    "subcategory",
    "cluster",
    "dataset",
    "skill",
    "difficulty",
    "instruction_difficulty",
)


@dataclass(frozen=True)
class Game:
    """One question to the judge, and the verdict read from the reply.

    Attributes:
        first: whose answer is shown first, "model" or "baseline"; "" where one answer is rated.
        verdict: in the view of the answer shown first; None before judging, and on failure.
        attempts: how often the judge was asked.
        failure: why there is no verdict.
        logprobs: of the reply's first token, where requested.
        mass: probability of the two identifiers together, where they are weighed.
        served_by: the model that replied, if it is not the judge that was asked.
    """

    first: str = ""
    verdict: Verdict | None = None
    reply: str = ""
    attempts: int = 0
    failure: str | None = None
    logprobs: tuple[tuple[str, float], ...] | None = None
    mass: float | None = None
    served_by: str | None = None

    @property
    def model_share(self) -> float | None:
        """The model's share in [0, 1] of the win; None for a rating and for a failed game.

        A probability is itself; the five labels are 0, 1/4, 1/2, 3/4 and 1.

        >>> Game("baseline", "A>B").model_share, Game("model", 0.75).model_share
        (0.25, 0.75)
        """
        if self.verdict is None or not self.first:
            return None
        share = _first_share(self.verdict)
        return share if self.first == MODEL else 1.0 - share

    def judged(self, judgment: Judgment) -> Game:
        """The game with the judge's last reply and what was read from it."""
        return replace(
            self,
            verdict=judgment.verdict,
            reply=judgment.reply,
            attempts=judgment.attempts,
            failure=judgment.failure,
            logprobs=judgment.logprobs,
            mass=judgment.mass,
            served_by=judgment.served_by,
        )

    def row(self) -> Row:
        stored: Row = {"first": self.first} if self.first else {}
        stored |= {
            "reply": self.reply,
            "verdict": self.verdict,
            "attempts": self.attempts,
            "failure": self.failure,
        }
        if self.logprobs is not None:
            stored["logprobs"] = [list(entry) for entry in self.logprobs]
        if self.mass is not None:
            stored["mass"] = self.mass
        if self.served_by is not None:
            stored["served_by"] = self.served_by
        return stored

    @classmethod
    def read(cls, row: Row) -> Game:
        logprobs = row.get("logprobs")
        return cls(
            first=row.get("first") or "",
            verdict=row["verdict"],
            reply=row.get("reply") or "",
            attempts=int(row.get("attempts") or 0),
            failure=row.get("failure"),
            logprobs=None if logprobs is None else tuple((str(t), float(p)) for t, p in logprobs),
            mass=row.get("mass"),
            served_by=row.get("served_by"),
        )


@dataclass(frozen=True)
class JudgedTurn:
    """One question, the answers to it, and the games played on them.

    Attributes:
        answer: the system's; None where none was generated.
        baseline: the other side's; None where one answer is rated.
        guided: stored with ratings: the judge was given reference answers.
        reference: the reference answer to this question; not stored, see `Judged.guided_by`.
    """

    question: str
    answer: str | None
    baseline: str | None = None
    games: tuple[Game, ...] = ()
    guided: bool = False
    reference: str | None = None

    def row(self, kind: Kind) -> Row:
        """The turn in the stored form of a dialogue, without its number."""
        stored: Row = {"question": self.question}
        if kind == "rating":
            return stored | {"answer": self.answer, "guided": self.guided} | self.games[0].row()
        return stored | self.pair_row()

    def pair_row(self) -> Row:
        """Both answers and the games on them."""
        return {
            "answers": {MODEL: self.answer, BASELINE: self.baseline},
            "games": [game.row() for game in self.games],
        }

    @classmethod
    def read(cls, row: Row, question: str, kind: Kind) -> JudgedTurn:
        if kind == "rating":
            game = replace(Game.read(row), first="")
            return cls(question, row["answer"], None, (game,), bool(row.get("guided")))
        said = row["answers"]
        games = tuple(map(Game.read, row["games"]))
        return cls(question, said[MODEL], said[BASELINE], games)


@dataclass(frozen=True)
class Judged:
    """One judged prompt of a system.

    Attributes:
        turns: one, or one per question of a dialogue.
        preference: of kind alpaca: probability in [0, 1] that the model wins, over all games; None
            if one of them failed.
        suspicious: why an answer of the system looks like an attack on the judge's prompt, or "".
        prompt_fields: category, cluster and other fields of the prompt that scores group by.
    """

    kind: Kind
    id: str
    system: str
    turns: tuple[JudgedTurn, ...]
    preference: float | None = None
    suspicious: str = ""
    prompt_fields: Mapping[str, Any] = field(default_factory=dict)

    @property
    def games(self) -> tuple[Game, ...]:
        return tuple(game for turn in self.turns for game in turn.games)

    @property
    def questions(self) -> list[str]:
        return [turn.question for turn in self.turns]

    def value(self, turn: JudgedTurn, weight: int = EMPHASIS) -> float | None:
        """What the verdicts on a turn count in the suite's score; None where one is missing.

        The model's share in [0, 1] of the win; for ratings the rating, if it is on the scale.

        Args:
            weight: rows of an emphatic Arena-Hard label, see `label_rows`.
        """
        if self.kind == "alpaca":
            return self.preference
        if self.kind == "rating":
            return legal_rating(turn.games[0].verdict)
        return model_share(self.kind, turn.games, weight)

    def shown(self, turn: int, game: int) -> tuple[list[str], list[str]]:
        """The answers up to a turn: of the side that a game shows first, and of the other."""
        said = self.turns[: turn + 1]
        ours, theirs = [t.answer or "" for t in said], [t.baseline or "" for t in said]
        return (ours, theirs) if said[-1].games[game].first == MODEL else (theirs, ours)

    def references(self, turn: int) -> list[str]:
        """The reference answers up to a turn."""
        known = (part.reference for part in self.turns[: turn + 1])
        return [reference for reference in known if reference is not None]

    def guided_by(self, references: Sequence[str]) -> Judged:
        """The record with the reference answers that the judge was given, by turn."""
        guides = [*references, *[None] * len(self.turns)]
        turns = zip(self.turns, guides)
        return replace(self, turns=tuple(replace(t, reference=guide) for t, guide in turns))

    def row(self) -> Row:
        """The stored form."""
        row: Row = {"id": self.id, "system": self.system, **self.prompt_fields}
        if self.suspicious:
            row["suspicious"] = self.suspicious
        if self.kind in ("rating", "pairwise"):
            numbered = enumerate(self.turns, 1)
            row["turns"] = [{"turn": number, **turn.row(self.kind)} for number, turn in numbered]
            return row
        row |= {"prompt": self.turns[0].question, **self.turns[0].pair_row()}
        return row | {"preference": self.preference} if self.kind == "alpaca" else row

    @classmethod
    def read(cls, row: Row, kind: Kind | None = None, source: str = "judgments") -> Judged:
        """A stored row as a record.

        Args:
            kind: known from the operation that made the row; else decided by `kind_of_row`.
            source: file or artifact of the row, for the message.

        Raises:
            BadData: the row is not one of the four kinds.
        """
        try:
            return cls._read(row, kind or kind_of_row(row))
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            raise BadData(
                f'{source}, row "{row.get("id")}": no judgment can be read from it '
                f"({type(error).__name__}: {error}); expected games or turns as the judge "
                "operations write them"
            ) from None

    @classmethod
    def _read(cls, row: Row, kind: Kind | None) -> Judged:
        if kind is None:
            raise ValueError("it has neither games nor turns")
        if kind in ("rating", "pairwise"):
            turns = [JudgedTurn.read(turn, turn["question"], kind) for turn in row["turns"]]
        else:
            turns = [JudgedTurn.read(row, row["prompt"], kind)]
        return cls(
            kind=kind,
            id=str(row["id"]),
            system=row.get("system") or "",
            turns=tuple(turns),
            preference=row["preference"] if kind == "alpaca" else None,
            suspicious=row.get("suspicious") or "",
            prompt_fields=prompt_fields(row),
        )


def kind_of_row(row: Row) -> Kind | None:
    """The kind of a row whose operation does not tell it; None if it is not a judged row."""
    if isinstance(row.get("games"), list) and "answers" in row:
        return "alpaca" if "preference" in row else "arena"
    turns = row.get("turns")
    first = turns[0] if isinstance(turns, list) and turns else None
    if not isinstance(first, dict):
        return None
    return "pairwise" if "games" in first else "rating" if "verdict" in first else None


def read_judged(
    rows: Iterable[Row], kind: Kind | None = None, source: str = "judgments"
) -> list[Judged]:
    """Stored rows as records; see `Judged.read`."""
    return [Judged.read(row, kind, source) for row in rows]


def prompt_fields(row: Row) -> dict[str, Any]:
    """The fields of a prompt row that a judged row keeps."""
    return {key: row[key] for key in _PROMPT_FIELDS if row.get(key) is not None}


def legal_rating(rating: Verdict | None) -> float | None:
    """A rating on the scale; None for any other (the compat parser lets them pass)."""
    if rating is None or isinstance(rating, str):
        return None
    return float(rating) if RATING_SCALE[0] <= rating <= RATING_SCALE[1] else None


def model_share(kind: Kind, games: Sequence[Game], weight: int = EMPHASIS) -> float | None:
    """The model's share in [0, 1] of the games of one turn, as the kind's suite counts it.

    alpaca: mean of the games. arena: mean of the rows that the labels count as, an emphatic one
    `weight` times. pairwise: 1 or 0 where all games name the same winner, else a tie. None without
    games or where one failed.
    """
    shares = [game.model_share for game in games]
    found = [share for share in shares if share is not None]
    if not found or len(found) < len(shares):
        return None
    if kind == "pairwise":
        return found[0] if len(set(found)) == 1 else 0.5
    if kind == "arena":
        table = label_rows(weight)
        found = [
            share if game.first == MODEL else 1.0 - share
            for game in games
            for share in table[str(game.verdict)]
        ]
    return sum(found) / len(found)


def _first_share(verdict: Verdict) -> float:
    """The share of the answer shown first, from a probability, a label or a choice."""
    if not isinstance(verdict, str):
        return float(verdict)
    if verdict in LABEL_STATES:
        return 1.0 - LABEL_STATES[verdict] / 4
    return {"A": 1.0, "B": 0.0, "tie": 0.5}[verdict]
