"""Every format: the same numbers, and no string that could break out of its place.

The escaping tests compare structure: a board full of hostile strings must parse to the same
tokens, fields and tags as one full of harmless strings.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import re
from html.parser import HTMLParser

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from rich.console import Console

from harness.core.records import Cell
from leaderboards.board import Board, build_board
from leaderboards.claims import Claim
from leaderboards.compare import compare_systems
from leaderboards.render import csv as csv_render
from leaderboards.render import md, render, terminal, tex, text
from leaderboards.spec import BoardSpec, ColumnSpec, Provenance, Reference, SystemSpec

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</style><script>",
    "</title><script>alert(1)//",
    "{{ 7*7 }}{% raw %}",
    "a|b\n# c\r\n- d",
    "`code` ``x [l](javascript:alert(1)) ![i](http://x.y/z) <https://x.y>",
    "https://evil.example www.evil.example a@b.example",
    '=HYPERLINK("http://x")',
    "+1",
    "-1+2",
    "@SUM(1)",
    "\t=1",
    "\\input{/etc/passwd} \\end{table} $x^2$ % & # _ ~",
    "\u202egnp.exe\u2066 \u200b\u200d\ufeff",
    "\x1b[31mred\x07\x00",
    "[bold red]markup[/]",
    "\ud800 lone",
    "日本語のモデル 🦙" * 3,
    "1. list",
    "x" * 150,
    "#",
    " ",
    "---",
    "    indented",
]
names = st.one_of(
    st.sampled_from(HOSTILE),
    st.text(min_size=1, max_size=30),
    st.text(alphabet="<>&\"'`*_[](){}|\\#$%^~=+-@!:/.\n\r\t abc1\u202e", min_size=1, max_size=30),
)


@pytest.fixture(scope="session")
def board_with(cell):
    """`board_with(text)`: a board with `text` in every place a stranger could write to."""

    def cells_with(said: str) -> list[Cell]:
        out = []
        for name, skill, fails in ((f"A{said}", 40, 0), (said, 60, 3)):
            for seed in (0, 1):
                # The invented outcomes must not depend on the hostile name.
                made = cell(f"skill {skill}", skill, seed=seed, n=9, rounds=9, failed=fails)
                changes = {
                    "system": name,
                    "suite": said,
                    "metric": f"a {said}",
                    "judge": said,
                    "judge_fingerprint": said,
                    "decode_fingerprint": said,
                    "prompt_set": said,
                    "artifacts": {f"role {said}": said},
                    "details": {"x": said, f"d {said}": 1.5},
                }
                out.append(made.model_copy(update=changes))
                out.append(
                    made.model_copy(update={**changes, "metric": f"m {said}", "value": None})
                )
        return out

    def build(said: str) -> Board:
        metric = f"a {said}"
        claim = {"better": said, "worse": f"A{said}", "suite": said, "metric": metric}
        figure = Reference(system=said, suite=said, metric=metric, value=1.0, source=said)
        spec = BoardSpec(
            name="b",
            title=said,
            description=said,
            systems=(
                SystemSpec(name=said, label=f"L{said}", group=f"g {said}", notes=(said, "ours")),
                SystemSpec(name=f"Z{said}"),
            ),
            columns=(
                ColumnSpec(suite=said, metric=metric, label=f"v {said}", group=f"s {said}"),
                ColumnSpec(suite=said, metric=metric, detail="x", label="l"),
                ColumnSpec(suite=said, metric=f"m {said}"),
            ),
            claims=(
                Claim(id="1", **claim, source=f"s {said}", paper_better=2.0, paper_worse=1.0),
                Claim(id="2", **claim, text=f"t {said}"),
                Claim(id="3", **{**claim, "worse": f"no {said}"}),
            ),
            references=(figure,),
            provenance=Provenance(
                recipe=f"r {said}", recipe_id="i", command=f"c {said}", libraries={said: said}
            ),
        )
        return build_board(spec, cells_with(said))

    return build


class Skeleton(HTMLParser):
    """Tags and names of attributes in order, and what could reach outside."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.shape: list[tuple[str, ...]] = []
        self.links: list[str] = []
        self.words: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.shape.append((tag, *(name for name, _ in attrs)))
        self.links += [value or "" for name, value in attrs if name in ("href", "src", "action")]

    def handle_endtag(self, tag: str) -> None:
        self.shape.append((f"/{tag}",))

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def shown_lines(board: Board, width: int) -> list[str]:
    return printed(terminal.render_board(board), width)


def printed(shown: object, width: int) -> list[str]:
    console = Console(width=width, file=io.StringIO(), force_terminal=False, color_system=None)
    console.print(shown)
    return console.file.getvalue().splitlines()


