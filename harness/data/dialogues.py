"""The operation `import_dialogues`: task-oriented dialogues with knowledge, from any source.

    nano:dialogues, nano:distinct_dialogues   synthetic dialogues (also "/train", "/valid")
    official:camrest_test, mwoz_test, ...     published sets, below $CRUCIBLE_DATA/tod
    <file>, <org>/<name>[:<split>]            see `harness.data.dialogue_files`

Writes rows.jsonl, one system turn each; records.json, the shared knowledge base; entities.json, the
table of entities, slot -> values; and set.json: rules of extraction, digest of the data, counts.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from harness.core.errors import BadData, UserError, check_planned, unknown
from harness.core.hashing import digest
from harness.core.records import Record
from harness.data.author_files import is_hub
from harness.data.dialogue_files import (
    NAME,
    check_apart,
    entity_values,
    record_rows,
    shared_records,
    turn_rows,
    union,
)
from harness.data.files import load_dataset
from harness.data.forms import Row
from harness.data.official import PREFIX, load_piece, piece_identity
from harness.data.sets import Piece
from harness.data.sources import Kind, Source, file_identity, hub_identity
from harness.engine.io import read_json, read_objects, write_json, write_rows
from harness.engine.operations import Artifact, Context, Estimate, operation

FOLDER = "tod"
Rules = Literal["plain", "smd", "multiwoz"]  # of extraction of entities
ChosenRules = Literal["", "plain", "smd", "multiwoz"]  # "" takes those of the set
LEAST_KNOWN = 0.9  # share of gold values that an entity table of the same release contains


class ImportDialoguesParams(Record):
    """Which dialogues to import.

    Attributes:
        limit: number of dialogues, from the first; None is all.
        digest: `dialogues_identity` at planning time; makes the content part of the stage id.
        base: file of the shared knowledge base, one record per line; "" takes the published one,
            or the union of the sessions' records.
        entities: file of the entity table; "" takes the published one, or the values of the
            records.
        rules: of extraction, see `harness.suites.dialogue.entities`; "" takes those of the set,
            "plain" for a file.
        columns: name in the file of a field, see `harness.data.dialogue_files`.
        released: leave turns, contexts and records as they were published.
    """

    ref: str
    limit: int | None = Field(default=None, ge=1)
    digest: str | None = None
    base: str = ""
    entities: str = ""
    rules: ChosenRules = ""
    columns: dict[str, str] = {}
    released: bool = False


@dataclass(frozen=True)
class DialogueSet:
    """Dialogues with what belongs to them.

    Attributes:
        turns: see `harness.data.dialogue_files.turn_rows`.
        records: shared knowledge base; None is the union of the sessions' records, () if records
            of different dialogues contradict each other, so that there is none.
        entities: slot -> values; None to take the values of the records.
        rules: of extraction.
    """

    turns: list[Row]
    records: tuple[Row, ...] | None = None
    entities: dict[str, Any] | None = None
    rules: Rules = "plain"


def _expected(params: ImportDialoguesParams, apart: Estimate | None = None) -> Estimate:
    known = DIALOGUES.source(params.ref).count(params)
    return Estimate(rows=known if params.limit is None else None)


@operation("import_dialogues", version=1, params=ImportDialoguesParams, estimate=_expected)
def import_dialogues(
    context: Context, params: ImportDialoguesParams, *, apart: Artifact | None = None
) -> None:
    """Write the turns; no dialogue may also be in `apart`, another split.

    Raises:
        BadData: with file and row; a dialogue of both splits; a file that changed since planning;
            an entity table of another release.
        EnvironmentProblem: a set is not on this machine and cannot be downloaded.
    """
    found = dialogues_identity(params.ref, params.base, params.entities)
    check_planned(f"dialogues {params.ref}", found, params.digest)
    whole = dialogue_set(params)
    names = list(dict.fromkeys(turn["dialogue"] for turn in whole.turns))[: params.limit]
    kept = set(names)
    turns = [turn for turn in whole.turns if turn["dialogue"] in kept]
    if apart is not None:
        check_apart(turns, apart.rows(), params.ref)
    records = list(whole.records) if whole.records is not None else union(whole.turns)
    versions = Counter(record.get(NAME, "") for record in records)
    about = {
        "rules": whole.rules,
        "digest": digest([turns, records, whole.entities]),
        "dialogues": len(names),
        "records": len(records),
        "records_without_name": versions.pop("", 0),
        "names_with_several_records": sum(number > 1 for number in versions.values()),
    }
    write_rows(context.directory / "rows.jsonl", turns)
    write_json(context.directory / "records.json", records, indent=None)
    write_json(context.directory / "entities.json", whole.entities, indent=None)
    write_json(context.directory / "set.json", about)
    context.progress(len(turns), len(turns))


def dialogue_set(params: ImportDialoguesParams) -> DialogueSet:
    """The set that `import_dialogues` writes, before the limit; see there for errors."""
    found = DIALOGUES.source(params.ref).rows(params)
    records, entities = found.records, found.entities
    if params.base:
        path = _file(params.base, "base")
        records = shared_records(record_rows(list(read_objects(path)), str(path)))
    if params.entities:
        entities = read_json(_file(params.entities, "entities"))
        _check_release(entities, found.turns, params)
    if entities is None:
        entities = entity_values(found.turns, records or ())
    return DialogueSet(found.turns, records, entities, params.rules or found.rules)


def _file(ref: str, what: str) -> Path:
    path = Path(ref).expanduser()
    if not path.is_file():
        raise UserError(f'no file "{ref}"; expected the path of a file for {what}')
    return path


def _check_release(table: Any, turns: list[Row], params: ImportDialoguesParams) -> None:
    """Refuse a table that lacks the annotated values: it belongs to another data set or release."""
    if not isinstance(table, dict):
        raise BadData(f"{params.entities}: expected an object, slot -> list of values")
    known = {_plain(value) for values in table.values() for value in _flat(values)}
    gold = [_plain(value) for turn in turns for value in turn["gold"]]
    have = sum(value in known for value in gold)
    if gold and have < LEAST_KNOWN * len(gold):
        raise BadData(
            f"{params.entities} contains {have} of the {len(gold)} annotated values of "
            f"{params.ref}; expected at least {LEAST_KNOWN:.0%}: it is the entity file of another "
            "data set or release"
        )


def _flat(values: Any) -> list[Any]:
    items = values if isinstance(values, list) else [values]
    return [
        part for item in items for part in (item.values() if isinstance(item, dict) else [item])
    ]


def _plain(value: Any) -> str:
    return str(value).lower().replace("_", " ")


def dialogues_identity(ref: str, base: str = "", entities: str = "") -> str:
    """Identity of a set with its own files of records and entities; see `import_dialogues`."""
    own = DIALOGUES.identity(ref)
    more = [file_identity(str(_file(path, name))) for path, name in (
        (base, "base"), (entities, "entities")
    ) if path]  # fmt: skip
    return own if not more else f"{ref}@{digest([own, *more])}"


# --- Files and the hub


def _from_file(params: ImportDialoguesParams) -> DialogueSet:
    path = Path(params.ref).expanduser()
    objects = list(read_objects(path))
    return DialogueSet(turn_rows(objects, str(path), params.columns, params.released))


def _from_hub(params: ImportDialoguesParams) -> DialogueSet:
    name, _, split = params.ref.partition(":")
    objects = [dict(row) for row in load_dataset(name, split or "test")]
    return DialogueSet(turn_rows(objects, params.ref, params.columns, params.released))


# --- Published sets, in the compact form


def _piece(name: str, rows: int, content: str, what: str = "the turns") -> Piece[list[Row]]:
    return Piece(f"{what} of {name}", rows, content, (f"{FOLDER}/{name}.jsonl",), read_objects)


def _table(name: str, content: str) -> Piece[list[Row]]:
    def read(path: Path) -> list[Row]:
        return [read_json(path)]

    return Piece("the entity table", 1, content, (f"{FOLDER}/{name}.json",), read)


TURNS = {
    "camrest_train": _piece("camrest_train", 2095, "fe5405c6a9541b83e3322f0cf08bddda"),
    "camrest_val": _piece("camrest_val", 675, "b2b943679c73a7ffb5e3c4c725646c18"),
    "camrest_test": _piece("camrest_test", 643, "e2503f1223ce07665e64b6d4b282bcbe"),
    "mwoz_val": _piece("mwoz_val", 576, "89f10ed3413f3b218343ced2b424b502"),
    "mwoz_test": _piece("mwoz_test", 711, "65bb8c1d2d50b6ddc44466a0f339347a"),
    "smd_train": _piece("smd_train", 6290, "6ec2d1741e8d60def824d5e627068aac"),
    "smd_val": _piece("smd_val", 777, "b7959e972473ff00fccc0400c331af4d"),
    "smd_test": _piece("smd_test", 807, "40cd6f46e47c6f629fdb57faf985932b"),
}
# Turns that remain without those whose reply is an API call; the other sets have none.
REPLIES = {"camrest_train": 1692, "camrest_val": 543, "camrest_test": 509}
# SMD has none: its records contradict each other between dialogues.
BASES = {
    "camrest": _piece("camrest_kb_full", 110, "4bd8c3a832c2a74401980bd5f4ca6ac2", "the records"),
    "mwoz": _piece("mwoz_kb_full", 194, "a2eb838ce2cb773241e7a14913d78435", "the records"),
}
TABLES: dict[str, tuple[Piece[list[Row]], Rules]] = {
    "camrest": (_table("camrest_entities", "98d69872cb963757ff517196bbd83423"), "plain"),
    "mwoz": (_table("mwoz_entities", "a2347ccf98eae6e83810a851f02d340b"), "multiwoz"),
    "smd": (_table("smd_kvret_entities", "97d79b427d1f0d50fc58eb73a92657a7"), "smd"),
}


def _official(params: ImportDialoguesParams) -> DialogueSet:
    pieces = _pieces(params.ref)
    turns, table, *base = (load_piece(params.ref, piece, None) for piece in pieces)
    return DialogueSet(
        turn_rows(turns, params.ref, params.columns, params.released),
        shared_records(record_rows(base[0] if base else [], params.ref)),
        table[0],
        TABLES[_family(params.ref)][1],
    )


def _official_identity(ref: str, revision: str | None = None) -> str:
    found = [piece_identity(ref, piece, None) for piece in _pieces(ref)]
    return f"{ref}@{digest(found)}"


def _pieces(ref: str) -> list[Piece[list[Row]]]:
    """Turns, entity table and, where there is one, shared base of a published set."""
    name, family = ref.removeprefix(PREFIX), _family(ref)
    return [TURNS[name], TABLES[family][0], *([BASES[family]] if family in BASES else [])]


def _family(ref: str) -> str:
    name = ref.removeprefix(PREFIX)
    if name not in TURNS:
        raise unknown("official set of dialogues", name, TURNS)
    return name.partition("_")[0]


def _count(params: ImportDialoguesParams) -> int | None:
    name = params.ref.removeprefix(PREFIX)
    rows = TURNS[name].rows
    return rows if params.released else REPLIES.get(name, rows)


DIALOGUES: Kind[ImportDialoguesParams, DialogueSet] = Kind(
    "dialogues",
    schemes={
        "official": Source(
            f"official:{', '.join(name for name in TURNS if name.endswith('_test'))}",
            _official_identity,
            _official,
            count=_count,
        )
    },
    file=Source(
        "a .jsonl or .json file (.gz)",
        lambda ref, revision: f"file@{file_identity(ref)}",
        _from_file,
        at_hand=True,
    ),
    hub=Source("a data set of the hub <org>/<name>[:<split>]", hub_identity, _from_hub),
    is_hub=is_hub,
)
