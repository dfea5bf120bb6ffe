"""Forms of published preference data: one row of a data set -> one preference row.

    prompt, chosen, rejected          texts, messages or lists of messages; the prompt may be given
                                      by itself or be the shared beginning of both (TRL,
                                      UltraFeedback-binarized, HH-RLHF, Argilla)
    input, preferred_output, ...      the same under the names in `PAIRS` (OpenAI, Argilla, LLaMA
                                      Factory, Stack Exchange)
    prompt, chosen: [y_ws, y_wt], rejected: [y_l]      the quadruples of WRPO, source first
    messages, responses: {...}        rows of the operation `preference_pairs`
    prompt, answers or completions    answers with ranks (Nectar) or scores (UltraFeedback): the
                                      best and the worst

A preference row is {"id", "messages", "responses": {"target", "rejected"}} with a "source" if the
data have one, and "rewards" where every response has a score. Losses name their responses so:
"target" is the preferred response of a pair.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from harness.core.errors import BadData
from harness.core.hashing import digest
from harness.data.conversations import Message, messages_of, transcript
from harness.engine.operations import Row

PAIR = ("target", "rejected")
QUADRUPLE = ("source", "target", "rejected")
PAIRS = (
    ("chosen", "rejected"),
    ("chosen_response", "rejected_response"),
    ("preferred_output", "non_preferred_output"),
    ("response_j", "response_k"),
)
SCORES = (
    ("score_chosen", "score_rejected"),
    ("chosen_score", "rejected_score"),
    ("rating_chosen", "rating_rejected"),
    ("chosen_rating", "rejected_rating"),
    ("chosen_avg_rating", "rejected_avg_rating"),
)
PROMPTS = (
    "prompt", "messages", "conversations", "conversation", "instruction", "question", "query",
    "input", "context",
)  # fmt: skip
SYSTEMS = ("system", "system_prompt")
IDS = ("id", "prompt_id", "uid", "question_id")
RANKED = {"answers": ("answer", "rank"), "completions": ("response", "overall_score")}


@dataclass(frozen=True)
class Ranked:
    """An answer with its score, higher is better; `scored` is false for a rank."""

    text: str
    score: float
    model: str = ""
    scored: bool = True


@dataclass(frozen=True)
class _Side:
    """One side of a row: messages before the answers, and the answers."""

    before: list[Message]
    answers: list[str]

    @property
    def whole(self) -> bool:
        """Whether it begins with the prompt."""
        return any(message["role"] != "assistant" for message in self.before[:1])

    def stripped(self) -> _Side:
        """Without the blank that follows "Assistant:" in a transcript."""
        return _Side(self.before, [answer.strip() for answer in self.answers])


def preference_row(item: Mapping[str, Any], where: str) -> Row | None:
    """The preference row of one row of a data set, None if its answers do not differ.

    Args:
        where: file and row, for messages.

    Raises:
        BadData: no preference, with what was found and what was expected.
    """
    own = item.get("responses")
    if isinstance(own, Mapping) and "rejected" in own:
        return _checked(item, *_own(item, own, where), where)
    names = _pair_of(item)
    if names is None:
        ranked = ranked_answers(item, where)
        if ranked[0].score == ranked[-1].score:
            return None
        item = {**item, "chosen": ranked[0].text, "rejected": ranked[-1].text}
        if ranked[0].scored:
            item |= {"score_chosen": ranked[0].score, "score_rejected": ranked[-1].score}
        names = PAIRS[0]
    messages, responses = _pair(item, names, where)
    return _checked(item, messages, responses, _rewards(item, responses, where), where)


def _checked(
    item: Mapping[str, Any],
    messages: list[Message],
    responses: dict[str, str],
    rewards: dict[str, float] | None,
    where: str,
) -> Row | None:
    _check(messages, responses, where)
    if responses["target"].strip() == responses["rejected"].strip():
        return None
    id = next((str(item[key]) for key in IDS if item.get(key) is not None), None)
    row = {"id": id or digest([messages, responses]), "messages": messages, "responses": responses}
    return {**row, "rewards": rewards} if rewards else row


def ranked_answers(item: Mapping[str, Any], where: str) -> list[Ranked]:
    """The answers of a row with ranks or scores, best first; equal ones in their order.

    Raises:
        BadData: no such answers, fewer than two, or one without text or score.
    """
    name = next((key for key in RANKED if isinstance(item.get(key), list)), None)
    if name is None:
        raise BadData(f"{where}: {_without_pair(item)}")
    text, by = RANKED[name]
    found = []
    for number, answer in enumerate(item[name], 1):
        said = answer.get(text) if isinstance(answer, Mapping) else None
        value = _number(answer.get(by)) if isinstance(answer, Mapping) else None
        if not isinstance(said, str) or value is None:
            raise BadData(f"{where}: {name}, item {number}: expected {text} and {by} (a number)")
        score = -value if by == "rank" else value
        found.append(Ranked(said, score, str(answer.get("model") or ""), by != "rank"))
    if len(found) < 2:
        raise BadData(f"{where}: {name} has {len(found)} answers; expected at least two")
    return sorted(found, key=lambda answer: -answer.score)


def _pair_of(item: Mapping[str, Any]) -> tuple[str, str] | None:
    """The columns of chosen and rejected, of which one at least has a value."""
    return next((pair for pair in PAIRS if any(item.get(name) is not None for name in pair)), None)


def _without_pair(item: Mapping[str, Any]) -> str:
    columns = ", ".join(sorted(item)) or "none"
    if "completion" in item and "label" in item:
        return (
            "found single answers with a label (completion, label); expected pairs: chosen and "
            "rejected of the same prompt"
        )
    return f"no chosen and rejected; found the columns {columns}"


def _own(
    item: Mapping[str, Any], given: Mapping[str, Any], where: str
) -> tuple[list[Message], dict[str, str], dict[str, float] | None]:
    """Messages, responses and rewards of a row of `preference_pairs` or `select_training_rows`."""
    names = {name: name for name in (QUADRUPLE if "source" in given else PAIR)}
    if "target" not in given:
        names["target"] = "chosen"
    for name in names.values():
        if not isinstance(given.get(name), str):
            found = ", ".join(sorted(given))
            raise BadData(f'{where}: responses has no text "{name}"; found {found}')
    messages = messages_of(item.get("messages"), f"{where}: messages")
    scores = item.get("rewards")
    numbers = {
        name: number
        for name, key in names.items()
        if isinstance(scores, Mapping) and (number := _number(scores.get(key))) is not None
    }
    rewards = numbers if len(numbers) == len(names) else None
    return messages, {name: given[key] for name, key in names.items()}, rewards


def _pair(
    item: Mapping[str, Any], names: tuple[str, str], where: str
) -> tuple[list[Message], dict[str, str]]:
    """Prompt and responses of the columns `names`."""
    for name, other in zip(names, reversed(names)):
        if item.get(name) in (None, []):
            raise BadData(f"{where}: {other} without {name}; expected both, of the same prompt")
    settings = item.get("input")
    for tools in (item.get("tools"), settings.get("tools") if isinstance(settings, dict) else None):
        if isinstance(tools, list) and tools:
            raise BadData(f"{where}: found tools; conversations with tools cannot be used")
    chosen, rejected = (_side(item[name], f"{where}: {name}") for name in names)
    prompt = _prompt(item, names, where)
    if not prompt and not chosen.whole and not rejected.whole:
        prompt, chosen, rejected = _split_texts(item, names, where)
    if isinstance(item.get("prompt"), str) and transcript(item["prompt"]):
        chosen, rejected = chosen.stripped(), rejected.stripped()
    if len(rejected.answers) > 1 or len(chosen.answers) > 2:
        raise BadData(
            f"{where}: found {len(chosen.answers)} chosen and {len(rejected.answers)} rejected "
            "answers; expected one of each, or two chosen (of a source, then of the target) and "
            "one rejected"
        )
    messages = _shared(item, names, (chosen, rejected), prompt, where)
    responses = dict(zip(PAIR, (chosen.answers[-1], rejected.answers[0])))
    return messages, {"source": chosen.answers[0]} | responses if chosen.answers[1:] else responses


def _shared(
    item: Mapping[str, Any],
    names: tuple[str, str],
    sides: tuple[_Side, _Side],
    prompt: list[Message],
    where: str,
) -> list[Message]:
    """The messages before the answers, which both sides must have, with the column of the system.

    Args:
        prompt: that of the row's own column, for sides that are no whole conversations.
    """
    whole = next((side for side in sides if side.whole), None)
    if whole is not None:
        _check_prompt(item, whole, where)
        prompt = whole.before
    one, other = (side.before if side.whole else prompt + side.before for side in sides)
    if one != other:
        raise BadData(
            f"{where}: {names[0]} and {names[1]} have different prompts: "
            f"{_difference(one, other)}; expected the same messages before the last"
        )
    system = next((item[key] for key in SYSTEMS if isinstance(item.get(key), str)), "")
    if system.strip() and one and one[0]["role"] != "system":
        return [{"role": "system", "content": system}, *one]
    return one


def _side(value: object, where: str) -> _Side:
    """Messages and answers of one side: its last message, or all of a list of answers only."""
    if isinstance(value, list) and all(isinstance(text, str) for text in value):
        return _Side([], list(value))
    if isinstance(value, str) and transcript(value) is None:
        return _Side([], [value])
    messages = messages_of(value, where)
    if not messages or messages[-1]["role"] != "assistant":
        found = f"the {messages[-1]['role']}'s" if messages else "none"
        raise BadData(f"{where}: the last message is {found}; expected the assistant's")
    if all(message["role"] == "assistant" for message in messages):
        return _Side([], [message["content"] for message in messages])
    return _Side(messages[:-1], [messages[-1]["content"]])


def _prompt(item: Mapping[str, Any], names: tuple[str, str], where: str) -> list[Message]:
    """The prompt in a column of its own; [] if there is none."""
    name = next((name for name in PROMPTS if item.get(name) not in (None, "", [])), None)
    if name is None:
        return []
    value = item[name]
    if name == "instruction" and isinstance(value, str) and isinstance(item.get("input"), str):
        value = f"{value}\n{item['input']}".rstrip("\n")
    messages = messages_of(value, f"{where}: {name}")
    last = messages[-1] if messages else {}
    if last == {"role": "assistant", "content": item[names[0]]}:
        messages = messages[:-1]  # the conversation with the chosen answer
    earlier = item.get("history")
    if name == "instruction" and isinstance(earlier, list):
        turns = [text for pair in earlier if isinstance(pair, list) for text in pair]
        roles = ("user", "assistant") * len(turns)
        told = [{"role": role, "content": text} for role, text in zip(roles, turns)]
        messages = messages_of(told, f"{where}: history") + messages
    return messages


def _split_texts(
    item: Mapping[str, Any], names: tuple[str, str], where: str
) -> tuple[list[Message], _Side, _Side]:
    """Prompt and answers of two texts without a prompt: their shared beginning, in whole words."""
    texts = [item[name] for name in names]
    if not all(isinstance(text, str) for text in texts):
        raise BadData(
            f"{where}: no prompt; expected one of {', '.join(PROMPTS)}, or the whole conversation "
            f"in {names[0]} and {names[1]}"
        )
    pairs = zip(*texts)
    shared = "".join(a for a, _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
    if any(len(text) > len(shared) for text in texts):
        shared = shared[: max(shared.rfind(mark) for mark in " \n\t") + 1]
    if not shared.strip() and texts[0] != texts[1]:
        raise BadData(
            f"{where}: no prompt; expected one of {', '.join(PROMPTS)}, or {names[0]} and "
            f"{names[1]} with the same beginning"
        )
    sides = [_Side([], [text[len(shared) :] if texts[0] != texts[1] else text]) for text in texts]
    return [{"role": "user", "content": shared.strip()}], sides[0], sides[1]


def _check_prompt(item: Mapping[str, Any], side: _Side, where: str) -> None:
    """The column `prompt` must repeat turns of the conversation, or render it."""
    if not item.get("prompt"):
        return
    said = [message["content"].strip() for message in side.before if message["role"] == "user"]
    given = [
        message["content"].strip()
        for message in messages_of(item["prompt"], f"{where}: prompt")
        if message["role"] == "user"
    ]
    rendered = len(given) == 1 and all(text in given[0] for text in said)
    if not rendered and not set(given) <= set(said):
        other = next(text for text in given if text not in said)
        raise BadData(
            f'{where}: the column prompt has "{other[:40]}", but the conversation begins with '
            f'"{said[0][:40]}"; expected the same prompt'
        )


def _difference(one: Sequence[Message], other: Sequence[Message]) -> str:
    for number, (a, b) in enumerate(zip(one, other), 1):
        if a != b:
            shown = [f'"{m["content"][:40]}" ({m["role"]})' for m in (a, b)]
            return f"message {number} is {' and '.join(shown)}"
    return f"{len(one)} and {len(other)} messages"


def _check(messages: list[Message], responses: Mapping[str, str], where: str) -> None:
    if not messages or not messages[-1]["content"].strip():
        raise BadData(f"{where}: the prompt is empty")
    if messages[-1]["role"] != "user":
        raise BadData(
            f"{where}: the prompt ends with a message of the {messages[-1]['role']}; expected the "
            "user's"
        )
    labels = {"target": "chosen", "source": "chosen (of a source)"}
    for name, text in responses.items():
        if not text.strip():
            raise BadData(f"{where}: {labels.get(name, name)} is empty; expected a text")


def _rewards(
    item: Mapping[str, Any], responses: Mapping[str, str], where: str
) -> dict[str, float] | None:
    """Scores of the responses; None unless the row has one for each."""
    names = next((pair for pair in SCORES if all(item.get(n) is not None for n in pair)), None)
    if names is None:
        return None
    chosen, rejected = (item[name] for name in names)
    values = [*(chosen if isinstance(chosen, list) else [chosen])]
    values += rejected if isinstance(rejected, list) else [rejected]
    numbers = [_number(value) for value in values]
    if None in numbers:
        raise BadData(f"{where}: {' and '.join(names)} are {values}; expected finite numbers")
    if len(numbers) != len(responses):
        return None
    return {name: number for name, number in zip(responses, numbers) if number is not None}


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
