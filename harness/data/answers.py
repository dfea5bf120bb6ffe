"""Answers that no model of the run gives: baselines, anchors and references.

`import_answers` puts stored answers beside prompts. A source is `nano:<flavour>` (the nano world's
baseline: plain, verbose, concise; or reference) or a JSON or JSON-lines file (.gz too) in the form
of AlpacaEval (`instruction, output`), Arena-Hard (`uid, messages`), FastChat (`question_id,
choices`) or our own (`id`, `responses` or `answers`), or `official:<set>`, the published baseline
or references of a question set (`harness.data`). Answers are joined by id, else by the text of the
prompt, never by position.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from harness.core.errors import BadData, UserError
from harness.core.hashing import file_digest
from harness.core.records import Record
from harness.data import official
from harness.data.forms import instruction_id
from harness.engine import costs
from harness.engine.operations import Artifact, Context, Row, operation
from harness.judging.frames import prompt_text

NANO = "nano:"
REFERENCE = "reference"
TEXT_DIGEST = "instruction_sha256_16"
_IDS = ("id", "uid", "question_id")


class ImportAnswersParams(Record):
    """Where the answers come from.

    Attributes:
        digest: content of the file, see `source_digest`; part of the stage's id.
        partial: prompts without an answer are kept with `answers: []` instead of refused.
        required: with `partial`, categories whose prompts need an answer to every turn.
    """

    source: str
    digest: str = ""
    partial: bool = False
    required: tuple[str, ...] = ()


def source_digest(source: str) -> str:
    """What the answers are: a file's digest, the nano world's version, a published set's content.

    To be passed to `import_answers`.

    Raises:
        UserError: if there is no such file or set.
        EnvironmentProblem: a published set without a known content is not here.
    """
    if source.startswith(NANO):
        from harness.nano import world

        return f"world@{world.VERSION}"
    if official.is_official(source):
        return official.answers_identity(source)
    path = Path(source)
    if not path.is_file():
        raise UserError(
            f'answers "{source}": no such file; expected a file, {NANO}plain or official:<set>'
        )
    return file_digest(path)


def turns_of(row: Row) -> list[str]:
    """The user's turns of a prompt row: its `turns`, else the request as one turn."""
    turns = row.get("turns")
    return list(turns) if turns else [prompt_text(row["messages"])]


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
    """Response rows with `answers` (one a turn), `responses` (the first turn's) and `system`."""
    find = _nano_answers if params.source.startswith(NANO) else _stored_answers(params)
    if params.required:
        _check_required(params, prompts.rows(), find)
    for batch in batches:
        rows = []
        for row in batch:
            answers = find(row, params.source)
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


def _check_required(
    params: ImportAnswersParams, rows: Sequence[Row], find: Callable[[Row, str], list[str]]
) -> None:
    lacking = [
        str(row["id"])
        for row in rows
        if row.get("category") in params.required
        and len(find(row, params.source)) < len(turns_of(row))
    ]
    if lacking:
        raise BadData(
            f"{params.source} has no complete answer to {len(lacking)} of the prompts of "
            f"{', '.join(params.required)}, which need one for every turn: {', '.join(lacking)}"
        )


def _stored_answers(params: ImportAnswersParams) -> Callable[[Row, str], list[str]]:
    if source_digest(params.source) != params.digest:
        raise BadData(f"{params.source} changed after the plan was made; plan again")
    if official.is_official(params.source):
        published = official.answers(params.source)
        return lambda row, source: (
            published.get(str(row["id"])) or published.get(text_digest(turns_of(row)[0]), [])
        )
    stored = StoredAnswers(params.source)

    def find(row: Row, source: str) -> list[str]:
        ids = [str(row[key]) for key in _IDS if key in row]
        return stored.find(ids, turns_of(row)[0])

    return find


def _nano_answers(row: Row, source: str) -> list[str]:
    from harness.nano import world

    flavour = source.removeprefix(NANO)
    turns = turns_of(row)
    found = world.find_conversation(turns)
    if found is None:
        return []
    item = found[0]
    if flavour == REFERENCE:
        if not item.reference_guided:
            return []
        return [world.reference_answer(item, turn) for turn in range(len(turns))]
    return [world.baseline_answer(item, turn, flavour) for turn in range(len(turns))]


class StoredAnswers:
    """The answers of a file, by id, by prompt text, and by the text's digest.

    Raises:
        BadData: naming the record that is of no known form.
    """

    def __init__(self, source: str) -> None:
        self.by_id: dict[str, list[str]] = {}
        self.by_text: dict[str, list[str]] = {}
        for number, stored in enumerate(_read_any(Path(source)), 1):
            try:
                answers = _answers(stored)
            except (KeyError, IndexError, TypeError):
                keys = ", ".join(sorted(stored)) if isinstance(stored, dict) else "no object"
                raise BadData(
                    f"{source}, record {number}: no answer in ({keys}); expected output, messages, "
                    "choices, answers or responses"
                ) from None
            for key in _IDS:
                if key in stored:
                    self.by_id[str(stored[key])] = answers
            if isinstance(stored.get("instruction"), str):
                self.by_text[stored["instruction"]] = answers
            if isinstance(stored.get(TEXT_DIGEST), str):
                self.by_id[stored[TEXT_DIGEST]] = answers

    def find(self, ids: Sequence[str], text: str) -> list[str]:
        """Answers, by turn, to the prompt of these ids whose first turn is `text`, if any."""
        for key in (*ids, text_digest(text)):
            if key in self.by_id:
                return self.by_id[key]
        return self.by_text.get(text, [])


def text_digest(text: str) -> str:
    """What output files that leave the instructions out join by: 16 digits of its SHA-256."""
    return instruction_id(text)


def _read_any(path: Path) -> list[Any]:
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rt", encoding="utf-8") as stream:
            text = stream.read()
        if text.lstrip().startswith("["):
            return list(json.loads(text))
        return [json.loads(line) for line in text.split("\n") if line.strip()]
    except (OSError, ValueError) as error:
        raise BadData(f"{path}: expected a JSON list or JSON lines: {error}") from None


def _answers(stored: dict[str, Any]) -> list[str]:
    """The answers of one record, by turn; see the module docstring for the forms."""
    if "output" in stored:
        found = [stored["output"]]
    elif "choices" in stored:
        found = list(stored["choices"][0]["turns"])
    elif "answers" in stored:
        found = list(stored["answers"])
    elif "responses" in stored:
        found = list(stored["responses"][:1])
    else:
        said = [turn["content"] for turn in stored["messages"] if turn["role"] == "assistant"]
        found = [content["answer"] if isinstance(content, dict) else content for content in said]
    if not all(isinstance(text, str) for text in found):
        raise TypeError("an answer is not text")
    return found
