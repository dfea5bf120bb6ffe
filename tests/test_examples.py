"""Every command in help, README and docs is run: planned where it would train, ask or download.

Commands of runs (`reproduce`, `rehearse`, `train`, `eval`) are run with `--dry-run`: options,
names, recipes, overrides, suites and judges are read as in a run, and all stages are planned. All
other commands are run as they stand, on a store and on files made here. Words that stand for
something of the reader's are replaced, see WORDS and `files`.
"""

from __future__ import annotations

import ast
import configparser
import gzip
import json
import re
import shlex
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
from harness.nano import world, zoo
from harness.nano.server import NanoServer
from tests.hand_made import HandMade, arena_row
from tests.test_docs import PAGES, ROOT

FENCED = re.compile(r"^```sh\n(.*?)^```", re.M | re.S)
INDENTED = re.compile(r"^(?: {4}\S.*\n?)+", re.M)
SPAN = re.compile(r"`(crucible [^`]+)`")
RUNS = ("reproduce", "rehearse", "train", "eval")
ABSENT = ("CRUCIBLE_DATA", "not installed", "needs ", "hub")  # what stops a plan elsewhere
# Words that stand for something of the reader's -> what is there in the test.
WORDS = {
    "MODEL": "nano:target",
    "SUITES": "arena_hard,mt_bench",
    "SUITE": "arena_hard",
    "JUDGE": "nano:oracle",
    "METHOD": "dpo",
    "NAME": "wrpo-nano",
    "BOARD": "wrpo-nano",
    "CELL": "target/arena_hard/first",
    "nano:target/my_suite/complete": "target/arena_hard/first",
    "nano:target/arena_hard/score": "target/arena_hard/first",
    "MODEL/arena_hard_v0.1": "target/arena_hard/first",
    "JUDGED": "target/arena_hard/first",
    "REFERENCE": "target/arena_hard/second",
    "PATH": "annotations.json",
    "my_method-nano": "wrpo-nano",
    "leaderboards/results/wrpo-nano": str(ROOT / "leaderboards/results/wrpo-nano"),
}


def commands_of(text: str) -> Iterator[str]:
    """Command lines of a page: in blocks, and between backticks."""
    text = re.sub(r"\\\n\s*", "", text)
    blocks = [
        *FENCED.findall(text),
        *INDENTED.findall(re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)),
    ]
    for line in "\n".join(blocks).splitlines():
        line = re.sub(r"^(?:\$ )?(?:[A-Z_]+=\S+ )*", "", line.strip())
        for part in line.split(" && "):
            if re.match(r"crucible [a-z-]+", part):
                yield part
    yield from SPAN.findall(re.sub(FENCED, "", text).replace("\n", " "))


@cache
def examples() -> dict[tuple[str, ...], str]:
    """Words of every command of the pages and of the help -> where it was first found."""
    found: dict[tuple[str, ...], str] = {}
    for page in PAGES:
        for line in commands_of(page.read_text(encoding="utf-8")):
            found.setdefault(words_of(line), str(page.relative_to(ROOT)))
    for name, text in helps():
        for line in re.findall(r"^ *(?:[A-Z][^:\n]*:  )?(crucible .*)$", joined(text), re.M):
            found.setdefault(words_of(line), f"help of {name}")
    found.pop((), None)
    return found


def joined(text: str) -> str:
    """Help with paragraphs on one line, as it is shown."""
    return "\n\n".join(
        " ".join(p.split("\n")) for p in re.sub(r"^ +", "", text, flags=re.M).split("\n\n")
    )


def helps() -> Iterator[tuple[str, str]]:
    """Path and help of every command."""
    waiting: list[tuple[str, Any]] = [("crucible", typer.main.get_command(app))]
    while waiting:
        name, command = waiting.pop()
        yield name, command.help or ""
        waiting += [
            (f"{name} {key}", value) for key, value in getattr(command, "commands", {}).items()
        ]


def words_of(line: str) -> tuple[str, ...]:
    """Arguments of an example: without remarks, options in brackets and what only trails off."""
    line = re.split(r"  +(?=[^-\s'\"])| \| ", line)[0].replace("[", "").replace("]", "")
    words = shlex.split(line, comments=True)[1:]
    return tuple(word for word in words if word != "...")


def test_there_are_examples() -> None:
    assert len(examples()) > 150
    assert ("reproduce", "wrpo", "--scale", "small", "--max-cost", "600") in examples()
    assert any(place.startswith("help of ") for place in examples().values())


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that examples name, a store with judged cells, and no public data."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("CRUCIBLE_DATA", str(tmp_path / "no-data"))
    monkeypatch.setenv("OPENAI_API_KEY", "never-sent")
    monkeypatch.setenv("CRUCIBLE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(NanoServer, "wait", _interrupted)
    made = HandMade(tmp_path / "home")
    for name in ("first", "second"):
        rows = [arena_row(f"p{n}", ("A>B", "B>A" if name == "first" else "A>B")) for n in range(4)]
        made.judged("judge_arena", "arena", rows, judge=name, metric=name)
    files(tmp_path)
    return tmp_path


def _interrupted(server: NanoServer) -> None:
    raise KeyboardInterrupt


def files(folder: Path) -> None:
    """What the examples call their own files."""
    texts = [
        {"instruction": item.turns[0], "output": "No."} for item in world.items("alpaca_eval2", 4)
    ]
    for name in ("mine.jsonl", "chats.jsonl", "outputs.jsonl", "chatgpt.jsonl"):
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in texts))
    (folder / "outputs.json").write_text(json.dumps(texts))
    for name in ("theirs.json.gz", "alpaca.json.gz"):
        (folder / name).write_bytes(gzip.compress(json.dumps(texts).encode()))


def ready(words: tuple[str, ...], folder: Path) -> list[str]:
    """The arguments as they are run here."""
    done = [WORDS.get(word, word) for word in words]
    done = [
        re.sub(r"\b(?:my-)?org/(?:my-)?(?:model|name|judge)\b", str(zoo.path("target")), w)
        for w in done
    ]
    done = [str(folder / "board") if word == "FOLDER" else word for word in done]
    if done[:1] and done[0] in RUNS and "--dry-run" not in done and "--plan" not in done:
        done.append("--dry-run")
    if done[:1] == ["train"] and "--out" not in done:
        done += ["--out", "checkpoint"]
    return done


@pytest.mark.parametrize("words", examples(), ids=" ".join)
def test_an_example_runs(words: tuple[str, ...], place: Path) -> None:
    arguments = ready(words, place)
    done = CliRunner().invoke(app, arguments)
    if isinstance(done.exception, CrucibleError) and arguments[0] in RUNS:
        said = str(done.exception)
        assert any(word in said for word in ABSENT), said
        return
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
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
    tree = ast.parse(script)
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    kept = [node for node in imports if "my_" not in ast.unparse(node)]
    exec(compile(ast.Module(kept, []), "page", "exec"), {})
