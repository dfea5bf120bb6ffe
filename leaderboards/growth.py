"""Boards that grow: the cells of a run beside those that a folder already has.

A board is never lost: cells of other systems stay, a board of another recipe is not replaced unless
that is asked for, and scores that cannot be ranked together are refused before anything is written.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness.core.errors import UserError
from harness.core.records import Cell
from harness.suites.editions import NANO, OFFICIAL
from harness.suites.marks import LIMIT, OWN, PAPER, marked
from leaderboards.board import Board
from leaderboards.by_judge import base, by_judge
from leaderboards.files import CELLS, change_board, read_board, read_spec_of
from leaderboards.scores import tidy
from leaderboards.spec import BoardSpec, Provenance

EVALUATION = "Evaluation of "


@dataclass(frozen=True)
class Grown:
    """A board that was written.

    Attributes:
        before: number of systems before; None for a new board.
        replaced: systems of which earlier cells were replaced.
        kept: systems and seeds that other commands made.
    """

    folder: Path
    board: Board
    before: int | None = None
    replaced: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()

    def __str__(self) -> str:
        """ "week48: 12 -> 13 systems", with the names of replaced ones."""
        now = len(self.board.rows)
        name, plural = self.folder.name, "system" if now == 1 else "systems"
        if self.before is None:
            return f"{name}: {now} {plural}"
        number = f"{now}" if self.before == now else f"{self.before} -> {now}"
        said = f"{name}: {number} {plural}"
        if self.replaced:
            said += f"; replaced the cells of {_some(self.replaced)}"
        if self.kept:
            said += f"; kept {_some(self.kept)}"
        return said


@dataclass
class _Noted:
    before: int | None = None
    replaced: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    cells: list[Cell] = field(default_factory=list)


def grow(
    folder: Path,
    spec: BoardSpec,
    cells: Iterable[Cell],
    *,
    replace: bool = False,
    judges: bool = False,
) -> Grown:
    """Write cells into a board's folder, beside those of other systems that it has.

    Args:
        spec: of the board that the cells alone make. That of the folder goes before it, except for
            the same recipe run again.
        replace: replace the board of another recipe, or of an evaluation by that of a recipe.
        judges: give each judge columns of its own.

    Raises:
        UserError: the folder has the board of another recipe, or scores that are not ranked with
            these; the folder is then unchanged.
    """
    new, noted = tuple(cells), _Noted()

    def change(old: BoardSpec | None, there: tuple[Cell, ...]) -> tuple[BoardSpec, Iterable[Cell]]:
        made, every = spec, new
        if not spec.provenance.recipe_id:
            made = spec.model_copy(update={"name": board_name(folder.name, spec.name)})
        if old is not None and not (replace and _other_recipe(old, spec)):
            check_recipe(folder, spec.provenance)
            made, every = _merged(folder, old, there, spec, new, judges, noted)
        return by_judge(made, every) if judges or made.by_judge else (made, every)

    board = change_board(folder, change)
    return Grown(folder, board, noted.before, noted.replaced, noted.kept)


def check_recipe(folder: Path, ours: Provenance) -> None:
    """Refuse to put a recipe's board over another one.

    Args:
        ours: provenance of the board to write.

    Raises:
        UserError: naming both.
    """
    there = recipe_in(folder)
    if there is None or not ours.recipe_id or there == ours.recipe_id:
        return
    old = read_spec_of(folder)
    what = f"{len(old.systems)} evaluated systems"
    if there:
        what = f"recipe {old.provenance.recipe} {there[:10]}"
    raise UserError(
        f"{folder} is the board of {what}, and this run is of recipe {ours.recipe} "
        f"{ours.recipe_id[:10]}; choose another folder with --out, or add --replace"
    )


def recipe_in(folder: Path) -> str | None:
    """Id of the recipe whose board a folder has, "" for another board; None if there is none.

    Raises:
        UserError: it is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(
            f"{folder} is a file; expected a folder for the board, for example --out week48"
        )
    return read_spec_of(folder).provenance.recipe_id if (folder / CELLS).is_file() else None


