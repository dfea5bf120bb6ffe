"""Training sequences of the reviser, and the whole chain on tiny models."""

from __future__ import annotations

from typing import Any

import pytest

from harness.core.errors import BadData, BadRecord
from harness.core.records import parse
from harness.engine.recipe import with_settings
from harness.models import chat
from harness.models.tokenize import IGNORE
from harness.reproduce import reproduce
from methods.seft.method import RECIPE
from methods.seft.recipe import SeftRecipe
from methods.seft.reviser import END, LABEL, TEXT, TrainReviserParams, sequences_of
from tests.tiny_models import make_tokenizer

SAID = [{"role": "user", "content": "x"}]
WORDING = {"verdict": "{prompt} {answer}", "write": "w", "no_revise": "no", "minor_revise": "mi",
           "major_revise": "ma"}  # fmt: skip
PARAMS = TrainReviserParams(
    learning_rate=1e-3, wording=WORDING, max_length=64, max_prompt_length=32
)


def pair(label: str, target: str = "new") -> dict[str, Any]:
    return {"id": "p", "messages": SAID, "source": "old", "target": target, "label": label}


def test_a_revision_is_trained_as_it_is_decided_and_written() -> None:
    tokenizer, wording = make_tokenizer(), PARAMS.wording
    (whole,) = sequences_of(tokenizer, pair("minor_revise"), PARAMS)
    asked = chat.prompt_ids(tokenizer, wording.ask_verdict(SAID, "old"))
    verdict = chat.response_ids(tokenizer, "mi")
    before = chat.prompt_ids(tokenizer, wording.ask_text(SAID, "old", "minor_revise"))
    text = chat.response_ids(tokenizer, "new")
    assert whole.tokens.input_ids == before + text
    assert whole.tokens.input_ids[: len(asked) + len(verdict)] == asked + verdict
    by_group = {
        group: [i for i, g in zip(whole.tokens.labels, whole.groups) if g == group]
        for group in (LABEL, END, TEXT)
    }
    assert by_group == {LABEL: verdict[:-1], END: verdict[-1:], TEXT: text}
    ignored = [i for i, g in zip(whole.tokens.labels, whole.groups) if g == 0]
    assert set(ignored) == {IGNORE}


def test_a_copy_is_its_verdict_alone() -> None:
    tokenizer = make_tokenizer()
    (first,) = sequences_of(tokenizer, pair("no_revise"), PARAMS)
    assert TEXT not in first.groups
    assert first.groups.count(LABEL) == 2
    assert first.groups.count(END) == 1


def test_a_template_that_changes_earlier_turns_gives_two_sequences() -> None:
    """A template that prints only the last answers, as those that drop thoughts do."""
    tokenizer = make_tokenizer()
    tokenizer.chat_template = (
        "<s>{% for m in messages %}{% if m['role'] == 'user' %}{{ '<u>' + m['content'] }}"
        "{% elif loop.last %}{{ '<a>' + m['content'] + '</s>' }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}<a>{% endif %}"
    )
    first, second = sequences_of(tokenizer, pair("major_revise"), PARAMS)
    assert set(first.groups) == {0, LABEL, END}
    assert set(second.groups) == {0, TEXT}
    after = chat.prompt_ids(tokenizer, PARAMS.wording.ask_text(SAID, "old", "major_revise"))
    assert second.tokens.input_ids[: len(after)] == after


def test_long_pairs_are_cut_from_the_front_of_the_prompt() -> None:
    tokenizer = make_tokenizer()
    long = {**pair("minor_revise", "n" * 20), "source": "o" * 60}
    for each in sequences_of(tokenizer, long, PARAMS):
        assert len(each.tokens.input_ids) == len(each.groups) <= PARAMS.max_length
        assert any(each.groups)


@pytest.mark.parametrize("key", ["label", "source", "target", "messages"])
def test_a_pair_without_a_part_is_refused(key: str) -> None:
    broken = {name: value for name, value in pair("no_revise").items() if name != key}
    with pytest.raises(BadData, match=f"has no {key}"):
        sequences_of(make_tokenizer(), broken, PARAMS)


# --- recipe and plan ----------------------------------------------------------------------------


