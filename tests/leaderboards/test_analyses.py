"""Pages of analyses: the same figures in every format, and no string that breaks out."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from markdown_it import MarkdownIt

from harness.core.records import Interval
from harness.data.instructions.analysis import (
    BINS,
    Analysis,
    Estimated,
    PairCount,
    SetAnalysis,
    Shared,
    histogram,
)
from leaderboards.analyses import html, md
from leaderboards.analyses.figures import lines, notes
from leaderboards.analyses.files import analysis_files, write_analysis

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "a|b\n# c",
    "</svg></style>",
    "{{ 7*7 }}",
    "\u202egnp.exe",
    "\ud800",
    "[l](javascript:x) www.evil.example",
]


def estimated(value: float) -> Estimated:
    interval = Interval(low=value - 0.05, high=value + 0.05, kind="bootstrap over instructions")
    return Estimated(value=value, interval=interval)


def made(name: str = "mine", other: str = "theirs", **changes: object) -> Analysis:
    own = SetAnalysis(
        name=name,
        ref=f"{name}.jsonl",
        rows=1003,
        bad=3,
        named=(f"row 7: {name}",),
        instructions=1000,
        without_tokens=2,
        paired=800,
        unique_pairs=400,
        unique_at_equal_size=350.25,
        average_occurrence=2.0,
        deviation=1.5,
        sample_deviation=1.501,
        top_share=0.25,
        top=(PairCount(verb=name, noun="poem", count=120, share=0.15),),
        compared=100,
        nearest=estimated(0.4),
        near=estimated(0.1),
        pairwise=estimated(0.12),
        histogram=histogram([n / 100 for n in range(100)]),
        repeated=12,
        repeated_with_input=4,
        artifacts={"instructions": "0" * 32},
    )
    second = own.model_copy(
        update={
            "name": other, "bad": 0, "named": (), "compared": 0, "top": (), "nearest": None,
            "near": None, "pairwise": None, "histogram": (0,) * BINS, "average_occurrence": None,
            "deviation": None, "sample_deviation": None, "top_share": None, **changes,
        }
    )  # fmt: skip
    return Analysis(
        parser="spaCy 3.8",
        tokens="rouge",
        threshold=0.7,
        equal_size=1000,
        rounds=1000,
        sets=(own, second),
        shared=(
            Shared(set=name, other=other, rows=5, share=0.005),
            Shared(set=other, other=name, rows=6, share=0.006),
        ),
    )


class Tags(HTMLParser):
    """Tags and attribute names in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.shape: list[tuple[str, ...]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.shape.append((tag, *(name for name, _ in attrs)))


def test_every_figure_is_in_the_table_the_page_and_the_markdown() -> None:
    analysis = made()
    page, text = html.render(analysis, "Title"), md.render(analysis, "Title")
    for line in lines(analysis):
        assert line.title in page
        assert md.escape(line.title) in text
        for figure in line.figures:
            assert f"<td>{figure.value}" in page
    titles = {line.title: line.figures for line in lines(analysis)}
    assert titles["ROUGE-L of all pairs of instructions"][0].behind == "[0.070, 0.170]"
    assert titles["nearest above 0.7"][0].value == "10.0 %"
    assert titles["nearest above 0.7"][1].value == "—"
    assert titles["unique pairs among 1,000 random instructions"][0].value == "350.2"


def test_notes_say_how_and_on_what_the_figures_rest() -> None:
    said = "\n".join(notes(made()))
    assert "Verb-noun pairs by spaCy 3.8" in said
    assert "95 % interval (bootstrap over instructions, 1,000 resamples)" in said
    assert "mine: 100 of 1,000 instructions, drawn at random, are compared with all others" in said
    assert "mine: 2 instructions have no token of ROUGE-L" in said
    assert "mine: 3 rows are left out: row 7: mine; ..." in said
    assert "theirs: 0 of" not in said


def test_bars_and_curves_are_drawn_to_scale() -> None:
    page = html.render(made(), "Title")
    charts = [
        ElementTree.fromstring(svg) for svg in re.findall(r"<svg class=.*?</svg>", page, re.S)
    ]
    plot, bars = charts
    (curve,) = [each for each in plot if each.tag == "polyline"]
    points = [tuple(map(float, pair.split(","))) for pair in curve.attrib["points"].split()]
    assert len(points) == BINS
    assert min(y for _, y in points) == 0.0
    (bar,) = [each for each in bars if each.tag == "rect"]
    assert float(bar.attrib["width"]) == html.BAR_WIDTH
    assert "120 (15.0 %)" in "".join(bars.itertext())


@pytest.mark.parametrize("said", HOSTILE)
def test_names_and_words_of_strangers_change_no_structure(said: str) -> None:
    harmless = made("x", "y")
    hostile = made(said, f"y{said}")
    assert Tags(html.render(hostile, said)).shape == Tags(html.render(harmless, "t")).shape
    shapes = []
    for analysis in (harmless, hostile):
        tokens = MarkdownIt().enable("table").parse(md.render(analysis, "t"))
        shapes.append([token.type for token in tokens])
    assert shapes[0] == shapes[1]


def test_the_folder_holds_three_files_that_repeat_to_the_byte(tmp_path: Path) -> None:
    write_analysis(tmp_path / "out", made(), command="crucible analyse mine.jsonl")
    (tmp_path / "out" / "own.txt").write_text("kept")
    write_analysis(tmp_path / "out", made(), command="crucible analyse mine.jsonl")
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["analysis.html", "analysis.json", "analysis.md", "own.txt"]
    data = json.loads((tmp_path / "out" / "analysis.json").read_text())
    assert data["command"] == "crucible analyse mine.jsonl"
    assert data["sets"][0]["pairwise"]["interval"]["low"] == pytest.approx(0.07)
    files = analysis_files(made(), command="crucible analyse mine.jsonl")
    for name, content in files.items():
        assert (tmp_path / "out" / name).read_bytes() == content
    assert "http" not in html.render(made(), "Title").replace("http-equiv", "")
