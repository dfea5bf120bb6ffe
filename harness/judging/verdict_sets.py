"""Verdict sets: the verdicts of one judge in one comparable form, from a store or from files.

A `JudgedItem` is one judged prompt, or one turn of it, of one system. Rows come from judge
operations (see `harness.judging.records`) or are published judgments of a benchmark's own tools,
whose forms are in the suites' folders (the catalogue's table JUDGMENT_FORMS).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

from harness.core.errors import BadData
from harness.core.hashing import digest
from harness.data.forms import instruction_id
from harness.engine import registry
from harness.engine.io import read_objects
from harness.engine.operations import Row
from harness.judging.frames import Kind
from harness.judging.operations import judge_operations, kind_of_rows
from harness.judging.records import Game, Judged

# Beside the kinds of frames: one answer has a property (1) or not (0).
VerdictKind = Kind | Literal["binary"]


@dataclass(frozen=True)
class JudgedItem:
    """One judged prompt, or turn, of one system.

    Attributes:
        prompt: id of the prompt.
        value: the model's share in [0, 1] of the win, the rating, or 1 or 0 of a binary verdict;
            None if the judgment failed.
        text: digest of the prompt's text, `instruction_id`; "" where the text is not stored.
        games: () where the order of the answers is unknown.
        lengths: of the model's answer and the baseline's, in code points, where known.
        answers: digest of the judged answers; "" where they are not stored.
    """

    prompt: str
    system: str
    value: float | None
    turn: int = 1
    text: str = ""
    games: tuple[Game, ...] = ()
    lengths: tuple[float, float] | None = None
    answers: str = ""

    @property
    def shares(self) -> list[tuple[str, float]]:
        """Of each game with a winner: whose answer it shows first, and the model's share."""
        known = ((game.first, game.model_share) for game in self.games)
        return [(first, share) for first, share in known if share is not None]


@dataclass(frozen=True)
class VerdictSet:
    """The verdicts of one judge on items of one kind.

    Attributes:
        judge: its name.
        fingerprint: of a judge that Crucible asked, else "".
        scale: of the boards that may show it, see `Cell`.
        repeated: number of rows beside the first of the same prompt, turn and system.
    """

    judge: str
    kind: VerdictKind
    items: tuple[JudgedItem, ...]
    source: str
    suite: str
    fingerprint: str = ""
    scale: str = "published"
    repeated: int = 0
    systems: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        found = sorted({item.system for item in self.items})
        object.__setattr__(self, "systems", tuple(found))


@dataclass(frozen=True)
class JudgmentForm:
    """Published judgments of a benchmark's own tools: one row of a file per judgment.

    Attributes:
        fits: whether a row has this form.
        items: the row's items.
    """

    suite: str
    kind: VerdictKind
    fits: Callable[[Row], bool]
    items: Callable[[Row], Iterator[JudgedItem]]


def items_of(judged: Judged) -> Iterator[JudgedItem]:
    """The items of a judged row."""
    text = instruction_id(judged.questions[0])
    for number, turn in enumerate(judged.turns, 1):
        said, lengths = [turn.answer, turn.baseline], None
        if turn.answer is not None and turn.baseline is not None:
            lengths = (float(len(turn.answer)), float(len(turn.baseline)))
        rated = judged.kind == "rating"
        yield JudgedItem(
            prompt=judged.id,
            system=judged.system,
            value=judged.value(turn),
            turn=number,
            text=text,
            games=turn.games,
            lengths=lengths,
            answers=digest(turn.answer if rated else said),
        )


def verdicts_of_rows(
    rows: Sequence[Row],
    source: str,
    *,
    operation: str = "",
    only_judge: str | None = None,
    system: str = "",
    **about: Any,
) -> VerdictSet:
    """The verdicts in judged rows, or in published judgments.

    Args:
        operation: that made the rows.
        only_judge: of the judges that published rows name.
        system: replaces the rows' own name of the system.
        about: further fields of the set (`judge`, `suite`, `fingerprint`, `scale`), in place of
            what the rows tell.

    Raises:
        BadData: no form fits, or the rows name several judges.
    """
    form = _form(rows, source, operation)
    judges = dict.fromkeys(name for row in rows if (name := judge_of(row)))
    if only_judge is not None and judges:
        rows = [row for row in rows if judge_of(row) == only_judge]
        judges = {only_judge: None} if rows else {}
    if len(judges) > 1 or not rows:
        listed = ", ".join(judges) or "none of the judge asked for"
        raise BadData(
            f"{source}: verdicts of {listed}; expected one judge: name it with --judge or "
            "--reference-judge"
        )
    found = [
        (number, replace(item, system=system) if system else item)
        for number, row in enumerate(rows, 1)
        for item in form_items(form, row, number, source)
    ]
    kept = unrepeated(found, source)
    told = {"judge": next(iter(judges), source), "suite": form.suite, **about}
    return VerdictSet(
        kind=form.kind,
        items=kept,
        source=source,
        repeated=len(found) - len(kept),
        **told,
    )


