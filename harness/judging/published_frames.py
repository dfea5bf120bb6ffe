"""Judge prompts of the installed alpaca_eval package: written as it writes them, and read back.

    prompt = installed("alpaca")
    messages = prompt.write(instruction, output_1, output_2)
    prompt.read(messages)          # Frame("alpaca", {"instruction": ..., "answer m": ..., ...})

No wording stands here: a template is read from the installed package when it is first needed. A
template is text with chat blocks (`<|im_start|>role`, newline, content, `<|im_end|>`) and the
placeholders {instruction}, {output_1} and {output_2}, each once.

Such a prompt quotes without a code (compare `harness.judging.frames`), so an answer that imitates
the template's own text between two placeholders moves the border: the reader takes the first
border it meets, as a trusting judge would, and the forged text is judged. An answer that holds a
chat mark cuts the prompt there, in the package as here; what is missing reads as empty.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from harness.errors import BadData, MissingExtra, unknown
from harness.judging.frames import Frame, Message

# Kind of frame -> template in the package. All its annotators that weigh one identifier by its
# log-probabilities, without an explanation first, share this one.
TEMPLATES = {"alpaca": "alpaca_eval_clf_gpt4_turbo/alpaca_eval_clf.txt"}
# Placeholder -> section of the frame; the template calls output 1 `m` and output 2 `M`.
_SECTIONS = {"instruction": "instruction", "output_1": "answer m", "output_2": "answer M"}
_PLACEHOLDER = re.compile(r"\{(instruction|output_1|output_2)\}")
_START, _END = "<|im_start|>", "<|im_end|>"


@dataclass(frozen=True)
class PublishedPrompt:
    """A template: the text itself, its chat blocks, and where its quoting block is cut.

    Attributes:
        quoting: number of the block that holds the placeholders.
        names: the placeholders of that block in their order.
        borders: the text before, between and after them; one more than `names`.
    """

    kind: str
    template: str
    blocks: tuple[tuple[str, str], ...]
    quoting: int
    names: tuple[str, ...]
    borders: tuple[str, ...]

    def write(self, instruction: str, output_1: str, output_2: str) -> list[Message]:
        """The messages that the package sends for these texts.

        Placeholders are filled one after another, each at its first occurrence, before the text is
        cut into chat blocks: what a text does to the prompt there, it does here.
        """
        texts = {"instruction": instruction, "output_1": output_1, "output_2": output_2}
        filled = self.template
        for name in self.names:
            filled = filled.replace("{" + name + "}", texts[name], 1)
        return [{"role": role, "content": content} for role, content in _chat_blocks(filled)]

    def read(self, messages: Sequence[Mapping[str, str]]) -> Frame | None:
        """The quoted texts of a prompt written from this template; None for any other text.

        Messages that follow the prompt (a request to repeat the verdict) are not looked at.
        """
        if len(messages) < self.quoting + 1:
            return None
        for number, (role, content) in enumerate(self.blocks[: self.quoting + 1]):
            message = messages[number]
            if message["role"] != role:
                return None
            if number < self.quoting and message["content"] != content:
                return None
        rest = messages[self.quoting]["content"]
        if not rest.startswith(self.borders[0]):
            return None
        rest = rest.removeprefix(self.borders[0])
        sections = {}
        for name, border in zip(self.names, self.borders[1:-1]):
            sections[_SECTIONS[name]], _, rest = rest.partition(border)
        sections[_SECTIONS[self.names[-1]]] = rest.removesuffix(self.borders[-1])
        return Frame(self.kind, sections)


def published_prompt(template: str, kind: str = "alpaca") -> PublishedPrompt:
    """A prompt from the text of its template.

    Raises:
        BadData: the template has no chat blocks, or lacks or repeats a placeholder, or has them in
            several blocks.
    """
    if not template.strip().startswith(_START):
        raise BadData(
            f'the judge template has no chat blocks; expected it to begin with "{_START}"'
        )
    blocks = tuple(_chat_blocks(template))
    found = [(n, _PLACEHOLDER.findall(content)) for n, (_, content) in enumerate(blocks)]
    quoting = [(n, names) for n, names in found if names]
    if len(quoting) != 1 or sorted(quoting[0][1]) != sorted(_SECTIONS):
        names = [name for _, names in found for name in names]
        raise BadData(
            f"the judge template has the placeholders {', '.join(names) or 'none'}; expected "
            f"{', '.join(_SECTIONS)}, each once, in one chat block"
        )
    number, names = quoting[0]
    borders = tuple(_PLACEHOLDER.split(blocks[number][1])[::2])
    return PublishedPrompt(kind, template, blocks, number, tuple(names), borders)


@cache
def installed(kind: str) -> PublishedPrompt:
    """The installed package's prompt for a kind of frame.

    Raises:
        UnknownName: the package has no such prompt that can be read.
        MissingExtra: alpaca_eval is not installed.
    """
    if kind not in TEMPLATES:
        raise unknown("published judge prompt", kind, TEMPLATES)
    path = _package_folder() / "evaluators_configs" / TEMPLATES[kind]
    try:
        return published_prompt(path.read_text(encoding="utf-8"), kind)
    except OSError as error:
        raise BadData(
            f"the installed alpaca_eval has no readable {path}: {error.strerror}; reinstall it "
            "(pip install 'crucible-bench[alpaca]')"
        ) from None


def parse_published_frame(messages: Sequence[Mapping[str, str]]) -> Frame | None:
    """Read back a prompt of the installed package; None for other text or without its prompts."""
    for prompt in _readable():
        frame = prompt.read(messages)
        if frame is not None:
            return frame
    return None


@cache
def _readable() -> tuple[PublishedPrompt, ...]:
    try:
        return tuple(installed(kind) for kind in TEMPLATES)
    except (MissingExtra, BadData):  # absent, or of a version without these prompts
        return ()


def _package_folder() -> Path:
    # Found, not imported: the import takes seconds and changes the root logger.
    spec = importlib.util.find_spec("alpaca_eval")
    if spec is None or spec.origin is None:
        raise MissingExtra("alpaca_eval", "alpaca")
    return Path(spec.origin).parent


def _chat_blocks(text: str) -> list[tuple[str, str]]:
    """(role, content) of each chat block: up to the first end mark, without outer blanks."""
    blocks = []
    for block in text.strip().split(_START)[1:]:
        role, _, content = block.partition("\n")
        blocks.append((role.strip(), content.split(_END, 1)[0].strip()))
    return blocks
