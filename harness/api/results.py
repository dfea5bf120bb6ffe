"""Results of a run: scores with intervals, and the samples behind them.

A result is one metric of one system on one suite, combined over seeds. `Scored` is what every run
and board offers; a planned run executes what its store lacks when a result is first asked for.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from harness.api.tables import frame, html_table
from harness.core.errors import UserError, unknown
from harness.core.records import Cell, Interval
from leaderboards.samples.reading import samples_of_cell
from leaderboards.samples.records import Sample, Samples
from leaderboards.scores import Score, combine_all, tidy

if TYPE_CHECKING:
    import pandas

    from harness.engine.store import Store

Key = str | tuple[str, ...]


class SampleTable(Sequence[Sample]):
    """The samples behind a score: a sequence of `leaderboards.samples.records.Sample`."""

    def __init__(self, samples: Samples) -> None:
        self.title = samples.title
        self._samples = samples.samples

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, place: Any) -> Any:
        return self._samples[place]

    def __iter__(self) -> Iterator[Sample]:
        return iter(self._samples)

    def rows(self) -> list[dict[str, Any]]:
        """One flat row per sample: id, outcome, value, texts, the judge's replies, labels."""
        return [_row(sample) for sample in self._samples]

    def to_pandas(self) -> pandas.DataFrame:
        """The rows as a frame, see `rows`."""
        return frame(self.rows())

    def _repr_html_(self) -> str:
        rows = [(s.id, s.outcome, s.value, s.gist, ", ".join(s.flags)) for s in self._samples]
        return html_table(("id", "outcome", "value", "question", "flags"), rows, self.title)


def _row(sample: Sample) -> dict[str, Any]:
    ours, theirs = sample.lengths
    row: dict[str, Any] = {
        "id": sample.id,
        "outcome": sample.outcome,
        "value": sample.value,
        "question": "\n\n".join(turn.question for turn in sample.turns),
        "answer": "\n\n".join(turn.answer or "" for turn in sample.turns),
        "baseline": "\n\n".join(turn.baseline or "" for turn in sample.turns),
        "replies": "\n\n".join(game.reply for game in sample.games),
        "characters": ours,
        "baseline_characters": theirs,
        "first": sample.first,
        "flags": ", ".join(sample.flags),
    }
    if not sample.turns:
        for name in ("question", "answer", "baseline", "replies"):
            del row[name]
    taken = set(row)
    row |= {name: value for name, value in sample.labels.items() if name not in taken}
    return row | {name: value for name, value in sample.fields.items() if name not in row}


@dataclass(frozen=True)
class Result:
    """One metric of one system on one suite, combined over seeds.

    Attributes:
        combined: value, interval, counts and the cells of all seeds.
        store: store with the artifacts behind it; None for a published board.
    """

    combined: Score
    store: Store | None = field(default=None, repr=False)

    @property
    def system(self) -> str:
        return self.combined.system

    @property
    def suite(self) -> str:
        return self.combined.suite

    @property
    def metric(self) -> str:
        return self.combined.metric

    @property
    def score(self) -> float | None:
        """The value in the metric's unit; None where nothing could be scored."""
        return self.combined.value

    @property
    def interval(self) -> Interval | None:
        """Over prompts, and over seeds where there are several."""
        return self.combined.interval

    @property
    def cells(self) -> tuple[Cell, ...]:
        """One cell per seed, each with counts, fingerprints and artifact ids."""
        return self.combined.cells

    @property
    def samples(self) -> SampleTable:
        """The samples of the first seed.

        Raises:
            UserError: their artifacts are in no store at hand.
        """
        cell = self.cells[0]
        if self.store is None:
            raise UserError(
                f"the samples of {cell.system} on {cell.suite} are not stored with a board; "
                "expected a run, or board(NAME, store=FOLDER) with the store of its run"
            )
        return SampleTable(samples_of_cell(self.store, cell))

    def record(self) -> dict[str, Any]:
        """The result as one flat row."""
        low, high = (
            (None, None) if self.interval is None else (self.interval.low, self.interval.high)
        )
        return {
            "system": self.system,
            "suite": self.suite,
            "metric": self.metric,
            "score": self.score,
            "low": low,
            "high": high,
            "unit": self.combined.unit,
            "scored": self.combined.n_scored,
            "expected": self.combined.n_expected,
            "failed": self.combined.n_failed,
            "seeds": self.combined.n_seeds,
        }

    def _repr_html_(self) -> str:
        return results_html([self])


