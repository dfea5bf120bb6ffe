"""The question to the judge: which of two assistants answered better, in the view of the judge.

The wording is Crucible's, in a frame that answers cannot imitate. It asks for what the prompt of
Explore-Instruct asks for: four aspects, an explanation of each answer, a comparison, and one last
line that orders both assistants by `>` or `=`.
"""

from __future__ import annotations

from harness.core.hashing import digest
from harness.judging.frames import QUOTING, Message, render_frame

KIND = "ordering"
FIRST, SECOND = "answer of Assistant 1", "answer of Assistant 2"

_SYSTEM = (
    "You review the answers of two assistants to one question of a user, fairly and with care. "
    + QUOTING
)
_TASK = (
    "Rate both answers in four aspects: helpfulness, relevance, accuracy and level of detail. "
    "Explain first how Assistant 1 does in each aspect, then how Assistant 2 does. Then compare "
    "the two; the order in which they are shown must not count. End with one line of its own that "
    "orders them and contains nothing else, one of:\n"
    "Assistant 1 > Assistant 2\n"
    "Assistant 2 > Assistant 1\n"
    "Assistant 1 = Assistant 2\n"
    "The sign > means that the assistant before it answered better, = that both are equally good."
)
REPAIR = (
    "Give only the last line: Assistant 1 > Assistant 2, Assistant 2 > Assistant 1 or "
    "Assistant 1 = Assistant 2."
)


def ordering_frame(question: str, first: str, second: str) -> list[Message]:
    """Ask for an order of two answers; Assistant 1 is shown first."""
    sections = {"question": question, FIRST: first, SECOND: second}
    return render_frame(KIND, _SYSTEM, sections, task=_TASK)


def prompt_hash() -> str:
    """Digest of the wording, the repair request included."""
    return digest([ordering_frame("q", "a", "b"), REPAIR])
