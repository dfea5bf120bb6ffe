"""What people mistype about evaluations, boards and recipes: one sentence that names the remedy."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.cli.main import main
from tests.answer_files import write_answers

Typed = Callable[..., tuple[int, str]]

COMMON = ("--suite", "alpaca_eval2", "--data", "nano")
DEAD = "openai:mine@http://127.0.0.1:9/v1"
MANY = 'suites = ["alpaca_eval2"]\n[[models]]\n'
FILES = {
    "empty": "",
    "typo": 'suites = ["mt_bench"]\n[[modles]]\nref = "a"\n',
    "nofile": 'suites = ["mt_bench"]\n[[models]]\nname = "a"\n',
    "other": 'suites = ["alpaca_eval2"]\n[[models]]\nfiles = { mt_bench = "a.json" }\n',
    "absent": f'{MANY}ref = "absent.json"\n',
    "unknown": f'{MANY}ref = "nano:target"\n[[models]]\nref = "nano:tarjet"\n',
    "suite": 'suites = ["alpaca_evall2"]\n[[models]]\nref = "nano:target"\n',
    "judge": f'judges = ["gpt"]\n{MANY}ref = "nano:target"\n',
    "text": 'suites = "mt_bench"\n[[models]]\nref = "nano:target"\n',
    "name": f'name = "my board"\n{MANY}ref = "nano:target"\n',
    "twice": f'{MANY}ref = "out0.json"\n[[models]]\nref = "out0.json"\n',
    "list": 'models = ["nano:target"]\nsuites = ["mt_bench"]\n',
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with stored outputs and wrong board files."""
    folder = write_answers(tmp_path_factory.mktemp("mistakes"))
    for name, text in FILES.items():
        (folder / f"{name}.toml").write_text(text)
    (folder / "copy.json").write_bytes((folder / "out0.json").read_bytes())
    return folder


@pytest.fixture
def typed(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Typed]:
    """Type a command in the folder; gives its exit code and what it says after "crucible: "."""
    monkeypatch.chdir(place)
    for name, value in (("CRUCIBLE_HOME", str(place / "home")), ("OPENAI_API_KEY", "never-sent")):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys.modules[main.__module__], "hush", lambda: None)
    handler = signal.getsignal(signal.SIGTERM)

    def run(*words: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["crucible", *words])
        with pytest.raises(SystemExit) as stopped:
            main()
        return int(stopped.value.code or 0), capsys.readouterr().err.partition("crucible: ")[2]

    yield run
    signal.signal(signal.SIGTERM, handler)


