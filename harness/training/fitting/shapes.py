"""Shapes of transformers by their number of parameters, for plans that know nothing else.

A plan is made without downloading anything, so the shape of a model is taken from the published
model whose size is nearest (by ratio). The state of an optimiser depends on the size alone;
activations, key-value caches and adapters on the shape.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from harness.training.settings import LoraSettings


@dataclass(frozen=True)
class Shape:
    """A transformer.

    Attributes:
        model: whose shape this is.
        width: of hidden states.
        inner: width inside the feed-forward layers.
        keys: width of keys, and of values (fewer heads than queries in grouped attention).
        gated: the feed-forward layers have a gate, and thus three matrices instead of two.
        head: the output head is a matrix of its own, not the embedding.
    """

    model: str
    billions: float
    layers: int
    width: int
    inner: int
    keys: int
    vocabulary: int
    gated: bool = True
    head: bool = True

    @property
    def matrices(self) -> dict[str, tuple[int, int]]:
        """(inputs, outputs) of the linear layers of one layer, by the names in Llama."""
        found = {
            "q_proj": (self.width, self.width),
            "k_proj": (self.width, self.keys),
            "v_proj": (self.width, self.keys),
            "o_proj": (self.width, self.width),
            "up_proj": (self.width, self.inner),
            "down_proj": (self.inner, self.width),
        }
        return found | ({"gate_proj": (self.width, self.inner)} if self.gated else {})

    @property
    def layer(self) -> int:
        """Parameters of the linear layers of one layer."""
        return sum(inputs * outputs for inputs, outputs in self.matrices.values())

    @property
    def embeddings(self) -> int:
        """Parameters of embedding and output head."""
        return (1 + self.head) * self.vocabulary * self.width


SHAPES = (
    Shape("MiniLM-L6", 0.023, 6, 384, 1536, 384, 30522, gated=False, head=False),
    Shape("BERT-base", 0.11, 12, 768, 3072, 768, 30522, gated=False, head=False),
    Shape("SmolLM2-135M", 0.135, 30, 576, 1536, 192, 49152, head=False),
    Shape("T5-base", 0.22, 24, 768, 3072, 768, 32128, gated=False, head=False),
    Shape("Qwen2.5-0.5B", 0.494, 24, 896, 4864, 128, 151936, head=False),
    Shape("Llama-3.2-1B", 1.24, 16, 2048, 8192, 512, 128256, head=False),
    Shape("Qwen2.5-1.5B", 1.54, 28, 1536, 8960, 256, 151936, head=False),
    Shape("Llama-3.2-3B", 3.21, 28, 3072, 8192, 1024, 128256, head=False),
    Shape("Llama-2-7B", 6.74, 32, 4096, 11008, 4096, 32000),
    Shape("Mistral-7B", 7.24, 32, 4096, 14336, 1024, 32000),
    Shape("Qwen2.5-7B", 7.62, 28, 3584, 18944, 512, 152064),
    Shape("Llama-3.1-8B", 8.03, 32, 4096, 14336, 1024, 128256),
    Shape("Gemma-2-9B", 9.24, 42, 3584, 14336, 2048, 256000, head=False),
    Shape("Llama-2-13B", 13.0, 40, 5120, 13824, 5120, 32000),
    Shape("Gemma-2-27B", 27.2, 46, 4608, 36864, 2048, 256000, head=False),
    Shape("Yi-1.5-34B", 34.4, 60, 7168, 20480, 1024, 64000),
    Shape("Llama-3.1-70B", 70.6, 80, 8192, 28672, 1024, 128256),
    Shape("Qwen2.5-72B", 72.7, 80, 8192, 29568, 1024, 152064),
    Shape("Mistral-Large", 123.0, 88, 12288, 28672, 1024, 32768),
    Shape("Llama-3.1-405B", 406.0, 126, 16384, 53248, 1024, 128256),
)


def shape_of(parameters_b: float) -> Shape:
    """The shape of the published model of the nearest size.

    >>> shape_of(8.0).model
    'Llama-3.1-8B'
    """
    return min(SHAPES, key=lambda shape: abs(math.log(parameters_b / shape.billions)))


def adapter_parameters(parameters_b: float, lora: LoraSettings) -> int:
    """Numbers in the adapters of a model.

    Targets that are not called as in Llama count as all linear layers, which is an upper bound.
    """
    shape = shape_of(parameters_b)
    matrices = shape.matrices
    named = set(matrices) if lora.targets == "all-linear" else set(lora.targets)
    chosen = named if named <= matrices.keys() else matrices.keys()
    each = sum(sum(matrices[name]) for name in chosen)
    return lora.rank * each * shape.layers
