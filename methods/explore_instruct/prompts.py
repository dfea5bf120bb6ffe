"""Prompts that ask an explorer for sub-tasks, and for examples of a task.

The wording is ours; its rules have the intent of the released prompts (prompt_bank/). A prompt ends
with labelled lines that carry what changes from call to call:

    Target task: ...      Existing sub-tasks: ...      Peer tasks: ...      Number: ...
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Literal

from harness.core.records import Record
from methods.explore_instruct.domains import DOMAINS, DomainName
from methods.explore_instruct.tree import Example

Form = Literal["json", "text"]
NO_INPUT = "<noinput>"
EXTEND = "You divide a task for language models into sub-tasks."
ENRICH = "You write examples of a task for language models."
TARGET, EXISTING, PEERS, NUMBER = "Target task", "Existing sub-tasks", "Peer tasks", "Number"
SUBTASK, REASON = "Sub-task", "Reason"

_SUBTASK_RULES = (
    "The skills that a sub-task needs are a part of those that the target task needs.",
    "Sub-tasks are of common and broad use, not narrow.",
    "A new sub-task complements the existing ones and the peer tasks and does not overlap them.",
)
_EXAMPLE_RULES = (
    "An instruction is in English, one or two sentences, an order or a question; what it is about "
    "belongs in the input.",
    "Verbs and wording vary from instruction to instruction.",
    "A language model that reads and writes text alone can follow the instruction.",
    "An input is realistic and has at most about 200 words; it is {no_input} where the instruction "
    "needs none.",
    "An output has less than about 200 words.",
)


class Wording(Record):
    """How an explorer is asked.

    Attributes:
        domain: its guidance is added to the rules.
        form: "json" requests an object, and shows its schema; "text" field names on lines.
    """

    domain: DomainName = "general"
    form: Form = "json"

    def extend(
        self,
        target: str,
        shown: Sequence[Example],
        existing: Sequence[str],
        peers: Sequence[str],
        n: int,
        *,
        total: int,
        examples: int,
    ) -> str:
        """Ask for `n` sub-tasks of a target that are not among the existing ones.

        Args:
            shown: examples of the target's parent.
            total: number of sub-tasks that the target shall have in the end.
            examples: number of examples wanted with each sub-task.
        """
        given = len(existing)
        task = (
            f"Divide the target task into {total} sub-tasks altogether. {given} exist; give {n} "
            f"new {_many(n, 'one')}, each with its name, the reason for it and {examples} "
            f"{_many(examples, 'example')}."
        )
        lines = {TARGET: target, EXISTING: _listed(existing), PEERS: _listed(peers), NUMBER: str(n)}
        rules = (*_SUBTASK_RULES, *self._example_rules())
        return self._prompt(EXTEND, task, rules, shown, _SUBTASKS, lines)

    def enrich(
        self,
        target: str,
        shown: Sequence[Example],
        subtask: str,
        reason: str,
        existing: Sequence[str],
        peers: Sequence[str],
        n: int,
    ) -> str:
        """Ask for `n` examples of a sub-task of a target, or of the target itself.

        Args:
            shown: examples of the target.
            existing, peers: sub-tasks of the target, and tasks beside it, which are other tasks.
        """
        task = f"Write {n} {_many(n, 'example')} of the sub-task of the target task."
        lines = {
            TARGET: target,
            EXISTING: _listed(existing),
            PEERS: _listed(peers),
            SUBTASK: _line(subtask),
            REASON: _line(reason) or "none",
            NUMBER: str(n),
        }
        return self._prompt(ENRICH, task, self._example_rules(), shown, _EXAMPLES, lines)

    def _example_rules(self) -> tuple[str, ...]:
        empty = '""' if self.form == "json" else NO_INPUT
        rules = tuple(rule.format(no_input=empty) for rule in _EXAMPLE_RULES)
        return (*rules, *DOMAINS[self.domain].guidance)

    def _prompt(
        self,
        role: str,
        task: str,
        rules: Sequence[str],
        shown: Sequence[Example],
        layouts: dict[Form, str],
        lines: dict[str, str],
    ) -> str:
        parts = [role, "Rules:\n" + "\n".join(f"- {rule}" for rule in rules)]
        if shown:
            parts.append("Examples of the target task:\n" + self.written(shown))
        parts.append(f"{task} {layouts[self.form]}")
        parts.append("\n".join(f"{label}: {_line(text)}" for label, text in lines.items()))
        return "\n\n".join(parts)

    def written(self, examples: Sequence[Example]) -> str:
        """Examples in the form that is requested."""
        if self.form == "json":
            fields = [one.model_dump() for one in examples]
            return json.dumps({"examples": fields}, ensure_ascii=False, indent=1)
        blocks = [
            f"###\nInstruction: {one.instruction}\nInput: {one.input or NO_INPUT}\n"
            f"Output: {one.output}"
            for one in examples
        ]
        return "\n".join([*blocks, "###"])


_STRINGS = '{"type": "string"}'
_EXAMPLE_SCHEMA = (
    '{"type": "object", "required": ["instruction", "input", "output"], "properties": '
    f'{{"instruction": {_STRINGS}, "input": {_STRINGS}, "output": {_STRINGS}}}}}'
)
_LIST = f'{{"type": "array", "items": {_EXAMPLE_SCHEMA}}}'
_SUBTASK_SCHEMA = (
    '{"type": "object", "required": ["name", "reason", "examples"], "properties": '
    f'{{"name": {_STRINGS}, "reason": {_STRINGS}, "examples": {_LIST}}}}}'
)
_REPLY = "Reply with one JSON object and nothing else, of this JSON schema:\n"
_SUBTASKS: dict[Form, str] = {
    "json": _REPLY
    + '{"type": "object", "required": ["subtasks"], "properties": {"subtasks": '
    + f'{{"type": "array", "items": {_SUBTASK_SCHEMA}}}}}}}',
    "text": "Reply in this form, repeated for each sub-task:\nNew subtask: <name>\nReason: "
    "<reason>\nExamples:\n###\nInstruction: <instruction>\nInput: <input>\nOutput: <output>\n###",
}
_EXAMPLES: dict[Form, str] = {
    "json": _REPLY
    + f'{{"type": "object", "required": ["examples"], "properties": {{"examples": {_LIST}}}}}',
    "text": "Reply in this form, repeated for each example:\n###\nInstruction: <instruction>\n"
    "Input: <input>\nOutput: <output>\n###",
}


def reply_schema(kind: Literal["extend", "enrich"]) -> str:
    """The schema of a reply as servers enforce it: the one shown, without further fields."""
    shown = (_SUBTASKS if kind == "extend" else _EXAMPLES)["json"].removeprefix(_REPLY)
    return json.dumps(_closed(json.loads(shown)), sort_keys=True)


def _closed(schema: dict[str, Any]) -> dict[str, Any]:
    found = {key: _closed(value) if key == "items" else value for key, value in schema.items()}
    if "properties" in schema:
        inner = {name: _closed(value) for name, value in schema["properties"].items()}
        found |= {"properties": inner, "additionalProperties": False}
    return found


def _many(n: int, noun: str) -> str:
    return noun if n == 1 else f"{noun}s"


def _listed(names: Sequence[str]) -> str:
    return "; ".join(_line(name).replace(";", ",") for name in names) or "none"


def _line(text: str) -> str:
    return " ".join(text.split())


class Asked(Record):
    """The labelled lines of a prompt, as an explorer in a test or in the nano world reads them."""

    kind: Literal["extend", "enrich"]
    form: Form
    target: str
    existing: tuple[str, ...]
    peers: tuple[str, ...]
    subtask: str = ""
    number: int


def read_prompt(text: str) -> Asked | None:
    """What a prompt of this module asks; None for another text."""
    kind = {EXTEND: "extend", ENRICH: "enrich"}.get(text.partition("\n")[0])
    if kind is None:
        return None
    last = text.rpartition("\n\n")[2]
    lines = dict(line.partition(": ")[::2] for line in last.split("\n"))
    return Asked.model_validate(
        {
            "kind": kind,
            "form": "json" if _REPLY in text else "text",
            "target": lines[TARGET],
            "existing": _names(lines[EXISTING]),
            "peers": _names(lines[PEERS]),
            "subtask": lines.get(SUBTASK, ""),
            "number": int(lines[NUMBER]),
        }
    )


def _names(text: str) -> tuple[str, ...]:
    return () if text == "none" else tuple(text.split("; "))
