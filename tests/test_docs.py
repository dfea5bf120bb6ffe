"""The documentation agrees with the tree: links, names, pages of the catalogue, commands."""

from __future__ import annotations

import ast
import contextlib
import doctest
import html
import importlib
import importlib.util
import json
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer

from harness.cli.main import app
from harness.engine import registry

ROOT = Path(__file__).parent.parent
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "docs/api").glob("*.md")),
    *sorted((ROOT / "methods").glob("*/README.md")),
    *sorted((ROOT / "harness/suites").glob("*/README.md")),
]
LINK = re.compile(r"\[[^\]]*\]\(\s*([^)\s]+)\s*\)")
FENCE = re.compile(r"^(```|~~~).*?^\1\s*$", re.M | re.S)
BLOCK = re.compile(r"^(?: {4}|\$ )?(?:[A-Z_]+=\S+ )*(crucible .*)$", re.M)
SPAN = re.compile(r"`(crucible [^`]+)`")
NAME = re.compile(r"`((?:harness|methods|leaderboards)(?:\.\w+)+)")
FILE = re.compile(r"`((?:harness|methods|leaderboards|tests|benchmarks|docs)/[\w/.-]+)`")
STANDS_FOR_ANY = re.compile(r"[A-Z_]+$|my_|\.\.\.")  # METHOD, my_method: a name of the reader's

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


@pages
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    broken = []
    for target in LINK.findall(FENCE.sub("", page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(target)
    # Pages made at build time are linked from toctrees only: a reader of the files has none.
    assert not broken, f"{page.relative_to(ROOT)}: {broken}"


@pages
def test_every_name_and_file_of_the_code_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    names = {name for name in NAME.findall(text) if not exists(name)}
    files = {path for path in FILE.findall(text) if not (ROOT / path).exists()}
    files -= {
        path for path in files if any(map(STANDS_FOR_ANY.match, re.split("[/.]|test_", path)))
    }
    assert not names | files, f"{page.relative_to(ROOT)}: {sorted(names | files)}"


def exists(name: str) -> bool:
    """Whether a dotted name leads to a module or to an attribute of one."""
    parts = name.split(".")
    for cut in range(len(parts), 0, -1):
        with contextlib.suppress(ModuleNotFoundError):
            found: object = importlib.import_module(".".join(parts[:cut]))
            for attribute in parts[cut:]:
                found = getattr(found, attribute, None)
            return found is not None
    return False


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if ">>> " in page.read_text(encoding="utf-8")],
    ids=lambda p: p.stem,
)
def test_examples_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if page.stem == "merge":
        pytest.importorskip("mergekit")
    if page.stem == "instructions":
        pytest.importorskip("spacy")
    monkeypatch.chdir(tmp_path)
    text = re.sub("^```.*$", "", page.read_text(encoding="utf-8"), flags=re.M)
    examples = doctest.DocTestParser().get_doctest(text, {}, page.name, str(page), 0)
    assert examples.examples
    assert doctest.DocTestRunner().run(examples).failed == 0


def test_the_scripts_of_the_python_page_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the order of the page; the first judges, evaluates and prints in five lines at most."""
    pytest.importorskip("pandas")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CRUCIBLE_HOME", str(tmp_path / "home"))
    scripts = re.findall(
        r"^```python\n(.*?)^```", (ROOT / "docs/python.md").read_text("utf-8"), re.M | re.S
    )
    assert len([line for line in scripts[0].splitlines() if line]) <= 5
    names: dict[str, Any] = {}
    printed = []
    for script in scripts:
        exec(script, names)
        printed.append(capsys.readouterr().out)
    result = names["result"]
    assert printed[0] == f"{result.score} {result.interval}\n"
    assert result.interval.low <= result.score <= result.interval.high
    assert printed[1].endswith("\n16\n")
    assert "Target-SFT-DPO" in printed[2]
    assert "dpo lc_win_rate" in printed[2]
    assert "wrpo ahead on" in printed[3]
    assert "| nano:source\\_a |" in printed[3]
    assert re.match(r"(0\.\d+|1\.0) \[", printed[4])
    assert printed[5] == "0\n"


def test_the_cells_of_the_notebook_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Jupyter runs them: a cell that ends with an expression shows it as HTML, if it can."""
    pytest.importorskip("pandas")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CRUCIBLE_HOME", str(tmp_path / "home"))
    notebook = json.loads((ROOT / "docs/first_steps.ipynb").read_text("utf-8"))
    scripts = ["".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "code"]
    names: dict[str, Any] = {}
    shown = []
    for script in scripts:
        tree = ast.parse(script)
        last = tree.body.pop()
        assert isinstance(last, ast.Expr)
        exec(compile(tree, "cell", "exec"), names)
        value = eval(compile(ast.Expression(last.value), "cell", "eval"), names)
        shown.append(value._repr_html_() if hasattr(value, "_repr_html_") else repr(value))
    assert "Target-SFT-WRPO" in shown[0]
    assert "lc_win_rate" in shown[1]
    assert "arena_hard/" in shown[3]
    assert not any(cell.get("outputs") for cell in notebook["cells"])  # outputs are not committed


