"""Local models that vLLM's server runs, as a child process of the run.

    with Services(CallSettings(vllm_python="/envs/vllm/bin/python")) as services:
        backend = VLLMBackend("org/model", services)
        for response in backend.generate(requests): ...

Prompts are rendered and answers decoded in this process, by `harness.models.chat` with the model's
tokenizer: the server receives and returns token ids, so that equal ids mean equal text for vLLM and
transformers. The server starts with the first request that has no stored response and serves all
stages of the run; one model is served at a time, because an engine takes most of a GPU's memory.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeVar

from harness.backends.base import (
    GREEDY_BELOW,
    Backend,
    Completion,
    Next,
    Request,
    Response,
    Score,
    ScoreRequest,
    TopLogprobs,
    check_unique,
    plain_messages,
)
from harness.backends.openai import PARALLEL, OpenAIBackend, PromptLogprobs
from harness.backends.vllm_client import engine_client, engines
from harness.backends.vllm_machine import visible_gpus
from harness.backends.vllm_server import EngineSettings
from harness.core.errors import BadData, BadRecord, EnvironmentProblem
from harness.core.hashing import digest, seed_from
from harness.engine.calls import Services
from harness.models import chat
from harness.models.checkpoints import load_tokenizer
from harness.models.passages import PlainText
from harness.models.references import model_identity, pointer_of, resolve
from harness.models.spoken import decode_answers

# Engine arguments for placement and speed, which do not change the model.
PLACEMENT = frozenset(
    {
        "tensor_parallel_size",
        "pipeline_parallel_size",
        "data_parallel_size",
        "gpu_memory_utilization",
        "max_num_seqs",
        "max_num_batched_tokens",
        "enforce_eager",
        "swap_space",
        "cpu_offload_gb",
        "distributed_executor_backend",
    }
)
Device = Literal["auto", "cpu", "cuda"]
Answer = TypeVar("Answer", Response, Score, PromptLogprobs)


class VLLMBackend(Backend):
    """Generate and score with a causal language model that vLLM runs.

    Args:
        model: folder of a model artifact, or a model reference.
        services: the run's; its settings name the interpreter and the number of replicas.
        max_model_len: maximum number of tokens per prompt and answer; None takes the model's.
        dtype: None takes the artifact's, else float32 on a CPU and bfloat16 on a GPU.
        device: "auto" takes the GPUs that this process sees.
        engine_args: other arguments of vLLM, by name; the fingerprint contains those that shape
            answers.
        start_timeout_s: time until the server answers; loading a large model takes minutes.

    Raises:
        UserError: the reference names no model.
    """

    parallel = PARALLEL

    def __init__(
        self,
        model: str | Path,
        services: Services | None = None,
        *,
        max_model_len: int | None = None,
        dtype: str | None = None,
        device: Device = "auto",
        engine_args: Mapping[str, Any] | None = None,
        start_timeout_s: float = 600.0,
    ) -> None:
        self.services = services or Services()
        self._source = resolve(model)
        found = _identity(model)
        self._model = str(model)
        self._max_model_len = max_model_len
        on_cpu = device == "cpu" or (device == "auto" and not visible_gpus())
        arguments = {name.replace("-", "_"): v for name, v in (engine_args or {}).items()}
        shaping = {name: v for name, v in arguments.items() if name not in PLACEMENT}
        self._base = EngineSettings(
            model=self._source.location,
            name=_name(model, found),
            revision=self._source.revision,
            dtype=dtype or self._source.dtype or ("float32" if on_cpu else "bfloat16"),
            max_model_len=max_model_len,
            device=device,
            trust_remote_code=self._source.trust_remote_code,
            engine_args=arguments,
            start_timeout_s=start_timeout_s,
        )
        extra = f":{digest(shaping)[:16]}" if shaping else ""
        self.identity = f"vllm:{found}:{self._base.dtype}{extra}"

    @property
    def fingerprint(self) -> str:
        """Identifies the weights, their chat template and dtype; the same on any machine."""
        return digest(["vllm", self.identity])[:16]

    @cached_property
    def tokenizer(self) -> Any:
        return load_tokenizer(self._model)

    def generate(self, requests: Sequence[Request]) -> Iterator[Response]:
        """Answer requests in order of completion; the response to a prompt that fails has an error.

        A request's samples depend on its seed, id and prompt; other requests change them through
        rounding only.

        Raises:
            BadData: two requests have one id.
            UserError: the tokenizer has no chat template; offline without a stored response.
            EnvironmentProblem: vLLM is missing, or its server failed: with the end of its log.
        """
        yield from self.follow(requests, lambda response: None)

    def follow(self, requests: Sequence[Request], next: Next) -> Iterator[Response]:
        """Answer requests, and at once those that `next` makes of their answers."""
        check_unique([request.id for request in requests])
        asked: dict[str, tuple[Request, list[int] | BadData]] = {}
        answered: dict[str, Response] = {}

        def ready(request: Request) -> Request:
            try:
                prompt = self._prompt(request)
            except BadData as error:
                asked[request.id] = request, error
                return request
            asked[request.id] = request, prompt
            return self._asked(request, len(prompt))

        def render(request: Request) -> list[int]:
            prompt = asked[request.id][1]
            if isinstance(prompt, BadData):
                raise prompt
            return prompt

        def go_on(given: Response) -> Request | None:
            request, prompt = asked.pop(given.id)
            response = given if isinstance(prompt, BadData) else self._read(request, given, prompt)
            answered[response.id] = response
            following = next(response)
            return None if following is None else ready(following)

        server = self._server(render=render)
        first = [ready(request) for request in requests]
        for given in self._watched(server.follow(first, go_on)):
            yield answered.pop(given.id)

    def score(self, requests: Sequence[ScoreRequest]) -> Iterator[Score]:
        """Log-probabilities of answers, including their end-of-turn token.

        Raises:
            BadData, UserError, EnvironmentProblem: as for `generate`.
        """
        server = self._server(render_answer=self._prompt_and_answer)
        yield from self._watched(server.score(requests))

    def prompt_logprobs(
        self, prompts: Mapping[str, Sequence[int]], k: int
    ) -> Iterator[PromptLogprobs]:
        """The k most likely ids at each position of prompts, see `OpenAIBackend`.

        Raises:
            BadData: a prompt leaves no room for the one token that vLLM adds.
            UserError, EnvironmentProblem: as for `generate`.
        """
        for id, ids in prompts.items():
            self._check_fits(len(ids) + 1, f'document "{id}" and one more token have')
        yield from self._watched(self._server().prompt_logprobs(prompts, k))

    def _watched(self, answers: Iterator[Answer]) -> Iterator[Answer]:
        """Yield answers; if the engine failed, raise its error instead of yielding each row's."""
        try:
            for item in answers:
                if item.error is not None:
                    engines(self.services).check()
                yield item
        except EnvironmentProblem:
            engines(self.services).check(patience_s=2.0)
            raise

    def _prompt(self, request: Request) -> list[int]:
        ids = chat.prompt_ids(self.tokenizer, plain_messages(request.messages))
        self._check_fits(len(ids) + 1, "the prompt and one answer token are")
        return ids

    def _prompt_and_answer(self, request: ScoreRequest) -> tuple[list[int], list[int]]:
        if request.form == "text":
            said = plain_messages(request.messages)
            texts = [request.response]
            (found,) = PlainText(self.tokenizer).continuations(said, texts, self.context - 1)
            return list(found.prompt), list(found.answer)
        messages = plain_messages(request.messages)
        given = chat.answered(self.tokenizer, messages, request.response)
        prompt, answer = given.prompt, given.answer
        # vLLM scores a prompt by answering it with at least one token.
        self._check_fits(len(prompt) + len(answer) + 1, "prompt, answer and one more token have")
        return prompt, answer

    def _check_fits(self, tokens: int, what: str) -> None:
        if tokens > self.context:
            raise BadData(f"{what} {tokens} tokens; the model reads at most {self.context}")

    def _asked(self, request: Request, tokens_in: int) -> Request:
        """The request as sent to the server: with a limit that fits and its own seed.

        vLLM refuses several greedy samples, which are equal: one is requested.
        """
        how = request.sampling
        changes: dict[str, Any] = {"max_tokens": min(how.max_tokens, self.context - tokens_in)}
        if how.temperature < GREEDY_BELOW:
            changes |= {"temperature": 0.0, "top_p": 1.0, "seed": 0, "n": 1}
        else:
            changes["seed"] = seed_from("sample", how.seed, request.id) >> 31
        return request.model_copy(update={"sampling": how.model_copy(update=changes)})

    def _read(self, request: Request, response: Response, prompt: list[int]) -> Response:
        if response.error is not None:
            return response
        ids = [completion.token_ids or () for completion in response.completions]
        texts = decode_answers(self.tokenizer, ids)
        completions = tuple(
            completion.model_copy(update={"text": text, "top_logprobs": self._tops(completion)})
            for completion, text in zip(response.completions, texts, strict=True)
        )
        completions *= request.sampling.n // len(completions)
        written = (len(c.token_ids or ()) + int(c.finish == "stop") for c in completions)
        return response.model_copy(
            update={
                "completions": completions,
                "tokens_in": len(prompt),
                "tokens_out": sum(written),
                "prompt_ids": tuple(prompt),
                "cost_usd": None,  # nobody charges; the machine's own cost is unmeasured
            }
        )

    def _tops(self, completion: Completion) -> TopLogprobs | None:
        """The most likely tokens as text; the server names them "token_id:17"."""
        if completion.top_logprobs is None:
            return None
        return tuple(
            tuple((self.tokenizer.decode([int(name[9:])]), value) for name, value in pairs)
            for pairs in completion.top_logprobs
        )

    def _server(self, **renderers: Any) -> OpenAIBackend:
        return engine_client(self._settings, self.identity, self.services, **renderers)

    @cached_property
    def _settings(self) -> EngineSettings:
        stops = sorted({*chat.stop_ids(self.tokenizer), *self._generation_ends()})
        return self._base.model_copy(update={"stop_ids": tuple(stops), "context": self.context})

    def _generation_ends(self) -> list[int]:
        """Stop ids of the checkpoint's generation_config.json, or else of its configuration."""
        from transformers import GenerationConfig

        source = self._source
        try:
            found = GenerationConfig.from_pretrained(source.location, revision=source.revision)
        except OSError:
            found = self._configuration
        ends = getattr(found, "eos_token_id", None)
        if ends is None:
            return []
        return [int(end) for end in ends] if isinstance(ends, list | tuple) else [int(ends)]

    @cached_property
    def _configuration(self) -> Any:
        from transformers import AutoConfig

        source = self._source
        return AutoConfig.from_pretrained(
            source.location,
            revision=source.revision,
            trust_remote_code=source.trust_remote_code,
        )

    @cached_property
    def context(self) -> int:  # type: ignore[override]
        limit = getattr(self._configuration, "max_position_embeddings", None)
        known = [int(n) for n in (limit, self._max_model_len) if n]
        return min(known, default=1 << 30)


