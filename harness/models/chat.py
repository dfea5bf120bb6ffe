"""Chat messages to token ids, for every local engine.

    prompt_ids        messages -> ids up to the beginning of the model's answer
    answered          messages and an answer -> ids of both, see `harness.models.answers`
    response_ids      answer   -> ids that end in one end-of-turn id
    conversation_ids  messages including the answer -> ids of the whole conversation
    render            text of `prompt_ids`, to store beside a sample

Prompts and conversations begin with at most one BOS: special tokens are never added when rendered
text is tokenised. `harness.models.rendering` describes how text is rendered.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.core.errors import BadData
from harness.models import rendering
from harness.models.answers import answered, end_of_turn_id, place_of, sampled, stop_ids
from harness.models.rendering import (
    PROBE,
    Masked,
    Message,
    Tokenizer,
    check_bos,
    checked,
    encode,
    mask,
)

__all__ = [
    "Message",
    "Tokenizer",
    "answered",
    "conversation_ids",
    "cut_to_fit",
    "end_of_turn_id",
    "prompt_ids",
    "render",
    "response_ids",
    "sampled",
    "stop_ids",
]

CUT = " [...] "  # replaces the middle of a message that was cut


def prompt_ids(tokenizer: Tokenizer, messages: Sequence[Message]) -> list[int]:
    """Token ids of a conversation up to the point where the assistant answers.

    Args:
        messages: one or more turns; the last turn is not the assistant's.

    Raises:
        UserError: the tokenizer has no chat template.
        BadData: malformed messages, a template that refuses them, or two leading BOS tokens.
    """
    given = mask(tokenizer, checked(messages, prompt=True))
    return _ids(tokenizer, given, generation=True)


def conversation_ids(tokenizer: Tokenizer, messages: Sequence[Message]) -> list[int]:
    """Token ids of a whole conversation as its template renders it, for reward models.

    An answer at the end is complete: where the template would lose a part of it, it stands as
    `answered` places it.

    Raises:
        UserError, BadData: as for `prompt_ids`.
    """
    turns = checked(messages, prompt=False)
    if len(turns) > 1 and turns[-1]["role"] == "assistant" != turns[-2]["role"]:
        place = place_of(tokenizer, turns[:-1], turns[-1]["content"])
        ids = encode(tokenizer, place.text, place.restore)
        check_bos(tokenizer, ids)
        return ids
    return _ids(tokenizer, mask(tokenizer, turns), generation=False)


def _ids(tokenizer: Tokenizer, given: Masked, *, generation: bool) -> list[int]:
    text = rendering.render(tokenizer, given.messages, generation=generation)
    ids = encode(tokenizer, text, given.restore)
    check_bos(tokenizer, ids)
    return ids


def response_ids(tokenizer: Tokenizer, response: str) -> list[int]:
    """Token ids of an answer to a short prompt, with its end-of-turn id; see `answered`."""
    return answered(tokenizer, [{"role": "user", "content": PROBE}], response).answer


def render(tokenizer: Tokenizer, messages: Sequence[Message]) -> str:
    """Text of a prompt with the template, which `prompt_ids` tokenises."""
    return rendering.render(tokenizer, checked(messages, prompt=True), generation=True)


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
