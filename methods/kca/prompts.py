"""Prompts for the helper model, and readers of its replies.

The wording is ours; the tasks, slots and reply formats are those of the released code
(data_generation/prompt_bank), so that its stored replies are read by the same parsers.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Literal

from harness.backends.conversing import Turn
from harness.backends.prompting import Unreadable
from harness.data.prompts import prompt_text
from harness.engine.operations import Row
from methods.kca import parsing, parsing_released

ParserMode = Literal["robust", "released"]

REQUIREMENT = """\
Decide whether a good answer to a command depends on objective facts that can be looked up and \
verified. Facts are typically needed for: historical events and dates; scientific findings; \
statistics and measured values; technical specifications; geography; news; law; medicine; the \
economy; education; and the lives of persons. They are not needed for tasks that can be done with \
the command alone, such as creative writing, rewriting, translation, arithmetic, or role play.

Write a short analysis, then the prediction <need> or <no need>, and for <need> the queries with \
which you would look the facts up. Use exactly this format.

#Command:
Who built the lighthouse of Alexandria, and when was it finished?
#Analysis:
The command asks for a historical building, its builder and a date, which must be correct.
#Prediction:
<need>
#Search Query:
"lighthouse of Alexandria builder", "lighthouse of Alexandria date"

#Command:
Write a short poem about rain in the style of a nursery rhyme.
#Analysis:
This is creative writing; no statement in a poem has to be verified.
#Prediction:
<no need>

#Command:
Summarise the side effects of common pain killers for a leaflet.
#Analysis:
The leaflet has to list medical facts about drugs.
#Prediction:
<need>
#Search Query:
"side effects ibuprofen", "side effects paracetamol"

#Command:
Turn this sentence into the passive voice: The cat chased the mouse.
#Analysis:
The sentence is given; only grammar is needed.
#Prediction:
<no need>

#Command:
{instruction}
#Analysis:
"""

KNOWLEDGE = """\
Write the background knowledge that a layman needs in order to understand and check the response \
to a command. Be broader than the response: explain the persons, places, terms and figures in it. \
Write plain sentences that are true, and no answer to the command itself.

#Command:
{instruction}
#Analysis:
{analysis}
#Knowledge elements:
{queries}
#Response:
{response}
#Knowledge:
"""

EXAM = """\
Write three multiple-choice questions that test whether someone knows the following knowledge. \
Each question has four options with one right answer, must be answerable by the knowledge alone, \
and must not refer to "the text". Use exactly this format.

#Knowledge:
The lighthouse of Alexandria stood on the island of Pharos. It was finished around 280 BC.

#Question:
On which island did the lighthouse of Alexandria stand?
#Options:
(A) Rhodes
(B) Pharos
(C) Crete
(D) Delos
#Analysis:
The lighthouse stood on Pharos.
#Answer:
(B)

#Knowledge:
{knowledge}

"""


def requirement(row: Row) -> list[dict[str, str]]:
    """Stage 1: does the instruction need facts? Only the instruction is shown."""
    return _asked(REQUIREMENT.replace("{instruction}", prompt_text(row["messages"])))


def knowledge(row: Row) -> list[dict[str, str]] | None:
    """Stage 2: reference knowledge for an instruction that needs it, else nothing to ask.

    A question of an evaluation set has no response, but may have a reference.
    """
    found = row["requirement"]["value"]
    if found is None or not found["need"]:
        return None
    slots = {
        "instruction": prompt_text(row["messages"]),
        "analysis": found["analysis"],
        "queries": found["queries"],
        "response": row["response"] if "response" in row else "\n".join(row["references"][:1]),
    }
    return _asked(_filled(KNOWLEDGE, slots))


def exam(row: Row) -> list[dict[str, str]] | None:
    """Stage 3: an exam on the knowledge, if there is any."""
    text = row["knowledge"]["value"]
    return None if text is None else _asked(_filled(EXAM, {"knowledge": text}))


def _filled(template: str, slots: dict[str, str]) -> str:
    """The template with its slots filled; braces in the texts stay as they are."""
    parts = [template]
    for name, text in slots.items():
        place = f"{{{name}}}"
        before, _, after = parts.pop().partition(place)
        parts += [before, text, after]
    return "".join(parts)


def _asked(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def read_requirement(turn: Turn, row: Row, *, parser: ParserMode = "robust") -> dict[str, Any]:
    """A `Requirement`; raises Unreadable with the reason."""
    if parser == "released":
        found = parsing_released.parse_requirement(turn.text)
        if found is None:
            raise Unreadable("the released parser reads no prediction")
        need = found["final_prediction"] == "<need>"
        return {"need": need, "analysis": found["analysis"], "queries": found["queris"]}
    read = parsing.parse_requirement(turn.text)
    if isinstance(read, str):
        reply = "is empty" if not turn.text.strip() else f"has {read.replace('_', ' ')}"
        raise Unreadable(f"the reply {reply}")
    return read.model_dump()


def read_exam(
    turn: Turn,
    row: Row,
    *,
    parser: ParserMode = "robust",
    max_questions: int = parsing.MAX_QUESTIONS,
) -> dict[str, Any]:
    """An `Exam` with at least one question; raises Unreadable with the reasons of all rejects.

    The released parser has no limit on the number of questions and no reasons.
    """
    if parser == "released":
        found = parsing_released.parse_exam(turn.text)
        tests = [test for test in found if test is not None]
        if not tests:
            raise Unreadable("the released parser reads no question")
        return {"tests": tests, "rejects": []}
    read = parsing.parse_exam(turn.text, max_questions)
    if not read.tests:
        reasons = Counter(reject.reason for reject in read.rejects)
        said = ", ".join(f"{number} {reason}" for reason, number in sorted(reasons.items()))
        raise Unreadable(f"no valid question ({said or 'the reply contains none'})")
    return read.model_dump(mode="json")