def open_judge(options: Mapping[str, str], services: Services) -> VLLMBackend:
    """The judge `vllm:<model>[?max_model_len=8192&dtype=bfloat16&<argument of vLLM>=...]`.

    Raises:
        UserError: the reference names no model.
    """
    given: dict[str, Any] = {name: _value(text) for name, text in options.items()}
    model = options.get("model", "")
    if not model:
        raise BadRecord("vllm: names no model; expected vllm:<folder>, vllm:<org>/<name>")
    own = {name: given.pop(name) for name in ("max_model_len", "dtype", "device") if name in given}
    given.pop("model")
    if given.pop("template", None) is not None:  # a part of the reference of a model
        model = f"{model}?template={options['template']}"
    return VLLMBackend(model, services, engine_args=given, **own)


def _value(text: str) -> Any:
    """The value of an option: a number, true or false, else its text."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _identity(model: str | Path) -> str:
    """Identity of the weights; the same for a reference and for an artifact that points to it."""
    pointer = pointer_of(Path(model)) if Path(model).is_dir() else None
    if pointer is None:
        return model_identity(model)
    return model_identity(pointer.ref, pointer.revision)


def _name(model: str | Path, identity: str) -> str:
    """The model's name in the account; part of keys of stored responses, so never a path."""
    pointer = pointer_of(Path(model)) if Path(model).is_dir() else None
    ref = pointer.ref if pointer is not None else str(model).removeprefix("vllm:")
    if ref.startswith("nano:"):
        return ref
    if identity.startswith("hub:"):
        return identity.removeprefix("hub:")
    return f"local:{identity[:12]}"
