"""FuseChat-3.0: its protocol as a plan, the paper's settings and figures, a tiny run of it all."""

from __future__ import annotations

import csv
import json
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from harness.cli.main import app
from harness.core.errors import BadRecord, UserError
from harness.engine.plan import Plan, Stage
from harness.engine.recipe import load_recipe
from harness.engine.run import InlineExecutor
from harness.engine.store import Store
from harness.nano.rehearsal import Rehearsal
from harness.reproduce import reproduce
from harness.verification.selection import RULES
from methods.fusechat3.method import FUSECHAT3, RECIPE, FuseChat3Recipe, fusechat3, sft


def recipe(profile: str, *overrides: str) -> FuseChat3Recipe:
    return load_recipe(FuseChat3Recipe, RECIPE, profile, overrides)


def planned(resolved: FuseChat3Recipe) -> Plan:
    plan = Plan()
    fusechat3(resolved, plan.stage)
    return plan


@pytest.fixture(scope="module")
def paper() -> Plan:
    return planned(recipe("paper"))


def stages(plan: Plan, operation: str) -> list[Stage]:
    return [stage for stage in plan.stages.values() if stage.operation.name == operation]


FAMILIES = {  # SFT rate; DPO rate, beta, loss
    "paper": ("Llama-3.1-8B-Instruct", 5e-6, 8e-7, 10, "ln_dpo"),
    "paper-qwen-7b": ("Qwen2.5-7B-Instruct", 2e-6, 3e-7, 0.01, "dpo"),
    "paper-gemma-9b": ("gemma-2-9b-it", 2e-6, 5e-7, 0.01, "dpo"),
    "paper-llama-3b": ("Llama-3.2-3B-Instruct", 5e-6, 1e-6, 10, "ln_dpo"),
    "paper-llama-1b": ("Llama-3.2-1B-Instruct", 5e-6, 1e-6, 10, "ln_dpo"),
}


@pytest.mark.parametrize("profile", FAMILIES)
def test_each_target_has_the_papers_settings(profile: str) -> None:
    name, sft_rate, rate, beta, loss = FAMILIES[profile]
    made = recipe(profile)
    assert made.models.target.display_name() == name
    assert (made.sft.learning_rate, made.sft.epochs, made.sft.max_length) == (sft_rate, 3, 2048)
    train = made.train
    assert (train.learning_rate, train.settings.beta, train.loss) == (rate, beta, loss)
    assert (train.epochs, train.max_length, train.warmup_ratio) == (1, 2048, 0.1)
    for run in (made.sft, train):
        assert run.per_device_batch_size * run.accumulation_steps == 128


def test_each_source_is_sampled_as_the_paper_says(paper: Plan) -> None:
    found: dict[tuple[str, tuple[float, ...]], list[int]] = {}
    for stage in stages(paper, "sample"):
        params: Any = stage.params
        how = (params.temperature, params.top_p, params.repetition_penalty)
        found.setdefault((params.system, how), []).append(params.n)
    cool, warm = (0.7, 0.8, 1.05), (0.8, 0.95, 1.0)
    assert found == {  # instruction 3 sets, code 2, Chinese 2
        ("gemma-2-27b-it", warm): [5, 5, 5, 8, 8],
        ("Mistral-Large-Instruct-2407", warm): [5, 5, 5, 8, 8],
        ("Llama-3.1-70B-Instruct", warm): [5, 5, 5, 8, 8],
        ("Qwen2.5-72B-Instruct", cool): [5, 5, 5, 8, 8, 1, 1],
        ("Qwen2.5-Math-72B-Instruct", cool): [5],
    }


def test_each_domain_has_its_checks_and_rule(paper: Plan) -> None:
    checks = {
        operation: len(stages(paper, operation))
        for operation in ("verify_mathematics", "verify_code", "score_rewards")
    }
    # Mathematics: one model, and the responses that come with the prompts. Chinese: none.
    assert checks == {"verify_mathematics": 2, "verify_code": 8, "score_rewards": 12 + 2 + 8}
    selections = stages(paper, "select_training_rows")
    rules = selections[0].params.rules  # type: ignore[attr-defined]
    for key, rule in rules.items():
        wanted = RULES[key.split("/")[0]]
        if wanted.gap is None:
            wanted = wanted.model_copy(update={"gap": (-1e9, 1e9)})
        assert rule == wanted
    assert [stage.hint.rows for stage in selections if stage.hint] == [64128, 94539]


