"""Chat templates: messages to text, and rendered text to ids.

Two rules hold for every template:

* Message text is untrusted: text that spells a special token ("</s>", "<|eot_id|>") stays text.
  Such text is replaced by stand-ins before rendering, and put back when the text is tokenised. The
  markers of the thought that begins an answer are the model's own and stay tokens.
* The same messages give the same text on any day: templates that print today's date get `DATE`.

A system message that a template rejects or silently drops is put before the first user message.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from harness.core.errors import BadData, UserError
from harness.models.template_limits import BeyondLimits, check_template

Message = Mapping[str, str]
ROLES = ("system", "user", "assistant")
DATE = datetime(2024, 7, 26)  # default date of the template of Llama-3.1
PROBE = "crucible"

_PRIVATE = range(0xF0000, 0x10FFFE)  # private code points, which have no meaning in text


class Tokenizer(Protocol):
    """Members of a transformers tokenizer that this room uses."""

    chat_template: Any
    name_or_path: str
    bos_token_id: int | None
    eos_token_id: int | None

    @property
    def added_tokens_decoder(self) -> Any: ...
    @property
    def all_special_tokens(self) -> list[str]: ...
    @property
    def special_tokens_map(self) -> Mapping[str, Any]: ...
    def __call__(self, text: str, **options: Any) -> Any: ...
    def apply_chat_template(self, conversation: Any, **options: Any) -> Any: ...
    def convert_tokens_to_ids(self, tokens: str) -> Any: ...
    def convert_ids_to_tokens(self, ids: int) -> Any: ...


@dataclass(frozen=True)
class Special:
    """Special tokens of one tokenizer, compiled for splitting and masking text.

    Attributes:
        ends: matches tokens that may end a turn: every added token but BOS and white space. The end
            of a turn need not be marked as special.
    """

    tokens: tuple[str, ...]
    pattern: re.Pattern[str] | None
    ends: re.Pattern[str] | None
    strips_left: frozenset[str]
    strips_right: frozenset[str]
    marks_start: bool  # tokenises the first piece of a text differently ("▁x", later "x")


@dataclass
class Facts:
    """Properties that are computed once per tokenizer and template."""

    template: object
    size: int
    special: Special
    end_id: int | None = None


@dataclass(frozen=True)
class Masked:
    """Messages whose spelled special tokens are replaced by `restore`'s keys."""

    messages: list[dict[str, str]]
    restore: dict[str, str]
    probe: str  # a character that occurs in no message


_FACTS: WeakKeyDictionary[Any, Facts] = WeakKeyDictionary()


def facts_of(tokenizer: Tokenizer) -> Facts:
    """Facts of a tokenizer with its present template and tokens."""
    size = len(tokenizer.added_tokens_decoder)
    known = _FACTS.get(tokenizer)
    if known is None or known.template != tokenizer.chat_template or known.size != size:
        known = Facts(tokenizer.chat_template, size, _special(tokenizer))
        _FACTS[tokenizer] = known
    return known


def checked(messages: Sequence[Message], *, prompt: bool) -> list[dict[str, str]]:
    """Messages with valid roles and text.

    Args:
        prompt: the last message must not be the assistant's.

    Raises:
        BadData: malformed messages.
    """
    if not messages:
        raise BadData("a conversation has no messages; expected at least one user message")
    result = []
    for place, message in enumerate(messages, 1):
        role, content = message.get("role"), message.get("content")
        if role not in ROLES or not isinstance(content, str):
            raise BadData(
                f"message {place} has role {role!r} and content of type "
                f"{type(content).__name__}; expected a role of {', '.join(ROLES)} and text"
            )
        result.append({"role": role, "content": valid_unicode(content)})
    if prompt and result[-1]["role"] == "assistant":
        raise BadData("a prompt ends with an assistant message; expected a user message last")
    return result


def valid_unicode(text: str) -> str:
    """Text with lone surrogates, which no tokenizer accepts, replaced by question marks."""
    return text.encode("utf-8", errors="replace").decode("utf-8")


