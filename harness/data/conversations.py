"""Conversations of published data sets as messages: {"role": system, user or assistant, "content"}.

    {"role": "user", "content": text}       OpenAI, TRL, UltraFeedback
    {"from": "human", "value": text}        ShareGPT and its descendants
    "\\n\\nHuman: ...\\n\\nAssistant: ..."      transcripts of HH-RLHF

A content may be a list of text parts. Images, tools and unknown roles are refused by name, because
a conversation without them would be another one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from harness.core.errors import BadData

Message = dict[str, str]

SPEAKERS = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "bot": "assistant",
    "model": "assistant",
}
_TOOLS = {
    "tool", "tools", "function", "function_call", "function_response", "tool_call",
    "tool_response", "observation", "ipython",
}  # fmt: skip
_KEYS = (("role", "content"), ("from", "value"))
_TRANSCRIPT = re.compile(r"\s*Human:.*\n\nAssistant:", re.DOTALL)
_TURN = re.compile(r"(?:\A\s*|\n\n)(Human|Assistant):")


def messages_of(value: object, where: str) -> list[Message]:
    """Messages from a transcript, a message, a list of messages, or {"messages": [...]}.

    A plain text is one message of the user.

    Args:
        where: file, row and column, for the message of an error.

    Raises:
        BadData: anything else, with what was found.
    """
    if isinstance(value, str):
        return transcript(value) or [{"role": "user", "content": value}]
    if isinstance(value, Mapping):
        value = value["messages"] if "messages" in value else _listed(value)
    if not isinstance(value, list):
        raise _unreadable(value, where)
    return [_message(item, where) for item in value]


def transcript(text: str) -> list[Message] | None:
    r"""Messages of a transcript of HH-RLHF; None for any other text.

    An empty turn of the assistant at the end, which asks for an answer, is left out.

    >>> [turn["role"] for turn in transcript("\n\nHuman: Hi\n\nAssistant: Hello.")]
    ['user', 'assistant']
    """
    if not _TRANSCRIPT.match(text):
        return None
    _, *parts = _TURN.split(text)
    found = [
        {"role": SPEAKERS[speaker.lower()], "content": said.strip()}
        for speaker, said in zip(parts[::2], parts[1::2], strict=True)
    ]
    if found[-1] == {"role": "assistant", "content": ""}:
        found.pop()
    return found


def _listed(value: Mapping[str, Any]) -> list[Any]:
    """One message as a list; lists of roles and of contents as messages."""
    for keys in _KEYS:
        roles, contents = (value.get(key) for key in keys)
        if isinstance(roles, list) and isinstance(contents, list) and len(roles) == len(contents):
            return [dict(zip(keys, cells, strict=True)) for cells in zip(roles, contents)]
    return [value]


def _message(item: object, where: str) -> Message:
    keys = next((k for k in _KEYS if isinstance(item, Mapping) and k[0] in item), None)
    if keys is None or not isinstance(item, Mapping) or not isinstance(item[keys[0]], str):
        raise _unreadable(item, where)
    said = item[keys[0]].strip().lower()
    if said in _TOOLS or item.get("tool_calls") or item.get("function_call"):
        what = "a message of a tool" if said in _TOOLS else "a call of a tool"
        raise BadData(
            f'{where}: found {what} (role "{item[keys[0]]}"); expected text of system, user and '
            "assistant: conversations with tools cannot be used, remove such rows"
        )
    role = SPEAKERS.get(said)
    if role is None:
        raise BadData(
            f'{where}: found the role "{item[keys[0]]}"; expected one of {", ".join(SPEAKERS)}'
        )
    return {"role": role, "content": _text(item.get(keys[1]), item, where)}


def _text(content: object, item: object, where: str) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list) or not content:
        raise _unreadable(item, where)
    texts = []
    for part in content:
        kind = part.get("type") if isinstance(part, Mapping) else type(part).__name__
        text = part.get("text") if isinstance(part, Mapping) else part
        if kind not in ("text", "input_text", "output_text", "str") or not isinstance(text, str):
            raise BadData(
                f'{where}: found a content part of type "{kind}"; expected text: images, sound and '
                "files cannot be used, remove such rows"
            )
        texts.append(text)
    return "".join(texts)


def _unreadable(value: object, where: str) -> BadData:
    shown = json.dumps(value, ensure_ascii=False, default=str)[:60]
    return BadData(f"{where}: expected text or messages with role and content, found {shown}")
