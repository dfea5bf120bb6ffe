"""The operations `ask` and `score_texts`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from harness.backends import asking
from harness.backends.asking import AskParams, Query
from harness.backends.base import (
    Backend,
    Completion,
    Request,
    Response,
    Sampling,
    Score,
    ScoreRequest,
    messages_of,
)
from harness.backends.conversing import Turn
from harness.backends.hf import HFBackend
from harness.backends.prompting import Unreadable, text
from harness.backends.replay import ReplayBackend, recorded
from harness.core.errors import BadData, BadRecord, UnknownName
from harness.core.records import Record
from harness.engine.operations import Context, Row, operation
from harness.engine.plan import Plan
from harness.engine.run import InlineExecutor
from harness.engine.store import Store
from harness.models.checkpoints import load_causal_lm
from harness.nano import zoo
from harness.planned import has_failed

MODULE = "tests.harness.backends.test_asking"
NAMES = [{"id": f"r{n}", "name": name} for n, name in enumerate(("Ada", "Bob", "Cleo"))]
REPAIR = "Answer with a number alone."


class RowsParams(Record):
    rows: tuple[dict[str, Any], ...]


@operation("test_asking_rows", version=1, params=RowsParams)
def given_rows(context: Context, params: RowsParams) -> None:
    from harness.core.hashing import canonical_json

    lines = [canonical_json(row) + b"\n" for row in params.rows]
    (context.directory / "rows.jsonl").write_bytes(b"".join(lines))


class NoParams(Record):
    pass


@operation("test_asking_model", version=1, params=NoParams)
def no_model(context: Context, params: NoParams) -> None: ...


def how_old(row: Row, *, unit: str = "years") -> list[dict[str, str]] | None:
    asked = f"How old is {row['name']} in {unit}?"
    return None if row["name"] == "Cleo" else [{"role": "user", "content": asked}]


def number(turn: Turn, row: Row) -> int:
    if not turn.text.isdecimal():
        raise Unreadable(f"no number about {row['name']}")
    return int(turn.text)


HOW = {"prompt": f"{MODULE}:how_old", "reader": f"{MODULE}:number", "repair": REPAIR}


class Scripted(Backend):
    """Gives each row its replies in turn, and stops dead after `last` requests."""

    fingerprint = "scripted"

    def __init__(self, script: dict[str, list[str]], last: int = 10**9) -> None:
        self.script, self.last = script, last
        self.seen: list[Request] = []

    def generate(self, requests: Sequence[Request]) -> Iterator[Response]:
        for request in requests:
            if len(self.seen) == self.last:
                raise KeyboardInterrupt
            self.seen.append(request)
            id, _, attempt = request.id.partition("#")
            reply = self.script[id][int(attempt) - 1]
            if reply == "ERROR":
                yield Response(id=request.id, error="too long")
                continue
            cut = Completion(text=reply, finish="length" if reply.endswith("...") else "stop")
            yield Response(id=request.id, completions=(cut,), tokens_in=7, tokens_out=2)


Run = Callable[..., list[Row]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """`run("ask", backend, rows, ...)`: the stage's rows; the model may also be a reference."""

    def execute(
        name: str, model: Any, rows: Sequence[Row] = NAMES, store: str = "store", **params: Any
    ) -> list[Row]:
        plan, place = Plan(), Store(tmp_path / store)
        if isinstance(model, Backend):
            monkeypatch.setattr(asking, "open_engine", lambda *_, **__: model)
            opened = plan.stage("test_asking_model")
        else:
            opened = plan.stage("import_model", ref=model)
        made = plan.stage("test_asking_rows", rows=list(rows))
        asked = plan.stage(name, rows=made, model=opened, **params)
        InlineExecutor().execute(plan, [asked], place)
        return place.artifact(asked.id).rows()

    return execute


