"""Files of authors: texts or posts with a 0/1 label for each trait, in any common format.

    id, text, ext, neu, ...        also label_ext, or cEXT with y and n (the corpus of essays)
    type, posts                    four letters; posts separated by "|||" (the Kaggle form)

CSV, JSON lines (.gz), JSON and Parquet files, and data sets of the hub, have the same columns. Rows
come out as `{"id", "text" or "posts", "labels": {trait: 0 | 1}}`. Pickles are refused by their
content, whatever their name: reading one can run code.

The two published test sets are found below $CRUCIBLE_DATA and checked by a digest of their content,
see `harness.data.official`.
"""

from __future__ import annotations

import json
import logging
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from harness.core.errors import BadData, unknown
from harness.data.forms import Row
from harness.data.official import PREFIX, load_piece, piece_identity
from harness.data.pickles import NAMES
from harness.data.sets import Piece
from harness.data.tables import FILES, read_table
from harness.data.traits import MBTI, Trait, scheme

_LOG = logging.getLogger(__name__)

SEPARATOR = "|||"
MASK = "[type]"
_TYPES = re.compile(r"(?<![a-z])[ie][ns][ft][jp](?=s?(?![a-z]))", re.IGNORECASE)
_LETTERS = ("ei", "ns", "ft", "jp")  # letters allowed at each position of a type
_LABELS = {"0": 0, "1": 1, "false": 0, "true": 1, "n": 0, "y": 1}
_KNOWN = frozenset({"id", "text", "posts", "type", "n_posts"})


def read_authors(
    path: Path,
    traits: Sequence[Trait],
    columns: Mapping[str, str] | None = None,
    separator: str = SEPARATOR,
) -> list[Row]:
    """Author rows of a file; see `author_rows`.

    Raises:
        BadData: with file, row and what was expected; for anything that contains a pickle.
    """
    # A file may have any name: its content decides whether it is refused.
    return author_rows(read_table(path), str(path), traits, columns, separator)


def author_rows(
    objects: Sequence[Row],
    where: str,
    traits: Sequence[Trait],
    columns: Mapping[str, str] | None = None,
    separator: str = SEPARATOR,
) -> list[Row]:
    """Author rows of the rows of a file or of a data set.

    Args:
        where: path or name of the data set, for messages.
        columns: name in the file of "id", "text", "posts", "type" or a trait, if it is not one
            of the names above; upper and lower case are the same.
        separator: between posts that are one text.

    Raises:
        BadData: with the row and what was expected.
    """
    if not objects:
        raise BadData(f"{where}: no authors; expected one per row")
    found = _columns(objects, traits, columns or {}, where)
    rows = [_row(item, number, found, separator, where) for number, item in enumerate(objects, 1)]
    seen: dict[str, int] = {}
    for number, row in enumerate(rows, 1):
        if seen.setdefault(row["id"], number) != number:
            raise BadData(
                f'{where}, row {number}: the id "{row["id"]}" is also the id of row '
                f"{seen[row['id']]}; expected unique ids"
            )
    return rows


def is_hub(ref: str) -> bool:
    """Whether a reference that is no file looks like a hub id, not like a mistyped path.

    >>> is_hub("org/name:train"), is_hub("org/authors.csv")
    (True, False)
    """
    known = re.fullmatch(r"[\w][\w.-]*/[\w][\w.-]*(:\w+)?", ref) is not None
    return known and not ref.endswith((*FILES, *NAMES))


def _columns(
    objects: Sequence[Row], traits: Sequence[Trait], columns: Mapping[str, str], ref: str
) -> dict[str, str]:
    """Column of the file for "id", "text", "posts", "type" and each trait."""
    names = dict.fromkeys(name for item in objects for name in item)
    lower = {name.lower(): name for name in names}
    places: dict[str, tuple[str, ...]] = {name: (name,) for name in ("text", "posts", "type")}
    places["id"] = ("id", "#authid")  # the second: the corpus of essays
    if tuple(traits) != MBTI:
        del places["type"]
    places |= {t.name: (t.name, f"label_{t.name}", f"c{t.name}") for t in traits}
    for place, name in columns.items():
        if place not in places:
            raise unknown("column of author sets", place, places)
        if name not in names:
            raise unknown(f"column in {ref}", name, names)
    found = {
        place: next(lower[name] for name in known if name in lower)
        for place, known in places.items()
        if place not in columns and any(name in lower for name in known)
    } | dict(columns)
    if "text" not in found and "posts" not in found:
        raise BadData(f"{ref}: no column text or posts; found {', '.join(names)}")
    for trait in traits:
        if trait.name not in found and "type" not in found:
            raise BadData(
                f"{ref}: no labels for {trait.name}; expected a column "
                f"{' or '.join(places[trait.name])}; found {', '.join(names)}"
            )
    ignored = [name for name in names if name not in found.values() and name not in _KNOWN]
    if ignored:
        _LOG.warning("%s: unused columns: %s", ref, ", ".join(ignored))
    return found


