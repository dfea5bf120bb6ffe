"""A published folder: every link leads somewhere, texts stay away, and folders stay whole."""

from __future__ import annotations

import html
import json
import multiprocessing
import re
import time
from collections.abc import Iterator
from fnmatch import fnmatch
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from harness.core.errors import UserError
from harness.core.hashing import file_digest
from harness.core.records import Cell
from harness.engine.store import Store
from leaderboards.files import check_board, read_board
from leaderboards.render import parts
from leaderboards.site import WRITTEN, Site, write_site
from leaderboards.site.folder import _swap
from leaderboards.spec import BoardSpec
from tests.hand_made import HandMade, hostile_cell
from tests.leaderboards.samples.test_page import CHROMIUM, in_browser, parsed
from tests.published import judged_systems

SPEC = BoardSpec(name="week", title="Week 48")


class Links(HTMLParser):
    """Targets of links, anchors, and everything else that names an address."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.other: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id" and value:
                assert value not in self.anchors, f"two elements have the id {value}"
                self.anchors.add(value)
            elif name == "href" and tag == "a":
                self.links.append(value or "")
            elif name in ("src", "href", "action", "data", "poster", "srcset"):
                self.other.append(f"{tag} {name}={value}")


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, list[Cell]]:
    return judged_systems(tmp_path_factory.mktemp("store"), systems=2, prompts=8, seeds=(0, 1))


@pytest.fixture(scope="module")
def site(judged: tuple[Store, list[Cell]], tmp_path_factory: pytest.TempPathFactory) -> Site:
    store, cells = judged
    return write_site(tmp_path_factory.mktemp("out") / "site", SPEC, cells, store=store)


def pages_of(folder: Path) -> Iterator[tuple[Path, Links]]:
    for path in sorted(folder.rglob("*.html")):
        yield path, Links(path.read_text(encoding="utf-8"))


def ids_of(path: Path) -> set[str]:
    """Addresses that the script of a page of samples understands."""
    data = json.loads(parsed(path.read_text(encoding="utf-8")).contents["data"])
    ids = {sample["id"] for sample in data["samples"]}
    return ids | {f"{data['label']}:{name}" for name in data["categories"]}


def broken_links(folder: Path) -> list[str]:
    """Links that lead out of the folder, to no file, or to no place in it."""
    found = []
    for path, links in pages_of(folder):
        for link in links.links:
            address = urlsplit(link)
            target = (path.parent / unquote(address.path)).resolve() if address.path else path
            inside = folder.resolve() in (target, *target.parents)
            if address.scheme or address.netloc or not inside or not target.is_file():
                found.append(f"{path.name}: {link}")
            elif address.fragment:
                places = Links(target.read_text(encoding="utf-8")).anchors
                if target.parent.name == "samples":
                    places = places | ids_of(target)
                if unquote(address.fragment) not in places:
                    found.append(f"{path.name}: {link}")
    return found


def test_every_link_leads_somewhere_inside_the_folder(site: Site) -> None:
    assert broken_links(site.folder) == []
    assert site.linked == site.scores
    for path, links in pages_of(site.folder):
        assert not links.other, path
        assert links.links or path.name == "board.html"


def test_divided_pages_link_to_each_other_and_categories_have_their_own(
    judged: tuple[Store, list[Cell]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, cells = judged
    monkeypatch.setattr(parts, "LIMIT", 5)
    site = write_site(tmp_path / "site", SPEC, cells, store=store)
    assert broken_links(site.folder) == []
    assert site.linked == site.scores
    names = {path.name for path in (site.folder / "samples").iterdir()}
    assert len(names) == site.pages
    assert {name.replace(".page-2.html", ".html") for name in names if ".page-" in name} < names
    category = next(c for c in cells if c.metric == "category:math")
    text = (site.folder / "index.html").read_text(encoding="utf-8")
    own = re.findall(r'href="samples/([^"]+category-math-\d-\w+\.html)">', text)
    assert "#category" not in text
    pages = [parsed((site.folder / "samples" / name).read_text()).contents["data"] for name in own]
    shown = [json.loads(page) for page in pages]
    assert category.system in {page["system"] for page in shown}
    assert {s["labels"]["category"] for page in shown for s in page["samples"]} == {"math"}


def test_pages_that_are_no_longer_needed_leave_the_folder(
    judged: tuple[Store, list[Cell]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, cells = judged
    monkeypatch.setattr(parts, "LIMIT", 5)
    divided = write_site(tmp_path / "site", SPEC, cells, store=store)
    assert list(divided.folder.glob("samples/*.page-2.html"))
    monkeypatch.setattr(parts, "LIMIT", 8)
    whole = write_site(tmp_path / "site", SPEC, cells, store=store)
    assert list(whole.folder.glob("samples/*.page-*")) == []
    assert len(list(whole.folder.glob("samples/*"))) == whole.pages


def test_every_cell_has_a_link_to_samples_that_give_its_value(
    site: Site, judged: tuple[Store, list[Cell]]
) -> None:
    text = (site.folder / "index.html").read_text(encoding="utf-8")
    for cell in judged[1]:
        if cell.metric != "win_rate" or cell.value is None:
            continue
        shown = f"{cell.value:.1f}"
        found = re.findall(rf'<i>{cell.seed}</i> <a href="(samples/[^"#]+)[^"]*">{shown}</a>', text)
        pages = [parsed((site.folder / name).read_text("utf-8")).contents["data"] for name in found]
        own = [json.loads(page) for page in pages if json.loads(page)["system"] == cell.system]
        values = [s["value"] for s in own[0]["samples"] if "value" in s]
        assert 100 * sum(values) / len(values) == pytest.approx(cell.value)


def test_the_folder_is_a_board_that_rebuilds_and_lists_its_files(
    site: Site, judged: tuple[Store, list[Cell]]
) -> None:
    assert check_board(site.folder) == ""
    assert len(read_board(site.folder)[1]) == len(judged[1])
    listed = json.loads((site.folder / "site.json").read_text())
    present = {p.relative_to(site.folder).as_posix() for p in site.folder.rglob("*") if p.is_file()}
    assert set(listed["files"]) == present - {"site.json"}
    assert all(any(fnmatch(name, one) for one in WRITTEN) for name in present)
    assert not any(fnmatch("notes/index.html", one) for one in WRITTEN)
    for name, digest in listed["files"].items():
        assert file_digest(site.folder / name) == digest
    readme = (site.folder / "README.md").read_text()
    assert readme.startswith('---\ntitle: "Week 48"\nsdk: "static"\napp_file: "index.html"\n')
    assert "team/system-01" in readme


def test_pages_of_samples_lead_back_to_their_row_and_to_other_seeds(site: Site) -> None:
    pages = list((site.folder / "samples").glob("*alpaca_eval2-lc_win_rate-*.html"))
    assert len(pages) == 4
    for path in pages:
        links = Links(path.read_text(encoding="utf-8")).links
        assert links[0].startswith("../index.html#team-system-")
        assert len(links) == 2  # the board, and the other of two seeds


def test_the_same_cells_give_the_same_bytes(
    site: Site, judged: tuple[Store, list[Cell]], tmp_path: Path
) -> None:
    again = write_site(tmp_path / "again", SPEC, judged[1][::-1], store=judged[0])
    names = json.loads((site.folder / "site.json").read_text())["files"]
    assert json.loads((again.folder / "site.json").read_text())["files"] == names


def texts_of(store: Store, cells: list[Cell]) -> set[str]:
    found: set[str] = set()
    for cell in cells:
        for row in store.artifact(cell.artifacts["judgments"]).rows():
            found |= set(_strings(row))
    keep = {"id", "system", "category"}
    return {text for text in found if len(text) >= 12 and " " in text and text not in keep}


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner)


def test_without_texts_no_text_of_any_row_is_in_any_file(
    judged: tuple[Store, list[Cell]], site: Site, tmp_path: Path
) -> None:
    store, cells = judged
    found = write_site(tmp_path / "out", SPEC, cells, store=store, without_texts=True)
    texts = texts_of(store, cells)
    assert len(texts) > 100

    def told(folder: Path) -> set[str]:
        whole = "\n".join(p.read_text("utf-8") for p in folder.rglob("*") if p.is_file())
        # JSON in pages spells some characters as codes.
        whole = re.sub(r"\\u([0-9a-f]{4})", lambda found: chr(int(found[1], 16)), whole)
        whole += html.unescape(whole)
        return {text for text in texts if text in whole}

    assert told(found.folder) == set()
    assert len(told(site.folder)) == len(texts)  # the search finds them where they are
    assert broken_links(found.folder) == []
    assert check_board(found.folder) == ""
    page = next((found.folder / "samples").glob("*arena_hard*"))
    data = json.loads(parsed(page.read_text("utf-8")).contents["data"])
    assert all(size >= 0 for size in data["withheld"])
    assert {sample["outcome"] for sample in data["samples"]} & {"win", "loss"}
    assert "failed games" in (found.folder / "cells.jsonl").read_text()


def test_hostile_names_and_texts_stay_text(hand_made: HandMade, tmp_path: Path) -> None:
    cell = hostile_cell(hand_made).model_copy(
        update={"system": "<script>alert(1)</script>/../\u202ex", "suite": 'a"b', "metric": "m'<"}
    )
    found = write_site(tmp_path / "out", SPEC, [cell], store=hand_made.store)
    assert broken_links(found.folder) == []
    for path, _ in pages_of(found.folder):
        text = path.read_text("utf-8")
        assert "<script>alert" not in text
        head = text[: text.index("<main")]
        assert "\u202e" not in head
        assert "&lt;U+202E&gt;" in text
    assert {path.parent.name for path in found.folder.rglob("*.html")} == {"out", "samples"}


def test_cells_without_samples_are_counted_with_the_reason(
    judged: tuple[Store, list[Cell]], hand_made: HandMade, tmp_path: Path
) -> None:
    cells = [
        *(cell.model_copy(update={"artifacts": {}}) for cell in judged[1][:2]),
        judged[1][2],
    ]
    found = write_site(tmp_path / "out", SPEC, cells, store=hand_made.store)
    assert (found.linked, found.pages) == (0, 0)
    assert sum(found.reasons.values()) == 3
    text = (found.folder / "index.html").read_text("utf-8")
    assert "2 scores have no samples: their judgments were published elsewhere" in text
    assert "1 scores have no samples: the store" in text
    assert broken_links(found.folder) == []  # scores lead to their details instead
    assert Links(text).links


@pytest.mark.parametrize("present", ["notes.txt", "index.html", "sub/deep.txt"])
def test_a_foreign_folder_is_not_overwritten_unasked(
    judged: tuple[Store, list[Cell]], tmp_path: Path, present: str
) -> None:
    out = tmp_path / "out"
    (out / present).parent.mkdir(parents=True)
    (out / present).write_text("mine")
    with pytest.raises(UserError, match="--overwrite"):
        write_site(out, SPEC, judged[1], store=None)
    assert [p.name for p in out.rglob("*") if p.is_file()] == [Path(present).name]
    assert (out / present).read_text() == "mine"
    write_site(out, SPEC, judged[1], store=None, overwrite=True)
    assert (out / "cells.jsonl").is_file()
    if present != "index.html":
        assert (out / present).read_text() == "mine"


def test_a_site_is_replaced_by_its_own_board_only_and_other_files_stay(
    judged: tuple[Store, list[Cell]], tmp_path: Path
) -> None:
    store, cells = judged
    out = tmp_path / "out"
    write_site(out, SPEC, cells, store=store)
    (out / ".git").mkdir()
    (out / ".git" / "HEAD").write_text("ref")
    before = {path.name for path in (out / "samples").iterdir()}
    fewer = [cell for cell in cells if cell.system.endswith("00")]
    write_site(out, SPEC, fewer, store=store, without_texts=True)
    after = {path.name for path in (out / "samples").iterdir()}
    assert after < before
    assert (out / ".git" / "HEAD").read_text() == "ref"
    with pytest.raises(UserError, match='site of board "week"'):
        write_site(out, SPEC.model_copy(update={"name": "other"}), cells, store=store)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


@pytest.mark.parametrize("existing", [False, True])
def test_a_killed_run_leaves_no_half_folder(
    judged: tuple[Store, list[Cell]], tmp_path: Path, existing: bool
) -> None:
    store, cells = judged
    out = tmp_path / "out"
    if existing:
        write_site(out, SPEC, cells[:1], store=store)
        before = (out / "site.json").read_bytes()
    partial = tmp_path / "..out.new.partial"
    child = multiprocessing.get_context("fork").Process(
        target=write_site, args=(out, SPEC, cells), kwargs={"store": store}
    )
    child.start()
    deadline = time.monotonic() + 60
    while not list(partial.glob("samples/*.html")) and time.monotonic() < deadline:
        time.sleep(0.001)
    assert list(partial.glob("samples/*.html")), "the folder was written before it could be killed"
    child.kill()
    child.join()
    assert out.exists() == existing
    if existing:
        assert (out / "site.json").read_bytes() == before
    found = write_site(out, SPEC, cells, store=store)
    assert broken_links(found.folder) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


def test_a_run_killed_between_two_renames_is_completed(
    judged: tuple[Store, list[Cell]], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    write_site(out, SPEC, judged[1][:1], store=None)
    (out / "mine.txt").write_text("mine")
    out.rename(tmp_path / ".out.old")
    write_site(out, SPEC, judged[1], store=None)
    assert (out / "mine.txt").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


def test_a_folder_that_cannot_be_replaced_stays_in_its_place(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    with pytest.raises(OSError, match="absent"):
        _swap(tmp_path / "absent", out)
    assert (out / "mine.txt").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
def test_a_browser_opens_the_row_of_an_address(site: Site, tmp_path: Path) -> None:
    text = (site.folder / "index.html").read_text("utf-8")
    anchor = re.findall(r'<tr id="([^"]*turn-2[^"]*|[^"]*turn_2[^"]*)"', text)[0]
    shown = in_browser(site.folder / "index.html", tmp_path / "profile", f"#{anchor}")
    assert 'data-ready="' in shown
    assert len(re.findall('<button[^>]*aria-expanded="true"', shown)) == 1
    page = next((site.folder / "samples").glob("*arena_hard*"))
    shown = in_browser(page, tmp_path / "profile", "#category:math")
    assert "2 of 8" in shown
