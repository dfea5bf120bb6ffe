"""Judges: retries, recorded failures, fingerprints, references."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import pytest

from harness.backends.base import Backend, Completion, Request, Response, Score, ScoreRequest
from harness.core.errors import BadRecord, UnknownName
from harness.judging.frames import alpaca_frame, arena_frame, rating_frame
from harness.judging.judge import RETRIES, Judge, Judgment, Question, open_judge, protocol


class Scripted(Backend):
    """A judge that gives each question its replies in turn; "error" fails, None says nothing."""

    fingerprint = "scripted"

    def __init__(self, script: dict[str, list[str | None]]) -> None:
        self.script = script
        self.seen: list[Request] = []

    def generate(self, requests: Sequence[Request]) -> Iterator[Response]:
        self.seen.extend(requests)
        for request in reversed(requests):
            question, _, attempt = request.id.rpartition("#")
            reply = self.script[question][int(attempt) - 1]
            if reply is None:
                continue
            if reply == "error":
                yield Response(id=request.id, error="HTTP 503")
                continue
            completion = Completion(text=reply, finish="stop")
            yield Response(id=request.id, completions=(completion,), tokens_in=7, tokens_out=3)

    def score(self, requests: Sequence[ScoreRequest]) -> Iterator[Score]:
        raise NotImplementedError


def ask(**script: list[str | None]) -> tuple[dict, Scripted]:  # type: ignore[type-arg]
    backend = Scripted(script)
    questions = [Question(name, arena_frame(name, "a", "b")) for name in script]
    return Judge(backend, protocol("arena")).ask(questions), backend


def test_a_clear_reply_is_read_at_once() -> None:
    found, backend = ask(q=["B is wrong. [[A>>B]]"])
    assert (found["q"].verdict, found["q"].attempts, found["q"].failure) == ("A>>B", 1, None)
    assert [request.id for request in backend.seen] == ["q#1"]


def test_only_unreadable_replies_are_asked_again_and_told_why() -> None:
    found, backend = ask(good=["[[A=B]]"], bad=["I like both.", "[[B>A]]"])
    assert found["good"].attempts == 1
    assert (found["bad"].verdict, found["bad"].attempts) == ("B>A", 2)
    assert [request.id for request in backend.seen] == ["good#1", "bad#1", "bad#2"]
    first, second = backend.seen[1], backend.seen[2]
    assert second.messages[: len(first.messages)] == first.messages
    assert second.messages[-2].content == "I like both."
    assert "only the label" in second.messages[-1].content
    assert first.sampling.seed != second.sampling.seed


def test_what_stays_unreadable_is_a_failure_with_its_reason() -> None:
    garbage: list[str | None] = ["7/10"] * 5
    found, backend = ask(garbage=garbage, down=["error"] * 5, mute=[None] * 5, empty=[" "] * 5)
    assert {name: judgment.verdict for name, judgment in found.items()} == dict.fromkeys(
        ["garbage", "down", "mute", "empty"]
    )
    assert "no verdict" in found["garbage"].failure
    assert "HTTP 503" in found["down"].failure
    assert "said nothing" in found["mute"].failure
    assert "empty" in found["empty"].failure
    assert found["garbage"].reply == "7/10"
    assert len(backend.seen) == 2 * (RETRIES + 1) + 2


def test_an_error_of_the_backend_is_final_for_it_has_its_own_retries() -> None:
    found, backend = ask(q=["error", "[[A>B]]"])
    assert found["q"].verdict is None
    assert found["q"].attempts == len(backend.seen) == 1


def test_verdicts_come_as_they_arrive_and_asked_again_ones_last() -> None:
    backend = Scripted({"a": ["hm", "[[A>B]]"], "b": ["[[B>A]]"], "c": ["[[A=B]]"]})
    questions = [Question(name, arena_frame(name, "a", "b")) for name in "abc"]
    seen = [j.id for j in Judge(backend, protocol("arena")).stream(questions)]
    assert seen == ["c", "b", "a"]


def test_a_repair_request_without_a_reply_repeats_the_question() -> None:
    found, backend = ask(q=[" ", "[[A>B]]"])
    assert found["q"].verdict == "A>B"
    assert backend.seen[1].messages == backend.seen[0].messages


def test_calls_and_tokens_are_counted() -> None:
    counted = {"tokens_in": 0, "tokens_out": 0, "requests": 0}

    def count(**more: int | None) -> None:
        for key, value in more.items():
            if value is not None:
                counted[key] += value

    backend = Scripted({"q": ["Rating: none", "Rating: [[7]]"]})
    found = Judge(backend, protocol("rating")).ask(
        [Question("q", rating_frame(["q"], ["a"]))], count
    )
    assert found["q"].verdict == 7
    assert counted == {"tokens_in": 14, "tokens_out": 6, "requests": 2}


def test_missing_log_probabilities_are_named() -> None:
    backend = Scripted({"q": ["m"] * 3})
    found = Judge(backend, protocol("alpaca")).ask([Question("q", arena_frame("p", "a", "b"))])
    assert "no log-probabilities" in found["q"].failure


def test_the_fingerprint_covers_model_prompt_parser_and_decoding() -> None:
    fingerprints = {
        open_judge(ref, rules).fingerprint
        for ref in ("nano:oracle", "nano:oracle?noise=0")
        for rules in (
            protocol("arena"),
            protocol("arena", parser="compat"),
            protocol("arena", max_tokens=100),
            protocol("pairwise"),
        )
    }
    assert len(fingerprints) == 8
    assert open_judge("nano:oracle", protocol("arena")).fingerprint in fingerprints


@pytest.mark.parametrize(
    ("ref", "error", "message"),
    [
        ("nano:orakel", UnknownName, 'did you mean "nano:oracle"'),
        ("nano:oracle?position_bais=1", BadRecord, 'did you mean "position_bias"'),
        ("nano:oracle?noise=loud", BadRecord, "noise"),
        ("nano:oracle?noise", BadRecord, "key=value"),
    ],
)
def test_a_wrong_reference_says_what_was_expected(
    ref: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message.replace("?", r"\?")):
        open_judge(ref, protocol("arena"))


def test_a_plugin_judge_receives_model_and_options(monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.engine import registry

    received = {}

    def opener(options, services):  # type: ignore[no-untyped-def]
        received.update(options)
        return Scripted({})

    monkeypatch.setattr(
        registry, "entries", lambda group: {"mine": registry.Entry("mine", "m:open", "")}
    )
    monkeypatch.setattr(registry, "load", lambda group, name: opener)
    open_judge("mine:org/model?timeout_s=5", protocol("arena"))
    assert received == {"model": "org/model", "timeout_s": "5"}


def weighed(*tops: tuple[str, float], served_by: str | None = None) -> Judgment:
    """The judgment on one reply of a judge that is asked for m or M."""

    class Weighing(Scripted):
        def generate(self, requests: Sequence[Request]) -> Iterator[Response]:
            for request in requests:
                completion = Completion(
                    text=tops[0][0], finish="stop", top_logprobs=(tops,), served_by=served_by
                )
                yield Response(id=request.id, completions=(completion,))

    question = Question("q", alpaca_frame("i", "a", "b"))
    return Judge(Weighing({}), protocol("alpaca")).ask([question])["q"]


def test_the_mass_of_the_identifiers_is_recorded_and_a_small_one_is_no_verdict() -> None:
    sure = weighed(("m", -0.1), ("M", -2.5))
    assert sure.mass == pytest.approx(math.exp(-0.1) + math.exp(-2.5))
    doubtful = weighed(("m", math.log(0.6)), ("The", math.log(0.4)))
    assert (doubtful.verdict, doubtful.mass) == (1.0, pytest.approx(0.6))
    lost = weighed(("<think>", -0.01), ("m", -6.0), ("M", -6.1))
    assert lost.verdict is None
    assert lost.attempts == RETRIES + 1
    assert lost.mass == pytest.approx(0.0047, abs=1e-4)
    assert "identifiers have less than 0.5" in (lost.failure or "")


def test_the_model_that_replied_is_recorded() -> None:
    assert weighed(("m", -0.1), served_by="other").served_by == "other"
