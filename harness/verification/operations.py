"""Row operations that check responses; results are stored, so no response is checked twice.

verify_mathematics    response rows with `answer` -> the same rows with `checks`
verify_final_answers  response rows with `answer` -> the same rows with `checks` and `found`
verify_code           response rows with `tests`  -> the same rows with `checks`

`checks` is a list with one object per response, see `MathCheck` and `CodeCheck`; `found` is the
list of final answers, null where a response gives none.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

from pydantic import Field

from harness.core.errors import BadData
from harness.core.records import Record
from harness.engine import costs
from harness.engine.operations import Artifact, Context, Row, operation
from harness.verification.code import LONGEST, Limits, check_code, extract_code, split_tests
from harness.verification.final_answers import final_answer
from harness.verification.final_answers_released import released_answer, released_equal
from harness.verification.mathematics import MathChecker
from harness.verification.screening import objection


class VerifyMathematicsParams(Record):
    """Parameters of `verify_mathematics`.

    Attributes:
        field: column with the gold answer.
        timeout_s: seconds per check.
        memory_mb: address space of a checking process.
        batch_size: rows per stored batch.
    """

    field: str = "answer"
    timeout_s: float = Field(default=5.0, gt=0)
    memory_mb: int = Field(default=2048, ge=256)
    batch_size: int = Field(default=64, ge=1)


class VerifyFinalAnswersParams(VerifyMathematicsParams):
    """Parameters of `verify_final_answers`; see `VerifyMathematicsParams` for the common ones.

    Attributes:
        rule: "values" compares what the answers mean, "compat" their texts as released.
    """

    rule: Literal["values", "compat"] = "values"


class VerifyCodeParams(Record):
    """Parameters of `verify_code`.

    Attributes:
        field: column with the tests: a list, or a script for `split_tests`.
        entry_point: column with the name of what `check(candidate)` receives, where there is one.
        limits: resource limits of the checked code.
        static_only: only compile and screen the code; needs no permission and passes no test.
        batch_size: rows per stored batch.
    """

    field: str = "tests"
    entry_point: str = "entry_point"
    limits: Limits = Limits()
    static_only: bool = Field(default=False, exclude_if=lambda value: not value)
    batch_size: int = Field(default=8, ge=1)


@operation(
    "verify_mathematics",
    version=1,
    params=VerifyMathematicsParams,
    rows="responses",
    libraries=("math-verify", "latex2sympy2_extended", "sympy"),
    batch_size=lambda params: params.batch_size,
    estimate=costs.rows_of("responses"),
)
def verify_mathematics(
    context: Context,
    params: VerifyMathematicsParams,
    batches: Iterable[list[Row]],
    *,
    responses: Artifact,
) -> Iterator[list[Row]]:
    """Compare the last answer of each response with the row's gold answer.

    Raises:
        BadData: a row without a gold answer.
        MissingExtra: math-verify is not installed.
    """
    with MathChecker(params.timeout_s, params.memory_mb) as checker, _pool() as pool:

        def check(row: Row, response: str) -> Row:
            return checker.check(str(row[params.field]), response).model_dump()

        for batch in batches:
            yield _checked(batch, params.field, check, pool)


@operation(
    "verify_final_answers",
    version=1,
    params=VerifyFinalAnswersParams,
    rows="responses",
    libraries=("math-verify", "latex2sympy2_extended", "sympy"),
    batch_size=lambda params: params.batch_size,
    estimate=costs.rows_of("responses"),
)
def verify_final_answers(
    context: Context,
    params: VerifyFinalAnswersParams,
    batches: Iterable[list[Row]],
    *,
    responses: Artifact,
) -> Iterator[list[Row]]:
    """Compare the final answer of each response with the row's gold answer.

    Raises:
        BadData: a row without a gold answer.
        MissingExtra: math-verify is not installed; "compat" does not need it.
    """
    if params.rule == "compat":
        for batch in batches:
            yield [_released(row, params.field) for row in _with_gold(batch, params.field)]
        return
    with MathChecker(params.timeout_s, params.memory_mb) as checker, _pool() as pool:

        def check(row: Row, response: str) -> Row:
            answer = final_answer(response)
            return checker.check_answer(str(row[params.field]), answer).model_dump()

        for batch in batches:
            for row in (checked := _checked(batch, params.field, check, pool)):
                row["found"] = [final_answer(response) for response in row["responses"]]
            yield checked


def _released(row: Row, field: str) -> Row:
    found = [released_answer(response) for response in row["responses"]]
    checks = [{"correct": released_equal(str(row[field]), one), "reason": ""} for one in found]
    return {**row, "checks": checks, "found": found}


@operation(
    "verify_code",
    version=2,
    params=VerifyCodeParams,
    rows="responses",
    batch_size=lambda params: params.batch_size,
    estimate=costs.rows_of("responses"),
)
def verify_code(
    context: Context,
    params: VerifyCodeParams,
    batches: Iterable[list[Row]],
    *,
    responses: Artifact,
) -> Iterator[list[Row]]:
    """Run each row's tests against the code in each response.

    A test passes if at least one assertion holds; functions and classes of tests are run.
    Permission to execute code is a setting of the run (--allow-code-execution), never of a recipe.

    Raises:
        BadData: a row without tests.
        UserError: the run does not permit code execution.
        EnvironmentProblem: this machine supports no confinement, or only the weak one.
    """
    settings = context.services.settings

    def check(row: Row, response: str) -> Row:
        tests = row[params.field]
        tests = split_tests(tests) if isinstance(tests, str) else tests
        code = extract_code(response)
        if params.static_only:
            reason = objection(code[:LONGEST])
            return {"static_ok": not reason, "reason": reason}
        found = check_code(
            code,
            tests,
            params.limits,
            entry_point=str(row.get(params.entry_point) or ""),
            allow_code_execution=settings.allow_code_execution,
            allow_weak_isolation=settings.allow_weak_isolation,
        )
        return found.model_dump()

    with _pool() as pool:
        for batch in batches:
            yield _checked(batch, params.field, check, pool)


def _pool() -> ThreadPoolExecutor:
    """Threads that wait for child processes, one per core."""
    return ThreadPoolExecutor(os.cpu_count())


def _checked(
    batch: list[Row], field: str, check: Callable[[Row, str], Row], pool: ThreadPoolExecutor
) -> list[Row]:
    batch = _with_gold(batch, field)
    work = [(row, response) for row in batch for response in row["responses"]]
    found = iter(list(pool.map(lambda pair: check(*pair), work)))
    return [{**row, "checks": [next(found) for _ in row["responses"]]} for row in batch]


def _with_gold(batch: list[Row], field: str) -> list[Row]:
    for row in batch:
        if not row.get(field):
            raise BadData(f'row "{row["id"]}" has no {field}, which its responses are checked by')
    return batch
