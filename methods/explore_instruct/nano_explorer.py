"""The explorer of the nano world: knows the domain of `harness.nano.skills`, and errs as told.

It answers the prompts of `methods.explore_instruct.prompts`, in process as the judge
`nano:explorer`, and over HTTP by `crucible nano serve --judge nano:explorer`. Asked for sub-tasks,
it names those of the domain that are not listed yet, and repeats listed ones when there are none;
asked for examples, it gives those that come to mind first (`harness.nano.skills.typical`). To a
question of the domain it gives the right answer, so that it can be a system of its own, and to any
other text a sentence. Draws depend only on prompt, sampling seed and `seed`.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence

from pydantic import Field

from harness.backends.base import Backend, Completion, Finish, Request, Response
from harness.core.hashing import digest, seed_from
from harness.core.records import Record, parse
from harness.engine.calls import Services
from harness.nano import skills
from methods.explore_instruct.prompts import Asked, Form, Wording, read_prompt
from methods.explore_instruct.tree import Example

VERSION = 1
EACH = 2  # examples with a new sub-task


class ExplorerSettings(Record):
    """errors: share of faulty replies, of the kinds in `_FAULTS`; seed: of all draws."""

    errors: float = Field(default=0.0, ge=0, le=1)
    seed: int = 0


def open_explorer(options: Mapping[str, str], services: Services) -> ExplorerBackend:
    """Open `nano:explorer`, with options as in "nano:explorer?errors=0.1"."""
    return ExplorerBackend(parse(ExplorerSettings, options, "nano:explorer"))


class ExplorerBackend(Backend):
    """Answers the prompts of Explore-Instruct, and questions of its domain."""

    def __init__(self, settings: ExplorerSettings | None = None) -> None:
        self.settings = settings or ExplorerSettings()

    @property
    def fingerprint(self) -> str:
        parts = ["explorer", VERSION, skills.VERSION, self.settings.model_dump()]
        return "nano:explorer/" + digest(parts)[:16]

    def generate(self, requests: Sequence[Request]) -> Iterator[Response]:
        """The reply to each request."""
        for request in requests:
            text = request.messages[-1].content if request.messages else ""
            asked = read_prompt(text)
            reply, finish = _answer(text), "stop"
            if asked is not None:
                reply, finish = self._reply(asked, text, request.sampling.seed)
            n = request.sampling.n
            yield Response(
                id=request.id,
                completions=(Completion(text=reply, finish=finish),) * n,
                tokens_in=len(text.split()),
                tokens_out=n * len(reply.split()),
            )

    def _reply(self, asked: Asked, text: str, seed: int) -> tuple[str, Finish]:
        rng = random.Random(seed_from("explorer", self.settings.seed, seed, text))
        good = (_subtasks if asked.kind == "extend" else _examples)(asked, rng)
        if rng.random() >= self.settings.errors:
            return good, "stop"
        return rng.choice(_FAULTS)(good, asked)


def _answer(text: str) -> str:
    """The answer to a question of the domain, or a sentence."""
    *name, letters = text.split() or [""]
    skill = next((s for s in skills.skills() if s.name == " ".join(name)), None)
    if skill is None or not set(letters) <= set(skills.LETTERS):
        return "I know one domain only."
    return skill.answer(letters)


def _task(name: str) -> str:
    """The task of the domain that a prompt means; any other is the whole domain."""
    known = (*skills.FAMILIES, *(skill.name for skill in skills.skills()))
    return name if name in known else skills.ROOT


def _subtasks(asked: Asked, rng: random.Random) -> str:
    below = skills.below(_task(asked.target))
    fresh = [name for name in below if name not in asked.existing]
    names = rng.sample(fresh, min(asked.number, len(fresh))) or list(asked.existing[:1])
    found = []
    for name in names:
        examples = [_example(name, rng) for _ in range(EACH)]
        reason = f"{name} is a part of {asked.target}."
        found.append((name, reason, examples))
    return _written(asked.form, found)


def _examples(asked: Asked, rng: random.Random) -> str:
    task = _task(asked.subtask)
    return Wording(form=asked.form).written([_example(task, rng) for _ in range(asked.number)])


def _example(task: str, rng: random.Random) -> Example:
    instruction, output = skills.typical(task, rng).example(rng)
    return Example(instruction=instruction, output=output)


def _written(form: Form, found: Sequence[tuple[str, str, list[Example]]]) -> str:
    if form == "json":
        items = [
            {"name": name, "reason": reason, "examples": [one.model_dump() for one in examples]}
            for name, reason, examples in found
        ]
        return json.dumps({"subtasks": items})
    text = Wording(form="text")
    blocks = [
        f"New subtask: {name}\nReason: {reason}\nExamples:\n{text.written(examples)}"
        for name, reason, examples in found
    ]
    return "\n\n".join(blocks)


# Faults of real explorers: (good reply, what was asked) -> (reply, ending).
_FAULTS: tuple[Callable[[str, Asked], tuple[str, Finish]], ...] = (
    lambda good, asked: ("", "stop"),
    lambda good, asked: ("I cannot help with that.", "refusal"),
    lambda good, asked: (f"Here are some ideas about {asked.target} that may help.", "stop"),
    lambda good, asked: (good[: len(good) // 2], "length"),
    lambda good, asked: (good.replace('"output"', '"result"').replace("Output", "Result"), "stop"),
)
