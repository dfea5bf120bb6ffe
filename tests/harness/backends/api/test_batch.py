"""The batch transport against a fake of files and batches."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.backends.api import batch as batches
from harness.backends.openai import OpenAIBackend
from harness.core.errors import UserError
from tests.harness.backends.api.conftest import ask
from tests.harness.backends.api.fake_server import Asked, FakeServer, Reply, answer, error

Make = Callable[..., OpenAIBackend]


class BatchServer:
    """Files and batches; live calls are answered too. `polls` retrievals pass before the end."""

    def __init__(self, polls: int = 1, end: str = "completed") -> None:
        self.polls, self.end = polls, end
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, dict[str, Any]] = {}
        self.fate: Callable[[dict[str, Any]], dict[str, Any] | None] = self.answered
        self.live = 0

    def __call__(self, asked: Asked) -> Reply:
        path = asked.path.removeprefix("/v1")
        if path == "/chat/completions":
            self.live += 1
            return Reply(body=answer(asked))
        if path == "/files":
            (part,) = re.findall(rb"\r\n\r\n(\{.*\})\n\r\n", asked.content, re.DOTALL)
            return Reply(body={"id": self.keep(part), "object": "file"})
        if path.startswith("/batches?"):
            return Reply(body={"object": "list", "data": list(self.batches.values())})
        if path == "/batches" and asked.method == "POST":
            return Reply(body=self.create(asked.body))
        if path.startswith("/batches/"):
            return Reply(body=self.poll(path.removeprefix("/batches/")))
        return Reply(body=self.files[path.split("/")[2]])

    def keep(self, content: bytes) -> str:
        name = f"file-{len(self.files)}"
        self.files[name] = content
        return name

    def create(self, body: dict[str, Any]) -> dict[str, Any]:
        id = f"batch-{len(self.batches)}"
        lines = self.files[body["input_file_id"]].splitlines()
        self.batches[id] = {
            "id": id,
            "object": "batch",
            "status": "validating",
            "endpoint": body["endpoint"],
            "input_file_id": body["input_file_id"],
            "metadata": body["metadata"],
            "request_counts": {"total": len(lines), "completed": 0, "failed": 0},
            "left": self.polls,
        }
        return self.batches[id]

    def poll(self, id: str) -> dict[str, Any]:
        found = self.batches[id]
        found["left"] -= 1
        if found["left"] < 0 and found["status"] != self.end:
            found["status"] = self.end
            if self.end == "failed":
                found["errors"] = {"data": [{"message": "line 1 is not JSON"}]}
                return found
            lines = [json.loads(line) for line in self.files[found["input_file_id"]].splitlines()]
            fates = [self.fate(line) for line in lines]
            for field, wanted in (("output_file_id", 200), ("error_file_id", 400)):
                mine = [f for f in fates if f and f["response"]["status_code"] == wanted]
                if mine:
                    found[field] = self.keep(b"\n".join(json.dumps(f).encode() for f in mine))
        return found

    @staticmethod
    def answered(line: dict[str, Any]) -> dict[str, Any] | None:
        asked = Asked(0, "POST", line["url"], {}, json.dumps(line["body"]).encode())
        return BatchServer.line(line, 200, answer(asked))

    @staticmethod
    def line(line: dict[str, Any], status: int, body: dict[str, Any]) -> dict[str, Any]:
        response = {"status_code": status, "request_id": "r", "body": body}
        return {"id": "x", "custom_id": line["custom_id"], "response": response, "error": None}


@pytest.fixture
def priced(tmp_path: Path) -> Path:
    path = tmp_path / "prices.toml"
    path.write_text(
        '[models."judge-1"]\nusd_per_million_in = 1000.0\nusd_per_million_out = 1000.0\n'
    )
    return path


def requests(count: int) -> list[Any]:
    return [ask(f"r{n}", f"prompt {n}") for n in range(count)]


OPTIONS = {"max_tokens_field": "max_tokens"}  # no probe


def test_a_batch_answers_and_is_stored_at_half_the_price(backend: Make, priced: Path) -> None:
    behave = BatchServer()
    with FakeServer(behave) as server:
        judge = backend(server.url, OPTIONS, batch=True, prices=priced)
        answers = {r.id: r for r in judge.generate([*requests(5), ask("twin", "prompt 0")])}
        assert len(answers) == 6
        assert answers["r3"].completions[0].text.startswith("reply ")
        assert answers["r3"].cost_usd == pytest.approx(0.5 * 0.013)
        assert judge.services.account.cost_usd == pytest.approx(5 * 0.5 * 0.013)
        assert behave.live == 0
        assert len(behave.files[behave.batches["batch-0"]["input_file_id"]].splitlines()) == 5
        live = backend(server.url, OPTIONS)
        assert all(r.cached for r in live.generate(requests(5)))
        assert behave.live == 0
        assert live.fingerprint == judge.fingerprint


def test_what_the_server_takes_is_found_out_before_a_file_is_sent(backend: Make) -> None:
    behave = BatchServer()

    def newer(asked: Asked) -> Reply:
        if asked.path.endswith("/chat/completions") and "max_tokens" in asked.body:
            return error(400, "use 'max_completion_tokens' instead")
        return behave(asked)

    with FakeServer(newer) as server:
        list(backend(server.url, batch=True).generate(requests(3)))
        assert behave.live == 1
        assert b"max_completion_tokens" in behave.files["file-0"]


def test_large_sets_are_cut(backend: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "MOST_CALLS", 4)
    with FakeServer(behave := BatchServer()) as server:
        assert len(list(backend(server.url, OPTIONS, batch=True).generate(requests(10)))) == 10
        sizes = [b["request_counts"]["total"] for b in behave.batches.values()]
        assert sizes == [4, 4, 2]


def test_an_interrupted_run_waits_for_its_batch(backend: Make) -> None:
    behave = BatchServer(polls=1000)
    with FakeServer(behave) as server:
        judge = backend(server.url, OPTIONS, batch=True)
        client = judge._client(judge._store())
        calls = [judge._asked(request).calls[0] for request in requests(4)]
        # What an interruption leaves: sent and noted, not collected.
        lines = next(batches._files(client, calls))
        client._background.call(batches._submit(client, lines))
        judge.services.close()
        behave.polls = 0
        behave.batches["batch-0"]["left"] = 0
        again = list(backend(server.url, OPTIONS, batch=True).generate(requests(6)))
        assert [r.error for r in again] == [None] * 6
        totals = [b["request_counts"]["total"] for b in behave.batches.values()]
        assert totals == [4, 2]
        # Collected batches are forgotten.
        list(backend(server.url, OPTIONS, batch=True).generate(requests(7)))
        assert len(behave.batches) == 3


def test_a_batch_whose_note_was_lost_is_found_again(backend: Make) -> None:
    with FakeServer(behave := BatchServer()) as server:
        judge = backend(server.url, OPTIONS, batch=True)
        client = judge._client(judge._store())
        calls = [judge._asked(request).calls[0] for request in requests(4)]
        lines = next(batches._files(client, calls))
        id = client._background.call(batches._submit(client, lines))
        batches._forget(client, id)
        assert len(list(judge.generate(requests(4)))) == 4
        assert len(behave.batches) == 1


def test_lines_with_errors_fail_alone_and_are_sent_anew(backend: Make) -> None:
    behave = BatchServer()

    def fate(line: dict[str, Any]) -> dict[str, Any] | None:
        prompt = line["body"]["messages"][0]["content"]
        if prompt == "prompt 1":
            return behave.line(line, 400, {"error": {"message": "too long"}})
        if prompt == "prompt 2":
            return behave.line(line, 200, {"choices": []})
        return None if prompt == "prompt 3" else behave.answered(line)

    behave.fate = fate
    behave.end = "expired"
    with FakeServer(behave) as server:
        judge = backend(server.url, OPTIONS, batch=True)
        answers = {r.id: r.error for r in judge.generate(requests(5))}
        assert [answers["r0"], answers["r4"]] == [None, None]
        assert "too long" in (answers["r1"] or "")
        assert "no choices" in (answers["r2"] or "")
        assert "expired" in (answers["r3"] or "")
        behave.fate, behave.end = behave.answered, "completed"
        assert [r.error for r in judge.generate(requests(5))] == [None] * 5
        assert behave.batches["batch-1"]["request_counts"]["total"] == 3


def test_a_refused_file_names_batch_and_reason(backend: Make) -> None:
    with FakeServer(BatchServer(end="failed")) as server:
        with pytest.raises(UserError, match="batch batch-0 was refused: line 1 is not JSON"):
            list(backend(server.url, OPTIONS, batch=True).generate(requests(2)))
        with pytest.raises(UserError, match="batch batch-1"):
            list(backend(server.url, OPTIONS, batch=True).generate(requests(2)))


def test_a_server_without_batches(backend: Make) -> None:
    with (
        FakeServer(lambda asked: error(404, "Not Found")) as server,
        pytest.raises(UserError, match="run without --batch"),
    ):
        list(backend(server.url, OPTIONS, batch=True).generate(requests(2)))


def test_the_limit_of_cost_is_checked_before_anything_is_sent(backend: Make, priced: Path) -> None:
    with FakeServer(behave := BatchServer()) as server:
        judge = backend(server.url, OPTIONS, batch=True, prices=priced, max_cost_usd=0.05)
        with pytest.raises(UserError, match="--max-cost"):
            list(judge.generate(requests(50)))
        assert behave.files == {}
        assert len(list(judge.generate(requests(2)))) == 2