def _other_recipe(old: BoardSpec, new: BoardSpec) -> bool:
    own = new.provenance.recipe_id
    return bool(own) and own != old.provenance.recipe_id


def _merged(
    folder: Path,
    old: BoardSpec,
    there: Sequence[Cell],
    spec: BoardSpec,
    new: Sequence[Cell],
    judges: bool,
    noted: _Noted,
) -> tuple[BoardSpec, tuple[Cell, ...]]:
    """Specification and cells of both; notes what was replaced and kept."""
    names = {cell.system for cell in new}
    recipe = bool(spec.provenance.recipe_id)
    earlier = [marked(cell, "") for cell in there]
    gone = {_key(cell) for cell in new}
    if recipe:  # cells of the recipe's systems by an earlier version are not kept
        known = {_conditions(cell) for cell in new}
        gone |= {_key(c) for c in earlier if c.system in names and _conditions(c) not in known}
    kept = [cell for cell in earlier if _key(cell) not in gone]
    if recipe and not kept:
        return spec, tuple(new)
    if not (judges or spec.by_judge or old.by_judge or spec.allow_mixed or old.allow_mixed):
        _check_judges(folder, map(Conditions.of, kept), sorted(map(Conditions.of, new)))
    _check_prompts(folder, kept, new)
    noted.before = len({system.name for system in old.systems} | {c.system for c in there})
    same = {(_key(cell), cell.metric): _plain(cell) for cell in tidy(new)}
    noted.replaced = tuple(
        sorted(
            {
                cell.system
                for cell in earlier
                if _key(cell) in gone and same.get((_key(cell), cell.metric)) != _plain(cell)
            }
        )
    )
    if recipe:
        others = sorted({cell.system for cell in kept} - names)
        seeds = sorted({cell.seed for cell in kept if cell.system in names})
        noted.kept = (*others, *(f"seed {seed}" for seed in seeds))
    first, second = (spec, old) if recipe else (old, spec)
    return _both(first, second), (*kept, *new)


def _key(cell: Cell) -> tuple[str, ...]:
    return (cell.system, base(cell.suite), str(cell.judge_fingerprint), str(cell.seed))


def _plain(cell: Cell) -> Cell:
    return cell.model_copy(update={"suite": base(cell.suite)})


def _conditions(cell: Cell) -> tuple[str | None, ...]:
    return (cell.suite, cell.metric, cell.prompt_set, cell.judge_fingerprint, cell.scale)


def _both(first: BoardSpec, second: BoardSpec) -> BoardSpec:
    """The first specification with the systems, columns and commands of the second."""
    systems = {system.name: system for system in (*second.systems, *first.systems)}
    order = dict.fromkeys(system.name for system in (*first.systems, *second.systems))
    columns = {column.key: column for column in first.columns}
    suites = {base(column.suite) for column in first.columns}
    for column in second.columns:
        if base(column.suite) not in suites:
            columns[column.key] = column.model_copy(update={"rank": False})
    facts, more = first.provenance, second.provenance
    commands = dict.fromkeys((facts.command, *facts.also, more.command, *more.also))
    command, *also = [text for text in commands if text] or [""]
    made = first.model_copy(
        update={
            "systems": tuple(systems[name] for name in order),
            "columns": tuple(columns.values()),
            "by_judge": first.by_judge or second.by_judge,
            "stage_notes": tuple(dict.fromkeys((*first.stage_notes, *second.stage_notes))),
            "provenance": facts.model_copy(
                update={
                    "command": command,
                    "also": tuple(also),
                    "libraries": {**more.libraries, **facts.libraries},
                }
            ),
        }
    )
    if made.title.startswith(EVALUATION):
        made = made.model_copy(update={"title": evaluation_title(list(order))})
    return made


def evaluation_title(systems: Sequence[str]) -> str:
    """Title of a board of evaluated systems.

    >>> evaluation_title(["nano:target"]), evaluation_title(["a", "b"])
    ('Evaluation of nano:target', 'Evaluation of 2 systems')
    """
    return f"{EVALUATION}{systems[0] if len(systems) == 1 else f'{len(systems)} systems'}"


