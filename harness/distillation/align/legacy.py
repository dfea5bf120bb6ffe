"""The transfer of predictions as FuseLLM and FuseChat released it, list by list.

For comparisons with published numbers; methods use `harness.distillation.align.transfer`. With S
the source positions aligned to a base position (`Warp.base_to_source`), its prediction is the one
of a source position, or one token with logit 1.0, or nothing:

                     FuseLLM                     FuseChat v1               FuseChat v2
    |S| = 1, taken   strings equal, or soft:     the base's string lies    one string ends with
    where            mapped onto the base's      inside the source's       the other
    |S| > 1          never                       given counts, see `_among_several`
    the one token    the position's own          the position's own        the next one
    source tokens    hard: the same string       the same string, else what they are mapped to
    become           soft: what they are mapped to

Of source tokens that reach one base id the first counts. Strings are vocabulary strings, for v2
those that single ids decode to, with the base's marker in place of the source's.
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
    """A document: token ids of both, the source's logits and ids (N, k), and the aligned lists."""

    base_ids: Sequence[int]
    source_ids: Sequence[int]
    logits: Sequence[Sequence[float]]
    indices: Sequence[Sequence[int]]
    base_to_source: Sequence[Sequence[int]]

    def moved(self, place: int, counterpart: Callable[[int], int | None]) -> Step:
        """The prediction of a source position in base ids."""
        step: Step = {}
        for logit, i in zip(self.logits[place], self.indices[place]):
            target = counterpart(i)
            if target is not None:
                step.setdefault(target, logit)
        return step


def fusellm_steps(
    document: Stored, base: Vocabulary, source: Vocabulary, mapping: Mapping[str, str] | None = None
) -> Rows:
    """FuseLLM: hard (EM), or soft (MinED) by source strings, marker swapped, to base strings.

    Raises:
        BadData: stored ids beyond the source's vocabulary; the same below.
    """
    keys, known = _strings(document, base, source)

    def counterpart(i: int) -> int | None:
        return known.get(keys[i] if mapping is None else mapping.get(keys[i], ""))

    found: list[Step] = []
    for j, (own, aligned) in enumerate(zip(document.base_ids, document.base_to_source)):
        token, step = base.tokens[own], {own: 1.0}
        if len(aligned) == 1:
            key = keys[document.source_ids[aligned[0]]]
            # Byte-level tokenizers put no space before a text.
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
    """FuseChat: `mapping` from `statistics_mapping`, or None for hard (EM, v2).

    Args:
        strings: for v2, what single ids decode to, (base, source).
        counts: `pair_counts`; v2 looks only whether there are any.
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
    """The source's strings with the base's marker, and ids of the base's."""
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
    """Which of several source pieces give the prediction; [] for an empty one, None for none.

    The first that fits. Else, if pieces in their order spell the text (others are passed over), in
    v2 the last of them, in v1 all, see `_mixed`. Else v2 leaves the position empty where no piece
    was met and all of them joined fit.

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
    """Logits times softmax(counts), the larger one where two reach an id: v1's dynamic weights."""
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
