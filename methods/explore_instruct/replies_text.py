"""Replies in text with field names at the beginning of lines.

    New subtask: Tone adjustment
    Reason: Readers differ.
    Examples:
    ###
    1. Instruction: Make the note more polite.
    Input: Send it now.
    Output: Could you send it now, please?
    ###

A field name inside a line is text, and so is one that cannot follow where it is: instruction, input
(which may be missing) and output follow one another. A line of "###", or an instruction with a
number, begins a new example; numbered lists are part of their field.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

Fields = dict[str, str]
_DECORATION = r"[ \t>*_#-]*(?P<number>\d+[.)][ \t]*)?[ \t*_#-]*"
_COLON = r"[ \t]*\**:[ \t]*\**"
_BLOCK = re.compile(r"^[ \t]*#{3,}[ \t]*$", re.MULTILINE)


@dataclass(frozen=True)
class Marks:
    """Field names of a group.

    Attributes:
        pattern: matches a name at the beginning of a line.
        follows: name -> names that may follow it; "" for the first.
    """

    pattern: re.Pattern[str]
    follows: Mapping[str, tuple[str, ...]]


def _marks(pattern: str, follows: Mapping[str, tuple[str, ...]]) -> Marks:
    pattern = pattern.replace("DECORATION", _DECORATION) + _COLON
    return Marks(re.compile(pattern, re.IGNORECASE | re.MULTILINE), follows)


EXAMPLE = _marks(
    r"^(?:Examples?:)?DECORATION(?P<name>instruction|input|output)",
    {
        "": ("instruction",),
        "instruction": ("input", "output"),
        "input": ("output",),
        "output": ("instruction",),
    },
)
SUBTASK = _marks(
    r"^DECORATION(?P<name>new subtask|reason|example)s?",
    {
        "": ("new subtask",),
        "new subtask": ("reason", "example", "new subtask"),
        "reason": ("example", "new subtask"),
        "example": ("new subtask",),
    },
)


def text_subtasks(text: str, *, cut: bool = False) -> list[tuple[Fields, list[Fields]]]:
    """(name and reason, examples) of each sub-task; of a text that was cut off, see below."""
    groups = list(_groups(text, SUBTASK))
    found = []
    for number, group in enumerate(groups, 1):
        last = cut and number == len(groups)
        fields = {
            "name": group["new subtask"].strip(" \t\r\n*_#"),
            "reason": _trimmed(group.get("reason", "")),
        }
        found.append((fields, text_examples(group.get("example", ""), cut=last)))
    return found


def text_examples(text: str, *, cut: bool = False) -> list[Fields]:
    """Instruction, input and output of each complete example.

    Args:
        cut: the text was cut off at the token limit, so that its last example is left out.
    """
    found = [fields for block in _BLOCK.split(text) for fields in _groups(block, EXAMPLE)]
    if cut:
        found = found[:-1]
    return [{key: value.strip() for key, value in one.items()} for one in found if "output" in one]


def _groups(text: str, marks: Marks) -> Iterator[Fields]:
    """Fields by name of each group, complete or not."""
    first = marks.follows[""][0]
    fields: Fields = {}
    name, begin = "", 0
    for match in marks.pattern.finditer(text):
        said = match["name"].lower()
        numbered = said == first and match["number"] is not None and first == "instruction"
        if said not in marks.follows[name] and not numbered:
            continue  # part of a field
        if name:
            fields[name] = text[begin : match.start()]
        if said == first and fields:
            yield fields
            fields = {}
        name, begin = said, match.end()
    if name:
        yield {**fields, name: text[begin:]}


def _trimmed(text: str) -> str:
    return _BLOCK.sub("", text).strip()
