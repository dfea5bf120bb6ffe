"""Reconstruction of the judge's prompts from the samples; prompt frames are pure functions.

A prompt is only reconstructed if the stored judge fingerprint equals that of the current wording;
judgments made with another wording get no prompt instead of a wrong one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from harness.core.errors import CrucibleError
from harness.judging import frames
from harness.judging.frames import Message
from harness.judging.judge import Protocol, open_judge, protocol
from leaderboards.samples.records import Sample, Samples

_KINDS = {
    "judge_alpaca": "alpaca",
    "judge_arena": "arena",
    "judge_mt_bench": "rating",
    "judge_mt_bench_pairwise": "pairwise",
}
_CREATIVE = "creative_writing"
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
    operation, params = samples.judging.operation, samples.judging.params
    kind = _KINDS.get(operation)
    if kind is None:
        return PromptWriter(None, "no judge was asked" if samples.kind == "rows" else operation)
    try:
        rules = _protocol(kind, params)
        today = open_judge(str(params["judge"]), rules).fingerprint
    except (CrucibleError, KeyError) as error:
        return PromptWriter(None, f"the judge cannot be opened here: {error}")
    if today != params.get("fingerprint"):
        return PromptWriter(None, "the wording of the judge's prompt has changed since")
    return PromptWriter(_writer(kind, rules))


def _protocol(kind: str, params: dict[str, Any]) -> Protocol:
    more: dict[str, Any] = {}
    if kind == "alpaca":
        more["both_orders"] = params.get("orders") == "both"
        if "annotator" in params:
            more["annotator"] = params["annotator"]
    return protocol(
        kind, parser=params.get("parser", "strict"), max_tokens=params.get("max_tokens"), **more
    )


def _writer(kind: str, rules: Protocol) -> Writer:
    def write(sample: Sample, turn: int, game: int) -> list[Message]:
        played = sample.turns[turn].games[game]
        if played.attempts == 0:  # the judge was not asked, as for a missing answer
            return []
        turns = sample.turns[: turn + 1]
        asked = [part.question for part in turns]
        ours = [part.answer or "" for part in turns]
        theirs = [part.other or "" for part in turns]
        guide = [part.reference for part in turns if part.reference]
        if kind == "rating":
            return frames.rating_frame(asked, ours, guide)
        pair = (ours, theirs) if played.first == "model" else (theirs, ours)
        if kind == "pairwise":
            return frames.pairwise_frame(asked, *pair, guide)
        first, second = pair[0][-1], pair[1][-1]
        if kind == "arena":
            own = sample.labels.get("category") != _CREATIVE
            return frames.arena_frame(asked[-1], first, second, own_answer_first=own)
        return rules.frame(asked[-1], first, second)

    return write