def test_the_picture_of_the_front_pages_shows_the_committed_board() -> None:
    """Its figures, not its bytes: those depend on the version of rich."""
    script = extension("board_picture")
    board = script.committed()
    drawn = text_of(script.PICTURE.read_text("utf-8"))
    assert drawn == text_of(script.picture(board)), (
        "the board has changed: python docs/_ext/board_picture.py draws it again"
    )
    for row in board.rows:
        assert row.system.title.replace(" ", "") in drawn
    for page in ("README.md", "docs/index.md"):
        assert "_static/board.svg" in (ROOT / page).read_text("utf-8")


def text_of(svg: str) -> str:
    """All text of a picture, without blanks."""
    found = re.findall(r"<text[^>]*>(.*?)</text>", svg, re.S)
    return re.sub(r"\s|\u00a0|&#160;", "", html.unescape("".join(found)))


def test_every_command_has_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "docs/_ext"))
    extension("command_pages").write_commands(tmp_path)
    overview = (tmp_path / "commands.md").read_text("utf-8")
    names = [name.strip() for name in paths(commands())]
    assert {"reproduce", "plot", "nano serve", "store ls", "store"} <= set(names)
    for name in names:
        page = (tmp_path / "commands" / f"{name.replace(' ', '-')}.md").read_text("utf-8")
        assert page.startswith(f"# crucible {name}\n")
        assert "`--store`" in page
        assert f"commands/{name.replace(' ', '-')}\n" in overview
    reproduce = (tmp_path / "commands/reproduce.md").read_text("utf-8")
    seeds = r"\| `--seeds` INT(?:EGER)? RANGE \| `1` \| Number of seeds. \|"  # by version of typer
    assert re.search(seeds, reproduce)
    assert "## Hosted models and servers" in reproduce
    evaluate = (tmp_path / "commands/eval.md").read_text("utf-8")
    assert "```sh\ncrucible eval nano:target\n```" in evaluate


def paths(command: Any, name: str = "") -> Iterator[str]:
    inner = getattr(command, "commands", {})
    if name and (not inner or command.invoke_without_command):
        yield name
    for key, value in inner.items():
        yield from paths(value, f"{name} {key}")


@pages
def test_every_command_and_option_exists(page: Path) -> None:
    text = re.sub(r"\\\n\s*", "", page.read_text(encoding="utf-8"))
    wrong = [
        f"{line}: {problem}"
        for line in [*BLOCK.findall(text), *SPAN.findall(text.replace("\n", " "))]
        if (problem := problem_of(line))
    ]
    assert not wrong, f"{page.relative_to(ROOT)}: {wrong}"


def test_every_built_in_has_a_page(tmp_path: Path) -> None:
    catalogue().write(tmp_path)
    for group in ("methods", "suites"):
        overview = (tmp_path / f"{group}.md").read_text(encoding="utf-8")
        for entry in registry.entries(group).values():
            if entry.origin == "built-in":
                page = (tmp_path / group / f"{entry.name}.md").read_text(encoding="utf-8")
                assert entry.summary[1:] in page
                assert f"\n{group}/{entry.name}\n" in overview


