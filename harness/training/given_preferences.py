"""Preference data that exist, in place of sampled and ranked responses.

    preferences ──┬──> preferred responses of a part ──> SFT
                  └──> preference rows of the rest

The recipe field `data.preferences` names the data; the functions add their stages to a plan.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator

from harness.core.errors import BadData
from harness.core.records import Record
from harness.data.preferences import (
    ImportPreferencesParams,
    preferences_identity,
    responses_in,
)
from harness.engine.recipe import About, Recipe, Refers
from harness.training.losses import get_loss


class Preferences(Record):
    """Preference data that exist; a text is the `ref` alone.

    Attributes:
        ref: file, folder, data set of the hub or nano:<split>, see `harness.data.preferences`.
        revision: of a data set of the hub.
        bad_rows: whether rows that cannot be used stop the run, or are left out and counted.
    """

    ref: Annotated[str, Refers("preferences")]
    split: Annotated[str, Refers("layout"), About("ref")] = "train"
    revision: Annotated[str | None, Refers("layout"), About("ref")] = None
    bad_rows: Literal["refuse", "drop"] = "refuse"

    def params(self, limit: int | None) -> ImportPreferencesParams:
        """Parameters of the operation that imports them."""
        found = preferences_identity(self.ref, self.revision)
        return ImportPreferencesParams(**self.model_dump(), limit=limit, digest=found)


def _by_reference(value: object) -> object:
    return {"ref": value} if isinstance(value, str) else value


# Type of the field `data.preferences`; a recipe without it has the id that it had before.
GivenPreferences = Annotated[Preferences | None, BeforeValidator(_by_reference)]


def part_of(recipe: Recipe, stage: Any, rows: Any, name: str, fraction: float, label: str) -> Any:
    """The rows of one of the two parts, of which "sft" has the given share."""
    return stage(
        "split_prompts",
        prompts=rows,
        part=name,
        fraction=fraction,
        seed=recipe.seed,
        label=label,
    )


def given_rows(
    recipe: Recipe, stage: Any, given: Preferences, limit: int | None, fraction: float
) -> dict[str, Any]:
    """Preferences that exist, in two parts: "sft", the preferred responses, and "preference".

    Args:
        limit: number of rows to keep.
        fraction: share of the rows whose preferred response is used for SFT; 0 makes no part "sft".
    """
    every = stage(
        "import_preferences",
        label=f"preferences {given.ref}",
        **given.params(limit).model_dump(),
    )
    if not fraction:
        return {"preference": every}
    sft, rest = (
        part_of(recipe, stage, every, name, fraction, f"{name} rows")
        for name in ("sft", "preference")
    )
    return {
        "sft": stage("preferred_responses", rows=sft, label="preferred responses"),
        "preference": rest,
    }


def check_responses(given: Preferences, loss: str, responses: tuple[str, ...] | None) -> None:
    """Refuse a loss on responses that given preferences do not have, where that can be known.

    Raises:
        BadData: with the responses of both.
    """
    wanted = responses or get_loss(loss).responses
    found = responses_in(given.params(None))
    if found is not None and not set(wanted) <= set(found):
        raise BadData(
            f'{given.ref} has the responses {", ".join(found)}; loss "{loss}" compares '
            f"{', '.join(wanted)}: give quadruples (chosen: two answers, of a source and of the "
            "target), or train on pairs, e.g. crucible reproduce dpo"
        )
