"""Scores of answers from a function of prompt and answer, where there is no reward model.

    rate(row, response, **settings) -> a finite number

The catalogues' table SCORERS names such functions; "package.module:function" names any other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from pydantic import Field, model_validator

from harness.backends.prompting import code_of, function
from harness.core.records import Record
from harness.engine import costs
from harness.engine.operations import Artifact, Context, Row, operation
from methods.seft.labels import check_finite


class RateAnswersParams(Record):
    """Which function rates.

    Attributes:
        scorer, settings: function and its keyword arguments.
        code: digest of the module of a function that no table names; computed, never given.
    """

    scorer: str
    settings: dict[str, Any] = {}
    code: str = Field(default="", exclude_if=lambda value: not value)

    @model_validator(mode="before")
    @classmethod
    def _with_code(cls, data: Any) -> Any:
        return {**data, "code": code_of([data.get("scorer")])} if isinstance(data, dict) else data

    @model_validator(mode="after")
    def _fits(self) -> RateAnswersParams:
        function("SCORERS", self.scorer, 2, self.settings)
        return self


@operation(
    "rate_answers",
    version=1,
    params=RateAnswersParams,
    rows="responses",
    batch_size=lambda params: 256,
    estimate=costs.rows_of("responses"),
)
def rate_answers(
    context: Context,
    params: RateAnswersParams,
    batches: Iterable[list[Row]],
    *,
    responses: Artifact,
) -> Iterator[list[Row]]:
    """Add `rewards`, one number per response, as `score_rewards` does.

    Raises:
        BadData: a score is not finite; names the row.
    """
    rate = function("SCORERS", params.scorer, 2, params.settings)
    for batch in batches:
        rated = []
        for row in batch:
            rewards = [float(rate(row, text)) for text in row["responses"]]
            for value in rewards:
                check_finite(f'row "{row["id"]}": the score by {params.scorer}', value)
            rated.append({**row, "rewards": rewards})
        yield rated
