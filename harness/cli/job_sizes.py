"""Sizes of a batch job, from the plan of its command: GPUs, hours, and remarks on both."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.cli import screen
from harness.core.text import visible

DRY = "--dry-run"
GPU_GIB = 80.0  # memory of one GPU, for a remark on stages that need more
MARGIN = 2.0  # time limit over the estimated GPU time
MOST_HOURS = 24  # default limit; a longer run is queued again
UNKNOWN_HOURS = 4
WITHOUT_GPU = ("nano", "openai:")  # profiles and models that need none, by their beginning
TRAINS = ("reproduce", "sweep", "train")


@dataclass(frozen=True)
class Sizes:
    """What the plan of a command says.

    Attributes:
        name: of the command.
        parameters: its arguments and options.
        stages: of its plan, see `harness.cli.plan_view.plan_record`; None for a command without.
    """

    name: str
    parameters: Mapping[str, Any]
    stages: Sequence[Mapping[str, Any]] | None

    @classmethod
    def of(cls, command: Any, name: str, words: Sequence[str]) -> Sizes:
        """Plan a command as its --dry-run does; nothing runs.

        Args:
            command: of click.
            words: its arguments and options.

        Raises:
            UsageError, CrucibleError: as the command itself.
        """
        parameters = command.make_context(name, list(words)).params
        if not any(DRY in option.opts for option in command.params):
            return cls(name, parameters, None)
        with screen.apart() as printed:
            command.main([DRY, "--json", "--quiet", *words], standalone_mode=False)
        return cls(name, parameters, json.loads(printed.getvalue())["stages"])

    @property
    def to_do(self) -> list[Mapping[str, Any]]:
        return [stage for stage in self.stages or () if stage["to_do"]]

    @property
    def gpus(self) -> str:
        """ "1" if the command uses a GPU, as far as the plan tells, else ""."""
        if self.stages is None:
            return ""
        if any(stage["gpu_gib"] is not None for stage in self.to_do):
            return "1"
        models = self.parameters.get("models") or [self.parameters.get("model", "")]
        about = [self._scale()] if "scale" in self.parameters else models
        light = all(str(text).startswith(WITHOUT_GPU) for text in about)
        return "" if light or self.name == "rehearse" else "1"

    def _scale(self) -> str:
        """The profile that the command runs, which it chooses itself if none is given."""
        from harness.cli.runs import NANO, profile_of

        given, method = self.parameters["scale"], self.parameters.get("method") or ""
        return given or (profile_of(method, NANO) if isinstance(method, str) else NANO)

    @property
    def gpu_hours(self) -> float | None:
        """Estimated hours of the stages to do on one GPU; None if no stage has an estimate."""
        known = [s["gpu_seconds"] for s in self.to_do if s["gpu_seconds"] is not None]
        return sum(known) / 3600 if known else None

    @property
    def hours(self) -> int:
        """Time limit."""
        if self.gpu_hours is None:
            return UNKNOWN_HOURS
        return min(MOST_HOURS, max(1, math.ceil(MARGIN * self.gpu_hours)))

    def remarks(self, own_time: bool, gpus: str, requeues: int) -> list[str]:
        """Sentences for the script and the terminal.

        Args:
            own_time: whether the user gave the time limit.
            gpus: that the job asks for, "" for none.
        """
        said = []
        if self.stages is not None and not self.to_do:
            said.append("All stages are finished in this store.")
        if self.gpu_hours is not None:
            said.append(f"The plan estimates {self.gpu_hours:,.1f} hours of one A100-class GPU.")
            most = self.hours * (requeues + 1)
            if not own_time and self.gpu_hours > most:
                said.append(
                    f"{requeues + 1} jobs of {self.hours} hours are too few: raise --requeues or "
                    "--time."
                )
        elif self.stages is not None and self.to_do and not own_time:
            said.append(f"The plan has no estimate of the time; {UNKNOWN_HOURS} hours are a guess.")
        needs = [stage for stage in self.to_do if (stage["gpu_gib"] or 0) > GPU_GIB]
        if needs:
            largest = max(needs, key=lambda stage: float(stage["gpu_gib"]))
            said.append(
                f"The stage {visible(largest['label'], 60)} needs about {largest['gpu_gib']:,.0f} "
                f"GiB of GPU memory, more than one GPU of {GPU_GIB:g} GiB has."
            )
        if self.name in TRAINS and gpus.rpartition(":")[2] not in ("", "1"):
            said.append("Training takes one GPU today and stops where several are visible.")
        return said
