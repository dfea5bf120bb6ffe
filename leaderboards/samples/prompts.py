"""Reconstruction of the judge's prompts from the samples; prompt frames are pure functions.

A prompt is only reconstructed if the stored judge fingerprint equals that of the current wording;
judgments made with another wording get no prompt instead of a wrong one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from harness.core.errors import CrucibleError
from harness.core.records import parse
from harness.judging.frames import Message
from harness.judging.judge import open_judge
from harness.judging.operations import judge_operations
from leaderboards.samples.records import Sample, Samples

Writer = Callable[[Sample, int, int], list[Message]]


@dataclass(frozen=True)
class PromptWriter:
    """Reconstructs the judge's prompts for one set of samples.

    Attributes:
        write: function of sample, turn and game (counted from 0); None if not possible.
        reason: why it is not possible.
    """

    write: Writer | None
    reason: str = ""


def prompt_writer(samples: Samples) -> PromptWriter:
    """The prompt writer for the judge of these samples."""
    name = samples.judging.operation
    operation = judge_operations().get(name)
    if operation is None:
        return PromptWriter(None, "no judge was asked" if samples.kind == "rows" else name)
    try:
        params = parse(operation.params, samples.judging.params, f'parameters of "{name}"')
        rules = operation.rules(params)
        present = open_judge(params.judge, rules).fingerprint
    except CrucibleError as error:
        return PromptWriter(None, f"the judge cannot be opened here: {error}")
    if present != params.fingerprint:
        return PromptWriter(None, "the wording of the judge's prompt has changed since")

    def write(sample: Sample, turn: int, game: int) -> list[Message]:
        if sample.judged is None or not sample.turns[turn].games[game].attempts:
            return []  # there was no answer to ask about
        return operation.frame(rules, sample.judged, turn, game)

    return PromptWriter(write)