@settings(max_examples=10, deadline=None)
@given(said=names)
@example(said=HOSTILE[0])
@example(said=HOSTILE[1])
@example(said=HOSTILE[5])
@example(said=HOSTILE[18])
def test_html_keeps_its_structure(board_with, said):
    page = render(board_with(said), "html")
    found = Skeleton(page)
    assert found.shape == Skeleton(render(board_with("harmless"), "html")).shape
    assert set(found.links) == {"#claims"}
    assert f"L{text.visible(said)}"[:50] in "".join(found.words).replace("\n", " ")
    assert not re.search("[\u202a-\u202e\u2066-\u2069\u200b\x00-\x08]", page)


@settings(max_examples=10, deadline=None)
@given(said=names.filter(str.strip))
@example(said=HOSTILE[6])
@example(said=HOSTILE[7])
@example(said=HOSTILE[8])
@example(said="1) x")
def test_markdown_keeps_its_structure(board_with, said):
    def kinds(page: str) -> list[tuple[str, ...]]:
        tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(page)
        # Runs of text and its escapes may be cut anywhere: only other kinds count.
        plain = ("text", "text_special", "softbreak")
        return [
            (token.type, *(c.type for c in token.children or () if c.type not in plain))
            for token in tokens
        ]

    page = render(board_with(said), "md")
    assert kinds(page) == kinds(render(board_with("harmless"), "md"))
    assert "<" not in re.sub("`[^\n]*`", "", page)
    assert not re.search(r"https?://|\bwww\.", re.sub("`[^\n]*`", "", page))


@settings(max_examples=25, deadline=None)
@given(said=names)
@example(said="\n\n# heading")
@example(said="-")
def test_markdown_shows_the_name_itself(said):
    inline = MarkdownIt("commonmark").parse(f"x {md.escape(said)}")[1]
    told = "".join(child.content for child in inline.children or ())
    assert told.strip() == f"x {text.visible(said)}".strip()


@settings(max_examples=10, deadline=None)
@given(said=names)
@example(said="=1+1")
@example(said=" =1+1")
@example(said="\t@x")
def test_csv_has_no_formula(board_with, said):
    lines = list(csv.reader(io.StringIO(render(board_with(said), "csv"))))
    assert {len(line) for line in lines} == {len(lines[0])}
    for line in lines[1:]:
        for value in line:
            is_number = re.fullmatch(r"-?\d+(\.\d+)?", value)
            assert (
                is_number
                or not value.lstrip(" '\"").startswith(("=", "+", "-", "@"))
                or (value.startswith("'"))
            )


@settings(max_examples=10, deadline=None)
@given(said=names)
@example(said="\\\\[3pt] ^^41 ---")
@example(said="\\input{x}")
def test_tex_keeps_its_commands(board_with, said):
    def commands(page: str) -> set[str]:
        body = "\n".join(line for line in page.splitlines() if not line.startswith("%"))
        return set(re.findall(r"\\(?:[A-Za-z]+|.)", body))

    page = render(board_with(said), "tex")
    escapes = set(re.findall(r"\\(?:[A-Za-z]+|.)", "".join(tex._ESCAPES.values())))
    assert commands(page) <= commands(render(board_with("harmless"), "tex")) | escapes
    body = re.sub(r"\\[\\{}$&#%_]", "", page[page.index(r"\begin") :])
    assert body.count("{") == body.count("}")
    assert "%" not in body
    rows = page[page.index(r"\midrule") : page.index(r"\bottomrule")].splitlines()[1:]
    assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {4}


@settings(max_examples=10, deadline=None)
@given(said=names)
@example(said=HOSTILE[18])
def test_json_tells_the_names_unchanged(board_with, said):
    data = json.loads(render(board_with(said), "json"))
    assert data["title"] == said
    assert {row["system"] for row in data["rows"]} == {said, f"A{said}", f"Z{said}"}


@settings(max_examples=10, deadline=None)
@given(said=names, width=st.integers(60, 160))
@example(said=HOSTILE[16], width=100)
@example(said=HOSTILE[17], width=100)
@example(said=HOSTILE[21], width=60)
def test_the_terminal_gets_no_control_characters(board_with, said, width):
    from rich.cells import cell_len

    lines = shown_lines(board_with(said), width)
    assert max(cell_len(line) for line in lines) <= width
    assert not re.search("[\x00-\x1f\x7f\u202a-\u202e]", "".join(lines))
    compared = compare_systems(board_with(said).cells, said, f"A{said}")
    flat = "".join(printed(terminal.render_comparison(compared), width))
    assert not re.search("[\x00-\x1f\x7f\u202a-\u202e]", flat)


def test_a_very_long_name_is_cut(board_with):
    for format in ("md", "tex", "html"):
        page = render(board_with("x" * 5000), format)
        assert "x" * 199 in page
    lines = shown_lines(board_with("x" * 5000), 100)
    assert max(map(len, lines)) <= 100
    assert len(lines) < 200


