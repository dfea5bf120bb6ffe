"""Thought and answer of a reply from a reasoning model, told apart by the model's markers.

A thought is a block that begins the reply, or that began in the prompt and ends in the reply. A
marker anywhere else is text: an answer may quote `<think>` without thinking. Known marker families:

    <think>, <thinking>, <thought>, <reasoning>, <analysis>, <scratchpad>, ...   with attributes
    [THINK] ... [/THINK]                               Mistral
    ◁think▷ ... ◁/think▷                               Kimi
    <seed:think> ... </seed:think>                     Seed-OSS
    <|START_THINKING|> ... <|END_THINKING|>            Cohere
    <|begin_of_thought|> ... <|end_of_thought|>        OpenThinker
    <|channel|>analysis<|message|> ... <|channel|>final<|message|>   harmony (gpt-oss)
    analysis...assistantfinal...                       harmony whose special tokens were skipped

Time is linear in the length of the reply.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_NAMES = (
    "think|thinks|thinking|thought|thoughts|reason|reasoning|reflection|analysis|scratchpad|cot"
    "|chain_of_thought|inner_monologue|internal|deliberation|rationale"
)
# A name, optionally with a namespace ("seed:think") and attributes.
_TAG = re.compile(rf"<(/?)(?:[A-Za-z]{{1,20}}:)?({_NAMES})(?:\s[^<>]{{0,200}})?>", re.IGNORECASE)
_PAIRED = (
    _TAG,
    re.compile(rf"\[(/?)({_NAMES})\]", re.IGNORECASE),
    re.compile(rf"◁(/?)({_NAMES})▷", re.IGNORECASE),
)
# Special tokens whose opening and closing names differ.
_TOKENS = (
    (
        re.compile(
            r"<[|｜](?:START|BEGIN|begin)(?:[_▁]of)?[_▁](?:THINKING|thinking|think|thought)[|｜]>"
        ),
        re.compile(r"<[|｜](?:END|end)(?:[_▁]of)?[_▁](?:THINKING|thinking|think|thought)[|｜]>"),
    ),
    (re.compile(r"<[|｜](?:think|thinking)[|｜]>"), re.compile(r"<[|｜]/(?:think|thinking)[|｜]>")),
    (
        re.compile(r"Here(?:'s| is) my thought process:"),
        re.compile(r"Here(?:'s| is) my (?:response|answer):"),
    ),
)
_PROSE_END = _TOKENS[-1][1]
_CHANNEL = re.compile(
    r"(?:<\|start\|>\s{0,4}assistant\s{0,4})?<\|channel\|>\s{0,4}(\w{1,20})[^<]{0,80}<\|message\|>"
)
_CHANNEL_END = re.compile(r"<\|(?:end|return|call)\|>")
CHANNEL = "<|channel|>"
_SKIPPED_CHANNELS = re.compile(r"analysis(?=\S)")
_SKIPPED_FINAL = "assistantfinal"
# Wrappers of the answer that follows a thought.
_ANSWER_MARKS = re.compile(
    r"<[|｜](?:START|END|begin_of|end_of)_(?:RESPONSE|TEXT|solution)[|｜]>|</?(?:answer|response)>",
    re.IGNORECASE,
)
_LEAD = re.compile(r"(?:\s|\ufeff|\u200b|<\|im_start\|>assistant|<s>|<bos>)*")


@dataclass(frozen=True)
class Split:
    """A reply in two parts.

    Attributes:
        thought: the text of the thought, without markers; "" where there is none.
        answer: what follows the thought; None where the thought never ends.
    """

    thought: str
    answer: str | None


def split_thought(reply: str, *, opened: bool = False) -> Split:
    """Split a reply into its thought and its answer.

    Args:
        opened: the prompt ends inside a thought, so that the reply begins in one.

    >>> split_thought("<think>Is it 4?</think>It is 4.")
    Split(thought='Is it 4?', answer='It is 4.')
    >>> split_thought("Do not write <think> tags.").answer
    'Do not write <think> tags.'
    >>> split_thought("[THINK]Perhaps 4, but").answer is None
    True
    """
    if "<|channel|>" in reply or _SKIPPED_CHANNELS.match(reply):
        found = _channels(reply)
        if found is not None:
            return found
    thoughts: list[str] = []
    place = 0
    while True:
        begun = _opening(reply, place)
        if begun is None and opened and not thoughts:
            begun = (place, None)
        if begun is None:
            break
        end = _closing(reply, *begun)
        if end is None and begun[1] is _PROSE_END:
            break  # "Here is my thought process:" is also how an ordinary answer begins
        if end is None:
            return Split("\n".join([*thoughts, reply[begun[0] :].strip()]), None)
        thoughts.append(reply[begun[0] : end[0]].strip())
        place = end[1]
    if not thoughts:
        end = _headless(reply)
        if end is not None:
            thoughts, place = [reply[: end[0]].strip()], end[1]
    rest = reply[place:]
    return Split("\n".join(thoughts), _ANSWER_MARKS.sub("", rest) if thoughts else rest)


_HARMONY = frozenset(f"<|{name}|>" for name in ("start", "channel", "message", "end", "call"))


def is_marker(token: str, *, channels: bool = False) -> bool:
    """Whether a special token marks a thought, or a channel of harmony where the model has any.

    >>> is_marker("[THINK]"), is_marker("<|END_THINKING|>"), is_marker("<|im_end|>")
    (True, True, False)
    """
    patterns = (*_PAIRED, *(pattern for pair in _TOKENS for pattern in pair))
    return (channels and token in _HARMONY) or any(pattern.fullmatch(token) for pattern in patterns)


def opens_thought(prompt: str) -> bool:
    """Whether a rendered prompt ends inside a thought, so that the reply begins in one.

    >>> opens_thought("<|assistant|><think>\\n"), opens_thought("<think>\\n\\n</think>\\n\\n")
    (True, False)
    """
    tail = prompt.rstrip()[-80:]
    begins = [begin for begin, _ in _TOKENS[:2]]
    for pattern in (*_PAIRED, *begins):
        for found in pattern.finditer(tail):
            if found.end() == len(tail):
                return not (found.groups() and found[1])
    return tail.endswith("<|channel|>analysis<|message|>")


def without_opening(reply: str) -> str:
    """A reply without the marker that begins its thought, if any.

    >>> without_opening("<think>Is it 4?</think>It is 4."), without_opening("It is 4.")
    ('Is it 4?</think>It is 4.', 'It is 4.')
    """
    found = _opening(reply, 0)
    return reply if found is None or found[1] is _PROSE_END else reply[found[0] :]


def closing_marker(prompt: str) -> str:
    """What closes the thought that a rendered prompt opens, with white space around it.

    >>> closing_marker("<|assistant|><think>\\n")
    '\\n</think>\\n\\n'
    """
    text = prompt.rstrip()
    if text.endswith("<|channel|>analysis<|message|>"):
        return "<|end|><|start|>assistant<|channel|>final<|message|>"
    opening = text[max(text.rfind(mark) for mark in "<[◁") :]
    closing = re.sub(r"(?:START|BEGIN)(?=[_▁])", "END", opening)
    closing = re.sub(r"begin(?=[_▁])", "end", closing)
    if closing == opening:
        closing = re.sub(r"^([<\[◁][|｜]?)", r"\1/", opening)
    return ("\n" if prompt.endswith("\n") else "\n\n") + closing + "\n\n"


def marker_spans(reply: str, *, opened: bool = False) -> list[tuple[int, int]]:
    """Places of the markers that shape a reply: of the thoughts that begin it, or of its channels.

    Args:
        opened: the prompt ends inside a thought.

    >>> marker_spans("<think>4?</think>Not <think>.")
    [(0, 7), (9, 17)]
    """
    if CHANNEL in reply and _channels(reply) is not None:
        marks = [mark.span() for mark in _CHANNEL.finditer(reply)]
        found = (_CHANNEL_END.search(reply, stop) for _, stop in marks)
        return sorted([*marks, *{end.span() for end in found if end is not None}])
    spans: list[tuple[int, int]] = []
    place = 0
    while True:
        begun = _opening(reply, place)
        if begun is not None:
            lead = _LEAD.match(reply, place)
            spans.append((lead.end() if lead else place, begun[0]))
        elif opened and not spans:
            begun = (place, None)
        end = None if begun is None else _closing(reply, *begun)
        if end is None:
            break
        spans.append(end)
        place = end[1]
    headless = None if spans else _headless(reply)
    return [headless] if headless else spans


def _opening(text: str, place: int) -> tuple[int, re.Pattern[str] | None] | None:
    """End of a marker at `place`, and the pattern that closes it."""
    start = _LEAD.match(text, place)
    place = start.end() if start else place
    for pattern in _PAIRED:
        found = pattern.match(text, place)
        if found and not found[1]:
            return found.end(), pattern
    for begin, close in _TOKENS:
        found = begin.match(text, place)
        if found:
            return found.end(), close
    return None


def _closing(text: str, place: int, close: re.Pattern[str] | None) -> tuple[int, int] | None:
    """Start and end of the marker that closes a thought begun before `place`.

    Blocks of one family may be nested. None for `close` is any family's marker.
    """
    if close is None:
        ends = [family.search(text, place) for _, family in _TOKENS]
        ends += [_first_close(family, text, place) for family in _PAIRED]
        return min((end.span() for end in ends if end is not None), default=None)
    if close not in _PAIRED:
        found = close.search(text, place)
        return found.span() if found else None
    depth, last = 1, None
    for tag in close.finditer(text, place):
        depth += -1 if tag[1] else 1
        last = tag if tag[1] else last
        if depth == 0:
            break
    # The count stays above zero where the thought only mentions an opening: the last close ends it.
    return last.span() if last else None


def _first_close(family: re.Pattern[str], text: str, place: int) -> re.Match[str] | None:
    return next((tag for tag in family.finditer(text, place) if tag[1]), None)


# Around a marker that is mentioned rather than used: in code or quotes, or inside a sentence.
_QUOTES = tuple("`\"'“”‘’«»")
_MENTION_BEFORE = re.compile(
    r"\b(?:a|an|the|its?|stray|raw|extra|literal|unclosed|closing|open|of|and|or|with|leaves|leaks"
    r"|shows|writes|prints|contains|tag|tags|token)\s{0,3}$",
    re.IGNORECASE,
)
_MENTION_AFTER = re.compile(r"[ \t]{0,3}(?:[,;:)\]]|tags?\b|tokens?\b|markers?\b)|[ \t]{1,3}[a-z]")


def _headless(text: str) -> tuple[int, int] | None:
    """The marker that ends a thought begun in the prompt: the last that is used, not mentioned.

    A marker inside a sentence is mentioned: "leaves a stray </think> in its answer".
    """
    found = None
    for family in _PAIRED:
        for tag in family.finditer(text):
            if not tag[1]:
                break  # what this family opens here is part of the answer
            before, after = (
                text[max(0, tag.start() - 24) : tag.start()],
                text[tag.end() : tag.end() + 24],
            )
            quoted = before[-1:] in _QUOTES and after[:1] in _QUOTES
            if (
                not quoted
                and not _MENTION_BEFORE.search(before)
                and not _MENTION_AFTER.match(after)
            ):
                found = tag.span()
    for _, close in _TOKENS[:2]:
        for tag in close.finditer(text):
            found = tag.span()
    return found


def _channels(reply: str) -> Split | None:
    """Thought and answer of a reply in harmony's channels; None where it has none."""
    marks = list(_CHANNEL.finditer(reply))
    if not marks:
        if _SKIPPED_CHANNELS.match(reply) and _SKIPPED_FINAL in reply:
            thought, _, final = reply.removeprefix("analysis").partition(_SKIPPED_FINAL)
            return Split(thought.strip(), final)
        return None
    if reply[: marks[0].start()].strip():
        return None  # the markers are quoted in a reply of another form
    parts: dict[bool, list[str]] = {True: [], False: []}
    for mark, following in zip(marks, [*marks[1:], None], strict=True):
        end = following.start() if following else len(reply)
        text = _CHANNEL_END.split(reply[mark.end() : end])[0]
        parts[mark[1] == "final"].append(text.strip())
    answer = "\n".join(parts[True]) if parts[True] else None
    return Split("\n".join(parts[False]), answer)
