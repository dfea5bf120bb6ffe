"""Analysis of data sets as a Python call.

    from harness.data.instructions.analysing import analyse

    analysis = analyse(["mine.jsonl", "theirs.jsonl"])
    print(analysis.sets[0].unique_pairs, analysis.sets[0].pairwise)

Stages are stored: the same call reads them again, and an interrupted one is continued.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.core.errors import UserError
from harness.core.records import parse
from harness.data.instructions.analysis import Analysis
from harness.data.instructions.operations import Tokens
from harness.data.instructions.overlaps import COMPARED
from harness.data.instructions.parsers import DEFAULT, open_parser
from harness.data.instructions.reading import instructions_identity
from harness.data.tables import FILES
from harness.engine.plan import Handle, Plan
from harness.engine.run import InlineExecutor, Reporter, RunSummary
from harness.engine.store import Store


@dataclass(frozen=True)
class PlannedAnalysis:
    """Stages of an analysis; nothing has run."""

    plan: Plan
    target: Handle
    names: tuple[str, ...]

    def run(self, store: Store, reporter: Reporter | None = None) -> RunSummary:
        """Execute the stages that the store lacks."""
        return InlineExecutor().execute(self.plan, [self.target], store, reporter)

    def result(self, store: Store) -> Analysis:
        """The analysis, after `run`."""
        artifact = store.artifact(self.target.id)
        return parse(Analysis, artifact.read_json("analysis.json"), f"artifact {artifact.id}")


def plan_analysis(
    refs: Sequence[str],
    *,
    names: Sequence[str] = (),
    field: str = "",
    split: str = "train",
    limit: int | None = None,
    parser: str = DEFAULT,
    tokens: Tokens = "rouge",
    threshold: float = 0.7,
    compared: int = COMPARED,
    rounds: int = 1000,
) -> PlannedAnalysis:
    """Plan the analysis of data sets; the parser is opened, so that a missing one is noticed now.

    Args:
        refs: files, "org/name" of the hub, or "official:<set>".
        names: of the data sets in tables (default: from the references).
        field: column of the instruction (default: the first usual one of each row).
        limit: number of rows of each data set.
        compared: largest number of instructions per data set that are compared with all others.

    Raises:
        UserError: no data set, one given twice, or a reference that leads nowhere.
        MissingExtra, EnvironmentProblem: the parser is not installed.
    """
    if not refs:
        raise UserError("no data set given; expected files, such as DATA.jsonl")
    if names and len(names) != len(refs):
        raise UserError(f"{len(names)} names for {len(refs)} data sets; expected one for each")
    titles = tuple(names) or names_of(refs)
    if len(set(titles)) < len(titles):
        raise UserError(f"two data sets have one name: {', '.join(titles)}; give each its own")
    opened = open_parser(parser)
    plan = Plan()
    made: dict[str, Any] = {"instructions": [], "verb_nouns": [], "overlaps": []}
    for ref, title in zip(refs, titles, strict=True):
        source: dict[str, Any] = {"ref": ref, "split": split, "field": field, "limit": limit}
        digest = instructions_identity(ref)
        rows = plan.stage("import_instruction_set", label=f"read {title}", digest=digest, **source)
        pairs = plan.stage(
            "find_verb_nouns",
            label=f"verb-noun pairs of {title}",
            instructions=rows,
            parser=parser,
            identity=opened.name,
        )
        overlaps = plan.stage(
            "measure_overlaps",
            label=f"overlaps of {title}",
            instructions=rows,
            tokens=tokens,
            compared=compared,
        )
        for name, handle in zip(made, (rows, pairs, overlaps), strict=True):
            made[name].append(handle)
    target = plan.stage(
        "analyse_instructions",
        label="analysis",
        names=titles,
        refs=tuple(refs),
        parser=opened.name,
        tokens=tokens,
        threshold=threshold,
        rounds=rounds,
        **made,
    )
    return PlannedAnalysis(plan, target, titles)


def analyse(
    refs: Sequence[str],
    store: Store | Path | str | None = None,
    reporter: Reporter | None = None,
    **options: Any,
) -> Analysis:
    """Analyse data sets, with the options of `plan_analysis`; see there for errors.

    Args:
        store: a store or its folder (default: $CRUCIBLE_HOME, else .crucible).
    """
    made = plan_analysis(refs, **options)
    opened = store if isinstance(store, Store) else Store(None if store is None else Path(store))
    made.run(opened, reporter)
    return made.result(opened)


def names_of(refs: Sequence[str]) -> tuple[str, ...]:
    """Short names of data sets: those of the files, or longer ends of the paths until they differ.

    >>> names_of(["a/train.jsonl", "b/train.jsonl.gz", "org/data"])
    ('a/train', 'b/train', 'org/data')
    """
    if len(set(refs)) < len(refs):
        raise UserError(f"a data set is given twice: {', '.join(refs)}; expected each once")
    parts = [_without_ending(ref).split("/") for ref in refs]
    for length in range(1, max(map(len, parts)) + 1):
        names = tuple("/".join(each[-length:]) for each in parts)
        if len(set(names)) == len(names):
            return names
    return tuple(refs)


def _without_ending(ref: str) -> str:
    ending = next((end for end in sorted(FILES, key=len, reverse=True) if ref.endswith(end)), "")
    return ref.removesuffix(ending)
