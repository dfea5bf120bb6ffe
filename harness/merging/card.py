"""The README.md of a merged checkpoint; imports no torch."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from harness.core.text import code_span, markdown

CARD = "merge.json"


def card_text(card: Mapping[str, Any]) -> str:
    """Model card in Markdown: inputs, settings, and weights by kind of tensor."""
    roles = ["base", *(f"target {number}" for number in range(1, len(card["models"])))]
    lines = ["# Merged model", "", "| | model | identity |", "|---|---|---|"]
    for role, model in zip(roles, card["models"]):
        lines.append(f"| {role} | {markdown(model['name'])} | {markdown(model['identity'])} |")
    lines += ["", f"Settings: {code_span(json.dumps(card['settings'], sort_keys=True))}", ""]
    if card["notes"]:
        lines += [*(f"* {markdown(note)}" for note in card["notes"]), ""]
    table = weight_rows(card["weights"])
    if table:
        lines += [f"Weights: mean (least to greatest); of each tensor: {CARD}.", ""]
        lines += [f"| tensors | {' | '.join(roles[1:])} |", "|---" * len(roles) + "|"]
        plain = re.compile(r"[\w .*()-]*")
        lines += [
            f"| {' | '.join(c if plain.fullmatch(c) else markdown(c) for c in row)} |"
            for row in table
        ]
    return "\n".join(lines).rstrip() + "\n"


def weight_rows(weights: Mapping[str, Sequence[float] | None]) -> list[list[str]]:
    """Table rows by kind of tensor, layers pooled: name, then each target's mean and range.

    >>> weight_rows({"layers.0.w": [0.25, 0.75], "layers.1.w": [0.75, 0.25], "ids": None})
    [['2 x layers.*.w', '0.5000 (0.2500 to 0.7500)', '0.5000 (0.2500 to 0.7500)']]
    """
    kinds: dict[str, list[Sequence[float]]] = {}
    for name, listed in weights.items():
        if listed is not None:
            kinds.setdefault(re.sub(r"\.\d+\.", ".*.", name), []).append(listed)
    return [
        [f"{len(rows)} x {kind}"]
        + [f"{sum(c) / len(c):.4f} ({min(c):.4f} to {max(c):.4f})" for c in zip(*rows)]
        for kind, rows in kinds.items()
    ]
