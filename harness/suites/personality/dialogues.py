"""Dialogues about one trait of one author: settings, turns, and the resulting label.

    standard       one question with the trait's two poles as options
    cot            "step by step" first, then that question
    psycot         one questionnaire item per turn, then that question (arXiv 2310.20256)
    single_turn    all items and that question in one prompt

A dialogue is a pure function of its settings and the replies so far.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Literal

from pydantic import Field, model_validator

from harness.backends.base import Message, Request, Sampling, plain_messages
from harness.backends.conversing import Turn
from harness.backends.opening import EngineParams
from harness.core.hashing import digest
from harness.core.records import Record
from harness.data.traits import Trait
from harness.engine.operations import Row
from harness.suites.personality import prompts
from harness.suites.personality.decisions import decide, keys
from harness.suites.personality.orders import Orders
from harness.suites.personality.questionnaires import Item, Questionnaire
from harness.suites.personality.replies import Answer, read_all, read_choice, read_item

WITH_ITEMS = ("psycot", "single_turn")
RELEASED = {"frame": "flat", "layout": "released", "notes": "released", "history": "sequential"}


class MaxTokens(Record):
    """Maximum tokens of a reply, by kind of turn."""

    item: int = Field(default=16, ge=1)
    choice: int = Field(default=16, ge=1)
    reasoning: int = Field(default=256, ge=1)
    all_items: int = Field(default=256, ge=1)


class InterviewSettings(EngineParams):
    """Settings of the dialogues with a model.

    Attributes:
        form: see the module's docstring.
        questionnaire: name of a shipped questionnaire or a .toml file; "auto" chooses by traits.
        items: number of items per trait, from the first; None uses all.
        notes: note on reverse-scored statements in the prompt of psycot; "released" contains a
            wrong key for extraversion, which is then also used to key ratings.
        layout: order of the text and the instructions.
        frame: messages of both roles ("chat"), or one user message per turn that contains the
            dialogue as a transcript ("flat").
        history: whether an item's turn shows the earlier replies; the conclusion always does.
        released: set frame, layout, notes and history as in the released code, and shuffle posts
            with seed 0 unless another seed is given.
        too_long: for a text that leaves no room for its dialogue: fail, or cut its end; both need
            the model's tokenizer.
        dtype, engine, max_rows: see `harness.backends.sampling.SampleParams`.
    """

    form: Literal["standard", "cot", "psycot", "single_turn"] = "standard"
    questionnaire: str = "auto"
    items: int | None = Field(default=None, ge=0)
    notes: prompts.Notes = "corrected"
    layout: prompts.Layout = "text_first"
    frame: Literal["chat", "flat"] = "chat"
    history: Literal["sequential", "independent"] = "sequential"
    released: bool = False
    temperature: float = Field(default=0.0, ge=0)
    max_tokens: MaxTokens = MaxTokens()
    too_long: Literal["fail", "cut"] = "fail"

    @model_validator(mode="before")
    @classmethod
    def _as_released(cls, data: Any) -> Any:
        return {**data, **RELEASED} if isinstance(data, dict) and data.get("released") else data

    def asking(self, **how: Any) -> InterviewSettings:
        """These settings with changes `how`, validated."""
        return InterviewSettings.model_validate({**self.model_dump(), **how})


class InterviewParams(InterviewSettings):
    """Parameters of one run of interviews.

    Attributes:
        orders: orders of options, items and posts.
        seed: seed of sampled replies; ignored at temperature 0, so that runs share the stage.
        batch_size: authors per stored batch; a model in this process answers them together.
    """

    orders: Orders = Orders()
    seed: int = 0
    batch_size: int = Field(default=32, ge=1)

    @model_validator(mode="before")
    @classmethod
    def _normal(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        data = dict(data)
        if not data.get("temperature"):
            data.pop("seed", None)
        if data.get("released"):
            orders = Orders.model_validate(data.get("orders") or {})
            seed = orders.post_seed or 0
            data["orders"] = orders.model_copy(update={"post_seed": seed})
        return data


@dataclass(frozen=True)
class Interview:
    """The dialogue about one trait of one author.

    Attributes:
        text: the author's text as shown.
        form: the questionnaire, if the dialogue uses one.
    """

    id: str
    trait: Trait
    text: str
    form: Questionnaire | None
    params: InterviewParams

    @cached_property
    def items(self) -> list[Item]:
        """Items in the order in which they are asked."""
        if self.form is None:
            return []
        seed = self.params.orders.item_seed
        return self.form.of(self.trait.name, self.params.items, seed)

    @cached_property
    def signs(self) -> list[int]:
        """Key of each item, 1 or -1."""
        released = self.params.notes == "released"
        return keys(self.form, self.trait, self.items, released) if self.form else []

    @property
    def kind(self) -> str:
        """Form of the dialogue; "standard" if the questionnaire has no items."""
        asks_items = self.params.form in WITH_ITEMS
        return "standard" if asks_items and not self.items else self.params.form

    @cached_property
    def limits(self) -> list[int]:
        """Maximum tokens of each turn's reply."""
        most = self.params.max_tokens
        items = [most.item] * len(self.items)
        return {
            "standard": [most.choice],
            "cot": [most.reasoning, most.choice],
            "single_turn": [most.all_items],
            "psycot": [*items, most.choice],
        }[self.kind]

    def ask(self, turns: Sequence[Turn]) -> Request | None:
        """See `harness.backends.conversing.Dialogue`."""
        number = len(turns)
        if number == len(self.limits):
            return None
        how = Sampling(
            temperature=self.params.temperature,
            max_tokens=self.limits[number],
            seed=self.params.seed,
        )
        messages = tuple(self.messages([turn.text for turn in turns]))
        return Request(id=f"{self.id}/{number}", messages=messages, sampling=how)

    def messages(self, replies: Sequence[str]) -> list[Message]:
        """Messages of the conversation up to the turn after `replies`."""
        alone = self.params.history == "independent" and len(replies) < len(self.items)
        number = len(replies)
        numbers = [number] if alone and self.kind == "psycot" else range(number + 1)
        asked = [self._turn(n, first=n == numbers[0]) for n in numbers]
        earlier = [] if len(asked) == 1 else list(replies)
        if self.params.frame == "flat":
            return [Message(role="user", content=self._transcript(asked, earlier))]
        asked[0] = "\n\n".join(filter(None, (self._opening(), asked[0])))
        found = [Message(role="user", content=asked[0])]
        for reply, turn in zip(earlier, asked[1:], strict=True):
            found += [Message(role="assistant", content=reply), Message(role="user", content=turn)]
        return found

    def _transcript(self, asked: Sequence[str], earlier: Sequence[str]) -> str:
        """The dialogue in one message, in the format of the released code."""
        lines = [self._opening()]
        if len(self.limits) == 1:
            return lines[0]
        for turn, reply in zip(asked, [*earlier, ""], strict=True):
            lines += [f"Human: {turn}"] if turn else []
            lines.append(f"Assistant: {reply}")
        return "\n".join(lines)

    def _opening(self) -> str:
        return prompts.opening(self.text, self._instructions, self.params.layout)

    @cached_property
    def _instructions(self) -> str:
        trait, reverse = self.trait, self.params.orders.reverse_options
        make = {
            "standard": partial(prompts.standard, trait, reverse),
            "cot": partial(prompts.reasoning, trait, reverse),
            "single_turn": partial(self._form_of_all, reverse),
            "psycot": partial(self._preamble, reverse),
        }[self.kind]
        return make()

    def _form_of_all(self, reverse: bool) -> str:
        assert self.form is not None
        return prompts.all_items(self.trait, self.items, reverse, self.form.scale)

    def _preamble(self, reverse: bool) -> str:
        assert self.form is not None
        return prompts.preamble(self.trait, self.items, self.form, reverse, self.params.notes)

    def _turn(self, number: int, first: bool) -> str:
        """Text of a turn; "" if the opening contains the question."""
        if self.kind == "cot" and number == 1:
            return prompts.reasoned_choice()
        if self.kind != "psycot":
            return ""
        if number < len(self.items):
            return prompts.item_turn(number, self.items[number], first)
        reverse = self.params.orders.reverse_options
        return prompts.conclusion(self.trait, self.items[0].kind, reverse)

    def read(self, replies: Sequence[str]) -> list[Answer]:
        """Answers in the replies to single items; a rating may be labelled with its slot."""
        return [
            read_item(reply, item, slot if item.kind == "rating" else None)
            for slot, (item, reply) in enumerate(zip(self.items, replies))
        ]

    def outcome(self, turns: Sequence[Turn]) -> tuple[int | None, str, Row]:
        """Label, status, and a record of the dialogue for readers."""
        replies = [turn.text for turn in turns if turn.error is None]
        shown = self.messages([turn.text for turn in turns[:-1]])
        record: Row = {
            "items": [item.number for item in self.items],
            "replies": replies,
            "finish": [turn.finish for turn in turns if turn.error is None],
            "prompt_digest": digest(plain_messages(shown)),
        }
        if turns[-1].error is not None:
            return None, f"error: {turns[-1].error}", record
        answers: list[Answer] = []
        last = replies[-1]
        if self.kind == "single_turn":
            answers, rest = read_all(replies[0], self.items)
            last = rest if rest.strip() or not replies[0].strip() else "-"
        elif self.kind == "psycot":
            answers = self.read(replies)
        if answers:
            record |= self._said_by_items(answers)
        choice = self._choice(last)
        if choice.value is None:
            return None, choice.status, record
        label = self.trait.label(str(choice.value), self.params.orders.reverse_options)
        return label, "ok", record

    def _said_by_items(self, answers: Sequence[Answer]) -> Row:
        """Values of the items, and the label decided by them alone."""
        values = [answer.value for answer in answers]
        found = decide(self.items, values, self.signs)
        status: str = found.status
        if status == "few":  # report the most frequent reason instead
            lost = Counter(answer.status for answer in answers if answer.value is None)
            status = lost.most_common(1)[0][0]
        return {
            "values": values,
            "statuses": [answer.status for answer in answers],
            "keyed_mean": found.keyed_mean,
            "votes": found.votes,
            "by_items": {"label": found.label, "status": status},
        }

    def _choice(self, reply: str) -> Answer:
        shown = self.trait.options(self.params.orders.reverse_options)
        return read_choice(reply, dict(zip("AB", shown)))
