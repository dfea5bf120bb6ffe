"""Division of many samples into several pages, each a file that links to all others.

Up to `LIMIT` samples are one page. More are files beside the first: `mine.html`,
`mine.page-2.html`, ... The script of a page sees that page's samples only; a link to a sample that
is on a later page (`mine.html#ID`) is forwarded by the first, which contains the ids of all others.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any, Protocol
from urllib.parse import quote

from markupsafe import Markup

from leaderboards.render.page import asset, policy, script, templates

LIMIT = 2000  # samples; such a page has about 5.6 MB with answers of 150 words
_MARK = '<meta name="page-of" content="{}">'


class Identified(Protocol):
    """A sample of one system, or of two."""

    @property
    def id(self) -> str: ...


@dataclass(frozen=True)
class Part:
    """One of several pages of the same samples.

    Attributes:
        number: of the page, counted from 1.
        total: number of samples on all pages.
        limit: number of samples on a full page.
        links: address of each page, relative to the others.
    """

    number: int
    total: int
    limit: int
    links: tuple[str, ...]

    @property
    def span(self) -> slice:
        """Place of the page's samples among all."""
        return slice((self.number - 1) * self.limit, self.number * self.limit)

    @property
    def ranges(self) -> tuple[str, ...]:
        """First and last sample of each page.

        >>> Part(1, 2500, 1000, ("a", "b", "c")).ranges
        ('1 to 1,000', '1,001 to 2,000', '2,001 to 2,500')
        """
        ends = (min(n * self.limit, self.total) for n in range(1, len(self.links) + 1))
        return tuple(f"{n * self.limit + 1:,} to {end:,}" for n, end in enumerate(ends))

    @property
    def mark(self) -> Markup:
        """`mark_of` the first page."""
        return Markup(_MARK.format(self.links[0]))

    @property
    def steps(self) -> tuple[tuple[str, str, str], ...]:
        """Links to neighbours and ends: (text, relation, address); "" for what there is not."""
        before = self.links[self.number - 2] if self.number > 1 else ""
        after = self.links[self.number] if self.number < len(self.links) else ""
        return (
            ("« First", "", self.links[0] if before else ""),
            ("‹ Previous page", "prev", before),
            ("Next page ›", "next", after),
            ("Last »", "", self.links[-1] if after else ""),
        )

    def elsewhere(self, samples: Sequence[Identified]) -> list[tuple[str, list[str]]]:
        """What the first page forwards to: address and ids of every other page."""
        if self.number > 1:
            return []
        others = (replace(self, number=n) for n in range(2, len(self.links) + 1))
        return [
            (self.links[one.number - 1], [sample.id for sample in samples[one.span]])
            for one in others
        ]


def is_divided(total: int) -> bool:
    """Whether so many samples are more than one page."""
    return total > LIMIT


def divide(name: str, total: int) -> Iterator[tuple[str, Part | None]]:
    """File names of all pages, the first `name`, each with its part; None for a single page."""
    if not is_divided(total):
        yield name, None
        return
    names = [name, *(name_of_page(name, n) for n in range(2, -(-total // LIMIT) + 1))]
    links = tuple(map(link_to, names))
    for number, own in enumerate(names, 1):
        yield own, Part(number, total, LIMIT, links)


def name_of_page(name: str, number: int) -> str:
    """File name of a page after the first.

    >>> name_of_page("samples.v1.html", 2)
    'samples.v1.page-2.html'
    """
    path = PurePath(name)
    return f"{path.stem}.page-{number}{path.suffix}"


def link_to(name: str) -> str:
    """A file name as a relative address; a colon would make its beginning a scheme.

    >>> link_to("a b:1#.html")
    'a%20b%3A1%23.html'
    """
    return quote(os.fsencode(name), safe="")


def mark_of(name: str) -> str:
    """By which the pages after the first, whose file is `name`, can be recognised."""
    return _MARK.format(link_to(name))


def fill(kind: str, styles: Sequence[str], part: Part | None, **values: Any) -> str:
    """A page of samples, ending in a newline.

    Args:
        kind: name of template and script, "samples" or "pairs".
        styles: names of style sheets.
        values: of the template's other variables.
    """
    extra = () if part is None else ("parts",)
    style = "\n".join(asset(f"{name}.css.jinja") for name in (*styles, *extra))
    code = script(*(f"{name}.js.jinja" for name in ("reading", kind, *extra)))
    template = templates().get_template(f"{kind}.html.jinja")
    page = template.render(
        policy=policy(style, code), style=Markup(style), script=Markup(code), part=part, **values
    )
    return page.rstrip() + "\n"
