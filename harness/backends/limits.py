"""What a stage says at its end when most of its answers reached their token limit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

MOSTLY = 0.5  # share of the answers above which a stage says so


def notes_on_limits(finish: Iterable[object], max_tokens: int) -> Iterator[str]:
    """A sentence with the share of answers that reached their limit, if it is most of them.

    Args:
        finish: of each answer; those of a row may be a list.
        max_tokens: the limit.
    """
    ends = [end for item in finish for end in (item if isinstance(item, list) else [item])]
    cut = ends.count("length")
    if ends and cut / len(ends) > MOSTLY:
        yield (
            f"{cut} of {len(ends)} answers ({cut / len(ends):.0%}) were cut at the limit of "
            f"{max_tokens} tokens: a higher max_tokens lets them end"
        )
