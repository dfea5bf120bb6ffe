"""Transfer of predictions exactly as in the released FuseLLM and FuseChat code.

For comparisons with published numbers; methods use `harness.distillation.align.transfer`. Let S be
the source positions aligned to a base position (`Warp.base_to_source`). The position receives the
prediction of a source position, a single token with logit 1.0 (one-hot), or nothing:

                     FuseLLM                     FuseChat v1               FuseChat v2
    |S| = 1,         strings equal, or (soft)    base string is a          one string is a
    transfer if      mapped to the base string   substring of the source   suffix of the other
    |S| > 1          never                       if counts are given, see `_among_several`
    one-hot token    the position's own          the position's own        the next one
    source token     hard: same string           same string, else the mapped token
    becomes          soft: the mapped token

If several source tokens map to one base id, the first is used. Strings are vocabulary strings (v2:
single ids decoded), with the source's marker replaced by the base's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from harness.distillation.align.tokens import Vocabulary, check_ids, swap_marker

Step = dict[int, float]  # base id: logit, in the order of the lists
Rows = tuple[list[list[float]], list[list[int]]]  # logits, base ids


@dataclass(frozen=True, eq=False)
class Stored:
    """A document with its alignment.

    Attributes:
        base_ids, source_ids: token ids, M and N of them.
        logits, indices: the source's top-k logits and their ids, (N, k) as lists.
        base_to_source: source positions aligned to each base position, M lists.
    """

    base_ids: Sequence[int]
    source_ids: Sequence[int]
    logits: Sequence[Sequence[float]]
    indices: Sequence[Sequence[int]]
    base_to_source: Sequence[Sequence[int]]

    def moved(self, place: int, counterpart: Callable[[int], int | None]) -> Step:
        """The prediction of source position `place`, in base ids."""
        step: Step = {}
        for logit, i in zip(self.logits[place], self.indices[place]):
            target = counterpart(i)
            if target is not None:
                step.setdefault(target, logit)
        return step


def fusellm_steps(
    document: Stored, base: Vocabulary, source: Vocabulary, mapping: Mapping[str, str] | None = None
) -> Rows:
    """FuseLLM's transferred logits and base ids, one list per base position.

    Args:
        mapping: source string (marker exchanged) -> base string for soft transfer (MinED); None
            for hard transfer (EM).

    Raises:
        BadData: stored ids outside the source's vocabulary.
    """
    keys, known = _strings(document, base, source)

    def counterpart(i: int) -> int | None:
        return known.get(keys[i] if mapping is None else mapping.get(keys[i], ""))

    found: list[Step] = []
    for j, (own, aligned) in enumerate(zip(document.base_ids, document.base_to_source)):
        token, step = base.tokens[own], {own: 1.0}
        if len(aligned) == 1:
            key = keys[document.source_ids[aligned[0]]]
            # Byte-level tokenizers add no space before a text.
            starts = token.startswith(base.marker) and not key.startswith(base.marker)
            if source.kind == "byte_level" and j == 0 and starts:
                key = base.marker + key
            if token in (key, (mapping or {}).get(key)):
                step = document.moved(aligned[0], counterpart)
        found.append(step)
    return _lists(found)


def fusechat_steps(
    document: Stored,
    base: Vocabulary,
    source: Vocabulary,
    mapping: Sequence[int] | None,
    *,
    version: Literal["v1", "v2"],
    strings: tuple[Sequence[str], Sequence[str]] | None = None,
    counts: Any = None,
) -> Rows:
    """FuseChat's transferred logits and base ids, one list per base position.

    Args:
        mapping: base id of each source token, from `statistics_mapping`; None for hard transfer
            (EM, v2).
        strings: for v2, the (base, source) vocabularies decoded id by id.
        counts: `pair_counts`; v2 only tests whether it is given.

    Raises:
        BadData: stored ids outside the source's vocabulary.
    """
    keys, known = _strings(document, base, source)
    base_strings, source_strings = strings or (base.tokens, source.tokens)
    source_strings = swap_marker(source_strings, source.marker, base.marker)

    def counterpart(i: int) -> int | None:
        target = known.get(keys[i], -1 if mapping is None else int(mapping[i]))
        return target if target >= 0 else None

    def fits(ours: str, theirs: str) -> bool:
        if mapping is None:
            return ours == theirs
        if version == "v1":
            return ours in theirs
        return theirs.endswith(ours) or ours.endswith(theirs)

    found: list[Step] = []
    following = [*document.base_ids[1:], *document.base_ids[-1:]]
    for own, after, aligned in zip(document.base_ids, following, document.base_to_source):
        text = base_strings[own]
        texts = [source_strings[document.source_ids[i]] for i in aligned]
        chosen: list[int] | None = None
        if len(aligned) == 1:
            chosen = [0] if fits(text, texts[0]) else None
        elif counts is not None:
            bare = swap_marker([text, *texts], base.marker, "")
            # v1 compares single pieces with their markers, v2 without.
            compared = [text, *texts] if version == "v1" else bare
            chosen = _among_several(bare, compared, fits, version)
        step = {after if version == "v2" else own: 1.0}
        if chosen is not None:
            places = [aligned[c] for c in chosen]
            step = _mixed(
                [document.moved(i, counterpart) for i in places],
                [counts[own, document.source_ids[i]] for i in places] if len(places) > 1 else [],
            )
        found.append(step)
    return _lists(found)


def _strings(
    document: Stored, base: Vocabulary, source: Vocabulary
) -> tuple[list[str], dict[str, int]]:
    """Source strings with the base's marker, and base string -> base id."""
    for row in document.indices:
        check_ids(row, len(source), source.name)
    keys = swap_marker(source.tokens, source.marker, base.marker)
    return keys, {token: i for i, token in enumerate(base.tokens) if token}


def _among_several(
    bare: Sequence[str],
    compared: Sequence[str],
    fits: Callable[[str, str], bool],
    version: str,
) -> list[int] | None:
    """Indices of the source pieces whose predictions are used.

    The first piece that fits. Otherwise, if a subsequence of the pieces spells the text: the last
    of them in v2, all of them in v1 (see `_mixed`). Otherwise [] (an empty prediction) in v2 if no
    piece was used and the concatenation of all fits, else None (one-hot).

    Args:
        bare: the base's string, then the source's, without markers.
        compared: the same as the first rule compares them.
    """
    for place, piece in enumerate(compared[1:]):
        if fits(compared[0], piece):
            return [place]
    text, texts = bare[0], bare[1:]
    rest, met = text, []
    for place, piece in enumerate(texts):
        if version == "v1" and not rest:
            break  # v1 stops once the text is spelt; pieces of a marker alone come after it
        if rest.startswith(piece):
            met.append(place)
            rest = rest[len(piece) :]
    if met and not rest:
        return met if version == "v1" else met[-1:]
    return [] if version == "v2" and not met and fits(text, "".join(texts)) else None


def _mixed(steps: Sequence[Step], counts: Sequence[float]) -> Step:
    """v1's dynamic weights: logits times softmax(counts), the maximum where ids coincide."""
    if len(steps) < 2:
        return steps[0] if steps else {}
    weights = np.exp(np.array(counts, float) - max(counts))
    found: Step = {}
    for step, weight in zip(steps, weights / weights.sum()):
        for i, logit in step.items():
            found[i] = max(found.get(i, -np.inf), float(logit * weight))
    return found


def _lists(steps: Sequence[Step]) -> Rows:
    return [list(step.values()) for step in steps], [list(step) for step in steps]
