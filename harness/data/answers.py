"""Answers that no model of the run gives: baselines, anchors and references.

`import_answers` puts stored answers beside prompts. Its source is one of

    nano:<flavour>    baseline of the nano world (plain, verbose, concise), or reference
    official:<set>    published baseline or references of a question set (`harness.data.official`)
    <file>            JSON or JSON lines (.gz) in the form of AlpacaEval (`instruction, output`),
                      Arena-Hard (`uid, messages`), FastChat (`question_id, choices`), or Crucible
                      (`id`, and `responses` or `answers`)

Answers are joined to prompts by id or else by the text of the prompt, never by position; see
`harness.data.stored_answers`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from harness.core.errors import BadData, check_planned
from harness.core.records import Record
from harness.data import official
from harness.data.forms import instruction_id
from harness.data.prompts import IDS, prompt_text
from harness.data.sources import Kind, Source, file_identity
from harness.data.stored_answers import StoredAnswers
from harness.engine import costs
from harness.engine.operations import Artifact, Context, Row, operation

Find = Callable[[Row], list[str]]  # prompt row -> its answers by turn, [] if there are none


class ImportAnswersParams(Record):
    """Where the answers come from.

    Attributes:
        digest: `answers_identity` at planning time; makes the content part of the stage id.
        partial: keep prompts without an answer, with `answers: []`, instead of refusing them.
        required: with `partial`, categories whose prompts need an answer to every turn.
    """

    source: str
    digest: str = ""
    partial: bool = False
    required: tuple[str, ...] = ()


def turns_of(row: Row) -> list[str]:
    """User turns of a prompt row: its `turns`, or else the text of the prompt as one turn."""
    turns = row.get("turns")
    return list(turns) if turns else [prompt_text(row["messages"])]


def ids_of(row: Row) -> list[str]:
    """Ids under which a file may have the answers to a prompt row."""
    return [str(row[key]) for key in IDS if row.get(key) is not None]


@operation(
    "import_answers",
    version=1,
    params=ImportAnswersParams,
    rows="prompts",
    estimate=costs.rows_of("prompts"),
)
def import_answers(
    context: Context,
    params: ImportAnswersParams,
    batches: Iterable[list[Row]],
    *,
    prompts: Artifact,
) -> Iterator[list[Row]]:
    """Response rows with `answers` (one per turn), `responses` (first turn) and `system`.

    Raises:
        BadData: a prompt has no answer, or the answers changed since the plan was made.
    """
    source = ANSWERS.source(params.source)
    found = source.identity(params.source, None)
    check_planned(f"answers {params.source}", found, params.digest)
    find = source.rows(params)
    if params.required:
        _check_required(params, prompts.rows(), find)
    for batch in batches:
        rows = []
        for row in batch:
            answers = find(row)
            if not answers and not params.partial:
                raise BadData(
                    f'{params.source} has no answer to prompt "{row["id"]}"; expected one for '
                    "every prompt (matched by id, else by the prompt's text)"
                )
            rows.append(
                {
                    **row,
                    "answers": answers,
                    "responses": answers[:1],
                    "finish": ["stop"] * len(answers[:1]),
                    "system": params.source,
                }
            )
        yield rows


def _check_required(params: ImportAnswersParams, rows: Sequence[Row], find: Find) -> None:
    lacking = [
        str(row["id"])
        for row in rows
        if row.get("category") in params.required and len(find(row)) < len(turns_of(row))
    ]
    if lacking:
        raise BadData(
            f"{params.source} has no complete answer to {len(lacking)} of the prompts of "
            f"{', '.join(params.required)}, which need one for every turn: {', '.join(lacking)}"
        )


def _official(params: ImportAnswersParams) -> Find:
    published = official.answers(params.source)
    return lambda row: (
        published.get(str(row["id"])) or published.get(instruction_id(turns_of(row)[0]), [])
    )


def _from_file(params: ImportAnswersParams) -> Find:
    stored = StoredAnswers(params.source)
    return lambda row: stored.find(ids_of(row), turns_of(row)[0])


ANSWERS = Kind(
    "answers",
    schemes={
        "official": Source(
            "official:<set>", lambda ref, revision: official.answers_identity(ref), _official
        )
    },
    file=Source("a .json or .jsonl file (.gz)", file_identity, _from_file, at_hand=True),
)
answers_identity = ANSWERS.identity