def unrepeated(found: Iterable[tuple[int, JudgedItem]], source: str) -> tuple[JudgedItem, ...]:
    """Items of numbered rows, each prompt, turn and system once.

    Raises:
        BadData: two rows have different verdicts on one; with both numbers.
    """
    kept: dict[tuple[str, str, int], tuple[int, JudgedItem]] = {}
    for number, item in found:
        first, known = kept.setdefault((item.system, item.prompt, item.turn), (number, item))
        if item.value is not None and known.value is None:
            kept[item.system, item.prompt, item.turn] = (first, item)  # a failed one, asked again
        elif item.value is not None and item.value != known.value:
            raise BadData(
                f"{source}: rows {first} and {number} have different verdicts on {item.system}, "
                f'prompt "{item.prompt}", turn {item.turn} ({known.value} and {item.value}); '
                "expected one: keep the judgments of one run"
            )
    return tuple(item for _, item in kept.values())


def read_verdicts(path: Path, only_judge: str | None = None) -> VerdictSet:
    """The verdicts in a JSON or JSON-lines file (.gz too), or in all .jsonl files of a folder.

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


def merge(parts: Sequence[VerdictSet]) -> VerdictSet:
    """Verdicts of one judge on several systems as one set.

    Raises:
        BadData: the parts differ in judge or kind, or two contain the same system.
    """
    first = parts[0]
    for other in parts[1:]:
        if (other.judge, other.kind) != (first.judge, first.kind):
            raise BadData(
                f"{first.source} has verdicts of {first.judge} (kind {first.kind}), {other.source} "
                f"of {other.judge} (kind {other.kind}); expected one judge and kind per side"
            )
    seen: dict[str, str] = {}
    for part in parts:
        for system in part.systems:
            if system in seen:
                raise BadData(f"{system} is judged in both {seen[system]} and {part.source}")
            seen[system] = part.source
    return replace(
        first,
        items=tuple(item for part in parts for item in part.items),
        source=", ".join(part.source for part in parts),
        repeated=sum(part.repeated for part in parts),
    )


@cache
def _published() -> tuple[JudgmentForm, ...]:
    return tuple(registry.load_target(t) for t in registry.table("JUDGMENT_FORMS").values())


def _form(rows: Sequence[Row], source: str, operation: str) -> JudgmentForm:
    row = rows[0] if rows else {}
    for form in () if operation in judge_operations() else _published():
        if form.fits(row):
            return form
    kind = kind_of_rows(rows, operation)
    if kind is None:
        keys = ", ".join(sorted(row)[:12]) or "no rows"
        raise BadData(
            f"{source}: no form of judgments fits ({keys}); expected rows of a judge operation, "
            "AlpacaEval annotations, Arena-Hard or MT-Bench model_judgment, or labelled answers"
        )
    known = judge_operations()
    made_by = known.get(operation) or next(o for o in known.values() if o.kind == kind)

    def read(row: Row) -> Iterator[JudgedItem]:
        return items_of(Judged.read(row, kind, source))

    return JudgmentForm(made_by.suite, kind, lambda _: True, read)


def form_items(form: JudgmentForm, row: Row, number: int, source: str) -> list[JudgedItem]:
    """The items of a published row.

    Raises:
        BadData: fields are absent or have other types.
    """
    try:
        return list(form.items(row))
    except (KeyError, IndexError, TypeError, ValueError, OverflowError) as error:
        ids = (row.get(key) for key in ("id", "uid", "question_id"))
        place = next((id for id in ids if id is not None), number)
        raise BadData(
            f'{source}, row "{place}": no verdict can be read ({type(error).__name__}: {error})'
        ) from None


def _is_nano(rows: Sequence[Row]) -> bool:
    return str(rows[0].get("system", "")).startswith("nano:")


def judge_of(row: Row) -> str:
    """The judge that a published row names; MT-Bench names the prompt beside it."""
    judge = row.get("judge")
    return str(judge[0]) if isinstance(judge, list) and judge else str(judge or "")