def test_replies_are_read_and_unreadable_ones_repaired_or_recorded(run: Run) -> None:
    backend = Scripted({"r0": ["36"], "r1": ["I think", "", "about 7..."]})
    ada, bob, cleo = run("ask", backend, into="age", **HOW)
    assert ada == {
        **NAMES[0],
        "age": {"value": 36, "reply": "36", "finish": "stop", "attempts": 1, "failure": None},
    }
    assert (bob["age"]["value"], bob["age"]["attempts"], bob["age"]["reply"]) == (
        None,
        3,
        "about 7...",
    )
    assert bob["age"]["failure"] == "the reply was cut off; no number about Bob"
    assert cleo["age"] == asking.NOTHING_ASKED
    assert [has_failed(row) for row in (ada, bob, cleo)] == [False, True, False]
    first, second, third = backend.seen[-3:]
    assert [r.id for r in backend.seen] == ["r0#1", "r1#1", "r1#2", "r1#3"]
    assert [m.content for m in second.messages] == ["How old is Bob in years?", "I think", REPAIR]
    assert third.messages == first.messages, "an empty reply cannot be shown"
    assert [r.sampling.seed for r in (first, second, third)] == [0, 1, 2]


def test_an_error_of_the_backend_is_final_and_costs_its_row_alone(run: Run) -> None:
    rows = run("ask", Scripted({"r0": ["?", "ERROR"], "r1": ["8"]}), retries=5, **HOW)
    assert rows[0]["asked"] == {
        "value": None, "reply": "", "finish": None, "attempts": 2,
        "failure": "the model failed: too long",
    }  # fmt: skip
    assert rows[1]["asked"]["value"] == 8


def test_without_repair_the_question_alone_is_repeated(run: Run) -> None:
    backend = Scripted({"r0": ["?", "8"], "r1": ["9"]})
    run("ask", backend, **{**HOW, "repair": ""})
    assert backend.seen[-1].messages == backend.seen[0].messages


def test_a_replayed_answer_is_read(run: Run) -> None:
    sampling = Sampling(max_tokens=512)
    stored = []
    for row in NAMES:
        messages = messages_of([{"role": "user", "content": f"Who is {row['name']}?"}])
        request = Request(id="any", messages=messages, sampling=sampling)
        said = Completion(text=f"I know {row['name']}.", finish="stop")
        stored.append(recorded(request, Response(id="any", completions=(said,))))
    settings = {"text": "Who is {name}?"}
    rows = run("ask", ReplayBackend(stored), prompt="template", prompt_settings=settings)
    assert [row["asked"]["value"] for row in rows] == [f"I know {row['name']}." for row in NAMES]
    lost = run("ask", ReplayBackend(stored[1:], miss="error"), prompt="template", store="other",
               prompt_settings=settings)  # fmt: skip
    assert "no stored answer" in lost[0]["asked"]["failure"]
    assert lost[1:] == rows[1:]


@pytest.mark.parametrize("last", [0, 1, 3, 5])
@pytest.mark.parametrize("batch_size", [1, 2, 64])
def test_an_interrupted_stage_asks_the_rest(run: Run, last: int, batch_size: int) -> None:
    script = {"r0": ["1"], "r1": ["?", "!", "3"], "r2": ["4"], "r3": ["?", "5"]}
    rows = [{"id": f"r{n}", "name": f"Name {n}"} for n in range(4)]
    killed = Scripted(script, last)
    with pytest.raises(KeyboardInterrupt):
        run("ask", killed, rows, batch_size=batch_size, **HOW)
    again = Scripted(script)
    found = run("ask", again, rows, batch_size=batch_size, **HOW)
    assert [row["asked"]["value"] for row in found] == [1, 3, 4, 5]
    assert not {r.id for r in killed.seen} & {r.id for r in again.seen}
    assert len(killed.seen) + len(again.seen) == 7


def test_one_question_builds_on_another(run: Run) -> None:
    first = run("ask", Scripted({"r0": ["36"], "r1": ["x", "y", "z"]}), into="age", **HOW)
    backend = Scripted({"r0": ["Young."]})
    settings = {"text": "Is {age.value} old for {name}?"}
    rows = run("ask", backend, first, prompt="template", prompt_settings=settings, into="old")
    assert [m.content for m in backend.seen[0].messages] == ["Is 36 old for Ada?"]
    assert [row["old"]["value"] for row in rows] == ["Young.", None, None]
    assert rows[1]["age"] == first[1]["age"], "what was said before stays in the row"


