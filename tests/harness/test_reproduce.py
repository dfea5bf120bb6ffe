"""Reproductions as Python calls: planned, run, read, written; what is refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness.api.recipes import recipe_of
from harness.core.errors import BadRecord, UnknownName, UserError
from harness.engine.plan import Stage
from harness.engine.store import Store
from harness.reproduce import Reproduction, reproduce
from leaderboards.files import check_board
from methods.wrpo.method import RECIPE

SMALL = {"limit": 6, "suites": ["alpaca_eval2"]}


def small(name: str = "target", **more: object) -> Reproduction:
    return reproduce(name, **{**SMALL, **more})  # type: ignore[arg-type]


class Recorded:
    """Labels of the stages begun, and progress reports."""

    def __init__(self) -> None:
        self.begun: list[str] = []

    def begin(self, stage: Stage, number: int, total: int) -> None:
        self.begun.append(stage.label)

    def progress(self, stage: Stage, done: int, total: int, unit: str) -> None: ...
    def note(self, stage: Stage, text: str) -> None: ...
    def end(self, stage: Stage, seconds: float) -> None: ...


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Reproduction:
    made = small()
    made.run(tmp_path_factory.mktemp("reproduction") / "store")
    return made


def test_cells_and_board_follow_a_run(finished: Reproduction) -> None:
    cells = finished.cells
    assert {(cell.system, cell.suite, cell.n_expected) for cell in cells} == {
        ("target", "alpaca_eval2", 6)
    }
    (model,) = finished.models.values()
    assert model is not None
    assert all(cell.artifacts["checkpoint"] == model.id for cell in cells)
    assert [row.system.name for row in finished.board.rows] == ["target"]
    shown = finished.render()
    assert "AlpacaEval 2" in shown
    assert "\x1b" not in shown
    assert finished.render("md").startswith("# ")
    with pytest.raises(UnknownName, match='did you mean "md"'):
        finished.render("mdd")


def test_a_second_run_executes_nothing_and_progress_is_reported(finished: Reproduction) -> None:
    store, heard = finished.store, Recorded()
    assert store is not None
    again = small()
    assert again.todo(None)
    assert not again.todo(store)
    summary = again.run(store, heard)
    assert (summary.executed, heard.begun) == ((), [])
    assert again.cells == finished.cells
    more = small(limit=4)
    more.run(store, heard)
    assert any(label.startswith("target on alpaca_eval2: ") for label in heard.begun)


def test_a_board_folder_is_written_and_can_be_checked(
    finished: Reproduction, tmp_path: Path
) -> None:
    folder = finished.write_board(tmp_path / "board", "crucible reproduce target")
    assert check_board(folder) == ""
    assert "crucible reproduce target" in (folder / "board.md").read_text()
    assert finished.store is not None
    assert (
        finished.write_board()
        == finished.store.root / "boards" / "target-nano+limit=6+suite=alpaca_eval2"
    )


def test_what_stages_noted_stands_on_the_board(finished: Reproduction, tmp_path: Path) -> None:
    assert finished.stage_notes == ()
    made = small(overrides=["suites.0.settings.decode.max_tokens=2"])
    made.run(finished.store)
    (note,) = made.stage_notes
    assert note.endswith(
        "6 of 6 answers (100%) were cut at the limit of 2 tokens: a higher max_tokens lets them end"
    )
    folder = made.write_board(tmp_path / "board")
    assert check_board(folder) == ""
    for name in ("board.md", "board.html"):
        assert "were cut at the limit of 2 tokens" in (folder / name).read_text()


def test_results_need_a_run() -> None:
    made = small()
    for read in (lambda: made.cells, lambda: made.board, lambda: made.write_board()):
        with pytest.raises(UserError, match=r"expected a call of run\(\) first"):
            read()


def test_overrides_are_a_mapping_or_texts() -> None:
    by_name = reproduce("dpo", overrides={"train.settings.beta": 0.3}).recipe
    by_text = reproduce("dpo", overrides=["train.settings.beta=0.3"]).recipe
    assert by_name == by_text
    assert by_name.id() != reproduce("dpo").recipe.id()
    with pytest.raises(BadRecord, match=r"--set train\.betta=1: unknown key"):
        reproduce("dpo", overrides={"train.betta": 1})


def test_a_recipe_file_runs_like_its_method(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(RECIPE.read_text(encoding="utf-8").replace("beta = 0.1", "beta = 0.2"))
    made = reproduce(path)
    assert (made.method, made.recipe.method) == ("wrpo", "wrpo")
    assert made.recipe.systems == reproduce("wrpo").recipe.systems
    assert recipe_of(str(path))[1] == path
    path.write_text("title = 'no method'\n")
    with pytest.raises(BadRecord, match='key "method" is None; expected the name of a method'):
        reproduce(path)
    with pytest.raises(BadRecord, match="cannot be read"):
        reproduce(tmp_path / "absent.toml")


def test_a_rehearsal_of_the_papers_scale_runs_offline(tmp_path: Path) -> None:
    made = small(scale="paper", rehearse=True, limit=None)
    assert made.scale == "rehearsal"
    made.run(tmp_path / "store")
    assert {(cell.scale, cell.n_expected) for cell in made.cells} == {("rehearsal", 24)}
    assert "rehearsal" in made.render()


def test_replicates_have_seeds_of_their_own() -> None:
    made = small(seeds=2, seed=7)
    assert made.seeds == [7, 8]
    assert {run.seed for run in made.runs} == {7, 8}


def test_a_checkpoint_is_exported_once_and_only_of_what_is_trained(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    with pytest.raises(UserError, match='method "target" trains no model'):
        small().export_checkpoint("target", tmp_path / "out", store)
    made = small("sft", overrides={"sft.max_steps": 1})
    id = made.export_checkpoint("sft", tmp_path / "out", store)
    assert (tmp_path / "out" / "model.safetensors").is_file()
    assert store.has(id)
    with pytest.raises(UserError, match="exists already"):
        made.export_checkpoint("sft", tmp_path / "out", store)


@pytest.mark.parametrize(
    ("scale", "name"),
    [("my scale", "my-scale"), ("échelle", "-chelle"), ("a/b", "a-b"), ("nano ", "nano-")],
)
def test_a_profile_of_any_name_names_a_board(tmp_path: Path, scale: str, name: str) -> None:
    path = tmp_path / "mine.toml"
    text = re.sub(r"\[profile\.nano(?=[].])", f'[profile."{scale}"', RECIPE.read_text())
    path.write_text(text.replace('like = "nano"', f'like = "{scale}"'))
    made = reproduce(path, scale, **SMALL)  # type: ignore[arg-type]
    assert made.name == f"mine-{name}+limit=6+suite=alpaca_eval2"


def test_preconditions_are_measured_in_the_run_and_shown_apart(tmp_path: Path) -> None:
    made = reproduce("wrpo_simpo", limit=12, suites=["alpaca_eval2"])
    operations = [made.plan.stages[handle.id].operation.name for handle in made.preconditions]
    assert operations == ["compare_answers", "grade_pairs"]
    made.run(tmp_path / "store")
    board = made.board
    assert {row.system.name for row in board.rows} == {"target", "wrpo_simpo"}
    found = {(row.score.system, row.score.metric): row for row in board.preconditions}
    above = found["source_a@2", "above"]
    assert above.items == "8"  # two thirds of twelve prompts
    assert above.score.interval is not None
    assert above.needs
    assert found["best source", "best_grade"].score.value is not None
    assert found["reward@2", "reward_accuracy"].score.unit == "%"
    cell = above.score.cells[0]
    assert cell.scale == "nano"
    assert cell.artifacts["cells"] == made.preconditions[0].id
    folder = made.write_board(tmp_path / "board")
    assert check_board(folder) == ""
    assert "## Preconditions" in (folder / "board.md").read_text()


def test_methods_without_preconditions_measure_none() -> None:
    made = small("dpo")
    assert made.preconditions == []
    assert made.board_spec().preconditions == ()


def test_every_seed_measures_its_own_preconditions() -> None:
    made = reproduce("fusellm", limit=4, suites=["perplexity"], seeds=2)
    assert len(made.preconditions) == len(set(made.preconditions)) == 2
    seeds = {made.plan.stages[h.id].params.seed for h in made.preconditions}  # type: ignore[attr-defined]
    assert seeds == {42, 43}


def test_readings_of_a_suite_are_shared_with_the_preconditions() -> None:
    made = reproduce("fusellm", limit=4, suites=["perplexity"])
    (handle,) = made.preconditions
    stage = made.plan.stages[handle.id]
    read = {i for s in made.plan.stages.values() if s.operation.name == "score_perplexity"
            for i in s.input_ids()}  # fmt: skip
    assert set(stage.input_ids()) <= read
    assert stage.params.each is False  # type: ignore[attr-defined]
    lines = made.board_spec().preconditions
    shown = ("target", "source_a@2", "source_b@2", "source_c@2")
    assert shown in {line.systems for line in lines}
    alone = reproduce("fusellm", limit=4, suites=["lm_nano"])
    (handle,) = alone.preconditions
    assert alone.plan.stages[handle.id].params.each is True  # type: ignore[attr-defined]
    first = alone.plan.stages[alone.plan.stages[handle.id].input_ids()[0]]
    documents = alone.plan.stages[first.inputs["documents"].id]  # type: ignore[union-attr]
    assert documents.params.ref == "nano:open/train"  # type: ignore[attr-defined]


def test_without_a_truth_only_what_needs_none_is_planned() -> None:
    made = reproduce("wrpo", "small")
    operations = [made.plan.stages[handle.id].operation.name for handle in made.preconditions]
    assert operations == ["grade_pairs"]
    assert made.plan.stages[made.preconditions[0].id].params.truth == ""  # type: ignore[attr-defined]
