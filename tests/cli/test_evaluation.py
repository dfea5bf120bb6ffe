"""`crucible eval` with a hosted judge: stored outputs, resuming, limits, mistakes, secrets."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.nano import world
from harness.nano.faults import FaultScript, fault
from harness.nano.server import NanoServer
from tests.cli.in_process import crucible_here
from tests.cli.test_messages import crucible

PROMPTS = 12


@pytest.fixture(scope="module")
def server() -> Iterator[NanoServer]:
    with NanoServer() as running:
        yield running


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    """Answers of a made-up system to the first prompts of the nano AlpacaEval set."""
    rows = [
        {"instruction": item.turns[0], "output": world.reference_answer(item)}
        for item in world.items("alpaca_eval2", PROMPTS)
    ]
    path = tmp_path / "outputs.json"
    path.write_text(json.dumps(rows), encoding="utf-8")
    return path


def arguments(outputs: Path, url: str, *more: str, judge: str = "") -> list[str]:
    judge = judge or f"openai:nano-oracle@{url}"
    chosen = ["--suite", "alpaca_eval2", "--data", "nano", "--limit", str(PROMPTS)]
    return ["eval", str(outputs), "--judge", judge, *chosen, *more]


def value(printed: str) -> str:
    return next(line for line in printed.splitlines() if "win_rate" in line and "lc" not in line)


def test_scores_come_from_the_server_once_and_from_stored_responses_after(
    outputs: Path, server: NanoServer, tmp_path: Path
) -> None:
    command = arguments(outputs, server.url)
    planned = crucible(*command, "--plan", cwd=tmp_path)
    assert "at most" in planned.stdout
    assert "unpriced" in planned.stdout
    assert not server.entries
    first = crucible(*command, cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    assert f"{PROMPTS}/{PROMPTS}" in value(first.stdout)
    asked = len(server.entries)
    # The system, and the baseline's verbose and concise variants; equal answers ask nobody.
    assert PROMPTS <= asked <= 3 * PROMPTS
    again = crucible(*command, cwd=tmp_path)
    assert value(again.stdout) == value(first.stdout)
    shutil.rmtree(tmp_path / "home" / "artifacts")
    offline = crucible(*command, "--offline", cwd=tmp_path)
    assert offline.returncode == 0, offline.stderr
    assert value(offline.stdout) == value(first.stdout)
    assert f"{asked} from stored responses" in offline.stdout
    assert len(server.entries) == asked


def test_the_server_and_the_judge_in_process_agree(
    outputs: Path, server: NanoServer, tmp_path: Path
) -> None:
    hosted = crucible_here(*arguments(outputs, server.url), cwd=tmp_path)
    local = crucible_here(
        *arguments(outputs, server.url, judge="nano:oracle?unknown=generic"), cwd=tmp_path
    )
    assert local.returncode == 0, local.stderr
    assert value(hosted.stdout) == value(local.stdout)


def test_offline_without_stored_responses_names_the_row(
    outputs: Path, server: NanoServer, tmp_path: Path
) -> None:
    done = crucible_here(*arguments(outputs, server.url, "--offline"), cwd=tmp_path)
    assert done.returncode == 2
    last = done.stderr.strip().splitlines()[-1]  # after the lines of the stages
    assert last.startswith("crucible: ")
    assert "without --offline" in last


def test_a_wrong_key_stops_at_once_and_shows_up_nowhere(outputs: Path, tmp_path: Path) -> None:
    with NanoServer(key="right") as guarded:
        command = arguments(outputs, guarded.url)
        command[command.index("--judge") + 1] += "?key=MY_KEY"
        missing = crucible_here(*command, cwd=tmp_path)
        wrong = crucible_here(*command, cwd=tmp_path, MY_KEY="sk-not-the-right-one")
        asked = len(guarded.entries)
        right = crucible_here(*command, cwd=tmp_path, MY_KEY="right")
    for done in (missing, wrong):
        assert done.returncode in (2, 3)
        assert "MY_KEY" in done.stderr
    assert asked < PROMPTS
    assert right.returncode == 0, right.stderr
    for path in (tmp_path / "home").rglob("*"):
        assert not path.is_file() or b"sk-not-the-right-one" not in path.read_bytes()
    assert "sk-not-the-right-one" not in missing.stderr + wrong.stderr + wrong.stdout


def test_a_missing_key_is_noticed_before_anything_is_sampled(tmp_path: Path) -> None:
    done = crucible_here(
        *("eval", "nano:target", "--suite", "alpaca_eval2", "--data", "nano", "--limit", "4"),
        *("--judge", "openai:m@http://127.0.0.1:9/v1?key=NO_SUCH_KEY"),
        cwd=tmp_path,
    )
    assert done.returncode == 3
    assert "NO_SUCH_KEY is not set" in done.stderr
    assert not list((tmp_path / "home").glob("artifacts/*/*"))


def test_failed_judgments_are_counted_bounded_and_asked_again(
    outputs: Path, tmp_path: Path
) -> None:
    with NanoServer(faults=FaultScript(faults=(fault("500@1,2"),))) as flaky:
        command = arguments(outputs, flaky.url, "--retries", "0", "--concurrency", "1")
        first = crucible_here(*command, cwd=tmp_path)
        assert first.returncode == 0, first.stderr
        assert "--retry-failed" in first.stdout
        before = len(flaky.entries)
        second = crucible_here(*command, "--retry-failed", cwd=tmp_path)
        assert second.returncode == 0, second.stderr
        assert f"{PROMPTS}/{PROMPTS}" in value(second.stdout)
        assert len(flaky.entries) - before == 2


def test_a_cost_limit_needs_a_price_and_stops_before_it_is_passed(
    outputs: Path, server: NanoServer, tmp_path: Path
) -> None:
    command = arguments(outputs, server.url, "--max-cost", "0.001")
    unpriced = crucible_here(*command, cwd=tmp_path)
    assert unpriced.returncode == 2
    assert "--prices" in unpriced.stderr
    prices = tmp_path / "prices.toml"
    prices.write_text(
        '[models."nano-oracle"]\nusd_per_million_in = 1.0\nusd_per_million_out = 2.0\n'
    )
    stopped = crucible_here(*command, "--prices", str(prices), "--concurrency", "1", cwd=tmp_path)
    assert stopped.returncode == 2
    assert "--max-cost 0.001" in stopped.stderr
    assert "USD" in stopped.stdout
    command[command.index("--max-cost") + 1] = "1"
    enough = crucible_here(*command, "--prices", str(prices), cwd=tmp_path)
    assert enough.returncode == 0, enough.stderr
    assert "from stored responses" in enough.stdout


def test_outputs_for_other_instructions_are_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.jsonl"
    other.write_text(json.dumps({"instruction": "Another?", "output": "No."}) + "\n")
    done = crucible_here(
        "eval", str(other), "--suite", "alpaca_eval2", "--limit", "4", cwd=tmp_path
    )
    assert done.returncode == 2
    assert "answers none of the 4 prompts" in done.stderr


def test_prompts_that_stored_outputs_leave_out_are_failures(outputs: Path, tmp_path: Path) -> None:
    rows = json.loads(outputs.read_text())
    outputs.write_text(json.dumps(rows[2:]))
    done = crucible_here(
        *("eval", str(outputs), "--suite", "alpaca_eval2", "--limit", str(PROMPTS)), cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert f"{PROMPTS - 2}/{PROMPTS}" in value(done.stdout)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--data", "offical"], 'did you mean "official"?'),
        (["--set", "arena_hard.limit=3"], "expected SUITE.KEY=VALUE"),
        (["--set", "alpaca_eval2.ordrs=both"], 'did you mean "orders"?'),
        (["--judge", "openai:"], "openai"),
        (["--judge", "openai:m@http://me:hunter2@host/v1"], "key="),
        (["--judge", "openai:m@ftp://host/v1"], "http"),
        (["--judge", "openai:m?logprob=no"], "logprob"),
        (["--set", "alpaca_eval2.annotator=gpt5"], "annotator"),
    ],
)
def test_mistakes_get_one_line(more: list[str], message: str, tmp_path: Path) -> None:
    done = crucible_here("eval", "nano:target", "--suite", "alpaca_eval2", *more, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert "hunter2" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_board_is_written_where_asked(tmp_path: Path, outputs: Path) -> None:
    out = tmp_path / "board"
    done = crucible_here(
        *("eval", str(outputs), "--suite", "alpaca_eval2", "--limit", "6", "--out", str(out)),
        *("--name", "mine"),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert "mine" in (out / "board.md").read_text()
    checked = crucible_here("board", str(out), "--check", cwd=tmp_path)
    assert checked.returncode == 0, checked.stderr


def test_a_hosted_model_that_is_interviewed_is_listed_and_its_key_is_missed_first(
    tmp_path: Path,
) -> None:
    file = tmp_path / "authors.csv"
    file.write_text("id,text,agr,con,ext,neu,opn\na,I went out.,1,0,1,0,1\nb,I read.,0,1,0,1,0\n")
    command = ["eval", "openai:gpt-4o", "--suite", "personality_essays"]
    command += ["--set", f"personality_essays.authors={file}"]
    planned = crucible_here(*command, "--plan", cwd=tmp_path)
    assert "gpt-4o: 1 stage asks it, how often is unknown" in planned.stdout  # and no zeros
    run = crucible_here(*command, cwd=tmp_path, OPENAI_API_KEY="")
    assert run.returncode == 3
    assert "OPENAI_API_KEY is not set" in run.stderr


@pytest.fixture
def provider() -> Iterator[str]:
    """The shared fake provider's address; each manner is a path of it."""
    cases = Path(os.environ.get("CRUCIBLE_CASES") or Path(__file__).parents[3] / "shared" / "cases")
    path = cases / "judging" / "fake_provider.py"
    if not path.is_file():
        pytest.skip(f"needs the shared fake provider, {path} (or $CRUCIBLE_CASES)")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, str(path), str(port)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as running:
        for _ in range(600):  # until it listens
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
        running.terminate()


