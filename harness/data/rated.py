"""Rated answers: several answers to one prompt with scores or ranks, as rows.

    data set ──> import_rated ──> rows {"id", "messages", "responses", "systems",
                                        "scores" or "ranks"}

Shapes are recognised by their fields:

    Nectar                     prompt, answers: [{answer, model, rank}]
    UltraFeedback              instruction, completions: [{response, model, overall_score}]
    chosen and rejected        prompt, chosen, rejected, and score_chosen, score_rejected if there
                               are scores (else ranks 1 and 2); texts or conversations
    rows of this harness       messages, responses, scores (or rewards) or ranks

Rank 1 is the best. A row with fewer than two answers is refused, as are scores that are no finite
numbers and ranks with gaps: they would silently become wrong labels.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from harness.core.errors import BadData, UserError, check_planned
from harness.core.hashing import digest
from harness.core.records import Record
from harness.data.files import load_dataset
from harness.data.prompts import IDS, is_hub
from harness.data.sources import Kind, Source, file_identity, hub_identity
from harness.engine.io import read_objects, write_rows
from harness.engine.operations import Context, Estimate, Row, operation

_TURN = re.compile(r"(?:^|\n\n)(Human|Assistant):[ \n]?")  # a dialogue of Nectar
_ROLES = {"Human": "user", "Assistant": "assistant"}


class ImportRatedParams(Record):
    """Which rated answers to import.

    Attributes:
        split, revision: of a data set of the hub.
        limit, offset: window of the rows.
        digest: `rated_identity` at planning time; makes the content part of the stage id.
    """

    ref: str
    split: str = "train"
    revision: str | None = None
    limit: int | None = Field(default=None, ge=1)
    offset: int = Field(default=0, ge=0)
    digest: str = ""


@operation(
    "import_rated",
    version=1,
    params=ImportRatedParams,
    estimate=lambda params: Estimate(rows=params.limit),
)
def import_rated(context: Context, params: ImportRatedParams) -> None:
    """Write rows.jsonl of the form in the module docstring, with unique ids; repeated rows once.

    Raises:
        BadData: with the number of the row, for anything that is not a prompt with rated answers.
        UserError: the reference leads nowhere, or the window contains no row.
    """
    source = RATED.source(params.ref)
    found = source.identity(params.ref, params.revision)
    check_planned(f"rated answers {params.ref}", found, params.digest)
    end = None if params.limit is None else params.offset + params.limit
    items = source.rows(params)[params.offset : end]
    if not items:
        raise UserError(f"{params.ref} has no rated answers from offset {params.offset} on")
    rows: dict[str, Row] = {}
    for number, item in enumerate(items, 1):
        row = rated_row(item, f"{params.ref}, row {number}")
        if rows.setdefault(row["id"], row) != row:
            raise BadData(
                f'{params.ref}, row {number}: another row has the id "{row["id"]}"; expected '
                "unique ids"
            )
    write_rows(context.directory / "rows.jsonl", rows.values())


def rated_row(item: Row, where: str) -> Row:
    """One row in the form of the module docstring, from a row of any of the shapes.

    Raises:
        BadData: beginning with `where`.
    """
    if "answers" in item:
        found = _listed(item, "answers", "answer", where)
    elif "completions" in item:
        found = _listed(item, "completions", "response", where)
    elif "chosen" in item and "rejected" in item:
        found = _chosen_and_rejected(item, where)
    elif "responses" in item:
        found = {key: item[key] for key in ("responses", "scores", "ranks") if key in item}
        if "rewards" in item:
            found["scores"] = item["rewards"]
        found["systems"] = item.get("systems") or [""] * len(item["responses"])
    else:
        raise BadData(
            f"{where}: found {', '.join(sorted(item)) or 'nothing'}; expected answers (Nectar), "
            "completions (UltraFeedback), chosen and rejected, or responses with scores or ranks"
        )
    messages = _messages(item, where)
    id = next((item[key] for key in IDS if item.get(key) is not None), None)
    # Data sets repeat prompts, with other answers.
    id = digest([messages, found["responses"]]) if id is None else id
    row = {"id": str(id), "messages": messages, **found}
    _check(row, where)
    return row


def _listed(item: Row, field: str, text: str, where: str) -> Row:
    answers = item[field]
    if not isinstance(answers, list) or not all(isinstance(each, dict) for each in answers):
        raise BadData(f"{where}: {field} is {answers!r:.60}; expected a list of objects")
    found: Row = {
        "responses": [each.get(text) for each in answers],
        "systems": [str(each.get("model", "")) for each in answers],
    }
    if answers and all("rank" in each for each in answers):
        return {**found, "ranks": [each["rank"] for each in answers]}
    return {**found, "scores": [_score_of(each) for each in answers]}


def _score_of(answer: Row) -> Any:
    """UltraFeedback's overall score, else `score`."""
    return answer.get("overall_score", answer.get("score"))


