"""The operation `import_authors`: labelled authors as rows, from wherever they are.

    nano:essays, nano:posts            synthetic authors (also "/train")
    official:essays_test               and official:kaggle_mbti_test, below $CRUCIBLE_DATA
    a file or org/name[:split]         see `harness.data.author_files`

Writes rows.jsonl, `{"id", "text" or "posts", "labels"}`; traits.json, the traits in their order;
and summary.json, the number of posts in which type words were masked.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

from pydantic import Field

from harness.core.errors import BadData, UserError
from harness.core.hashing import canonical_json, digest, file_digest
from harness.core.records import Record
from harness.data.author_files import (
    SEPARATOR,
    author_sets_overlap,
    is_hub,
    mask_types,
    official_authors,
    official_identity,
    official_piece,
    read_authors,
)
from harness.data.official import is_official
from harness.data.traits import scheme
from harness.engine.operations import Artifact, Context, Estimate, Row, operation

NANO = "nano:"


class ImportAuthorsParams(Record):
    """Which authors.

    Attributes:
        scheme: of traits, see `harness.data.traits`.
        limit: the first authors only.
        digest: `authors_identity` at planning time; puts a file's content into the stage id.
        columns, separator: see `read_authors`.
        mask: take the 16 type words out of the texts, which name the label.
    """

    ref: str
    scheme: str
    limit: int | None = Field(default=None, ge=1)
    digest: str | None = None
    columns: dict[str, str] = {}
    separator: str = Field(default=SEPARATOR, min_length=1)
    mask: bool = False


def _expected(params: ImportAuthorsParams, apart: Estimate | None = None) -> Estimate:
    known = None
    if params.ref.startswith(NANO):
        known = len(read_set(params))
    elif is_official(params.ref):
        known = official_piece(params.ref).rows
    return Estimate(rows=params.limit if known is None else min(known, params.limit or known))


@operation("import_authors", version=1, params=ImportAuthorsParams, estimate=_expected)
def import_authors(
    context: Context, params: ImportAuthorsParams, *, apart: Artifact | None = None
) -> None:
    """Write the authors; none may share a text with `apart`, another split.

    Raises:
        BadData: naming file and row; a text of both splits; a file that changed since planning.
        EnvironmentProblem: a set that is not here and cannot be fetched.
    """
    found = authors_identity(params.ref)
    if params.digest is not None and params.digest != found:
        raise BadData(
            f"authors {params.ref} are now {found}, but the plan was made with {params.digest}; "
            "the file changed: run the command again"
        )
    traits = scheme(params.scheme)
    rows = read_set(params)[: params.limit]
    if any(set(row["labels"]) != {trait.name for trait in traits} for row in rows):
        raise UserError(f"{params.ref} is not labelled by the scheme {params.scheme}")
    masked = 0
    if params.mask:
        changed = [mask_types(row) for row in rows]
        rows, masked = [row for row, _ in changed], sum(count for _, count in changed)
    if apart is not None:
        author_sets_overlap(apart.rows(), rows)
    with (context.directory / "rows.jsonl").open("wb") as stream:
        stream.writelines(canonical_json(row) + b"\n" for row in rows)
    dumps = [trait.model_dump() for trait in traits]
    for name, content in (("traits.json", dumps), ("summary.json", {"masked_posts": masked})):
        (context.directory / name).write_text(json.dumps(content) + "\n", encoding="utf-8")
    context.progress(len(rows), len(rows))


def authors_identity(ref: str) -> str:
    """What a set is: a digest of its content, or the reference.

    Raises:
        UserError: the reference leads nowhere.
    """
    if ref.startswith(NANO):
        return f"{ref}@{digest(_nano(ref))}"
    if is_official(ref):
        return official_identity(ref)
    path = Path(ref).expanduser()
    if path.is_file():
        return f"file@{file_digest(path)}"
    if is_hub(ref):
        return f"hub:{ref}@main"
    raise UserError(
        f'no authors "{ref}"; expected nano:essays, nano:posts, official:essays_test, '
        "official:kaggle_mbti_test, a .csv, .jsonl, .json or .parquet file, or a hub data set "
        "org/name[:split]"
    )


def read_set(params: ImportAuthorsParams) -> list[Row]:
    """All authors of a reference; see `import_authors` for the errors."""
    if params.ref.startswith(NANO):
        return _nano(params.ref)
    if is_official(params.ref):
        return official_authors(params.ref)
    return read_authors(params.ref, scheme(params.scheme), params.columns, params.separator)


def may_have_posts(params: ImportAuthorsParams) -> bool:
    """Whether an author may have posts to put in another order; see `import_authors` for errors.

    A set that is not at hand while planning is taken for what is published of its scheme: posts of
    MBTI types, essays of the Big Five.
    """
    at_hand = params.ref.startswith(NANO) or Path(params.ref).expanduser().is_file()
    return _any_posts(params.model_dump_json()) if at_hand else params.scheme == "mbti"


@lru_cache(maxsize=16)
def _any_posts(params: str) -> bool:  # asked for every system and seed
    given = ImportAuthorsParams.model_validate_json(params)
    return any("posts" in row for row in read_set(given)[: given.limit])


def _nano(ref: str) -> list[Row]:
    from harness.nano.authors import rows

    return rows(ref.removeprefix(NANO))
