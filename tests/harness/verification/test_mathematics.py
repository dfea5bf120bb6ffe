"""Mathematical answers against gold answers, the hostile ones too."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import pytest

from harness.core.errors import MissingExtra
from harness.verification import mathematics
from harness.verification.mathematics import MathCheck, MathChecker

# Importing it here would take as long as starting a child.
pytestmark = pytest.mark.skipif(find_spec("math_verify") is None, reason="needs math-verify")


@pytest.fixture(scope="module")
def checker() -> Iterator[MathChecker]:
    with MathChecker(timeout_s=20) as made:
        yield made
        children = set(made._children)
    assert all(child.poll() is not None for child in children)


@pytest.mark.parametrize(
    ("gold", "response", "correct"),
    [
        ("\\frac{1}{2}", "so $x = 0.5$", True),
        ("1/2", "The answer is \\boxed{\\frac{2}{4}}.", True),
        ("x^2+2x+1", "\\boxed{(x+1)^2}", True),
        ("\\{1,2\\}", "\\boxed{\\{2,1\\}}", True),
        ("$5$", "\\boxed{4}", False),
        ("12", "First 12, then \\boxed{13}.", False),
        ("3", "I do not know", None),
        ("", "\\boxed{3}", None),
        ("7", "7\n\ud800", True),
        ("10", "\\boxed{__import__('os').system('touch pwned')}", False),
    ],
)
def test_answers(checker: MathChecker, gold: str, response: str, correct: bool | None) -> None:
    found = checker.check(gold, response)
    assert found.correct is correct
    assert bool(found.reason) is (correct is not True)


def test_endless_work_has_no_verdict_and_the_next_check_has_one(
    checker: MathChecker, monkeypatch: pytest.MonkeyPatch
) -> None:
    checker.check("1", "\\boxed{1}")
    with monkeypatch.context() as patch:
        patch.setattr(checker, "timeout_s", 0.3)
        found = checker.check("7", "\\boxed{9^{9^{9^{9^9}}}}")
    assert (found.correct, found.reason) == (None, "no verdict within 0.3 s")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    assert checker.check("7", "\\boxed{7}").correct
    (child,) = checker._children
    assert b"sk-secret" not in Path(f"/proc/{child.pid}/environ").read_bytes()


def test_a_child_that_dies_is_replaced(checker: MathChecker) -> None:
    checker.check("1", "1")
    (child,) = checker._children
    child.kill()
    child.wait()
    assert checker.check("1", "1") == MathCheck(correct=None, reason="the comparison crashed")
    assert checker.check("1", "1").correct


def test_threads_do_not_mix_answers(checker: MathChecker) -> None:
    def check(number: int) -> bool | None:
        return checker.check(str(number % 3), f"\\boxed{{{number}}}").correct

    with ThreadPoolExecutor(1) as pool:
        found = pool.map(check, range(12))
        assert [check(n) for n in range(12, 24)] == [False] * 12
        assert list(found) == [n % 3 == n for n in range(12)]
    assert len(checker._children) == 2


def test_a_missing_package_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mathematics, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"crucible-bench\[verify\]"):
        MathChecker()
