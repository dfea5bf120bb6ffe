"""Sweeps: which rows they have, what they share, and that a row is a reproduction with --set."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.core.errors import BadRecord, CrucibleError, UnknownName, UserError
from harness.core.records import Cell
from harness.engine.store import Store
from harness.reproduce import reproduce
from harness.sweep import Sweep, sweep
from leaderboards.files import check_board
from leaderboards.plots.charts import swept

SMALL = {"limit": 6, "suites": ["alpaca_eval2"]}
RATES = {"sft.learning_rate": [1e-4, 3e-7]}
FAST = {"sft.max_steps": 1}


def small(name: str, values: object, **more: object) -> Sweep:
    return sweep(name, values, **{**SMALL, **more})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    made = small("sft", RATES, overrides=FAST)
    made.run(tmp_path_factory.mktemp("sweep") / "store")
    return made


def scores(cells: list[Cell]) -> list[object]:
    """What two runs of one model agree in."""
    return [
        (c.metric, c.seed, c.value, c.interval, c.replicates, c.artifacts.get("checkpoint"))
        for c in cells
    ]


def test_a_row_is_the_reproduction_with_this_setting(finished: Sweep) -> None:
    for rate, text in ((1e-4, "0.0001"), (3e-7, "3e-07")):
        alone = reproduce(
            "sft",
            overrides={**FAST, "sft.learning_rate": rate},
            limit=6,
            suites=["alpaca_eval2"],
        )
        alone.run(finished.store)
        own = [cell for cell in finished.cells if cell.system == f"sft+learning_rate={text}"]
        assert scores(own) == scores([cell for cell in alone.cells if cell.system == "sft"])
        assert {cell.details["set.sft.learning_rate"] for cell in own} == {text}
    once = [cell for cell in finished.cells if cell.system == "target"]
    assert scores(once) == scores([cell for cell in alone.cells if cell.system == "target"])
    assert {cell.details["set.sft.learning_rate"] for cell in once} == {"any"}


def test_it_resumes_and_its_board_can_be_checked(finished: Sweep, tmp_path: Path) -> None:
    again = small("sft", RATES, overrides=FAST)
    assert again.run(finished.store).executed == ()
    board = again.board
    assert board.spec.name.startswith("sft-nano-sweep-learning_rate-")
    assert {row.system.name for row in board.rows} == {
        "target",
        "sft+learning_rate=0.0001",
        "sft+learning_rate=3e-07",
    }
    assert board.columns[0].heading == "setting"
    assert board.columns[0].title == "learning_rate"
    assert not any("learning_rate" in line for line in board.warnings)
    folder = again.write_board(tmp_path / "board", "crucible sweep sft ...")
    assert check_board(folder) == ""
    assert "learning\\_rate | " in (folder / "board.md").read_text()
    assert swept(board)[f"{board.spec.name}/sft+learning_rate=3e-07"] == {"sft.learning_rate": 3e-7}


def test_curves_have_the_scores_and_intervals_of_the_board(finished: Sweep) -> None:
    board = finished.board
    (made,) = finished.curves(board).values()
    assert [panel.title for panel in made.panels] == [
        "AlpacaEval 2 LC win rate",
        "AlpacaEval 2 Win rate",
    ]
    place = next(n for n, c in enumerate(board.columns) if c.metric == "win_rate")
    panel = made.panels[1]
    assert panel.x_title == "sft.learning_rate"
    for row in board.rows:
        entry = row.entries[place]
        own = [point for point in panel.points if point.label == row.system.title]
        assert entry.score is not None
        assert entry.score.interval is not None
        assert {(p.value, p.low, p.high) for p in own} == {
            (entry.score.value, entry.score.interval.low, entry.score.interval.high)
        }
        assert len(own) == (2 if row.system.name == "target" else 1)
    assert {point.x for point in panel.points} == {1e-4, 3e-7}
    assert len({point.series for point in panel.points}) == 2


def test_stages_are_counted_once_and_shared() -> None:
    values = {"train.settings.beta": [0.05, 0.1, 0.5]}
    made = small("dpo", values, seeds=2)
    alone = [
        reproduce("dpo", overrides={"train.settings.beta": beta}, seed=seed, **SMALL)  # type: ignore[arg-type]
        for beta in values["train.settings.beta"]
        for seed in made.seeds
    ]
    stages = [len(one.plan.needed(one.targets, [])) for one in alone]
    assert [len(found) for _, _, found in made.used] == stages
    shared = made.shared()
    every = {stage.id for stage in made.plan.needed(made.targets, [])}
    trained = [id for id in every if made.plan.stages[id].operation.name == "train_preference"]
    assert len(trained) == 6
    assert not shared & set(trained)
    assert len(every) == len(shared) + sum(stages) - sum(
        len({stage.id for stage in found} & shared) for _, _, found in made.used
    )
    assert {s.id for one in alone for s in one.plan.stages.values()} >= set(trained)


def names(made: Sweep) -> list[str]:
    return [spec.name for spec in made.recipe.systems]


def test_a_system_has_rows_for_the_settings_that_it_depends_on() -> None:
    grid = {"train.settings.beta": [0.1, 0.2], "train.settings.alpha_end": [0.3, 0.5]}
    made = small("wrpo", grid, systems=["dpo", "simpo", "wrpo"])
    assert names(made) == [
        "target",
        "dpo+beta=0.1",
        "dpo+beta=0.2",
        "simpo",
        *(f"wrpo+beta={beta}+alpha_end={alpha}" for beta in (0.1, 0.2) for alpha in (0.3, 0.5)),
    ]
    assert made._details("simpo") == {
        "set.train.settings.beta": "10.0 (own)",
        "set.train.settings.alpha_end": "any",
    }
    assert names(small("wrpo", {"train.settings.beta": [0.1, 0.2]})) == [
        "target",
        "wrpo+beta=0.1",
        "wrpo+beta=0.2",
    ]
    every = small("dpo", {"models.target.ref": ["nano:target", "nano:target@2"]})
    assert names(every) == [f"{n}+ref=nano:{m}" for n in ("target", "dpo") for m in REFS]


REFS = ("target", "target@2")


def test_claims_are_tested_at_each_setting() -> None:
    values = {"train.settings.beta": [0.1, 0.2]}
    made = small("wrpo", values, systems=["sft", "dpo", "wrpo", "wrpo_0.1", "wrpo_0.3"])
    claims = {claim["id"]: claim for claim in made.recipe.claims}
    assert claims["wrpo-over-dpo-lc+beta=0.2"]["better"] == "wrpo+beta=0.2"
    assert claims["wrpo-over-dpo-lc+beta=0.2"]["worse"] == "dpo+beta=0.2"
    assert claims["dpo-over-sft-lc+beta=0.1"]["worse"] == "sft"
    assert "sft-over-target-lc" in claims  # at any beta
    assert "sft-over-target-lc+beta=0.1" not in claims
    assert set(claims["wrpo-dose-lc+beta=0.1"]["doses"].values()) == {0.0, 0.1, 0.3, 0.5}
    spec = made.board_spec()
    titles = {row.name: row.title for row in spec.systems}
    assert titles["wrpo+beta=0.2"] == "Target-SFT-WRPO, beta=0.2"
    assert len(spec.claims) == len(claims)


def test_boards_of_different_sweeps_have_different_names() -> None:
    def name(values: object, **more: object) -> str:
        return small("dpo", values, **more).board_spec().name

    beta = "train.settings.beta"
    found = [
        name({beta: [0.1, 0.2]}),
        name({beta: [0.1, 0.3]}),
        name({beta: [0.1, 0.2]}, limit=8),
        name({beta: [0.1, 0.2], "train.epochs": [1, 2]}),
    ]
    assert len(set(found)) == len(found)
    assert name({beta: [0.1, 0.2]}) == name([f"{beta}=0.1,0.2"]) == found[0]


@pytest.mark.parametrize(
    ("values", "more", "error", "message"),
    [
        ({"train.settings.bta": [1, 2]}, {}, BadRecord, "bta"),
        ({"trian.beta": [1, 2]}, {}, BadRecord, 'sweep trian.beta=1: unknown key "trian"'),
        ({"train.epochs": [1, "many"]}, {}, BadRecord, "sweep train.epochs=many: key"),
        ({"train.epochs": [1, -1]}, {}, BadRecord, "sweep train.epochs=-1: key"),
        ({"title.x": [1, 2]}, {}, UserError, "cannot be swept"),
        ({"train.settings.alpha_end": [0.1, 0.2]}, {}, UserError, "no swept system depends on"),
        ({"train.epochs": [1, 2]}, {"systems": ["dop"]}, UnknownName, 'did you mean "dpo"'),
        ({"train.epochs": [1, 2]}, {"overrides": ["train.epochs=1"]}, UserError, "one of the two"),
        ({"train.epochs": [1, 2]}, {"suites": ["arena"]}, UnknownName, "arena_hard"),
    ],
)
def test_nonsense_is_one_sentence(
    values: object, more: dict[str, object], error: type[CrucibleError], message: str
) -> None:
    with pytest.raises(error) as raised:
        small("dpo", values, **more)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_setting_that_systems_set_for_themselves_is_said() -> None:
    with pytest.raises(UserError, match=r"\(wrpo_0\.1 has a value of its own\)"):
        small("wrpo", {"train.settings.alpha_end": [0.1, 0.2]}, systems=["wrpo_0.1"])


def test_the_baseline_of_a_suite_is_the_same_at_all_settings() -> None:
    more = {"overrides": ["suites.0.settings.baseline=system:sft"]}
    made = small("wrpo", {"train.settings.beta": [0.1, 0.2]}, **more)
    assert names(made) == ["target", "sft", "wrpo+beta=0.1", "wrpo+beta=0.2"]
    with pytest.raises(
        UserError, match=r'compares with system "sft", which depends on sft\.epochs'
    ):
        small("wrpo", {"sft.epochs": [1, 2]}, **more)


def test_nothing_runs_before_run(tmp_path: Path) -> None:
    made = small("dpo", {"train.epochs": [1, 2]})
    store = Store(tmp_path / "store")
    assert len(made.todo(store)) == len(made.plan.needed(made.targets, []))
    with pytest.raises(UserError, match=r"expected a call of run\(\) first"):
        _ = made.cells
