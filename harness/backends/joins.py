"""Which prompts of a plan the files of stored answers answer, found before anything runs.

`stored_joins(plan, scores)` reads the files of stored outputs and of imported answers that the
plan names, and counts for each suite the prompts with an answer. Prompt sets of the hub are counted
when they are imported, not here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from harness.core.errors import BadData
from harness.data.answers import ANSWERS, ImportAnswersParams, ids_of, turns_of
from harness.data.prompts import PROMPTS, ImportPromptsParams, prompt_rows
from harness.data.question_sets import QUESTION_KIND, ImportQuestionSetParams, set_rows
from harness.data.stored_answers import StoredAnswers
from harness.engine.operations import Row
from harness.engine.plan import Handle, Plan, Stage
from harness.models.references import ImportModelParams, split_engine

_Imported = ImportPromptsParams | ImportQuestionSetParams


@dataclass(frozen=True)
class Join:
    """One file of answers and the prompts of one suite.

    Attributes:
        records: in the file.
        answered: prompts with a record.
        lacking: prompts whose record has no answer to some turn: null or a failure marker.
        counts: oddities of the file -> number of records.
    """

    suite: str
    path: str
    records: int
    prompts: int
    answered: int
    lacking: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        odd = "".join(f", {number} {name}" for name, number in self.counts.items() if number)
        lacking = f" ({self.lacking} of them without a usable output)" if self.lacking else ""
        return (
            f"{self.path}: {self.records} records{odd}; {self.answered} of {self.prompts} prompts "
            f"of {self.suite}{lacking}"
        )


def stored_joins(plan: Plan, scores: Mapping[str, Handle]) -> list[Join]:
    """The joins of a plan's files of stored answers with the prompts of its suites.

    Args:
        scores: suite -> the stage that writes its cells.

    Raises:
        BadData: a file answers none of a suite's prompts, has two answers to one prompt, or answers
            another prompt under its id.
    """
    files: dict[str, StoredAnswers] = {}
    prompts: dict[str, list[Row]] = {}
    found: list[Join] = []
    for suite, handle in scores.items():
        pairs = {(path, params.model_dump_json()): params for path, params in _pairs(plan, handle)}
        for (path, key), params in pairs.items():
            if path not in files:
                files[path] = StoredAnswers(path)
            if key not in prompts:
                prompts[key] = _rows(params)
            found.append(_join(suite, files[path], prompts[key]))
    return found


def _join(suite: str, file: StoredAnswers, rows: list[Row]) -> Join:
    records = [(row, file.record(ids_of(row), turns_of(row)[0])) for row in rows]
    answered = [record for _, record in records if record is not None]
    if not answered:
        first = rows[0]
        raise BadData(
            f"{file.source} answers none of the {len(rows)} prompts of {suite}; the first is "
            f'"{first["id"]}": {turns_of(first)[0][:60]!r}. Expected outputs for this suite, '
            "joined by id or by the text of the prompt; for other suites, say which (--suite, or a "
            "file per suite: crucible eval -f board.toml); nothing was asked"
        )
    lacking = sum(bool(record.lacks) for record in answered)
    return Join(suite, file.source, file.records, len(rows), len(answered), lacking, file.counts)


def _of_hub(params: _Imported) -> bool:
    kind = PROMPTS if isinstance(params, ImportPromptsParams) else QUESTION_KIND
    return kind.source(params.ref) is kind.hub


def _rows(params: _Imported) -> list[Row]:
    return prompt_rows(params) if isinstance(params, ImportPromptsParams) else set_rows(params)


def _pairs(plan: Plan, target: Handle) -> Iterator[tuple[str, _Imported]]:
    """Files of answers below a stage, each with the prompts that it is joined to."""
    for stage in _above(plan, [target.id]):
        path = _file_of(plan, stage)
        if path is None:
            continue
        for source in _above(plan, stage.input_ids()):
            params = source.params
            if isinstance(params, _Imported) and not _of_hub(params):
                yield path, params


def _file_of(plan: Plan, stage: Stage) -> str | None:
    """The file from which a stage takes answers to its rows, None if there is none."""
    if isinstance(stage.params, ImportAnswersParams):
        source, partial = stage.params.source, stage.params.partial
        return None if partial or ANSWERS.source(source) is not ANSWERS.file else source
    if stage.operation.rows is None:
        return None
    for made in (plan.stages[id].params for id in stage.input_ids()):
        if isinstance(made, ImportModelParams) and split_engine(made.ref)[0] == "stored":
            return split_engine(made.ref)[1]
    return None


def _above(plan: Plan, ids: Sequence[str]) -> list[Stage]:
    """Stages, and all that they are made from."""
    wanted = set(ids)
    for stage in reversed(list(plan.stages.values())):
        if stage.id in wanted:
            wanted.update(stage.input_ids())
    return [stage for id, stage in plan.stages.items() if id in wanted]
