"""Runs with a model whose true scores are known."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.core.errors import UserError
from harness.suites.lm_eval.running import _cores, refuse_served


def test_scores_are_those_of_the_model(run: Callable[..., Any], stub: Any) -> None:
    right = run(stub(1), tasks=("letters", "words"))
    assert right.value("letters") == 1.0
    assert right.value("words", "exact_match") == pytest.approx(1 / 40)
    assert run(stub(2), "another").value("letters") == 0.0


@pytest.mark.parametrize("model", [None, object()])
def test_a_model_without_weights_runs_on_all_cores(model: Any) -> None:
    with _cores(SimpleNamespace(model=model)):  # type: ignore[arg-type]
        pass


def test_the_answers_of_one_model_are_never_given_for_another(
    run: Callable[..., Any], stub: Any
) -> None:
    """Plain lm-eval answers 1.0 for both where they share a cache."""
    assert run(stub(1), "first").value("letters") == 1.0
    other = stub(2)
    assert run(other, "second").value("letters") == 0.0
    assert sum(other.calls) == 160


def test_what_was_answered_is_not_asked_again(run: Callable[..., Any], stub: Any) -> None:
    first, again = stub(1), stub(1)
    before = run(first, tasks=("letters", "words"))
    after = run(again, tasks=("letters", "words"))
    assert sum(first.calls) == 200
    assert again.calls == []
    assert (before.bench.asked, after.bench.asked) == (200, 0)
    assert after.rows == before.rows
    assert after.results == before.results


def test_a_killed_run_resumes_with_the_missing_batches(run: Callable[..., Any], stub: Any) -> None:
    class Killed(stub):  # type: ignore[misc, valid-type]
        def loglikelihood(self, requests: list[Any]) -> Any:
            if len(self.calls) == 3:
                raise KeyboardInterrupt
            return super().loglikelihood(requests)

    with pytest.raises(KeyboardInterrupt):
        run(Killed(1), batch_size=16)
    resumed = stub(1)
    outcome = run(resumed, batch_size=16)
    assert sum(resumed.calls) == 160 - 3 * 16
    assert outcome.value("letters") == 1.0


def test_a_limit_takes_the_first_documents_and_is_marked(
    run: Callable[..., Any], stub: Any
) -> None:
    outcome = run(stub(1), limit=5)
    task = outcome.results["tasks"]["letters"]
    assert (task["n_effective"], task["n_original"]) == (5, 40)
    assert [row["doc_id"] for row in outcome.rows] == [0, 1, 2, 3, 4]


def test_edited_data_change_prompts_and_hashes(
    run: Callable[..., Any], stub: Any, folder: Path, rewrite: Callable[..., None]
) -> None:
    """lm-eval's cache of requests would send the old prompts."""
    before = run(stub(1)).results["tasks"]["letters"]
    rewrite(folder, gold=2, word="figure")
    outcome = run(stub(1))
    after = outcome.results["tasks"]["letters"]
    assert outcome.value("letters") == 0.0
    assert outcome.rows[0]["prompt"].startswith("Q: figure 0?")
    for name in ("task_hash", "data_hash", "prompt_set"):
        assert after[name] != before[name], name
    assert after["config_hash"] == before["config_hash"]


def test_order_company_and_batches_of_tasks_change_no_score(
    run: Callable[..., Any], stub: Any
) -> None:
    together = run(stub(1), "a", tasks=("letters", "words"), batch_size=8).results["tasks"]
    turned = run(stub(1), "b", tasks=("words", "letters"), batch_size=1).results["tasks"]
    alone = run(stub(1), "c", tasks=("words",)).results["tasks"]
    assert together == turned
    assert alone == {"words": together["words"]}


def test_shots_by_lm_evals_rules(run: Callable[..., Any], stub: Any) -> None:
    outcome = run(stub(1), tasks=("letters", "words"), num_fewshot=2, limit=3)
    prompts = {row["task"]: row["prompt"] for row in outcome.rows if row["doc_id"] == 0}
    # A document is no example of itself, and a task that fixes 0 keeps it.
    assert prompts["letters"].startswith("Q: number 1?\nA: right1\n\nQ: number 2?")
    assert prompts["words"] == "Q: number 0?\nA:"
    assert outcome.results["tasks"]["letters"]["num_fewshot"] == 2
    named = run(stub(1), num_fewshot={"letters": 1}, limit=3)
    assert named.results["tasks"]["letters"]["num_fewshot"] == 1
    with pytest.raises(UserError, match="fixes 0 examples"):
        run(stub(1), tasks=("words",), num_fewshot={"words": 3})
    with pytest.raises(UserError, match='names "wrods"; expected one of'):
        run(stub(1), num_fewshot={"wrods": 3})


def test_generation_options_reach_the_model_and_the_results(
    run: Callable[..., Any], stub: Any
) -> None:
    seen: list[dict[str, Any]] = []

    class Watching(stub):  # type: ignore[misc, valid-type]
        def generate_until(self, requests: list[Any]) -> list[str]:
            seen.extend(request.args[1] for request in requests)
            return ["" for _ in requests]

    outcome = run(Watching(), tasks=("words",), gen_kwargs={"max_gen_toks": 3}, limit=2)
    assert {options["max_gen_toks"] for options in seen} == {3}
    assert seen[0]["until"] == ["\n"]
    assert outcome.results["tasks"]["words"]["generation_kwargs"]["max_gen_toks"] == 3
    assert outcome.rows[0]["filtered"] == ["[invalid]"]


@pytest.mark.filterwarnings("ignore:invalid value")
def test_files_are_json_of_whatever_lm_eval_returns(run: Callable[..., Any], stub: Any) -> None:
    class Odd(stub):  # type: ignore[misc, valid-type]
        def loglikelihood(self, requests: list[Any]) -> list[tuple[float, bool]]:
            return [(float("-inf"), False) for _ in requests]

    outcome = run(Odd(), limit=3)

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    text = (outcome.directory / "results.json").read_text()
    assert json.loads(text, parse_constant=refuse)["tasks"]["letters"]["chance"] == 0.25
    for line in (outcome.directory / "rows.jsonl").read_text().splitlines():
        row = json.loads(line, parse_constant=refuse)
        assert row["responses"][0] == [[None, False]]


def test_models_that_others_serve_are_refused(tmp_path: Path) -> None:
    refuse_served(tmp_path)
    pointer = {"ref": "gpt-4o", "engine": "openai", "identity": "x"}
    (tmp_path / "model.json").write_text(json.dumps(pointer))
    with pytest.raises(UserError, match="gpt-4o is served by openai"):
        refuse_served(tmp_path)
