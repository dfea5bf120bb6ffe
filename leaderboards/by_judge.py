"""Boards with several judges: each judge's scores of a suite are columns of their own.

A cell of such a board has the suite "alpaca_eval2@gpt-4o", so that scores of two judges are never
ranked or compared with each other; everything else of the board is as on any other.
`agreements(board)` compares the judges, from the cells alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from harness.core.errors import UserError
from harness.core.records import Cell
from leaderboards.spec import BoardSpec, ColumnSpec

MARK = "@"
_ADDRESS = re.compile(r"@https?://[^?]*")


def base(suite: str) -> str:
    """The suite without its judge.

    >>> base("alpaca_eval2@gpt-4o"), base("alpaca_eval2")
    ('alpaca_eval2', 'alpaca_eval2')
    """
    return suite.partition(MARK)[0]


def judge_in(suite: str) -> str:
    """The judge's name in a suite of such a board, "" if it has none.

    >>> judge_in("alpaca_eval2@gpt-4o")
    'gpt-4o'
    """
    return suite.partition(MARK)[2]


def short_name(judge: str, beside: Iterable[str] = ()) -> str:
    """A judge's name in a column: its model, and the options that others of this model lack.

    >>> short_name("openai:org/my-judge@http://127.0.0.1:8000/v1?key=MY_KEY")
    'my-judge'
    >>> short_name("nano:oracle?unknown=fail&position_bias=2", ["nano:oracle?unknown=fail"])
    'oracle-position_bias=2'
    """
    model, options = _parts(judge)
    others = [own for name, own in map(_parts, beside) if name == model and own != options]
    shown = [option for option in options if any(option not in own for own in others)]
    return re.sub(r"[^A-Za-z0-9._=-]+", "-", "-".join([model, *shown])).strip("-.") or "judge"


def _parts(judge: str) -> tuple[str, list[str]]:
    """Model and options of a judge's reference, without its address and the name of its key."""
    name, _, options = _ADDRESS.sub("", judge).partition("?")
    model = (name.partition(":")[2] or name).rstrip("/").rsplit("/", 1)[-1]
    return model, [one for one in options.split("&") if one and not one.startswith("key=")]


def by_judge(spec: BoardSpec, cells: Iterable[Cell]) -> tuple[BoardSpec, tuple[Cell, ...]]:
    """The board with columns for each judge of a suite; idempotent.

    Raises:
        UserError: the board has claims, which are about one judge.
    """
    if spec.claims:
        raise UserError(
            f'board "{spec.name}" tests claims, which are about one judge; make another board: '
            f"crucible board make NAME --from {spec.name} --by-judge"
        )
    plain = [cell.model_copy(update={"suite": base(cell.suite)}) for cell in cells]
    names = _names(plain)
    made = tuple(
        cell.model_copy(update={"suite": f"{cell.suite}{MARK}{names[cell.suite][_who(cell)]}"})
        if cell.judge
        else cell
        for cell in plain
    )
    return spec.model_copy(update={"by_judge": True, "columns": _columns(spec, names)}), made


def _who(cell: Cell) -> tuple[str, str]:
    return str(cell.judge), str(cell.judge_fingerprint)


def _names(cells: Sequence[Cell]) -> dict[str, dict[tuple[str, str], str]]:
    """Suite -> judge and fingerprint -> name, distinct within the suite."""
    found: dict[str, dict[tuple[str, str], str]] = {}
    for suite in sorted({cell.suite for cell in cells if cell.judge}):
        judges = sorted({_who(cell) for cell in cells if cell.suite == suite and cell.judge})
        short = [short_name(judge, [other for other, _ in judges]) for judge, _ in judges]
        found[suite] = {
            (judge, fingerprint): name if short.count(name) == 1 else f"{name}-{fingerprint[:6]}"
            for (judge, fingerprint), name in zip(judges, short, strict=True)
        }
    return found


def _columns(
    spec: BoardSpec, names: Mapping[str, Mapping[tuple[str, str], str]]
) -> tuple[ColumnSpec, ...]:
    """The columns of the board for every judge; the first judge's column ranks."""
    found: dict[str, ColumnSpec] = {}
    plain: dict[str, ColumnSpec] = {}
    for column in spec.columns:
        group = column.group.removesuffix(f" ({judge_in(column.suite)})")
        one = column.model_copy(update={"suite": base(column.suite), "group": group})
        if one.key not in plain or one.rank:
            plain[one.key] = one
    for suite in dict.fromkeys(column.suite for column in plain.values()):
        own = [column for column in plain.values() if column.suite == suite]
        if suite not in names:
            found |= {column.key: column for column in own}
            continue
        for number, name in enumerate(names[suite].values()):
            for column in own:
                update = {
                    "suite": f"{suite}{MARK}{name}",
                    "group": f"{column.group} ({name})" if column.group else "",
                    "rank": column.rank and number == 0,
                }
                made = column.model_copy(update=update)
                found[made.key] = made
    return tuple(found.values())
