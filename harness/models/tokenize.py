"""Token ids and labels of rows: where a row is cut, and which tokens are scored.

A preference row becomes one sequence for each of its K responses: the ids of the prompt followed by
those of the response, with label -100 on the prompt. `harness.models.answers` gives both, as the
template writes them. The ids that a model wrote itself, which a row may hold, are kept, if they are
of the same tokenizer. A response that reached its token limit (its `finish`) has no end-of-turn id:
it must not teach where to stop.

A row with prompt + longest response > max_length is cut in two steps, equally for all responses, so
that they stay comparable:
1. The prompt loses tokens from its front, no more than needed, but keeps its last
   `max_prompt_length` (all of a shorter one). A leading BOS stays.
2. Each response that is still too long loses its end, and with it the end token.

`released=True` follows the code released with WRPO instead (TRL 0.9 era): every response is its
text, tokenised again, with an end id, and a second end id after the first; a prompt cut to
`max_prompt_length` at once; then every response of a row that is still too long is cut to
max_length - max_prompt_length, however short its prompt, which leaves 248 tokens with the paper's
2,048 and 1,800. Departure in this mode as well: the released code scored the assistant header of
the template as part of the response; here it always belongs to the prompt.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal
from weakref import WeakKeyDictionary

from harness.core.errors import BadData
from harness.core.hashing import digest

if TYPE_CHECKING:
    from harness.models.answers import Answered
    from harness.models.rendering import Tokenizer

CutAnswers = Literal["no_end", "leave_out", "end"]

_DIGESTS: WeakKeyDictionary[Any, str] = WeakKeyDictionary()
IGNORE = -100  # label of a position that is not scored, as in torch's cross-entropy


@dataclass(frozen=True)
class TokenSequence:
    """One prompt and response: ids (T,) and labels (T,), -100 where nothing is scored."""

    input_ids: list[int]
    labels: list[int]

    @property
    def length(self) -> int:
        """Number of scored tokens."""
        return sum(label != IGNORE for label in self.labels[1:])


def tokenize_row(
    tokenizer: Tokenizer,
    row: Mapping[str, Any],
    responses: Sequence[str],
    *,
    max_length: int,
    max_prompt_length: int,
    released: bool = False,
    cut_answers: CutAnswers = "no_end",
) -> dict[str, TokenSequence]:
    """Token ids of a preference row, by response name.

    Args:
        row: {"id", "messages", "responses": {name: text}}, and optionally "finish": {name: text},
            "response_ids": {name: ids} and their "tokenizer" (`tokenizer_digest`).
        responses: names of the responses to tokenise, in this order.
        cut_answers: "end" puts an end id behind responses that reached their token limit.

    Raises:
        BadData: the row lacks messages or a response.
    """
    texts = row.get("responses") or {}
    if "messages" not in row:
        raise BadData(f'preference row "{row.get("id")}" has no messages')
    missing = [name for name in responses if not isinstance(texts.get(name), str)]
    if missing:
        raise BadData(
            f'preference row "{row.get("id")}" has no response "{missing[0]}"; '
            f"it has {', '.join(sorted(texts)) or 'none'}"
        )
    ids, finish = row.get("response_ids") or {}, row.get("finish") or {}
    found = [
        answer_ids(
            tokenizer,
            row["messages"],
            texts[name],
            ids=None if released else ids.get(name),
            written_by=row.get("tokenizer"),
            ended=released or cut_answers == "end" or not is_cut(finish.get(name)),
        )
        for name in responses
    ]
    prompts, answers = [each.prompt for each in found], [each.answer for each in found]
    if released:
        end = tokenizer.eos_token_id
        answers = [answer if end is None else [*answer, end] for answer in answers]
        prompt, answers = released_cut(prompts[0], answers, max_length, max_prompt_length)
        prompts = [prompt] * len(answers)
    else:
        bos = tokenizer.bos_token_id
        prompts, answers = cut_together(prompts, answers, max_length, max_prompt_length, bos)
    return {name: join(*pair) for name, pair in zip(responses, zip(prompts, answers))}


def answer_ids(
    tokenizer: Tokenizer,
    messages: Sequence[Mapping[str, str]],
    text: str,
    *,
    ids: Sequence[int] | None = None,
    written_by: str | None = None,
    ended: bool = True,
) -> Answered:
    """Ids of a prompt and of an answer to it.

    Args:
        ids: what the model wrote, without end id; used if `written_by` is this tokenizer's digest.
        ended: whether the answer ends in an end-of-turn id.
    """
    from harness.models import chat

    if ids is not None and written_by == known_digest(tokenizer):
        return chat.sampled(tokenizer, messages, ids, ended=ended)
    return chat.answered(tokenizer, messages, text, ended=ended)


def is_cut(finish: str | None) -> bool:
    """Whether an answer did not end by itself (`finish` of a completion; None is unknown)."""
    return finish in ("length", "content_filter")


def tokenizer_digest(tokenizer: Any) -> str:
    """Digest of a tokenizer: vocabulary, rules and special tokens."""
    inner = getattr(tokenizer, "backend_tokenizer", None)
    rules: Any = None
    if inner is not None:
        rules = json.loads(inner.to_str())
        for state in ("truncation", "padding"):  # left over from the last call
            rules.pop(state, None)
    special = {name: str(token) for name, token in tokenizer.special_tokens_map.items()}
    return digest([sorted(tokenizer.get_vocab().items()), rules, special])


def known_digest(tokenizer: Any) -> str:
    """`tokenizer_digest`, computed once: for tokenizers that nobody changes."""
    if tokenizer not in _DIGESTS:
        _DIGESTS[tokenizer] = tokenizer_digest(tokenizer)
    return _DIGESTS[tokenizer]


def join(prompt: Sequence[int], response: Sequence[int]) -> TokenSequence:
    """Prompt and response as one sequence, with labels on the response."""
    return TokenSequence([*prompt, *response], [IGNORE] * len(prompt) + list(response))


def cut(
    prompt: list[int],
    responses: Sequence[list[int]],
    max_length: int,
    max_prompt_length: int,
    bos: int | None = None,
) -> tuple[list[int], list[list[int]]]:
    """Cut a prompt and its responses as the module docstring describes.

    Args:
        bos: id that stays at the front of the prompt.

    >>> cut([1, 2, 3], [[7, 8, 9, 0]], max_length=6, max_prompt_length=1)
    ([2, 3], [[7, 8, 9, 0]])
    >>> cut([1, 2], [[4, 5, 6, 7, 8, 0], [9, 0]], max_length=6, max_prompt_length=3)
    ([1, 2], [[4, 5, 6, 7], [9, 0]])
    """
    prompts, kept = cut_together([prompt], [*responses], max_length, max_prompt_length, bos)
    return prompts[0], kept


def cut_together(
    prompts: Sequence[list[int]],
    responses: Sequence[list[int]],
    max_length: int,
    max_prompt_length: int,
    bos: int | None = None,
) -> tuple[list[list[int]], list[list[int]]]:
    """`cut` for prompts that differ in their last ids: one for each response, or one for all."""
    longest = max(map(len, responses), default=0)
    size = max(map(len, prompts))
    lost = max(0, min(size + longest - max_length, size - max_prompt_length))
    kept = [_without_front(prompt, lost, bos) for prompt in prompts]
    room = max_length - max(map(len, kept))
    return kept, [response[:room] for response in responses]


def _without_front(prompt: list[int], lost: int, bos: int | None) -> list[int]:
    start = prompt[:1] if bos is not None and prompt[:1] == [bos] and lost < len(prompt) - 1 else []
    return [*start, *prompt[lost + len(start) :]] if lost else prompt


def released_cut(
    prompt: list[int],
    responses: Sequence[list[int]],
    max_length: int,
    max_prompt_length: int,
    mode: Literal["keep_end", "keep_start"] = "keep_end",
) -> tuple[list[int], list[list[int]]]:
    """Truncation as in the released code, including what it does to short prompts."""
    longest = max(map(len, responses), default=0)
    if len(prompt) + longest > max_length:
        ends = prompt[-max_prompt_length:] if mode == "keep_end" else prompt[:max_prompt_length]
        prompt = ends
    if len(prompt) + longest > max_length:
        responses = [response[: max_length - max_prompt_length] for response in responses]
    return prompt, list(responses)