def test_plans_name_what_they_cannot_use_and_change_with_the_code() -> None:
    plan = Plan()
    rows, model = plan.stage("test_asking_rows", rows=NAMES), plan.stage("test_asking_model")

    def stage(**params: Any) -> str:
        return plan.stage("ask", rows=rows, model=model, **params).id

    with pytest.raises(UnknownName, match='no reader named "jsn"; did you mean "json"'):
        stage(reader="jsn")
    with pytest.raises(BadRecord, match="unit_"):
        stage(prompt=HOW["prompt"], prompt_settings={"unit_": "days"})
    assert AskParams().code == ""
    assert "code" not in AskParams().model_dump()
    own = AskParams(prompt=HOW["prompt"], prompt_settings={"unit": "days"})
    assert len(own.code) == 32
    assert AskParams.model_validate(own.model_dump()) == own
    assert AskParams.model_validate({**own.model_dump(), "code": "old"}) == own
    assert stage() == stage(prompt="messages") != stage(reader="json")


def test_an_estimate_counts_one_question_per_row() -> None:
    plan = Plan()
    rows = plan.stage("import_prompts", ref="nano:train", limit=40)
    model = plan.stage("import_model", ref="nano:target")
    asked = plan.stage("ask", rows=rows, model=model, max_tokens=10)
    found = plan.estimates()[asked.id]
    assert (found.rows, found.requests, found.tokens_out, found.tokens) == (40, 40, 400, 8400)


def test_a_query_is_a_dialogue_that_ends_with_a_readable_reply() -> None:
    messages = messages_of([{"role": "user", "content": "?"}])
    query = Query("q", messages, Sampling(seed=4), lambda turn: text(turn, {}), retries=1)
    silence, said = Turn(text=""), Turn(text="yes")
    assert query.ask([said]) is None
    second = query.ask([silence])
    assert second is not None
    assert (second.id, second.sampling.seed) == ("q#2", 5)
    assert query.ask([silence, silence]) is None
    assert query.outcome([silence, said])["value"] == "yes"


# With a model


def test_a_nano_model_is_asked_and_scores_texts(run: Run) -> None:
    rows = [
        {
            "id": f"p{n}",
            "messages": [{"role": "user", "content": f"What is {n} + 2?"}],
            "texts": [f"The sum is {n + 2}.", "blue", "word " * 400],
        }
        for n in range(3)
    ]
    asked = run("ask", "nano:target", rows, max_tokens=8, batch_size=2)
    assert all(row["asked"]["reply"] for row in asked)
    scored = run("score_texts", "nano:target", rows, batch_size=2)
    backend = HFBackend(*load_causal_lm(zoo.path("target"), "cpu"))
    for row in scored:
        *found, long = row["scores"]
        messages = messages_of(row["messages"])
        for said, score in zip(row["texts"], found):
            (alone,) = backend.score([ScoreRequest(id="x", messages=messages, response=said)])
            assert score["logp"] == pytest.approx(alone.logp, abs=1e-3)
            assert (score["tokens"], score["error"]) == (alone.tokens, None)
        assert long["logp"] is None
        assert "at most 256" in long["error"]


class Scoring(ReplayBackend):
    """Scores each text by its length."""

    def score(self, requests: Sequence[ScoreRequest]) -> Iterator[Score]:
        for request in reversed(requests):
            length = len(request.response)
            yield Score(id=request.id, logp=-float(length), tokens=length)


def test_scores_are_in_the_order_of_the_texts(run: Run) -> None:
    rows = [{**row, "texts": ["a" * n for n in range(k)]} for k, row in enumerate(NAMES, 1)]
    found = run("score_texts", Scoring([]), rows, prompt=HOW["prompt"], into="likely")
    assert [[s["tokens"] for s in row["likely"]] for row in found[:2]] == [[0], [0, 1]]
    assert {s["error"] for s in found[2]["likely"]} == {"nothing was asked"}
    assert {s["logp"] for s in found[2]["likely"]} == {None}


@pytest.mark.parametrize("texts", [None, "blue", [1]])
def test_a_row_without_texts_is_named(run: Run, texts: Any) -> None:
    rows = [{"id": "r0", "name": "Ada", "texts": texts}]
    with pytest.raises(BadData, match=r'row "r0": "texts" is .*; expected a list of texts'):
        run("score_texts", Scoring([]), rows, prompt=HOW["prompt"])
