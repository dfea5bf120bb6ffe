"""A page for each built-in method and suite, written before Sphinx reads the sources.

A page consists of the registry's entry, the README of the folder (or the module's docstring), and
the settings record: a new method or suite has its page as soon as it is registered. Pages are
written to docs/catalogue/, which is not committed.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from inspect import getdoc
from pathlib import Path
from typing import Any

from harness.cli.claims import paper_claims
from harness.core.records import Record
from harness.engine import registry
from harness.engine.recipe import Method, ModelSpec, Recipe, load_recipe, profiles
from harness.engine.registry import Entry
from harness.suites.base import Suite
from leaderboards import overview as claims

DOCS = Path(__file__).parent.parent
PAGES = DOCS / "catalogue"
ARXIV = re.compile(r"arXiv[ :](\d{4}\.\d{5})")
LINK = re.compile(r"\]\((?![a-z]+:|#)([^)\s]+)\)")
TOLD = re.compile(r"(methods|suites)/(\w+)/(README|prediction)\.md$")
COMMON = set(Recipe.model_fields) - {"seed"}  # of every recipe: docs/reproduce.md
BOUNDS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}

Row = tuple[str, ...]


def write(folder: Path = PAGES) -> None:
    """Write all pages."""
    shutil.rmtree(folder, ignore_errors=True)
    for group, title in (("methods", "Methods"), ("suites", "Suites")):
        (folder / group).mkdir(parents=True)
        built_in = [e for e in registry.entries(group).values() if e.origin == "built-in"]
        for entry in built_in:
            text = "\n\n".join(part for part in page(group, entry) if part)
            (folder / group / f"{entry.name}.md").write_text(text + "\n", encoding="utf-8")
        (folder / f"{group}.md").write_text(overview(group, title, built_in), encoding="utf-8")
    for told in sorted(DOCS.parent.glob("methods/*/prediction.md")):
        text = _moved(told.read_text(encoding="utf-8"), told.parent, "methods")
        place = folder / "methods" / f"{told.parent.name}_prediction.md"
        place.write_text(f"---\norphan: true\n---\n\n{text}", encoding="utf-8")


def write_claims(folder: Path = PAGES) -> None:
    """Write the page of all claims, and its overview for the front page."""
    papers = paper_claims()
    folder.mkdir(parents=True, exist_ok=True)
    page_ = _moved(claims.page(papers, root="../.."), PAGES, "")
    (folder / "claims.md").write_text(page_, encoding="utf-8")
    (folder / "claims_overview.md").write_text(claims.overview(papers) + "\n", encoding="utf-8")


def overview(group: str, title: str, entries: list[Entry]) -> str:
    rows = [(f"[{e.name}]({group}/{e.name}.md)", e.summary, _paper(e)) for e in entries]
    names = "\n".join(f"{group}/{entry.name}" for entry in entries)
    toctree = f"```{{toctree}}\n:hidden:\n\n{names}\n```"
    return f"# {title}\n\n{table(('name', 'what it is', 'paper'), rows)}\n\n{toctree}\n"


def page(group: str, entry: Entry) -> Iterator[str]:
    """The parts of a page, some of them empty."""
    thing = registry.load(group, entry.name)
    yield f"# {entry.name}"
    yield f"{entry.summary[:1].upper()}{entry.summary[1:]}."
    yield table(("", ""), list(_facts(group, entry)))
    yield _text(group, entry)
    if isinstance(thing, Suite):
        metrics = [(f"`{m.name}`", m.unit, m.summary) for m in thing.metrics]
        yield _section("Metrics", ("metric", "unit", "what it is"), metrics)
        for name, over in thing.editions.items():
            rows = [(f"`{key}`", f"`{value}`") for key, value in over.items()]
            yield _section(f'Edition "{name}"', ("setting", "value"), rows)
        yield _section("Settings", ("key", "default", "meaning"), list(_fields(thing.settings)))
        yield f"Changed by `--set {entry.name}.KEY=VALUE`."
    elif isinstance(thing, Method) and thing.recipe_file is not None:
        names = profiles(thing.recipe_file)
        made = [load_recipe(thing.recipe, thing.recipe_file, name) for name in names]
        yield _section(
            "Settings", ("key", " / ".join(names), "meaning"), list(_fields(thing.recipe, made))
        )
        yield (
            "One value where all profiles agree. Changed by `--set KEY=VALUE`; what every recipe "
            "has (systems, suites, claims): {doc}`/reproduce`."
        )


def _facts(group: str, entry: Entry) -> Iterator[tuple[str, str]]:
    if entry.group:
        yield "kind", entry.group
    if entry.paper:
        yield "paper", _paper(entry)
    yield "needs", f"`crucible-bench[{','.join(entry.needs)}]`" if entry.needs else "nothing more"
    if group == "suites":
        yield "run", f"`crucible eval MODEL --suite {entry.name}`"
    elif entry.recipe in ("", entry.name):
        yield "run", f"`crucible reproduce {entry.name}`"
    else:
        yield "run", f"a system of the recipe [{entry.recipe}]({entry.recipe}.md)"
    yield "defined in", f"`{entry.target.replace(':', '`, `')}`"


def _text(group: str, entry: Entry) -> str:
    """The README of the folder; on the pages of the folder's other entries, a link to it."""
    module = sys.modules[entry.target.partition(":")[0]]
    folder = Path(str(module.__file__)).parent
    readme = folder / "README.md"
    if readme.exists():
        shared = [
            e.name for e in registry.entries(group).values() if e.target.startswith(_package(entry))
        ]
        host = folder.name if folder.name in shared else shared[0]
        if entry.name != host:
            return f"Described with [{host}]({host}.md)."
        return _moved(readme.read_text(encoding="utf-8").partition("\n")[2].strip(), folder, group)
    return getdoc(module) or ""