SPEC = BoardSpec(
    name="b",
    title="Board",
    systems=(SystemSpec(name="target-sft-wrpo", label="WRPO", notes=("ours",)),),
    claims=(
        Claim(
            id="c",
            better="target-sft-wrpo",
            worse="target",
            suite="alpaca_eval2",
            metric="lc_win_rate",
            paper_better=55.9,
            paper_worse=26.0,
            source="main results",
        ),
    ),
    provenance=Provenance(recipe="wrpo/nano", command="crucible reproduce wrpo"),
)


@pytest.mark.parametrize("format", ["md", "csv", "json", "tex", "html"])
def test_every_format_has_the_numbers(cells, format):
    board = build_board(SPEC, cells())
    page = render(board, format)
    entry = board.rows[0].entries[0]
    assert text.number(entry.value, 1) in page
    assert text.number(entry.interval.low, 6 if format == "json" else 1)[:7] in page
    assert "WRPO" in page
    assert page.endswith("\n")


@pytest.mark.parametrize("format", ["md", "tex", "html"])
def test_nano_is_labelled(cells, format):
    assert "not comparable with published figures" in render(build_board(SPEC, cells()), format)


@pytest.mark.parametrize("format", ["md", "html"])
def test_claims_stand_beside_the_papers_figure(cells, format):
    page = render(build_board(SPEC, cells()), format)
    for said in ("holds", "+29.9", "55.9 against 26.0", "main results", "crucible reproduce wrpo"):
        assert said in page


def test_paper_figures_stand_in_the_table_at_the_papers_scale_only(cell):
    figure = Reference(
        system="a", suite="alpaca_eval2", metric="lc_win_rate", value=55.9, source="table 1"
    )
    spec = BoardSpec(name="b", title="B", references=(figure,))
    assert "paper 55.9" not in render(build_board(spec, [cell("a", 50)]), "html")
    assert "paper 55.9" in render(build_board(spec, [cell("a", 50, scale="paper")]), "html")


def test_failed_judgments_are_marked_with_their_bounds(cell):
    board = build_board(BoardSpec(name="b", title="B"), [cell("a", 50, failed=7)])
    for format in ("md", "html"):
        page = render(board, format)
        assert "†" in page
        assert "7 of 120 judgments failed: between" in page
    assert r"$^\dagger$" in render(board, "tex")


def test_the_page_allows_exactly_its_own_style_and_script(cells):
    page = render(build_board(SPEC, cells()), "html")
    policy = re.search('content="(default-src[^"]*)"', page)[1]
    assert policy.startswith("default-src 'none'; ")
    for tag in ("style", "script"):
        (inside,) = re.findall(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        sha = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{sha}'" in policy
    assert not re.search(r"""(?:https?:)?//[a-z]|url\(|@import|\sstyle=|\son[a-z]+=""", page)


def test_the_page_sorts_by_keyboard_and_tells_the_order(cells):
    page = render(build_board(SPEC, cells()), "html")
    assert page.count('aria-sort="none"') == 2 + 3
    assert 'data-direction="descending"' in page
    assert 'document.createElement("button")' in page
    assert 'scope="row"' in page
    assert page.count('<svg class="interval"') == 12


def test_every_address_stands_on_the_page(cells):
    scores = cells()
    page = render(build_board(SPEC, scores), "html")
    for score in scores:
        assert score.prompt_set in page
        assert score.judge_fingerprint in page
        for artifact in score.artifacts.values():
            assert artifact in page


def test_the_terminal_degrades_with_its_width(cells):
    board = build_board(SPEC, cells())
    wide, narrow = shown_lines(board, 100), shown_lines(board, 60)
    interval = board.rows[0].entries[0].interval
    assert any(text.span(interval, 1) in line for line in wide)
    assert any("±" in line for line in narrow)
    assert max(map(len, narrow)) <= 60


@settings(max_examples=200)
@given(value=st.floats(-1e9, 1e9), digits=st.integers(0, 6))
def test_numbers_are_never_minus_zero(value, digits):
    shown = text.number(value, digits)
    assert re.fullmatch(r"-?\d+(\.\d+)?", shown)
    assert float(shown) != 0 or not shown.startswith("-")
    assert abs(float(shown) - value) <= 0.5 * 10**-digits + 1e-6


@given(said=st.text(max_size=40))
def test_visible_text_is_one_line_and_stable(said):
    shown = text.visible(said)
    assert len(shown.splitlines()) <= 1
    assert text.visible(shown) == shown


@pytest.mark.parametrize("value", ["=1", "+1", "-1", "@a", " =1", "'=1", "\t=1"])
def test_formulas_are_quoted(value):
    assert not re.match(r"[=+\-@\t\r]", csv_render.safe(value))


@pytest.mark.parametrize("said", ["a;=1+1", "a; @x", 'b;"-cmd', "c;  +1", "d;＝1"])
def test_csv_has_no_formula_where_semicolons_separate_cells(said):
    for cell in csv_render.safe(said).split(";"):
        assert not re.match(r"[ \"]*[=+\-@＝]", cell)
    assert csv_render.safe("one; - two") == "one; - two"
