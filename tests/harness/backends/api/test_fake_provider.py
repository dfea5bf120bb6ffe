"""Every manner of the shared fake provider, as a judge: right verdicts, or failures that say why.

The provider is a file beside the repository; without it these tests are skipped. Each manner is
asked through `open_judge`, that is through parser, client and response store, and once more with
the same store, as `--retry-failed` does.
"""

from __future__ import annotations

import importlib.util
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from harness.core.errors import CrucibleError
from harness.engine.calls import CallSettings, Services
from harness.judging.frames import alpaca_frame, arena_frame, rating_frame
from harness.judging.judge import Judgment, Question, open_judge, protocol

CASES = Path(os.environ.get("CRUCIBLE_CASES") or Path(__file__).parents[5] / "shared" / "cases")
FILE = CASES / "judging" / "fake_provider.py"
ROWS = 12
KINDS = ("arena", "rating", "alpaca")
USUAL: dict[str, Any] = {"arena": "A>B", "rating": 7.0, "alpaca": pytest.approx(0.832018, abs=1e-5)}


@dataclass(frozen=True)
class All:
    """Every row has this verdict."""

    verdict: Any

    def check(self, found: Found) -> None:
        assert found.stopped == ""
        assert found.failures == []
        assert [j.verdict for j in found.judged] == [self.verdict] * ROWS


@dataclass(frozen=True)
class Some:
    """Some rows have this verdict, the others fail for this reason; the run goes on."""

    verdict: Any
    reason: str
    least: int = 1

    def check(self, found: Found) -> None:
        assert found.stopped == found.stopped_again == ""
        assert len(found.judged) == ROWS
        verdicts = [j.verdict for j in found.judged if j.verdict is not None]
        assert len(verdicts) >= 1
        assert verdicts == [self.verdict] * len(verdicts)
        assert len(found.failures) >= self.least
        for failure in found.failures:
            assert re.search(self.reason, failure)


@dataclass(frozen=True)
class Fails:
    """Every row fails for this reason."""

    reason: str

    def check(self, found: Found) -> None:
        assert found.stopped == found.stopped_again == ""
        assert len(found.failures) == ROWS
        for failure in found.failures:
            assert re.search(self.reason, failure)


@dataclass(frozen=True)
class Stops:
    """The run ends, with a message that says what to do."""

    reason: str

    def check(self, found: Found) -> None:
        assert re.search(self.reason, found.stopped)
        assert [j for j in found.judged if j.verdict is not None] == []


@dataclass(frozen=True)
class NoVerdict:
    """No row has a verdict, whether the rows fail or the run ends."""

    def check(self, found: Found) -> None:
        assert found.stopped or found.failures
        assert [j for j in found.judged if j.verdict is not None] == []


@dataclass
class Found:
    """What came of asking a manner."""

    judged: list[Judgment] = field(default_factory=list)
    stopped: str = ""
    stopped_again: str = ""
    seconds: float = 0.0

    @property
    def failures(self) -> list[str]:
        return [j.failure or "" for j in self.judged if j.verdict is None]


ROLES = Stops(r"system=false|alternate")
LIMIT = Stops(r"1024.*judge_max_tokens")
NO_LOGPROBS = Stops("returns no log-probabilities")
SAID_ELSE = Fails("identifiers have less than 0.5")
TOO_LONG, FILTERED = "prompt is too long", "content filter refused"
UNUSABLE = NoVerdict()

# What differs from `USUAL`; a manner that is absent gives the usual verdicts for all kinds.
EXPECTED: dict[str, dict[str, Any]] = {
    "vllm-ctx": {"arena": Fails(TOO_LONG)},
    **{name: {"arena": LIMIT, "rating": LIMIT} for name in ("mct-large", "mt-large", "groq-large")},
    **dict.fromkeys(("gemma", "alternate", "gemma500"), dict.fromkeys(KINDS, ROLES)),
    **dict.fromkeys(
        ("or-error-choice", "abort", "cfilter-empty", "cfilter-partial", "refusal", "toolcall",
         "reasoning-length", "empty"), dict.fromkeys(KINDS, UNUSABLE)
    ),
    "or-error-once": {kind: Some(USUAL[kind], ".", least=0) for kind in KINDS},
    "cfilter-some": {kind: Some(USUAL[kind], ".", least=0) for kind in KINDS},
    "judge-tentative-then-think": {"arena": All("B>>A"), "rating": All(3.0)},
    "judge-scale-after": {"rating": All(2.0)},
    "judge-cut-tentative": {"arena": Fails("cut"), "rating": Fails("cut")},
    "lp-space": {"alpaca": Fails("no verdict")},
    "lp-half": {"alpaca": SAID_ELSE},
    "lp-quote": {"arena": UNUSABLE, "rating": UNUSABLE, "alpaca": SAID_ELSE},
    # Every tenth request is unusable, so that a row and its repetitions may all be.
    "lp-some": {kind: Some(USUAL[kind], "no verdict", least=0) for kind in ("arena", "rating")},
    "lp-think": {"arena": UNUSABLE, "rating": UNUSABLE, "alpaca": SAID_ELSE},
    "lp-none-text": {"arena": UNUSABLE, "rating": UNUSABLE, "alpaca": NO_LOGPROBS},
    "lp-empty-content": {"arena": UNUSABLE, "rating": UNUSABLE, "alpaca": NO_LOGPROBS},
    "lp-string": {"arena": UNUSABLE, "rating": UNUSABLE},
    "lp-old": {"arena": UNUSABLE, "rating": UNUSABLE},
    "lp-neginf": {"arena": UNUSABLE, "rating": UNUSABLE, "alpaca": All(1.0)},
    **dict.fromkeys(
        ("sse", "html200", "err200", "msgnull", "deltaform", "textform"),
        dict.fromkeys(KINDS, UNUSABLE),
    ),
    "err200-some": {kind: Some(USUAL[kind], "429", least=0) for kind in KINDS},
    "nochoices": dict.fromkeys(KINDS, Fails(FILTERED)),
    "nochoices-some": {kind: Some(USUAL[kind], FILTERED, least=0) for kind in KINDS},
    "temp-unsupported": dict.fromkeys(("arena", "rating"), Stops("temperature=false")),
    "temp-gone": dict.fromkeys(KINDS, Stops("temperature=false")),
    "seed-extra": dict.fromkeys(KINDS, Stops("seed=false")),
    "ra-300": dict.fromkeys(KINDS, Stops("limit is used up.* in 5 h")),
    "parts": {"alpaca": NO_LOGPROBS},
    "logprob-refused-long": {"alpaca": Stops("no log-probabilities.*not allowed to request")},
    "toplp-max": {"alpaca": Stops("no log-probabilities.*max allowed: 0")},
    "err500-some": {kind: Some(USUAL[kind], TOO_LONG, least=0) for kind in ("arena", "rating")},
    **{
        name: {"arena": None, "rating": UNUSABLE, "alpaca": NO_LOGPROBS}
        for name in ("model-wins", "model-loses", "all-tie", "model-mostly")
    },
    "alp-hash": {"arena": UNUSABLE, "rating": UNUSABLE, "alpaca": None},
}  # fmt: skip
# One prompt in five is refused, with these reasons.
REFUSED = {
    **dict.fromkeys(("anthropic-filter", "xai-403", "azure-jailbreak", "openai-bio",
                     "openai-repetitive"), FILTERED),
    "waf-403": r"\(403\).*Cloudflare",
    "json-surrogate": r"\(400\).*could not parse",
    "temp-500": "status 500: internal",
}  # fmt: skip


