"""What this room registers: backends, hosted judges, and the operations that ask models."""

from __future__ import annotations

from harness.engine.registry import Entry

BACKENDS = (
    Entry("hf", "harness.backends.hf:HFBackend", "transformers, in process", needs=("train",)),
    Entry(
        "vllm",
        "harness.backends.vllm:VLLMBackend",
        "vLLM's server, as a child process with its own interpreter",
        needs=("train", "api"),
    ),
    Entry(
        "openai",
        "harness.backends.openai:OpenAIBackend",
        "OpenAI and every OpenAI-compatible server",
        needs=("api",),
    ),
    Entry("replay", "harness.backends.replay:ReplayBackend", "answers from stored rows"),
)

JUDGES = (
    Entry(
        "openai",
        "harness.backends.openai:open_judge",
        "openai:<model>, or openai:<model>@<url> for any OpenAI-compatible server",
        needs=("api",),
    ),
    Entry(
        "vllm",
        "harness.backends.vllm:open_judge",
        "vllm:<folder or org/name>, a local model run by vLLM",
        needs=("train", "api"),
    ),
)

BASES = {"backends": "harness.backends.base:Backend"}

# Operation -> the module that defines it.
OPERATIONS = {
    "ask": "harness.backends.asking",
    "sample": "harness.backends.sampling",
    "score_rewards": "harness.backends.sampling",
    "score_texts": "harness.backends.asking",
}

PROMPTS = {
    "messages": "harness.backends.prompting:messages",
    "template": "harness.backends.prompting:template",
}
READERS = {
    "json": "harness.backends.prompting:json_object",
    "text": "harness.backends.prompting:text",
}
