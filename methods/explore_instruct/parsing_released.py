"""Replies read as the released code reads them (generate_instruction.py, prompt_bank/).

Every "###" is removed, then the text is split at its markers and grouped. Consequences: a marker
inside a field, or a numbered list in a rewriting example, loses the example; a stop at the token
limit drops the last example of every group; the repair of answers without a box damages those that
are not wrapped in "$" (golden vectors, llm_response_parsing.json, have the cases).
"""

from __future__ import annotations

import re
import string
from collections.abc import Sequence

from methods.explore_instruct.domains import DOMAINS, DomainName, contains_word
from methods.explore_instruct.tree import Example

_NUMBER = re.compile(r"(?:^|\n+)\d+\. ")
_FIELDS = re.compile(r"(?:Instruction|Input|Output):")
_SUBTASK = re.compile(r"(?:New subtask|Reason|Examples):")
_PREFIX = "Answer: "


def read_examples_released(text: str, domain: DomainName, finish: str | None) -> list[Example]:
    """The examples of an enrichment reply, or of one group of an extension reply.

    Raises:
        IndexError: an empty instruction in mathematics.
    """
    pieces = _pieces(text.replace("###", ""), domain)
    if finish == "length":
        pieces = pieces[:-1]
    made = [_example(fields) for fields in pieces if len(fields) == 3]
    kept = [one for one in made if _is_kept(one, domain)]
    return [_with_box(one) for one in kept] if domain == "math" else kept


def read_subtasks_released(
    text: str, domain: DomainName, finish: str | None
) -> list[tuple[str, str, list[Example]]]:
    """(name, reason, examples) of each sub-task of an extension reply."""
    clean = text.replace("###", "").replace("Example:", "Examples:")
    parts = [part.strip() for part in _SUBTASK.split(clean)[1:]]
    groups = [parts[place : place + 3] for place in range(0, len(parts) - 2, 3)]
    return [
        (name, reason, read_examples_released(examples, domain, finish))
        for name, reason, examples in groups
    ]


def _pieces(text: str, domain: DomainName) -> list[Sequence[str]]:
    """Fields of each example; three in a good one."""
    if domain != "rewriting":
        return [re.split("Input:|Output:", piece) for piece in text.split("Instruction:")[1:]]
    return [_FIELDS.split(piece)[1:] for piece in _NUMBER.split(text)[1:]]


def _example(fields: Sequence[str]) -> Example:
    said, given, output = (field.strip() for field in fields)
    return Example(
        instruction=said, input="" if given.lower() == "<noinput>" else given, output=output
    )


def _is_kept(example: Example, domain: DomainName) -> bool:
    said, given = example.instruction, example.input
    words = len(said.split())
    if domain != "math" and not 3 <= words <= 150:
        return False
    if contains_word(said, DOMAINS[domain].rejects.words) or said.startswith("Write a program"):
        return False
    if said[0] in string.punctuation or not said[0].isascii():
        return False
    return not re.fullmatch(r"<.*>|\(.*\)", given, re.DOTALL)


def _with_box(example: Example) -> Example:
    head, found, answer = example.output.partition(_PREFIX)
    if not found or "\\boxed{" in answer:
        return example
    answer = answer.lstrip(_PREFIX)  # a set of characters, not a prefix
    if not answer:
        return example
    boxed = f"{answer[0]}\\boxed{{{answer[1:-1]}}}{answer[-1]}"
    return example.model_copy(update={"output": f"{head}{_PREFIX}{boxed}"})