def name_of(tokenizer: Tokenizer) -> str:
    return getattr(tokenizer, "name_or_path", "") or type(tokenizer).__name__


def mask(
    tokenizer: Tokenizer,
    messages: Sequence[Mapping[str, str]],
    keep: Sequence[tuple[int, int]] = (),
) -> Masked:
    """Messages whose text spells no special token.

    Args:
        keep: places in the last message whose special tokens are kept.
    """
    special = facts_of(tokenizer).special
    texts = [message["content"] for message in messages]
    used = set("".join(texts))
    free = (chr(code) for code in _PRIVATE if chr(code) not in used)
    probe = next(free)
    pattern = special.pattern
    if pattern is None or not any(pattern.search(text) for text in texts):
        return Masked([dict(message) for message in messages], {}, probe)
    stand_in = dict(zip(special.tokens, free))

    def replaced(text: str) -> str:
        return pattern.sub(lambda found: stand_in[found[0]], text)

    *before, last = texts
    pieces, place = [], 0
    for start, end in keep:
        pieces += [replaced(last[place:start]), last[start:end]]
        place = end
    masked = [*map(replaced, before), "".join([*pieces, replaced(last[place:])])]
    return Masked(
        [{**message, "content": text} for message, text in zip(messages, masked)],
        {character: token for token, character in stand_in.items()},
        probe,
    )


def render(tokenizer: Tokenizer, messages: list[dict[str, str]], *, generation: bool) -> str:
    """Text of a conversation; a system message is put into the user message if necessary.

    Args:
        generation: end with the template's opening of an assistant turn.

    Raises:
        UserError: the tokenizer has no chat template.
        BadData: the template refuses the messages, does not end in time, or writes too much.
    """
    if not tokenizer.chat_template:
        raise UserError(
            f"{name_of(tokenizer)} has no chat template; use an instruction-tuned model or add a "
            "chat_template.jinja to its folder"
        )
    has_system = messages[0]["role"] == "system"
    try:
        text = _apply(tokenizer, messages, generation)
        if not has_system or messages[0]["content"].strip() in text:
            return text
    except BeyondLimits:
        raise
    except Exception as error:
        if not has_system:
            raise BadData(_refusal(tokenizer, error)) from error
    try:
        return _apply(tokenizer, _fold_system(messages), generation)
    except BeyondLimits:
        raise
    except Exception as error:
        raise BadData(_refusal(tokenizer, error)) from error


def encode(tokenizer: Tokenizer, text: str, restore: Mapping[str, str]) -> list[int]:
    """Ids of rendered text; characters in `restore` become text, never special tokens."""
    special = facts_of(tokenizer).special
    if not restore or special.pattern is None:
        return _plain(tokenizer, text, split=False)
    unmask = str.maketrans(dict(restore))
    ids: list[int] = []
    place, strip = 0, False
    for found in [*special.pattern.finditer(text), None]:
        piece = text[place : found.start() if found else len(text)]
        piece = piece.lstrip() if strip else piece
        if found and found[0] in special.strips_left:
            piece = piece.rstrip()
        if piece and ids and special.marks_start:
            ids += _behind_another(tokenizer, piece.translate(unmask))
        elif piece:
            ids += _plain(tokenizer, piece.translate(unmask), split=True)
        if found:
            ids.append(int(tokenizer.convert_tokens_to_ids(found[0])))
            place, strip = found.end(), found[0] in special.strips_right
    return ids


def check_bos(tokenizer: Tokenizer, ids: Sequence[int]) -> None:
    """Refuse ids that begin with two BOS tokens.

    Raises:
        BadData: they do.
    """
    bos = tokenizer.bos_token_id
    if bos is not None and list(ids[:2]) == [bos, bos]:
        raise BadData(
            f"{name_of(tokenizer)}: the prompt starts with two BOS tokens (id {bos}); expected at "
            "most one: remove one from the chat template"
        )


