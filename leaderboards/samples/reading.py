"""From a cell, or an artifact of rows, to samples.

Rows of a judge operation are read as judged records; other rows become tables of their fields. A
cell that measures a part of its judgments (`category:math`, `turn_2`) gets that part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from harness.core.errors import UserError
from harness.core.records import Cell
from harness.engine.operations import Artifact, Row
from harness.engine.store import Store
from harness.judging.frames import Kind
from harness.judging.labels import EMPHASIS
from harness.judging.operations import kind_of_rows
from harness.judging.records import Judged, JudgedTurn, read_judged
from leaderboards.samples.records import FAILED, RATING_STEPS, Sample, Samples, share_outcome
from leaderboards.samples.rows import labels_of, samples_of_rows
from leaderboards.samples.suspicion import suspicion

# Where a cell's samples are looked for, in this order, before any other artifact with rows.
ROLES = ("judgments", "results", "samples", "rows", "generations")


@dataclass(frozen=True)
class _Rows:
    """What is read once for all cells of the same artifacts.

    Attributes:
        rows: without a judge.
        judged: samples of judged rows, before a metric says what their verdicts count.
    """

    kind: Kind | None
    rows: list[Row]
    judged: tuple[Sample, ...]


class SampleReader:
    """Samples of cells; artifacts that consecutive cells share are read once."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._last: tuple[tuple[str, str], _Rows] | None = None

    def samples(self, cell: Cell) -> Samples:
        """The samples that a cell's number was made from.

        Raises:
            UserError: the cell names no artifact, or the store has none of them.
        """
        store = self.store
        title = f"{cell.system} / {cell.suite} / {cell.metric}"
        judging = _rows_behind(store, cell, title)
        generations = cell.artifacts.get("generations")
        other = None
        if generations and generations != judging.id and _has_rows(store, generations):
            other = store.artifact(generations)
        weight = cell.details.get("weight")
        weight = weight if isinstance(weight, int) else EMPHASIS
        kind, samples = _samples(self._rows(judging, other), judging, cell.metric, weight)
        category = cell.metric.removeprefix("category:")
        if category != cell.metric:
            samples = [s for s in samples if s.labels.get("category") == category]
        baseline = _baseline(store, judging.id)
        return Samples(title, kind, cell, tuple(samples), judging, dict(cell.artifacts), baseline)

    def _rows(self, judging: Artifact, other: Artifact | None) -> _Rows:
        key = (judging.id, "" if other is None else other.id)
        if self._last is None or self._last[0] != key:
            self._last = (key, _read(self.store, judging, other))
        return self._last[1]


def samples_of_cell(store: Store, cell: Cell) -> Samples:
    """As `SampleReader.samples`, of one cell."""
    return SampleReader(store).samples(cell)


def samples_of_artifact(store: Store, id: str) -> Samples:
    """The rows of an artifact as samples, without a cell.

    Raises:
        UserError: the artifact holds no rows.
    """
    if not _has_rows(store, id):
        raise UserError(
            f"artifact {id[:10]} holds no rows; expected judgments, generations or other rows "
            f"(crucible show {id[:10]} lists its files)"
        )
    judging = store.artifact(id)
    inputs = store.manifest(id)["inputs"]
    name = next((inputs[k] for k in ("generations", "responses") if k in inputs), None)
    known = isinstance(name, str) and _has_rows(store, name)
    rows = _read(store, judging, store.artifact(str(name)) if known else None)
    kind, samples = _samples(rows, judging)
    label = f"{store.manifest(id)['label']} {id[:10]}"
    artifacts = {judging.operation: id}
    return Samples(label, kind, None, tuple(samples), judging, artifacts, _baseline(store, id))


def _baseline(store: Store, judgments: str) -> str:
    """Where the other side's answers came from; "" where there is no other side."""
    id = store.manifest(judgments)["inputs"].get("baseline")
    if not isinstance(id, str) or not store.has(id):
        return ""
    manifest = store.manifest(id)
    return str(manifest["params"].get("source") or manifest["label"])


