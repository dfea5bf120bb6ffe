"""Board specifications: title, systems, columns, claims and provenance, without scores.

`boards/*.toml` are the built-in specifications; users write their own with the same keys. Unknown
keys are errors that name file and key.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from harness.core.errors import BadRecord, unknown
from harness.core.records import Record, parse
from harness.engine.preconditions import Precondition
from leaderboards.claims import AnyClaim

BOARDS = Path(__file__).parent / "boards"
SETTING = "setting"  # heading of the columns with the values of a sweep; details `set.KEY`
ANY = "any"  # there, of a system that does not depend on the setting
OWN = " (own)"  # there, behind the value of a system that sets it for itself


class SystemSpec(Record):
    """One row of a board.

    Attributes:
        name: of the system in the cells.
        label: displayed name; default: `name`.
        group: rows of one group are kept together in tables ordered by specification.
        notes: displayed in parentheses after the name.
        ranked: whether the system takes part in the ranking.
        optional: omit the row if the system has no cells, instead of showing the reason.
    """

    name: str
    label: str = ""
    group: str = ""
    notes: tuple[str, ...] = ()
    ranked: bool = True
    optional: bool = False

    @property
    def title(self) -> str:
        return self.label or self.name


class ColumnSpec(Record):
    """One column of a board: a metric of a suite, or a detail of its cells.

    Attributes:
        label: displayed title; default: the metric or detail.
        group: heading above the title; default: the suite.
        detail: name of the detail to show in place of the metric's value.
        spread: name of a detail to show as "value ± spread", as in published leaderboards.
        digits: decimals; default: those of the board.
        interval: whether to show the interval.
        rank: whether this column ranks the rows.
        optional: omit the column if no system has a cell for it of which anything was expected.
    """

    suite: str
    metric: str
    label: str = ""
    group: str = ""
    detail: str | None = None
    spread: str | None = None
    digits: int | None = Field(default=None, ge=0, le=6)
    interval: bool = True
    rank: bool = False
    optional: bool = False

    @property
    def title(self) -> str:
        return self.label or (self.detail or self.metric).replace("_", " ")

    @property
    def heading(self) -> str:
        return self.group or self.suite

    @property
    def key(self) -> str:
        """Name of the column in files: suite.metric or suite.metric.detail."""
        return ".".join(filter(None, (self.suite, self.metric, self.detail)))


class Reference(Record):
    """A published value of one system with its source; never ranked."""

    system: str
    suite: str
    metric: str
    value: float
    source: str


class Provenance(Record):
    """Origin of the cells, sufficient to reproduce them; no dates and no host names.

    Attributes:
        also: later commands that added systems, in order.
    """

    recipe: str = ""
    recipe_id: str = ""
    command: str = ""
    libraries: dict[str, str] = {}
    also: tuple[str, ...] = Field(default=(), exclude_if=lambda commands: not commands)


class BoardSpec(Record):
    """The specification of a board.

    Attributes:
        scale: required scale of all cells; None accepts any single scale.
        only_listed: ignore cells of systems that are not listed.
        columns: default: all primary metrics of the cells.
        references: published values, displayed beside ours at scales where they compare.
        order: of the rows, by rank or as listed.
        level: confidence level of the intervals.
        digits: decimals of values.
        allow_mixed: rank cells that differ in scale, prompt set or judge, with a warning.
        compact: short form for version control, see `leaderboards.files`.
        layout: of a compact board's cells: by metric (`leaderboards.blocks`), or by system and seed
            as in earlier versions (`leaderboards.compact`).
        stage_notes: what the stages noted that made the scores, for example cut answers.
        preconditions: lines of the table of preconditions, see `leaderboards.preconditions`.
        by_judge: each judge has columns of its own, see `leaderboards.by_judge`.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+=,-]*$")
    title: str
    description: str = ""
    scale: str | None = None
    systems: tuple[SystemSpec, ...] = ()
    only_listed: bool = False
    columns: tuple[ColumnSpec, ...] = ()
    claims: tuple[AnyClaim, ...] = ()
    references: tuple[Reference, ...] = ()
    provenance: Provenance = Provenance()
    order: Literal["rank", "spec"] = "rank"
    level: float = Field(default=0.95, gt=0, lt=1)
    digits: int = Field(default=1, ge=0, le=6)
    allow_mixed: bool = False
    compact: bool = Field(default=False, exclude_if=lambda compact: not compact)
    layout: Literal["sheets", "blocks"] = Field(
        default="sheets", exclude_if=lambda layout: layout == "sheets"
    )
    stage_notes: tuple[str, ...] = Field(default=(), exclude_if=lambda notes: not notes)
    preconditions: tuple[Precondition, ...] = Field(default=(), exclude_if=lambda lines: not lines)
    by_judge: bool = Field(default=False, exclude_if=lambda chosen: not chosen)

    @model_validator(mode="after")
    def _names_are_unique(self) -> BoardSpec:
        for kind, names in (
            ("system", [system.name for system in self.systems]),
            ("column", [column.key for column in self.columns]),
            ("claim", [claim.id for claim in self.claims]),
        ):
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(f'{kind} names that differ ("{twice[0]}" is listed twice)')
        ranking = [column.key for column in self.columns if column.rank]
        if len(ranking) > 1:
            raise ValueError(f"one column with rank = true (found {', '.join(ranking)})")
        if any(column.rank and column.detail for column in self.columns):
            raise ValueError(f"a ranking column that shows a metric, not a detail ({ranking[0]})")
        return self

    def digits_of(self, column: ColumnSpec) -> int:
        """Decimals of a column."""
        return self.digits if column.digits is None else column.digits


def read_spec(path: Path) -> BoardSpec:
    """Read a board definition from TOML.

    Raises:
        BadRecord: the file is not TOML, or a key is unknown, missing or of the wrong type.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadRecord(f"{path}: {error}; expected a board definition in TOML") from None
    return parse(BoardSpec, data, str(path))


def shipped() -> tuple[str, ...]:
    """Names of the built-in board definitions."""
    return tuple(sorted(path.stem for path in BOARDS.glob("*.toml")))


def board_spec(name: str) -> BoardSpec:
    """The built-in definition with this name.

    Raises:
        UnknownName: there is none.

    >>> board_spec("alpaca_eval2").columns[0].metric
    'lc_win_rate'
    """
    if name not in shipped():
        raise unknown("board", name, shipped(), "crucible board")
    return read_spec(BOARDS / f"{name}.toml")
