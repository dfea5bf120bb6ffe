"""Settings of the search, as records."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from harness.backends.base import Sampling
from harness.backends.opening import EngineParams
from harness.core.records import Record
from methods.explore_instruct.domains import DOMAINS, DomainName, Rejects
from methods.explore_instruct.parsing import Reader
from methods.explore_instruct.policy import PolicyName
from methods.explore_instruct.prompts import Form, Wording, reply_schema

MOST_EXAMPLES = 60_000  # of a task, released code
Positive = Annotated[int, Field(ge=1)]


class Asking(EngineParams):
    """How an explorer is asked and its replies are read.

    Attributes:
        form: requested form of replies; replies in the other form are read as well.
        enforce: have a server keep its replies to the JSON schema; not every server can.
        parser: "released" reads text as the released code does, and needs form = "text".
        rejects: rules that reject examples; None takes the domain's.
        seed: of decoding, and of the choice of demonstrations.
    """

    domain: DomainName = "general"
    form: Form = "json"
    enforce: bool = Field(default=False, exclude_if=lambda value: not value)
    parser: Literal["robust", "released"] = "robust"
    rejects: Rejects | None = None
    temperature: float = Field(default=1.0, ge=0)
    top_p: float = Field(default=1.0, gt=0, le=1)
    max_tokens: int = Field(default=2048, ge=1)
    seed: int = 42

    @model_validator(mode="after")
    def _readable(self) -> Asking:
        if self.parser == "released" and self.form != "text":
            raise ValueError('form = "text", because the released parser reads no JSON')
        if self.enforce and self.form != "json":
            raise ValueError('form = "json", whose schema a server can enforce')
        return self

    @property
    def wording(self) -> Wording:
        return Wording(domain=self.domain, form=self.form)

    @property
    def reader(self) -> Reader:
        rejects = self.rejects or DOMAINS[self.domain].rejects
        return Reader(self.domain, rejects, released=self.parser == "released")

    def sampling(self, kind: Literal["extend", "enrich"]) -> Sampling:
        """Decoding settings of calls of a kind."""
        return Sampling(
            reply_schema=reply_schema(kind) if self.enforce else "",
            temperature=self.temperature,
            top_p=self.top_p,
            max_tokens=self.max_tokens,
            seed=self.seed,
        )


class Extension(Record):
    """How a tree is extended.

    Attributes:
        depth: K, the depth of the deepest tasks; 0 leaves the tree as it is.
        breadth: B, sub-tasks of each task by its depth.
        policy: see `methods.explore_instruct.policy`.
        per_call: M, sub-tasks per call; breadth_first asks for all that are missing, at least M.
        max_children: most sub-tasks per task.
        examples: asked for with each new sub-task; it needs at least `least_examples` good ones.
        demonstrations: examples of the parent that a prompt shows.
        batch: calls about one task at once.
        max_calls: budget of calls per task.
        patience: calls in a row without a new sub-task that close a task.
        released: count and keep sub-tasks as the released code does.
    """

    depth: int = Field(default=2, ge=0)
    breadth: tuple[Positive, ...] = (8, 6)
    policy: PolicyName = "breadth_first"
    per_call: int = Field(default=3, ge=1)
    max_children: int = Field(default=12, ge=1)
    examples: int = Field(default=2, ge=1)
    least_examples: int = Field(default=1, ge=0)
    demonstrations: int = Field(default=2, ge=0)
    batch: int = Field(default=1, ge=1)
    max_calls: int = Field(default=10, ge=1)
    patience: int = Field(default=3, ge=1)
    released: bool = False

    @model_validator(mode="after")
    def _breadth_of_each_depth(self) -> Extension:
        if len(self.breadth) < self.depth:
            raise ValueError(
                f"one breadth per depth from 0 to {self.depth - 1}; found {len(self.breadth)}"
            )
        return self


class Enrichment(Record):
    """How tasks are enriched.

    Attributes:
        examples: N, examples per task.
        per_call: examples per call.
        demonstrations: examples of the parent that a prompt shows.
        batch: calls about one task at once.
        max_calls: budget of calls per task; None is twice the number that N needs, at least 5.
        patience: calls in a row without a new example that end a task.
        unique: drop examples whose instruction and input a task has already.
    """

    examples: int = Field(default=500, ge=1, le=MOST_EXAMPLES)
    per_call: int = Field(default=10, ge=1)
    demonstrations: int = Field(default=2, ge=0)
    batch: int = Field(default=8, ge=1)
    max_calls: int | None = Field(default=None, ge=1)
    patience: int = Field(default=10, ge=1)
    unique: bool = True

    @property
    def budget(self) -> int:
        """Calls per task, at most."""
        return self.max_calls or max(5, 2 * -(-self.examples // self.per_call))
