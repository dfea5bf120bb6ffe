"""The transfer of predictions as FuseLLM and FuseChat released it, step by step.

Kept for comparisons with published numbers; `harness.align.transfer` is what methods use. A row of
top-k logits of the source becomes, at each base position, lists of logits and base ids of 0 to k
entries. With S the source positions aligned to a base position (`Warp.base_to_source`), the
position's prediction is that of one source position, or one token with logit 1.0, or nothing.

                     FuseLLM                      FuseChat v1               FuseChat v2
    |S| = 1, taken   strings equal, or soft:      the base's string lies    one string ends with
    where            mapped onto the base's       inside the source's       the other
    |S| > 1          never                        with counts: see `_among_several`
    the one token    the position's own           the position's own        the next one
    source tokens    hard: same string            same string, else         same string, else
    become           soft: same, else mapped      mapped                    mapped

Of two source tokens that reach one base id the first counts. Strings are vocabulary strings, for
FuseChat v2 what single ids decode to; the source's have the base's marker.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from harness.align.tokens import Vocabulary, swap_marker

Step = dict[int, float]  # base id: logit, in the order of the stored lists
Rows = tuple[list[list[float]], list[list[int]]]


@dataclass(frozen=True, eq=False)
class Stored:
    """A document: token ids of both, the source's logits and ids (N, k), and the aligned lists."""

    base_ids: Sequence[int]
    source_ids: Sequence[int]
    logits: Sequence[Sequence[float]]
    indices: Sequence[Sequence[int]]
    base_to_source: Sequence[Sequence[int]]


def fusellm_steps(
    document: Stored, base: Vocabulary, source: Vocabulary, mapping: Mapping[str, str] | None = None
) -> Rows:
    """FuseLLM: hard (EM), or soft (MinED) given the source string -> base string mapping.

    Keys of the mapping have the base's marker. A first source token of a byte-level vocabulary
    counts as the base's with its word-start marker.
    """
    keys = swap_marker(source.tokens, source.marker, base.marker)
    known = {token: i for i, token in enumerate(base.tokens)}

    def counterpart(i: int) -> int | None:
        return known.get(keys[i] if mapping is None else mapping.get(keys[i], ""))

    found: list[Step] = []
    for j, (own, aligned) in enumerate(zip(document.base_ids, document.base_to_source)):
        token, step = base.tokens[own], {own: 1.0}
        if len(aligned) == 1:
            key = keys[document.source_ids[aligned[0]]]
            starts = token.startswith(base.marker) and not key.startswith(base.marker)
            if source.kind == "byte_level" and j == 0 and starts:
                key = base.marker + key
            if token in (key, (mapping or {}).get(key)):
                step = _moved(document, aligned[0], counterpart)
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
    """FuseChat: `mapping` from `statistics_mapping`, or None for hard (EM, v2).

    Args:
        strings: what single ids decode to (base, source), for v2.
        counts: `pair_counts`; without them a base token with several source tokens is never
            transferred. v2 looks only whether there are any.
    """
    keys = swap_marker(source.tokens, source.marker, base.marker)
    known = {token: i for i, token in enumerate(base.tokens)}
    base_strings, source_strings = strings or (base.tokens, source.tokens)
    source_strings = swap_marker(source_strings, source.marker, base.marker)

    def counterpart(i: int) -> int | None:
        return known.get(keys[i], None if mapping is None else int(mapping[i]))

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
        step: Step | None = None
        if len(aligned) == 1:
            if fits(text, texts[0]):
                step = _moved(document, aligned[0], counterpart)
        elif counts is not None:
            texts = [t.replace(base.marker, "") for t in texts]
            chosen = _among_several(text.replace(base.marker, ""), texts, fits, version)
            if chosen is not None:
                places = [aligned[c] for c in chosen]
                n = [counts[own, document.source_ids[i]] for i in places]
                step = _mixed([_moved(document, i, counterpart) for i in places], n)
        found.append({after if version == "v2" else own: 1.0} if step is None else step)
    return _lists(found)


def _among_several(
    text: str, texts: Sequence[str], fits: Callable[[str, str], bool], version: str
) -> list[int] | None:
    """Which of several source pieces give the prediction; [] for an empty one, None for none.

    The first piece that fits; else, if pieces in their order spell the text (others are passed
    over), v2 takes the last of them, v1 all, see `_mixed`. In v2 the position stays empty where
    no piece was met and the joined pieces fit.
    """
    for place, piece in enumerate(texts):
        if fits(text, piece):
            return [place]
    rest, met = text, []
    for place, piece in enumerate(texts):
        if rest.startswith(piece):
            met.append(place)
            rest = rest[len(piece) :]
    if met and not rest:
        return met if version == "v1" else met[-1:]
    return [] if version == "v2" and not met and fits(text, "".join(texts)) else None


def _mixed(steps: Sequence[Step], counts: Sequence[float]) -> Step:
    """Logits times softmax(counts), the larger one where two reach an id: v1's dynamic weights."""
    if len(steps) < 2:
        return steps[0] if steps else {}
    weights = np.exp(np.array(counts, float) - max(counts))
    found: Step = {}
    for step, weight in zip(steps, weights / weights.sum()):
        for i, logit in step.items():
            found[i] = max(found.get(i, -np.inf), float(logit * weight))
    return found


def _moved(document: Stored, place: int, counterpart: Callable[[int], int | None]) -> Step:
    step: Step = {}
    for logit, i in zip(document.logits[place], document.indices[place]):
        target = counterpart(i)
        if target is not None:
            step.setdefault(target, logit)
    return step


def _lists(steps: Sequence[Step]) -> Rows:
    return [list(step.values()) for step in steps], [list(step) for step in steps]
