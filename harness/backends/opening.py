"""From a model artifact to the backend that runs it.

A model reference may name its engine: `vllm:<model>`, `openai:<model>[@url]` or any other family
of the registry's group "judges", or a file of stored outputs. `import_model` writes it into the
artifact's model.json; everything else runs in this process on transformers.
"""

from __future__ import annotations

from typing import Literal

from harness.backends.base import Backend
from harness.core.errors import MissingExtra
from harness.engine.operations import Artifact, Context
from harness.models.checkpoints import load_causal_lm
from harness.models.references import Dtype, pointer_of, resolve_one

Engine = Literal["hf", "vllm"]


def open_engine(
    context: Context,
    model: Artifact,
    *,
    engine: Engine | None = None,
    dtype: Dtype | None = None,
    max_rows: int = 320,
) -> Backend:
    """The backend of a model artifact.

    Args:
        engine: for models with weights: instead of the reference's own.
        dtype: None leaves it to the model artifact.
        max_rows: of the hf engine: most responses decoded at once.

    Raises:
        MissingExtra, EnvironmentProblem: the engine or the model is not to be had here.
        UserError, BadData: the reference leads nowhere.
    """
    pointer = pointer_of(model.path)
    kind = pointer.engine if pointer is not None else "hf"
    if pointer is not None and kind == "stored":
        from harness.backends.stored import StoredOutputs

        return StoredOutputs(pointer.ref, pointer.identity)
    if pointer is not None and kind not in ("hf", "vllm"):
        from harness.backends.hosted import open_backend

        return open_backend(f"{kind}:{pointer.ref}", context.services)
    if (engine or kind) == "vllm":
        from harness.backends.vllm import VLLMBackend

        resolve_one(model.path)
        return VLLMBackend(model.path, context.services, dtype=dtype)
    try:
        from harness.backends.hf import HFBackend
    except ImportError:
        raise MissingExtra("torch and transformers", "train") from None
    loaded = load_causal_lm(model.path, context.device, dtype)
    return HFBackend(*loaded, identity=model.id, max_rows=max_rows)
