"""Scalar rewards of conversations from a sequence classifier of transformers.

A batch is padded so that a conversation gets the same reward as alone. A classifier without a pad
token reads the last position, so it is temporarily given a pad id that does not occur in the batch;
one with a pad token finds the last other token, so its own pad token is used.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from harness.core.errors import BadData, EnvironmentProblem, UserError
from harness.models import chat
from harness.models.threads import map_chunks

Conversation = Sequence[chat.Message]


class RewardModel:
    """A reward model and its tokenizer.

    Args:
        model, tokenizer: as `harness.models.checkpoints.load_reward_model` returns them.
        max_rows: maximum number of conversations read at once.
        max_length: number of tokens after which conversations are cut; None refuses those that are
            longer than the model reads.
    """

    def __init__(
        self, model: Any, tokenizer: Any, *, max_rows: int = 64, max_length: int | None = None
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.max_rows = max_rows
        self.max_length = max_length
        self._lock = threading.Lock()
        text_config = model.config.get_text_config()
        self._pad: int | None = text_config.pad_token_id
        self._vocabulary: int = text_config.vocab_size
        self._context = getattr(text_config, "max_position_embeddings", None) or 1 << 30

    def token_ids(self, conversation: Conversation) -> list[int]:
        """Token ids of a conversation as the model reads it.

        Raises:
            BadData: it is longer than the model reads.
            UserError: the tokenizer has no chat template.
        """
        ids = chat.conversation_ids(self.tokenizer, conversation)
        if self.max_length is not None:
            ids = ids[: self.max_length]
        if len(ids) > self._context:
            raise BadData(
                f"a conversation of {len(ids)} tokens; the reward model reads at most "
                f"{self._context}: set max_length to cut it"
            )
        return ids

    def rewards(self, sequences: Sequence[Sequence[int]]) -> list[float]:
        """One reward per sequence of ids, in their order; NaN if the model returns NaN.

        Raises:
            UserError: the model returns several numbers per conversation.
            EnvironmentProblem: GPU memory ran out.
        """
        order = sorted(range(len(sequences)), key=lambda i: (len(sequences[i]), i))
        chunks = [order[i : i + self.max_rows] for i in range(0, len(order), self.max_rows)]
        result = [0.0] * len(sequences)
        work = [[sequences[i] for i in chunk] for chunk in chunks]
        for chunk, values in zip(chunks, map_chunks(self._chunk, work, self.model)):
            for place, value in zip(chunk, values):
                result[place] = value
        return result

    @torch.inference_mode()
    def _chunk(self, sequences: list[Sequence[int]]) -> list[float]:
        longest = max(len(ids) for ids in sequences)
        pad = self._pad if self._pad is not None else self._unused(sequences)
        ids = np.full((len(sequences), longest), pad, dtype=np.int64)
        mask = np.zeros_like(ids)
        for row, sequence in enumerate(sequences):
            ids[row, : len(sequence)] = sequence
            mask[row, : len(sequence)] = 1
        device = next(self.model.parameters()).device
        batch = {
            "input_ids": torch.from_numpy(ids).to(device),
            "attention_mask": torch.from_numpy(mask).to(device),
        }
        try:
            output = self._forward(batch, pad)
        except torch.OutOfMemoryError:
            raise EnvironmentProblem(
                f"out of GPU memory while scoring {len(sequences)} conversations of up to "
                f"{longest} tokens at once; lower max_rows"
            ) from None
        score = getattr(output, "score", None)  # the name of ArmoRM's scalar
        score = output.logits if score is None else score
        if score.numel() != len(sequences):
            raise UserError(
                f"the reward model returns {score.shape[-1]} numbers per conversation; expected "
                "one: use a model with num_labels = 1"
            )
        return [float(value) for value in score.reshape(-1).double().cpu()]

    def _forward(self, batch: dict[str, torch.Tensor], pad: int) -> Any:
        if self._pad is not None:
            return self.model(**batch)
        config = self.model.config.get_text_config()
        with self._lock:  # the pad id is a setting of the model, which threads share
            config.pad_token_id = pad
            try:
                return self.model(**batch)
            finally:
                config.pad_token_id = None

    def _unused(self, sequences: list[Sequence[int]]) -> int:
        used = {token for sequence in sequences for token in sequence}
        for token in range(self._vocabulary):
            if token not in used:
                return token
        raise BadData(
            "a batch uses every vocabulary id, so none is left to pad with; lower max_rows"
        )
