"""The operation `import_question_set`: questions about facts as rows, from any source.

    nano:facts, nano:attributes, ...     questions of the nano world
    official:<set>                       a published set, see `harness.data.published_questions`
    <file>                               .jsonl, .json, .csv (.gz) or .parquet
    <org>/<name>[/<config>][:<split>]@<commit>    a data set of the hub, at a fixed revision

Writes rows.jsonl (`harness.data.question_rows`) and summary.json: source, identity, number of rows,
of rows left out by reason, and of repeated questions.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path

from pydantic import Field

from harness.core.errors import UserError, check_planned
from harness.core.records import Record
from harness.data.files import load_dataset
from harness.data.pickles import NAMES
from harness.data.published_questions import (
    published_count,
    published_identity,
    published_questions,
)
from harness.data.question_rows import QuestionSet, question_rows
from harness.data.sources import Kind, Source, file_identity
from harness.data.tables import FILES, read_table
from harness.engine.io import write_json, write_rows
from harness.engine.operations import Context, Estimate, Row, operation

_LOG = logging.getLogger(__name__)
_HUB = re.compile(
    r"(?P<name>[\w][\w.-]*/[\w][\w.-]*)(?:/(?P<config>[\w.-]+))?(?::(?P<split>\w+))?"
    r"(?:@(?P<revision>[\w.-]+))?"
)


class ImportQuestionSetParams(Record):
    """Which questions to import.

    Attributes:
        limit: number of questions, from the first; None is all.
        digest: `questions_identity` at planning time; makes the content part of the stage id.
        columns: columns of a foreign file, see `harness.data.question_rows.COLUMNS`.
        dedup: keep only the first of equal questions; otherwise they are only counted.
    """

    ref: str
    limit: int | None = Field(default=None, ge=1)
    digest: str | None = None
    columns: dict[str, str] = {}
    dedup: bool = False


def _expected(params: ImportQuestionSetParams) -> Estimate:
    known = QUESTION_KIND.source(params.ref).count(params)
    return Estimate(rows=params.limit if known is None else min(known, params.limit or known))


@operation("import_question_set", version=1, params=ImportQuestionSetParams, estimate=_expected)
def import_question_set(context: Context, params: ImportQuestionSetParams) -> None:
    """Write the questions and a summary.

    Raises:
        BadData: with file and row; a file that changed since planning.
        UserError: the reference leads nowhere, or names no revision of the hub.
        EnvironmentProblem: a set is not on this machine and cannot be downloaded, or is gated.
    """
    found = questions_identity(params.ref)
    check_planned(f"questions {params.ref}", found, params.digest)
    made = question_set(params)
    rows = made.rows[: params.limit]
    write_rows(context.directory / "rows.jsonl", rows)
    summary = {
        "source": params.ref,
        "identity": found,
        "n": len(rows),
        "n_dropped": dict(made.dropped),
        "n_repeated": made.repeated,
    }
    write_json(context.directory / "summary.json", summary)
    context.progress(len(rows), len(rows))


def question_set(params: ImportQuestionSetParams) -> QuestionSet:
    """All questions of a source, before `limit`; see `import_question_set` for errors."""
    found = QUESTION_KIND.source(params.ref).rows(params)
    if params.dedup:
        found = found.without_repeats()
    elif found.repeated:
        _LOG.warning("%s: %d repeated questions are kept", params.ref, found.repeated)
    for reason, number in found.dropped.items():
        _LOG.warning("%s: %d rows left out: %s", params.ref, number, reason)
    return found


def set_rows(params: ImportQuestionSetParams) -> list[Row]:
    """The rows that `import_question_set` writes."""
    return question_set(params).rows[: params.limit]


def is_hub(ref: str) -> bool:
    """Whether a reference that is no file looks like a hub id, not like a mistyped path.

    >>> is_hub("org/name/config:test@0a1b2c"), is_hub("data/questions.csv")
    (True, False)
    """
    return _HUB.fullmatch(ref) is not None and not ref.endswith((*FILES, *NAMES))


def _from_file(params: ImportQuestionSetParams) -> QuestionSet:
    path = Path(params.ref).expanduser()
    name = path.name.partition(".")[0]
    return question_rows(read_table(path), str(path), params.columns, name)


def _hub_identity(ref: str, revision: str | None) -> str:
    found = _HUB.fullmatch(ref)
    if found is None or found["revision"] is None:
        raise UserError(
            f'question set "{ref}" names no revision; expected {ref}@<commit> of the hub, so that '
            "its questions cannot change"
        )
    return f"hub:{ref}"


def _from_hub(params: ImportQuestionSetParams) -> QuestionSet:
    found = _HUB.fullmatch(params.ref)
    assert found is not None  # `Kind.source` chose this source by `is_hub`
    split = found["split"] or "test"
    rows = load_dataset(found["name"], split, found["revision"], found["config"])
    name = found["name"].partition("/")[2]
    return question_rows([dict(row) for row in rows], params.ref, params.columns, name)


QUESTION_KIND = Kind(
    "question sets",
    schemes={
        "official": Source(
            "official:<set>",
            lambda ref, revision: published_identity(ref),
            lambda params: published_questions(params.ref),
            count=lambda params: published_count(params.ref),
        )
    },
    file=Source(
        "a .csv, .jsonl, .json or .parquet file",
        lambda ref, revision: f"file@{file_identity(ref)}",
        _from_file,
        at_hand=True,
    ),
    hub=Source(
        "a data set of the hub <org>/<name>[/<config>][:<split>]@<commit>", _hub_identity, _from_hub
    ),
    is_hub=is_hub,
)
questions_identity = QUESTION_KIND.identity
