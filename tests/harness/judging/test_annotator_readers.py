"""Readers of AlpacaEval configurations: which token is weighed, defaults, identity, pools."""

from __future__ import annotations

from math import log
from pathlib import Path
from typing import Any

import pytest

from harness.backends.base import Completion, Sampling
from harness.core.errors import UserError
from harness.core.hashing import digest
from harness.judging import annotators
from harness.judging.judge import protocol
from tests.harness.judging.test_annotators import WEIGHTED, mine, said, weighed, yaml

__all__ = ["mine"]
TOKENS = {"numerator_token": "m", "denominator_tokens": ["m", "M"]}


@pytest.mark.parametrize(
    ("place", "share", "mass"),
    [
        *[(place, 0.75, 1.0) for place in ("batch", 0, -2)],
        *[(place, 0.5, 0.4) for place in (1, -1)],
        *[(place, None, None) for place in (2, -3)],
    ],
)
def test_a_place_in_the_reply_is_weighed(
    mine: Any, place: int | str, share: float | None, mass: float | None
) -> None:
    kwargs = {**TOKENS, "is_binarize": False, "log_prob_index": place}
    found = mine(completion_parser_kwargs=kwargs)
    reply = weighed({"m": log(0.75), "M": log(0.25)}, {"m": log(0.2), "M": log(0.2)})
    assert found.read(reply) == (share and pytest.approx(share))
    assert found.mass(reply) == (mass and pytest.approx(mass))
    assert found.read(Completion(text="m", finish="stop")) is None
    assert found.mass(Completion(text="m", finish="stop")) is None


def test_a_share_is_rounded_to_a_choice_unless_asked_otherwise(mine: Any) -> None:
    found = mine(completion_parser_kwargs=TOKENS)
    replies = [weighed({"m": -1.0, "M": other}) for other in (-1.04, -1.0, -0.96)]
    assert [found.read(reply) for reply in replies] == [1.0, 0.0, 0.0]
    turned = mine(completion_parser_kwargs={**TOKENS, "numerator_token": "M"})
    assert [turned.read(reply) for reply in replies] == [0.0, 0.0, 1.0]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"denominator_tokens": ["m", "m"]}, "weighs the tokens m, m"),
        ({"denominator_tokens": ["m", "M", "m"]}, "weighs the tokens m, M, m"),
        ({"denominator_tokens": ["a", "M"]}, "weighs the tokens a, M"),
        ({"log_prob_index": "last"}, "reads the token at last"),
    ],
)
def test_other_tokens_and_places_are_refused(mine: Any, change: Any, reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        mine(completion_parser_kwargs={**TOKENS, **change})


def test_a_configuration_has_the_defaults_of_the_package(mine: Any) -> None:
    plain = {"fn_completion_parser": "ranking_parser", "completion_key": None}
    found = mine(**plain, completion_parser_kwargs=None, completions_kwargs=None, batch_size=None)
    assert found.sampling == Sampling(temperature=0.7, top_p=1.0, max_tokens=2048)
    assert (found.model, found.mass, found.least_mass) == ("", None, 0.0)
    assert found.parser == "ranking_parser()/1.2"
    kwargs = {"model_name": "j", "temperature": 0.1, "top_p": 0.5, "max_new_tokens": 9}
    found = mine(**plain, completion_parser_kwargs=None, completions_kwargs=kwargs)
    assert found.sampling == Sampling(temperature=0.1, top_p=0.5, max_tokens=9)


def test_the_identity_of_a_configuration(mine: Any) -> None:
    found = mine()
    assert found.parser == (
        "logprob_parser(denominator_tokens=['m', 'M'], is_binarize=False, numerator_token='m')/1.2"
    )
    user = 'Task: """{instruction}"""\nOne: """{output_1}"""\nTwo: """{output_2}"""\nWhich?'
    assert found.blocks == (("system", "You compare."), ("user", user))
    assert found.prompt_hash == digest(["alpaca-eval", found.blocks])
    assert found.least_mass == 0.0
    assert found.mass(weighed({"m": -3.0})) == pytest.approx(0.0498, abs=1e-4)


def test_a_published_prompt_repeats_its_question_and_needs_no_mass(mine: Any) -> None:
    mine()
    rules = protocol("alpaca", annotator="mine")
    assert (rules.repair, rules.least_mass) == ("", 0.0)
    assert rules.frame("q", "a", "b") == annotators.load("mine").frame("q", "a", "b")
    assert rules.suspicion("Which?") == "it writes the judge prompt's own line: which?"
    assert rules.suspicion("You compare.") is None  # a message that quotes nothing
    own = annotators.load("crucible")
    assert (own.name, own.model, own.least_mass) == ("crucible", "", 0.5)
    assert own.mass is not None
    assert own.mass(weighed({"m": -1.0, "M": -1.0})) == pytest.approx(0.7358, abs=1e-4)


def test_pools_and_odd_keys_are_refused_with_their_number_and_names(
    mine: Any, tmp_path: Path
) -> None:
    mine()
    path = tmp_path / "mine" / "configs.yaml"
    path.write_text(yaml.safe_dump({"mine": WEIGHTED, "other": WEIGHTED}))
    with pytest.raises(UserError, match="is a pool of 2 judges"):
        annotators.load("mine")
    with pytest.raises(UserError, match="has is_a, is_b, Own,"):
        mine(is_b=1, is_a=1, processors_to_kwargs={"ChainOfThoughtProcessor": {}, "Own": {}})
    assert mine(processors_to_kwargs={"ChainOfThoughtProcessor": {}}).name == "mine"


def test_a_ranking_of_another_name_and_a_second_match(mine: Any) -> None:
    plain = {"completion_key": None, "fn_completion_parser": "ranking_parser"}
    found = mine(**plain, completion_parser_kwargs={"model_1_name": "x"})
    assert found.read(said("[{'model': 'x', 'rank': 2}]")) == 0.0
    assert found.read(said("[{'model': 'model_1', 'rank': 1}]")) is None
    with pytest.raises(UserError, match="gives the verdicts 1, 3"):
        mine(
            completion_key=None, fn_completion_parser=None,
            completion_parser_kwargs={"outputs_to_match": {1: "a", 3: "b"}},
        )  # fmt: skip


def test_only_what_can_be_read_is_listed_by_name(mine: Any) -> None:
    mine()
    assert annotators.supported() == ("mine",)
    with pytest.raises(UserError, match=r"supported: crucible$"):
        mine(batch_size=5)
    assert annotators.supported() == ()


def test_annotators_are_found_by_folder_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "dbeac":
        folder = tmp_path / "evaluators_configs" / name
        folder.mkdir(parents=True)
        (folder / "configs.yaml").write_text("")
    spec = type("Spec", (), {"submodule_search_locations": [str(tmp_path)]})
    monkeypatch.setattr("importlib.util.find_spec", lambda name: spec)
    monkeypatch.setattr(annotators, "_published", lambda name, path: None)
    annotators.supported.cache_clear()
    assert annotators.supported() == tuple("abcde")
    annotators.supported.cache_clear()


def test_slots_may_come_in_any_order(mine: Any) -> None:
    (message,) = mine("<|im_start|>user\n{output_2} / {instruction} / {output_1}<|im_end|>").frame(
        "q", "first", "second"
    )
    assert message == {"role": "user", "content": "second / q / first"}
