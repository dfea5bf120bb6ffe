"""Alignment of two tokenisations: one text by offsets, and documents of 512 tokens by both ways."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from measuring import ROOT, Case, Work

from harness.distillation.align.dtw import dtw
from harness.distillation.align.offsets import Reading, align, ends_in
from harness.distillation.align.tokens import Vocabulary, vocabulary
from harness.engine.io import read_json

DATA = ROOT / "tests" / "golden" / "data" / "fusellm"
DOCUMENT = 512  # base tokens
BASE, SOURCE = "sp_bpe", "byte_bpe"
SIZES = (1_000, 10_000, 100_000, 1_000_000)
FAST = (*SIZES, 4_000_000)
LARGEST = 100_000_000


class Side:
    """One tokenisation of the text: ids and offsets, repeated as often as needed."""

    def __init__(self, name: str, text: str) -> None:
        tokenizer = tokenizer_of(name)
        self.vocabulary: Vocabulary = vocabulary(tokenizer)
        found: Any = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        self.ids = np.array(found["input_ids"])
        self.offsets = np.array(found["offset_mapping"])
        self.length = len(text)

    def repeated(self, times: int) -> tuple[Any, Any]:
        """Ids and offsets of the text, written several times in a row."""
        starts = self.length * np.arange(times)[:, None, None]
        return np.tile(self.ids, times), (starts + self.offsets).reshape(-1, 2)


def tokenizer_of(name: str) -> Any:
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(tokenizer_file=str(DATA / "tokenizers" / f"{name}.json"))


def document() -> str:
    """A text of about `DOCUMENT` tokens."""
    found = read_json(DATA / "bench" / "alignment_inputs.json")
    return str(next(one["text"] for one in found if one["target_base_tokens"] == DOCUMENT))


def sides() -> tuple[str, Side, Side]:
    """The text, read by two tokenizers."""
    text = document()
    return text, Side(BASE, text), Side(SOURCE, text)


def one_text(tokens: int, folder: Path) -> Work:
    text, *both = sides()
    times = max(1, tokens // len(both[0].ids))
    whole = text * times
    ready = [(side.vocabulary, *side.repeated(times)) for side in both]

    def work() -> None:
        readings = (Reading(i, ends_in(whole, v, i, o), v) for v, i, o in ready)
        assert align(*readings).mode == "offset"

    return work


def documents(tokens: int, folder: Path, *, warping: bool) -> Work:
    text, *both = sides()
    times = max(1, tokens // len(both[0].ids))
    strings = [side.vocabulary.strings(side.ids) for side in both]
    markers = [side.vocabulary.marker for side in both]

    def work() -> None:
        for _ in range(times):
            if warping:
                dtw(strings[0], strings[1], markers[0], markers[1])
            else:
                align(
                    *(
                        Reading(s.ids, ends_in(text, s.vocabulary, s.ids, s.offsets), s.vocabulary)
                        for s in both
                    )
                )

    return work


CASES = {
    "one text, offsets": Case(one_text, FAST, "tokens"),
    "documents, offsets": Case(partial(documents, warping=False), FAST, "tokens", LARGEST),
    "documents, warping": Case(partial(documents, warping=True), SIZES, "tokens", LARGEST),
}