EVALUATIONS = [
    (("eval",), "crucible eval -f board.toml"),
    (("eval", "-f", "none.toml"), "none.toml: cannot be read"),
    (("eval", "-f", "emtpy.toml"), "did you mean empty.toml?"),
    (("eval", "-f", "out0.json"), "type crucible eval out0.json"),
    (("eval", "nano:target", "-f", "empty.toml"), "expected one of the two"),
    (("eval", "-f", "empty.toml"), 'suites = ["mt_bench"] and [[models]]'),
    (("eval", "-f", "typo.toml"), 'unknown key "modles"; did you mean "models"?'),
    (("eval", "-f", "nofile.toml"), 'model 1 (a) has no answers; expected ref = "org/model"'),
    (("eval", "-f", "other.toml"), "none of the suites of the board (alpaca_eval2)"),
    (("eval", "-f", "absent.toml"), "did you mean"),
    (("eval", "-f", "unknown.toml"), 'did you mean "target"?'),
    (("eval", "-f", "suite.toml"), 'did you mean "alpaca_eval2"?'),
    (("eval", "-f", "judge.toml"), "openai:gpt@<url>"),
    (("eval", "-f", "text.toml"), 'a board file has suites = ["mt_bench"]'),
    (("eval", "-f", "name.toml"), 'as in "my-board"'),
    (("eval", "-f", "twice.toml"), "name = in its [[models]]"),
    (("eval", "-f", "list.toml"), '[[models]] with ref = "org/model"'),
    (("eval", "-f", "twice.toml", "--name", "x"), "[[models]] name ="),
    (("eval", "missing.json", *COMMON), "copy.json, out0.json, out1.json"),
    (("eval", "folder/out0.json", *COMMON), "there is no folder folder"),
    (("eval", "out0.json", "copy.json", *COMMON), 'are all named "alpha"; give each a name'),
    (("eval", "out0.json", "out1.json", "--name", "x"), "name several in a board file"),
    (("eval", "out1.json", "arena.jsonl", *COMMON), "say which (--suite"),
    (("eval", "out0.json", *COMMON, "--out", "out1.json"), "for example --out week48"),
    (("eval", "out0.json", *COMMON, "--limit", "0"), "crucible eval --help"),
    (("eval", "out0.json", *COMMON, "--seed", "x"), "crucible eval --help"),
    (("eval", "out0.json", *COMMON, "--jugde", "x"), "--judge"),
    (("eval", "out0.json", "--suite", "alpaca_eval2", "--data", "nanno"), 'did you mean "nano"?'),
    (("eval", "out0.json", *COMMON, "--set", "alpaca_eval2.limt=3"), 'did you mean "limit"?'),
    (("eval", "out0.json", *COMMON, "--set", "limit=3"), "SUITE.KEY"),
    (("eval", "out0.json", *COMMON, "--set", "mt_bench.limit=3"), "alpaca_eval2"),
    (("eval", "nano:target", *COMMON, "--judge", DEAD), "start its server or correct the address"),
    (("eval", "target"), 'did you mean "nano:target"?'),
    (("eval", "gpt-4o"), 'did you mean "openai:gpt-4o"?'),
    (("eval", "NANO:TARGET"), 'did you mean "nano:target"?'),
    (("eval", "nano:target", "--judge", "oracle"), 'did you mean "nano:oracle"?'),
    (("eval", "nano:target", "--judge", "nano:oracle,orakle"), 'no judge named "orakle"; '),
    (("eval", "nano:target", "--judge", "my-judge"), "openai:my-judge@<url>"),
    (("eval", "nano:target", "--suite", "MT-Bench"), 'did you mean "mt_bench"?'),
    (("eval", "nano:target", "--suite", "AlpacaEval2"), 'did you mean "alpaca_eval2"?'),
]
BOARDS = [
    (("board", "add", "nowhere", "out0.json"), "give the suites of a new one with --suite"),
    (("board", "add", "wrpo-nano", "out0.json"), "crucible board make NAME --from wrpo-nano"),
    (("board", "add", "bad name", "out0.json", *COMMON), 'as in "bad-name"'),
    (("board", "add", "x"), "crucible board add --help"),
    (("board", "add", "x", "out0.json", "out1.json", "--name", "y"), "add several one by one"),
    (("board", "ad", "x", "out0.json"), "Did you mean 'board add'?"),
    (("board", "make"), "crucible board make --help"),
    (("board", "make", "x"), "crucible board make --help"),
    (("board", "make", "x", "--from", "nothing-*"), "(crucible board lists them)"),
    (("board", "make", "x", "--from", "wrpo-nanno"), 'did you mean "wrpo-nano"?'),
    (("board", "make", "x", "--from", ","), "expected boards, or store"),
    (("board", "make", "x", "--from", "wrpo-nano", "--systems", "team-*"), "systems there: "),
    (("board", "make", "wrpo-nano", "--from", "dpo"), "make a board of your own"),
    (("board", "make", "x", "--from", "wrpo-nano,wrpo-nano-control"), "choose with --judge"),
]
RECIPES = [
    (("recipe", "wrpp"), 'did you mean "wrpo"?'),
    (("recipe", "WRPO"), 'did you mean "wrpo"?'),
    (("recipe", "wrpo", "--scale", "nanno"), 'did you mean "nano"?'),
    (("plan", "none.toml"), "none.toml: cannot be read"),
    (("reproduce", "list.toml"), "expected the name of a method"),
    (("plan", "wrpo", "--set", "train.beta=0.3"), 'did you mean "train.settings.beta"?'),
    (("plan", "wrpo", "--set", "train.betta=0.3"), 'did you mean "train.settings.beta"?'),
    (("plan", "wrpo", "--set", "beta=0.3"), 'did you mean "train.settings.beta"?'),
    (("plan", "wrpo", "--set", "train.settings.betta=0.3"), 'did you mean "beta"?'),
    (("plan", "wrpo", "--set", "alpha_end=0.3"), 'did you mean "train.settings.alpha_end"?'),
    (("plan", "wrpo", "--set", "train.settings.beta"), "for example train.settings.beta=0.1"),
]
WORDS = [
    (("Reproduce", "wrpo"), "Did you mean 'reproduce'?"),
    (("wrpo",), "crucible reproduce wrpo"),
    (("run",), "crucible reproduce METHOD"),
    (("evaluate", "x"), "crucible eval"),
    (("list",), "crucible methods"),
    (("alpaca_eval2",), "crucible eval MODEL --suite alpaca_eval2"),
    (("nano:target",), "crucible eval nano:target"),
    (("out0.json",), "crucible eval out0.json"),
    (("my.toml",), "crucible reproduce my.toml"),
    (("frobnicate",), "crucible --help"),
]


@pytest.mark.parametrize(
    ("words", "remedy"),
    [*EVALUATIONS, *BOARDS, *RECIPES, *WORDS],
    ids=lambda value: " ".join(value)[:60] if isinstance(value, tuple) else "",
)
def test_a_mistake_gets_one_sentence_with_the_remedy(
    words: tuple[str, ...], remedy: str, typed: Typed, place: Path
) -> None:
    before = sorted(os.listdir(place))
    code, said = typed(*words)
    assert code in (2, 3), said
    assert remedy in said
    assert said.count("\n") == 1  # one line
    assert sorted({*os.listdir(place)} - {"home"}) == [name for name in before if name != "home"]
