"""FuseChat-3.0: preference optimisation for heterogeneous model fusion (arXiv 2503.04222).

    prompts of a domain ──> responses of its sources ──> rewards, and checks where there are answers
         ──> one table of candidates per prompt set ──> rules ──┬──> best responses ──> SFT
                                                                └──> pairs of one source ──> DPO

Preferences that exist (`data.preferences`) replace everything up to the rules.

With y_w and y_l the chosen and rejected response, pi the policy, pi0 the target after SFT and |y|
the number of tokens of y,

    L = -log sigmoid( beta log(pi/pi0)(y_w) - beta log(pi/pi0)(y_l) ),

where for Llama targets each term is divided by its |y| (`train.loss = "ln_dpo"`), with a beta a
thousand times as large.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from harness.core.records import Record
from harness.data.prompts import prompts_identity
from harness.engine.operations import Estimate
from harness.engine.recipe import About, Method, Refers, Rehearsed
from harness.training import from_responses
from harness.training.from_responses import Decoding, ResponsesRecipe
from harness.training.given_preferences import GivenPreferences, check_responses, given_rows
from harness.verification.selection import Rule

RECIPE = Path(__file__).with_name("recipe.toml")
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


def candidates(recipe: FuseChat3Recipe, stage: Any, given: PromptSet) -> Any:
    """The table of all responses to a prompt set with their rewards and checks."""
    domain = recipe.domains[given.domain]
    data = recipe.data
    rows = data.limit or given.limit or (given.published and given.published[0])
    fields = {"split", "field", "turn", "categories", "carry", "written_by"}
    prompts = stage(
        "import_prompts",
        ref=given.prompts,
        limit=data.limit or given.limit,
        digest=prompts_identity(given.prompts),
        label=f"prompts {given.key}",
        hint=Estimate(rows=rows),
        **given.model_dump(include=fields),
    )
    found, sampling = {}, {}
    if given.written_by:
        found[given.written_by] = prompts  # its responses come with the prompts
    for spec in recipe.models.sources:
        name = spec.display_name()
        if domain.sources and name not in domain.sources:
            continue
        decoding = recipe.decoding(name, domain)
        sampling[name] = decoding.model_dump(exclude={"batch_size"})
        of = from_responses.model(spec, stage)
        found[name] = from_responses.responses_of(
            recipe, stage, of=of, on=prompts, decoding=decoding, name=name
        )
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


def sft(recipe: FuseChat3Recipe, stage: Any) -> Any:
    """The target after SFT on the best responses."""
    if recipe.data.preferences is None:
        return from_responses.sft_on(recipe, stage, rows(recipe, stage, "sft"))
    if not recipe.data.sft_fraction:
        return from_responses.model(recipe.models.target, stage)
    preferred = rows(recipe, stage, "sft")
    return from_responses.sft_on(recipe, stage, preferred, "SFT on preferred responses")


def fusechat3(recipe: FuseChat3Recipe, stage: Any) -> Any:
    """The SFT model after (length-normalised) DPO on pairs of one source."""
    given = recipe.data.preferences
    if given is not None:
        check_responses(given, recipe.train.loss, None)
    return from_responses.trained_on(
        recipe,
        stage,
        rows(recipe, stage, "preference"),
        sft(recipe, stage),
        loss=recipe.train.loss,
        responses=("chosen", "rejected") if given is None else None,
    )


FUSECHAT3 = Method("fusechat3", FuseChat3Recipe, fusechat3, RECIPE)
FUSECHAT3_SFT = Method("fusechat3_sft", FuseChat3Recipe, sft)
