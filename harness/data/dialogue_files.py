"""Files of task-oriented dialogues: one object per system turn, with the records in sight.

    {"dialogue": 7, "turn": 2, "domain": "hotel", "context": ["user", "system", "user"],
     "response": "system", "kb": [{"name": "ashley_hotel", ...}], "gold": ["ashley_hotel"]}

Names of other releases are known, too: dialogue_id and did, output and output_used, gold_entities,
type. Values of several words may be joined with underscores. The sound form of a turn differs from
the published files in three ways, which `released` undoes:

* `ref` (the booking reference of this dialogue) and `choice` (its number of matches) are facts of
  the session, not of a record: they leave the records and become the turn's `facts`;
* turns whose reply is an `api_call` are no replies to a user: they are left out;
* `api_call ...` and `<silence>` leave the contexts, because they state what the user wants.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from harness.core.errors import BadData
from harness.core.hashing import canonical_json, digest
from harness.data.forms import Row

FIELDS: dict[str, tuple[str, ...]] = {
    "dialogue": ("dialogue", "dialogue_id", "did"),
    "turn": ("turn",),
    "domain": ("domain", "type"),
    "context": ("context",),
    "reference": ("response", "output", "output_used"),
    "kb": ("kb",),
    "gold": ("gold", "gold_entities"),
}
SESSION_FACTS = ("ref", "choice")
NAME = "name"
API_CALL, SILENCE = "api_call", "<silence>"
_OPTIONAL = ("turn", "domain")


def turn_rows(
    objects: Sequence[Row],
    where: str,
    columns: Mapping[str, str] | None = None,
    released: bool = False,
) -> list[Row]:
    """Turn rows: the fields of FIELDS, `id`, `facts`, and the context as a prompt, `messages`.

    The context of the prompt is in surface form; `reference` is the reply of the file.

    Args:
        where: path or name of the data set, for messages.
        columns: name in the file of a field, if it is none of FIELDS.
        released: leave turns, contexts and records as they were published.

    Raises:
        BadData: with the row and what was expected.
    """
    if not objects:
        raise BadData(f"{where}: no turns; expected one object per system turn")
    found: list[Row] = []
    numbers: dict[str, int] = {}
    seen: dict[str, int] = {}
    for number, item in enumerate(objects, 1):
        place = f"{where}, row {number}"
        row = _row(item, place, columns or {})
        name = row["dialogue"]
        numbers[name] = numbers.get(name, 0) + 1
        row["turn"] = numbers[name] if row["turn"] is None else row["turn"]
        row["id"] = f"{name}/{row['turn']}"
        if seen.setdefault(row["id"], number) != number:
            raise BadData(
                f"{place}: dialogue {name} has turn {row['turn']} in row {seen[row['id']]}, too; "
                "expected each turn of a dialogue once"
            )
        if released:
            found.append({**row, "facts": {}})
        elif not row["reference"].startswith(API_CALL):
            found.append(_sound(row))
    if not found:
        raise BadData(f"{where}: every reply is an {API_CALL}; expected replies to users")
    return [with_messages(row) for row in found]


def with_messages(row: Row) -> Row:
    """The turn with its context as one prompt; the user speaks first and last."""
    return {**row, "messages": [{"role": "user", "content": transcript(row["context"])}]}


def transcript(context: Sequence[str]) -> str:
    """A context as lines of speaker and utterance; the last one is the user's.

    >>> transcript(["hello", "good_day !", "a hotel please"])
    'user: hello\\nsystem: good day !\\nuser: a hotel please'
    """
    last = len(context) - 1
    speakers = ["user" if (last - place) % 2 == 0 else "system" for place in range(len(context))]
    said = (text.replace("_", " ") for text in context)
    return "\n".join(f"{who}: {text}" for who, text in zip(speakers, said, strict=True))


def _row(item: Row, where: str, columns: Mapping[str, str]) -> Row:
    values: Row = {}
    for field, names in FIELDS.items():
        known = (columns[field],) if field in columns else names
        name = next((name for name in known if name in item), None)
        if name is None and field not in _OPTIONAL:
            raise BadData(
                f"{where}: no {' or '.join(known)}; found {', '.join(sorted(item)) or 'nothing'}"
            )
        values[field] = None if name is None else item[name]
    context, reply = values["context"], values["reference"]
    if not _texts(context) or not context:
        raise BadData(f"{where}: context is {context!r:.60}; expected a list of utterances")
    if not isinstance(reply, str) or not reply.strip():
        raise BadData(
            f"{where}: the turn has no reply ({reply!r:.20}); expected the reference text"
        )
    if not _texts(values["gold"]):
        raise BadData(f"{where}: gold is {values['gold']!r:.60}; expected a list of values")
    if not isinstance(values["dialogue"], str | int) or isinstance(values["dialogue"], bool):
        raise BadData(f"{where}: dialogue is {values['dialogue']!r:.20}; expected an id")
    turn = values["turn"]
    if turn is not None and (not isinstance(turn, int) or isinstance(turn, bool)):
        raise BadData(f"{where}: turn is {turn!r:.20}; expected a number")
    return {
        **values,
        "dialogue": str(values["dialogue"]),
        "domain": str(values["domain"] or ""),
        "kb": record_rows(values["kb"], where),
        "gold": [value for value in values["gold"] if value.strip(" _")],
    }


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) for text in value)


def record_rows(records: Any, where: str) -> list[Row]:
    """Records of a knowledge base, attribute -> text; attributes without a value are left out.

    Raises:
        BadData: anything that is not a list of such objects.
    """
    found = []
    for number, record in enumerate(records if isinstance(records, list) else [records], 1):
        flat = isinstance(record, dict) and all(
            value is None or isinstance(value, str | int | float) for value in record.values()
        )
        if not flat:
            raise BadData(
                f"{where}: record {number} is {record!r:.60}; expected attributes with one text "
                "each"
            )
        found.append({str(k): str(v) for k, v in record.items() if v not in (None, "")})
    return [record for record in found if record]


def _sound(row: Row) -> Row:
    kept = [
        said for said in row["context"] if not said.startswith(API_CALL) and said.strip() != SILENCE
    ]
    facts = {k: record[k] for record in row["kb"] for k in SESSION_FACTS if k in record}
    records = [without_facts(record) for record in row["kb"]]
    return {**row, "context": kept or row["context"], "kb": distinct(records), "facts": facts}


def without_facts(record: Mapping[str, str]) -> dict[str, str]:
    """The record without the facts of its session."""
    return {name: value for name, value in record.items() if name not in SESSION_FACTS}


def distinct(records: Iterable[Row]) -> list[Row]:
    """The records without repetitions of equal content, in order."""
    return list({canonical_json(record): record for record in records if record}.values())


def shared_records(records: Iterable[Row]) -> tuple[Row, ...]:
    """The records of a base that is given as a file: distinct, without facts of sessions."""
    return tuple(distinct(without_facts(record) for record in records))


def union(turns: Iterable[Row]) -> list[Row]:
    """The shared knowledge base of all sessions: distinct records, by name, then by content.

    Records lose the facts of their session. Two records of one name and different content are both
    kept; records without a name are told apart by content.

    >>> union([{"kb": [{"name": "b"}, {"name": "a", "ref": "x"}]}, {"kb": [{"name": "a"}]}])
    [{'name': 'a'}, {'name': 'b'}]
    """
    found = distinct(without_facts(record) for turn in turns for record in turn["kb"])
    return sorted(found, key=lambda record: (record.get(NAME, ""), canonical_json(record)))


def entity_values(turns: Iterable[Row], records: Iterable[Row]) -> dict[str, list[str]]:
    """Entity table of data without one: attribute -> values of all records."""
    found: dict[str, set[str]] = {}
    everything = [record for turn in turns for record in turn["kb"]]
    for record in [*everything, *records]:
        for name, value in record.items():
            found.setdefault(name, set()).add(value)
    return {name: sorted(values) for name, values in sorted(found.items())}


def check_apart(turns: Sequence[Row], others: Sequence[Row], where: str) -> None:
    """Refuse dialogues that are in both splits, whatever their ids.

    Raises:
        BadData: names the first one.
    """
    theirs = {key: name for name, key in _conversations(others).items()}
    shared = [(name, theirs[k]) for name, k in _conversations(turns).items() if k in theirs]
    if shared:
        raise BadData(
            f"{where}: {len(shared)} dialogues are also in the other split: {shared[0][0]} is its "
            f"{shared[0][1]}; expected training and test dialogues to be different ones"
        )


def _conversations(turns: Sequence[Row]) -> dict[str, str]:
    """Dialogue -> digest of its longest context and the reply to it."""
    longest: dict[str, Row] = {}
    for turn in turns:
        known = longest.setdefault(turn["dialogue"], turn)
        if len(turn["context"]) >= len(known["context"]):
            longest[turn["dialogue"]] = turn
    return {name: digest([turn["context"], turn["reference"]]) for name, turn in longest.items()}
