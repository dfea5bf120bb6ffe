"""Every fault of the nano server as a client meets it, and its limits of rate."""

from __future__ import annotations

import http.client
import json
import time

import pytest

pytest.importorskip("aiohttp")
from harness.core.errors import BadRecord, UnknownName
from harness.nano.faults import KINDS, Allowance, FaultScript, fault
from harness.nano.server import NanoServer
from tests.harness.nano.oracle_server import FRAME, body, call, faulty, judged

STATUS = {"429": 429, "429-retry-after": 429, "500": 500, "503": 503}


@pytest.mark.parametrize("kind", STATUS)
def test_an_error_fault_has_its_status_and_passes(kind: str) -> None:
    with faulty(f"{kind}@1") as server:
        status, reply, headers = call(server, body())
        assert status == STATUS[kind]
        assert ("retry-after" in headers) == (kind == "429-retry-after")
        if status == 429:
            assert reply["error"]["type"] == "rate_limit_error"
            assert headers["x-ratelimit-remaining-requests"] == "0"
        assert call(server, body())[0] == 200
        assert [entry.outcome for entry in server.entries] == [kind, "ok"]


def test_the_client_is_told_when_to_come_back() -> None:
    with faulty("429-retry-after@1:0.25") as server:
        headers = call(server, body())[2]
    assert headers["retry-after"] == "0.25"
    assert headers["retry-after-ms"] == "250"


@pytest.mark.parametrize(
    ("kind", "problem"),
    [
        ("drop", http.client.RemoteDisconnected),
        ("cut", http.client.IncompleteRead),
        ("malformed", json.JSONDecodeError),
        ("hang@1:0.05", http.client.RemoteDisconnected),
    ],
)
def test_a_broken_reply_breaks_and_passes(kind: str, problem: type[Exception]) -> None:
    with faulty(kind if "@" in kind else f"{kind}@1") as server:
        with pytest.raises(problem):
            call(server, body())
        assert call(server, body())[0] == 200
        first, second = server.entries
        assert (first.outcome, second.outcome) == (kind.partition("@")[0], "ok")
        assert first.digest == second.digest
        assert server.counts()["tokens_out"] == second.tokens_out == 1


def test_a_hanging_request_ends_when_its_client_leaves() -> None:
    with faulty("hang@1") as server:
        with pytest.raises(TimeoutError):
            call(server, body(), timeout=0.1)
        deadline = time.monotonic() + 30
        while not server.entries and time.monotonic() < deadline:
            time.sleep(0.01)
        assert [entry.outcome for entry in server.entries] == ["gone"]
        assert server.entries[0].status is None


def test_a_slow_reply_is_late_and_good() -> None:
    with faulty("slow@1:0.2") as server:
        started = time.monotonic()
        status, reply, _ = call(server, judged())
        assert time.monotonic() - started >= 0.2
        assert status == 200
        assert server.counts() == {
            "requests": 1,
            "ok": 0,
            "slow": 1,
            "tokens_in": reply["usage"]["prompt_tokens"],
            "tokens_out": 1,
        }


def test_replies_without_a_verdict_are_whole_otherwise() -> None:
    with faulty("no_logprobs@1", "empty@2", "wrong_label@3") as server:
        (bare,), (empty,), (wrong,) = (call(server, judged())[1]["choices"] for _ in range(3))
        assert call(server, judged())[1]["choices"][0]["logprobs"] is not None
        assert server.counts()["tokens_out"] == 1
    assert bare["message"]["content"] == "m"
    assert bare["logprobs"] is None
    assert empty["message"]["content"] == ""
    assert wrong["message"]["content"] == "Verdict: [[Z]]"
    tokens = {entry["token"] for entry in wrong["logprobs"]["content"][0]["top_logprobs"]}
    assert tokens.isdisjoint({"m", "M"})


