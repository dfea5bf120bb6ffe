"""The page of samples: nothing escapes the JSON, nothing is loaded, everything arrives."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import subprocess
import unicodedata
from html.parser import HTMLParser
from pathlib import Path

import pytest

from harness.core.text import plain
from leaderboards.render.page import embedded_json
from leaderboards.render.samples import _pieces, page_data, render
from leaderboards.samples import prompt_writer, samples_of_artifact, samples_of_cell
from tests.hand_made import HOSTILE, HandMade, four_games, hostile_cell


class Structure(HTMLParser):
    """Tags in order, and the contents of scripts and styles."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, tuple[str, ...]]] = []
        self.contents: dict[str, str] = {}
        self._inside = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, tuple(sorted(name for name, _ in attrs))))
        self._inside = dict(attrs).get("id") or tag if tag in ("script", "style") else ""

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.contents[self._inside] = self.contents.get(self._inside, "") + data


def parsed(page: str) -> Structure:
    found = Structure()
    found.feed(page)
    return found


def test_hostile_samples_change_no_tag_and_arrive_whole(hand_made: HandMade) -> None:
    page = render(samples_of_cell(hand_made.store, hostile_cell(hand_made)))
    calm = render(samples_of_cell(hand_made.store, four_games(hand_made)))
    assert parsed(page).tags == parsed(calm).tags
    page.encode("utf-8")  # half characters went in as codes
    data = json.loads(parsed(page).contents["data"])
    said = {data["texts"][turn["answer"]] for s in data["samples"] for turn in s["turns"]}
    assert said == set(HOSTILE)
    assert not re.search("[<>&\u2028\u2029\ud800-\udfff\x00]", parsed(page).contents["data"])


def test_the_policy_allows_exactly_this_style_and_this_script(hand_made: HandMade) -> None:
    page = render(samples_of_cell(hand_made.store, four_games(hand_made)))
    found = parsed(page)
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)
    assert policy is not None
    for name in ("style", "script"):
        digest = hashlib.sha256(found.contents[name].encode()).digest()
        assert f"{name}-src &#39;sha256-{base64.b64encode(digest).decode()}&#39;" in policy[1] or (
            f"{name}-src 'sha256-{base64.b64encode(digest).decode()}'" in policy[1]
        )
    assert policy[1].startswith("default-src 'none'")
    assert not re.search(r"""(?:src|href)=|url\(|@import|https?://(?!www\.w3\.org)""", page)


def test_the_script_makes_no_markup_from_data() -> None:
    folder = Path(__file__).parents[3] / "leaderboards/render"
    script = "".join(path.read_text() for path in folder.glob("*.js.jinja"))
    assert "const make" in script
    for way in (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "srcdoc",
    ):
        assert way not in script


def test_the_script_shows_hidden_characters_as_the_terminal_does() -> None:
    """The script's own functions, run by node."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("needs node")
    script = (Path(__file__).parents[3] / "leaderboards/render/reading.js.jinja").read_text()
    functions = re.findall(r"^  const (?:SHOWN|code|plain) = .*$", script, re.M)
    assert len(functions) == 3
    said = [*HOSTILE, *(f"a{character}b" for character in map(chr, range(0x3400))), "❤️ 👩🏽‍💻 1️⃣"]
    said += ["❤\ufe0f\ufe0f", "👩\u200db", "a\u200d👩", "\u2800\ufe0f", "1\ufe0f", "a\r\nb\rc"]
    said += [f"a{chr(number)}b" for number in (0xD800, 0xE000, 0xE0041, 0xE0100, 0xFE0F, 0xFFA0)]
    known = [text for text in said if all(unicodedata.category(c) != "Cn" for c in text)]
    read = "const said = JSON.parse(require('fs').readFileSync(0, 'utf8'));"
    program = "\n".join([*functions, read, "console.log(JSON.stringify(said.map(plain)));"])
    done = subprocess.run(
        [node, "-e", program], input=json.dumps(known), capture_output=True, text=True, check=True
    )
    assert [text.replace("\r\n", "\n") for text in json.loads(done.stdout)] == [
        plain(text) for text in known
    ]


def test_prompts_are_put_together_from_shared_texts(hand_made: HandMade) -> None:
    cell = four_games(hand_made)
    found = samples_of_cell(hand_made.store, cell)
    data, write = page_data(found), prompt_writer(found).write
    assert write is not None
    assert len(data["texts"]) == len(set(data["texts"]))
    for view, sample in zip(data["samples"], found.samples, strict=True):
        for number, game in enumerate(view["turns"][0]["games"]):
            sent = write(sample, 0, number)
            joined = [
                {"role": role, "content": "".join(data["texts"][place] for place in pieces)}
                for role, pieces in game["prompt"]
            ]
            assert joined == sent
            assert sent


def test_pieces_join_to_the_whole() -> None:
    long = "abc" * 20
    for content, known in (
        (f"x{long}y{long}z", [long, "abc"]),
        ("", [long]),
        (long, [long, long + "d"]),
        (f"{long}{long[:30]}", [long[:30], long]),
    ):
        assert "".join(_pieces(content, known)) == content


def test_the_head_names_the_cell_and_what_made_it(hand_made: HandMade) -> None:
    cell = four_games(hand_made, interval={"low": 40.0, "high": 61.5, "kind": "bootstrap"})
    page = render(samples_of_cell(hand_made.store, cell))
    for told in ("50.00 %", "[40.00, 61.50]", "f" * 16, *cell.artifacts.values(), "4 of 4"):
        assert told in page
    assert "<noscript>" in page
    rows = render(samples_of_artifact(hand_made.store, cell.artifacts["judgments"]))
    assert "judge_arena" in rows


def test_the_page_is_a_function_of_the_store(hand_made: HandMade) -> None:
    cell = four_games(hand_made)
    first, second = (render(samples_of_cell(hand_made.store, cell)) for _ in range(2))
    assert first == second


def test_embedded_json_reads_back() -> None:
    value = ["</script><!--", "\u2028\ud800\x00\x7f", {"a": 1.5, "b": None}]
    text = str(embedded_json(value))
    assert json.loads(text) == value
    assert "<" not in text


CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


def in_browser(page: Path, profile: Path, address: str = "") -> str:
    """The document after its script ran."""
    command = [
        str(CHROMIUM),
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={profile}",
        "--virtual-time-budget=3000",
        "--dump-dom",
        f"file://{page}{address}",
    ]
    done = subprocess.run(command, capture_output=True, timeout=60, check=True)
    return done.stdout.decode("utf-8", errors="replace")


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
def test_a_browser_shows_hostile_samples_as_text(hand_made: HandMade, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text(render(samples_of_cell(hand_made.store, hostile_cell(hand_made))))
    shown = in_browser(
        page,
        tmp_path / "profile",
        "#h2%20" + "%3Cimg%20src%3Dx%20onerror%3D%22document.title%3D%27OWNED%27%22%3E",
    )
    assert "OWNED" not in re.search("<title>(.*?)</title>", shown)[1]  # type: ignore[index]
    assert 'data-ready="' in shown
    rows = re.findall('class="row"', shown)
    assert len(rows) >= 8
    detail = shown[shown.index('id="detail"') : shown.index('id="data"')]
    assert "<img" not in detail
    assert "&lt;img src=x onerror=" in detail
    assert "3 of 12" in detail