@pytest.mark.slow
def test_refused_judgments_do_not_stop_a_run_or_its_repetition(
    provider: str, tmp_path: Path
) -> None:
    rows = [
        {"uid": item.id, "messages": [{"role": "assistant", "content": {"answer": "Yes."}}]}
        for item in world.items("arena_hard", 20)
    ]
    answers = tmp_path / "answers.jsonl"
    answers.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    command = [
        *("eval", str(answers), "--judge", f"openai:m@{provider}/re-waf-403/v1"),
        *("--suite", "arena_hard", "--data", "nano", "--limit", "20"),
    ]
    for more in ([], ["--retry-failed"]):
        done = crucible_here(*command, *more, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "some judgments failed" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("manner", "scored", "failed"), [("lp-some", PROMPTS, 0), ("lp-half", 0, PROMPTS)]
)
def test_log_probabilities_of_a_provider(
    outputs: Path, provider: str, tmp_path: Path, manner: str, scored: int, failed: int
) -> None:
    rows = json.loads(outputs.read_text())
    outputs.write_text(json.dumps([{**row, "output": "Yes."} for row in rows]))
    done = crucible_here(*arguments(outputs, f"{provider}/{manner}/v1"), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    shown = value(done.stdout).split()
    assert shown[-2:] == [f"{scored}/{PROMPTS}", str(failed)]
