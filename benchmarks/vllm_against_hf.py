"""Greedy generation by vLLM compared with the transformers backend: equal ids, and speed.

64 questions of the nano world, answered by both backends with the same weights in float32. Without
`--model`, the model is a random Llama with 15 million parameters, because vLLM's CPU attention does
not support the nano models' head size. vLLM needs an interpreter in which it is installed:

    CRUCIBLE_VLLM_PYTHON=/envs/vllm/bin/python python benchmarks/vllm_against_hf.py
    python benchmarks/vllm_against_hf.py --model org/name --device cuda --dtype bfloat16

Claims: identical ids in float32, scores of answers within 2e-3, and on a GPU a multiple of
transformers' throughput. On a CPU, vLLM is only faster for larger models.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from harness.backends.base import Backend, Request, Response, Sampling, ScoreRequest, messages_of
from harness.engine.calls import Services


def main() -> None:
    options = parser().parse_args()
    sampling = Sampling(max_tokens=options.tokens)
    asked = questions(options.prompts, sampling)
    with tempfile.TemporaryDirectory() as folder:
        model = options.model or str(random_llama(Path(folder)))
        hf, hf_load_s = transformers_backend(model, options)
        hf_answers, hf_s = timed("transformers", hf, asked)
        with Services() as services:
            vllm, vllm_load_s = vllm_backend(model, options, services, asked)
            vllm_answers, vllm_s = timed("vLLM", vllm, asked)
            largest = score_difference(hf, vllm, asked, hf_answers)
    print(f"load: transformers {hf_load_s:.1f} s, vLLM {vllm_load_s:.1f} s")
    print(f"ratio: vLLM is {hf_s / vllm_s:.2f} times as fast as transformers")
    compare(hf_answers, vllm_answers)
    print(f"scores of {len(asked)} answers: largest difference {largest:.2g}")


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    made.add_argument("--model", help="a model reference; default: a random Llama")
    made.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    made.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    made.add_argument("--prompts", type=int, default=64)
    made.add_argument("--tokens", type=int, default=64, help="maximum tokens of an answer")
    return made


def random_llama(folder: Path) -> Path:
    """A checkpoint with nano:target's tokenizer, and weights that never end an answer early."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from harness.models.checkpoints import load_tokenizer

    tokenizer = load_tokenizer("nano:target")
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=512,
            intermediate_size=1408,
            num_hidden_layers=5,
            num_attention_heads=8,
            num_key_value_heads=4,
            max_position_embeddings=512,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            initializer_range=0.05,
        )
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def questions(count: int, sampling: Sampling) -> list[Request]:
    from harness.nano import world

    return [
        Request(
            id=item.id,
            messages=messages_of([{"role": "user", "content": item.turns[0]}]),
            sampling=sampling,
        )
        for item in world.items("train", count)
    ]


def transformers_backend(model: str, options: argparse.Namespace) -> tuple[Backend, float]:
    from harness.backends.hf import HFBackend
    from harness.models.checkpoints import load_causal_lm

    start = time.perf_counter()
    backend = HFBackend(*load_causal_lm(model, options.device, options.dtype))
    return backend, time.perf_counter() - start


def vllm_backend(
    model: str, options: argparse.Namespace, services: Services, asked: Sequence[Request]
) -> tuple[Backend, float]:
    """The backend with a running server, and the seconds until its first answer."""
    from harness.backends.vllm import VLLMBackend

    start = time.perf_counter()
    backend = VLLMBackend(model, services, dtype=options.dtype, device=options.device)
    first = asked[0].model_copy(update={"sampling": Sampling(max_tokens=1)})
    (response,) = backend.generate([first])
    if response.error is not None:
        sys.exit(response.error)
    return backend, time.perf_counter() - start


def timed(name: str, backend: Backend, asked: Sequence[Request]) -> tuple[list[Response], float]:
    """All answers, and the seconds they took after a warm-up."""
    list(backend.generate(asked[:8]))
    start = time.perf_counter()
    answers = sorted(backend.generate(asked), key=lambda response: response.id)
    seconds = time.perf_counter() - start
    tokens = sum(response.tokens_out for response in answers)
    print(f"{name}: {tokens} tokens in {seconds:.2f} s, {tokens / seconds:.0f} tokens/s")
    return answers, seconds


def compare(first: Sequence[Response], second: Sequence[Response]) -> None:
    same = 0
    for ours, theirs in zip(first, second, strict=True):
        left, right = ours.completions[0].token_ids or (), theirs.completions[0].token_ids or ()
        if left == right:
            same += 1
            continue
        pairs = zip(left, right)
        place = next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(left), len(right)))
        print(f"  {ours.id}: the ids differ from token {place} of {len(left)} on")
    print(f"identical ids: {same} of {len(first)} answers")


def score_difference(
    first: Backend, second: Backend, asked: Sequence[Request], answers: Sequence[Response]
) -> float:
    """The largest difference between two backends' log-probabilities of the same answers."""
    text = {answer.id: answer.completions[0].text for answer in answers}
    requests = [
        ScoreRequest(id=request.id, messages=request.messages, response=text[request.id])
        for request in asked
    ]
    ours = {score.id: score.logp for score in first.score(requests)}
    theirs = {score.id: score.logp for score in second.score(requests)}
    known = [(ours[id], theirs[id]) for id in ours]
    return max(abs(a - b) for a, b in known if a is not None and b is not None)


if __name__ == "__main__":
    main()
