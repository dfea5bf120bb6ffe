"""Recipe of FuseChat-3.0, and its plan up to the training rows: responses, candidates, rules."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from harness.core.records import Record
from harness.data.prompts import prompts_identity
from harness.engine.operations import Estimate
from harness.engine.recipe import About, Refers, Rehearsed
from harness.training import from_responses
from harness.training.from_responses import Decoding, ResponsesRecipe
from harness.training.given_preferences import GivenPreferences, given_rows
from harness.verification.selection import Rule

Check = Literal["", "mathematics", "code", "static"]
CHECKS = {"mathematics": "verify_mathematics", "code": "verify_code", "static": "verify_code"}


class Domain(Record):
    """Sampling, checks and selection for the prompts of a domain.

    Attributes:
        sources: names of the models that answer; () is all.
        n: responses of each source per prompt.
        check: "mathematics" (against the `answer` of rows), "code" (by their `tests`; the run must
            allow it), "static" (code that is inspected but not run), or "" for rewards alone.
        rewards: whether responses are scored; unnecessary with a single response.
    """

    sources: tuple[str, ...] = ()
    n: int = Field(ge=1)
    check: Annotated[Check, Rehearsed(lambda check: "static" if check == "code" else check)] = ""
    rewards: bool = True
    rule: Rule = Rule()


class PromptSet(Record):
    """Prompts of one domain from one data set, read as `ImportPromptsParams` describes.

    Attributes:
        name: distinguishes sets of one domain, each of which is split into SFT and preference rows.
        published: prompts, SFT rows and preference pairs in the paper, for estimates of a plan.
    """

    domain: str
    name: str = ""
    prompts: Annotated[str, Refers("prompts")]
    split: Annotated[str, Refers("layout"), About("prompts")] = "train"
    field: Annotated[str | None, Refers("layout"), About("prompts")] = None
    turn: Annotated[Literal["last", "first"], Refers("layout")] = Field(
        default="last", exclude_if=lambda value: value == "last"
    )
    categories: Annotated[tuple[str, ...], Refers("categories")] = ()
    carry: Annotated[dict[str, str], Refers("columns")] = {}
    written_by: str = ""
    limit: int | None = Field(default=None, ge=2)
    published: Annotated[tuple[int, int, int] | None, About("prompts")] = None

    @property
    def key(self) -> str:
        return f"{self.domain}/{self.name}" if self.name else self.domain


class Data(Record):
    """Prompt sets.

    Attributes:
        domains: domains in use; () is all.
        limit: maximal number of prompts of each set.
        verify: whether answers are checked as the domains say; otherwise rewards alone decide.
        preferences: preferences that exist; they replace sets, domains, sources and rewards.
        sft_fraction: share of these preferences used for SFT (4:6 in the paper); 0 starts
            preference training from the target itself.
    """

    sets: tuple[PromptSet, ...] = ()
    domains: tuple[str, ...] = ()
    limit: int | None = Field(default=None, ge=2)
    verify: bool = True
    preferences: GivenPreferences = Field(default=None, exclude_if=lambda value: value is None)
    sft_fraction: float = Field(default=0.4, ge=0, lt=1, exclude_if=lambda value: value == 0.4)


class SourceSampling(Record):
    """Sampling settings of some sources that differ from the others; None does not differ."""

    sources: tuple[str, ...]
    temperature: float | None = None
    top_p: float | None = None
    repetition_penalty: float | None = None


class FuseChat3Recipe(ResponsesRecipe):
    """Settings of FuseChat-3.0."""

    data: Data
    domains: dict[str, Domain] = {}
    source_sampling: tuple[SourceSampling, ...] = ()

    @model_validator(mode="after")
    def _names_are_known(self) -> FuseChat3Recipe:
        if self.data.preferences is None:
            self.models.check_sampled()
            if not self.data.sets:
                raise ValueError("data.sets, or preferences that exist: data.preferences")
        sources = {spec.display_name() for spec in self.models.sources}
        named = {name for domain in self.domains.values() for name in domain.sources}
        named |= {name for own in self.source_sampling for name in own.sources}
        for name in sorted(named - sources):
            raise ValueError(f'sources named {", ".join(sorted(sources))}; "{name}" is none')
        wanted = {*self.data.domains, *(found.domain for found in self.data.sets)}
        for name in sorted(wanted - set(self.domains)):
            raise ValueError(f'domains among {", ".join(self.domains)}; "{name}" is none')
        return self

    def sets(self) -> tuple[PromptSet, ...]:
        """Prompt sets in use."""
        data = self.data
        return tuple(s for s in data.sets if not data.domains or s.domain in data.domains)

    def decoding(self, source: str, domain: Domain) -> Decoding:
        """Decoding settings of a source for a domain."""
        settings = {**self.sampling.model_dump(), "n": domain.n}
        for own in self.source_sampling:
            if source in own.sources:
                settings |= own.model_dump(exclude={"sources"}, exclude_none=True)
        return Decoding(**settings)


def prompts_of(
    recipe: FuseChat3Recipe, stage: Any, given: PromptSet, most: int | None = None
) -> Any:
    """The prompts of a set, at most `most` of them."""
    data = recipe.data
    limits = [limit for limit in (data.limit or given.limit, most) if limit is not None]
    rows = data.limit or given.limit or (given.published and given.published[0])
    fields = {"split", "field", "turn", "categories", "carry", "written_by"}
    return stage(
        "import_prompts",
        ref=given.prompts,
        limit=min(limits, default=None),
        digest=prompts_identity(given.prompts),
        label=f"prompts {given.key}",
        hint=Estimate(rows=rows),
        **given.model_dump(include=fields),
    )


def responses_of(recipe: FuseChat3Recipe, stage: Any, given: PromptSet) -> dict[str, Any]:
    """The responses of each source of a domain to a prompt set, without those that come with it."""
    domain, prompts = recipe.domains[given.domain], prompts_of(recipe, stage, given)
    return {
        name: from_responses.responses_of(
            recipe,
            stage,
            of=from_responses.model(spec, stage),
            on=prompts,
            decoding=recipe.decoding(name, domain),
            name=name,
        )
        for spec in recipe.models.sources
        for name in [spec.display_name()]
        if not domain.sources or name in domain.sources
    }


def candidates(recipe: FuseChat3Recipe, stage: Any, given: PromptSet) -> Any:
    """The table of all responses to a prompt set with their rewards and checks."""
    domain, data = recipe.domains[given.domain], recipe.data
    own = responses_of(recipe, stage, given)
    sampling = {
        name: recipe.decoding(name, domain).model_dump(exclude={"batch_size"}) for name in own
    }
    found = dict(own)
    if given.written_by:  # its responses come with the prompts
        found = {given.written_by: prompts_of(recipe, stage, given), **own}
    for name, responses in found.items():
        if domain.rewards:
            found[name] = from_responses.scored(recipe, stage, responses, f"{given.key} {name}")
        if domain.check and data.verify:
            static = {"static_only": True} if domain.check == "static" else {}
            label = f"check {given.key} {name}"
            found[name] = stage(CHECKS[domain.check], responses=found[name], label=label, **static)
    return stage(
        "candidate_table",
        answered=list(found.values()),
        domain=given.key,
        sampling=sampling,
        label=f"candidates {given.key}",
    )


def rows(recipe: FuseChat3Recipe, stage: Any, part: str) -> Any:
    """SFT rows or preference pairs of all prompt sets, or of preferences that exist."""
    data = recipe.data
    if data.preferences is not None:
        given = given_rows(recipe, stage, data.preferences, data.limit, data.sft_fraction)
        return given[part]
    sets = recipe.sets()
    rules = {given.key: recipe.domains[given.domain].rule for given in sets}
    if not recipe.data.verify:
        rules = {
            key: rule.model_copy(update={"verified": False, "split": "share"})
            for key, rule in rules.items()
        }
    counts = [given.published[1 + (part == "preference")] for given in sets if given.published]
    expected = sum(counts) if len(counts) == len(sets) and not recipe.data.limit else None
    return stage(
        "select_training_rows",
        candidates=[candidates(recipe, stage, given) for given in sets],
        part=part,
        rules=rules,
        seed=recipe.seed,
        label=f"{part} rows",
        hint=Estimate(rows=expected, responses=2 if part == "preference" else None),
    )