def results_html(results: Sequence[Result], title: str = "", note: str = "") -> str:
    """Results as an HTML table."""
    names = ("system", "suite", "metric", "score", "low", "high", "scored", "failed")
    records = [result.record() for result in results]
    return html_table(names, [[r[name] for name in names] for r in records], title, note)


class Scored(ABC):
    """Cells, and the results that are made of them."""

    @property
    @abstractmethod
    def result_cells(self) -> Sequence[Cell]:
        """The cells; a planned run is executed first where it has not been."""

    @property
    @abstractmethod
    def result_store(self) -> Store | None:
        """The store with the artifacts behind the cells."""

    @property
    @abstractmethod
    def main_system(self) -> str:
        """The system that `run[suite]` and `run.score` are about; "" if there are several."""

    @property
    def results(self) -> tuple[Result, ...]:
        """All results, in the order of the cells."""
        return results_of(self.result_cells, self.result_store)

    @property
    def score(self) -> float | None:
        """The main metric of the only suite; `run["mt_bench"].score` names one of several."""
        return self._only().score

    @property
    def interval(self) -> Interval | None:
        """Interval of `score`."""
        return self._only().interval

    @property
    def samples(self) -> SampleTable:
        """Samples behind `score`."""
        return self._only().samples

    def __getitem__(self, key: Key) -> Result:
        """`run[suite]`, `run[system, suite]` or `run[system, suite, metric]`.

        Raises:
            UnknownName: there is no such result.
            UserError: the key fits several systems.
        """
        parts = (key,) if isinstance(key, str) else tuple(key)
        if not 1 <= len(parts) <= 3:
            raise UserError(f"{key!r}: expected suite, (system, suite) or (system, suite, metric)")
        found = self.results
        if len(parts) == 1:
            parts = (self._system(found), *parts)
        for place, (what, name_of) in enumerate(_PARTS[: len(parts)]):
            known = {name_of(result) for result in found}
            if parts[place] not in known:
                raise unknown(what, parts[place], known)
            found = tuple(result for result in found if name_of(result) == parts[place])
        return next((result for result in found if result.combined.primary), found[0])

    def to_pandas(self) -> pandas.DataFrame:
        """All results as a frame, one row per system, suite and metric."""
        return frame(result.record() for result in self.results)

    def _only(self) -> Result:
        found = self.results
        system = self._system(found)
        suites = list(dict.fromkeys(r.suite for r in found if r.system == system))
        if len(suites) != 1:
            raise UserError(
                f"scores of {len(suites)} suites: {', '.join(suites)}; expected one of them, as in "
                f"result[{suites[0]!r}].score"
            )
        return self[system, suites[0]]

    def _system(self, found: Sequence[Result]) -> str:
        systems = list(dict.fromkeys(result.system for result in found))
        if len(systems) == 1:
            return systems[0]
        if self.main_system in systems:
            return self.main_system
        raise UserError(
            f"scores of {len(systems)} systems: {', '.join(systems)}; expected one of them, as in "
            f"result[{systems[0]!r}, {found[0].suite!r}].score"
        )


_PARTS: tuple[tuple[str, Callable[[Result], str]], ...] = (
    ("system", lambda result: result.system),
    ("suite", lambda result: result.suite),
    ("metric", lambda result: result.metric),
)


def results_of(cells: Iterable[Cell], store: Store | None = None) -> tuple[Result, ...]:
    """Results of cells, combined over seeds, in the order of the cells."""
    listed = list(cells)
    combined = combine_all(tidy(listed))
    keys = dict.fromkeys((cell.system, cell.suite, cell.metric) for cell in listed)
    return tuple(Result(combined[key], store) for key in keys)
