"""The operation `import_authors`: labelled authors as rows, from any source.

    nano:essays, nano:posts            synthetic authors (also "/train")
    official:essays_test               and official:kaggle_mbti_test, below $CRUCIBLE_DATA
    <file>, <org>/<name>[:<split>]     see `harness.data.author_files`

Writes rows.jsonl, `{"id", "text" or "posts", "labels"}`; traits.json, the traits in order; and
summary.json, the number of posts in which type words were masked.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from pydantic import Field

from harness.core.errors import UserError, check_planned
from harness.core.records import Record
from harness.data.author_files import (
    SEPARATOR,
    author_rows,
    author_sets_overlap,
    is_hub,
    mask_types,
    official_authors,
    official_identity,
    official_piece,
    read_authors,
)
from harness.data.files import load_dataset
from harness.data.sources import Kind, Source, file_identity, hub_identity
from harness.data.traits import scheme
from harness.engine.io import write_json, write_rows
from harness.engine.operations import Artifact, Context, Estimate, Row, operation


class ImportAuthorsParams(Record):
    """Which authors to import.

    Attributes:
        scheme: of traits, see `harness.data.traits`.
        limit: number of authors, from the first; None is all.
        digest: `authors_identity` at planning time; makes the content part of the stage id.
        columns, separator: see `author_rows`.
        mask: remove the 16 type words, which state the label, from the texts.
    """

    ref: str
    scheme: str
    limit: int | None = Field(default=None, ge=1)
    digest: str | None = None
    columns: dict[str, str] = {}
    separator: str = Field(default=SEPARATOR, min_length=1)
    mask: bool = False


def _expected(params: ImportAuthorsParams, apart: Estimate | None = None) -> Estimate:
    known = AUTHORS.source(params.ref).count(params)
    return Estimate(rows=params.limit if known is None else min(known, params.limit or known))


@operation("import_authors", version=1, params=ImportAuthorsParams, estimate=_expected)
def import_authors(
    context: Context, params: ImportAuthorsParams, *, apart: Artifact | None = None
) -> None:
    """Write the authors; none may share a text with `apart`, another split.

    Raises:
        BadData: with file and row; a text of both splits; a file that changed since planning.
        EnvironmentProblem: a set is not on this machine and cannot be downloaded.
    """
    check_planned(f"authors {params.ref}", authors_identity(params.ref), params.digest)
    traits = scheme(params.scheme)
    rows = AUTHORS.source(params.ref).rows(params)[: params.limit]
    if any(set(row["labels"]) != {trait.name for trait in traits} for row in rows):
        raise UserError(f"{params.ref} is not labelled by the scheme {params.scheme}")
    masked = 0
    if params.mask:
        changed = [mask_types(row) for row in rows]
        rows, masked = [row for row, _ in changed], sum(count for _, count in changed)
    if apart is not None:
        author_sets_overlap(apart.rows(), rows)
    write_rows(context.directory / "rows.jsonl", rows)
    dumps = [trait.model_dump() for trait in traits]
    for name, content in (("traits.json", dumps), ("summary.json", {"masked_posts": masked})):
        write_json(context.directory / name, content, indent=None, sort_keys=False)
    context.progress(len(rows), len(rows))


def may_have_posts(params: ImportAuthorsParams) -> bool:
    """Whether an author may have posts that can be reordered; see `import_authors` for errors.

    A set that cannot be read while planning is assumed to be like the published one of its scheme:
    posts for MBTI types, essays for the Big Five.
    """
    if not AUTHORS.source(params.ref).at_hand:
        return params.scheme == "mbti"
    return _any_posts(params.model_dump_json())


@lru_cache(maxsize=16)
def _any_posts(params: str) -> bool:  # called for every system and seed
    given = ImportAuthorsParams.model_validate_json(params)
    rows = AUTHORS.source(given.ref).rows(given)
    return any("posts" in row for row in rows[: given.limit])


def _from_file(params: ImportAuthorsParams) -> list[Row]:
    path = Path(params.ref).expanduser()
    return read_authors(path, scheme(params.scheme), params.columns, params.separator)


def _from_hub(params: ImportAuthorsParams) -> list[Row]:
    name, _, split = params.ref.partition(":")
    rows = [dict(row) for row in load_dataset(name, split or "test")]
    traits = scheme(params.scheme)
    return author_rows(rows, params.ref, traits, params.columns, params.separator)


AUTHORS = Kind(
    "authors",
    schemes={
        "official": Source(
            "official:essays_test, official:kaggle_mbti_test",
            lambda ref, revision: official_identity(ref),
            lambda params: official_authors(params.ref),
            count=lambda params: official_piece(params.ref).rows,
        )
    },
    file=Source(
        "a .csv, .jsonl, .json or .parquet file",
        lambda ref, revision: f"file@{file_identity(ref)}",
        _from_file,
        at_hand=True,
    ),
    hub=Source("a data set of the hub <org>/<name>[:<split>]", hub_identity, _from_hub),
    is_hub=is_hub,
)
authors_identity = AUTHORS.identity