def _row(
    item: Row, number: int, columns: Mapping[str, str], separator: str, ref: str
) -> dict[str, Any]:
    where = f"{ref}, row {number}"
    given = {place: item.get(name) for place, name in columns.items()}
    id = f"author-{number}" if "id" not in columns else given["id"]
    if _missing(id) or not str(id).strip():
        raise BadData(f"{where}: the id is missing; expected one in every row, or no such column")
    row: Row = {"id": str(id)}
    if _missing(given.get("posts")):
        text = given.get("text")
        if not isinstance(text, str) or not text.strip():
            raise BadData(f"{where}: the author has no text; expected some in every row")
        row["text"] = text
    else:
        row["posts"] = _posts(given["posts"], separator, where)
    typed = _of_type(given["type"], where) if "type" in columns else {}
    names = [name for name in columns if name not in ("id", "text", "posts", "type")]
    labels = {name: _label(given[name], f"{where}: {columns[name]}") for name in names}
    for name, label in labels.items():
        if typed.get(name, label) != label:
            raise BadData(f"{where}: {columns[name]} is {label}, but the type is {given['type']}")
    return {**row, "labels": labels | typed}


def _missing(value: object) -> bool:
    return value is None or value == "" or (isinstance(value, float) and value != value)


def _label(value: object, where: str) -> int:
    """0 or 1, from a number, a boolean or a text."""
    if isinstance(value, int | float) and value in (0, 1):
        return int(value)
    if isinstance(value, str) and value.strip().lower() in _LABELS:
        return _LABELS[value.strip().lower()]
    found = "missing" if _missing(value) else repr(value)[:40]
    raise BadData(f"{where} is {found}; expected 0 or 1, true or false, y or n")


def _of_type(value: object, where: str) -> dict[str, int]:
    """Four labels of a type; E, S, T and J are 1."""
    letters = value.strip().upper() if isinstance(value, str) else ""
    fits = len(letters) == 4 and all(
        letter.lower() in known for letter, known in zip(letters, _LETTERS)
    )
    if not fits:
        found = "missing" if _missing(value) else repr(value)[:40]
        raise BadData(f"{where}: type is {found}; expected four letters such as INFP")
    return {trait.name: int(letter in "ESTJ") for trait, letter in zip(MBTI, letters)}


def _posts(value: object, separator: str, where: str) -> list[str]:
    posts = value
    if isinstance(value, str):
        posts = value.split(separator)
        if value.lstrip().startswith("["):  # a list as JSON, or a post that begins like one
            with suppress(json.JSONDecodeError):
                posts = json.loads(value)
    if not isinstance(posts, list) or not all(isinstance(post, str) for post in posts):
        raise BadData(
            f"{where}: posts are {type(value).__name__}; expected a list of texts, or one text "
            f'with the posts separated by "{separator}"'
        )
    if not any(post.strip() for post in posts):
        raise BadData(f"{where}: all {len(posts)} posts are empty")
    return posts


def mask_types(row: Row) -> tuple[Row, int]:
    """A row without the 16 type words, and the number of its posts (or texts) that changed.

    >>> mask_types({"id": "a", "text": "we INFPs, unlike estj's, ask"})[0]["text"]
    "we [type]s, unlike [type]'s, ask"
    """
    if "posts" not in row:
        text = _TYPES.sub(MASK, row["text"])
        return {**row, "text": text}, int(text != row["text"])
    posts = [_TYPES.sub(MASK, post) for post in row["posts"]]
    changed = sum(new != old for new, old in zip(posts, row["posts"]))
    return {**row, "posts": posts}, changed


def author_sets_overlap(first: Iterable[Row], second: Iterable[Row]) -> None:
    """Refuse two sets that share a text; case and white space are ignored.

    Raises:
        BadData: with the author of each set.
    """
    known = {_normal(row): row["id"] for row in first}
    for row in second:
        other = known.get(_normal(row))
        if other is not None:
            raise BadData(
                f'authors "{other}" and "{row["id"]}" of two splits have the same text; expected '
                "no author in both the training and the labelled split: remove it from one"
            )


def _normal(row: Row) -> str:
    text = " ".join(row["posts"]) if "posts" in row else row["text"]
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _published(path: Path, traits: tuple[Trait, ...]) -> list[Row]:
    return read_authors(path, traits)


# SHA-256 of the uncompressed JSON lines: 03beaa07... (essays) and 3a7ecf06... (posts). The digests
# below are of the rows read from them, so that Parquet files are checked against the same content.
AUTHOR_SETS: dict[str, Piece[list[Row]]] = {
    "essays_test": Piece(
        what="the essays",
        rows=247,
        digest="d9397afff4ea5e19f8b2d66c9e560ea0",
        files=("personality/essays_test.jsonl", "personality/essays_test.parquet"),
        read=partial(_published, traits=scheme("big_five")),
    ),
    "kaggle_mbti_test": Piece(
        what="the posts",
        rows=200,
        digest="9f1a737846ad3dbf592659430f66c1f8",
        files=("personality/kaggle_mbti_test.jsonl", "personality/kaggle_mbti_test.parquet"),
        read=partial(_published, traits=MBTI),
    ),
}


def official_authors(ref: str, folder: Path | None = None) -> list[Row]:
    """Rows of "official:<set>"; see `harness.data.official.prompts` for errors."""
    return load_piece(ref, official_piece(ref), folder)


def official_identity(ref: str) -> str:
    """Reference and digest of its content; needs no data."""
    return piece_identity(ref, official_piece(ref), None)


def official_piece(ref: str) -> Piece[list[Row]]:
    name = ref.removeprefix(PREFIX)
    if name not in AUTHOR_SETS:
        raise unknown("official author set", name, AUTHOR_SETS)
    return AUTHOR_SETS[name]
