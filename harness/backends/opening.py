"""Opens the backend of a model artifact.

A model reference may name its engine: `vllm:<model>`, `openai:<model>[@url]` or another family of
the registry's group "judges", or a file of stored outputs. `import_model` writes it into the
artifact's model.json; every other model runs in this process with transformers.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from harness.backends.base import Backend
from harness.core.errors import MissingExtra
from harness.core.records import Record
from harness.engine.operations import Artifact, Context
from harness.models.checkpoints import load_causal_lm
from harness.models.references import Dtype, pointer_of, resolve_one

Engine = Literal["hf", "vllm"]


class EngineParams(Record):
    """Parameters of an operation that asks a model.

    Attributes:
        dtype: None leaves it to the model artifact.
        engine: replaces the engine of a model reference with weights; None keeps it.
        max_rows: maximum number of responses that the hf engine decodes at once; lower it when GPU
            memory runs out.
    """

    dtype: Dtype | None = None
    engine: Engine | None = None
    max_rows: int = Field(default=320, ge=1)


def open_engine(context: Context, model: Artifact, params: EngineParams) -> Backend:
    """The backend of a model artifact.

    Raises:
        MissingExtra, EnvironmentProblem: the engine or the model is unavailable.
        UserError, BadData: the reference names no model, or the file of outputs changed.
    """
    pointer = pointer_of(model.path)
    kind = pointer.engine if pointer is not None else "hf"
    if pointer is not None and kind == "stored":
        from harness.backends.stored import StoredOutputs

        return StoredOutputs(pointer.ref, pointer.identity)
    if pointer is not None and kind not in ("hf", "vllm"):
        from harness.backends.hosted import open_backend

        return open_backend(f"{kind}:{pointer.ref}", context.services)
    if (params.engine or kind) == "vllm":
        from harness.backends.vllm import VLLMBackend

        resolve_one(model.path)
        return VLLMBackend(model.path, context.services, dtype=params.dtype)
    try:
        from harness.backends.hf import HFBackend
    except ImportError:
        raise MissingExtra("torch and transformers", "train") from None
    loaded = load_causal_lm(model.path, context.device, params.dtype)
    return HFBackend(*loaded, identity=model.id, max_rows=params.max_rows)