def test_without_verification_rewards_decide() -> None:
    made = planned(recipe("paper", "data.verify=false"))
    assert not stages(made, "verify_mathematics")
    rules = stages(made, "select_training_rows")[0].params.rules  # type: ignore[attr-defined]
    assert not any(rule.verified for rule in rules.values())
    assert not rules["chinese/magpie_zh"].pairs


def test_a_domain_alone() -> None:
    made = planned(recipe("nano", 'data.domains=["mathematics"]'))
    assert len(stages(made, "candidate_table")) == 1
    with pytest.raises(BadRecord, match='"maths" is none'):
        recipe("nano", 'data.domains=["maths"]')


def test_a_name_that_is_no_source_is_refused() -> None:
    with pytest.raises(BadRecord, match='"source_d" is none'):
        recipe("nano", 'domains.mathematics.sources=["source_d"]')


def test_code_runs_only_by_permission_and_nano_has_none() -> None:
    assert not stages(planned(recipe("nano")), "verify_code")
    done = CliRunner().invoke(app, ["reproduce", "fusechat3", "--scale", "paper"])
    assert isinstance(done.exception, UserError)
    assert "--allow-code-execution" in str(done.exception)


def test_a_rehearsal_runs_no_code_and_keeps_the_protocol() -> None:
    made = recipe("paper")
    tiny = Rehearsal().recipe(made)
    assert (tiny.systems, tiny.claims, tiny.source_sampling) == (
        made.systems, made.claims, made.source_sampling
    )  # fmt: skip
    assert all(stage.params.static_only for stage in stages(planned(tiny), "verify_code"))  # type: ignore[attr-defined]
    assert {given.prompts for given in tiny.data.sets} == {"nano:train"}


ROWS = {
    "paper": "Llama-3.1-8B",
    "paper-qwen-7b": "Qwen-2.5-7B",
    "paper-gemma-9b": "Gemma-2-9B",
    "paper-llama-3b": "Llama-3.2-3B",
    "paper-llama-1b": "Llama-3.2-1B",
}


@pytest.mark.parametrize("profile", ROWS)
def test_claims_quote_the_table_of_expected_figures(profile: str) -> None:
    with RECIPE.with_name("expected.csv").open(encoding="utf-8", newline="") as stream:
        figures = {
            (row["table"], row["row"], row["suite"], row["metric"]): float(row["value"])
            for row in csv.DictReader(stream)
        }
    assert len(figures) == 240
    family = ROWS[profile]
    table, start = f"FuseChat-{family}-Instruct", f"{family}-Instruct"
    start = "Gemma-2-9B-It" if "Gemma" in family else start
    rows = {"target": start, "fusechat3_sft": f"FuseChat-{family}-SFT", "fusechat3": table}
    eight = {key[3] for key in figures if key[2] == "lm_fusechat3"}
    assert len(eight) == 8
    tested = 0
    for claim in recipe(profile).claims:
        for side in ("better", "worse"):
            row, suite = rows[claim[side]], claim["suite"]
            if suite == "lm_nano":
                continue
            if claim["metric"] == "average":
                values = [figures[table, row, suite, metric] for metric in eight]
                wanted = round(sum(values) / 8, 2)
            else:
                wanted = figures[table, row, suite, claim["metric"]]
            assert claim[f"paper_{side}"] == wanted, claim["id"]
            tested += 1
    assert tested == (42 if profile == "paper" else 8)
    if profile == "paper":
        for suite, metric in (("alpaca_eval2", "lc_win_rate"), ("arena_hard", "score")):
            gain = figures[table, table, suite, metric] - figures[table, start, suite, metric]
            name = f"{table} minus {start}"
            assert figures["abstract", name, suite, f"{metric} gain"] == pytest.approx(gain)


def test_claims_of_suites_that_do_not_run_are_left_out() -> None:
    nano = {claim["suite"] for claim in reproduce("fusechat3", "nano").recipe.claims}
    assert nano == {"alpaca_eval2", "arena_hard", "mt_bench", "lm_nano"}
    paper = {claim["suite"] for claim in reproduce("fusechat3", "paper").recipe.claims}
    assert paper == {"alpaca_eval2", "arena_hard", "mt_bench", "lm_fusechat3"}