def test_every_kind_of_fault_leaves_an_entry_of_its_name() -> None:
    specs = [f"{kind}@{n}:0.01" for n, kind in enumerate(KINDS, 1)]
    with faulty(*specs) as server:
        for _ in KINDS:
            try:
                call(server, judged())
            except (http.client.HTTPException, ValueError, OSError):
                continue
        assert [entry.outcome for entry in server.entries] == list(KINDS)


def test_shares_are_drawn_by_arrival_and_hit_what_they_say() -> None:
    script = FaultScript(faults=(fault("429=0.2"), fault("cut=0.1"), fault("hang@5")))
    drawn = [script.decide(n, "same body") for n in range(1, 4001)]
    kinds = [found.kind if found else "ok" for found in drawn]
    assert kinds[4] == "hang"
    assert 0.17 < kinds.count("429") / 4000 < 0.23
    assert 0.08 < kinds.count("cut") / 4000 < 0.12
    assert drawn == [script.decide(n, "another body") for n in range(1, 4001)]
    other = script.model_copy(update={"seed": 1})
    assert drawn != [other.decide(n, "same body") for n in range(1, 4001)]


def test_a_sticky_fault_stays_with_its_request() -> None:
    script = FaultScript(faults=(fault("500=0.5"),), sticky=True)
    fates = {text: script.decide(1, text) for text in map(str, range(50))}
    assert len({found is None for found in fates.values()}) == 2
    assert all(script.decide(n, text) == found for text, found in fates.items() for n in (2, 9))


def test_a_fault_is_read_from_its_short_form() -> None:
    found = fault("slow=0.1:0.5")
    assert (found.kind, found.share, found.seconds) == ("slow", 0.1, 0.5)
    assert fault("429-retry-after@1,2,3").arrivals == (1, 2, 3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("429", "expected KIND=SHARE"),
        ("hangg=0.1", 'no fault named "hangg"; did you mean "hang"?'),
        ("hang=2", 'fault "hang=2": key "share"'),
        ("hang=", 'key "share"'),
        ("hang@x", 'key "arrivals.0"'),
        ("hang@0", 'key "arrivals.0"'),
        ("slow=0.1:-1", 'key "seconds"'),
    ],
)
def test_a_fault_of_another_form_is_refused(text: str, message: str) -> None:
    with pytest.raises((BadRecord, UnknownName)) as problem:
        fault(text)
    assert message in str(problem.value)


def test_a_rate_is_announced_and_kept() -> None:
    with NanoServer(faults=FaultScript(requests_per_minute=2)) as server:
        remaining = [call(server, body())[2]["x-ratelimit-remaining-requests"] for _ in range(2)]
        assert remaining == ["1", "0"]
        status, reply, headers = call(server, body())
        assert (status, reply["error"]["code"]) == (429, "rate_limit_exceeded")
        assert 25 < float(headers["retry-after"]) <= 30
        assert headers["x-ratelimit-limit-requests"] == "2"
        assert server.entries[-1].outcome == "limited"


def test_a_rate_of_tokens_counts_the_words_of_the_prompt() -> None:
    words = sum(len(message["content"].split()) for message in FRAME)
    with NanoServer(faults=FaultScript(tokens_per_minute=words + 10)) as server:
        headers = call(server, body())[2]
        assert headers["x-ratelimit-remaining-tokens"] == "10"
        assert headers["x-ratelimit-reset-tokens"].endswith("s")
        assert call(server, body())[0] == 429
        assert "x-ratelimit-limit-requests" not in headers


def test_an_allowance_comes_back_over_a_minute() -> None:
    now = [0.0]
    tokens = Allowance(600, lambda: now[0])
    tokens.take(600)
    assert (tokens.left, tokens.missing_s(10), tokens.full_in_s) == (0, 1.0, 60.0)
    now[0] = 30.0
    assert tokens.left == 300
    assert tokens.missing_s(300) == 0
    assert tokens.missing_s(10_000) == 30.0  # more than there can be: when it is full
    now[0] = 1000.0
    assert tokens.left == 600