def _package(entry: Entry) -> str:
    return entry.target.partition(":")[0].rpartition(".")[0] + "."


def _moved(text: str, folder: Path, group: str) -> str:
    """A text with relative links that work from its page; a README or a prediction has a page.

    Args:
        text: Markdown.
        folder: where its links start.
        group: the folder of its page, below the catalogue.
    """

    def moved(link: re.Match[str]) -> str:
        target = (folder / link[1]).resolve()
        other = TOLD.search(target.as_posix())
        end = "" if other is None or other[3] == "README" else f"_{other[3]}"
        path = PAGES / other[1] / f"{other[2]}{end}.md" if other else target
        return f"]({os.path.relpath(path, PAGES / group)})"

    return LINK.sub(moved, text)


def _section(title: str, headings: Row, rows: list[Row]) -> str:
    style = "{.settings}\n" if title == "Settings" else ""
    return f"## {title}\n\n{style}{table(headings, rows)}" if rows else ""


def _fields(record: type[Record], made: Sequence[Any] = (), prefix: str = "") -> Iterator[Row]:
    """Key, value in each of the records `made` (else the default), meaning and kind."""
    meanings = _meanings(record)
    for name, field in record.model_fields.items():
        if name in COMMON and issubclass(record, Recipe):
            continue
        if made:
            values = [getattr(one, name) for one in made]
        else:
            values = [field.get_default(call_default_factory=True)]
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Record) and kind is not ModelSpec:
            known = [value for value in values if isinstance(value, Record)]
            # A field of any record (the settings of a loss) is described by the values.
            yield from _fields(type(known[0]) if known else kind, known, f"{prefix}{name}.")
            continue
        shown = " / ".join(dict.fromkeys(map(_short, values)))
        if not made and field.is_required():
            shown = "required"
        meaning = meanings.get(name, field.description or "").rstrip(".")
        allowed = _kind(kind, field.metadata)
        if meaning:
            allowed = meaning if allowed == "`str`" else f"{meaning} ({allowed})"
        yield f"`{prefix}{name}`", shown, allowed


def _meanings(record: type[Record]) -> dict[str, str]:
    """Field -> its line in the "Attributes:" of the record or of a record it extends."""
    found: dict[str, str] = {}
    for base in reversed(record.__mro__):
        text = (base.__dict__.get("__doc__") and getdoc(base)) or ""
        section = text.partition("Attributes:\n")[2]
        for names, meaning in re.findall(r"^    (\w[\w, ]*): (.+(?:\n {8,}.+)*)", section, re.M):
            said = " ".join(meaning.split()).replace("<", "\\<")
            found |= {name.strip(): said for name in names.split(",")}
    return found


def _kind(annotation: Any, limits: list[Any]) -> str:
    text = annotation.__name__ if isinstance(annotation, type) else str(annotation)
    text = re.sub(r"\b(?:[a-z_][\w]*\.)+", "", text)
    text = re.sub(r"Literal\[([^]]*)\]", lambda m: m[1].replace(", ", " | "), text)
    bounds = [
        f"{sign} {value:.3g}"
        for limit in limits
        for key, sign in BOUNDS.items()
        if (value := getattr(limit, key, None)) is not None
    ]
    return f"`{' '.join([text.replace(', ...', ''), ', '.join(bounds)]).strip()}`"


def _short(value: object) -> str:
    if isinstance(value, ModelSpec):
        return f"`{value.ref}`"
    if isinstance(value, tuple) and value and all(isinstance(item, ModelSpec) for item in value):
        return f"{len(value)} models"
    text = value if isinstance(value, str) and value else repr(value)
    text = f"{value:g}" if isinstance(value, float) else text
    return f"`{text if len(text) <= 60 else text[:57] + '...'}`"


def _paper(entry: Entry) -> str:
    return ARXIV.sub(r"[arXiv \1](https://arxiv.org/abs/\1)", entry.paper)


def table(headings: Row, rows: list[Row]) -> str:
    """A Markdown table, or "" without rows."""
    if not rows:
        return ""
    lines = [headings, ("---",) * len(headings), *rows]
    cells = [[cell.replace("|", r"\|").replace("\n", " ") for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def setup(app: Any) -> dict[str, bool]:
    app.connect("builder-inited", lambda app: (write(), write_claims()))
    return {"parallel_read_safe": True}
