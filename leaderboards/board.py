"""Boards: cells laid out as a table and ranked where they are comparable.

`build_board(spec, cells)` is a pure function. The order of the cells does not matter, adding a
system changes no other system's values, and every number is rounded before use, so a board built
from stored cells equals the one built in memory. A column whose cells differ in scale, prompt set
or judge is an error unless the specification sets `allow_mixed`; the board then shows the
difference as a warning.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from harness.core.errors import UserError
from harness.core.records import Cell, Interval, Record
from harness.engine.preconditions import SUITE as PRECONDITIONS
from harness.suites.marks import OWN, PAPER
from leaderboards.claims import ClaimResult, judge_claim
from leaderboards.judge_agreement import JudgePair, judge_pairs
from leaderboards.preconditions import Measured, measured
from leaderboards.scores import SHARED, Score, ScoreKey, combine_all, difference, mismatch, tidy
from leaderboards.spec import BoardSpec, ColumnSpec, Reference, SystemSpec

_REMEDY = ", or give each judge its columns (crucible board make NAME --from BOARD --by-judge)"


class Entry(Record):
    """The score of one row in one column, or the reason why it is missing.

    Attributes:
        score: combined over seeds; None if the system was not run.
        value: the displayed value: of the metric, or of the column's detail.
        spread: of the column's `spread` detail.
        standing: "best", "tied" (the paired difference to the best is not distinguishable from 0)
            or "".
        interval: of the value, if the column shows intervals.
        failed: text on failed judgments, "" if there are none.
        reason: why the value, or that of a seed, is missing.
    """

    score: Score | None
    value: float | int | str | bool | None
    spread: float | None = None
    standing: str = ""
    interval: Interval | None = None
    failed: str = ""
    reason: str = ""


class Row(Record):
    """A system of the board.

    Attributes:
        rank: competition rank by the ranking column; None if the system is not ranked.
        tied: whether the ranking column does not distinguish it from the best system.
        entries: one per column.
        scores: all scores of the system, displayed or not.
    """

    system: SystemSpec
    rank: int | None = None
    tied: bool = False
    entries: tuple[Entry, ...]
    scores: tuple[Score, ...]


class SuiteFacts(Record):
    """Judges, prompt sets, seeds and counts of one suite's cells; several values are a mixture.

    Counts are those of the metric that covers most prompts, summed over systems and seeds.
    """

    suite: str
    judges: tuple[str, ...]
    judge_fingerprints: tuple[str, ...]
    decode_fingerprints: tuple[str, ...]
    prompt_sets: tuple[str, ...]
    seeds: tuple[int, ...]
    n_expected: int
    n_scored: int
    n_failed: int
    interval_kinds: tuple[str, ...]


class Board(Record):
    """A specification filled with scores.

    Attributes:
        columns: of the specification, without optional ones of which nothing was expected.
        ranking: index of the column that ranks the rows.
        scales: scales of the cells.
        warnings: one line per mixture that `allow_mixed` permitted.
        preconditions: what must be true of the run before the claimed effects can appear.
        judges: agreement of the judges, on a board with columns for each.
        cells: rounded and sorted; the board can be rebuilt from `spec` and these.
    """

    spec: BoardSpec
    columns: tuple[ColumnSpec, ...]
    ranking: int | None
    rows: tuple[Row, ...]
    claims: tuple[ClaimResult, ...]
    suites: tuple[SuiteFacts, ...]
    scales: tuple[str, ...]
    warnings: tuple[str, ...]
    preconditions: tuple[Measured, ...] = ()
    judges: tuple[JudgePair, ...] = ()
    cells: tuple[Cell, ...]

    def reference(self, system: str, column: ColumnSpec) -> Reference | None:
        """The published value of a system in a column, if the specification lists one."""
        wanted = (system, column.suite, column.metric)
        if column.detail:
            return None
        for item in self.spec.references:
            if (item.system, item.suite, item.metric) == wanted:
                return item
        return None


def build_board(spec: BoardSpec, cells: Iterable[Cell]) -> Board:
    """Lay out cells as the table that `spec` describes.

    Raises:
        UserError: a column would rank cells that differ in scale, prompt set or judge.
        BadData: two different cells have the same system, suite, metric and seed.
    """
    listed = {system.name for system in spec.systems}
    # Preconditions are about models that may be no rows, and are never in rows or columns.
    listed_cells = (
        c for c in cells if not spec.only_listed or c.system in listed or c.suite == PRECONDITIONS
    )
    kept = tidy(listed_cells, compact=spec.compact)
    every = combine_all(kept, spec.level)
    scores = {key: score for key, score in every.items() if score.suite != PRECONDITIONS}
    scored = {(score.suite, score.metric) for score in scores.values() if score.n_expected}
    columns = tuple(c for c in spec.columns if not c.optional or (c.suite, c.metric) in scored)
    columns = columns or _default_columns(scores)
    warnings = _mixtures(spec, columns, scores, kept)
    if warnings and not spec.allow_mixed:
        more = f" (and {len(warnings) - 1} more)" if len(warnings) > 1 else ""
        raise UserError(
            f"{warnings[0]}{more}; expected one: remove systems, or set allow_mixed = true to rank "
            f"them together{_REMEDY if 'mixes judge' in warnings[0] else ''}"
        )
    ranking = _ranking(columns)
    return Board(
        spec=spec,
        columns=columns,
        ranking=ranking,
        rows=_rows(spec, columns, ranking, scores),
        claims=tuple(judge_claim(claim, every, spec.level) for claim in spec.claims),
        suites=_facts([cell for cell in kept if cell.suite != PRECONDITIONS]),
        scales=tuple(sorted({cell.scale for cell in kept})),
        warnings=warnings,
        preconditions=measured(spec.preconditions, every.values()),
        judges=judge_pairs(kept) if spec.by_judge else (),
        cells=kept,
    )


def _default_columns(scores: Mapping[ScoreKey, Score]) -> tuple[ColumnSpec, ...]:
    pairs = sorted({(s.suite, s.metric) for s in scores.values() if s.primary})
    return tuple(ColumnSpec(suite=suite, metric=metric) for suite, metric in pairs)


def _ranking(columns: Sequence[ColumnSpec]) -> int | None:
    """Index of the ranking column: the one with `rank`, else the first metric."""
    marked = [index for index, column in enumerate(columns) if column.rank]
    metrics = [index for index, column in enumerate(columns) if not column.detail]
    return next(iter(marked + metrics), None)


def _mixtures(
    spec: BoardSpec,
    columns: Sequence[ColumnSpec],
    scores: Mapping[ScoreKey, Score],
    cells: Sequence[Cell],
) -> tuple[str, ...]:
    """One line per property in which cells of one column differ."""
    found: list[str] = []
    # Judges of a column are compared below; another judge's suite may be beside a published one's.
    by_scale = _grouped((PAPER if c.scale == OWN else c.scale, c.system) for c in cells)
    if spec.scale and set(by_scale) - {PAPER if spec.scale == OWN else spec.scale}:
        found.append(f'board "{spec.name}" is of scale {spec.scale}, cells are {_list(by_scale)}')
    elif len(by_scale) > 1:
        found.append(f'board "{spec.name}" mixes scales: {_list(by_scale)}')
    for suite, metric in dict.fromkeys((column.suite, column.metric) for column in columns):
        column_scores = [
            s for s in scores.values() if (s.suite, s.metric) == (suite, metric) and s.n_seeds
        ]
        for field in (*SHARED[1:], "unit", "higher_is_better"):
            if _differ(column_scores, field):
                values = _grouped((v, s.system) for s in column_scores for v in _said(s, field))
                name = field.replace("_", " ")
                found.append(f"column {suite} {metric} mixes {name}s: {_list(values)}")
    return tuple(found)


def _said(score: Score, field: str) -> Iterable[str]:
    """Values of a field over the seeds; a judge's fingerprint with the judge's name."""
    if field != "judge_fingerprint":
        return score.shared(field)
    return {f"{cell.judge or 'no judge'} {cell.judge_fingerprint}" for cell in score.cells}


def _differ(scores: Iterable[Score], field: str) -> bool:
    """Whether scores differ in a field; names of one judge do not make two of it."""
    return len({value for score in scores for value in score.shared(field)}) > 1


def _grouped(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    groups: dict[str, set[str]] = {}
    for value, system in pairs:
        groups.setdefault(value, set()).add(system)
    return {value: sorted(groups[value]) for value in sorted(groups)}


def _list(groups: Mapping[str, Sequence[str]]) -> str:
    """ "a1b2 (Target, Target-SFT), c3d4 (Target-DPO)", at most three systems each."""
    parts = []
    for value, systems in groups.items():
        more = ", ..." if len(systems) > 3 else ""
        parts.append(f"{value} ({', '.join(systems[:3])}{more})")
    return ", ".join(parts)


def _rows(
    spec: BoardSpec,
    columns: Sequence[ColumnSpec],
    ranking: int | None,
    scores: Mapping[ScoreKey, Score],
) -> tuple[Row, ...]:
    known = {system.name for system in spec.systems}
    scored = {name for name, _, _ in scores}
    systems = [s for s in spec.systems if s.name in scored or not s.optional]
    systems += [SystemSpec(name=name) for name in sorted(scored - known)]
    standings = [_standings(column, systems, scores, spec.level) for column in columns]
    own: dict[str, list[Score]] = defaultdict(list)
    for score in scores.values():
        own[score.system].append(score)
    rows = []
    for system in systems:
        entries = tuple(
            _entry(system.name, column, scores, standing.get(system.name, ""))
            for column, standing in zip(columns, standings, strict=True)
        )
        rows.append(Row(system=system, entries=entries, scores=tuple(own[system.name])))
    return _ranked(spec, rows, ranking)


def _entry(
    system: str, column: ColumnSpec, scores: Mapping[ScoreKey, Score], standing: str
) -> Entry:
    score = scores.get((system, column.suite, column.metric))
    if score is None:
        return Entry(score=None, value=None, reason="not run")
    if score.value is None:
        return Entry(score=score, value=None, reason=score.reason)
    if column.detail:
        value = score.details.get(column.detail)
        reason = "" if value is not None else f"the cell has no {column.detail}"
        return Entry(score=score, value=value, reason=reason)
    spread = score.details.get(column.spread) if column.spread else None
    return Entry(
        score=score,
        value=score.value,
        spread=float(spread) if isinstance(spread, int | float) else None,
        standing=standing,
        interval=score.interval if column.interval else None,
        failed=score.failed,
        reason=score.reason,
    )


def _standings(
    column: ColumnSpec,
    systems: Sequence[SystemSpec],
    scores: Mapping[ScoreKey, Score],
    level: float,
) -> dict[str, str]:
    """System -> "best" or "tied", for the ranked systems of a column."""
    if column.detail:
        return {}
    found = [scores.get((s.name, column.suite, column.metric)) for s in systems if s.ranked]
    rivals = [score for score in found if score is not None and score.value is not None]
    if not rivals:
        return {}
    best = min(rivals, key=lambda score: (_order(score), score.system))
    standings = {best.system: "best"}
    for score in rivals:
        comparable = score is not best and not mismatch(best, score)
        if comparable and difference(best, score, level).distinguishable is False:
            standings[score.system] = "tied"
    return standings


def _order(score: Score) -> float:
    assert score.value is not None
    return -score.value if score.higher_is_better else score.value


def _ranked(spec: BoardSpec, rows: Sequence[Row], ranking: int | None) -> tuple[Row, ...]:
    """Rows with competition ranks (1, 2, 2, 4) by the ranking column, in the order of the spec."""
    if ranking is None:
        return tuple(rows)
    keys: list[float | None] = []
    for row in rows:
        score = row.entries[ranking].score
        valued = row.system.ranked and score is not None and score.value is not None
        keys.append(_order(score) if valued and score is not None else None)
    ordered = sorted(key for key in keys if key is not None)
    ranked = []
    for row, key in zip(rows, keys, strict=True):
        rank = None if key is None else bisect_left(ordered, key) + 1
        tied = row.entries[ranking].standing == "tied"
        ranked.append(row.model_copy(update={"rank": rank, "tied": tied}))
    if spec.order == "rank":
        ranked.sort(key=lambda row: (row.rank is None, row.rank or 0))
    return tuple(ranked)


def _facts(cells: Sequence[Cell]) -> tuple[SuiteFacts, ...]:
    facts = []
    for suite in sorted({cell.suite for cell in cells}):
        own = [cell for cell in cells if cell.suite == suite]
        counted = _largest(own)
        facts.append(
            SuiteFacts(
                suite=suite,
                judges=_distinct(cell.judge for cell in own),
                judge_fingerprints=_distinct(cell.judge_fingerprint for cell in own),
                decode_fingerprints=_distinct(cell.decode_fingerprint for cell in own),
                prompt_sets=_distinct(cell.prompt_set for cell in own),
                seeds=tuple(sorted({cell.seed for cell in own})),
                n_expected=sum(cell.n_expected for cell in counted),
                n_scored=sum(cell.n_scored for cell in counted),
                n_failed=sum(cell.n_failed for cell in counted),
                interval_kinds=_distinct(c.interval.kind if c.interval else None for c in own),
            )
        )
    return tuple(facts)


def _largest(cells: Sequence[Cell]) -> list[Cell]:
    """Per system and seed, the cell with most prompts: a suite's metrics share judgments."""
    found: dict[tuple[str, int], Cell] = {}
    for cell in cells:
        key = (cell.system, cell.seed)
        if key not in found or cell.n_expected > found[key].n_expected:
            found[key] = cell
    return [found[key] for key in sorted(found)]


def _distinct(values: Iterable[str | None]) -> tuple[str, ...]:
    return tuple(sorted({value for value in values if value}))
