"""Memory for saving a trained model, of one process and of two that divide its weights.

A random Llama of 150 million parameters (600 MB in float32), divided by torch's `fully_shard`
between two gloo processes, or whole; kept and saved as after a training. Measures in the main
process what is added to its own memory (RssAnon, sampled) and to all of its pages, which
include mapped files that the kernel may drop (VmHWM).

    python benchmarks/saving_memory.py
    python benchmarks/saving_memory.py --file-mb 50     # files of at most 50 MB

Claim: a divided model adds one file of weights, one tensor, and what gathering a tensor takes.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
MIB = 1 << 20


def main() -> None:
    made = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    made.add_argument("--file-mb", type=int, default=0, help="size of a file (default: as usual)")
    options = made.parse_args()
    sys.path[:0] = [str(ROOT)]
    import torch.multiprocessing as mp

    from harness.engine.children import free_ports

    for processes in (1, 2):
        with tempfile.TemporaryDirectory(prefix="saving-") as folder:
            given = (processes, free_ports(1)[0], folder, options.file_mb)
            mp.spawn(rank, given, nprocs=processes)


def rank(number: int, processes: int, port: int, folder: str, file_mb: int) -> None:
    if processes > 1:
        os.environ |= {"RANK": str(number), "LOCAL_RANK": str(number)}
        os.environ |= {"WORLD_SIZE": str(processes), "MASTER_PORT": str(port)}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "ACCELERATE_USE_CPU": "true"}
    sys.path[:0] = [str(ROOT)]
    import torch
    from accelerate import Accelerator

    from harness.training import weight_files
    from harness.training.saving import Saver
    from harness.training.settings import RunSettings
    from tests.tiny_models import FakeContext, make_tokenizer

    torch.set_num_threads(1)
    if file_mb:
        weight_files.FILE_BYTES = file_mb * 10**6
    accelerator = Accelerator(cpu=True)
    context = FakeContext(Path(folder) / "out", Path(folder) / "scratch")
    if number == 0:
        context.directory.mkdir()
        context.scratch.mkdir()
    accelerator.wait_for_everyone()
    model = llama()
    saver = Saver(model, make_tokenizer(), RunSettings(learning_rate=1.0), context)
    divided(model, processes)
    main = number == 0
    trainer: Any = SimpleNamespace(
        accelerator=accelerator,
        model=model,
        model_wrapped=model,
        is_world_process_zero=lambda: main,
    )
    with Memory() as memory:
        saver.keep(trainer, {})
        saver.save(trainer, {})
    accelerator.wait_for_everyone()
    if main:
        files = [path.stat().st_size / MIB for path in context.directory.glob("*.safetensors")]
        largest = max(value.nbytes for value in llama().state_dict().values()) / MIB
        print(
            f"{processes} process{'es' if processes > 1 else ''}: {sum(files):.0f} MiB saved in "
            f"{len(files)} files, the largest {max(files):.0f} MiB, largest tensor {largest:.0f} "
            f"MiB; added memory {memory.own:.0f} MiB, with mapped files {memory.all:.0f} MiB"
        )
    if processes > 1:
        torch.distributed.destroy_process_group()


def llama() -> Any:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    sizes = {"hidden_size": 768, "intermediate_size": 2048, "num_attention_heads": 12}
    config = LlamaConfig(vocab_size=32_000, num_hidden_layers=14, **sizes)
    return LlamaForCausalLM(config).eval()


def divided(model: Any, processes: int) -> None:
    if processes > 1:
        from torch.distributed.fsdp import fully_shard

        for layer in model.model.layers:
            fully_shard(layer)
        fully_shard(model)


class Memory:
    """Peaks of a block, in MiB over what was in use before it."""

    def __enter__(self) -> Memory:
        from peak_memory import _status

        Path("/proc/self/clear_refs").write_text("5")
        self._status = _status
        self._before = _status("RssAnon"), _status("VmRSS")
        self._peak, self._done = 0, threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._done.is_set():
            self._peak = max(self._peak, self._status("RssAnon"))
            time.sleep(0.002)

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        self.own = (self._peak - self._before[0]) / MIB
        self.all = (self._status("VmHWM") - self._before[1]) / MIB


if __name__ == "__main__":
    main()
