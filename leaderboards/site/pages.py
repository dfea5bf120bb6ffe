"""Pages of samples of a published board, and the address of every cell.

Cells that were made from the same samples share a page: all metrics of a suite whose samples have
the same ids, verdicts and values. A cell of one category has the page of its suite, narrowed to
that category (`#category:math`), unless that page is divided into several: then it has its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from harness.core.errors import CrucibleError
from harness.core.hashing import digest
from harness.core.records import Cell
from harness.engine.store import Store
from leaderboards.render.parts import is_divided
from leaderboards.samples import Sample, SampleReader, Samples
from leaderboards.scores import ScoreKey

FOLDER = "samples"


def score_of(cell: Cell) -> ScoreKey:
    """The score that a cell is one seed of."""
    return cell.system, cell.suite, cell.metric


@dataclass
class Page:
    """One page of samples.

    Attributes:
        name: file name within the folder of samples.
        samples: of the first cell, which gives the page its title.
        cells: all cells made from these samples.
    """

    name: str
    samples: Samples
    cells: list[Cell] = field(default_factory=list)


@dataclass
class Addresses:
    """Where the samples of cells are, relative to the index.

    Attributes:
        by_score: score -> seed -> file and fragment; cells without samples have none.
        reasons: why cells have no samples, each once, with the number of cells.
        lengths: (system, suite, seed) -> number of answers and mean length in characters.
    """

    by_score: dict[ScoreKey, dict[int, str]] = field(default_factory=dict)
    reasons: dict[str, int] = field(default_factory=dict)
    lengths: dict[tuple[str, str, int], tuple[int, float]] = field(default_factory=dict)

    def of(self, cell: Cell) -> str:
        """The address of a cell's samples; "" if there are none."""
        return self.by_score.get(score_of(cell), {}).get(cell.seed, "")

    def seeds_of(self, cell: Cell) -> tuple[tuple[int, str], ...]:
        """Seeds of the same system, suite and metric with the addresses of their samples."""
        return tuple(sorted(self.by_score.get(score_of(cell), {}).items()))

    @property
    def linked(self) -> int:
        """Number of cells with samples."""
        return sum(map(len, self.by_score.values()))


def slug(text: str, *parts: object) -> str:
    """A file name or anchor for a text, unique for `parts`.

    >>> slug("org/name arena", "org/name", "arena")
    'org-name-arena-50c2cf0b'
    """
    plain = re.sub(r"[^A-Za-z0-9_]+", "-", text).strip("-")[:60]
    return f"{plain or 'x'}-{digest(list(parts))[:8]}"


def row_anchor(system: str) -> str:
    """Anchor of a system's row on the index."""
    return slug(system, "row", system)


def score_anchor(key: ScoreKey) -> str:
    """Anchor of a score among the details of its system."""
    return slug(" ".join(key), "score", *key)


def sample_pages(store: Store | None, cells: Sequence[Cell], found: Addresses) -> Iterator[Page]:
    """The pages of all cells, one at a time; `found` is filled as they are made.

    Samples are held for one system and suite at a time, so that seeds can link to each other.
    """
    ordered = sorted(cells, key=lambda c: (c.system, c.suite, c.seed, not c.primary, c.metric))
    reader = None if store is None else SampleReader(store)
    for _, every in groupby(ordered, lambda cell: (cell.system, cell.suite)):
        pages: list[Page] = []
        for _, of_seed in groupby(every, lambda cell: cell.seed):
            pages += _pages_of_seed(reader, list(of_seed), found)
        yield from pages


def _pages_of_seed(
    reader: SampleReader | None, cells: Sequence[Cell], found: Addresses
) -> list[Page]:
    pages: list[Page] = []
    for cell in cells:
        try:
            if reader is None:
                raise CrucibleError("the board was published without a store of samples")
            samples = reader.samples(cell)
        except CrucibleError as error:
            reason = _general(str(error), cell, reader)
            found.reasons[reason] = found.reasons.get(reason, 0) + 1
            continue
        page, fragment = _place(pages, samples, cell)
        page.cells.append(cell)
        of_score = found.by_score.setdefault(score_of(cell), {})
        of_score[cell.seed] = f"{FOLDER}/{page.name}{fragment}"
    if pages and (lengths := _lengths(pages[0].samples)) is not None:
        found.lengths[cells[0].system, cells[0].suite, cells[0].seed] = lengths
    return pages


def _general(reason: str, cell: Cell, reader: SampleReader | None) -> str:
    """A reason without what differs from cell to cell, so that it is said once for many."""
    if not cell.artifacts:
        return "their judgments were published elsewhere and are not in a store"
    if reader is not None and not any(map(reader.store.has, cell.artifacts.values())):
        return "the store that the board was published from does not have their judgments"
    return reason


def _place(pages: list[Page], samples: Samples, cell: Cell) -> tuple[Page, str]:
    """The page for these samples, new if no page shows them, and the fragment within it."""
    mark = _marks(samples.samples)
    for page in pages:
        shown = _marks(page.samples.samples)
        if shown == mark and page.samples.artifacts == samples.artifacts:
            return page, ""
        category = cell.metric.removeprefix("category:")
        if category != cell.metric and _is_category(page.samples, category, mark):
            return page, f"#{_quoted('category:' + category)}"
    title = f"{cell.system} {cell.suite} {cell.metric} {cell.seed}"
    page = Page(f"{slug(title, *score_of(cell), cell.seed)}.html", samples)
    pages.append(page)
    return page, ""


Marks = list[tuple[str, str, float | None]]


def _marks(samples: Sequence[Sample]) -> Marks:
    return [(sample.id, sample.outcome, sample.value) for sample in samples]


def _is_category(samples: Samples, category: str, mark: Marks) -> bool:
    if len(samples.label_values("category")) < 2:
        return False  # the page has no menu of categories
    if is_divided(len(samples.samples)):
        return False  # the menu of each page concerns that page only
    own = [s for s in samples.samples if s.labels.get("category") == category]
    return _marks(own) == mark


def _quoted(fragment: str) -> str:
    from urllib.parse import quote

    return quote(fragment.encode("utf-8", "replace"), safe=":")


def _lengths(samples: Samples) -> tuple[int, float] | None:
    said = [length for sample in samples.samples if (length := sample.lengths[0]) is not None]
    return (len(said), sum(said) / len(said)) if said else None
