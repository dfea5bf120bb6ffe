"""Hidden characters are shown as codes, in one place for terminal and html."""

from __future__ import annotations

import re
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.text import code_span, encodable, line, markdown, plain, visible

# Unicode's DerivedCoreProperties.txt, Default_Ignorable_Code_Point.
DEFAULT_IGNORABLE = (
    (0xAD, 0xAD), (0x34F, 0x34F), (0x61C, 0x61C), (0x115F, 0x1160), (0x17B4, 0x17B5),
    (0x180B, 0x180F), (0x200B, 0x200F), (0x202A, 0x202E), (0x2060, 0x206F), (0x3164, 0x3164),
    (0xFE00, 0xFE0F), (0xFEFF, 0xFEFF), (0xFFA0, 0xFFA0), (0xFFF0, 0xFFF8), (0x1BCA0, 0x1BCA3),
    (0x1D173, 0x1D17A), (0xE0000, 0xE0FFF),
)  # fmt: skip
ODD_SPACES = "\u00a0\u1680\u2000\u2003\u2009\u200a\u202f\u205f\u3000\u2800"
NAMED = [
    *"\u3164\u034f\u115f\u1160\u00a0\U000e0100\u180e\u200b\u200c\u200d\u200e\u200f\u2028\u2029",
    *"\u202a\u202b\u202c\u202d\u202e\u2060\u2066\u2069\ufeff\ufe00\ufe0f\U000e0001\U000e0041",
    *"\x00\x07\x08\x0b\x1b\x7f\x80\x85\x9b\x9f\ud800\udfff\ue000\U0010ffff\ufff9",
]  # fmt: skip


def code(character: str) -> str:
    return f"<U+{ord(character):04X}>"


@pytest.mark.parametrize("character", [*NAMED, *ODD_SPACES], ids=code)
def test_what_hides_is_shown_alone_and_inside_a_word(character: str) -> None:
    for show in (visible, plain, line):
        assert show(character) == code(character)
        assert show(f"a{character}b") == f"a{code(character)}b"


def test_every_default_ignorable_and_every_unprintable_character_is_shown() -> None:
    for low, high in DEFAULT_IGNORABLE:
        for number in range(low, high + 1):
            assert visible(chr(number)) == code(chr(number))
    for number in range(sys.maxunicode + 1):
        character = chr(number)
        if unicodedata.category(character)[0] in "CZ" and character != " ":
            assert visible(character) == code(character)


def test_escape_sequences_do_not_reach_the_terminal() -> None:
    said = "\x1b[31mred\x1b]8;;http://x\x07link\x9b2J"
    shown = plain(said)
    assert shown == "<U+001B>[31mred<U+001B>]8;;http://x<U+0007>link<U+009B>2J"


def test_ordinary_text_stays() -> None:
    for text in ("日本語 🦙 עברית हिन्दी é e\u0301", "[bold]x[/]", "", "a b", "x² ≤ ½ €"):
        assert visible(text) == plain(text) == line(text) == text
    assert plain("a\n\tb\r\nc\rd") == "a\n\tb\nc<U+000D>d"
    assert line("  a\n\n  b\x1b") == "a b<U+001B>"
    assert len(line("x" * 10_000)) == 300
    assert plain(["\x1b"]) == r"['\x1b']"


@pytest.mark.parametrize("emoji", ["❤️", "👩‍💻", "👩🏽‍💻", "🏳️‍🌈", "👨‍👩‍👧‍👦", "☎️ 1", "1️⃣"])
def test_emoji_stay_whole(emoji: str) -> None:
    assert visible(emoji) == emoji


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\ufe0f", "a<U+FE0F>"),
        ("❤\ufe0f\ufe0f", "❤\ufe0f<U+FE0F>"),
        ("1\ufe0f", "1<U+FE0F>"),
        ("❤\ufe0e", "❤<U+FE0E>"),
        ("👩\u200db", "👩<U+200D>b"),
        ("a\u200d👩", "a<U+200D>👩"),
        ("👩\u200d\u200d👩", "👩<U+200D><U+200D>👩"),
        ("\u2800\ufe0f", "<U+2800><U+FE0F>"),
        ("🏴\U000e0067\U000e007f", "🏴<U+E0067><U+E007F>"),
    ],
)
def test_nothing_hides_behind_emoji(text: str, shown: str) -> None:
    assert visible(text) == shown


@given(said=st.text(max_size=40))
def test_visible_text_is_one_line_and_stable(said: str) -> None:
    shown = visible(said)
    assert len(shown.splitlines()) <= 1
    assert visible(shown) == shown
    assert plain(plain(said)) == plain(said)


def test_long_text_is_cut_with_an_ellipsis() -> None:
    assert visible("abcdef", limit=4) == "abc…"
    assert visible("abcd", limit=4) == "abcd"


@given(st.text(alphabet="ab|`*_#[]()<>!\n\r\t \\\ud800=-+.1", max_size=20))
def test_markdown_stays_in_its_cell(value: str) -> None:
    shown = markdown(value)
    assert "\n" not in shown
    assert not re.search(r"(?<!\\)(?:\\\\)*[|`<>\[]", shown)
    span = code_span(value)
    fence = span[: len(span) - len(span.lstrip("`"))]
    assert fence not in span[len(fence) : -len(fence)]


def test_lone_surrogates_become_their_escapes() -> None:
    given = {"\ud800": ["\udc80", 1, None, ("é", 2.5)]}
    assert encodable(given) == {"\\ud800": ["\\udc80", 1, None, ["é", 2.5]]}
