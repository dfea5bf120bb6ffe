"""Dialogues over scripted backends: in rounds and without, cut off anywhere and taken up again."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness.backends.api.endpoint import Endpoint
from harness.backends.base import Request, Response, Sampling
from harness.backends.conversing import NO_ANSWER, Turn, converse
from harness.backends.openai import OpenAIBackend
from harness.core.errors import BadData, UserError
from harness.engine.calls import CallSettings, Services
from harness.engine.store import Log
from tests.harness.backends.api.fake_server import Asked, FakeServer, Reply, error
from tests.harness.backends.api.test_batch import BatchServer
from tests.harness.backends.talks import (
    GREEDY,
    INTERVIEWS,
    OPTIONS,
    TURNS,
    WANTED,
    Interview,
    Local,
    expected,
    good,
    questions,
    run,
    texts,
)

Hosted = Callable[..., OpenAIBackend]


@pytest.fixture
def hosted(tmp_path: Path) -> Iterator[Hosted]:
    """`hosted(url, ...)`: with a response store unless `responses=None`."""
    with ExitStack() as stack:

        def make(url: str, **settings: Any) -> OpenAIBackend:
            settings = {"responses": tmp_path / "responses.sqlite", "retries": 0, **settings}
            services = stack.enter_context(Services(CallSettings(**settings)))
            return OpenAIBackend(Endpoint.parse(f"judge-1@{url}", OPTIONS), services)

        yield make


def test_in_rounds_the_next_turns_of_all_dialogues_go_out_together() -> None:
    backend = Local()
    assert texts(converse(backend, INTERVIEWS)) == WANTED
    assert [len(ids) for ids in backend.rounds] == [9, 6, 4, 2]
    assert sorted(backend.rounds[3]) == ["author/4/3", "author/9/3"]


def test_a_hosted_model_gives_the_same_transcripts(hosted: Hosted) -> None:
    with FakeServer(good) as server:
        assert texts(converse(hosted(server.url), INTERVIEWS)) == WANTED
        assert len(server.asked) == TURNS


def test_nobody_waits_for_another_dialogues_turn(hosted: Hosted) -> None:
    def behave(asked: Asked) -> Reply:
        reply = good(asked)
        if questions(asked)[0] == "text of author/4":
            reply.after_s = 0.2
        return reply

    with FakeServer(behave) as server:
        ended = texts(converse(hosted(server.url), INTERVIEWS))
        assert ended == WANTED
        assert list(ended)[-1] == "author/4"
        late = [questions(asked)[1] for asked in server.asked[-3:]]
        assert late == ["1", "2", "3"]


def test_open_dialogues_go_on_before_others_begin(hosted: Hosted) -> None:
    talks = [Interview(str(n), 3) for n in range(30)]
    with FakeServer(good) as server:
        texts(converse(hosted(server.url, concurrency=1), talks))
        order = [questions(asked) for asked in server.asked]
        assert order.index(["text of 0", "2"]) < order.index(["text of 29", "0"])


def test_only_some_dialogues_are_open_at_once(
    hosted: Hosted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OpenAIBackend, "parallel", 2)
    with FakeServer(good) as server:
        assert texts(converse(hosted(server.url), INTERVIEWS)) == WANTED
        assert server.most_at_once <= 2


def test_counts(hosted: Hosted) -> None:
    booked: list[dict[str, Any]] = []
    with FakeServer(good) as server:
        for _ in range(2):
            ended = converse(
                hosted(server.url), INTERVIEWS, count=lambda **more: booked.append(more)
            )
            turns = [turn for _, given in ended for turn in given]
    assert [entry.get("requests", 0) for entry in booked] == [1] * TURNS + [0] * TURNS
    assert sum(entry.get("cached", 0) for entry in booked) == TURNS
    assert {(turn.tokens_in, turn.tokens_out, turn.finish) for turn in turns} == {(10, 3, "stop")}


# Taken up again


def test_a_log_cut_off_anywhere_is_taken_up(tmp_path: Path) -> None:
    path = tmp_path / "turns.jsonl"
    run(Local(), path)
    whole = path.read_bytes()
    assert whole.count(b"\n") == TURNS
    for size in range(0, len(whole) + 1, 29):
        path.write_bytes(whole[:size])
        backend = Local()
        assert run(backend, path) == WANTED
        assert backend.asked == TURNS - whole[:size].count(b"\n")
        assert sorted(path.read_bytes().splitlines()) == sorted(whole.splitlines())


def test_every_turn_is_kept_from_the_moment_it_arrives(tmp_path: Path) -> None:
    path = tmp_path / "turns.jsonl"
    for kept in range(0, TURNS, 5):
        with pytest.raises(KeyboardInterrupt):
            run(Local(stops_after=5), path)
        assert path.read_bytes().count(b"\n") == kept + 5 if kept + 5 < TURNS else TURNS
        if kept + 10 > TURNS:
            break
    rest = Local()
    assert run(rest, path) == WANTED
    assert rest.asked == TURNS - kept - 5


@pytest.mark.parametrize("kept", ["log", "responses"])
def test_a_hosted_models_turns_are_kept_twice(hosted: Hosted, tmp_path: Path, kept: str) -> None:
    path = tmp_path / "turns.jsonl"
    with FakeServer(good) as server:
        run(hosted(server.url), path)
        if kept == "log":
            again = hosted(server.url, offline=True, responses=None)
        else:
            path.unlink()
            again = hosted(server.url, offline=True)
        assert run(again, path) == WANTED
        assert len(server.asked) == TURNS
        more = [*INTERVIEWS, Interview("new", 2)]
        with pytest.raises(UserError, match=r"1 of \d+ responses.*row new/0.*without --offline"):
            run(again, path, more)


def test_a_log_of_other_settings_is_not_taken(tmp_path: Path) -> None:
    path = tmp_path / "turns.jsonl"
    run(Local(), path)
    warmer = [Interview(t.id, t.length, Sampling(temperature=1.0)) for t in INTERVIEWS]
    others = ((Local(fingerprint="other"), INTERVIEWS), (Local(), warmer))
    for backend, talks in others:
        assert run(backend, path, talks) == WANTED
        assert backend.asked == TURNS
    renamed = [Interview("writer" + t.id.removeprefix("author"), t.length) for t in INTERVIEWS]
    backend = Local()
    run(backend, path, renamed)
    assert backend.asked == TURNS
    again = Local()
    run(again, path)
    assert again.asked == 0


# What goes wrong


def test_a_failed_turn_ends_its_dialogue_alone_and_is_asked_again(tmp_path: Path) -> None:
    path = tmp_path / "turns.jsonl"
    log = Log(path)
    ended = dict(converse(Local(refuses="author/4/2"), INTERVIEWS, log=log))
    log.close()
    failed = ended.pop("author/4")
    assert [turn.error for turn in failed] == [None, None, "too long"]
    assert [turn.text for turn in failed[:2]] == WANTED["author/4"][:2]
    assert {id: [t.text for t in turns] for id, turns in ended.items()} == {
        id: said for id, said in WANTED.items() if id != "author/4"
    }
    again = Local()
    assert run(again, path) == WANTED
    assert again.rounds == [["author/4/2"], ["author/4/3"]]


def test_a_refused_request_of_a_hosted_model(hosted: Hosted) -> None:
    def behave(asked: Asked) -> Reply:
        refused = questions(asked) == ["text of author/9", "1"]
        return error(400, "context too long", "context_length_exceeded") if refused else good(asked)

    with FakeServer(behave) as server:
        ended = dict(converse(hosted(server.url), INTERVIEWS))
        failed = {id: turns for id, turns in ended.items() if any(t.error for t in turns)}
        assert list(failed) == ["author/9"]
        assert "context too long" in str(failed["author/9"][1].error)
        assert len(ended) == len(INTERVIEWS)


def test_what_ends_a_run_keeps_what_was_said(hosted: Hosted, tmp_path: Path) -> None:
    path = tmp_path / "turns.jsonl"
    with FakeServer(lambda a: error(401, "no") if a.number == 9 else good(a)) as server:
        with pytest.raises(UserError, match="401"):
            run(hosted(server.url, concurrency=2), path)
        stored = path.read_bytes().count(b"\n")
        assert stored <= 9
        server.behave = good
        before = len(server.asked)
        assert run(hosted(server.url, responses=None), path) == WANTED
        # The server may have met the cancelled one after the count.
        assert TURNS - stored <= len(server.asked) - before <= TURNS - stored + 1


def test_the_limit_of_cost_holds_for_dialogues(hosted: Hosted, tmp_path: Path) -> None:
    prices = tmp_path / "prices.toml"
    prices.write_text(
        '[models."judge-1"]\nusd_per_million_in = 1000.0\nusd_per_million_out = 1000.0\n'
    )
    with FakeServer(good) as server:
        backend = hosted(server.url, prices=prices, max_cost_usd=0.2, concurrency=4)
        with pytest.raises(UserError, match="--max-cost"):
            list(converse(backend, INTERVIEWS))
        assert 3 < len(server.asked) < TURNS
        assert backend.services.account.cost_usd <= 0.2


def test_what_only_a_later_turn_needs_is_found_out_before_all_ask_for_it(hosted: Hosted) -> None:
    wants = Sampling(max_tokens=1, top_logprobs=5)

    @dataclass(frozen=True)
    class Ends(Interview):
        def ask(self, turns: Sequence[Turn]) -> Request | None:
            asked = super().ask(turns)
            return asked and asked.model_copy(
                update={"sampling": wants if len(turns) == 2 else GREEDY}
            )

    def behave(asked: Asked) -> Reply:
        reply = good(asked)
        reply.body["choices"][0].pop("logprobs", None)
        return reply

    with FakeServer(behave) as server:
        with pytest.raises(UserError, match="log-probabilities"):
            list(converse(hosted(server.url), [Ends(str(n), 3) for n in range(6)]))
        assert sum("logprobs" in asked.body for asked in server.asked) <= 2


def test_ctrl_c_stops_at_once_and_keeps_what_was_said(hosted: Hosted, tmp_path: Path) -> None:
    path = tmp_path / "turns.jsonl"

    def interrupt() -> None:
        end = time.monotonic() + 25
        while path.read_bytes().count(b"\n") < 10 and time.monotonic() < end:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    def behave(asked: Asked) -> Reply:
        reply = good(asked)
        if asked.number == 10:
            threading.Thread(target=interrupt).start()
        reply.after_s = 0 if asked.number <= 10 else 30
        return reply

    with FakeServer(behave) as server:
        begun = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            run(hosted(server.url, concurrency=4), path)
        assert time.monotonic() - begun < 60
        assert path.read_bytes().count(b"\n") == 10
        server.behave = good
        before = len(server.asked)
        assert run(hosted(server.url), path) == WANTED
        assert TURNS - 10 <= len(server.asked) - before <= TURNS - 10 + 4  # cancelled ones


def test_leaving_the_dialogues_stops_the_rest(hosted: Hosted, tmp_path: Path) -> None:
    talks = [Interview(str(n), 3) for n in range(20)]
    log = Log(tmp_path / "turns.jsonl")
    with FakeServer(good) as server:
        ended = converse(hosted(server.url, concurrency=2), talks, log=log)
        id, turns = next(ended)
        ended.close()  # type: ignore[attr-defined]
        log.close()
        asked = len(server.asked)
        assert asked < 30
        time.sleep(0.05)
        assert len(server.asked) <= asked + 2  # those cancelled on their way
        assert texts(converse(hosted(server.url), talks))[id] == [turn.text for turn in turns]


def test_a_batch_is_a_round(hosted: Hosted) -> None:
    behave = BatchServer()

    def said(line: dict[str, Any]) -> dict[str, Any]:
        asked = Asked(0, "POST", line["url"], {}, json.dumps(line["body"]).encode())
        return BatchServer.line(line, 200, good(asked).body)

    behave.fate = said
    with FakeServer(behave) as server:
        assert texts(converse(hosted(server.url, batch=True), INTERVIEWS)) == WANTED
    assert [entry["request_counts"]["total"] for entry in behave.batches.values()] == [9, 6, 4, 2]
    assert behave.live == 0


def test_a_turn_that_the_backend_forgets_is_an_error_of_its_dialogue() -> None:
    class Forgetful(Local):
        def generate(self, requests: Sequence[Request]) -> Iterator[Response]:
            yield from (r for r in super().generate(requests) if r.id != "author/4/2")

    ended = dict(converse(Forgetful(), INTERVIEWS))
    assert set(ended) == {talk.id for talk in INTERVIEWS}
    assert [turn.error for turn in ended["author/4"]] == [None, None, NO_ANSWER]


def test_two_dialogues_of_one_id_are_refused() -> None:
    with pytest.raises(BadData, match='"a"'):
        list(converse(Local(), [Interview("a", 1), Interview("a", 2)]))


def test_ids_that_look_like_turns_stay_apart() -> None:
    talks = [Interview("a", 3), Interview("a/1", 3), Interview("a/1/1", 2)]
    assert texts(converse(Local(), talks)) == {talk.id: expected(talk) for talk in talks}


def test_thousands_of_dialogues(tmp_path: Path) -> None:
    talks = [Interview(str(n), 1 + n % 3) for n in range(2000)]
    begun = time.monotonic()
    ended = run(Local(), tmp_path / "turns.jsonl", talks)
    assert {id: len(said) for id, said in ended.items()} == {t.id: t.length for t in talks}
    assert time.monotonic() - begun < 60


@pytest.mark.slow
def test_a_thousand_dialogues_with_a_hosted_model(hosted: Hosted) -> None:
    talks = [Interview(str(n), 1) for n in range(1000)]
    with FakeServer(good) as server:
        texts(converse(hosted(server.url), talks))
        again = hosted(server.url, offline=True)
        assert texts(converse(again, talks)) == {talk.id: expected(talk) for talk in talks}
        assert len(server.asked) == 1000