def _special(tokenizer: Tokenizer) -> Special:
    added = list(tokenizer.added_tokens_decoder.values())
    marked = [token for token in added if token.special]
    names = {str(token.content) for token in marked} | set(tokenizer.all_special_tokens)
    ordered = _longest_first(names)
    bos, eos = (
        None if id is None else tokenizer.convert_ids_to_tokens(id)
        for id in (tokenizer.bos_token_id, tokenizer.eos_token_id)
    )
    ends = names | {str(token.content) for token in added}
    ends = {token for token in ends if token.strip() and (token != bos or bos == eos)}
    return Special(
        tokens=ordered,
        pattern=_any_of(ordered),
        ends=_any_of(_longest_first(ends)),
        strips_left=frozenset(str(token.content) for token in marked if token.lstrip),
        strips_right=frozenset(str(token.content) for token in marked if token.rstrip),
        marks_start=bool(ordered)
        and _plain(tokenizer, ordered[0] + "x", split=False)[1:]
        != _plain(tokenizer, "x", split=True),
    )


def _longest_first(tokens: set[str]) -> tuple[str, ...]:
    return tuple(sorted(tokens - {""}, key=lambda token: (-len(token), token)))


def _any_of(tokens: Sequence[str]) -> re.Pattern[str] | None:
    return re.compile("|".join(map(re.escape, tokens))) if tokens else None


def check_limits(tokenizer: Tokenizer, messages: Sequence[Message], *, generation: bool) -> None:
    """Notice a chat template that does not end, or writes too much, before it is rendered here.

    Raises:
        BeyondLimits: it does.
    """
    template = tokenizer.chat_template
    if isinstance(template, dict):
        template = template.get("default", "")
    if isinstance(template, str):
        # A model reference may have arguments of the template, see `load_tokenizer`.
        applied = tokenizer.apply_chat_template
        given = applied.keywords if isinstance(applied, partial) else {}
        variables = {
            "messages": [dict(message) for message in messages],
            "tools": None,
            "documents": None,
            "add_generation_prompt": generation,
            "date_string": DATE.strftime("%d %b %Y"),
            **tokenizer.special_tokens_map,
            **given,
        }
        check_template(template, variables, DATE, name_of(tokenizer))


def _apply(tokenizer: Tokenizer, messages: list[dict[str, str]], generation: bool) -> str:
    check_limits(tokenizer, messages, generation=generation)
    return str(
        tokenizer.apply_chat_template(
            messages,
            tokenize=False,
            add_generation_prompt=generation,
            date_string=DATE.strftime("%d %b %Y"),
            strftime_now=DATE.strftime,
        )
    )


def _refusal(tokenizer: Tokenizer, error: Exception) -> str:
    return f"{name_of(tokenizer)}: its chat template refuses the messages: {error}"


def _fold_system(messages: list[dict[str, str]]) -> list[dict[str, str]]:
    system, rest = messages[0]["content"], messages[1:]
    if not rest or rest[0]["role"] != "user":
        return [{"role": "user", "content": system}, *rest]
    return [{"role": "user", "content": f"{system}\n\n{rest[0]['content']}"}, *rest[1:]]


def _behind_another(tokenizer: Tokenizer, text: str) -> list[int]:
    """Ids of a piece that is not the first of its text, for tokenizers that mark the first.

    The piece is tokenised after a character that no vocabulary merges with others.
    """
    lead = _plain(tokenizer, chr(_PRIVATE[0]), split=True)
    ids = _plain(tokenizer, chr(_PRIVATE[0]) + text, split=True)
    return ids[len(lead) :] if ids[: len(lead)] == lead else _plain(tokenizer, text, split=True)


def _plain(tokenizer: Tokenizer, text: str, *, split: bool) -> list[int]:
    # Not verbose: callers check lengths and report them by row.
    encoded = tokenizer(text, add_special_tokens=False, split_special_tokens=split, verbose=False)
    return [int(token) for token in encoded["input_ids"]]
