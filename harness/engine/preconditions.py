"""Preconditions: what must be true of a run before a paper's effect can appear in it.

    WRPO = Method("wrpo", FusionRecipe, wrpo, RECIPE, preconditions=Preconditions(LISTED, measured))

A method declares which figures they are (`Precondition`) and a plan of the stages that measure them
in its own run. These stages write cells of the suite `preconditions`; boards show them in a section
of their own and never rank. A figure that a suite of the recipe measures anyway is only named.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from harness.core.records import Record
from harness.engine.plan import Handle, StageMaker

SUITE = "preconditions"
FAMILY = ":*"  # ends the name of a metric that has a cell for each of several parts


class Precondition(Record):
    """One line of the table: which cells, and what they mean.

    Attributes:
        text: what the figure is.
        needs: what the effect needs of it; "" for a figure given beside another one.
        metric: of the cells; "name:*" is one per part, such as a domain.
        suite: of the cells.
        systems: () shows those of all systems.
    """

    text: str
    metric: str
    needs: str = ""
    suite: str = SUITE
    systems: tuple[str, ...] = ()

    def shows(self, system: str, suite: str, metric: str) -> bool:
        """Whether a cell belongs to this line.

        >>> Precondition(text="", metric="bits:*").shows("target", "preconditions", "bits:sort")
        True
        """
        name = self.metric.removesuffix(FAMILY)
        same = metric.startswith(f"{name}:") if name != self.metric else metric == name
        return same and suite == self.suite and (not self.systems or system in self.systems)

    def part(self, metric: str) -> str:
        """Name of the part that a cell of a family is about; "" for a single metric."""
        name = self.metric.removesuffix(FAMILY)
        return metric.removeprefix(f"{name}:") if name != self.metric else ""


class Measuring(Protocol):
    """(recipe, stage, planned, suite, scale, seed) -> the stages that write the cells.

    `planned` is what the plan of each system of the run returned, by name; `about` are parameters
    that all these stages share: suite, scale and seed.
    """

    def __call__(
        self, recipe: Any, stage: StageMaker, planned: Mapping[str, Any], **about: Any
    ) -> Sequence[Handle]: ...


@dataclass(frozen=True)
class Preconditions:
    """The preconditions of a method.

    Attributes:
        listed: lines of the table, in order; or the function that gives those of a recipe.
        plan: stages that write cells of the suite `preconditions`; None if suites of the recipe
            measure everything. It may return none, for instance where nothing is known to be right.
    """

    listed: tuple[Precondition, ...] | Callable[[Any], tuple[Precondition, ...]]
    plan: Measuring | None = None

    def lines(self, recipe: Any) -> tuple[Precondition, ...]:
        """The lines for a recipe."""
        return self.listed if isinstance(self.listed, tuple) else self.listed(recipe)

    def stages(
        self, recipe: Any, stage: StageMaker, planned: Mapping[str, Any], scale: str, seed: int
    ) -> tuple[Handle, ...]:
        """The measuring stages for one seed."""
        if self.plan is None:
            return ()
        return tuple(self.plan(recipe, stage, planned, suite=SUITE, scale=scale, seed=seed))


def listed(declared: Iterable[Preconditions | None], recipe: Any) -> tuple[Precondition, ...]:
    """The lines of several methods for a recipe, each once."""
    return tuple(dict.fromkeys(line for found in declared if found for line in found.lines(recipe)))
