"""The lm-eval suites: planned, on nano models, and against lm-eval itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.core.errors import BadRecord, EnvironmentProblem, UserError
from harness.core.records import Cell, parse
from harness.engine import registry
from harness.engine.plan import Plan
from harness.engine.run import InlineExecutor, RunSummary
from harness.engine.store import Store
from harness.models.checkpoints import load_causal_lm
from harness.models.references import model_identity
from harness.suites.base import Suite, System
from harness.suites.lm_eval import suite as suites
from harness.suites.lm_eval.catalogue import BENCHMARKS, FUSECHAT3, FUSELLM
from harness.testing import check_suite

SUITES = [suites.LM_NANO, suites.LM_FUSELLM, suites.LM_FUSECHAT3]
ROUNDS = 50


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.name)
def test_conforms_and_is_registered(suite: Suite) -> None:
    check_suite(suite)
    assert registry.load("suites", suite.name) is suite
    assert registry.entry("suites", suite.name).summary == suite.summary


def test_any_task_by_name() -> None:
    check_suite(suites.LM_EVAL, suites.LmEvalSettings(tasks=("arc_easy", "gsm8k")))
    assert registry.load("suites", "lm_eval") is suites.LM_EVAL
    with pytest.raises(BadRecord, match='key "tasks" is missing'):
        parse(suites.LmEvalSettings, {}, "test")
    with pytest.raises(BadRecord, match="limit"):
        parse(suites.LmEvalSettings, {"tasks": ["a"], "limit": 1.5}, "test")


def planned(suite: Suite, ref: str = "nano:target", **settings: Any) -> tuple[Plan, Any]:
    plan = Plan()
    model = plan.stage("import_model", ref=ref, digest=model_identity(ref))
    chosen = parse(suite.settings, {"rounds": ROUNDS, **settings}, "test")
    return plan, suite.plan(System(ref, model, scale="paper"), chosen, plan.stage)


def score_params(suite: Suite, **settings: Any) -> Any:
    plan, handle = planned(suite, **settings)
    return plan.stages[handle.id].params


def test_what_counts_where_an_answer_has_no_letter_is_a_setting() -> None:
    task = "crucible_fusechat_mmlu_pro"
    assert score_params(suites.LM_FUSECHAT3).headline[task] == "exact_match,chosen"
    released = score_params(suites.LM_FUSECHAT3, letters="released").headline
    assert released[task] == "exact_match,three-stage"
    chosen = score_params(suites.LM_FUSECHAT3, unparsed="random").headline
    assert chosen[task] == "exact_match,three-stage-random"
    assert chosen["aime24"] == FUSECHAT3.headline["aime24"]


def test_nano_scores_are_of_the_nano_scale_whatever_is_asked() -> None:
    assert score_params(suites.LM_NANO).scale == "nano"
    assert score_params(suites.LM_FUSELLM).scale == "paper"


def test_the_papers_benchmarks_lead_to_suites_and_tasks_that_exist() -> None:
    listed = BENCHMARKS["fusechat3"]
    assert len(listed) == len({found.name for found in listed}) == 14
    for found in listed:
        suite, _, task = found.run_by.partition(": ")
        assert suite in registry.entries("suites") or not found.run_by
        assert task in FUSECHAT3.tasks or not task
        assert found.run_by or (found.needs and not found.offline)


def test_averages_are_of_listed_tasks() -> None:
    for listed in (FUSELLM, FUSECHAT3):
        for members in listed.averages.values():
            assert {member.removesuffix("/*") for member in members} <= set(listed.headline)


class Session:
    """Runs suites on nano models in one store."""

    def __init__(self, root: Path) -> None:
        self.store = Store(root)

    def run(
        self, suite: Suite, ref: str, **settings: Any
    ) -> tuple[dict[str, Cell], RunSummary, dict[str, Any]]:
        plan, handle = planned(suite, ref, **settings)
        summary = InlineExecutor().execute(plan, [handle], self.store)
        data = self.store.artifact(handle.id).read_json("cells.json")
        cells = {cell["metric"]: parse(Cell, cell, "cells.json") for cell in data}
        (run,) = [id for id, s in plan.stages.items() if s.operation.name == "lm_eval_run"]
        return cells, summary, self.store.artifact(run).read_json("results.json")


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    pytest.importorskip("lm_eval")
    return Session(tmp_path_factory.mktemp("store"))


NANO = {"limit": 12, "batch_size": 4}


def test_nano_models_beat_chance_and_a_second_run_makes_nothing(session: Session) -> None:
    cells, summary, _ = session.run(suites.LM_NANO, "nano:target", **NANO)
    assert len(summary.executed) == 3
    average = cells["average"]
    assert average.n_scored == 36
    assert average.interval is not None
    assert all(cell.scale == "nano" for cell in cells.values())
    for task in ("crucible_nano_facts", "crucible_nano_skills"):
        cell = cells[f"{task}:acc"]
        assert (cell.value or 0) > 1.5 * float(cell.details["chance"] or 100)
    again, summary, _ = session.run(suites.LM_NANO, "nano:target", **NANO)
    assert summary.executed == ()
    assert again == cells


def test_models_with_other_templates_are_compared_prompt_by_prompt(session: Session) -> None:
    from leaderboards.board import build_board
    from leaderboards.spec import BoardSpec

    found = [session.run(suites.LM_NANO, f"nano:{m}", **NANO)[0] for m in ("target", "source_c")]
    board = build_board(
        BoardSpec(name="nano", title="nano"), [cell for cells in found for cell in cells.values()]
    )
    assert board.warnings == ()
    assert len(board.rows) == 2
    without = session.run(suites.LM_NANO, "nano:source_c", **NANO, chat_template=False)[0]
    assert without["average"].prompt_set != found[0]["average"].prompt_set


def test_a_template_that_ends_in_a_blank_is_noted(session: Session) -> None:
    cells = session.run(suites.LM_NANO, "nano:source_a", tasks=("crucible_nano_facts",), limit=2)[0]
    assert cells["crucible_nano_facts:acc"].details["blanks_moved"] == 12
    assert cells["average"].details["missing"] == "crucible_nano_skills, crucible_nano_answers"


def test_skipped_tasks_are_cells_without_a_value(session: Session) -> None:
    tasks = ("crucible_nano_facts", "arc_easy", "humaneval")
    with pytest.raises(EnvironmentProblem, match="2 of 3 tasks cannot be loaded"):
        session.run(suites.LM_EVAL, "nano:target", tasks=tasks, limit=2)
    chosen = {"tasks": tasks, "limit": 2, "on_unavailable": "skip", "chat_template": True}
    cells = session.run(suites.LM_EVAL, "nano:target", **chosen)[0]
    assert cells["crucible_nano_facts:acc"].value is not None
    assert cells["arc_easy"].value is None
    assert "allenai/ai2_arc" in str(cells["arc_easy"].details["reason"])
    assert "allow_code_execution" in str(cells["humaneval"].details["reason"])
    gone = session.run(
        suites.LM_FUSELLM, "nano:target", tasks=("arc_easy",), on_unavailable="skip"
    )[0]
    assert {cell.value for cell in gone.values()} == {None}
    assert "bigcode" in str(gone["multipl_e"].details["reason"])


def test_settings_that_cannot_work_are_refused_before_anything_is_asked(session: Session) -> None:
    task = ("crucible_nano_answers",)
    with pytest.raises(
        UserError, match="allows answers of 300 tokens, and the model's context is 256"
    ):
        session.run(
            suites.LM_NANO, "nano:target", tasks=task, gen_kwargs={"max_gen_toks": 300}, limit=2
        )
    with pytest.raises(UserError, match="served by vllm"):
        session.run(suites.LM_NANO, "vllm:nano:target", tasks=task, limit=2)


@pytest.mark.parametrize("ref", ["nano:target", "nano:source_b"])
def test_scores_equal_lm_evals_own(session: Session, tmp_path: Path, ref: str) -> None:
    """The same tasks through `lm_eval.simple_evaluate`, without anything of ours in between."""
    import lm_eval
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    from harness.suites.lm_eval import sources
    from harness.suites.lm_eval.quiet import quiet

    settings = {**NANO, "limit": 8}
    cells, _, results = session.run(suites.LM_NANO, ref, **settings)
    chosen = parse(suites.NanoSettings, settings, "test")
    model, tokenizer = load_causal_lm(ref, fresh=True)
    with quiet():
        sources.load_tasks(chosen, tmp_path)  # writes the tasks' files and data
        theirs = lm_eval.simple_evaluate(
            model=HFLM(pretrained=model, tokenizer=tokenizer, batch_size=4),
            tasks=list(chosen.tasks),
            task_manager=TaskManager(
                include_path=[str(sources.OWN), str(tmp_path / "tasks")], include_defaults=False
            ),
            limit=8,
            bootstrap_iters=0,
            apply_chat_template=True,
        )
    for task in chosen.tasks:
        for metric in results["tasks"][task]["metrics"]:
            key = f"{metric['metric']},{metric['filter']}"
            assert metric["value"] == pytest.approx(theirs["results"][task][key], abs=1e-12), key
    value = theirs["results"]["crucible_nano_facts"]["acc,none"]
    assert cells["crucible_nano_facts:acc"].value == pytest.approx(100 * value, abs=1e-12)
    assert results["tasks"]["crucible_nano_facts"]["version"] == 1.0
