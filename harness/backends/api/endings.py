"""What a choice of a reply says beside its text: why it ended, and the model's thought.

Providers have their own words for the end of an answer. Those that mean that the answer was lost
(an error upstream, an aborted request), and unknown words, make the request a failure, which is
asked again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.backends.base import Finish

_ENDS: dict[Finish, tuple[str, ...]] = {
    "stop": (
        "stop", "eos", "eos_token", "end_turn", "end_of_turn", "stop_sequence", "stop_token",
        "stop_word", "complete", "completed", "done", "finish", "finished",
    ),
    "length": (
        "length", "max_tokens", "max_output_tokens", "max_completion_tokens", "max_new_tokens",
        "model_length", "max_length", "token_limit", "incomplete", "model_context_window_exceeded",
    ),
    "content_filter": (
        "content_filter", "content_filtered", "safety", "sensitive", "recitation",
        "prohibited_content", "blocklist", "spii", "guardrail_intervened", "error_toxic",
        "moderation", "image_safety", "language",
    ),
    "refusal": ("refusal", "refused"),
    "tool_calls": ("tool_calls", "tool_call", "tool_use", "function_call"),
}  # fmt: skip
_FINISHES: dict[str, Finish] = {word: finish for finish, words in _ENDS.items() for word in words}
_THOUGHTS = ("reasoning_content", "reasoning", "thinking")  # fields of a message
_THINKING = ("thinking", "reasoning", "thought", "redacted_thinking")  # types of content parts


class Unfinished(ValueError):
    """The server lost the answer; another request may get one."""


def finish_of(choice: Mapping[str, Any], text: str) -> Finish:
    """Why an answer ended.

    Args:
        text: the answer; one beside tool calls is an ordinary answer.

    Raises:
        Unfinished: with an error, after an abort, or for an unknown reason.
    """
    error = choice.get("error")
    if error:
        said = error.get("message", error) if isinstance(error, Mapping) else error
        raise Unfinished(f"the server lost the answer: {str(said)[:200]}")
    written = choice.get("finish_reason")
    message = choice.get("message") or {}
    if written in (None, "", "stop"):
        return "refusal" if message.get("refusal") and not message.get("content") else "stop"
    finish = _FINISHES.get(str(written).lower())
    if finish is None:
        raise Unfinished(f'the server lost the answer: it ended with "{str(written)[:40]}"')
    if finish == "tool_calls" and text.strip():
        return "stop"
    return finish


def thought_of(message: Mapping[str, Any]) -> str:
    """The thought that a server returns apart from the answer; "" without one."""
    for name in _THOUGHTS:
        if isinstance(message.get(name), str) and message[name].strip():
            return str(message[name])
    content = message.get("content")
    parts = content if isinstance(content, list) else []
    found = [_text(p) for p in parts if isinstance(p, Mapping) and p.get("type") in _THINKING]
    return "\n".join(text for text in found if text)


def _text(part: Any) -> str:
    """Text of a part of a thought, which may contain parts itself."""
    if isinstance(part, str):
        return part
    if isinstance(part, list):
        return "".join(_text(one) for one in part)
    if not isinstance(part, Mapping):
        return ""
    return next((_text(part[key]) for key in ("thinking", "text", "reasoning") if key in part), "")
