"""Samples of two systems side by side: pairing, counts, categories, order, and the page."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from harness.core.errors import BadRecord, UnknownName, UserError
from harness.core.records import Cell
from leaderboards.compare import compare_systems
from leaderboards.render.pairs import page_data, render
from leaderboards.samples import (
    PairedSamples,
    category_lines,
    choose_pairs,
    pair_samples,
    samples_of_cell,
)
from tests.hand_made import HOSTILE, HandMade, arena_row, hostile_cell
from tests.leaderboards.samples.test_page import CHROMIUM, Structure, in_browser, parsed

LABELS = {
    "win": ("B>A", "A>B"),
    "loss": ("A>B", "B>A"),
    "tie": ("A=B", "A=B"),
    "failed": (None,) * 2,
}
CATEGORY = {"p1": "math", "p2": "math", "p3": "coding", "p4": "coding", "p5": "coding"}
OURS = {"p1": "win", "p2": "win", "p3": "loss", "p4": "tie", "p5": "failed"}
THEIRS = {"p1": "loss", "p2": "win", "p3": "loss", "p4": "win", "p5": "win"}


def system(made: HandMade, name: str, verdicts: dict[str, str], **more: object) -> Cell:
    rows = [
        {**arena_row(id, LABELS[verdict], category=CATEGORY.get(id, "other")), "system": name}
        for id, verdict in verdicts.items()
    ]
    for row in rows:
        row["answers"]["model"] = f"{name} on {row['id']}" + "!" * len(name)
    return made.judged("judge_arena", "arena", rows, system=name, **more)


@pytest.fixture
def pairs(hand_made: HandMade) -> PairedSamples:
    cells = [system(hand_made, "ours", OURS), system(hand_made, "theirs-2", THEIRS)]
    return pair_samples(*(samples_of_cell(hand_made.store, cell) for cell in cells))


def test_prompts_are_paired_and_verdicts_counted(pairs: PairedSamples) -> None:
    assert pairs.names == ("ours", "theirs-2")
    assert {pair.id: pair.outcomes for pair in pairs.pairs} == {
        id: (OURS[id], THEIRS[id]) for id in OURS
    }
    assert {pair.id: pair.difference for pair in pairs.pairs} == {
        "p1": 1.0, "p2": 0.0, "p3": 0.0, "p4": -0.5, "p5": None,
    }  # fmt: skip
    assert sum(tally.count for tally in pairs.tallies) == 5
    assert pairs.summary == (
        "A wins, B loses 1; A ties, B wins 1; A failed, B wins 1; both win 1; both lose 1"
    )


def test_swapping_the_systems_negates_every_difference(
    pairs: PairedSamples, hand_made: HandMade
) -> None:
    other = pair_samples(pairs.b, pairs.a)
    assert [p.difference and -p.difference for p in other.pairs] == [
        p.difference for p in pairs.pairs
    ]
    for ours, theirs in zip(category_lines(pairs), category_lines(other), strict=True):
        assert ours.difference == -theirs.difference
        assert ours.ahead == theirs.ahead[::-1]


def test_categories_have_paired_intervals_over_prompts_with_a_value(pairs: PairedSamples) -> None:
    lines = {line.name: line for line in category_lines(pairs)}
    assert list(lines) == ["all", "math", "coding"]
    whole, math = lines["all"], lines["math"]
    assert (whole.n_expected, whole.n_scored) == (5, 4)
    assert whole.difference == pytest.approx(100 * (1.0 + 0.0 + 0.0 - 0.5) / 4)
    assert whole.interval is not None
    assert whole.interval.low <= whole.difference <= whole.interval.high
    assert (math.first, math.second, math.ahead) == (100.0, 50.0, (1, 1, 0))
    assert (lines["coding"].n_expected, lines["coding"].n_scored) == (3, 2)


def test_intervals_do_not_depend_on_the_order_of_the_prompts(pairs: PairedSamples) -> None:
    turned = replace(pairs, pairs=pairs.pairs[::-1])
    lines = {line.name: line for line in category_lines(turned)}
    assert lines == {line.name: line for line in category_lines(pairs)}


def test_a_system_beside_itself_differs_nowhere(pairs: PairedSamples) -> None:
    same = pair_samples(pairs.a, pairs.a)
    assert all(tally.first == tally.second for tally in same.tallies)
    assert {line.difference for line in category_lines(same)} == {0.0}


def test_pairs_are_filtered_searched_and_sorted(pairs: PairedSamples) -> None:
    def ids(*filters: str, **more: str) -> list[str]:
        return [pair.id for pair in choose_pairs(pairs, filters, **more)]

    assert ids("a=win", "b=loss") == ["p1"]
    assert ids("b=loss", "b=win", "category=math") == ["p1", "p2"]
    assert ids(search="THEIRS-2 ON P4") == ["p4"]
    assert ids() == ["p1", "p4", "p2", "p3", "p5"]
    assert ids(sort="lead") == ["p1", "p2", "p3", "p4", "p5"]
    assert ids(sort="-lead") == ["p4", "p2", "p3", "p1", "p5"]
    assert ids(sort="-id") == ["p5", "p4", "p3", "p2", "p1"]
    for wrong, error in (("a=lost", UnknownName), ("a", BadRecord)):
        with pytest.raises(error):
            ids(wrong)
    with pytest.raises(UnknownName, match='no filter named "c"'):
        ids("c=win")
    with pytest.raises(UnknownName, match="difference"):
        ids(sort="differnce")


def test_missing_prompts_are_absent_and_none_in_common_is_an_error(hand_made: HandMade) -> None:
    one = samples_of_cell(hand_made.store, system(hand_made, "one", {"p1": "win", "p2": "win"}))
    two = samples_of_cell(hand_made.store, system(hand_made, "two", {"p1": "loss"}))
    three = samples_of_cell(hand_made.store, system(hand_made, "three", {"q": "loss"}))
    found = pair_samples(one, two)
    assert [pair.outcomes for pair in found.pairs] == [("win", "loss"), ("win", "absent")]
    assert "A wins, B has no sample 1" in found.summary
    assert page_data(found)["samples"][1]["turns"][0]["sides"][1]["answer"] is None
    with pytest.raises(UserError, match="no prompt in common"):
        pair_samples(one, three)


def test_other_judges_are_named(hand_made: HandMade) -> None:
    cells = [
        system(hand_made, "a", OURS, judge_fingerprint=name * 16, judge=f"judge {name}")
        for name in "xy"
    ]
    found = pair_samples(*(samples_of_cell(hand_made.store, cell) for cell in cells))
    assert found.note == "the judges differ (A: judge x, B: judge y)"
    assert found.note in render(found)


def test_rows_without_a_judge_are_compared_field_by_field(hand_made: HandMade) -> None:
    cells = []
    for name, hits in (("a", (1, 0, 1)), ("b", (0, 0, 1))):
        rows = [
            {"id": f"r{n}", "prediction": f"{name}{n}", "truth": f"t{n}", "correct": bool(hit)}
            for n, hit in enumerate(hits)
        ]
        id = hand_made.put("predict", rows)
        cells.append(hand_made.cell(system=name, metric="correct", artifacts={"rows": id}))
    found = pair_samples(*(samples_of_cell(hand_made.store, cell) for cell in cells))
    assert found.summary == "A is right, B is wrong 1; both are right 1; both are wrong 1"
    data = page_data(found)
    fields = {name: places for name, *places in data["samples"][0]["fields"]}
    assert [data["texts"][place] for place in fields["prediction"]] == ["a0", "b0"]
    assert fields["truth"][0] == fields["truth"][1]


def test_hostile_pairs_change_no_tag_and_arrive_whole(
    hand_made: HandMade, pairs: PairedSamples
) -> None:
    hostile = samples_of_cell(hand_made.store, hostile_cell(hand_made))
    page = render(pair_samples(hostile, hostile))
    assert {tag for tag, _ in parsed(page).tags} == {tag for tag, _ in parsed(render(pairs)).tags}
    assert parsed(page).tags.count(("script", ())) == 1
    page.encode("utf-8")
    data = json.loads(parsed(page).contents["data"])
    said = {
        data["texts"][side["answer"]]
        for sample in data["samples"]
        for turn in sample["turns"]
        for side in turn["sides"]
    }
    assert said == set(HOSTILE)
    assert not re.search("[<>&\u2028\u2029\ud800-\udfff\x00]", parsed(page).contents["data"])


def test_the_head_has_scores_difference_and_categories(
    hand_made: HandMade, pairs: PairedSamples
) -> None:
    cells = [samples.cell for samples in (pairs.a, pairs.b) if samples.cell is not None]
    page = render(pairs, compare_systems(cells, "ours", "theirs-2"))
    for said in ("<b>A</b> ours", "<b>B</b> theirs-2", "A minus B", "By category", "50.00", "math"):
        assert said in page
    assert "50.000" not in page  # two digits, as in the difference
    assert not re.search(r"""(?:src|href)=|url\(|@import|https?://(?!www\.w3\.org)""", page)
    assert isinstance(parsed(page), Structure)


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
def test_a_browser_shows_a_pair_and_its_filters(pairs: PairedSamples, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text(render(pairs))
    shown = in_browser(page, tmp_path / "profile", "#p4")
    assert 'data-ready="' in shown
    assert len(re.findall('class="row"', shown)) == 5
    assert "A wins, B loses" in shown
    detail = shown[shown.index('id="detail"') : shown.index('id="data"')]
    assert "ours on p4" in detail
    assert "theirs-2 on p4" in detail
    assert "2 of 5" in detail