def test_a_page_has_readme_settings_and_metrics(tmp_path: Path) -> None:
    catalogue().write(tmp_path)
    method = (tmp_path / "methods/wrpo.md").read_text(encoding="utf-8")
    assert "## Departures from the released code" in method
    assert "| `train.settings.beta` | `0.1` / `0.01` |" in method  # nano / small and paper
    assert "(../../official_suites.md)" in method  # the README's link, from where the page stands
    suite = (tmp_path / "suites/arena_hard.md").read_text(encoding="utf-8")
    assert "| `style_controlled` | % |" in suite
    assert "| `weight` | `3` | rows that an emphatic label (>>) counts as (`int ≥ 1`) |" in suite
    assert "## Departures from the reference code" in suite
    assert "[mt_bench](mt_bench.md)" in suite
    personality = (tmp_path / "suites/personality_essays.md").read_text(encoding="utf-8")
    assert "(../../personality.md)" in personality
    assert "(../methods/psycot.md)" in personality
    other = (tmp_path / "suites/arena_hard_v0.1.md").read_text(encoding="utf-8")
    assert "Described with [arena_hard](arena_hard.md)." in other


SUITES = [path for path in (ROOT / "harness/suites").iterdir() if (path / "suite.py").exists()]


@pytest.mark.parametrize("folder", SUITES, ids=lambda folder: folder.name)
def test_the_readme_of_a_suite_is_short_and_names_every_file(folder: Path) -> None:
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 50
    names = {path.name for path in folder.glob("*.py")} - {"__init__.py"}
    assert names <= set(re.findall(r"`(\w+\.py)`", text))


@pytest.mark.parametrize(
    ("line", "part"),
    [
        ("crucible reproduse wrpo", "command"),
        ("crucible reproduce wrpo --sedes 3", "--sedes"),
        ("crucible reproduce wrop", "wrop"),
        ("crucible eval MODEL --suite arena_hrd", "arena_hrd"),
        ("crucible nano severe", "command"),
        ("crucible launch slurm --sedes 3 -- reproduce wrpo", "--sedes"),
        ("crucible launch slurm -- reproduce wrpo --sedes 3", "--sedes"),
    ],
)
def test_a_wrong_command_is_found(line: str, part: str) -> None:
    assert part in problem_of(line)


def problem_of(line: str) -> str:
    """What is wrong with a command line, or ""; nothing runs."""
    words = shlex.split(line.split(" && ")[0].split(" | ")[0], comments=True)[1:]
    command = commands()
    while hasattr(command, "commands") and words and not words[0].startswith("-"):
        size = 2 if " ".join(words[:2]) in command.commands else 1  # "board make" is one name
        found = command.commands.get(" ".join(words[:size]))
        if found is None:
            return "" if STANDS_FOR_ANY.match(words[0]) else f'no command "{words[0]}"'
        command, words = found, words[size:]
    if "--" in words:  # a command within a command
        place = words.index("--")
        if problem := problem_of(shlex.join(["crucible", *words[place + 1 :]])):
            return problem
        words = words[:place]
    known = {name for option in command.params for name in (*option.opts, *option.secondary_opts)}
    options = [word.partition("=")[0] for word in words if word.startswith("--")]
    for option in options:
        if option not in known | {"--help"}:
            return f"no option {option}"
    if command.name in ("reproduce", "plan", "rehearse", "sweep", "train") and words:
        return "" if words[0].endswith(".toml") else absent("methods", words[0])
    if "--suite" in options:
        names = words[words.index("--suite") + 1].split(",")
        return next((problem for name in names if (problem := absent("suites", name))), "")
    return ""


@cache
def commands() -> Any:
    return typer.main.get_command(app)


def absent(group: str, name: str) -> str:
    known = name in registry.entries(group) or STANDS_FOR_ANY.match(name)
    return "" if known else f'no "{name}" in {group}'


@cache
def anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub and MyST make them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text(encoding="utf-8")), re.M)
    return {re.sub(r"[^\w\- ]", "", text.lower()).strip().replace(" ", "-") for text in headings}


@cache
def catalogue() -> ModuleType:
    return extension("catalogue_pages")


def extension(name: str) -> ModuleType:
    """A module of docs/_ext."""
    spec = importlib.util.spec_from_file_location(name, ROOT / f"docs/_ext/{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
