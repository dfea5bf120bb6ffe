"""Preference data that exist: the operation `import_preferences`.

    nano:<split>   quadruples of the nano world
    <file>         .jsonl or .json (also .gz), .parquet or .csv
    <folder>       a data set that `datasets` saved to disk
    <org>/<name>   a data set of the hub

The rows are those of the operation `preference_pairs`, so that any preference training reads them;
`harness.data.preference_forms` describes the forms that are read. They keep the order of the data.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from harness.core.errors import BadData, check_planned
from harness.core.hashing import digest
from harness.core.records import Record
from harness.data.files import load_dataset
from harness.data.preference_forms import preference_row
from harness.data.prompts import is_hub
from harness.data.sources import Kind, Source, file_identity, hub_identity
from harness.data.tables import FILES, count_rows, folder_identity, read_saved, read_table
from harness.engine.io import write_json, write_rows
from harness.engine.operations import Context, Estimate, Row, operation


class ImportPreferencesParams(Record):
    """Which preferences to import.

    Attributes:
        split, revision: of a data set of the hub or on disk.
        limit: number of rows to keep.
        digest: `preferences_identity` at planning time; makes the content part of the stage id.
        bad_rows: "refuse" stops at the first row that cannot be used; "drop" leaves such rows out
            and counts them.
    """

    ref: str
    split: str = "train"
    revision: str | None = None
    limit: int | None = Field(default=None, ge=1)
    digest: str | None = None
    bad_rows: Literal["refuse", "drop"] = "refuse"


PROGRESS = 1000  # rows between two reports
Items = Iterable[tuple[str, dict[str, Any]]]  # file and row of each row of a data set


@dataclass
class Imported:
    """Rows of a data set as preference rows, and what was left out.

    Attributes:
        identical: rows whose preferred and rejected response are the same, which teach nothing.
        repeated: rows without an id, with the prompt and responses of an earlier one.
        scored_lower: rows whose preferred response has the lower score; they are kept.
        bad: rows that cannot be used, with `bad_rows` = "drop"; `first_bad` says why.
        unique_ids: whether two rows with one id are refused; else the second gets another id.
    """

    unique_ids: bool = True
    rows: list[Row] = field(default_factory=list)
    identical: int = 0
    repeated: int = 0
    scored_lower: int = 0
    bad: int = 0
    first_bad: str = ""
    _places: dict[str, str] = field(default_factory=dict, repr=False)  # id -> file and row
    _contents: set[str] = field(default_factory=set, repr=False)

    @property
    def read(self) -> int:
        """Number of rows of the data set that were read."""
        return len(self.rows) + self.identical + self.repeated + self.bad

    def add(self, row: Row | None, where: str) -> None:
        """Keep or count a row; None is one whose responses do not differ.

        Raises:
            BadData: its id is that of another row, or it has other responses than the rows before.
        """
        if row is None:
            self.identical += 1
            return
        content = digest([row["messages"], row["responses"]])
        own = self.unique_ids and row["id"] != content
        if content in self._contents and not own:
            self.repeated += 1
            return
        if row["id"] in self._places:
            if own:
                raise BadData(
                    f'{where}: the id "{row["id"]}" is that of {self._places[row["id"]]}, too; '
                    "expected unique ids"
                )
            row["id"] = content
        if self.rows and tuple(row["responses"]) != self.responses:
            raise BadData(
                f"{where}: found the responses {', '.join(row['responses'])}; expected "
                f"{', '.join(self.responses)}, as in the rows before"
            )
        self._places[row["id"]] = where
        self._contents.add(content)
        scores = row.get("rewards")
        self.scored_lower += bool(scores and scores["target"] < scores["rejected"])
        self.rows.append(row)

    @property
    def responses(self) -> tuple[str, ...]:
        """Names of the responses, which all rows have."""
        return tuple(self.rows[0]["responses"]) if self.rows else ()

    def notes(self) -> Iterator[str]:
        """What a user should know of the data: rows left out, and odd scores."""
        for number, what in (
            (self.identical, "were left out: their responses do not differ"),
            (self.repeated, "were left out: they repeat an earlier row"),
            (self.bad, f"were left out as unusable; the first: {self.first_bad}"),
            (self.scored_lower, "were kept whose preferred response has the lower score"),
        ):
            if number:
                yield f"{number} of {self.read} rows {what}"

    def summary(self) -> dict[str, Any]:
        counts = {
            "rows": len(self.rows),
            "read": self.read,
            "identical": self.identical,
            "repeated": self.repeated,
            "scored_lower": self.scored_lower,
            "bad": self.bad,
        }
        return {**counts, "responses": list(self.responses), "first_bad": self.first_bad}


def _expected(params: ImportPreferencesParams) -> Estimate:
    known, names = PREFERENCES.source(params.ref).count(params), responses_in(params)
    rows = params.limit if known is None else min(known, params.limit or known)
    return Estimate(rows=rows, responses=len(names) if names else None)


@operation("import_preferences", version=1, params=ImportPreferencesParams, estimate=_expected)
def import_preferences(context: Context, params: ImportPreferencesParams) -> None:
    """Write rows.jsonl: {"id", "messages", "responses", "rewards"}, ids unique, and summary.json.

    Rows whose responses do not differ and repeated rows are left out and counted in summary.json.

    Raises:
        BadData: with file and row, for a row that is no preference; or no row is left.
        UserError: the reference leads nowhere.
        EnvironmentProblem: a data set of the hub cannot be reached.
    """
    found = preferences_identity(params.ref, params.revision)
    check_planned(f"preferences {params.ref}", found, params.digest)
    made = read_preferences(params, context.progress)
    write_rows(context.directory / "rows.jsonl", made.rows)
    write_json(context.directory / "summary.json", made.summary(), end="")
    context.progress(len(made.rows), len(made.rows))
    for note in made.notes():
        context.note(note)


def read_preferences(
    params: ImportPreferencesParams, progress: Callable[[int, int], None] = lambda done, total: None
) -> Imported:
    """The rows that `import_preferences` writes; see there for errors.

    Args:
        progress: callback for the number of rows that are kept, and of those expected at most.
    """
    source = PREFERENCES.source(params.ref)
    known = [number for number in (source.count(params), params.limit) if number is not None]
    made = Imported(unique_ids=source is not PREFERENCES.hub)
    for where, item in source.rows(params):
        if params.limit is not None and len(made.rows) == params.limit:
            break
        if made.read % PROGRESS == 0 and known:
            progress(len(made.rows), min(known))
        try:
            made.add(preference_row(item, where), where)
        except BadData as problem:
            if params.bad_rows == "refuse":
                raise _with_remedy(problem) from None
            made.bad, made.first_bad = made.bad + 1, made.first_bad or str(problem)
    if not made.rows:
        raise BadData(_nothing_left(params.ref, made))
    return made


def _with_remedy(problem: BadData) -> BadData:
    return BadData(f'{problem} (or leave such rows out: data.preferences.bad_rows = "drop")')


def _nothing_left(ref: str, made: Imported) -> str:
    if not made.read:
        return f"{ref} has no rows; expected preferences: prompt, chosen and rejected"
    left_out = Counter(identical=made.identical, bad=made.bad)
    said = ", ".join(f"{number} {name}" for name, number in left_out.items() if number)
    more = f"; the first bad one: {made.first_bad}" if made.first_bad else ""
    return f"{ref}: no preference is left of {made.read} rows ({said}){more}"


def responses_in(params: ImportPreferencesParams) -> tuple[str, ...] | None:
    """Names of the responses of the rows, from the first usable one; None if that is unknown.

    Reads only what is at hand while a plan is made; see `read_preferences` for errors.
    """
    source = PREFERENCES.source(params.ref)
    if not source.at_hand:
        return None
    for where, item in source.rows(params):
        try:
            row = preference_row(item, where)
        except BadData:
            continue  # for the operation, which knows `bad_rows`
        if row is not None:
            return tuple(row["responses"])
    return None


def _from_file(params: ImportPreferencesParams) -> Items:
    path = Path(params.ref).expanduser()
    return _numbered(read_table(path), str(path))


def _from_folder(params: ImportPreferencesParams) -> Items:
    folder = Path(params.ref).expanduser()
    return _numbered(read_saved(folder, params.split), f"{folder} ({params.split})")


def _from_hub(params: ImportPreferencesParams) -> Items:
    rows = load_dataset(params.ref, params.split, params.revision)
    return _numbered(map(dict, rows), f"{params.ref} ({params.split})")


def _numbered(rows: Iterable[dict[str, Any]], name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    return ((f"{name}, row {number}", row) for number, row in enumerate(rows, 1))


def _count(params: ImportPreferencesParams) -> int:
    path = Path(params.ref).expanduser()
    return _counted(path, path.stat().st_size, path.stat().st_mtime_ns)


@lru_cache(maxsize=64)
def _counted(path: Path, size: int, modified: int) -> int:
    """Rows of a file; size and modification time are keys of the cache."""
    return count_rows(path)


PREFERENCES = Kind[ImportPreferencesParams, Items](
    "preferences",
    file=Source(
        f"a {', '.join(FILES[:2])} (.gz), .parquet or .csv file",
        file_identity,
        _from_file,
        count=_count,
        at_hand=True,
    ),
    folder=Source("a folder written by save_to_disk", folder_identity, _from_folder, at_hand=True),
    hub=Source("a data set of the hub <org>/<name>", hub_identity, _from_hub),
    is_hub=is_hub,
)
preferences_identity = PREFERENCES.identity
