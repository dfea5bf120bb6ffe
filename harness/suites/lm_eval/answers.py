"""Model wrapper for lm-eval that stores every answer.

`Answering` splits lm-eval's requests into batches, sends the batches without a stored answer to the
model, and appends every answered batch to a file. The file's name contains a digest of the model's
identity and a batch's key is a digest of its requests, so a stored answer is never used for another
model or prompt. It also records what lm-eval only logs or ignores: prompts that are truncated
because they are too long, and two BOS tokens in a row.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from lm_eval.api.model import LM, TemplateLM
from lm_eval.models.utils import normalize_gen_kwargs

from harness.core.errors import BadData, EnvironmentProblem
from harness.core.hashing import digest, seed_from
from harness.engine.store import Log
from harness.models.rendering import check_limits
from harness.suites.lm_eval import batches

Progress = Callable[[int, int, str], None]
_NAMES = {
    "loglikelihood": "likelihoods",
    "loglikelihood_rolling": "texts",
    "generate_until": "answers",
}


class StoredAnswers:
    """Answered batches of one model, one JSON line each; a truncated last line is dropped.

    Args:
        identity: everything besides the requests that the answers depend on.
    """

    def __init__(self, folder: Path, identity: Mapping[str, object]) -> None:
        path = folder / f"answers-{digest(dict(identity))[:16]}.jsonl"
        self._log = Log(path, ("key", "answers"))
        self.known: dict[str, list[Any]] = {
            str(entry["key"]): entry["answers"]
            for entry in self._log.found
            if isinstance(entry["answers"], list)
        }

    def add(self, key: str, answers: list[Any]) -> None:
        """Append an answered batch."""
        # Plain JSON, not canonical: a log-likelihood may be minus infinity.
        self._log.append(json.dumps({"key": key, "answers": answers}).encode("ascii"))
        self.known[key] = answers

    def close(self) -> None:
        """Close the file."""
        self._log.close()


class Answering(LM):
    """lm-eval model that answers from the store, or else by the wrapped model.

    Args:
        model: any lm-eval model.
        batch_size: requests per batch; must equal the model's batch size if it has one.
        seed: seed of sampled answers, combined with the requests of their batch.

    Attributes:
        asked: requests answered by the model; kept: requests answered from the store.
        truncated: number of prompts longer than the model's context, by task.
        moved: number of prompts that end in whitespace, by task. lm-eval moves it to the choices,
            so a model whose template ends in whitespace sees tokens it was not trained on.
        prompts: digest of the messages, by rendered prompt.
    """

    def __init__(
        self,
        model: LM,
        store: StoredAnswers,
        *,
        batch_size: int,
        seed: int = 0,
        progress: Progress | None = None,
    ) -> None:
        super().__init__()
        self.model, self.store = model, store
        self.batch_size, self.seed = batch_size, seed
        self._progress = progress or (lambda done, total, unit: None)
        self.asked = self.kept = 0
        self.truncated: Counter[str] = Counter()
        self.moved: Counter[str] = Counter()
        self.prompts: dict[str, str] = {}
        self._silent = {"disable_tqdm": True} if isinstance(model, TemplateLM) else {}
        self._transformers = isinstance(model, TemplateLM) and hasattr(model, "tok_batch_encode")

    @property
    def tokenizer_name(self) -> str:
        return str(self.model.tokenizer_name)

    def loglikelihood(self, requests: list[Any]) -> list[tuple[float, bool]]:
        cut = batches.plain(len(requests), self.batch_size)
        if self._transformers:
            pairs = [self._encoded(request) for request in requests]
            self._note_truncated(requests, [len(a) + len(b) - 1 for a, b in pairs])
            if self._groups_contexts:
                cut = batches.by_context(pairs, self.batch_size)
        answers = self._answers("loglikelihood", requests, cut)
        return [(float(logp), bool(greedy)) for logp, greedy in answers]

    def loglikelihood_rolling(self, requests: list[Any]) -> list[float]:
        cut = batches.plain(len(requests), self.batch_size)
        return [float(each) for each in self._answers("loglikelihood_rolling", requests, cut)]

    def generate_until(self, requests: list[Any]) -> list[str]:
        cut = batches.plain(len(requests), self.batch_size)
        if self._transformers:
            lengths = {request.args[0]: self._length(request) for request in requests}
            room = [most_tokens(self.model, request.args[1]) for request in requests]
            self._note_truncated(
                requests, [lengths[r.args[0]] + most for r, most in zip(requests, room)]
            )
            cut = batches.by_options(
                [request.args for request in requests], self.batch_size, lengths.__getitem__
            )
        return [str(each) for each in self._answers("generate_until", requests, cut)]

    def apply_chat_template(
        self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """Render messages and record their digest, which does not depend on the template."""
        model: Any = self.model
        tokenizer = getattr(model, "tokenizer", None)  # a hosted model has none

        def render(messages: list[dict[str, str]]) -> str:
            if tokenizer is not None:
                check_limits(tokenizer, messages, generation=add_generation_prompt)
            return str(model.apply_chat_template(messages, add_generation_prompt))

        text = render(chat_history)
        system = [m["content"].strip() for m in chat_history if m["role"] == "system"]
        if any(part not in text for part in system):
            # The template drops the system message.
            text = render(_folded(chat_history))
        self.prompts[text] = digest([dict(message) for message in chat_history])
        return text

    @property
    def _groups_contexts(self) -> bool:
        model: Any = self.model
        return bool(model.backend == "causal" and model.logits_cache)

    def _encoded(self, request: Any) -> batches.Encoded:
        """Token ids of context and continuation, as in `TemplateLM.loglikelihood`."""
        model: Any = self.model
        context, continuation = request.args[:2]
        if context:
            self.moved[request.task_name] += context != context.rstrip()
            pair = model._encode_pair(context, continuation)
            self._check_bos(pair[0], request)
            return pair[0], pair[1]
        ids = model.tok_encode(continuation, add_special_tokens=False)
        prefix = model.prefix_token_id
        return ([prefix], ids) if ids[:1] != [prefix] else (ids[:1], ids[1:])

    def _length(self, request: Any) -> int:
        model: Any = self.model
        ids = model.tok_encode(request.args[0])
        self._check_bos(ids, request)
        return len(ids)

    def _check_bos(self, ids: Sequence[int], request: Any) -> None:
        bos = getattr(getattr(self.model, "tokenizer", None), "bos_token_id", None)
        if bos is not None and list(ids[:2]) == [bos, bos]:
            raise BadData(
                f"task {request.task_name}: prompts start with two BOS tokens (id {bos}); "
                "expected at most one: remove one from the chat template or the task"
            )

    def _note_truncated(self, requests: Sequence[Any], needed: Sequence[int]) -> None:
        model: Any = self.model
        most = int(model.max_length)
        cut = {(r.task_name, r.doc_id) for r, length in zip(requests, needed) if length > most}
        self.truncated.update(task for task, _ in cut)

    def _answers(self, kind: str, requests: list[Any], cut: batches.Batches) -> list[Any]:
        answers: list[Any] = [None] * len(requests)
        seen: Counter[str] = Counter()
        done = 0
        for batch in cut:
            chosen = [requests[place] for place in batch]
            key = digest([kind, [list(request.args) for request in chosen]])
            seen[key] += 1  # equal batches are separate samples
            found = self._one_batch(kind, f"{key}-{seen[key]}", chosen)
            for place, answer in zip(batch, found, strict=True):
                answers[place] = answer
            done += len(batch)
            self._progress(done, len(requests), _NAMES[kind])
        return answers

    def _one_batch(self, kind: str, key: str, chosen: list[Any]) -> list[Any]:
        found = self.store.known.get(key)
        if found is not None:
            self.kept += len(chosen)
            return found
        if kind == "generate_until" and chosen[0].args[1].get("do_sample"):
            torch.manual_seed(seed_from(self.seed, key))
        try:
            made = list(getattr(self.model, kind)(chosen, **self._silent))
        except torch.OutOfMemoryError:
            raise EnvironmentProblem(
                f"out of GPU memory with {len(chosen)} requests per batch; lower batch_size "
                "(answers so far are stored)"
            ) from None
        self.asked += len(chosen)
        self.store.add(key, made)
        return made


def most_tokens(model: Any, options: Mapping[str, Any]) -> int:
    """Maximum number of tokens of an answer with the given generation options."""
    return int(normalize_gen_kwargs(dict(options), model.max_gen_toks)["max_gen_toks"])


def _folded(messages: list[dict[str, str]]) -> list[dict[str, str]]:
    """Messages with the system message prepended to the first user message."""
    system = "\n\n".join(m["content"] for m in messages if m["role"] == "system")
    rest = [dict(message) for message in messages if message["role"] != "system"]
    first = next((m for m in rest if m["role"] == "user"), None)
    if first is None:
        return [{"role": "user", "content": system}, *rest]
    first["content"] = f"{system}\n\n{first['content']}"
    return rest