def recipe(**changes: Any) -> SeftRecipe:
    made: SeftRecipe = reproduce("seft").recipe  # type: ignore[assignment]
    return with_settings(made, changes, "test")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scorer": None}, "internal evolution"),
        ({"scorer": None, "rounds.schedule": "external", "gate.min_gain": 0.0}, "gate.min_gain"),
        ({"scorer": None, "rounds.schedule": "external", "revision.decide": "oracle"}, "oracle"),
        ({"sampling.n": 2}, "one answer per prompt"),
        ({"internal.n": 1}, "own answers can be compared"),
        ({"rounds.schedule": "both"}, "schedule"),
        ({"data.prompts": "nano:symbols/costly"}, "nano:symbols"),
    ],
)
def test_recipes_that_cannot_work_are_refused(changes: dict[str, Any], message: str) -> None:
    from harness.core.errors import UserError
    from harness.engine.plan import Plan
    from methods.seft.method import seft

    with pytest.raises((BadRecord, UserError), match=message):
        seft(recipe(**changes), Plan().stage)


def test_without_a_scorer_external_evolution_runs_and_reports_no_scores() -> None:
    made = recipe(**{"scorer": None, "rounds.schedule": "external"})
    assert not made.has_scores


@pytest.mark.parametrize(("profile", "sets"), [("nano", 1), ("nano-control", 2)])
def test_systems_share_revisers_and_rounds_use_no_prompt_twice(profile: str, sets: int) -> None:
    made = reproduce("seft", profile)
    stages = list(made.plan.stages.values())
    revisers = [stage for stage in stages if stage.operation.name == "train_reviser"]
    assert len(revisers) == 2 * sets, (
        "an internal and an external one for each set of rated answers"
    )
    size = made.recipe.rounds.limit
    shards = {
        (stage.params.offset, stage.params.limit)
        for stage in stages
        if stage.operation.name == "import_prompts" and stage.params.ref.endswith("train")
    }
    assert shards == {(number * size, size) for number in range(made.recipe.rounds.count)}


def test_the_control_rates_by_noise_but_for_the_systems_whose_rewriting_is_free() -> None:
    stages = list(reproduce("seft", "nano-control").plan.stages.values())
    rated = {s.params.ref for s in stages if s.operation.name == "import_rated"}
    assert rated == {"nano:symbols/even", "nano:symbols/free"}
    noise = {s.params.settings["noise"] for s in stages if s.operation.name == "rate_answers"}
    assert noise == {0.5, 1000.0}


def test_the_likelihood_rule_scores_every_target_twice() -> None:
    made = reproduce("seft_external", overrides={"labels.rule": "likelihood"})
    stages = [stage.operation.name for stage in made.plan.stages.values()]
    assert stages.count("target_scoring") == 2
    rule = parse(SeftRecipe, made.recipe.model_dump(), "recipe").labels.rule
    assert rule == "likelihood"


def test_the_chain_runs_from_an_empty_store_and_then_from_its_cache() -> None:
    """Two rounds on a few prompts: the identity control copies, and the board has every round."""
    few = {
        "rounds.count": 2, "rounds.limit": 24, "reviser.max_steps": 2,
        "policy.max_steps": 1, "internal.n": 2, "labels.t_no": 0.0, "labels.t_major": 2.0,
    }  # fmt: skip
    made = reproduce("seft_never_revise", overrides=few, limit=60)
    made.run()
    cells = {(c.system, c.metric): c.value for c in made.cells}
    assert cells["never_revise", "no_revise:1"] == 100
    assert cells["never_revise", "no_revise:2"] == 100
    assert cells["never_revise", "decoded:2"] == 0
    assert cells["never_revise", "accepted:1"] is None
    scores = [cells["never_revise", f"{side}_score:1"] for side in ("source", "target")]
    assert scores[0] == scores[1]
    assert ("policy", "no_revise:1") not in cells
    told = {(c.system, c.details.get("fidelity")) for c in made.cells}
    assert told == {("policy", None), ("never_revise", "reconstruction")}
    assert made.todo(made.store) == []
    assert "Never revise (reconstruction" in made.render("md")


@pytest.mark.parametrize("profile", ["nano", "nano-control", "small", "paper"])
def test_claims_compare_systems_and_suites_of_their_profile(profile: str) -> None:
    made: SeftRecipe = reproduce("seft", profile).recipe  # type: ignore[assignment]
    systems = {system.name for system in made.systems}
    suites = {suite.name for suite in made.suites}
    assert made.claims
    for claim in made.claims:
        assert {claim["better"], claim["worse"]} <= systems, claim["id"]
        assert claim["suite"] in suites, claim["id"]
        assert not any(key.startswith("paper_") for key in claim), "no figure could be verified"
    title = made.title
    assert "independent reconstruction" in title
    table = (RECIPE.with_name("expected.csv")).read_text(encoding="utf-8").splitlines()
    assert len(table) == 1