def _chosen_and_rejected(item: Row, where: str) -> Row:
    found: Row = {
        "responses": [_last_text(item[key], f"{where}: {key}") for key in ("chosen", "rejected")],
        "systems": ["", ""],
    }
    scores = [item.get("score_chosen"), item.get("score_rejected")]
    if scores == [None, None]:
        return {**found, "ranks": [1, 2]}
    return {**found, "scores": scores}


def _last_text(value: Any, where: str) -> Any:
    """The text itself, or the last message of a conversation."""
    if isinstance(value, list) and value and isinstance(value[-1], dict):
        if value[-1].get("role") != "assistant":
            raise BadData(f"{where}: the last message is not the assistant's")
        return value[-1].get("content")
    return value


def _messages(item: Row, where: str) -> list[dict[str, str]]:
    """The prompt as messages that end with the user's."""
    value = item.get("messages", item.get("prompt", item.get("instruction")))
    if value is None and isinstance(item.get("chosen"), list):
        value = item["chosen"][:-1]
    if isinstance(value, str):
        value = _dialogue(value) if "answers" in item else [{"role": "user", "content": value}]
    if isinstance(value, list):
        value = [{k: m.get(k) for k in ("role", "content")} for m in value if isinstance(m, dict)]
        while value and value[-1]["role"] == "assistant":
            value = value[:-1]
    texts = isinstance(value, list) and all(isinstance(m["content"], str) for m in value)
    if not texts or not value or value[-1]["role"] != "user" or not value[-1]["content"].strip():
        raise BadData(
            f"{where}: the prompt is {value!r:.60}; expected text that ends with a user's"
        )
    return list(value)


def _dialogue(text: str) -> list[dict[str, str]]:
    r"""Messages of a prompt of Nectar.

    >>> _dialogue("\n\nHuman: Hi\n\nAssistant: Hello!\n\nHuman: Bye\n\nAssistant: ")[-1]
    {'role': 'user', 'content': 'Bye'}
    """
    parts = _TURN.split(text)
    if len(parts) == 1:
        return [{"role": "user", "content": text}]
    turns = [
        {"role": _ROLES[name], "content": said.strip()}
        for name, said in zip(parts[1::2], parts[2::2])
    ]
    while turns and turns[-1]["role"] == "assistant":
        turns.pop()
    return turns


def _check(row: Row, where: str) -> None:
    texts = row["responses"]
    if not isinstance(texts, list) or len(texts) < 2:
        raise BadData(f"{where}: {texts!r:.60}; expected at least two answers to compare")
    if not all(isinstance(text, str) for text in texts):
        raise BadData(f"{where}: an answer is no text; expected a text for each")
    ranks, scores = row.get("ranks"), row.get("scores")
    if (ranks is None) == (scores is None):
        raise BadData(f"{where}: expected scores or ranks of the answers, and not both")
    for name, values in (("scores", scores), ("ranks", ranks)):
        if values is not None and (not isinstance(values, list) or len(values) != len(texts)):
            raise BadData(f"{where}: {name} {values!r:.60}; expected one per answer")
    if scores is not None:
        row["scores"] = [_finite(value, where) for value in scores]
    if ranks is not None:
        _check_ranks(ranks, where)
        row["ranks"] = [int(rank) for rank in ranks]


def _finite(value: Any, where: str) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not math.isfinite(value):
        raise BadData(f"{where}: a score is {value!r}; expected a finite number for every answer")
    return float(value)


def _check_ranks(ranks: Sequence[Any], where: str) -> None:
    """Ranks from 1 without gaps; ties either repeat a rank (1, 1, 2) or skip as many (1, 1, 3)."""
    whole = all(
        (isinstance(rank, int) and not isinstance(rank, bool))
        or (isinstance(rank, float) and rank.is_integer())
        for rank in ranks
    )
    ordered = sorted(ranks) if whole else []
    dense = [sorted(set(ordered)).index(rank) + 1 for rank in ordered]
    skipping = [ordered.index(rank) + 1 for rank in ordered]
    if not whole or ordered not in (dense, skipping):
        raise BadData(f"{where}: ranks {list(ranks)}; expected 1 for the best and no gaps below it")


def _from_file(params: ImportRatedParams) -> list[Row]:
    return [dict(item) for item in read_objects(Path(params.ref).expanduser())]


def _from_hub(params: ImportRatedParams) -> list[Row]:
    loaded: Iterable[Any] = load_dataset(params.ref, params.split, params.revision)
    return [dict(item) for item in loaded]


RATED = Kind[ImportRatedParams, list[Row]](
    "rated answers",
    file=Source("a .jsonl or .json file (.gz)", file_identity, _from_file, at_hand=True),
    hub=Source("a data set of the hub <org>/<name>", hub_identity, _from_hub),
    is_hub=is_hub,
)
rated_identity = RATED.identity
