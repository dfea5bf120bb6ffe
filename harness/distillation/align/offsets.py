"""Exact token alignment by the byte offsets at which tokens end in the text.

The prediction a model makes at a token is conditioned on the text up to the byte where that token
ends. A source prediction can therefore replace the base's exactly where both tokens end at the same
byte (`Alignment.step`). The common end offsets cut both sequences into blocks:

    base tokens x source tokens   relation of the base positions   step
    1 x 1                         exact                            the source token
    1 x n                         split                            the last of its n pieces
    n x 1, n x n                  merged, crossed                  for the last base token only
    one side only                 unmatched                        none

Special tokens without text (a leading bos, a final eos) are aligned by role. Time is linear in the
number of tokens and characters.

End offsets: if the tokens' pieces spell the text or, after truncation, its beginning (a leading
space may be added by the tokenizer), the cumulative lengths of the pieces. Otherwise, as when the
tokenizer normalised the text, the offsets of a fast tokenizer; where several tokens share one
character, the ends of all but the last are derived from the lengths of their pieces if the text has
these bytes there, and are undefined (-1) otherwise.

A tokenizer that neither spells the text nor gives offsets is aligned by
`harness.distillation.align.dtw`: a warning is logged once and `Alignment.mode` is "dtw". Of that
path, only blocks with identical pieces on both sides get a step.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from harness.distillation.align.dtw import Ints, dtw
from harness.distillation.align.tokens import Vocabulary, check_ids

Flags = NDArray[np.bool_]

Mode = Literal["offset", "dtw"]

RELATIONS = ("unmatched", "exact", "split", "merged", "crossed")
UNMATCHED, EXACT, SPLIT, MERGED, CROSSED = range(5)

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Reading:
    """A tokenised text.

    Attributes:
        ids: (L,) token ids.
        ends: (L,) byte offset in the text at which each token ends, -1 where undefined; None if
            no offsets are known.
    """

    ids: Ints
    ends: Ints | None
    vocabulary: Vocabulary


@dataclass(frozen=True, eq=False)
class Alignment:
    """Source positions for the M positions of the base.

    Attributes:
        step: (M,) source position that predicts the same continuation, -1 where there is none.
        first, last: (M,) first and last source position of the token's block, -1 where unmatched.
        relation: (M,) index into RELATIONS.
        mode: the algorithm used, "offset" or "dtw".
    """

    step: Ints
    first: Ints
    last: Ints
    relation: Ints
    mode: Mode


def read(
    tokenizer: Any, vocabulary: Vocabulary, text: str, *, bos: bool = False, eos: bool = False
) -> Reading:
    """Tokenise a text, with a leading bos and a final eos if requested and defined."""
    fast = bool(getattr(tokenizer, "is_fast", False))
    found = tokenizer(text, add_special_tokens=False, return_offsets_mapping=fast)
    ids = np.array(found["input_ids"], np.int64)
    offsets = np.array(found["offset_mapping"], np.int64).reshape(-1, 2) if fast else None
    ends = ends_in(text, vocabulary, ids, offsets)
    for wanted, role in ((bos, "bos"), (eos, "eos")):
        if wanted and role in vocabulary.roles:
            place = 0 if role == "bos" else len(ids)
            ids = np.insert(ids, place, vocabulary.roles[role])
            ends = None if ends is None else np.insert(ends, place, -1)
    return Reading(ids, ends, vocabulary)


def ends_in(
    text: str, vocabulary: Vocabulary, ids: Sequence[int] | Ints, offsets: Ints | None
) -> Ints | None:
    """Byte offset in `text` at which each token ends, (L,), -1 where undefined; None if unknown.

    Args:
        offsets: (L, 2) character offsets of each token, end exclusive; None if not available.

    Raises:
        BadData: an id is outside the vocabulary.
    """
    numbers = check_ids(ids, len(vocabulary), vocabulary.name)
    pieces = list(map(vocabulary.pieces.__getitem__, numbers.tolist()))
    sizes = vocabulary.sizes[numbers]
    spelled, written = b"".join(pieces), text.encode("utf-8", "surrogatepass")
    for space in (b"", b" "):
        if (space + written).startswith(spelled):
            return sizes.cumsum() - len(space)
    if offsets is None:
        return None
    # Bytes before each character.
    points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    widths = 1 + (points > 0x7F) + (points > 0x7FF) + (points > 0xFFFF)
    before = np.concatenate(([0], widths.cumsum()))
    starts, ends = before[offsets[:, 0]], before[offsets[:, 1]]
    shared = np.append(starts[1:] < ends[:-1], False)  # the next token begins inside this one
    if shared.any():
        # Counted back from the last token that shares the character.
        places = np.where(shared, len(ends), np.arange(len(ends)))
        anchor = np.minimum.accumulate(places[::-1])[::-1]
        total = sizes.cumsum()
        ends = ends[anchor] - (total[anchor] - total)
        for i in np.flatnonzero(shared).tolist():
            # The piece must match the text there, except for a space added by the tokenizer.
            own, end = pieces[i].lstrip(b" "), int(ends[i])
            added = end - len(own) == starts[i] and written.endswith(own, 0, end)
            if end < 0 or not (added or written.endswith(pieces[i], 0, end)):
                ends[i] = -1
    return ends


def align(base: Reading, source: Reading, mode: Mode = "offset") -> Alignment:
    """Align two tokenisations of one text; the module docstring describes the algorithm."""
    m, n = len(base.ids), len(source.ids)
    if base.vocabulary is source.vocabulary and np.array_equal(base.ids, source.ids):
        step = np.arange(m)
    elif base.ends is None or source.ends is None or mode == "dtw":
        if mode == "offset":
            _warn_no_offsets(base.vocabulary.name, source.vocabulary.name)
        step, mode = _steps_by_dtw(base, source), "dtw"
    else:
        # Index of the last token that ends at each byte; undefined ends (-1) use the extra column.
        size = max(int(base.ends.max(initial=0)), int(source.ends.max(initial=0))) + 1
        at = np.full((2, size + 1), -1, np.int64)
        at[0, base.ends], at[1, source.ends] = np.arange(m), np.arange(n)
        at[:, -1] = -1
        common = (at >= 0).all(0)
        step = np.full(m, -1, np.int64)
        step[at[0, common]] = at[1, common]
    before = np.maximum.accumulate(np.concatenate(([-1], step[:-1])))
    step = np.where(step > before, step, -1)  # increasing, even if a tokenizer's offsets are not
    found = _blocks(step, _in_text(base), _in_text(source), mode)
    for role, place in (("bos", 0), ("eos", -1)):
        wanted = [reading.vocabulary.roles.get(role) for reading in (base, source)]
        if m and n and step[place] < 0 and wanted == [base.ids[place], source.ids[place]]:
            position = place % n
            if position not in step:
                found.step[place] = found.first[place] = found.last[place] = position
                found.relation[place] = EXACT
    return found


def _in_text(reading: Reading) -> Flags:
    """Mask (L,) of tokens that represent text, unlike special tokens added around it."""
    special = reading.vocabulary.is_special[reading.ids]
    return ~special if reading.ends is None else ~special | (reading.ends >= 0)


def _blocks(step: Ints, in_base: Flags, in_source: Flags, mode: Mode) -> Alignment:
    """The alignment whose blocks end at the matched positions; blocks contain text tokens only."""
    ended = step >= 0
    ends = step[ended]
    block = ended.cumsum() - ended  # of each base position
    inside = (in_base | ended) & (block < len(ends))
    in_source[ends] = True
    first, last, relation = np.full((3, len(step)), -1, np.int64)
    relation[:] = UNMATCHED
    if len(ends):
        counted = in_source.cumsum()
        deep = np.diff(counted[ends], prepend=0)
        wide = np.bincount(block[inside], minlength=len(ends))
        kind = np.where(
            wide == 1, np.where(deep == 1, EXACT, SPLIT), np.where(deep == 1, MERGED, CROSSED)
        )
        begins = np.flatnonzero(in_source)[counted[ends] - deep]
        of = block[inside]
        first[inside], last[inside], relation[inside] = begins[of], ends[of], kind[of]
    return Alignment(step, first, last, relation, mode)


def _steps_by_dtw(base: Reading, source: Reading) -> Ints:
    """Steps at blocks of the warping path with identical pieces, up to one leading space."""
    step = np.full(len(base.ids), -1, np.int64)
    if not len(base.ids) or not len(source.ids):
        return step
    b, s = base.vocabulary, source.vocabulary
    base_ids, source_ids = base.ids.tolist(), source.ids.tolist()
    path = dtw(b.strings(base_ids), s.strings(source_ids), b.marker, s.marker)
    cuts = np.flatnonzero(np.diff(path.source) * np.diff(path.base)) + 1
    begins, ends = np.concatenate(([0], cuts)), np.append(cuts, len(path.base)) - 1
    for begin, end in zip(begins.tolist(), ends.tolist()):
        i, j = path.source[end], path.base[end]
        ours = b"".join(b.pieces[t] for t in base_ids[path.base[begin] : j + 1])
        theirs = b"".join(s.pieces[t] for t in source_ids[path.source[begin] : i + 1])
        if ours.removeprefix(b" ") == theirs.removeprefix(b" "):
            step[j] = i
    return step


@lru_cache(maxsize=64)
def _warn_no_offsets(base: str, source: str) -> None:
    log.warning(
        "%s and %s: one tokenizer gives no offsets and its pieces do not spell the text; tokens "
        "are aligned by spelling (dtw), so fewer predictions are transferred",
        base,
        source,
    )
