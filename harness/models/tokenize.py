"""Token ids and labels of rows: where a row is cut, and which tokens are scored.

A preference row becomes one sequence for each of its K responses: the ids of the prompt followed by
those of the response, with label -100 on the prompt. The prompt is rendered once by
`harness.models.chat` and ends where the answer begins; a response is its text and one end-of-turn
id. All responses of a row follow the same (possibly cut) prompt, so that they stay comparable.

A row with prompt + longest response > max_length is cut in two steps:
1. The prompt loses tokens from its front, no more than needed, but keeps its last
   `max_prompt_length` (all of a shorter one). A leading BOS stays.
2. Each response that is still too long loses its end, and with it the end token: a response that
   was cut must not teach where to stop.

`released=True` follows the code released with WRPO instead (TRL 0.9 era): a second end id after the
first; a prompt cut to `max_prompt_length` at once; then every response of a row that is still too
long is cut to max_length - max_prompt_length, however short its prompt, which leaves 248 tokens
with the paper's 2,048 and 1,800. Departure in this mode as well: the released code scored the
assistant header of the template as part of the response; here it always belongs to the prompt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from harness.core.errors import BadData

if TYPE_CHECKING:
    from harness.models.chat import Tokenizer

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
) -> dict[str, TokenSequence]:
    """Token ids of a preference row, by response name.

    Args:
        row: {"id", "messages", "responses": {name: text}}.
        responses: names of the responses to tokenise, in this order.

    Raises:
        BadData: the row lacks messages or a response.
    """
    from harness.models import chat

    texts = row.get("responses") or {}
    if "messages" not in row:
        raise BadData(f'preference row "{row.get("id")}" has no messages')
    missing = [name for name in responses if not isinstance(texts.get(name), str)]
    if missing:
        raise BadData(
            f'preference row "{row.get("id")}" has no response "{missing[0]}"; '
            f"it has {', '.join(sorted(texts)) or 'none'}"
        )
    prompt = chat.prompt_ids(tokenizer, row["messages"])
    answers = [chat.response_ids(tokenizer, texts[name]) for name in responses]
    if released:
        end = tokenizer.eos_token_id
        extra = [end] if end is not None else [answers[0][-1]]
        cut_prompt, cut_answers = released_cut(
            prompt, [answer + extra for answer in answers], max_length, max_prompt_length
        )
    else:
        cut_prompt, cut_answers = cut(
            prompt, answers, max_length, max_prompt_length, tokenizer.bos_token_id
        )
    return {name: join(cut_prompt, answer) for name, answer in zip(responses, cut_answers)}


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

    >>> cut([1, 2, 3], [[7, 8, 9, 0]], max_length=6, max_prompt_length=1)
    ([2, 3], [[7, 8, 9, 0]])
    >>> cut([1, 2], [[4, 5, 6, 7, 8, 0], [9, 0]], max_length=6, max_prompt_length=3)
    ([1, 2], [[4, 5, 6, 7], [9, 0]])
    """
    longest = max(map(len, responses), default=0)
    if len(prompt) + longest > max_length:
        keep = min(len(prompt), max(max_length - longest, max_prompt_length))
        if keep < len(prompt):
            start = prompt[:1] if bos is not None and prompt[0] == bos and keep > 1 else []
            prompt = start + prompt[len(prompt) - keep + len(start) :]
    room = max_length - len(prompt)
    return prompt, [response[:room] for response in responses]


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
