r"""Replies of an explorer as sub-tasks and examples.

A reply is JSON, as requested, or text with field names (`replies_json`, `replies_text`):

    {"subtasks": [{"name": ..., "reason": ..., "examples": [...]}]}     extension
    {"examples": [{"instruction": ..., "input": ..., "output": ...}]}   enrichment

Departure: the released reader (`parsing_released`) loses more examples, and its repair of answers
without a box damages them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from methods.explore_instruct.domains import DOMAINS, DomainName, Rejects
from methods.explore_instruct.parsing_released import (
    read_examples_released,
    read_subtasks_released,
)
from methods.explore_instruct.replies_json import json_examples, json_subtasks, with_latex
from methods.explore_instruct.replies_text import Fields, text_examples, text_subtasks
from methods.explore_instruct.tree import Example

Form = Literal["json", "text", "released"]


@dataclass
class Subtask:
    """A proposed sub-task."""

    name: str
    reason: str = ""
    examples: list[Example] = field(default_factory=list)


@dataclass
class Read:
    """What a reply contains.

    Attributes:
        form: in which form it was read; None if nothing could be read.
        rejected: rule -> number of examples that it rejected.
    """

    form: Form | None = None
    subtasks: list[Subtask] = field(default_factory=list)
    examples: list[Example] = field(default_factory=list)
    rejected: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Reader:
    """Reads replies of one domain.

    Attributes:
        rejects: rules that reject examples; the released reader has its own.
        released: read as the released code does.
    """

    domain: DomainName
    rejects: Rejects
    released: bool = False

    def subtasks(self, text: str, finish: str | None = "stop") -> Read:
        """The reply to an extension prompt."""
        if self.released:
            groups = read_subtasks_released(text, self.domain, finish)
            return Read("released" if groups else None, [Subtask(*group) for group in groups])
        found, read = json_subtasks(text), Read("json")
        if not found:
            found = text_subtasks(text, cut=finish == "length")
            read.form = "text" if found else None
        for fields, examples in found:
            if name := " ".join(fields["name"].split()):
                read.subtasks.append(Subtask(name, fields["reason"], self._kept(examples, read)))
        return read

    def examples(self, text: str, finish: str | None = "stop") -> Read:
        """The reply to an enrichment prompt."""
        if self.released:
            try:
                kept = read_examples_released(text, self.domain, finish)
            except IndexError:  # an empty instruction, which ends the released program
                return Read()
            return Read("released" if kept else None, examples=kept)
        found, read = json_examples(text), Read("json")
        if not found:
            found = text_examples(text, cut=finish == "length")
            read.form = "text" if found else None
        read.examples = self._kept(found, read)
        return read

    def _kept(self, raw: Sequence[Fields], read: Read) -> list[Example]:
        found = []
        for fields in raw:
            example = self._example(fields, read.form)
            reason = self.rejects.reason(example)
            if reason is None:
                found.append(example)
            else:
                read.rejected[reason] += 1
        return found

    def _example(self, fields: Fields, form: Form | None) -> Example:
        texts = {"input": "", **fields}
        if DOMAINS[self.domain].box:
            if form == "json":
                texts = {key: with_latex(text) for key, text in texts.items()}
            texts["output"] = boxed(texts["output"])
        texts = {key: text.strip() for key, text in texts.items()}
        if _NO_INPUT.fullmatch(texts["input"]):
            texts["input"] = ""
        return Example.model_validate(texts)


_NO_INPUT = re.compile(r"<\s*no[ _-]?input\s*>|noinput", re.IGNORECASE)
_ANSWER = re.compile(r"Answer:[ \t]*(?!.*Answer:)", re.DOTALL)
_WRAPPED = re.compile(r"\$([^$]+)\$(\.?)\Z")


def boxed(output: str) -> str:
    r"""An output whose final answer is in a box: what follows the last "Answer:" is wrapped.

    One pair of "$" around the answer, and a final full stop, stay outside.

    >>> boxed("Add. Answer: $5$"), boxed("Answer: 42."), boxed(r"Answer: $\boxed{5}$")
    ('Add. Answer: $\\boxed{5}$', 'Answer: \\boxed{42}.', 'Answer: $\\boxed{5}$')
    """
    found = _ANSWER.search(output)
    answer = output[found.end() :].strip() if found else ""
    if not found or not answer or "\\boxed{" in answer:
        return output
    head, wrapped = output[: found.end()], _WRAPPED.match(answer)
    if wrapped:
        return f"{head}$\\boxed{{{wrapped[1]}}}${wrapped[2]}"
    stop = "." if answer.endswith(".") else ""
    return f"{head}\\boxed{{{answer.removesuffix('.')}}}{stop}"