TINY = (
    "data.limit=8", "domains.instruction.n=2", "domains.mathematics.n=4", "sampling.max_tokens=40",
    "sft.max_steps=1", "train.max_steps=1", 'domains.mathematics.sources=["source_c@2"]',
)  # fmt: skip


def test_a_tiny_run_from_prompts_to_a_model_and_a_data_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if find_spec("math_verify") is None:
        pytest.skip("needs math-verify")
    monkeypatch.setattr(os, "cpu_count", lambda: 1)  # a child process checks for each
    made, plan, store = recipe("nano", *TINY), Plan(), Store(tmp_path / "store")
    trained = fusechat3(made, plan.stage)
    assert sft(made, plan.stage).id in plan.stages
    InlineExecutor().execute(plan, [trained], store)
    ids = {stage.label: stage.id for stage in plan.stages.values()}
    assert (store.folder(trained.id) / "model.safetensors").is_file()

    answers = store.artifact(ids["candidates mathematics"]).rows()
    assert len(answers) == 8 * 4
    assert {row["correct"] for row in answers} >= {True, False}
    assert answers[-1]["sampling"]["repetition_penalty"] == 1.05
    assert all(row["rm_score"] is not None for row in answers)

    prompts = {}
    for part in ("sft", "preference"):
        artifact = store.artifact(ids[f"{part} rows"])
        prompts[part] = {row["id"] for row in artifact.rows()}
        summary = json.loads((artifact.path / "summary.json").read_text())
        assert {name: found["prompts"] for name, found in summary.items()} == {
            "instruction": 8, "mathematics": 8
        }  # fmt: skip
    assert not prompts["sft"] & prompts["preference"]
    right = {row["id"] for row in answers if row["correct"]}
    for row in store.artifact(ids["sft rows"]).rows():
        if row["id"].startswith("mathematics/"):
            assert f"{row['id']}/{row['source_model']}/{row['sample']}" in right

    _exported_candidates(store, ids, tmp_path / "candidates")


def _exported_candidates(store: Store, ids: dict[str, str], folder: Path) -> None:
    command = ["show", ids["sft rows"], "--export", str(folder), "--store", str(store.root)]
    assert CliRunner().invoke(app, command).exit_code == 0
    card = (folder / "README.md").read_text()
    assert f"{8 * (3 * 2 + 4)} candidates" in card
    assert "pairs_first" in card
    command[1] = ids["prompts instruction"]
    refused = CliRunner().invoke(app, command)
    assert "contains no candidates" in str(refused.exception)


def test_methods_are_registered() -> None:
    assert FUSECHAT3.recipe_file == RECIPE
    assert [s.name for s in reproduce("fusechat3_sft", "nano").recipe.systems] == [
        "target",
        "fusechat3_sft",
    ]


def test_a_rehearsal_has_one_scale() -> None:
    made = reproduce("fusechat3", "paper", rehearse=True)
    scales = {made.plan.stages[run.cells.id].params.scale for run in made.runs}  # type: ignore[attr-defined]
    assert scales == {"rehearsal"}


def test_preferences_that_exist_replace_everything_up_to_the_rules(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"prompt": "Hi", "chosen": "A", "rejected": "B"}\n')
    given = recipe("paper", f"data.preferences={path}", "data.sets=[]", "models.sources=[]",
                   "domains={}", "source_sampling=[]")  # fmt: skip
    plan = planned(given)
    names = [stage.operation.name for stage in plan.stages.values()]
    assert names == [
        "import_preferences", "split_prompts", "split_prompts", "preferred_responses",
        "import_model", "train_sft", "reference_logps", "train_preference",
    ]  # fmt: skip
    (trained,) = stages(plan, "train_preference")
    assert trained.params.columns == ("target", "rejected")
    (sft_part, _) = stages(plan, "split_prompts")
    assert sft_part.params.fraction == 0.4
    straight = planned(given.model_copy(update={
        "data": given.data.model_copy(update={"sft_fraction": 0.0})
    }))  # fmt: skip
    assert not stages(straight, "train_sft")
    with pytest.raises(BadRecord, match=r"expected data.sets, or preferences that exist"):
        recipe("paper", "data.sets=[]")
