"""Candidates: every sampled response with its origin, reward and verification result.

The table also keeps rejected responses, so that other selection rules can be tried without new
sampling. `export` writes it as a data set with a card.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, Literal

from harness.core.errors import BadData, MissingExtra
from harness.core.records import Record
from harness.core.text import encodable, markdown, visible
from harness.engine.io import atomic_folder, write_rows
from harness.engine.operations import Artifact, Context, Row, operation
from harness.engine.row_files import RowsById

Option = bool | int | float | str | None


class Candidate(Record):
    """One response; None means not measured, never a failure.

    Attributes:
        sampling: decoding settings.
        rm_score: score of the reward model.
        correct, static_ok, tests_passed, tests_total, reason, isolation: see `MathCheck` and
            `CodeCheck`.
        finish: why decoding ended.
    """

    domain: str
    prompt_id: str
    messages: tuple[dict[str, str], ...] = ()
    source_model: str
    sample_index: int
    sampling: dict[str, Option] = {}
    response: str
    rm_score: float | None = None
    correct: bool | None = None
    static_ok: bool | None = None
    tests_passed: int | None = None
    tests_total: int | None = None
    response_tokens: int | None = None
    finish: str | None = None
    reason: str = ""
    isolation: str = ""

    @property
    def right(self) -> bool | None:
        """Result of its verification: all tests pass, or the answer is correct."""
        if self.tests_total:
            return bool(self.static_ok) and self.tests_passed == self.tests_total
        return self.correct


class CandidateTableParams(Record):
    """Parameters of `candidate_table`.

    Attributes:
        domain: domain of all rows.
        sampling: decoding settings by source model, copied into the rows.
    """

    domain: str
    sampling: dict[str, dict[str, Option]] = {}


@operation("candidate_table", version=1, params=CandidateTableParams)
def candidate_table(
    context: Context, params: CandidateTableParams, *, answered: tuple[Artifact, ...]
) -> None:
    """Write one row per response, ordered by prompt, then by source as given.

    Args:
        answered: response rows of each source; `rewards` and `checks` are optional.
    """
    with ExitStack() as opened:
        files = (source.path / "rows.jsonl" for source in answered)
        tables = [opened.enter_context(closing(RowsById(file))) for file in files]
        order = dict.fromkeys(id for table in tables for id in table)
        rows = (
            {
                "id": f"{params.domain}/{prompt}/{found.source_model}/{found.sample_index}",
                **found.model_dump(),
            }
            for prompt in order
            for table in tables
            for found in candidates_of(table.get(prompt), params)
        )
        write_rows(context.directory / "rows.jsonl", rows)


def candidates_of(row: Row | None, params: CandidateTableParams) -> Iterator[Candidate]:
    """Candidates of one response row; none for None.

    Raises:
        BadData: the row does not have one reward, check, token count or finish per response.
    """
    if row is None:
        return
    columns: dict[str, Sequence[Any]] = {}
    for name in ("rewards", "checks", "tokens_out", "finish"):
        columns[name] = row.get(name) or [None] * len(row["responses"])
        if len(columns[name]) != len(row["responses"]):
            raise BadData(
                f'row "{row["id"]}" of {row["system"]}: {len(columns[name])} {name} for '
                f"{len(row['responses'])} responses; expected one each"
            )
    for number, response in enumerate(row["responses"]):
        yield Candidate(
            domain=params.domain,
            prompt_id=row["id"],
            messages=row["messages"],
            source_model=row["system"],
            sample_index=number,
            sampling=params.sampling.get(row["system"], {}),
            response=response,
            rm_score=columns["rewards"][number],
            response_tokens=columns["tokens_out"][number],
            finish=columns["finish"][number],
            **(columns["checks"][number] or {}),
        )


def read_candidates(rows: Iterable[Row]) -> Iterator[Candidate]:
    """Parse the rows of a candidate table."""
    for row in rows:
        yield Candidate.model_validate({key: row[key] for key in row if key != "id"})


def export(
    candidates: Iterable[Candidate],
    folder: Path,
    *,
    form: Literal["parquet", "jsonl"] = "parquet",
    title: str = "Candidates",
    licence: str = "other",
    settings: Mapping[str, object] | None = None,
) -> None:
    """Write candidates and a card (README.md) as a data set; the folder appears complete or not.

    Args:
        licence: licence of the data set, for the card's header.
        settings: models, sampling, checks and rules, shown in the card.

    Raises:
        UserError: the folder exists.
        MissingExtra: parquet without pyarrow.
    """
    with atomic_folder(folder) as fresh:
        kept = list(candidates)
        name = f"candidates.{form}"
        rows = [{**c.model_dump(), "sampling": json.dumps(c.sampling)} for c in kept]
        if form == "parquet":
            try:
                import pyarrow as pa
                from pyarrow import parquet
            except ImportError:
                raise MissingExtra("pyarrow", "train") from None
            parquet.write_table(pa.Table.from_pylist(encodable(rows)), fresh / name)
        else:
            write_rows(fresh / name, rows)
        text = card(kept, name, title, licence, settings or {})
        (fresh / "README.md").write_text(text, encoding="utf-8")


def card(
    candidates: Sequence[Candidate],
    name: str,
    title: str,
    licence: str,
    settings: Mapping[str, object],
) -> str:
    """README of the data set: metadata header for hubs, counts, settings, licence."""
    header = {
        "license": visible(licence),
        "pretty_name": visible(title),
        "configs": [{"config_name": "default", "data_files": name}],
    }
    headings = ("domain", "source", "prompts", "responses", "rewards", "right", "wrong", "open")
    groups: dict[tuple[str, str], list[Candidate]] = {}
    for candidate in candidates:
        groups.setdefault((candidate.domain, candidate.source_model), []).append(candidate)
    table: list[tuple[object, ...]] = [headings]
    for key, found in groups.items():
        verdicts = Counter(candidate.right for candidate in found)
        prompts = len({candidate.prompt_id for candidate in found})
        rewards = sum(candidate.rm_score is not None for candidate in found)
        table.append((*key, prompts, len(found), rewards, *map(verdicts.get, (True, False, None))))
    shown = [f"| {' | '.join(markdown(str(cell or 0)) for cell in row)} |" for row in table]
    lines = [
        *("---", *(f"{key}: {json.dumps(value)}" for key, value in header.items()), "---", ""),
        *(f"# {markdown(title)}", "", f"{len(candidates)} candidates, one response each.", ""),
        *(shown[0], "|---" * len(headings) + "|", *shown[1:]),
        *("", "## Settings", "", "```json"),
        *(json.dumps(settings, indent=1, sort_keys=True, default=str), "```", "", "## Licence", ""),
        "Prompts come from the data sets named above and keep their licences. Responses are output "
        "of the models named above; the models' licences decide what may be trained on them.",
    ]
    return "\n".join(lines) + "\n"
