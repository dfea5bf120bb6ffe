"""Verdicts of one judge as they lie in a store or in files, in one form to compare.

A `Verdict` is one judged prompt (or turn) of one system. Forms understood:

    our judgment rows            games or turns, see `harness.judging.operations`
    Arena-Hard model_judgment    uid, model, judge, games: [{score}, {score}], baseline first
    MT-Bench single judgment     question_id, model, judge, turn, score
    MT-Bench pair judgment       question_id, model_1, model_2, g1_winner, g2_winner, turn

AlpacaEval annotations are read by `harness.suites.alpaca_eval2.annotation_verdicts`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from harness.core.errors import BadData
from harness.core.hashing import digest
from harness.engine.io import read_objects
from harness.engine.operations import Row
from harness.judging.labels import EMPHASIS, LABEL_STATES, label_rows
from harness.suites.alpaca_eval2.metrics import instruction_id
from harness.suites.mt_bench.metrics import SCALE

Protocol = Literal["preference", "labels", "choices", "ratings"]
SUITES: dict[Protocol, str] = {
    "preference": "alpaca_eval2",
    "labels": "arena_hard",
    "choices": "mt_bench",
    "ratings": "mt_bench",
}
_PAIR = ("model", "baseline")
_WINNERS = {"model_1": 1.0, "model_2": 0.0, "tie": 0.5}


@dataclass(frozen=True)
class Game:
    """One question on two answers: who was shown first, and the chance that the model wins.

    An Arena-Hard label is a fifth of the way from lost (0) to won (1): 0, 1/4, 1/2, 3/4, 1.
    `first` is "" where nobody wrote it down.
    """

    first: str
    share: float


@dataclass(frozen=True)
class Verdict:
    """What a judge said of one prompt (or turn) of one system.

    Attributes:
        prompt: id of the prompt.
        text: digest of the prompt's text, `instruction_id`; "" where the text is not stored.
        value: chance or share that the model wins in [0, 1], or the rating; None if it failed.
        lengths: of the model's answer and the baseline's, in code points, where known.
        answers: digest of the answers judged; "" where they are not stored.
    """

    prompt: str
    system: str
    value: float | None
    turn: int = 1
    text: str = ""
    games: tuple[Game, ...] = ()
    lengths: tuple[float, float] | None = None
    answers: str = ""


@dataclass(frozen=True)
class VerdictSet:
    """The verdicts of one judge in one protocol.

    Attributes:
        judge: its name.
        fingerprint: of the judge where Crucible asked it, else "".
        scale: of the boards that may show it, see `Cell`.
        repeated: rows that another row of the same prompt, turn and system replaced.
    """

    judge: str
    protocol: Protocol
    verdicts: tuple[Verdict, ...]
    source: str
    suite: str
    fingerprint: str = ""
    scale: str = "published"
    repeated: int = 0
    systems: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        found = sorted({verdict.system for verdict in self.verdicts})
        object.__setattr__(self, "systems", tuple(found))


def first_share(verdict: float | str) -> float:
    """The chance that the answer shown first is better, from any judge's verdict.

    >>> first_share("A>B"), first_share("B"), first_share("tie"), first_share(0.7)
    (0.75, 0.0, 0.5, 0.7)
    """
    if not isinstance(verdict, str):
        return float(verdict)
    if verdict in LABEL_STATES:
        return 1.0 - LABEL_STATES[verdict] / 4
    return {"A": 1.0, "B": 0.0, "tie": 0.5}[verdict]


def model_share(games: Sequence[Row], weight: int = EMPHASIS) -> float | None:
    """What the games of one prompt or turn are worth to the model, as its suite counts them.

    Labels: mean of the rows they stand for, a strong one `weight` times. Choices: 1 or 0 where both
    games name the same winner, else a tie. Preferences: their mean. None if a game failed.
    """
    said = [game["verdict"] for game in games]
    if not said or None in said:
        return None
    if all(label in LABEL_STATES for label in said):
        table = label_rows(weight)
        rows = [
            share if game["first"] == "model" else 1.0 - share
            for game in games
            for share in table[game["verdict"]]
        ]
        return sum(rows) / len(rows)
    shares = [_of_model(game) for game in games]
    if any(isinstance(label, str) for label in said):
        return shares[0] if len(set(shares)) == 1 else 0.5
    return sum(shares) / len(shares)


def _of_model(game: Row) -> float:
    share = first_share(game["verdict"])
    return share if game.get("first") == "model" else 1.0 - share


def verdicts_of_rows(rows: Sequence[Row], source: str, **about: Any) -> VerdictSet:
    """The verdicts in judgment rows of ours, or of a published form.

    Args:
        about: `judge`, `suite`, `fingerprint`, `scale`, where the source does not say it itself;
            `system` replaces the rows' own name of the system.

    Raises:
        BadData: no form fits, or the rows are of several judges.
    """
    protocol = _protocol(rows, source)
    system = about.pop("system", None)
    judges = dict.fromkeys(name for row in rows if (name := _judge_of(row)))
    wanted = about.pop("only_judge", None)
    if wanted is not None and judges:
        rows = [row for row in rows if _judge_of(row) == wanted]
        judges = {wanted: None} if rows else {}
    if len(judges) > 1 or not rows:
        listed = ", ".join(judges) or "none of the judge asked for"
        raise BadData(
            f"{source}: verdicts of {listed}; expected one judge: name it with --judge or "
            "--reference-judge"
        )
    found: list[Verdict] = []
    for number, row in enumerate(rows, 1):
        try:
            found += _READERS[protocol](row)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            place = row.get("id") or row.get("uid") or row.get("question_id") or number
            raise BadData(
                f'{source}, row "{place}": no verdict can be read ({type(error).__name__}: {error})'
            ) from None
    if system:
        found = [replace(verdict, system=system) for verdict in found]
    kept = {(v.system, v.prompt, v.turn): v for v in found}
    told = {"judge": next(iter(judges), source), "suite": SUITES[protocol], **about}
    return VerdictSet(
        protocol=protocol,
        verdicts=tuple(kept.values()),
        source=source,
        repeated=len(found) - len(kept),
        **told,
    )


def read_verdicts(path: Path, only_judge: str | None = None) -> VerdictSet:
    """The verdicts in a JSON or JSON-lines file (.gz too), or in all of a folder.

    Raises:
        BadData: nothing to read, or no form fits.
    """
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.name.endswith((".jsonl", ".jsonl.gz")))
    else:
        files = [path]
    rows = [row for file in files for row in read_objects(file)]
    if not rows:
        raise BadData(f"{path}: no verdicts; expected a file of judgments, or a folder of .jsonl")
    about = {"scale": "nano"} if _is_nano(rows) else {}
    return verdicts_of_rows(rows, str(path), only_judge=only_judge, **about)


def _is_nano(rows: Sequence[Row]) -> bool:
    return str(rows[0].get("system", "")).startswith("nano:")


def merge(parts: Sequence[VerdictSet]) -> VerdictSet:
    """Verdicts of one judge on several systems as one set.

    Raises:
        BadData: the parts differ in judge or protocol, or two hold the same system.
    """
    first = parts[0]
    for other in parts[1:]:
        if (other.judge, other.protocol) != (first.judge, first.protocol):
            raise BadData(
                f"{first.source} has {first.protocol} of {first.judge}, {other.source} "
                f"{other.protocol} of {other.judge}; expected one judge and protocol on a side"
            )
    seen: dict[str, str] = {}
    for part in parts:
        for system in part.systems:
            if system in seen:
                raise BadData(f"{system} is judged in both {seen[system]} and {part.source}")
            seen[system] = part.source
    return replace(
        first,
        verdicts=tuple(verdict for part in parts for verdict in part.verdicts),
        source=", ".join(part.source for part in parts),
        repeated=sum(part.repeated for part in parts),
    )


def _protocol(rows: Sequence[Row], source: str) -> Protocol:
    row = rows[0] if rows else {}
    turns, games = row.get("turns"), row.get("games")
    if isinstance(turns, list) and turns and isinstance(turns[0], dict):
        return "choices" if "games" in turns[0] else "ratings"
    if isinstance(games, list):
        return "preference" if "preference" in row else "labels"
    if "g1_winner" in row:
        return "choices"
    if "question_id" in row and "score" in row:
        return "ratings"
    keys = ", ".join(sorted(row)[:12]) or "no rows"
    raise BadData(
        f"{source}: no form of judgments fits ({keys}); expected our judgment rows, AlpacaEval "
        "annotations, Arena-Hard model_judgment or MT-Bench model_judgment"
    )


def _judge_of(row: Row) -> str:
    """The judge a published row names; MT-Bench names the prompt beside it."""
    judge = row.get("judge")
    return str(judge[0]) if isinstance(judge, list) and judge else str(judge or "")


def _pair_rows(row: Row) -> Iterator[Verdict]:
    """Our AlpacaEval and Arena-Hard rows, and published Arena-Hard ones."""
    if "uid" in row or "question_id" in row:
        yield _arena_row(row)
        return
    said = [row["answers"][side] for side in _PAIR]
    games = row["games"]
    yield Verdict(
        prompt=str(row["id"]),
        system=str(row.get("system") or ""),
        value=row["preference"] if "preference" in row else model_share(games),
        text=instruction_id(row["prompt"]),
        games=_games(games),
        lengths=_lengths(said),
        answers=digest(said),
    )


def _arena_row(row: Row) -> Verdict:
    games = [
        {"first": first, "verdict": _label((game or {}).get("score"))}
        for first, game in zip(("baseline", "model"), row["games"], strict=True)
    ]
    return Verdict(
        prompt=str(row.get("uid") or row["question_id"]),
        system=str(row["model"]),
        value=model_share(games),
        text=instruction_id(row["prompt"]) if isinstance(row.get("prompt"), str) else "",
        games=_games(games),
    )


def _label(score: object) -> str | None:
    """A published label; what is no legal one was never a verdict."""
    return score if isinstance(score, str) and score in LABEL_STATES else None


def _choices(row: Row) -> Iterator[Verdict]:
    if "g1_winner" in row:
        yield _published_choice(row)
        return
    text = instruction_id(row["turns"][0]["question"])
    for turn in row["turns"]:
        said = [turn["answers"][side] for side in _PAIR]
        yield Verdict(
            prompt=str(row["id"]),
            system=str(row.get("system") or ""),
            value=model_share(turn["games"]),
            turn=int(turn["turn"]),
            text=text,
            games=_games(turn["games"]),
            lengths=_lengths(said),
            answers=digest(said),
        )


def _published_choice(row: Row) -> Verdict:
    """A pair in alphabetical order, so that both orders of listing mean the same."""
    names = (str(row["model_1"]), str(row["model_2"]))
    shares = [_WINNERS.get(row[key]) for key in ("g1_winner", "g2_winner")]
    turned = names[0] > names[1]
    games = tuple(
        Game(first if not turned else _PAIR[first == "model"], 1 - share if turned else share)
        for first, share in zip(_PAIR, shares, strict=True)
        if share is not None
    )
    value = None
    if len(games) == 2:
        value = games[0].share if games[0].share == games[1].share else 0.5
    return Verdict(
        prompt=str(row["question_id"]),
        system=" against ".join(sorted(names)),
        value=value,
        turn=int(row.get("turn") or 1),
        games=games,
    )


def _ratings(row: Row) -> Iterator[Verdict]:
    if "turns" not in row:
        yield Verdict(
            prompt=str(row["question_id"]),
            system=str(row["model"]),
            value=_rating(row["score"]),
            turn=int(row.get("turn") or 1),
        )
        return
    text = instruction_id(row["turns"][0]["question"])
    for turn in row["turns"]:
        yield Verdict(
            prompt=str(row["id"]),
            system=str(row.get("system") or ""),
            value=_rating(turn["verdict"]),
            turn=int(turn["turn"]),
            text=text,
            answers=digest(turn["answer"]),
        )


def _rating(score: float | None) -> float | None:
    """A legal rating; -1 is how the original says that there is none."""
    return None if score is None or not SCALE[0] <= score <= SCALE[1] else float(score)


def _games(games: Iterable[Row]) -> tuple[Game, ...]:
    return tuple(
        Game(str(game.get("first") or ""), _of_model(game))
        for game in games
        if game["verdict"] is not None
    )


def _lengths(said: Sequence[str | None]) -> tuple[float, float] | None:
    model, other = said
    return None if model is None or other is None else (float(len(model)), float(len(other)))


_READERS = {
    "preference": _pair_rows,
    "labels": _pair_rows,
    "choices": _choices,
    "ratings": _ratings,
}
