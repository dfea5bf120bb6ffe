"""Chat messages to token ids, for every local engine.

    prompt_ids        messages -> ids up to the beginning of the model's answer
    response_ids      answer   -> ids that end in exactly one end-of-turn id
    conversation_ids  messages including the answer -> ids of the whole conversation
    render            text of `prompt_ids`, to store beside a sample

Four rules hold for every template:

* At most one leading BOS. Special tokens are never added when rendered text is tokenised.
* Message text is untrusted: text that spells a special token ("</s>", "<|eot_id|>") stays text.
* The end of a turn is the end token of the template, which may differ from the EOS of the
  tokenizer (Llama-3 ends turns with <|eot_id|>).
* The same messages give the same ids on any day: templates that print today's date get `DATE`.

A system message that a template rejects or silently drops is put before the first user message.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from harness.core.errors import BadData, UserError

Message = Mapping[str, str]
ROLES = ("system", "user", "assistant")
CUT = " [...] "  # replaces the middle of a message that was cut
DATE = datetime(2024, 7, 26)  # default date of the template of Llama-3.1

_PRIVATE = range(0xF0000, 0x10FFFE)  # private code points, which have no meaning in text
_PROBE = "crucible"


class Tokenizer(Protocol):
    """Members of a transformers tokenizer that this module uses."""

    chat_template: Any
    name_or_path: str
    bos_token_id: int | None
    eos_token_id: int | None

    @property
    def added_tokens_decoder(self) -> Any: ...
    @property
    def all_special_tokens(self) -> list[str]: ...
    def __call__(self, text: str, **options: Any) -> Any: ...
    def apply_chat_template(self, conversation: Any, **options: Any) -> Any: ...
    def convert_tokens_to_ids(self, tokens: str) -> Any: ...


@dataclass(frozen=True)
class _Special:
    """Special tokens of one tokenizer, compiled for splitting and masking text."""

    tokens: tuple[str, ...]
    pattern: re.Pattern[str] | None
    strips_left: frozenset[str]
    strips_right: frozenset[str]
    marks_start: bool  # tokenises the first piece of a text differently ("▁x", later "x")


@dataclass
class _Facts:
    """Properties that are computed once per tokenizer and template."""

    template: object
    size: int
    special: _Special
    end_id: int | None = None
    opening: tuple[str, list[int]] | None = None


_FACTS: WeakKeyDictionary[Any, _Facts] = WeakKeyDictionary()


def prompt_ids(tokenizer: Tokenizer, messages: Sequence[Message]) -> list[int]:
    """Token ids of a conversation up to the point where the assistant answers.

    Args:
        messages: one or more turns; the last turn is not the assistant's.

    Raises:
        UserError: the tokenizer has no chat template.
        BadData: malformed messages, a template that refuses them, or two leading BOS tokens.
    """
    return _template_ids(tokenizer, _checked(messages, prompt=True), generation=True)


def conversation_ids(tokenizer: Tokenizer, messages: Sequence[Message]) -> list[int]:
    """Token ids of a whole conversation as its template renders it, for reward models.

    Raises:
        UserError, BadData: as for `prompt_ids`.
    """
    return _template_ids(tokenizer, _checked(messages, prompt=False), generation=False)


def response_ids(tokenizer: Tokenizer, response: str) -> list[int]:
    """Token ids of an answer as the model would generate it, and one end-of-turn id.

    The text is tokenised after the template's opening of an assistant turn, so that tokenizers
    that mark the start of a text do not mark the start of an answer.

    Raises:
        UserError: there is no chat template, or neither template nor tokenizer has an end token.
    """
    facts = _facts(tokenizer)
    text = _valid_unicode(response)
    opening, opening_ids = _opening(tokenizer, facts)
    masked, restore = _mask([text], facts.special)
    ids = _encode(tokenizer, opening + masked[0], restore, facts.special)
    if ids[: len(opening_ids)] == opening_ids:
        ids = ids[len(opening_ids) :]
    else:  # the answer's first characters merged with the opening
        ids = _encode(tokenizer, masked[0], restore, facts.special)
    return [*ids, end_of_turn_id(tokenizer)]


def render(tokenizer: Tokenizer, messages: Sequence[Message]) -> str:
    """Text of a prompt with the template, which `prompt_ids` tokenises."""
    return _render(tokenizer, _checked(messages, prompt=True), generation=True)


def cut_to_fit(
    tokenizer: Tokenizer, messages: Sequence[Message], most: int
) -> tuple[list[Message], int]:
    """Messages with a prompt of at most `most` ids, and the number of characters cut.

    The longest message is cut in its middle, as little as possible, since instructions are at the
    beginning or the end of a long text. If cutting all of it is not enough, the next longest is
    cut, too.

    Raises:
        BadData: the prompt is too long even without any message.
    """
    kept = list(messages)
    lost = 0
    whole = sorted(range(len(kept)), key=lambda number: len(kept[number]["content"]))
    while len(prompt_ids(tokenizer, kept)) > most:
        if not whole:
            raise BadData(f"the prompt has more than {most} tokens even without its messages")
        place = whole.pop()
        text = kept[place]["content"]
        stays = _most_that_fits(tokenizer, kept, place, most)
        kept[place] = {**kept[place], "content": _without_middle(text, stays)}
        lost += len(text) - stays
    return kept, lost


def _most_that_fits(tokenizer: Tokenizer, messages: list[Message], place: int, most: int) -> int:
    """Number of characters of one message that may be kept."""
    text = messages[place]["content"]
    low, high = 0, max(0, len(text) - 1)
    while low < high:
        middle = (low + high + 1) // 2
        shorter = {**messages[place], "content": _without_middle(text, middle)}
        tried = [*messages[:place], shorter, *messages[place + 1 :]]
        if len(prompt_ids(tokenizer, tried)) <= most:
            low = middle
        else:
            high = middle - 1
    return low


def _without_middle(text: str, characters: int) -> str:
    head = (characters + 1) // 2
    return text[:head] + CUT + text[len(text) - (characters - head) :]


def end_of_turn_id(tokenizer: Tokenizer) -> int:
    """Id that ends an assistant turn: of the template, or else the EOS of the tokenizer.

    Raises:
        UserError: neither exists.
    """
    facts = _facts(tokenizer)
    if facts.end_id is None:
        probe = [{"role": "user", "content": _PROBE}, {"role": "assistant", "content": _PROBE}]
        tail = _render(tokenizer, probe, generation=False).rpartition(_PROBE)[2]
        found = facts.special.pattern.search(tail) if facts.special.pattern else None
        end = tokenizer.convert_tokens_to_ids(found[0]) if found else tokenizer.eos_token_id
        if end is None:
            raise UserError(
                f"{_name(tokenizer)}: neither the chat template nor the tokenizer has an "
                "end-of-turn token; set eos_token in its tokenizer_config.json"
            )
        facts.end_id = int(end)
    return facts.end_id


def stop_ids(tokenizer: Tokenizer) -> list[int]:
    """Ids that end a generated answer: the end of turn and the EOS of the tokenizer."""
    ids = {end_of_turn_id(tokenizer)}
    if tokenizer.eos_token_id is not None:
        ids.add(int(tokenizer.eos_token_id))
    return sorted(ids)


def _checked(messages: Sequence[Message], *, prompt: bool) -> list[dict[str, str]]:
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
        result.append({"role": role, "content": _valid_unicode(content)})
    if prompt and result[-1]["role"] == "assistant":
        raise BadData("a prompt ends with an assistant message; expected a user message last")
    return result


def _valid_unicode(text: str) -> str:
    """Text with lone surrogates, which no tokenizer accepts, replaced by question marks."""
    return text.encode("utf-8", errors="replace").decode("utf-8")


def _name(tokenizer: Tokenizer) -> str:
    return getattr(tokenizer, "name_or_path", "") or type(tokenizer).__name__


def _facts(tokenizer: Tokenizer) -> _Facts:
    size = len(tokenizer.added_tokens_decoder)
    known = _FACTS.get(tokenizer)
    if known is None or known.template != tokenizer.chat_template or known.size != size:
        known = _Facts(tokenizer.chat_template, size, _special(tokenizer))
        _FACTS[tokenizer] = known
    return known


def _special(tokenizer: Tokenizer) -> _Special:
    added = [token for token in tokenizer.added_tokens_decoder.values() if token.special]
    names = {str(token.content) for token in added} | set(tokenizer.all_special_tokens)
    ordered = tuple(sorted(names - {""}, key=lambda token: (-len(token), token)))
    pattern = re.compile("|".join(map(re.escape, ordered))) if ordered else None
    return _Special(
        tokens=ordered,
        pattern=pattern,
        strips_left=frozenset(str(token.content) for token in added if token.lstrip),
        strips_right=frozenset(str(token.content) for token in added if token.rstrip),
        marks_start=bool(ordered)
        and _plain(tokenizer, ordered[0] + "x", split=False)[1:]
        != _plain(tokenizer, "x", split=True),
    )


def _template_ids(
    tokenizer: Tokenizer, messages: list[dict[str, str]], *, generation: bool
) -> list[int]:
    special = _facts(tokenizer).special
    texts, restore = _mask([message["content"] for message in messages], special)
    masked = [{**message, "content": text} for message, text in zip(messages, texts)]
    rendered = _render(tokenizer, masked, generation=generation)
    ids = _encode(tokenizer, rendered, restore, special)
    bos = tokenizer.bos_token_id
    if bos is not None and ids[:2] == [bos, bos]:
        raise BadData(
            f"{_name(tokenizer)}: the prompt starts with two BOS tokens (id {bos}); expected at "
            "most one: remove one from the chat template"
        )
    return ids


def _render(tokenizer: Tokenizer, messages: list[dict[str, str]], *, generation: bool) -> str:
    """Text of a conversation; a system message is put into the user message if necessary."""
    if not tokenizer.chat_template:
        raise UserError(
            f"{_name(tokenizer)} has no chat template; use an instruction-tuned model or add a "
            "chat_template.jinja to its folder"
        )
    has_system = messages[0]["role"] == "system"
    try:
        text = _apply(tokenizer, messages, generation)
        if not has_system or messages[0]["content"].strip() in text:
            return text
    except Exception as error:
        if not has_system:
            raise BadData(_refusal(tokenizer, error)) from error
    try:
        return _apply(tokenizer, _fold_system(messages), generation)
    except Exception as error:
        raise BadData(_refusal(tokenizer, error)) from error


def _apply(tokenizer: Tokenizer, messages: list[dict[str, str]], generation: bool) -> str:
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
    return f"{_name(tokenizer)}: its chat template refuses the messages: {error}"


def _fold_system(messages: list[dict[str, str]]) -> list[dict[str, str]]:
    system, rest = messages[0]["content"], messages[1:]
    if not rest or rest[0]["role"] != "user":
        return [{"role": "user", "content": system}, *rest]
    return [{"role": "user", "content": f"{system}\n\n{rest[0]['content']}"}, *rest[1:]]


def _opening(tokenizer: Tokenizer, facts: _Facts) -> tuple[str, list[int]]:
    """End of a rendered prompt, from its last special token on, and its ids."""
    if facts.opening is None:
        text = _render(tokenizer, [{"role": "user", "content": _PROBE}], generation=True)
        places = (
            [m.start() for m in facts.special.pattern.finditer(text)]
            if (facts.special.pattern)
            else []
        )
        text = text[places[-1] :] if places else text
        facts.opening = (text, _encode(tokenizer, text, {}, facts.special))
    return facts.opening


def _mask(texts: list[str], special: _Special) -> tuple[list[str], dict[str, str]]:
    """Texts with spelled special tokens replaced by unused characters, and the inverse table."""
    if special.pattern is None or not any(special.pattern.search(text) for text in texts):
        return texts, {}
    used = set("".join(texts))
    free = (chr(code) for code in _PRIVATE if chr(code) not in used)
    stand_in = dict(zip(special.tokens, free))
    masked = [special.pattern.sub(lambda found: stand_in[found[0]], text) for text in texts]
    return masked, {character: token for token, character in stand_in.items()}


def _encode(
    tokenizer: Tokenizer, text: str, restore: Mapping[str, str], special: _Special
) -> list[int]:
    """Ids of rendered text; characters in `restore` become text, never special tokens."""
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
