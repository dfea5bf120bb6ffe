"""What retriever and generator read, as token ids.

    retriever   context; or a record ("name curry garden, area centre")
    generator   <user> ... <system> ... [meta knowledge] <record> name curry garden, ... </s>

Markers and prefix tokens are new tokens of the generator's tokenizer; the retriever reads plain
text, as in MAKER. A context keeps its end and a record its beginning.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.core.errors import BadData
from harness.suites.dialogue.encoding import token_ids
from harness.suites.dialogue.records import NAME, record_text
from harness.suites.dialogue.text import contains_run, plain_tokens, surface
from methods.mktod.maker_released import truncated
from methods.mktod.meta_knowledge import RANKED, MetaKnowledge, meta_knowledge
from methods.mktod.settings import Layout

USER, SYSTEM, RECORD = "<user>", "<system>", "<record>"
Record = Mapping[str, str]
Ids = list[int]


def new_tokens(layout: Layout) -> list[str]:
    """Tokens that a layout adds to a generator's vocabulary."""
    found = [USER, SYSTEM, RECORD]
    if layout.meta == "prefix":
        every = [meta_knowledge(rank, score, "", "") for rank, score in _CLASSES]
        every.append(MetaKnowledge(1, "high", "old"))
        found += dict.fromkeys(token for one in every for token in one.tokens.values())
    return found


_CLASSES = [*((rank, 1.0) for rank in range(1, RANKED + 2)), (1, 0.5), (1, 0.0)]
PHRASES = {
    **{f"{number}th": f"match number {number}" for number in range(1, RANKED + 1)},
    "other": "match number other",
    "high": "with high confidence",
    "mid": "with middle confidence",
    "low": "with low confidence",
    "old": "mentioned in dialogue",
    "new": "newly found now",
}


def phrases(knowledge: MetaKnowledge) -> list[str]:
    """The meta knowledge in words, a phrase of three words per kind; our wording."""
    order = "other" if knowledge.order is None else f"{knowledge.order}th"
    return [PHRASES[order], PHRASES[knowledge.confidence], PHRASES[knowledge.cooccurrence]]


@dataclass
class QueryReader:
    """Token ids for a retriever.

    Attributes:
        limit: most tokens, special ones included.
    """

    tokenizer: Any
    limit: int
    released: bool = False
    _known: dict[str, Ids] = field(default_factory=dict)

    def text(self, text: str) -> Ids:
        found = self._known.get(text)
        if found is None:
            if self.released:
                found = truncated(self.tokenizer(text, verbose=False)["input_ids"], self.limit)
            else:
                found = token_ids(self.tokenizer, text, self.limit)
            self._known[text] = found
        return found

    def context(self, said: Sequence[str]) -> Ids:
        return self.text(surface(" ".join(said)))

    def record(self, record: Record) -> Ids:
        return self.text(record_text(record))


class GeneratorReader:
    """Token ids for a generator.

    Args:
        tokenizer: with the tokens of `new_tokens`.

    Raises:
        BadData: the tokenizer has no end token.
    """

    def __init__(self, tokenizer: Any, layout: Layout) -> None:
        self.tokenizer, self.layout = tokenizer, layout
        if tokenizer.eos_token_id is None:
            raise BadData(f"{tokenizer.name_or_path}: its tokenizer has no end token (eos_token)")
        self.end: int = tokenizer.eos_token_id
        self._known: dict[str, Ids] = {}
        self._widths = [
            max(len(self._ids(PHRASES[name])) for name in names)
            for names in (
                [*(f"{number}th" for number in range(1, RANKED + 1)), "other"],
                ["high", "mid", "low"],
                ["old", "new"],
            )
        ]

    def _ids(self, text: str) -> Ids:
        found = self._known.get(text)
        if found is None:
            found = self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
            self._known[text] = found
        return found

    def _shown(self, text: str) -> str:
        return surface(text) if self.layout.values == "surface" else text

    def context(self, said: Sequence[str]) -> Ids:
        """The end of a dialogue, whose first and last utterances are the user's."""
        found: Ids = []
        for place, text in enumerate(said):
            found += self._ids(USER if place % 2 == 0 else SYSTEM) + self._ids(self._shown(text))
        return found[-self.layout.max_context :]

    def record(self, record: Record) -> Ids:
        shown = self._shown(" , ".join(f"{name} {value}" for name, value in record.items()))
        return (self._ids(RECORD) + self._ids(shown))[: self.layout.max_record]

    def meta(self, knowledge: MetaKnowledge) -> Ids:
        """Meta knowledge as the layout shows it.

        Phrases of one kind have the same number of tokens; shorter ones are padded.
        """
        if self.layout.meta == "prefix":
            return self._ids(knowledge.prefix())
        if self.layout.meta != "prompt":
            return []
        found: Ids = []
        pad = self.tokenizer.pad_token_id
        for text, width in zip(phrases(knowledge), self._widths, strict=True):
            ids = self._ids(text)
            found += ids + [pad] * (width - len(ids))
        return found

    def reply(self, text: str) -> Ids:
        """The reply with the end token; a longer one is cut and has none."""
        return [*self._ids(self._shown(text)), self.end][: self.layout.max_reply]

    def text(self, ids: Sequence[int]) -> str:
        """A written reply."""
        kept = [id for id in ids if id != self.end]
        found: str = self.tokenizer.decode(kept, skip_special_tokens=True)
        return found


def named_in(records: Sequence[Record], said: Sequence[str]) -> frozenset[int]:
    """Indices of the records whose name occurs in a dialogue."""
    tokens = plain_tokens(" ".join(said))
    return frozenset(
        place
        for place, record in enumerate(records)
        if NAME in record and contains_run(tokens, plain_tokens(record[NAME]))
    )


def classes(rank: int | None, score: float, seen: bool, layout: Layout) -> MetaKnowledge:
    """Classes of a retrieved record; `seen`: it is in the dialogue already."""
    found = meta_knowledge(rank, score, "", "", layout.edges)
    return found._replace(cooccurrence="old") if seen and rank is not None else found