@dataclass(frozen=True, order=True)
class Conditions:
    """What scores must share to be ranked together, known before a run."""

    suite: str
    judge: str = ""
    fingerprint: str = ""
    scale: str = ""

    @classmethod
    def of(cls, cell: Cell) -> Conditions:
        """The conditions of a score; of one by its own judge, those of the paper's scale."""
        scale = PAPER if cell.scale == OWN else cell.scale
        return cls(base(cell.suite), cell.judge or "", cell.judge_fingerprint or "", scale)


def check_growth(
    folder: Path, asked: Iterable[Conditions], limits: Mapping[str, str], *, judges: bool = False
) -> None:
    """Refuse a run whose scores could not be put on the board in a folder, before it starts.

    Args:
        asked: conditions of the scores that the run makes.
        limits: suite -> "first 40 of 805 prompts".
        judges: give each judge columns of its own.

    Raises:
        UserError: another judge, other question sets, or a part of a suite's prompts beside all.
    """
    if recipe_in(folder) is None:
        return
    spec, cells = read_board(folder)
    if spec.allow_mixed:
        return
    asked = sorted(asked)
    known = {Conditions.of(cell) for cell in cells}
    if not (judges or spec.by_judge):
        _check_judges(folder, known, asked)
    scales = {one.scale for one in known}
    for one in asked:
        if scales and one.scale not in scales:
            raise UserError(
                f"{folder.name} has scores of scale {', '.join(sorted(scales))}, and this run is "
                f"of scale {one.scale}; add --data {NANO if NANO in scales else OFFICIAL}, or "
                "choose another --out"
            )
        there = {str(c.details.get(LIMIT, "")) for c in cells if base(c.suite) == one.suite}
        if there and limits.get(one.suite, "") not in there:
            shown = [mark or "all prompts" for mark in (min(there), limits.get(one.suite, ""))]
            raise UserError(_other_prompts(folder, one.suite, *shown))


def _check_judges(folder: Path, old: Iterable[Conditions], new: Iterable[Conditions]) -> None:
    known: dict[str, Conditions] = {}
    for there in sorted(old):
        known.setdefault(there.suite, there)
    for here in new:
        other = known.get(here.suite)
        if other is None or not (here.judge and other.judge):
            continue
        if other.fingerprint == here.fingerprint:
            continue
        same = " with another prompt or parser" if other.judge == here.judge else ""
        raise UserError(
            f"{folder.name}: {here.suite} is judged by {other.judge} on the board and by "
            f"{here.judge}{same} in this run, and scores of two judges are not ranked together; "
            "give each judge its own columns with --by-judge, or choose another --out"
        )


def _check_prompts(folder: Path, old: Iterable[Cell], new: Iterable[Cell]) -> None:
    known, own = _prompt_sets(old), _prompt_sets(new)
    for suite in sorted(known.keys() & own.keys()):
        if not known[suite].keys() & own[suite].keys():
            there, here = (next(iter(sets[suite].values())) for sets in (known, own))
            raise UserError(_other_prompts(folder, suite, there, here))


def _other_prompts(folder: Path, suite: str, there: str, here: str) -> str:
    return (
        f"{folder.name}: {suite} has {there} on the board and {here} in this run, and scores on "
        "different prompts are not ranked together; run on the same prompts (--limit, --data, "
        "--set), or choose another --out"
    )


def _prompt_sets(cells: Iterable[Cell]) -> dict[str, dict[tuple[str, str], str]]:
    """Suite -> metric and prompt set -> the set in words."""
    found: dict[str, dict[tuple[str, str], str]] = {}
    for cell in cells:
        shown = str(cell.details.get(LIMIT) or f"all {cell.n_expected:,} prompts")
        sets = found.setdefault(base(cell.suite), {})
        sets[cell.metric, cell.prompt_set] = f"{shown} (set {cell.prompt_set[:10]})"
    return found


def _some(names: Sequence[str], most: int = 4) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def board_name(text: str, otherwise: str = "board") -> str:
    """A name that a board may have, from any text.

    >>> board_name("org/model 7B")
    'org-model-7B'
    """
    name = re.sub(r"[^A-Za-z0-9._+=,-]+", "-", text).strip("-._+=,")
    return name[:100].rstrip("-._+=,") or otherwise
