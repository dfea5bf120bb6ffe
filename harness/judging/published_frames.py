"""Reading back judge prompts of the installed alpaca-eval package.

    parse_published_frame(messages)  # Frame("alpaca", {"instruction": ..., "answer m": ..., ...})

This covers the prompts of every supported annotator (`harness.judging.annotators`) that compares
the log-probabilities of the identifiers m and M, whether the package or Crucible rendered them.

Such a prompt quotes without a code (compare `harness.judging.frames`). A quoted text that contains
the template's own text between two quotations therefore moves the border: the reader takes the
first border it finds, as a trusting judge would, and the forged text is judged. A prompt that ends
too early (the package cuts it at a chat mark in an answer) is read up to its end; missing sections
are empty.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache

from harness.backends.base import Completion
from harness.core.errors import MissingExtra
from harness.judging import annotators
from harness.judging.annotators import Annotator, Blocks
from harness.judging.frames import Frame

KIND = "alpaca"
# Placeholder -> section of the frame; the templates call output 1 `m` and output 2 `M`.
_SECTIONS = {"instruction": "instruction", "output_1": "answer m", "output_2": "answer M"}


def parse_published_frame(messages: Sequence[Mapping[str, str]]) -> Frame | None:
    """Read back a prompt of the installed package; None for other text or if it is not installed.

    Messages after the prompt (a request to repeat the verdict) are ignored.
    """
    templates = _templates()
    # Templates may differ in their last words only: a template that fits to the end has priority.
    for whole in (True, False):
        for blocks in templates:
            frame = read_back(blocks, messages, whole=whole)
            if frame is not None:
                return frame
    return None


def read_back(
    blocks: Blocks, messages: Sequence[Mapping[str, str]], *, whole: bool = False
) -> Frame | None:
    """The texts quoted in a prompt rendered from a template; None for any other text.

    Args:
        blocks: the template's, see `Annotator.blocks`.
        whole: reject a prompt that ends too early.
    """
    if not blocks or len(messages) < len(blocks):
        return None
    sections: dict[str, str] = {}
    for (role, content), message in zip(blocks, messages):
        start, *rest = annotators.parted(content)
        text = message["content"]
        if message["role"] != role or not text.startswith(start):
            return None
        text = text.removeprefix(start)
        if not rest:
            if text:
                return None
            continue
        names, borders, end = rest[:-2:2], rest[1:-2:2], rest[-1]
        if whole and not text.endswith(end):
            return None
        for name, border in zip(names, borders):
            sections[_SECTIONS[name]], _, text = text.partition(border)
        sections[_SECTIONS[rest[-2]]] = text.removesuffix(end)
    return Frame(KIND, sections)


@cache
def _templates() -> tuple[Blocks, ...]:
    """The distinct templates of the supported prompts."""
    try:
        known = [annotators.load(name) for name in annotators.supported()]
    except MissingExtra:
        return ()
    return tuple(dict.fromkeys(found.blocks for found in known if _is_read(found)))


def _is_read(annotator: Annotator) -> bool:
    """Whether the annotator's verdict is the comparison of the log-probabilities of m and M."""
    replies = [
        Completion(text="", finish="stop", top_logprobs=(((token, 0.0),),)) for token in "mM"
    ]
    bordered = all(all(annotators.parted(content)[2:-1:2]) for _, content in annotator.blocks)
    return bordered and [annotator.read(reply) for reply in replies] == [1.0, 0.0]
