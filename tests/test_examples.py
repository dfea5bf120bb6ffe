"""Every command in help, README and docs is run: planned where it would train, ask or download.

Commands of runs (`reproduce`, `rehearse`, `sweep`, `train`, `eval`) are run with `--dry-run`:
options, names, recipes, overrides, suites and judges are read as in a run, and all stages are
planned. All other commands are run as they stand, on a store and on files made here. Words that
stand for something of the reader's are replaced, see WORDS and `ready`. Where a plan needs
published data or a file of the reader's, it must get as far as to say so.
"""

from __future__ import annotations

import ast
import configparser
import doctest
import json
import re
import shlex
import shutil
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from harness.cli.main import app
from harness.core.errors import CrucibleError
from harness.nano import zoo
from harness.nano.server import NanoServer
from leaderboards.files import read_board, write_board
from leaderboards.spec import BoardSpec
from tests.few_boards import few_boards
from tests.hand_made import HandMade, arena_row
from tests.harness.api.test_cards import FakeHub
from tests.test_docs import PAGES, ROOT

FENCED = re.compile(r"^```(?:sh)?\n(.*?)^```", re.M | re.S)
ANY_FENCE = re.compile(r"^```.*?^```", re.M | re.S)
INDENTED = re.compile(r"^(?: {4}\S.*\n?)+", re.M)
SPAN = re.compile(r"`(crucible [^`]+)`")
RUNS = ("reproduce", "rehearse", "sweep", "train", "eval")
# Words that stand for something of the reader's -> what is there in the test.
WORDS = {
    "MODEL": "nano:target",
    "SUITES": "arena_hard,mt_bench",
    "JUDGE": "nano:oracle",
    "METHOD": "dpo",
    "CELL": "target/arena_hard/first",
    "nano:target/my_suite/complete": "target/arena_hard/first",
    "nano:target/arena_hard/score": "target/arena_hard/first",
    "MODEL/arena_hard_v0.1": "target/arena_hard/first",
    "JUDGED": "target/arena_hard/first",
    "REFERENCE": "target/arena_hard/second",
    "ID-OF-ITS-JUDGMENTS": "target/arena_hard/first",
    "ID-OF-THE-OTHERS": "target/arena_hard/second",
    "my_method": "wrpo",
    "my_suite": "arena_hard",
    "alpaca_eval2,my_suite": "alpaca_eval2,arena_hard",
    "my_method-nano+limit=16+suite=alpaca_eval2": "wrpo-nano",
    "my_method-nano+limit=16+suite=alpaca_eval2,my_suite": "wrpo-nano",
    "leaderboards/results/wrpo-nano": str(ROOT / "leaderboards/results/wrpo-nano"),
}
# What may stop an example here: data that are not in the repository, packages of an extra.
ABSENT = ("CRUCIBLE_DATA", "not installed", "needs ", "huggingface", "the hub")
FILE = re.compile(r"[\w./-]*\w\.(?:jsonl?|csv|toml)(?:\.gz)?$")
PLACEHOLDER = re.compile(r"[A-Z]+(?:-[A-Z]+)*$")  # of an id, a file or a folder of the reader's
# Words of an example -> what stops it, because what it needs is no file that a test could write.
STOPS = {
    "--export": "contains no candidates",
    "hallucination=1": "hallucination",
    "ID": "curves",
    "--submit": "sbatch",
    "results/": "results",
    "public": 'no board named "public"',
    "model_judgment/gpt-4.1": "model_judgment",
}
# Options that change the files of the reader's shell, or print them: not run.
OF_SHELL = ("--install-completion", "--show-completion")


def commands_of(text: str) -> Iterator[tuple[str, bool]]:
    """Command lines of a page, and whether they are within a sentence."""
    text = re.sub(r"\\\n\s*", "", text)
    blocks = [*FENCED.findall(text), *INDENTED.findall(ANY_FENCE.sub("", text))]
    for line in "\n".join(blocks).splitlines():
        line = re.sub(r"^(?:\$ )?(?:[A-Z_]+=\S+ )*", "", line.strip())
        for part in line.split(" && "):
            if re.match(r"crucible [a-z-]+", part):
                yield part, False
    for span in SPAN.findall(ANY_FENCE.sub("", text).replace("\n", " ")):
        yield span, True


@cache
def examples() -> dict[tuple[str, ...], tuple[str, bool]]:
    """Words of every command of the pages and of the help -> where it is, and if in a sentence."""
    found: dict[tuple[str, ...], tuple[str, bool]] = {}
    for page in PAGES:
        for line, inline in commands_of(page.read_text(encoding="utf-8")):
            found.setdefault(words_of(line), (str(page.relative_to(ROOT)), inline))
    for name, text in helps():
        paragraphs = (" ".join(part.split("\n")) for part in text.split("\n\n"))
        for paragraph in paragraphs:
            if shell := re.match(r" *(?:[A-Z][^:]*:  +)?(crucible [a-z].*)$", paragraph):
                found.setdefault(words_of(shell[1]), (f"help of {name}", False))
    found.pop((), None)
    return found


