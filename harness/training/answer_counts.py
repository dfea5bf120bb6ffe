"""Counts of the answers that a training reads: trained, cut, left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from harness.engine.io import write_json
from harness.engine.operations import Context
from harness.models.tokenize import CutAnswers

_TAUGHT = {
    "no_end": "trained without an end of turn",
    "end": "trained to end where they were cut",
    "leave_out": "left out with their rows",
}


@dataclass
class AnswerCounts:
    """Counts over the rows of one training, for its summary and notes.

    Attributes:
        rows: rows that are trained.
        cut: answers that reached their token limit, by response.
        left_out: rows that are not trained: with a cut answer, if the rule is "leave_out", or
            with an answer that has no token.
    """

    rule: CutAnswers
    rows: int = 0
    left_out: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    cut: Counter[str] = field(default_factory=Counter)

    def keep(self, cut: Mapping[str, bool], *, empty: bool) -> bool:
        """Count a row, and say whether it is trained.

        Args:
            cut: whether each of its answers was cut.
            empty: an answer has no token to train.
        """
        self.answers.update(cut.keys())
        self.cut.update(name for name, was in cut.items() if was)
        kept = not empty and not (self.rule == "leave_out" and any(cut.values()))
        self.rows += kept
        self.left_out += not kept
        return kept

    def nothing(self, what: str = "rows") -> str:
        """Why there is no row to train on."""
        if not self.left_out:
            return f"there are no {what} to train on"
        return (
            f"all {self.left_out} {what} are left out: their answers reached the token limit or "
            'are empty; sample with a higher max_tokens, or set cut_answers = "no_end"'
        )

    def report(self, context: Context) -> None:
        """Write summary.json, and note cut answers and rows left out."""
        summary = {
            "rows": self.rows,
            "left_out": self.left_out,
            "answers": dict(self.answers),
            "cut": {name: self.cut[name] for name in self.answers},
        }
        write_json(context.directory / "summary.json", summary, end="")
        cut, answers = self.cut.total(), self.answers.total()
        if cut:
            parts = ", ".join(f"{name} {count}" for name, count in self.cut.items())
            where = f" ({parts})" if len(self.answers) > 1 else ""
            context.note(
                f"{cut} of {answers} answers reached their token limit{where}: {_TAUGHT[self.rule]}"
            )
        if self.left_out:
            context.note(f"{self.left_out} of {self.rows + self.left_out} rows left out")
