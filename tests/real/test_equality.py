"""SmolLM2-135M-Instruct: operations equal transformers and plain torch, written out here."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import log_softmax, logsigmoid
from transformers import AutoModelForCausalLM, AutoTokenizer

from harness.backends.base import Request, Sampling, messages_of
from harness.backends.hf import HFBackend
from harness.engine.operations import Artifact, Row
from harness.models import chat
from harness.models.checkpoints import load_causal_lm
from harness.models.tokenize import tokenize_row

Operate = Callable[..., Artifact]
Figure = Callable[[str], None]
RowsOf = Callable[[list[Row]], Artifact]
ONE_UPDATE: dict[str, Any] = {
    "learning_rate": 1e-5,
    "max_steps": 1,
    "per_device_batch_size": 2,
    "scheduler": "constant",
    "warmup_ratio": 0.0,
    "max_grad_norm": 0.0,
}
LENGTHS = {"max_length": 512, "max_prompt_length": 256}
QUESTIONS = [
    "Name three colours.",
    "What is the capital of France?\nAnswer with one word.",
    "Übersetze »Guten Morgen« ins Englische 🌅",
    "def f(x):\n    return x  # what does it do?",
]
COLUMNS = ("source", "target", "rejected")
PAIRS: list[Row] = [
    {
        "id": "a",
        "messages": [{"role": "user", "content": QUESTIONS[0]}],
        "responses": {
            "source": "Red, green and blue.",
            "target": "Three colours are red, yellow and violet.",
            "rejected": "No.",
        },
    },
    {
        "id": "b",
        "messages": [
            {"role": "system", "content": "You are brief."},
            {"role": "user", "content": QUESTIONS[1]},
        ],
        "responses": {"source": "Paris", "target": "It is Paris.", "rejected": "Lyon, I think"},
    },
]
TEXTS: list[Row] = [
    {"id": "a", "text": "The quick brown fox jumps over the lazy dog. Then it rests in the sun."},
    {"id": "b", "text": "def add(a, b):\n    return a + b\n\nprint(add(1, 22))"},
]


@pytest.fixture(scope="module")
def folder(real_folder: Path) -> Path:
    return real_folder / "smollm2"


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> Any:
    return AutoTokenizer.from_pretrained(folder)


def plain_model(folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def conversations() -> list[list[dict[str, str]]]:
    found = [[{"role": "user", "content": question}] for question in QUESTIONS]
    system = {"role": "system", "content": "You are a pirate."}
    dialogue = [
        *found[0],
        {"role": "assistant", "content": "Red, green, blue."},
        {"role": "user", "content": "And a fourth?"},
    ]
    return [*found, [system, *found[1]], dialogue]


def ids_of(tokenizer: Any, messages: list[dict[str, str]], **options: Any) -> list[int]:
    found = tokenizer.apply_chat_template(messages, tokenize=True, return_dict=True, **options)
    return list(found["input_ids"])


def test_prompts_have_the_ids_of_the_template(tokenizer: Any) -> None:
    for messages in conversations():
        expected = ids_of(tokenizer, messages, add_generation_prompt=True)
        assert chat.prompt_ids(tokenizer, messages) == expected


def test_trained_ids_are_those_of_the_rendered_conversation(tokenizer: Any) -> None:
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    for row in PAIRS:
        found = tokenize_row(tokenizer, row, COLUMNS, **LENGTHS)
        for name, sequence in found.items():
            answer = {"role": "assistant", "content": row["responses"][name]}
            rendered = ids_of(tokenizer, [*row["messages"], answer])
            last = len(rendered) - rendered[::-1].index(end)
            assert sequence.input_ids == rendered[:last]
            start = len(ids_of(tokenizer, row["messages"], add_generation_prompt=True))
            assert sequence.labels == [-100] * start + rendered[start:last]


def test_greedy_answers_are_those_of_transformers(
    folder: Path, tokenizer: Any, operate: Operate, rows_of: RowsOf
) -> None:
    rows = [{"id": str(n), "messages": m} for n, m in enumerate(conversations())]
    model, limit = plain_model(folder), 16
    params = {"temperature": 0.0, "top_p": 1.0, "max_tokens": limit}
    made = operate("sample", params, prompts=rows_of(rows), model=Artifact("m", folder)).rows()
    backend, greedy = HFBackend(*load_causal_lm(folder)), Sampling(max_tokens=limit)
    requests = [
        Request(id=row["id"], messages=messages_of(row["messages"]), sampling=greedy)
        for row in rows
    ]
    sampled = {response.id: response.completions[0] for response in backend.generate(requests)}
    for row, answer in zip(rows, made, strict=True):
        prompt = torch.tensor([ids_of(tokenizer, row["messages"], add_generation_prompt=True)])
        whole = model.generate(
            prompt, attention_mask=torch.ones_like(prompt), do_sample=False, max_new_tokens=limit
        )[0, prompt.shape[1] :].tolist()
        expected = tokenizer.decode(whole, skip_special_tokens=True)
        assert answer["responses"][0] == expected
        stopped = whole[-1] == tokenizer.eos_token_id
        assert answer["finish"][0] == ("stop" if stopped else "length")
        assert sampled[row["id"]].token_ids == tuple(whole[:-1] if stopped else whole)


def plain_logps(model: Any, tokenizer: Any, rows: list[Row]) -> torch.Tensor:
    """Summed log-probabilities (rows, responses), one sequence at a time."""
    table = []
    for row in rows:
        for sequence in tokenize_row(tokenizer, row, COLUMNS, **LENGTHS).values():
            ids, labels = (
                torch.tensor([values]) for values in (sequence.input_ids, sequence.labels)
            )
            logps = log_softmax(model(input_ids=ids).logits[0, :-1].float(), -1)
            scored = labels[0, 1:] != -100
            table.append(logps.gather(1, ids[0, 1:, None])[:, 0][scored].sum())
    return torch.stack(table).view(len(rows), len(COLUMNS))


def references(operate: Operate, rows_of: RowsOf, folder: Path) -> Artifact:
    return operate("reference_logps", LENGTHS, rows=rows_of(PAIRS), model=Artifact("m", folder))


def test_reference_log_probabilities(
    folder: Path, tokenizer: Any, operate: Operate, rows_of: RowsOf
) -> None:
    with torch.no_grad():
        expected = plain_logps(plain_model(folder), tokenizer, PAIRS)
    for row, values in zip(references(operate, rows_of, folder).rows(), expected, strict=True):
        assert [row["logps"][name] for name in COLUMNS] == pytest.approx(values.tolist(), rel=1e-5)


def check_update(made: Artifact, model: Any, loss: torch.Tensor) -> dict[str, Any]:
    """Loss, gradient and weights of one update with AdamW, against those of an operation."""
    (entry,) = json.loads((made.path / "training_log.json").read_text())["log"]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, weight_decay=0.0)
    loss.backward()
    norm = torch.stack([p.grad.norm() for p in model.parameters()]).norm()
    optimizer.step()
    assert entry["loss"] == pytest.approx(loss.item(), rel=1e-5)
    assert entry["grad_norm"] == pytest.approx(norm.item(), rel=1e-4)
    trained = plain_model(made.path).state_dict()
    far = total = 0
    for name, value in model.named_parameters():
        far += int(((trained[name] - value.detach()).abs() > 1e-6).sum())
        total += value.numel()
    # Adam's first step is the sign of the gradient: where that is almost 0, rounding decides.
    assert far / total < 1e-3
    return {"loss": entry["loss"], "plain loss": loss.item(), "weights apart": far / total}


def test_one_update_of_wrpo(
    folder: Path, other: Path, tokenizer: Any, operate: Operate, rows_of: RowsOf, figure: Figure
) -> None:
    """log_ratios are not zero: the reference is another model."""
    params = {**ONE_UPDATE, **LENGTHS, "loss": "wrpo"}
    params["settings"] = {"beta": 0.1, "alpha_mode": "static", "alpha_end": 0.4}
    made = operate(
        "train_preference",
        params,
        rows=rows_of(PAIRS),
        model=Artifact("m", folder),
        reference=references(operate, rows_of, other),
    )
    with torch.no_grad():
        frozen = plain_logps(plain_model(other), tokenizer, PAIRS)
    model = plain_model(folder)
    h = plain_logps(model, tokenizer, PAIRS) - frozen
    loss = -logsigmoid(0.1 * (0.4 * h[:, 0] + 0.6 * h[:, 1] - h[:, 2])).mean()
    assert abs(loss.item() - math.log(2)) > 0.01
    figure(f"one update of WRPO: {check_update(made, model, loss)}")


def test_one_update_of_fusellm(
    folder: Path, other: Path, tokenizer: Any, operate: Operate, rows_of: RowsOf, figure: Figure
) -> None:
    """Two teachers of ten entries, each document taught by the one with the lower cross-entropy."""
    corpus = rows_of(TEXTS)
    target, source = Artifact("m", folder), Artifact("o", other)
    own, theirs = (
        operate("make_teacher", {"k": 10}, corpus=corpus, model=model) for model in (target, source)
    )
    mapped = operate("map_teacher", {}, corpus=corpus, teacher=theirs, target=target, source=source)
    made = operate(
        "train_fusion",
        {**ONE_UPDATE, "block_size": 256, "packing": "none", "loss": {"lm_weight": 0.7}},
        corpus=corpus,
        model=target,
        teachers=(own, mapped),
    )

    student = plain_model(folder)
    teachers = [plain_model(folder), plain_model(other)]
    clm, fused, chosen = [], [], []
    for row in TEXTS:
        inner = tokenizer(row["text"], add_special_tokens=False)["input_ids"]
        ids = torch.tensor([[tokenizer.bos_token_id, *inner, tokenizer.eos_token_id]])
        found = []
        for teacher in teachers:
            with torch.no_grad():
                logps = log_softmax(teacher(input_ids=ids).logits[0, :-1].float(), -1)
            ce = -logps.gather(1, ids[0, 1:, None]).mean()
            found.append((ce.item(), *logps.topk(10, -1)))
        chosen.append(min(range(2), key=lambda number: found[number][0]))
        _, top, entries = found[chosen[-1]]
        probs = top.half().float().softmax(-1)
        q = log_softmax(student(input_ids=ids).logits[0, :-1].float(), -1)
        clm.append(-q.gather(1, ids[0, 1:, None])[:, 0])
        fused.append(-(probs * q.gather(1, entries)).sum(-1))
    loss = 0.7 * torch.cat(clm).mean() + 0.3 * torch.cat(fused).mean()
    figure(f"one update of FuseLLM: {check_update(made, student, loss)}, teachers {chosen}")