def helps() -> Iterator[tuple[str, str]]:
    """Path and help of every command."""
    waiting: list[tuple[str, Any]] = [("crucible", typer.main.get_command(app))]
    while waiting:
        name, command = waiting.pop()
        yield name, command.help or ""
        inner = getattr(command, "commands", {})
        waiting += [(f"{name} {key}", value) for key, value in inner.items()]


def words_of(line: str) -> tuple[str, ...]:
    """Arguments of an example: without remarks, options in brackets and what only trails off.

    >>> words_of("crucible store verify [--repair]   # remark")
    ('store', 'verify', '--repair')
    """
    line = re.split(r"  +(?=[^-\s'\"])| \| | > ", line)[0]
    line = re.sub(r"\[(--\w+)\]", r"\1", line)
    words = shlex.split(line, comments=True)[1:]
    return tuple(word for word in words if word != "...")


def test_there_are_examples() -> None:
    assert len(examples()) > 140
    assert ("plan", "wrpo", "--scale", "paper") in examples()
    places = [place for place, _ in examples().values()]
    assert any(place.startswith("help of ") for place in places)
    assert words_of("crucible store verify [--repair]   # remark") == (
        "store",
        "verify",
        "--repair",
    )


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a store that has judged cells and a board, and no public data."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("CRUCIBLE_DATA", str(tmp_path / "no-data"))
    monkeypatch.setenv("OPENAI_API_KEY", "never-sent")
    monkeypatch.setenv("HF_TOKEN", "never-sent")
    monkeypatch.setenv("CRUCIBLE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(NanoServer, "wait", _interrupted)
    few_boards(monkeypatch, tmp_path)
    made = HandMade(tmp_path / "home")
    rows = [arena_row(f"p{n}", ("A>B", "B>A")) for n in range(4)]
    cells = [
        made.judged("judge_arena", "arena", rows, judge=name, metric=name)
        for name in ("first", "second")
    ]
    write_board(tmp_path / "home/boards/own", BoardSpec(name="own", title="Own"), cells[:1])
    for name, system in (("week47", "team-a"), ("week48", "team-b")):
        cell = cells[0].model_copy(update={"system": system})
        write_board(tmp_path / "home/boards" / name, BoardSpec(name=name, title=name), [cell])
    return tmp_path


def _interrupted(server: NanoServer) -> None:
    raise KeyboardInterrupt


def ready(words: tuple[str, ...], folder: Path) -> list[str]:
    """The arguments as they are run here; makes the files and boards that they name."""
    done = [
        words[0],
        *(word if words[0].startswith("new-") else WORDS.get(word, word) for word in words[1:]),
    ]
    model = str(zoo.path("target"))
    done = [re.sub(r"\b(?:my-)?org/(?:my-)?(?:model|name|judge)\b", model, word) for word in done]
    done = [re.sub(r"=FOLDER$", f"={model}", word) for word in done]
    if words[0] in RUNS and not {"--dry-run", "--plan"} & set(done):
        done.append("--dry-run")
    if words[:2] == ("board", "add"):
        done.append("--dry-run")
    if words[0] == "train" and "--out" not in done:
        done += ["--out", "checkpoint"]
    if words[0] == "train" and "--push" in done:
        done[done.index("--push") + 1] = "my-org/my-model"
    if words[:2] == ("nano", "serve"):
        done += ["--port", "0"]
    if words[0] in ("show", "compare") and "--row" in done:
        done[done.index("--row") + 1] = "p0"
    elif words[:2] == ("show", "ID"):
        done[1] = next((folder / "home/artifacts").glob("*/*")).name
    if words[0] == "analyse":
        done += ["--parser", "tests.hand_parser:open_hand_parser", "--rounds", "20"]
        for word in words:
            if FILE.match(word):
                _instructions(folder / word)
    if words[0] == "board" and "FOLDER" in done:
        shutil.copytree(ROOT / "leaderboards/results/wrpo-nano", folder / "FOLDER")
    if words[:2] == ("board", "week48"):
        shutil.copytree(ROOT / "leaderboards/results/wrpo-nano", folder / "week48")
    if words[0] == "compare" and "--samples" in done:
        _judged_pair(folder)
    if words[0] == "plot":
        _boards(folder, done)
    return done


def _judged_pair(folder: Path) -> None:
    """A board of this name whose samples are in the store."""
    made = HandMade(folder / "home")
    labels = {"wrpo": ("B>A", "A>B"), "dpo": ("A>B", "B>A")}
    cells = [
        made.judged("judge_arena", "arena", [arena_row("p0", labels[name])], system=name)
        for name in labels
    ]
    write_board(folder / "home/boards/wrpo-nano", BoardSpec(name="wrpo-nano", title="B"), cells)


def _instructions(path: Path) -> None:
    import gzip

    rows = [{"instruction": f"Write a poem about {word}."} for word in ("rain", "snow", "rain")]
    data = (
        json.dumps(rows).encode()
        if ".json." in path.name
        else b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    )
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


def _boards(folder: Path, words: list[str]) -> None:
    """The boards that examples of figures name: of judges, and of two runs."""
    if "judges" in words[1:2]:
        cells = ["target/arena_hard/first", "target/arena_hard/second"]
        made = ["judge-agreement", *cells, "--rounds", "10", "--out", "judges"]
        assert CliRunner().invoke(app, made).exit_code == 0
    for name, beta in (("low", "0.1"), ("high", "0.5")):
        if name in words:
            spec, cells_ = read_board(ROOT / "leaderboards/results/wrpo-nano")
            command = f"crucible reproduce dpo --set train.settings.beta={beta}"
            about = spec.provenance.model_copy(update={"command": command, "recipe": ""})
            kept = [cell for cell in cells_ if cell.suite == "alpaca_eval2"]
            columns = tuple(c for c in spec.columns if c.suite == "alpaca_eval2")
            update = {"provenance": about, "columns": columns, "claims": ()}
            write_board(folder / name, spec.model_copy(update=update), kept)


def causes_of(words: tuple[str, ...]) -> list[str]:
    """What an error may name as its cause: something that the reader has and this test has not."""
    values = [word.rpartition("=")[2] for word in words]
    theirs = [value for value in values if FILE.match(value) or PLACEHOLDER.match(value)]
    known = [said for word, said in STOPS.items() if word in words]
    if examples()[words][1]:  # a sentence names the command alone
        known.append("nothing to evaluate")
    return [*theirs, *known, *(ABSENT if words[0] in (*RUNS, "plan", "launch") else ())]


@pytest.mark.parametrize("words", examples(), ids=" ".join)
def test_an_example_runs(
    words: tuple[str, ...], place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if words[0] in OF_SHELL:
        assert words[0] in CliRunner().invoke(app, ["--help"]).output
        return
    if words[0] == "plot":
        pytest.importorskip("matplotlib", reason="the extra plots is not installed")
    if words[0] == "board" and "--push" in words:
        real = pytest.importorskip("huggingface_hub", reason="the extra train is not installed")
        monkeypatch.setitem(sys.modules, "huggingface_hub", FakeHub(real.HfApi).module)
    arguments = ready(words, place)
    done = CliRunner().invoke(app, arguments)
    problem = done.exception
    if isinstance(problem, CrucibleError):
        assert any(cause in str(problem) for cause in causes_of(words)), problem
        return
    if problem is not None and not isinstance(problem, SystemExit):
        raise problem
    if done.exit_code == 2 and examples()[words][1]:  # a sentence names the command alone
        assert CliRunner().invoke(app, [*words[:1], "-h"]).exit_code == 0
        assert "Missing" in done.output or "requires" in done.output, done.output
        return
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_installations_name_extras_and_environments_that_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    for extras in re.findall(r"(?:\.|crucible-bench)\[([\w,-]+)\]", text):
        assert set(extras.split(",")) <= {*project["optional-dependencies"], "NAME"}, extras
    tox = configparser.ConfigParser()
    tox.read(ROOT / "tox.ini")
    for names in re.findall(r"tox run -e ([\w,]+)", text):
        for name in names.split(","):
            assert f"testenv:{name}" in tox, name
    for module in re.findall(r"python -m ((?:tests|methods|benchmarks)[\w.]*)", text):
        assert find_spec(module) is not None, module


SCRIPTS = [
    pytest.param(script, id=f"{page.name}-{number}")
    for page in PAGES
    for number, script in enumerate(
        re.findall(r"^```python\n(.*?)^```", page.read_text("utf-8"), re.M | re.S)
    )
]


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_names_that_a_script_imports_exist(script: str) -> None:
    """Scripts of docs/python.md are run by another test; the others go on with a reader's work."""
    if script.startswith(">>> "):
        script = "".join(one.source for one in doctest.DocTestParser().get_examples(script))
    tree = ast.parse(script)
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    kept = [node for node in imports if "my_" not in ast.unparse(node)]
    exec(compile(ast.Module(kept, []), "page", "exec"), {})
