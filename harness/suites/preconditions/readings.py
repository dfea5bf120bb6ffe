"""Which model predicts right answers better: bits per byte of sources beside the target's.

    documents --read_documents--> bits of each document, for the target and every source
              --compare_readings--> bits per byte of each, and where a source is ahead

Documents are the references of the run: in a world with a truth, the right answers. Bytes do not
depend on the tokenizer (`harness.suites.perplexity.operations`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core.errors import BadData
from harness.core.records import Cell
from harness.engine.io import write_rows
from harness.engine.operations import Artifact, Context, Row, operation
from harness.stats.bootstrap import cluster_counts
from harness.suites.perplexity.operations import OVER_DOCUMENTS, OVERALL
from harness.suites.preconditions.answers import BEST, of_system
from harness.suites.scoring import CellMaker, CellParams, Tally, cell_maker, sample_of, write_cells

CHOSEN = "best of each document"
AHEAD = "documents_ahead"
Floats = NDArray[np.float64]


class CompareReadingsParams(CellParams):
    """Parameters of `compare_readings`.

    Attributes:
        names: of the sources, in order; `system` names the target.
        each: whether to write the bits of target and sources; a suite may have them already.
    """

    names: tuple[str, ...]
    each: bool = True


@operation("compare_readings", version=1, params=CompareReadingsParams)
def compare_readings(
    context: Context,
    params: CompareReadingsParams,
    *,
    target: Artifact,
    sources: tuple[Artifact, ...],
) -> None:
    """Write the bits per byte of each model and domain, and the shares that sources predict better.

    documents_ahead            % of documents of which a source has fewer bits than the target; of
                               "best source", any of several
    bits_per_byte              of "best of each document", the fewest bits of all models (MinCE's
                               choice); with `each`, of target and sources
    bits_per_byte:<domain>     of these

    Raises:
        BadData: the artifacts are about different documents.
    """
    rows = target.rows()
    readings = {params.system: rows, **dict(zip(params.names, (a.rows() for a in sources)))}
    for name, found in readings.items():
        if [row["id"] for row in found] != [row["id"] for row in rows]:
            raise BadData(f"readings of {name} are of other documents than those of the target")
    maker = cell_maker(params, {row["id"]: [row["content"]] for row in rows}, readings=target)
    bits = {
        name: np.array([np.nan if row["bits"] is None else row["bits"] for row in found], float)
        for name, found in readings.items()
    }
    own = bits[params.system]
    fewest = np.fmin.reduce(list(bits.values()))
    others = {name: bits[name] for name in params.names}
    if len(others) > 1:
        others[BEST] = np.fmin.reduce(list(others.values()))
    shown = {CHOSEN: fewest, **(bits if params.each else {})}
    cells = [
        cell
        for name, each in shown.items()
        for cell in _bits_cells(of_system(maker, name), rows, each, name != CHOSEN)
    ]
    ids = [row["id"] for row in rows]
    for name, each in others.items():
        known = ~np.isnan(each) & ~np.isnan(own)
        ahead = [float(a < b) if k else None for a, b, k in zip(each, own, known)]
        cells.append(of_system(maker, name).mean_cell(AHEAD, ahead, ids, factor=100, primary=False))
    write_cells(context, cells)
    write_rows(context.directory / "rows.jsonl", _told(rows, readings))


def _told(rows: Sequence[Row], readings: Mapping[str, Sequence[Row]]) -> list[dict[str, Any]]:
    return [
        {
            "id": row["id"],
            "domain": row["domain"],
            "bytes": row["bytes"],
            "bits": {name: found[number]["bits"] for name, found in readings.items()},
        }
        for number, row in enumerate(rows)
    ]


def _bits_cells(maker: CellMaker, rows: Sequence[Row], bits: Floats, parts: bool) -> list[Cell]:
    """Bits per byte of all documents, and with `parts` of each domain if there are several."""
    domains = np.array([row["domain"] for row in rows])
    size = np.array([row["bytes"] for row in rows], float)
    among = {OVERALL: np.ones(len(rows), bool)}
    names = sorted(set(domains.tolist()))
    among |= {f"{OVERALL}:{name}": domains == name for name in names if parts and len(names) > 1}
    ids = [row["id"] for row in rows]
    counts = cluster_counts(maker.prompt_set, ids, maker.params.rounds).astype(float)
    cells = []
    for metric, wanted in among.items():
        chosen = wanted & ~np.isnan(bits) & (size > 0)
        total = float(size[chosen].sum())
        value = float(bits[chosen].sum()) / total if total else None
        drawn = counts[:, chosen] @ size[chosen]
        draws = counts[:, chosen] @ bits[chosen] / np.where(drawn > 0, drawn, 1)
        cells.append(
            maker.cell(
                metric,
                value,
                Tally(int(wanted.sum()), int(chosen.sum())),
                replicates=np.where(drawn > 0, draws, value or 0.0) if total else (),
                kind=OVER_DOCUMENTS,
                resampled=sample_of(np.where(chosen, bits, np.nan), ids, size),
                unit="bits per byte",
                higher_is_better=False,
                primary=False,
            )
        )
    return cells
