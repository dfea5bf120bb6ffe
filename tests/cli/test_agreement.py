"""`crucible judge-agreement`: sides of every kind, what is printed and written, mistakes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from harness.cli.main import app
from harness.core.errors import CrucibleError
from tests.hand_made import HandMade, arena_row

LABELS = (("B>A", "A>B"), ("A>B", "B>A"), ("A=B", "A=B"), ("B>>A", "A>>B"), ("A>B", "A>B"))
LEANING = (("A>B", "A>B"), ("A>B", "B>A"), ("A>B", "A>B"), ("B>A", "A>>B"), ("A>B", None))


@pytest.fixture
def judge_agreement(hand_made: HandMade, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """`judge_agreement("a", "b")`: what it prints; errors are raised."""
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> str:
        command = ["judge-agreement", *arguments, "--rounds", "50"]
        done = CliRunner().invoke(app, [*command, "--store", str(hand_made.store.root)])
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done.output

    return run


@pytest.fixture
def sides(hand_made: HandMade) -> tuple[str, str]:
    """Addresses of two judges' cells on the same answers."""
    places = []
    for name, labels in (("leaning", LEANING), ("gold", LABELS)):
        rows = [arena_row(f"p{number}", said) for number, said in enumerate(labels)]
        cell = hand_made.judged("judge_arena", "arena", rows, judge=name, metric=name)
        places.append(f"{cell.system}/{cell.suite}/{cell.metric}")
    return places[0], places[1]


def test_cells_of_the_store(judge_agreement, sides: tuple[str, str], tmp_path: Path) -> None:
    said = judge_agreement(*sides, "--json", "found.json", "--out", "judges")
    assert "5 verdicts joined: 4 compared, 1 without a verdict of the judge" in said
    assert "equal verdicts" in said
    assert "kappa of labels, quadratic weights" in said
    assert "both orders name different winners" in said
    assert "board of 1 judges" in said
    data = json.loads((tmp_path / "found.json").read_text())
    found = {(figure["name"], figure["of"]): figure["value"] for figure in data["figures"]}
    assert found["agreement", "both"] == 75.0  # torn games are a tie, which p2 is anyway
    assert found["contradictions", "judge"] == 50.0
    assert found["contradictions_to_first", "judge"] == 100.0
    assert data["n_failed"] == 1
    assert {cell["metric"] for cell in data["cells"]} >= {"judge_agreement", "judge_kappa"}
    assert (tmp_path / "judges" / "board.html").is_file()


def test_ids_files_and_several_systems(
    judge_agreement, sides: tuple[str, str], hand_made: HandMade, tmp_path: Path
) -> None:
    ids = [
        id
        for id in hand_made.store.ids()
        if hand_made.store.manifest(id)["operation"] == "judge_arena"
    ]
    same = judge_agreement(ids[0][:12], ids[0][:12])
    assert "equal verdicts                      100.0 %  [54.9, 100.0]" in same  # 5 of 5
    # A published file of the same games joins by its ids.
    published = tmp_path / "target.jsonl"
    rows = [
        {
            "uid": f"p{number}",
            "model": "target",
            "judge": "gpt-4",
            "games": [{"score": score} for score in said],
        }
        for number, said in enumerate(LABELS)
    ]
    published.write_text("".join(json.dumps(row) + "\n" for row in rows))
    said = judge_agreement(sides[1], "target.jsonl")
    assert "nano:oracle against gpt-4 on arena_hard" in said
    assert "equal labels, by game               100.0 %" in said
    for name in ("b", "c"):
        twin = [{**row, "model": name} for row in rows]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in twin))
    said = judge_agreement("target.jsonl, b.jsonl,c.jsonl", ".", "--reference-judge", "gpt-4")
    assert "15 verdicts joined, 3 systems" in said
    assert "Kendall" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing.jsonl", "x"], '"nothing.jsonl": no such file; expected AlpacaEval'),
        (["target/arena_hard/god", "x"], 'did you mean "target/arena_hard/gold"'),
        (["deadbeef", "deadbeef"], "no artifact"),
    ],
)
def test_mistakes_say_what_to_type(
    judge_agreement, sides: tuple[str, str], arguments: list[str], message: str
) -> None:
    with pytest.raises(CrucibleError, match=message) as error:
        judge_agreement(*arguments)
    assert "\n" not in str(error.value)
    assert error.value.exit_code == 2


def test_an_artifact_without_judgments_points_to_its_cells(
    judge_agreement, sides: tuple[str, str], hand_made: HandMade
) -> None:
    ids = {hand_made.store.manifest(id)["operation"]: id for id in hand_made.store.ids()}
    with pytest.raises(CrucibleError, match=r"contains no judgments.*one of its cells: "):
        judge_agreement(ids["score_arena"][:10], sides[0])
