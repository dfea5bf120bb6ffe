"""A model for lm-eval whose answers are kept as they come.

`Answering` stands between lm-eval and a model: it cuts the requests into batches, asks for those
that have no stored answer, and appends each answered batch to a file. The key of a batch holds
the identity of the model and all its requests, so nothing is ever answered for another model or
another prompt. It also notes what lm-eval would only warn of, or not say at all: prompts that are
cut because they are too long, and two BOS tokens in a row.
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
from harness.suites.lm_eval import batches

Progress = Callable[[int, int, str], None]
_NAMES = {
    "loglikelihood": "likelihoods",
    "loglikelihood_rolling": "texts",
    "generate_until": "answers",
}


class StoredAnswers:
    """Answered batches of one model, one JSON line each; a line cut off by a crash is dropped.

    Args:
        identity: everything the answers depend on besides the requests.
    """

    def __init__(self, folder: Path, identity: Mapping[str, object]) -> None:
        self._log = Log(folder / f"answers-{digest(dict(identity))[:16]}.jsonl")
        self.known: dict[str, list[Any]] = {e["key"]: e["answers"] for e in self._log.found}

    def add(self, key: str, answers: list[Any]) -> None:
        # Not canonical: a log-likelihood may be minus infinity.
        self._log.append(json.dumps({"key": key, "answers": answers}).encode("ascii"))
        self.known[key] = answers

    def close(self) -> None:
        self._log.close()


class Answering(LM):
    """Answers from the store, else from the model.

    Args:
        model: any model of lm-eval's.
        batch_size: requests a batch; must be the model's own where it has one.
        seed: of sampled answers, together with the requests of their batch.

    Attributes:
        asked, kept: requests answered by the model and from the store.
        truncated: by task, how many prompts were longer than the model can read.
        moved: by task, how many prompts ended in blanks, which lm-eval moves into the choices.
            A model whose template ends in a blank then reads tokens it never learnt from.
        prompts: rendered prompt -> digest of the messages it was rendered from.
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
        """Render messages, and remember which: models with other templates were asked the same."""
        model: Any = self.model

        def render(messages: list[dict[str, str]]) -> str:
            return str(model.apply_chat_template(messages, add_generation_prompt))

        text = render(chat_history)
        system = [m["content"].strip() for m in chat_history if m["role"] == "system"]
        if any(part not in text for part in system):
            # The template has no system turn and lm-eval would lose what it says.
            text = render(_folded(chat_history))
        self.prompts[text] = digest([dict(message) for message in chat_history])
        return text

    @property
    def _groups_contexts(self) -> bool:
        model: Any = self.model
        return bool(model.backend == "causal" and model.logits_cache)

    def _encoded(self, request: Any) -> batches.Encoded:
        """Token ids as `TemplateLM.loglikelihood` makes them."""
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
                f"task {request.task_name}: its prompts start with two BOS tokens (id {bos}); "
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
            seen[key] += 1  # equal batches are samples of their own
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
                f"out of GPU memory with {len(chosen)} requests at once; what is answered is kept: "
                "lower batch_size"
            ) from None
        self.asked += len(chosen)
        self.store.add(key, made)
        return made


def most_tokens(model: Any, options: Mapping[str, Any]) -> int:
    """How many tokens an answer may have under generation options."""
    return int(normalize_gen_kwargs(dict(options), model.max_gen_toks)["max_gen_toks"])


def _folded(messages: list[dict[str, str]]) -> list[dict[str, str]]:
    """The system message put in front of the first user message."""
    system = "\n\n".join(m["content"] for m in messages if m["role"] == "system")
    rest = [dict(message) for message in messages if message["role"] != "system"]
    first = next((m for m in rest if m["role"] == "user"), None)
    if first is None:
        return [{"role": "user", "content": system}, *rest]
    first["content"] = f"{system}\n\n{first['content']}"
    return rest
