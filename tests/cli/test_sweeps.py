"""`crucible sweep`: costs first, then one board with curves; again without work."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from harness.cli.main import app
from harness.core.errors import CrucibleError
from leaderboards.files import read_board

COMMAND = (
    *("sweep", "sft", "sft.learning_rate=1e-4,1e-2", "--set", "sft.max_steps=1"),
    *("--limit", "6", "--suite", "alpaca_eval2"),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sweep")


def crucible(folder: Path, *arguments: str) -> tuple[str, str]:
    """What a command printed on stdout and stderr."""
    done = CliRunner().invoke(
        app, [*arguments, "--store", str(folder / "store")], env={"COLUMNS": "160"}
    )
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.stdout, done.stderr


@pytest.fixture(scope="module")
def printed(folder: Path) -> tuple[str, str]:
    return crucible(folder, *COMMAND)


def test_a_dry_run_prints_costs_and_runs_nothing(tmp_path: Path) -> None:
    said, _ = crucible(tmp_path, *COMMAND, "--dry-run")
    rows = {line.split()[0]: line.split() for line in said.splitlines() if line.strip()}
    assert rows["sft.learning_rate=0.0001"][1] == rows["sft.learning_rate=0.01"][1]
    assert "are shared; 2 separate runs would have" in said
    assert not (tmp_path / "store").exists()
    found = json.loads(crucible(tmp_path, *COMMAND, "--dry-run", "--json")[0])
    about = found["sweep"]
    assert about["settings"] == [{"sft.learning_rate": 1e-4}, {"sft.learning_rate": 1e-2}]
    assert about["stages"] == found["to_do"] == len(found["stages"])
    own = int(rows["sft.learning_rate=0.01"][1])
    assert about["stages"] == about["shared"] + 2 * own
    assert about["separate"] == 2 * about["shared"] + 2 * own


def test_costs_come_first_and_a_board_with_curves_last(
    printed: tuple[str, str], folder: Path
) -> None:
    said, status = printed
    assert status.index("are shared") < status.index("  1/")
    (board,) = (folder / "store" / "boards").iterdir()
    pytest.importorskip("matplotlib", reason="the extra plots is not installed")
    kinds = {path.suffix for path in board.glob("curves-learning_rate.*")}
    assert kinds == {".svg", ".pdf", ".csv", ".tex"}
    assert all(f"curves-learning_rate{kind}" in said for kind in kinds)
    spec, cells = read_board(board)
    assert spec.provenance.command.startswith("crucible")
    with (board / "curves-learning_rate.csv").open() as lines:
        points = [row for row in csv.DictReader(lines) if row["label"].endswith("=0.01")]
    values = {c.value for c in cells if c.system == "sft+learning_rate=0.01" and c.primary}
    assert {float(point["value"]) for point in points} == {round(v, 9) for v in values if v}
    assert {float(point["x"]) for point in points} == {0.01}


def test_the_same_again_runs_nothing_and_gives_the_same_bytes(
    printed: tuple[str, str], folder: Path
) -> None:
    (board,) = (folder / "store" / "boards").iterdir()
    before = {path.name: path.read_bytes() for path in board.iterdir()}
    found = json.loads(crucible(folder, *COMMAND, "--json")[0])
    assert found["executed"] == 0
    assert found["settings"] == [{"sft.learning_rate": 1e-4}, {"sft.learning_rate": 1e-2}]
    assert {Path(path).name for path in found["curves"]} == {n for n in before if "curves" in n}
    assert {path.name: path.read_bytes() for path in board.iterdir()} == before
    assert "byte for byte" in crucible(folder, "board", board.name, "--check")[0]


def test_the_board_can_be_plotted_again(
    printed: tuple[str, str], folder: Path, tmp_path: Path
) -> None:
    (board,) = (folder / "store" / "boards").iterdir()
    again = tmp_path / "again.csv"
    crucible(folder, "plot", board.name, "--kind", "sweep", "--out", str(again))
    assert again.read_bytes() == (board / "curves-learning_rate.csv").read_bytes()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["sweep", "dpo", "train.settings.beta"], 'a sweep expects "KEY=VALUE,VALUE"'),
        (["sweep", "dpo", "train.epochs=1,x"], "sweep train.epochs=x: key"),
        (["sweep", "dpp", "train.epochs=1,2"], 'did you mean "dpo"'),
        (["sweep", "dpo", "train.epochs=1,2", "--systems", "x"], "no system of this recipe named"),
    ],
)
def test_a_mistake_is_one_sentence(words: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(CrucibleError) as raised:
        crucible(tmp_path, *words)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)
