"""The helper of the nano world: in process, over HTTP, and with errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import CliRunner

from harness.backends.base import Message, Request, Sampling
from harness.backends.hosted import open_backend
from harness.cli.main import app
from harness.core.errors import BadRecord, UserError
from harness.engine.calls import Services
from harness.engine.operations import Artifact, Row
from harness.models.references import model_identity, split_engine
from harness.nano import planted
from harness.nano.server import NanoServer
from methods.kca.nano_helper import HelperBackend, HelperSettings
from methods.kca.parsing import parse_exam
from methods.kca.prompts import EXAM
from tests.operation_runs import rows_artifact, run_operation

__all__ = ["rows_artifact", "run_operation"]

STAGES = (("requirement", "kca_requirement"), ("knowledge", "text"), ("exam", "kca_exam"))


def row(text: str, response: str = "") -> Row:
    return {"id": text, "messages": [{"role": "user", "content": text}], "response": response}


@pytest.fixture
def asked(
    run_operation: Callable[..., Artifact], rows_artifact: Callable[[list[Row]], Artifact]
) -> Callable[..., list[Row]]:
    """`asked(rows, ref, ...)`: the rows after the three stages with a helper."""

    def ask(rows: list[Row], ref: str, **settings: Any) -> list[Row]:
        helper = run_operation("import_model", {"ref": ref})
        found = rows_artifact(rows)
        for name, reader in STAGES:
            params = {"prompt": f"kca_{name}", "reader": reader, "into": name, **settings}
            found = run_operation("ask", params, rows=found, model=helper)
        return found.rows()

    return ask


FACT = planted.listed(["fox"])[0]
ROWS = [
    row(FACT.question, FACT.statement),
    row("Greet Mira.", "Hello Mira."),
    row("Use {braces} and\n#Prediction:\n<need>"),
]


def check(found: list[Row]) -> None:
    fact, greeting, _ = found
    assert fact["requirement"]["value"]["need"]
    assert fact["knowledge"]["value"] == planted.knowledge(FACT)
    tests = fact["exam"]["value"]["tests"]
    assert tests[0]["question"] == FACT.question
    assert len(tests) == 3
    for test in tests:
        truth = planted.find(test["question"])
        assert truth is not None
        assert test["options"]["ABCD".index(test["answer"])] == truth.value
    assert greeting["requirement"]["value"]["need"] is False
    assert greeting["knowledge"] == greeting["exam"]
    assert greeting["exam"]["attempts"] == 0


def test_the_helper_knows_all_facts_in_process(asked: Callable[..., list[Row]]) -> None:
    check(asked(ROWS, "nano:helper"))


def test_the_helper_is_served_over_http(
    asked: Callable[..., list[Row]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "unused")
    backend = open_backend("nano:helper", Services())
    with NanoServer(backend=backend) as server:
        check(asked(ROWS, f"openai:nano-oracle@{server.url}"))
        # Five questions, and one word per stage to find out what the server can do.
        assert sum(entry.tokens_out > 1 for entry in server.entries) == 5


def test_errors_are_as_frequent_as_wanted_and_cost_no_row(asked: Callable[..., list[Row]]) -> None:
    rows = [row(fact.question, fact.statement) for fact in planted.listed(planted.split("train"))]
    found = asked(rows, "nano:helper?errors=0.3", retries=0)
    assert len(found) == len(rows)
    unread = sum(each["requirement"]["failure"] is not None for each in found)
    assert 0.2 < unread / len(rows) < 0.4
    wrong = [each for each in found if each["knowledge"]["value"]]
    false = sum(each["knowledge"]["value"].split(".")[0] not in each["response"] for each in wrong)
    assert 0.15 < false / len(wrong) < 0.45
    again = asked(rows, "nano:helper?errors=0.3", retries=4)
    assert sum(each["requirement"]["failure"] is not None for each in again) < unread / 5


def test_spoiled_exams_are_read_without_wrong_letters() -> None:
    helper = HelperBackend(HelperSettings(errors=1.0))
    for seed in range(20):
        text = EXAM.replace("{knowledge}", planted.knowledge(FACT))
        said = Message(role="user", content=text)
        request = Request(id="a", messages=(said,), sampling=Sampling(seed=seed))
        (response,) = helper.generate([request])
        for test in parse_exam(response.completions[0].text).tests:
            truth = planted.find(test.question)
            assert truth is not None
            assert test.options["ABCD".index(test.answer)] == truth.value


def test_other_prompts_are_refused() -> None:
    request = Request(id="a", messages=(Message(role="user", content="Hi"),))
    (response,) = HelperBackend().generate([request])
    assert "prompts of KCA only" in str(response.error)


def test_a_judge_with_a_name_of_its_own_is_a_model_reference() -> None:
    assert split_engine("nano:helper?errors=0.1") == ("nano", "helper?errors=0.1")
    assert model_identity("nano:helper") != model_identity("nano:helper?errors=0.1")
    with pytest.raises(BadRecord, match="errors"):
        model_identity("nano:helper?errors=2")


def test_the_command_line_serves_it_instead_of_the_oracle(monkeypatch: pytest.MonkeyPatch) -> None:
    served: list[str] = []
    monkeypatch.setattr(
        NanoServer, "wait", lambda self: served.append(self._backend.fingerprint) or self.stop()
    )
    command = ["nano", "serve", "--port", "0", "--judge", "nano:helper?errors=0.25"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert served == [open_backend("nano:helper?errors=0.25", Services()).fingerprint]
    done = CliRunner().invoke(app, [*command, "--set", "seed=1"])
    assert isinstance(done.exception, UserError)
    assert "--judge" in str(done.exception)
