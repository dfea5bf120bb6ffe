"""Operations on instruction rows: verb-noun pairs, and overlaps with the nearest other row.

instructions ──> find_verb_nouns    rows {"id", "verb", "noun"}
             ──> measure_overlaps   rows {"id", "nearest", "rouge_l", "mean"}
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal

from pydantic import Field

from harness.core.errors import check_planned
from harness.core.records import Record
from harness.core.words import tokenize_words
from harness.data.instructions.overlaps import COMPARED, Corpus, chosen_rows
from harness.data.instructions.parsers import DEFAULT, find_verb_nouns, open_parser
from harness.data.instructions.rouge_l import Tokenize, rouge_tokens
from harness.engine.operations import Artifact, Context, Estimate, Row, operation

BATCH = 256
Tokens = Literal["rouge", "words"]
TOKENS: dict[Tokens, Tokenize] = {"rouge": rouge_tokens, "words": tokenize_words}


class VerbNounParams(Record):
    """How instructions are parsed.

    Attributes:
        parser: reference of `harness.data.instructions.parsers.open_parser`.
        identity: name of the parser at planning time, with versions.
    """

    parser: str = DEFAULT
    identity: str = ""


class OverlapParams(Record):
    """How overlaps are measured.

    Attributes:
        tokens: "rouge": those of rouge-score, a to z and 0 to 9; "words": of every script.
        compared: largest number of instructions that are compared with all others.
        seed: for the choice of these.
    """

    tokens: Tokens = "rouge"
    compared: int = Field(default=COMPARED, ge=1)
    seed: int = 0


def _same_rows(params: Record, instructions: Estimate) -> Estimate:
    return Estimate(rows=instructions.rows)


@operation(
    "find_verb_nouns",
    version=1,
    params=VerbNounParams,
    rows="instructions",
    batch_size=lambda params: BATCH,
    estimate=_same_rows,
)
def find_verb_nouns_of_rows(
    context: Context,
    params: VerbNounParams,
    batches: Iterable[list[Row]],
    *,
    instructions: Artifact,
) -> Iterator[list[Row]]:
    """Verb and noun of each instruction, null where there is none."""
    parser = open_parser(params.parser)
    check_planned(f"parser {params.parser}", parser.name, params.identity)
    for batch in batches:
        found = find_verb_nouns([row["instruction"] for row in batch], parser)
        yield [
            {"id": row["id"], "verb": each.verb, "noun": each.noun}
            for row, each in zip(batch, found, strict=True)
        ]


@operation(
    "measure_overlaps",
    version=1,
    params=OverlapParams,
    rows="instructions",
    batch_size=lambda params: BATCH,
    estimate=_same_rows,
)
def measure_overlaps(
    context: Context,
    params: OverlapParams,
    batches: Iterable[list[Row]],
    *,
    instructions: Artifact,
) -> Iterator[list[Row]]:
    """ROUGE-L with the nearest other instruction and the mean with all; rows not chosen have none.

    `nearest` is the id of the nearest row.
    """
    rows = instructions.rows()
    corpus = Corpus([row["instruction"] for row in rows], TOKENS[params.tokens])
    chosen = set(chosen_rows(corpus.lengths.tolist(), params.compared, params.seed))
    places = {row["id"]: place for place, row in enumerate(rows)}
    for batch in batches:
        own = [place for row in batch if (place := places[row["id"]]) in chosen]
        found = {rows[each.index]["id"]: each for each in corpus.overlaps(own)}
        made: list[Row] = []
        for row in batch:
            each = found.get(row["id"])
            if each is None:
                made.append({"id": row["id"]})
                continue
            nearest = None if each.nearest is None else rows[each.nearest]["id"]
            values = {"nearest": nearest, "rouge_l": each.rouge_l, "mean": each.mean}
            made.append({"id": row["id"], **values})
        yield made
