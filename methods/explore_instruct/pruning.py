"""Which tasks are dropped because their names say the same as an earlier task's.

Tasks are taken in level order and their names compared with all kept names, the root's included;
ROUGE-L F above the threshold drops a task (released code, generate_instruction.py).
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.data.instructions.diversity import Decision, diversity_filter
from harness.data.instructions.rouge_l import Compare, Tokenize, rouge_tokens

THRESHOLD = 0.7


def prune_tasks(
    root: str,
    names: Sequence[str],
    threshold: float = THRESHOLD,
    *,
    compare: Compare = "float_compat",
    tokenize: Tokenize = rouge_tokens,
) -> list[Decision]:
    """One decision per name, in level order; the root itself is always kept.

    `most_similar` is an index in [root, *names]. Names without a token of `tokenize`, such as those
    in Chinese with the default, are never dropped.

    >>> [decision.kept for decision in prune_tasks("Editing", ["Change tone", "Change the tone"])]
    [True, False]
    """
    decisions = diversity_filter(
        [root, *names], threshold, compare=compare, tokenize=tokenize, details=True
    )
    return decisions[1:]