# The limit of this manner lasts 75 s from the first request, of which 25 remain: more than the 20 s
# after which a request without an answer is given up.
SERVE = f"""
import sys, time
sys.path.insert(0, {str(FILE.parent)!r})
import fake_provider as served
served.START["ra-long"] = time.time() - 50
served.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), served.H).serve_forever()
"""


def provider() -> Any:
    if not FILE.is_file():
        return None
    spec = importlib.util.spec_from_file_location("fake_provider", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


PROVIDER = provider()
MANNERS = [] if PROVIDER is None else [*PROVIDER.M, *(f"re-{name}" for name in PROVIDER.ROWERR)]
pytestmark = pytest.mark.skipif(
    PROVIDER is None, reason=f"needs the shared fake provider, {FILE} (or $CRUCIBLE_CASES)"
)


def expected(manner: str, kind: str) -> Any:
    if manner.startswith("re-"):
        if kind == "alpaca":  # its calls of one token are never refused
            return All(USUAL[kind])
        return Some(USUAL[kind], REFUSED.get(manner[3:], TOO_LONG))
    return EXPECTED.get(manner, {}).get(kind, All(USUAL[kind]))


def question(kind: str, number: int) -> Question:
    text, answer = f"Question number {number}?", f"An answer number {number}. " * 5
    if kind == "arena":
        return Question(f"q{number}", arena_frame(text, answer, "Another"))
    if kind == "alpaca":
        return Question(f"q{number}", alpaca_frame(text, answer, "Another"))
    return Question(f"q{number}", rating_frame([text], [answer]))


def ask(url: str, manner: str, kind: str) -> Found:
    found, begun = Found(), time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        settings = CallSettings(
            responses=Path(folder) / "responses.sqlite", retries=1, timeout_s=20
        )
        judge_of = f"openai:m@{url}/{manner}/v1"
        questions = [question(kind, number) for number in range(ROWS)]
        with Services(settings) as services:
            try:
                for judgment in open_judge(judge_of, protocol(kind), services).stream(questions):
                    found.judged.append(judgment)
            except CrucibleError as error:
                found.stopped = str(error)
        failed = {j.id for j in found.judged if j.verdict is None}
        if failed and not found.stopped:
            with Services(settings) as services:
                again = [question for question in questions if question.id in failed]
                try:
                    open_judge(judge_of, protocol(kind), services).ask(again)
                except CrucibleError as error:
                    found.stopped_again = str(error)
    found.seconds = time.monotonic() - begun
    return found


@pytest.fixture(scope="module")
def found() -> Iterator[dict[tuple[str, str], Future[Found]]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-c", SERVE, str(port)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as server:
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        # The slowest first.
        manners = sorted(MANNERS, key=lambda manner: manner not in ("ra-long", "rl-window"))
        with ThreadPoolExecutor(8) as pool:
            url = f"http://127.0.0.1:{port}"
            yield {
                (manner, kind): pool.submit(ask, url, manner, kind)
                for manner in manners
                for kind in KINDS
            }
        server.terminate()


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("manner", MANNERS)
def test_a_manner_of_a_provider(
    found: dict[tuple[str, str], Future[Found]], manner: str, kind: str
) -> None:
    came = found[manner, kind].result(timeout=240)
    wanted = expected(manner, kind)
    if wanted is not None:
        wanted.check(came)
    assert came.seconds < 150
    if manner == "wrongmodel":
        assert {j.served_by for j in came.judged} == {"some-fallback-model"}
    elif manner != "parts":
        assert {j.served_by for j in came.judged} <= {None}
