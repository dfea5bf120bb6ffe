"""Supervised training whose tokens belong to groups with a weight each.

    loss = sum_t w_t (-log pi(u_t | x, u_<t)) / sum_t w_t,   w_t = weight of the group of u_t

The sums run over all tokens of an update, so that accumulation is exact; where all weights are zero
the loss and its gradient are zero. Equal weights are plain supervised fine-tuning.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from harness.core.errors import BadData
from harness.models.collate import pad
from harness.models.heads import hidden_states, output_head
from harness.models.logprobs import gathered_logprobs, top_logprobs
from harness.models.tokenize import IGNORE, TokenSequence
from harness.training.objective import Batch, Counts, Objective, Sums


@dataclass(frozen=True)
class WeightedSequence:
    """A sequence and the group of each of its tokens (T,), 0 where nothing is trained."""

    tokens: TokenSequence
    groups: list[int]


def token_weights(groups: Tensor, weights: Sequence[float]) -> Tensor:
    """Weight of each position, from its group: 0 for group 0, then `weights` in order."""
    return torch.tensor([0.0, *weights], device=groups.device)[groups]


def weighted_nll(logps: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted sum of negative log-probabilities, and the sum of weights; any equal shapes."""
    return -(logps * weights.to(logps)).sum(), weights.sum()


def share_right(predicted: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Number of predictions that equal their target, and of all; (M,) each."""
    number = torch.tensor(len(targets), device=targets.device)
    return (predicted == targets).sum(), number


@dataclass(frozen=True)
class WeightedTokens(Objective):
    """The loss of the module docstring on rows of one or several sequences.

    Logs the loss per token of each group, and the accuracy of the most likely token over the whole
    vocabulary for the groups in `accuracy_of`.

    Attributes:
        weights: name of each group -> its weight; the first one is group 1.
    """

    weights: Mapping[str, float]
    pad_id: int
    accuracy_of: tuple[str, ...] = ()

    def collate(self, examples: Sequence[Sequence[WeightedSequence]]) -> Batch:
        """{input_ids, attention_mask, labels, groups: (N, T)} of the sequences of all rows."""
        flat = [each for example in examples for each in example]
        batch = pad([each.tokens for each in flat], self.pad_id)
        groups = torch.zeros_like(batch["labels"])
        for row, each in zip(groups, flat):
            if len(each.groups) != len(each.tokens.input_ids):
                raise BadData(
                    f"{len(each.groups)} groups for {len(each.tokens.input_ids)} tokens; expected "
                    "one group per token"
                )
            row[: len(each.groups)] = torch.tensor(each.groups)
        # A first token is predicted by nothing; a token without a label is not trained.
        groups[:, 0] = 0
        return {**batch, "groups": groups.masked_fill(batch["labels"] == IGNORE, 0)}

    def counts(self, batch: Batch) -> Counts:
        return {"loss": token_weights(batch["groups"], list(self.weights.values())).sum()}

    def sums(
        self, model: nn.Module, batch: Batch, scheduled: Mapping[str, float]
    ) -> tuple[Sums, Sums]:
        hidden, head = hidden_states(model, batch)[:, :-1], output_head(model)
        groups, targets = batch["groups"][:, 1:], batch["labels"][:, 1:]
        trained = groups > 0
        wanted, group, states = targets[trained], groups[trained], hidden[trained]
        logps = gathered_logprobs(states, head, wanted[:, None])[:, 0]
        weights = token_weights(group, list(self.weights.values()))
        logged: Sums = {}
        for number, name in enumerate(self.weights, start=1):
            mine = group == number
            logged[f"{name}/nll"] = weighted_nll(logps[mine].detach(), mine[mine].float())
            if name in self.accuracy_of:
                targets_here = wanted[mine]
                _, best, _ = top_logprobs(states[mine].detach(), head, 1, targets_here[:, None])
                logged[f"{name}/accuracy"] = share_right(best[:, 0], targets_here)
        return {"loss": weighted_nll(logps, weights)}, logged
