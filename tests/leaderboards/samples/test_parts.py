"""Many samples on several pages: each once, in order, and every page leads to every other."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import pytest

from leaderboards.render import pairs as of_pairs
from leaderboards.render import parts
from leaderboards.render import samples as of_samples
from leaderboards.samples import pair_samples, samples_of_cell
from leaderboards.samples.records import Samples
from tests.hand_made import HandMade, four_games, hostile_cell
from tests.leaderboards.samples.test_page import CHROMIUM, in_browser, parsed
from tests.published import judged_systems

NAME = "a b:1#.html"
FILES = [NAME, "a b:1#.page-2.html", "a b:1#.page-3.html"]
ADDRESSES = ["a%20b%3A1%23.html", "a%20b%3A1%23.page-2.html", "a%20b%3A1%23.page-3.html"]


@pytest.fixture
def ten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Samples:
    """Ten samples, of which a page has four."""
    monkeypatch.setattr(parts, "LIMIT", 4)
    store, cells = judged_systems(tmp_path, systems=1, prompts=10, suites=("arena_hard",))
    return samples_of_cell(store, cells[0])


def ids_of(page: str) -> list[str]:
    return [sample["id"] for sample in json.loads(parsed(page).contents["data"])["samples"]]


def nav_of(page: str) -> str:
    return page[page.index('<nav class="parts"') :].partition("</nav>")[0]


def test_up_to_the_limit_there_is_one_page_and_nothing_of_others(
    hand_made: HandMade, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = samples_of_cell(hand_made.store, four_games(hand_made))
    plain = of_samples.render(samples)
    monkeypatch.setattr(parts, "LIMIT", 4)
    assert list(of_samples.pages(samples, NAME)) == [(NAME, plain)]
    monkeypatch.setattr(parts, "LIMIT", 3)
    assert [file for file, _ in of_samples.pages(samples, NAME)] == FILES[:2]


def test_pages_contain_every_sample_once_in_the_order_of_the_store(ten: Samples) -> None:
    made = dict(of_samples.pages(ten, NAME))
    assert list(made) == FILES
    assert [len(ids_of(page)) for page in made.values()] == [4, 4, 2]
    assert [id for page in made.values() for id in ids_of(page)] == [s.id for s in ten.samples]


def test_every_page_says_where_it_is_and_leads_to_all_others(ten: Samples) -> None:
    first, second, third = (nav_of(page) for _, page in of_samples.pages(ten, NAME))
    for place, nav in enumerate((first, second, third)):
        links = re.findall('<li><a href="([^"]+)">', nav)
        assert links == [link for link in ADDRESSES if link != ADDRESSES[place]]
        assert f"Page <b>{place + 1}</b> of 3" in nav
        assert "concern this page only" in nav
    assert "samples <b>5 to 8</b> of 10" in second
    assert '<b aria-current="page">9 to 10</b>' in third
    steps = [
        f'<a href="{ADDRESSES[0]}">« First</a>',
        f'<a href="{ADDRESSES[0]}" rel="prev">‹ Previous page</a>',
        f'<a href="{ADDRESSES[2]}" rel="next">Next page ›</a>',
        f'<a href="{ADDRESSES[2]}">Last »</a>',
    ]
    assert all(step in second for step in steps)
    assert "<span>‹ Previous page</span>" in first
    assert "<span>Next page ›</span>" in third


def test_heads_are_those_of_all_samples_and_titles_differ(ten: Samples) -> None:
    made = [page for _, page in of_samples.pages(ten, NAME)]
    heads = {page[page.index("<header") : page.index("</header>")] for page in made}
    assert len(heads) == 1
    assert "<dt>samples</dt><dd>10</dd>" in heads.pop()
    titles = [re.findall("<title>(.*)</title>", page)[0] for page in made]
    assert [title.split(" · ")[1] for title in titles] == [f"page {n} of 3" for n in (1, 2, 3)]


def test_the_first_page_knows_where_every_other_sample_is(ten: Samples) -> None:
    made = [page for _, page in of_samples.pages(ten, NAME)]
    first, second, _ = (json.loads(parsed(page).contents["data"]) for page in made)
    assert first["elsewhere"] == [[a, ids_of(p)] for a, p in zip(ADDRESSES, made, strict=True)][1:]
    assert second["elsewhere"] == []


def test_pages_after_the_first_are_marked_as_pages_of_the_first(ten: Samples) -> None:
    marks = [parts.mark_of(NAME) in page for _, page in of_samples.pages(ten, NAME)]
    assert marks == [False, True, True]
    assert not any(parts.mark_of("other.html") in page for _, page in of_samples.pages(ten, NAME))


def test_pages_are_made_when_they_are_asked_for(
    ten: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    real = of_samples.page_data

    def counted(samples: Samples) -> dict[str, object]:
        made.append(len(samples.samples))
        return real(samples)

    monkeypatch.setattr(of_samples, "page_data", counted)
    found = of_samples.pages(ten, NAME)
    assert made == []
    next(found)
    assert made == [4]


def test_divided_pages_without_texts_have_none(ten: Samples) -> None:
    withheld = of_samples.Around(withheld=True)
    for _, page in of_samples.pages(ten, NAME, withheld):
        assert set(json.loads(parsed(page).contents["data"])["texts"]) == {""}


def test_hostile_samples_change_no_tag_of_a_divided_page(
    hand_made: HandMade, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "LIMIT", 3)
    hostile = samples_of_cell(hand_made.store, hostile_cell(hand_made))
    made = [page for _, page in of_samples.pages(hostile, "x.html")]
    assert all(parsed(page).tags.count(("script", ())) == 1 for page in made)
    assert not re.search("[<>&\u2028\u2029\ud800-\udfff\x00]", parsed(made[0]).contents["data"])
    assert [id for page in made for id in ids_of(page)] == [s.id for s in hostile.samples]


def test_two_systems_side_by_side_are_divided_with_one_head(ten: Samples) -> None:
    made = [page for _, page in of_pairs.pages(pair_samples(ten, ten), NAME)]
    assert [len(ids_of(page)) for page in made] == [4, 4, 2]
    assert len({page[page.index("<header") : page.index("</header>")] for page in made}) == 1
    links = re.findall('<li><a href="([^"]+)">', nav_of(made[1]))
    assert [unquote(link) for link in links] == [FILES[0], FILES[2]]
    data = json.loads(parsed(made[0]).contents["data"])
    assert data["elsewhere"][0] == [ADDRESSES[1], ids_of(made[1])]


def test_values_have_one_unit_on_all_pages(ten: Samples) -> None:
    """The last value alone says that these are no shares."""
    values = [*[1.0] * 9, 0.5]
    samples = tuple(replace(s, value=v) for s, v in zip(ten.samples, values, strict=True))
    rated = replace(ten, kind="rating", samples=samples)
    made = [page for _, page in of_pairs.pages(pair_samples(rated, rated), NAME)]
    said = [json.loads(parsed(page).contents["data"])["percent"] for page in made]
    assert said == [False, False, False]


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
@pytest.mark.parametrize("kind", ["one system", "two systems"])
def test_a_browser_follows_the_address_of_a_sample_to_its_page(
    ten: Samples, tmp_path: Path, kind: str
) -> None:
    name = "x y.html"
    two = of_pairs.pages(pair_samples(ten, ten), name)
    for file, page in of_samples.pages(ten, name) if kind == "one system" else two:
        (tmp_path / file).write_text(page)
    shown = in_browser(tmp_path / name, tmp_path / "profile", "#arena_hard%2Fp0009")
    assert "page 3 of 3" in re.search("<title>(.*?)</title>", shown)[1]  # type: ignore[index]
    detail = shown[shown.index('id="detail"') : shown.index('id="data"')]
    assert "<h2>arena_hard/p0009</h2>" in re.sub(' class="[^"]*"', "", detail)
