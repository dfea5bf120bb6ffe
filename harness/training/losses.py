"""Preference losses: the signature that all share, and how they are found by name.

A loss is a pure function with a record of its settings, whatever its number of responses K:

    loss(logps, reference, lengths, *, settings) -> (losses, metrics)

    logps      (B, K)  log pi(y_k|x), summed over the tokens of the response
    reference  (B, K)  the same under the frozen reference policy; None where not needed
    lengths    (B, K)  number of response tokens
    settings           a record of `PreferenceLoss.settings`
    losses     (B,)    one per prompt; the loss of a batch is their mean
    metrics    "rewards" (B, K), "margins" (B,), "accuracy" (B,), detached

Columns are in the order of `PreferenceLoss.responses`, the preferred ones first and the rejected
one last. Arithmetic is float32, float64 for float64 input. A loss whose weights change during
training declares them (`PreferenceLoss.scheduled`) and receives them as further keyword arguments.

Catalogues list losses by name in their table LOSSES (`harness.training.pair_losses` defines the
built-in ones); any other loss is "package.module:name". This module loads without torch.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import Field, SerializeAsAny, ValidationInfo, field_validator

from harness.core.errors import BadData, BadRecord, unknown
from harness.core.records import Record, parse
from harness.engine.registry import load_target, table

if TYPE_CHECKING:
    from torch import Tensor

Result = tuple["Tensor", dict[str, "Tensor"]]


@dataclass(frozen=True)
class PreferenceLoss:
    """A loss and what it needs; called like its function.

    Attributes:
        settings: the record of its settings.
        responses: names of the columns in the table of a preference row.
        scheduled: keyword argument of the function -> its value from (settings, finished updates,
            updates of the whole run).
        batch_coupled: whether the loss of a row depends on the other rows of its batch.
    """

    function: Callable[..., Result]
    settings: type[Record]
    responses: tuple[str, ...] = ("target", "rejected")
    needs_reference: bool = True
    batch_coupled: bool = False
    scheduled: Mapping[str, Callable[[Any, int, int], float]] = field(default_factory=dict)

    def __call__(
        self,
        logps: Tensor,
        reference: Tensor | None,
        lengths: Tensor,
        *,
        settings: Record,
        **scheduled: float,
    ) -> Result:
        found = self.function(logps, reference, lengths, settings=settings, **scheduled)
        return self._checked(found, len(logps))

    def _checked(self, found: Any, rows: int) -> Result:
        """What the function returned.

        Raises:
            BadData: it is not one loss per row and the metrics.
        """
        where = f'loss "{self.function.__module__}:{self.function.__qualname__}"'
        if not isinstance(found, tuple) or len(found) != 2 or not isinstance(found[1], dict):
            raise BadData(
                f"{where} returned {_shown(found)}; expected a tuple (losses, metrics), as "
                "harness.training.losses.with_metrics returns it"
            )
        losses, metrics = found
        if _shown(losses) != f"a tensor of shape ({rows},)":
            raise BadData(
                f"{where} returned losses that are {_shown(losses)}; expected a loss per row, of "
                f"shape ({rows},): leave the mean to the trainer"
            )
        return losses, metrics

    def scheduled_at(self, settings: Record, step: int, total: int) -> dict[str, float]:
        """The scheduled arguments after `step` of `total` updates."""
        return {name: value(settings, step, total) for name, value in self.scheduled.items()}


def _shown(value: Any) -> str:
    from torch import Tensor  # loaded by now; the module itself loads without torch

    if not isinstance(value, Tensor):
        return f"a {type(value).__name__}"
    return f"a tensor of shape {tuple(value.shape)}" if value.ndim else "a scalar tensor"


def preference_loss(
    settings: type[Record],
    *,
    responses: tuple[str, ...] = ("target", "rejected"),
    needs_reference: bool = True,
    batch_coupled: bool = False,
    scheduled: Mapping[str, Callable[[Any, int, int], float]] | None = None,
) -> Callable[[Callable[..., Result]], PreferenceLoss]:
    """Make a loss of a function of the common signature.

    class MySettings(Record):
        beta: float = 0.1

    @preference_loss(MySettings, responses=("source", "target", "rejected"))
    def my_loss(logps, reference, lengths, *, settings): ...
    """
    if not (isinstance(settings, type) and issubclass(settings, Record)):
        raise TypeError(
            f"preference_loss takes the record of the loss's settings first; found {settings!r}"
        )

    def make(function: Callable[..., Result]) -> PreferenceLoss:
        return PreferenceLoss(
            function, settings, responses, needs_reference, batch_coupled, scheduled or {}
        )

    return make


def get_loss(name: str) -> PreferenceLoss:
    """The loss that a catalogue calls `name`, or the one at "package.module:name".

    Raises:
        UnknownName: with the nearest name.
    """
    known: dict[str, str] = table("LOSSES")
    module, _, attribute = name.rpartition(":")
    if not module and name not in known:
        raise unknown("preference loss", name, known)
    try:
        found = load_target(known.get(name, name))
    except ModuleNotFoundError as error:
        if error.name is None or not module.startswith(error.name):
            raise
        raise unknown("preference loss", name, known) from None
    except AttributeError:
        found = None
    if not isinstance(found, PreferenceLoss):
        others = vars(sys.modules[module]) if module else {}
        losses = [key for key, value in others.items() if isinstance(value, PreferenceLoss)]
        raise unknown(f"preference loss of {module}", attribute, losses)
    return found


def loss_settings(name: str, given: Mapping[str, object]) -> Record:
    """Settings as the record of the loss called `name`.

    Raises:
        UnknownName: no such loss.
        BadRecord: a key that the loss does not have, or a wrong value.
    """
    record = get_loss(name).settings
    for key in given:
        if key not in record.model_fields:
            raise BadRecord(str(unknown(f'setting of loss "{name}"', key, record.model_fields)))
    return parse(record, given, f'settings of loss "{name}"')


class LossChoice(Record):
    """A loss and its settings, for records that hold them.

    Attributes:
        loss: preference loss, by its name in a catalogue or as "package.module:name".
    """

    loss: str = "dpo"
    settings: SerializeAsAny[Record] = Field(
        default_factory=lambda data: get_loss(data["loss"]).settings()
    )

    @field_validator("loss")
    @classmethod
    def _known(cls, name: str) -> str:
        get_loss(name)
        return name

    @field_validator("settings", mode="before")
    @classmethod
    def _of_the_loss(cls, given: object, info: ValidationInfo) -> object:
        given = given.model_dump() if isinstance(given, Record) else given
        if isinstance(given, Mapping) and "loss" in info.data:
            return cls.settings_of(info.data["loss"], given)
        return given  # refused by the types of the fields

    @classmethod
    def settings_of(cls, loss: str, given: Mapping[str, object]) -> Record:
        """The record that `settings` becomes."""
        return loss_settings(loss, given)


def with_metrics(losses: Tensor, rewards: Tensor, preferred: Tensor | None = None) -> Result:
    """Add the metrics; `preferred` (B,) is the preferred side's reward, by default column 0."""
    rewards = rewards.detach()
    better = rewards[:, 0] if preferred is None else preferred.detach()
    margins = better - rewards[:, -1]
    accuracy = (margins > 0).to(margins.dtype)
    return losses, {"rewards": rewards, "margins": margins, "accuracy": accuracy}


def required_reference(reference: Tensor | None) -> Tensor:
    if reference is None:
        raise BadData(
            "this preference loss compares with a reference policy, but no reference "
            "log-probabilities were given; add a reference_logps stage"
        )
    return reference
