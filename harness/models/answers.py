"""Where an answer stands in a conversation, and which ids of it are trained and scored.

The place of an answer is found by rendering the conversation with it, so that its ids are those
that the template gives, for example "▁Four . ▁ </s>" behind "[/INST]" with the template of Llama-2:

    rendered conversation   <s>[INST] 2+2? [/INST] Four. </s>
                                                  |    |    |
                                              start  body  stop

`start` is where the model begins to write: the end of the rendered prompt, or the last point up to
which prompt and conversation agree. `stop` is behind the token that ends the turn: the first added
token that the template writes behind the last answer; or else, behind an earlier answer (templates
whose turns end with the marker of the next role); or else the EOS of the tokenizer is added. An id
that covers both sides of `start` belongs to the answer. The answer is put behind the rendered
prompt as it is where the template would lose a part of it (a thought), open a thought a second
time, refuse the answer, or leave the answer inside a thought that the prompt opens; in the last
case, the thought is closed first.

A cut answer has no end token, because a limit does not teach where to stop. An answer that the
model itself wrote as known ids keeps these ids (`sampled`): its text may give others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

from harness.core.errors import BadData, UserError
from harness.models.rendering import (
    PROBE,
    Masked,
    Message,
    Tokenizer,
    check_bos,
    checked,
    encode,
    facts_of,
    mask,
    name_of,
    render,
    valid_unicode,
)
from harness.models.thoughts import (
    CHANNEL,
    closing_marker,
    marker_spans,
    opens_thought,
    split_thought,
    without_opening,
)

_PROBES = [
    {"role": role, "content": PROBE} for role in ("user", "assistant", "user")
]  # an earlier answer; without the last, a last one


@dataclass(frozen=True)
class Answered:
    """Ids of a prompt and of the answer that follows it."""

    prompt: list[int]
    answer: list[int]


@dataclass(frozen=True)
class Place:
    """Place of the last answer in a rendered conversation, in characters.

    Attributes:
        ends: the template writes a token that ends the turn, and `stop` is behind it.
    """

    text: str
    start: int
    body: int
    stop: int
    ends: bool
    restore: dict[str, str]


def answered(
    tokenizer: Tokenizer, messages: Sequence[Message], answer: str, *, ended: bool = True
) -> Answered:
    """Ids of a prompt and of an answer to it, which ends in one end-of-turn id.

    Args:
        messages: one or more turns; the last turn is not the assistant's.
        ended: False for an answer that was cut: it gets no end-of-turn id.

    Raises:
        UserError: there is no chat template, or neither template nor tokenizer has an end token.
        BadData: malformed messages, a template that refuses them, or two leading BOS tokens.
    """
    place = place_of(tokenizer, messages, answer)
    prompt, whole = _split(tokenizer, place, place.stop if ended else place.body)
    end = [] if place.ends or not ended else [end_of_turn_id(tokenizer)]
    return Answered(prompt, [*whole[len(prompt) :], *end])


def sampled(
    tokenizer: Tokenizer,
    messages: Sequence[Message],
    ids: Sequence[int],
    *,
    ended: bool = True,
) -> Answered:
    """Ids of a prompt and of an answer that the model wrote as `ids`; see `answered`."""
    rendered = mask(tokenizer, checked(messages, prompt=True))
    prompt = encode(
        tokenizer, render(tokenizer, rendered.messages, generation=True), rendered.restore
    )
    check_bos(tokenizer, prompt)
    return Answered(prompt, [*ids, *([end_of_turn_id(tokenizer)] if ended else [])])


def dialogue(
    tokenizer: Tokenizer, messages: Sequence[Message], answer: str
) -> tuple[list[int], list[tuple[int, int]]]:
    """Ids of a conversation, and the start and (exclusive) end of each answer in them.

    An earlier answer includes its end-of-turn id where the template writes the same one as behind
    the last answer.

    Raises:
        UserError: as for `answered`.
        BadData: as for `answered`, or the template does not repeat an earlier answer.
    """
    last = answered(tokenizer, messages, answer)
    ids = [*last.prompt, *last.answer]
    given = mask(tokenizer, checked(messages, prompt=True))
    text = render(tokenizer, given.messages, generation=True)
    places = []
    for number, message in enumerate(given.messages):
        if message["role"] != "assistant":
            continue
        start, stop = _earlier(tokenizer, given, text, number)
        first, behind = (
            _common(encode(tokenizer, text[:end], given.restore), ids) for end in (start, stop)
        )
        places.append((first, behind))
    return ids, [*places, (len(last.prompt), len(ids))]


def end_of_turn_id(tokenizer: Tokenizer) -> int:
    """Id that ends an assistant turn.

    Raises:
        UserError: neither template nor tokenizer has one.
    """
    facts = facts_of(tokenizer)
    if facts.end_id is None:
        found = _end_token(tokenizer, _PROBES[:2]) or _end_token(tokenizer, _PROBES)
        end = tokenizer.convert_tokens_to_ids(found) if found else tokenizer.eos_token_id
        if end is None:
            raise UserError(
                f"{name_of(tokenizer)}: neither the chat template nor the tokenizer has an "
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


def place_of(tokenizer: Tokenizer, messages: Sequence[Message], answer: str) -> Place:
    """The place of an answer to messages; see the module for errors."""
    turn = {"role": "assistant", "content": valid_unicode(answer)}
    turns = [*checked(messages, prompt=True), turn]
    prompt = render(tokenizer, mask(tokenizer, turns[:-1]).messages, generation=True)
    spans = marker_spans(turn["content"], opened=opens_thought(prompt))
    given = mask(tokenizer, turns, spans)
    *before, said = given.messages
    if given.restore:
        prompt = render(tokenizer, before, generation=True)
    lead, tail = _around(tokenizer, before, given.probe)
    found = _rendered(tokenizer, given, prompt, (lead, tail))
    if found is None:
        lead = lead[len(prompt) :] if lead.startswith(prompt) else ""
        body = (lead if lead.isspace() else "") + _behind(prompt, said["content"])
        found = prompt + body + tail, len(prompt), len(prompt + body)
    text, start, body_end = found
    ends = facts_of(tokenizer).special.ends
    end = ends.search(tail) if ends else None
    stop = body_end + (end.end() if end else len(tail.rstrip()))
    return Place(text, start, body_end, stop, end is not None, given.restore)


def _around(tokenizer: Tokenizer, messages: list[dict[str, str]], probe: str) -> tuple[str, str]:
    """What the template writes before and behind the text of a last answer."""
    turn = {"role": "assistant", "content": probe}
    try:
        text = render(tokenizer, [*messages, turn], generation=False)
    except BadData:  # a template without answers
        return "", ""
    lead, found, tail = text.rpartition(probe)
    return (lead, tail) if found else ("", "")


def _rendered(
    tokenizer: Tokenizer, given: Masked, prompt: str, around: tuple[str, str]
) -> tuple[str, int, int] | None:
    """The conversation with its answer, and start and end of the answer; None if it is altered."""
    lead, tail = around
    try:
        text = render(tokenizer, given.messages, generation=False)
    except BadData:
        return None
    start = _begins(text, prompt, lead)
    end = len(text) - len(tail)
    if not text.endswith(tail) or end < start:
        return None
    written, answer = text[start:end], given.messages[-1]["content"]
    said = split_thought(answer)
    if any(part.strip() not in written for part in (said.thought, said.answer or "")):
        return None
    if CHANNEL in answer and written.count(CHANNEL) != answer.count(CHANNEL):
        return None
    if opens_thought(text[:start]):
        again = without_opening(written) != written
        if again or split_thought(written, opened=True).answer is None:
            return None
    elif opens_thought(prompt) and said.thought and without_opening(answer) == answer:
        return None  # the thought would have no beginning
    return text, start, end


def _begins(text: str, prompt: str, lead: str) -> int:
    """Where the model begins to write in a rendered conversation."""
    if text.startswith(prompt):
        return len(prompt)
    return _common(text, prompt, lead or prompt)


def _behind(prompt: str, answer: str) -> str:
    """An answer as it continues a rendered prompt that may open a thought."""
    if not opens_thought(prompt):
        return answer
    rest = without_opening(answer)
    if rest != answer:
        return rest.removeprefix("\n") if prompt.endswith("\n") else rest
    return answer if split_thought(answer).thought else closing_marker(prompt) + answer


def _earlier(tokenizer: Tokenizer, given: Masked, text: str, number: int) -> tuple[int, int]:
    """Start and end of an earlier answer in a rendered prompt, in characters."""
    messages = given.messages
    probed = [*messages[:number], {**messages[number], "content": given.probe}]
    lead, _, tail = render(
        tokenizer, [*probed, *messages[number + 1 :]], generation=True
    ).partition(given.probe)
    start = _begins(text, render(tokenizer, messages[:number], generation=True), lead)
    body = len(text) - len(tail)
    answer = split_thought(messages[number]["content"]).answer or ""
    if not text.endswith(tail) or answer.strip() not in text[start:body]:
        raise BadData(
            f"the chat template of {name_of(tokenizer)} does not repeat message {number + 1}"
        )
    following = messages[number + 1]["content"].strip()
    gap = tail[: tail.find(following)] if following in tail else tail
    ends = facts_of(tokenizer).special.ends
    end = ends.search(gap) if ends else None
    if end and tokenizer.convert_tokens_to_ids(end[0]) == end_of_turn_id(tokenizer):
        body += end.end()
    return start, body


def _split(tokenizer: Tokenizer, place: Place, stop: int) -> tuple[list[int], list[int]]:
    """Ids of the prompt, and of the conversation up to a character."""
    whole = encode(tokenizer, place.text[:stop], place.restore)
    check_bos(tokenizer, whole)
    before = encode(tokenizer, place.text[: place.start], place.restore)
    return whole[: _common(before, whole)], whole


def _common(*sequences: Sequence[object]) -> int:
    """Length of the longest common beginning."""
    return sum(1 for _ in takewhile(lambda items: len(set(items)) == 1, zip(*sequences)))


def _end_token(tokenizer: Tokenizer, probes: list[dict[str, str]]) -> str | None:
    """First token that the template writes behind the answer of `_PROBES` that may end a turn."""
    try:
        parts = render(tokenizer, probes, generation=False).split(PROBE)
    except BadData:
        return None
    ends = facts_of(tokenizer).special.ends
    found = ends.search(parts[1 - len(probes)]) if ends and len(parts) >= len(probes) else None
    return found[0] if found else None