def _rows_behind(store: Store, cell: Cell, title: str) -> Artifact:
    roles = [*ROLES, *sorted(set(cell.artifacts) - set(ROLES))]
    named = [cell.artifacts[role] for role in roles if role in cell.artifacts]
    for id in named:
        if _has_rows(store, id):
            return store.artifact(id)
    if not named:
        raise UserError(
            f"the cell {title} names no artifact: its judgments were published elsewhere and are "
            "not in a store; samples can be shown of cells that Crucible made"
        )
    absent = ", ".join(f"{role} {id[:10]}" for role, id in cell.artifacts.items())
    raise UserError(
        f"the cell {title} stands on {absent}, none with rows in the store {store.root}; give the "
        "store it was made in (--store, or CRUCIBLE_HOME), or run its command again"
    )


def _has_rows(store: Store, id: str) -> bool:
    return store.has(id) and (store.folder(id) / "rows.jsonl").is_file()


def _read(store: Store, judging: Artifact, generations: Artifact | None) -> _Rows:
    rows = judging.rows()
    kind = kind_of_rows(rows, judging.operation)
    if kind is None:
        return _Rows(None, rows, ())
    made = {row["id"]: row for row in generations.rows()} if generations else {}
    guides = _references(store, judging)
    judged = tuple(
        _unmeasured(one.guided_by(guides.get(one.id, [])), made.get(one.id, {}))
        for one in read_judged(rows, kind, f"artifact {judging.id[:10]}")
    )
    return _Rows(kind, [], judged)


def _samples(
    found: _Rows, judging: Artifact, metric: str = "", weight: int = EMPHASIS
) -> tuple[str, list[Sample]]:
    if found.kind is None:
        return "rows", samples_of_rows(judging, found.rows, metric)
    samples = [_measured_by(sample, metric, weight) for sample in found.judged]
    return "rating" if found.kind == "rating" else "pair", samples


def _references(store: Store, judging: Artifact) -> dict[str, list[str]]:
    """The reference answers the judge was given, by prompt id."""
    id = store.manifest(judging.id)["inputs"].get("references") if store.has(judging.id) else None
    if not isinstance(id, str) or not _has_rows(store, id):
        return {}
    return {str(row["id"]): row.get("answers") or [] for row in store.artifact(id).rows()}


def _unmeasured(judged: Judged, made: Row) -> Sample:
    noticed = (judged.suspicious,) if judged.suspicious else ()
    said = [turn.answer for turn in judged.turns if turn.answer]
    return Sample(
        id=judged.id,
        outcome=FAILED,
        turns=judged.turns,
        labels=labels_of(judged.prompt_fields),
        suspicions=tuple(dict.fromkeys((*noticed, *suspicion(said)))),
        rendered=made.get("rendered") or "",
        fields=_remarks(made),
        judged=judged,
    )


def _measured_by(sample: Sample, metric: str, weight: int) -> Sample:
    judged = sample.judged
    assert judged is not None
    value = _mean([judged.value(turn, weight) for turn in _measured(judged, metric)])
    return replace(sample, value=value, outcome=_outcome(value, judged.kind))


def _measured(judged: Judged, metric: str) -> Sequence[JudgedTurn]:
    """The turns that the metric measures: the one it names, else all."""
    number = metric.removeprefix("turn_")
    named = [turn for n, turn in enumerate(judged.turns, 1) if metric != number == str(n)]
    return named or judged.turns


def _mean(values: Sequence[float | None]) -> float | None:
    found = [value for value in values if value is not None]
    return sum(found) / len(found) if found and len(found) == len(values) else None


def _outcome(value: float | None, kind: Kind) -> str:
    if value is None:
        return FAILED
    if kind == "rating":
        low, high = RATING_STEPS
        return "low" if value < low else "middle" if value < high else "high"
    return share_outcome(value)


def _remarks(made: Row) -> dict[str, str]:
    """What the generation says of itself that a reader of the judgment wants to know."""
    found = {}
    if made.get("error"):
        found["generation failed"] = str(made["error"])
    finish = [str(reason) for reason in made.get("finish") or ()]
    if finish and set(finish) != {"stop"}:
        found["generation ended"] = ", ".join(finish)
    thoughts = [str(thought) for thought in made.get("thoughts") or () if thought]
    if thoughts:
        found["thought"] = "\n\n".join(thoughts)
    if made.get("system_prompt"):
        found["system prompt"] = str(made["system_prompt"])
    return found
