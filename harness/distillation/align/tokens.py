"""Vocabulary strings, bytes and special tokens of any tokenizer that transformers loads.

Alignment uses three forms of a token:

    token   the vocabulary string                  "Ġthe"   "▁the"   "the"    "<0xE4>"
    piece   the bytes it represents in a text      b" the"  b" the"  b" the"  b"\\xe4"
    text    the piece as a string; incomplete characters become lone surrogates

The word-start marker identifies the kind of vocabulary: "Ġ" is byte-level (strings spell bytes in
GPT-2's alphabet); "▁" is SentencePiece (BPE or Unigram), where <0xE4> is a byte; "##" is WordPiece,
where it marks the opposite, the continuation of a word. The kind is detected from the marker that
begins most tokens, which works for slow tokenizers as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from harness.core.errors import BadData

Kind = Literal["byte_level", "sentencepiece", "wordpiece", "plain"]

MARKERS: dict[str, Kind] = {"Ġ": "byte_level", "▁": "sentencepiece", "##": "wordpiece"}
ROLES = ("bos", "eos", "unk", "pad", "sep", "cls", "mask")
_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """Tokens by id; an id that the tokenizer does not use has the token "".

    Attributes:
        name: the tokenizer's name, for messages.
        kind: detected from the marker.
        marker: word-start (WordPiece: continuation) marker, "" where there is none.
        tokens: vocabulary strings by id.
        pieces: bytes that each token represents.
        roles: role -> id of the special tokens that exist: bos (or cls), eos (or sep), unk, ...
        special: ids of all special tokens; they represent no text.
    """

    name: str
    kind: Kind
    marker: str
    tokens: list[str]
    pieces: list[bytes]
    roles: Mapping[str, int]
    special: frozenset[int]

    def __len__(self) -> int:
        return len(self.tokens)

    @cached_property
    def texts(self) -> list[str]:
        return [piece.decode("utf-8", "surrogateescape") for piece in self.pieces]

    @cached_property
    def sizes(self) -> NDArray[np.int64]:
        """Length of each piece in bytes, (V,)."""
        return np.fromiter(map(len, self.pieces), np.int64, len(self))

    @cached_property
    def is_special(self) -> NDArray[np.bool_]:
        flags = np.zeros(len(self), np.bool_)
        flags[list(self.special)] = True
        return flags

    def strings(self, ids: ArrayLike) -> list[str]:
        return [self.tokens[i] for i in check_ids(ids, len(self), self.name).tolist()]


def check_ids(ids: ArrayLike, size: int, name: str) -> NDArray[np.int64]:
    """Token ids as an int64 array.

    Raises:
        BadData: an id is outside a vocabulary of `size` tokens.
    """
    found = np.asarray(ids, np.int64)
    if len(found) and not 0 <= found.min() <= found.max() < size:
        raise BadData(
            f"token ids range from {found.min()} to {found.max()}, but {name} has {size} tokens; "
            "was the text read with another tokenizer?"
        )
    return found


def vocabulary(tokenizer: Any) -> Vocabulary:
    """The vocabulary of a transformers tokenizer, fast or slow."""
    tokens: dict[int, str] = {i: token for token, i in tokenizer.get_vocab().items()}
    added = {int(i): str(token.content) for i, token in tokenizer.added_tokens_decoder.items()}
    tokens.update(added)
    size = max(tokens, default=-1) + 1
    listed = [tokens.get(i, "") for i in range(size)]
    marker = marker_of(listed)
    kind = MARKERS.get(marker, "plain")
    roles: dict[str, int] = {}
    for role, fallback in zip(ROLES, ("cls", "sep", *ROLES[2:])):
        for name in (role, fallback):
            found = getattr(tokenizer, f"{name}_token_id", None)
            if found is not None:
                roles.setdefault(role, int(found))
    marked = {int(i) for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    return Vocabulary(
        name=getattr(tokenizer, "name_or_path", "") or type(tokenizer).__name__,
        kind=kind,
        marker=marker,
        tokens=listed,
        pieces=[
            token.encode() if i in added else piece_of(token, kind)
            for i, token in enumerate(listed)
        ],
        roles=roles,
        special=frozenset(marked | set(roles.values())),
    )


def marker_of(tokens: Iterable[str]) -> str:
    """The word-start marker that begins most tokens, "" where none occurs.

    >>> marker_of(["Ġthe", "Ġa", "▁", "##"])
    'Ġ'
    """
    listed = list(tokens)
    counts = {m: sum(token.startswith(m) for token in listed) for m in MARKERS}
    best = max(counts, key=lambda marker: counts[marker])
    return best if counts[best] else ""


def piece_of(token: str, kind: Kind) -> bytes:
    """The bytes that a token represents; a word start becomes a space.

    >>> piece_of("Ġä»Ĭ", "byte_level"), piece_of("<0xE4>", "sentencepiece")
    (b' \\xe4\\xbb\\x8a', b'\\xe4')
    """
    if kind == "byte_level":
        try:
            return bytes(_BYTES[character] for character in token)
        except KeyError:  # some added tokens are not written in the byte alphabet
            return token.encode()
    if kind == "sentencepiece":
        found = _BYTE_TOKEN.fullmatch(token)
        return bytes([int(found[1], 16)]) if found else token.replace("▁", " ").encode()
    if kind == "wordpiece" and token:
        return token[2:].encode() if token[:2] == "##" != token else f" {token}".encode()
    return token.encode()


def decoded(tokenizer: Any, ids: Iterable[int]) -> list[str]:
    """Each id decoded by itself, the form that FuseChat v2 compares."""
    listed = list(ids)
    found = {i: str(tokenizer.decode([i])) for i in dict.fromkeys(listed)}
    return [found[i] for i in listed]


def swap_marker(tokens: Sequence[str], old: str, new: str) -> list[str]:
    """Tokens with every occurrence of the marker `old` replaced by `new`."""
    return [token.replace(old, new) for token in tokens] if old else list(tokens)


def _byte_alphabet() -> dict[str, int]:
    """GPT-2's byte alphabet: printable Latin-1 maps to itself, other bytes from U+0100 upward."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [byte for byte in range(256) if byte not in plain]
    return {chr(b): b for b in plain} | {chr(256 + n): b for n, b in enumerate(rest)}


_BYTES = _byte_alphabet()
