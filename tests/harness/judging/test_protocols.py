"""Protocols with their published settings, and the readers of replies they contain."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from pydantic import ValidationError

from harness.backends.base import Backend, Completion, Request, Response, Sampling, Score
from harness.core.errors import CrucibleError
from harness.engine.operations import Row
from harness.judging import judge as judging
from harness.judging import operations
from harness.judging.frames import Kind, arena_frame
from harness.judging.judge import Judge, Judgment, Question, open_judge, protocol
from harness.judging.operations import JudgeOperation, JudgeParams, judge_rows, rules
from harness.judging.records import Game, Judged, JudgedTurn
from tests.operation_runs import FakeContext


def said(text: str, finish: Any = "stop", **more: Any) -> Completion:
    return Completion(text=text, finish=finish, **more)


@pytest.mark.parametrize(
    ("kind", "sampling", "parser", "order", "fingerprint"),
    [
        (
            "alpaca",
            Sampling(temperature=1.0, max_tokens=1, top_logprobs=5),
            "logprobs of mass 0.5/2",
            "one order, switched by the instruction (seed 0)",
            "fb322a90bb48c55a",
        ),
        (
            "arena",
            Sampling(temperature=0.0, max_tokens=4096),
            "arena-strict/2",
            "two games: baseline first, then model first",
            "7a289201c31d050c",
        ),
        (
            "rating",
            Sampling(temperature=0.0, max_tokens=2048),
            "rating-strict/2",
            "one answer at a time",
            "de5e25ea37567097",
        ),
        (
            "pairwise",
            Sampling(temperature=0.0, max_tokens=2048),
            "pairwise-strict/2",
            "two games: model first, then baseline first",
            "d54fe0d1956e1f55",
        ),
    ],
)
def test_every_kind_has_the_settings_of_its_paper(
    kind: str, sampling: Sampling, parser: str, order: str, fingerprint: str
) -> None:
    """The fingerprint of a judge is stored with every score, so it must not change."""
    found = protocol(kind)
    assert (found.kind, found.sampling, found.parser) == (kind, sampling, parser)
    assert found.order_rule == order
    assert found.least_mass == (0.5 if kind == "alpaca" else 0.0)
    assert found.repair.startswith(("Reply with one character", "Give only the"))
    assert open_judge("nano:oracle", found).fingerprint == fingerprint


def test_settings_replace_those_of_the_paper() -> None:
    assert protocol("alpaca", both_orders=True).order_rule == "both orders"
    found = protocol("arena", parser="compat", max_tokens=7)
    assert (found.sampling.max_tokens, found.parser) == (7, "arena-compat/2")
    params = JudgeParams(judge="j", fingerprint="f", parser="compat", max_tokens=7)
    by_rules = rules("arena")(params)
    assert (by_rules.sampling, by_rules.parser) == (found.sampling, found.parser)


@pytest.mark.parametrize(
    ("kind", "mode", "reply", "verdict"),
    [
        ("arena", "strict", said("[[a>b]]"), "A>B"),
        ("arena", "strict", said("A is fine [[A>B]]. However", "length"), None),
        ("arena", "strict", said("A is fine [[A>B]]. However", "content_filter"), None),
        ("arena", "compat", said("[[A]]"), None),
        ("arena", "compat", said("[[B>>A]]"), "B>>A"),
        ("rating", "strict", said("Rating: [[7]]"), 7.0),
        ("rating", "strict", said("I like it [[7]]. However", "length"), None),
        ("rating", "compat", said("none"), None),
        ("rating", "compat", said("[[08]]"), None),
        ("rating", "compat", said("[[8]] and [[9]]"), 8),
        ("pairwise", "strict", said("[[C]]"), "tie"),
        ("pairwise", "strict", said("So far [[A]]. But", "length"), None),
        ("pairwise", "compat", said("[[B]] and [[A]]"), "A"),
        ("pairwise", "strict", said("none"), None),
    ],
)
def test_replies_are_read_by_mode_and_ending(
    kind: str, mode: Any, reply: Completion, verdict: float | str | None
) -> None:
    assert protocol(kind, parser=mode).read(reply) == verdict


class Fixed(Backend):
    """A judge that gives one completion to every request."""

    fingerprint = "fixed"

    def __init__(self, completion: Completion) -> None:
        self.completion = completion
        self.seen: list[Request] = []

    def generate(self, requests: Sequence[Request]) -> Iterator[Response]:
        self.seen.extend(requests)
        for request in requests:
            yield Response(id=request.id, completions=(self.completion,))

    def score(self, requests: Any) -> Iterator[Score]:
        raise NotImplementedError


def judged(kind: str, completion: Completion, **settings: Any) -> Judgment:
    question = Question("q", arena_frame("p", "a", "b"))
    return Judge(Fixed(completion), protocol(kind, **settings)).ask([question])["q"]


def weights(m: float, other: float) -> Any:
    return ((("m", m), ("M", other)),)


def test_an_unreadable_reply_is_asked_for_three_times_in_all() -> None:
    assert judging.RETRIES == 2
    assert judged("arena", said("both")).attempts == 3


@pytest.mark.parametrize(
    ("kind", "completion", "settings", "failure"),
    [
        ("rating", said("so", "length"), {}, "the reply was cut at 2048 tokens without a verdict"),
        ("rating", said("so", "length"), {"max_tokens": 2}, "the reply was cut at 2 tokens"),
        ("rating", said("so", "length"), {"max_tokens": 1}, "no verdict found in the reply"),
        ("rating", said("so"), {}, "no verdict found in the reply (rating-strict/2)"),
        ("rating", said(" \n"), {}, "the reply is empty"),
        ("alpaca", said("m"), {}, "the judge's server returned no log-probabilities"),
        ("alpaca", said("x", "length", top_logprobs=((("x", -0.1),),)), {}, "no verdict found"),
    ],
)
def test_a_failed_judgment_has_its_reason(
    kind: str, completion: Completion, settings: dict[str, Any], failure: str
) -> None:
    found = judged(kind, completion, **settings)
    assert found.verdict is None
    assert (found.failure or "").startswith(failure)


def test_half_of_the_probability_is_enough_for_a_verdict() -> None:
    half = judged("alpaca", said("m", top_logprobs=((("m", -0.6931471805599453),),)))
    assert (half.verdict, half.mass, half.failure) == (1.0, 0.5, None)
    more = judged("alpaca", said("m", top_logprobs=((("m", -0.67),),)))
    assert (more.verdict, more.mass) == (1.0, pytest.approx(0.5117, abs=1e-4))
    less = judged("alpaca", said("m", top_logprobs=((("m", -0.71),),)))
    assert (less.verdict, less.mass) == (None, pytest.approx(0.4916, abs=1e-4))
    assert less.failure == (
        "the judge said something else: its identifiers have less than 0.5 of the probability"
    )


def test_the_log_probabilities_of_the_first_token_are_kept() -> None:
    completion = said("m", top_logprobs=(*weights(-0.5, -1.0), *weights(-3.0, 0.0)))
    assert judged("alpaca", completion).logprobs == (("m", -0.5), ("M", -1.0))
    assert judged("arena", said("[[A>B]]")).logprobs is None


def test_parameters_of_a_judge_operation() -> None:
    params = JudgeParams(judge="j", fingerprint="f")
    assert params.model_dump() == {
        "judge": "j", "fingerprint": "f", "parser": "strict", "max_tokens": None, "batch_size": 8
    }  # fmt: skip
    assert JudgeParams(judge="j", fingerprint="f", batch_size=1).batch_size == 1
    with pytest.raises(ValidationError):
        JudgeParams(judge="j", fingerprint="f", batch_size=0)


@pytest.mark.parametrize(
    ("kind", "ids"),
    [
        ("alpaca", ["p/0#1", "p/1#1"]),
        ("arena", ["p/0#1", "p/1#1"]),
        ("pairwise", ["p/1/0#1", "p/1/1#1", "p/2/0#1", "p/2/1#1"]),
        ("rating", ["p/1#1", "p/2#1"]),
    ],
)
def test_requests_have_stable_ids_and_lost_games_are_not_asked(
    kind: Kind, ids: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    """Stored replies are joined to requests by these ids."""
    replies = {"alpaca": "m", "arena": "[[A>B]]", "pairwise": "[[A]]", "rating": "Rating: [[7]]"}
    completion = said(replies[kind], top_logprobs=weights(0.0, -99.0))
    backend = Fixed(completion)
    monkeypatch.setattr(operations, "open_judge", lambda _, rules, services: Judge(backend, rules))
    firsts = ("",) if kind == "rating" else ("model", "baseline")
    games = tuple(Game(first) for first in firsts)
    number = 2 if kind in ("pairwise", "rating") else 1
    turns = tuple(JudgedTurn("q", "[[A>B]]", "b", games) for _ in range(number))
    lost = JudgedTurn("q", None, "b", tuple(Game(first, failure="gone") for first in firsts))

    def draft(row: Row) -> Judged:
        return Judged(kind, row["id"], "s", turns if row["id"] == "p" else (lost,))

    def frame(protocol: Any, judged: Judged, turn: int, game: int) -> Any:
        return arena_frame(f"{judged.id} {turn} {game}", "a", "b")

    operation = JudgeOperation("s", kind, JudgeParams, rules(kind), frame)
    params = JudgeParams(judge="j", fingerprint=Judge(backend, protocol(kind)).fingerprint)
    batches = [[{"id": "lost"}, {"id": "p"}]]
    context: Any = FakeContext(tmp_path)
    ((nothing, played),) = judge_rows(context, operation, params, batches, draft)
    assert [request.id for request in backend.seen] == ids
    expected = {"alpaca": 1.0, "arena": "A>B", "pairwise": "A", "rating": 7.0}[kind]
    assert [game.verdict for game in played.games] == [expected] * len(ids)
    assert [game.failure for game in nothing.games] == ["gone"] * len(firsts)
    assert played.suspicious == "it holds a judge's verdict: [[a>b]]"
    assert nothing.suspicious == ""
    stale = params.model_copy(update={"fingerprint": "f"})
    with pytest.raises(CrucibleError):
        list(judge_rows(context, operation, stale, batches, draft))
