"""Scripted explorers: models that answer the prompts of Explore-Instruct by rule."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence

from harness.backends.base import Backend, Completion, Finish, Request, Response
from harness.core.hashing import digest
from methods.explore_instruct.prompts import Asked, read_prompt

Reply = tuple[str, Finish] | str | None


class ScriptedExplorer(Backend):
    """Always new sub-tasks and examples, as many as asked for, which depend on the prompt alone.

    Args:
        change: (good reply, what was asked, number of the request) -> reply; None fails the call.
    """

    parallel = 64

    def __init__(self, change: Callable[[str, Asked, int], Reply] | None = None) -> None:
        self.change = change or (lambda good, asked, number: good)
        self.asked: list[tuple[str, Asked]] = []

    @property
    def fingerprint(self) -> str:
        return "scripted"

    def generate(self, requests: Sequence[Request]) -> Iterator[Response]:
        for request in reversed(requests):  # arrival is not the order of asking
            text = request.messages[-1].content
            asked = read_prompt(text)
            assert asked is not None, text
            self.asked.append((request.id, asked))
            key = digest([text, request.sampling.seed])[:12]
            reply = self.change(scripted(asked, key), asked, len(self.asked))
            if reply is None:
                yield Response(id=request.id, error="scripted failure")
                continue
            said, finish = (reply, "stop") if isinstance(reply, str) else reply
            completion = Completion(text=said, finish=finish)
            yield Response(id=request.id, completions=(completion,), tokens_in=9, tokens_out=9)


def scripted(asked: Asked, key: str) -> str:
    """The good reply to a prompt."""
    if asked.kind == "enrich":
        return json.dumps({"examples": examples(key, asked.number)})
    names = [f"{key} part {number}" for number in range(asked.number)]
    found = [{"name": n, "reason": f"why {n}", "examples": examples(n, 2)} for n in names]
    return json.dumps({"subtasks": found})


def examples(key: str, n: int) -> list[dict[str, str]]:
    """Different examples."""
    return [
        {"instruction": f"Do task {number} of {key} now.", "input": "", "output": f"Done {number}."}
        for number in range(n)
    ]
