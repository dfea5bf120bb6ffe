"""Saving a trained model: tried before the first update, and resumed after a failure."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from harness.core.errors import BadData, CrucibleError, StoreProblem
from harness.core.records import Record
from harness.engine.integrity import list_files
from harness.engine.operations import Context, operation
from harness.engine.plan import Plan, Stage
from harness.engine.run import InlineExecutor, Silent
from harness.engine.store import Store
from harness.training.runs import COMPLETE, newest_checkpoint
from harness.training.saving import Saver, step_log
from harness.training.settings import RunSettings
from harness.training.trainer import train
from tests.harness.training.advantage_objective import Advantage, make_examples
from tests.operation_runs import FakeContext
from tests.tiny_models import make_model, make_tokenizer

Make = Callable[..., Any]
SETTINGS = RunSettings(learning_rate=1e-3, per_device_batch_size=4, max_steps=2)


def failing(error: BaseException, calls: int) -> Any:
    """A tokenizer whose saving raises from a call on; the first call is the trial."""
    tokenizer = make_tokenizer()
    plain, count = tokenizer.save_pretrained, [0]

    def save(*arguments: Any, **options: Any) -> Any:
        count[0] += 1
        if count[0] >= calls:
            raise error
        return plain(*arguments, **options)

    tokenizer.save_pretrained = save
    return tokenizer


def run(context: Any, tokenizer: Any = None, model: Any = None, **changes: Any) -> None:
    params = SETTINGS.model_copy(update=changes)
    model = make_model("llama") if model is None else model
    train(model, tokenizer or make_tokenizer(), make_examples(8), Advantage(0.4), params, context)


def updates(context: Any) -> int:
    return max((done for done, *_ in context.reports), default=0)


@pytest.mark.parametrize("error", [ValueError("two\nlines"), KeyboardInterrupt()])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_training_that_failed_to_save_is_not_trained_again(
    error: BaseException, dtype: str, context: Make
) -> None:
    """An interrupt leaves what a killed process leaves: no code runs after it."""
    plain, failed = context("plain"), context("failed")
    run(plain, dtype=dtype)
    expected = CrucibleError if isinstance(error, Exception) else KeyboardInterrupt
    with pytest.raises(expected) as found:
        run(failed, failing(error, calls=2), dtype=dtype)
    assert updates(failed) == 2
    if expected is CrucibleError:
        assert "training is finished, but saving failed: two lines; the trained" in str(found.value)
        assert str(failed.scratch) in str(found.value)
    failed.reports.clear()
    run(failed, dtype=dtype)
    assert updates(failed) == 0
    for name in ("model.safetensors", "training_log.json", "config.json", "tokenizer.json"):
        assert (failed.directory / name).read_bytes() == (plain.directory / name).read_bytes()


def test_what_cannot_be_saved_is_refused_before_the_first_update(context: Make) -> None:
    made = context("run")
    with pytest.raises(BadData, match=r"could not be saved after training, .* no reason"):
        run(made, failing(ValueError("no reason"), calls=1))
    assert updates(made) == 0
    assert list(made.scratch.iterdir()) == []


class Odd(torch.nn.Module):
    def get_extra_state(self) -> object:
        return {"a": 1}


def test_tensors_that_no_file_can_hold_are_refused(context: Make) -> None:
    model, made = make_model("llama"), context("run")
    model.register_buffer("odd", torch.zeros(2, dtype=torch.complex128))
    with pytest.raises(BadData, match=r"odd has type torch.complex128, which .* cannot store"):
        run(made, model=model)
    model = make_model("llama")
    model.odd = Odd()
    with pytest.raises(BadData, match=r"odd._extra_state is no tensor but dict"):
        run(made, model=model)
    assert updates(made) == 0


def test_shared_tensors_are_saved_once_for_each_name(context: Make) -> None:
    model, made = make_model("llama"), context("run")
    model.model.layers[1].mlp = model.model.layers[0].mlp
    run(made, model=model)
    assert len(made.notes) == 1
    assert "are one tensor, which the model does not declare" in made.notes[0]
    state = load_file(made.directory / "model.safetensors")
    names = [f"model.layers.{layer}.mlp.up_proj.weight" for layer in (0, 1)]
    assert torch.equal(*(state[name] for name in names))
    again = AutoModelForCausalLM.from_pretrained(made.directory)
    assert again.model.layers[1].mlp.up_proj.weight.equal(state[names[0]])


def test_tied_and_permuted_weights_are_saved_as_before(context: Make) -> None:
    model, made = make_model("tied"), context("run")
    weight = model.model.layers[0].mlp.up_proj.weight
    weight.data = weight.data.T.contiguous().T
    run(made, model=model)
    state = load_file(made.directory / "model.safetensors")
    assert "lm_head.weight" not in state
    assert state["model.layers.0.mlp.up_proj.weight"].equal(weight)
    assert made.notes == []


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_limit_on_files_is_met_before_the_first_update(context: Make) -> None:
    made = context("run")
    size = sum(value.nbytes for value in make_model("llama").state_dict().values())
    with (
        largest_file(size - 1),
        pytest.raises(StoreProblem, match=r"\(File too large\).* raise the limit .*ulimit -f"),
    ):
        run(made)
    assert updates(made) == 0
    assert list(made.scratch.iterdir()) == []


def test_a_disk_that_is_too_small_is_noticed_before_the_first_update(context: Make) -> None:
    """A model of 35 trillion parameters, without memory for them."""
    made, million = context("run"), 1 << 20
    sizes = {"vocab_size": million, "hidden_size": million, "intermediate_size": 2 * million}
    with torch.device("meta"):
        config = LlamaConfig(**sizes, num_hidden_layers=4, num_attention_heads=2)
        model = LlamaForCausalLM(config)
    saver = Saver(model, make_tokenizer(), SETTINGS, made)
    with pytest.raises(StoreProblem, match=r"GB left, but the trained model needs \d{6}.* twice"):
        saver.check(updates=2)
    assert not saver.finished


def test_checkpoints_to_resume_from_need_space_too(context: Make) -> None:
    made, million = context("run"), 1 << 20
    with torch.device("meta"):
        model = LlamaForCausalLM(LlamaConfig(vocab_size=million, hidden_size=million))
    saver = Saver(model, make_tokenizer(), SETTINGS.model_copy(update={"save_steps": 1}), made)
    with pytest.raises(StoreProblem, match=r"checkpoints up to \d+.* GB \(save_steps\)"):
        saver.check(updates=9)


def test_space_is_held_until_the_weights_are_written(context: Make) -> None:
    made, model = context("run"), make_model("llama")
    Saver(model, make_tokenizer(), SETTINGS, made).check(updates=2)
    held = [path.stat().st_blocks * 512 for path in made.scratch.glob("reserved-*")]
    size = sum(value.nbytes for value in model.state_dict().values())
    assert len(held) == 2
    assert min(held) >= size + 1000  # of the files beside
    run(made)
    assert not list(made.scratch.glob("reserved-*"))


class TrainOnceParams(Record):
    """Nothing to choose."""


tokenizers: list[Any] = []
contexts: list[Context] = []


@operation("test_train_once", version=1, params=TrainOnceParams)
def train_once(context: Context, params: TrainOnceParams) -> None:
    contexts.append(context)
    run(context, tokenizers.pop(0))


def test_a_stage_resumes_at_saving(tmp_path: Path) -> None:
    """With the engine, interrupted while it saves: the next run finds the kept weights."""
    plan, store = Plan(), Store(tmp_path / "store")
    stage = plan.stage("test_train_once")
    tokenizers.extend([failing(KeyboardInterrupt(), calls=2), make_tokenizer()])
    executor = InlineExecutor()
    with pytest.raises(KeyboardInterrupt):
        executor.execute(plan, [stage], store)
    kept = contexts[0].scratch / "trained" / "weights-00000.safetensors"
    assert kept.is_file()
    assert executor.execute(plan, [stage], store, Watching()).executed == (stage.id,)
    state = load_file(store.folder(stage.id) / "model.safetensors")
    assert state.keys() == make_model("llama").state_dict().keys()
    assert Watching.updates == 0
    assert not store.partial(stage.id).exists()


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-9]),
        lambda path: path.write_bytes((1 << 40).to_bytes(8, "little") + b"{}"),
        lambda path: path.write_bytes(path.read_bytes()[:-4] + b"\0\0\0\1"),
        lambda path: path.unlink(),
    ],
)
@pytest.mark.parametrize("listed", [True, False])
def test_damaged_kept_weights_are_trained_again(
    tmp_path: Path, damage: Callable[[Path], object], listed: bool
) -> None:
    context = FakeContext(tmp_path)
    kept = context.scratch / "trained"
    kept.mkdir(parents=True)
    save_file({"a": torch.zeros(3)}, kept / "weights.safetensors")
    (kept / "training_log.json").write_text("{}")
    if listed:
        list_files(kept, kept / "files.json")
    saver = Saver(make_model("llama"), make_tokenizer(), SETTINGS, context)
    assert saver.finished
    whole = (kept / "weights.safetensors").stat().st_size
    damage(kept / "weights.safetensors")
    same = not listed and (
        not (kept / "weights.safetensors").exists()
        or (kept / "weights.safetensors").stat().st_size == whole
    )
    if not same:
        assert not saver.finished
        assert not kept.exists()


def test_a_damaged_checkpoint_is_not_resumed_from(tmp_path: Path) -> None:
    for step in (2, 4, 6, 8):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "optimizer.pt").write_text(str(step))
        if step == 2:
            (folder / COMPLETE).touch()  # of an earlier version
        elif step != 8:
            list_files(folder, folder / COMPLETE)
    assert newest_checkpoint(tmp_path) == tmp_path / "checkpoint-6"
    (tmp_path / "checkpoint-6" / "optimizer.pt").write_bytes(b"")
    assert newest_checkpoint(tmp_path) == tmp_path / "checkpoint-4"
    (tmp_path / "checkpoint-4" / COMPLETE).write_text("[" * 100_000)
    assert newest_checkpoint(tmp_path) == tmp_path / "checkpoint-2"


class Watching(Silent):
    """Counts updates."""

    updates = 0

    def progress(self, stage: Stage, done: int, total: int, unit: str) -> None:
        Watching.updates += unit == "updates"


def test_the_log_has_updates_only() -> None:
    history = [{"loss": 1.0, "epoch": 0.5}, {"train_runtime": 2.0}, {"loss": float("nan")}]
    assert step_log(history) == [{"loss": 1.0, "epoch": 0.5}, {"loss": None}]
