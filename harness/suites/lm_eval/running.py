"""The operation `lm_eval_run`: run all tasks of a model in one call of lm-eval.

Writes `rows.jsonl` (one row per document and filter) and `results.json` (description and values of
each task and group, and the reasons for tasks that could not be loaded).
"""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.core.errors import MissingExtra, UserError
from harness.engine.io import write_json, write_rows
from harness.engine.operations import Artifact, Context, operation
from harness.models.checkpoints import load_causal_lm
from harness.models.references import pointer_of
from harness.models.rendering import DATE
from harness.suites.lm_eval.settings import RunParams, TaskSettings

if TYPE_CHECKING:
    from lm_eval.api.model import LM

    from harness.suites.lm_eval.answers import Answering
    from harness.suites.lm_eval.sources import Loaded


@operation("lm_eval_run", version=1, params=RunParams, libraries=("torch", "transformers"))
def lm_eval_run(context: Context, params: RunParams, *, model: Artifact) -> None:
    """Run the tasks on a model; answers are stored, so a killed run resumes.

    Raises:
        EnvironmentProblem: tasks that cannot be loaded on this machine, unless
            `on_unavailable` is "skip".
        UserError: unknown task, a model without local weights, or contradictory settings.
        MissingExtra: lm-eval is not installed.
    """
    refuse_served(model.path)
    try:
        from harness.suites.lm_eval.quiet import quiet
        from harness.suites.lm_eval.sources import load_tasks, refuse_unavailable
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in ("lm_eval", "torch", "transformers"):
            raise
        raise MissingExtra("lm-eval", "lm-eval") from None
    with quiet():
        loaded = load_tasks(params, context.scratch)
        refuse_unavailable(loaded, params.on_unavailable)
        if not loaded.tasks:
            write_results(context.directory, {"tasks": {}, "groups": {}}, [], loaded, {})
            return
        language_model, identity = open_model(context, params, model)
        run_tasks(language_model, loaded, params, context, identity)


def refuse_served(folder: Path) -> None:
    """Refuse models without local weights, which log-likelihoods need.

    Raises:
        UserError: the model is served by another program or is stored outputs.
    """
    pointer = pointer_of(folder)
    if pointer is None or pointer.engine == "hf":
        return
    what = "is stored outputs" if pointer.engine == "stored" else f"is served by {pointer.engine}"
    raise UserError(
        f"model {pointer.ref} {what}; the lm-eval suites need the weights: give the model's folder "
        "or hub id"
    )


def open_model(
    context: Context, params: RunParams, model: Artifact
) -> tuple[LM, dict[str, object]]:
    """Load a model into lm-eval's transformers model; returns it and its answers' identity.

    Raises:
        UserError: chat_template is set and the model has none.
    """
    from lm_eval.models.huggingface import HFLM

    network, tokenizer = load_causal_lm(model.path, context.device, params.dtype)
    if params.chat_template and not tokenizer.chat_template:
        raise UserError(
            f"{tokenizer.name_or_path} has no chat template; set chat_template = false, or use an "
            "instruction-tuned model"
        )
    date = {"date_string": DATE.strftime("%d %b %Y"), "strftime_now": DATE.strftime}
    language_model = HFLM(
        pretrained=network,
        tokenizer=copy.deepcopy(tokenizer),  # lm-eval changes its padding; it is shared
        batch_size=params.batch_size,
        max_length=params.max_length,
        think_end_token=params.think_end_token,
        chat_template_args={**date, **params.chat_template_args},
    )
    identity = {
        "model": model.id,
        "dtype": str(next(network.parameters()).dtype).removeprefix("torch."),
        "device": str(network.device.type),
        "max_length": language_model.max_length,
        "batch_size": params.batch_size,
        "think_end_token": params.think_end_token,
        "lm_eval": params.lm_eval,
    }
    return language_model, identity


def run_tasks(
    language_model: LM,
    loaded: Loaded,
    params: TaskSettings,
    context: Context,
    identity: Mapping[str, object],
) -> Answering:
    """Run all tasks and write the results; returns the wrapped model with its counts.

    Args:
        language_model: any lm-eval model.
        identity: everything besides the requests that its answers depend on.

    Raises:
        UserError: contradictory settings, see `apply_settings` and `check_room`.
    """
    from harness.suites.lm_eval.answers import Answering, StoredAnswers

    apply_settings(loaded, params)
    check_room(language_model, loaded)
    store = StoredAnswers(context.scratch / "answers", identity)
    asking = Answering(
        language_model,
        store,
        batch_size=params.batch_size,
        seed=params.seeds.torch,
        progress=context.progress,
    )
    try:
        with _cores(language_model), _code_execution(params.allow_code_execution):
            results = _evaluate(asking, loaded, params)
    finally:
        store.close()
    context.count(requests=asking.asked)
    _write(context.directory, results, asking, loaded, params, identity)
    return asking


def apply_settings(loaded: Loaded, params: TaskSettings) -> None:
    """Set few-shot examples, decoding options and seeds of the tasks, by lm-eval's rules.

    Raises:
        UserError: num_fewshot names a task that is not run or that fixes 0 examples.
    """
    shots = params.num_fewshot
    named = dict(shots) if isinstance(shots, dict) else {}
    for name in named:
        for task in loaded.members.get(name, (name,)):
            if task not in loaded.tasks:
                raise UserError(
                    f'num_fewshot names "{name}"; expected one of {", ".join(loaded.members)}'
                )
    by_task = {t: n for name, n in named.items() for t in loaded.members.get(name, (name,))}
    for name, task in loaded.tasks.items():
        if task.get_config("output_type") == "generate_until" and params.gen_kwargs:
            options = dict(params.gen_kwargs)
            task.set_config(key="generation_kwargs", value=options, update=True)
        own = task.get_config("num_fewshot")
        wanted = by_task.get(name, shots if isinstance(shots, int) else None)
        if own == 0 and name in by_task and wanted:
            raise UserError(f"num_fewshot: task {name} fixes 0 examples; remove it")
        if own != 0 and wanted is not None:
            task.set_config(key="num_fewshot", value=wanted)
        elif own is None:
            task.set_config(key="num_fewshot", value=0)
        task.set_fewshot_seed(seed=params.seeds.fewshot)


def check_room(language_model: LM, loaded: Loaded) -> None:
    """Refuse answers as long as the model's context, with which lm-eval fails late.

    Raises:
        UserError: a task's answers leave no room for a prompt.
    """
    from harness.suites.lm_eval.answers import most_tokens

    context = getattr(language_model, "max_length", None)
    if context is None or not hasattr(language_model, "max_gen_toks"):
        return
    for name, task in loaded.tasks.items():
        if task.get_config("output_type") != "generate_until":
            continue
        most = most_tokens(language_model, task.get_config("generation_kwargs") or {})
        if most >= context:
            raise UserError(
                f"task {name} allows answers of {most} tokens, and the model's context is "
                f"{context}; set gen_kwargs.max_gen_toks to less, for example {context // 2}"
            )


def _evaluate(asking: Answering, loaded: Loaded, params: TaskSettings) -> Mapping[str, Any]:
    from lm_eval.evaluator import evaluate

    from harness.suites.lm_eval.sources import seed_everything

    seed_everything(params.seeds)
    results: Mapping[str, Any] = evaluate(
        lm=asking,
        task_dict={
            "tasks": loaded.tasks,
            "groups": loaded.groups,
            "group_map": {name: group.child_names for name, group in loaded.groups.items()},
        },
        limit=params.limit,
        cache_requests=False,  # its key lacks the data, see the package's docstring
        bootstrap_iters=0,
        system_instruction=params.system_instruction,
        apply_chat_template=params.chat_template,
        fewshot_as_multiturn=True,
        confirm_run_unsafe_code=params.allow_code_execution,
    )
    return results


@contextmanager
def _cores(language_model: LM) -> Iterator[None]:
    """Run tiny models on one core: faster, and with the same numbers on every machine."""
    from harness.models.threads import one_core

    network = getattr(language_model, "model", None)
    if network is None or not hasattr(network, "parameters"):
        yield
        return
    with one_core(network):
        yield


@contextmanager
def _code_execution(allowed: bool) -> Iterator[None]:
    """Set the environment variable that code metrics check, if `allowed`."""
    name, before = "HF_ALLOW_CODE_EVAL", os.environ.get("HF_ALLOW_CODE_EVAL")
    if allowed:
        os.environ[name] = "1"
    try:
        yield
    finally:
        if allowed and before is None:
            del os.environ[name]


def _write(
    directory: Path,
    results: Mapping[str, Any],
    asking: Answering,
    loaded: Loaded,
    params: TaskSettings,
    identity: Mapping[str, object],
) -> None:
    from harness.suites.lm_eval import samples

    made = list(samples.rows(results, asking.prompts))
    known = samples.summary(
        results, made, loaded.tasks, loaded.groups, chat_template=params.chat_template
    )
    for name, task in known["tasks"].items():
        task["truncated"] = asking.truncated[name]
        task["blanks_moved"] = asking.moved[name]
        task["local"] = name in loaded.local
    about = {**identity, "chat_template": params.chat_template}
    write_results(directory, known, made, loaded, about)


def write_results(
    directory: Path,
    known: Mapping[str, Any],
    made: list[dict[str, Any]],
    loaded: Loaded,
    about: Mapping[str, object],
) -> None:
    """Write rows.jsonl and results.json.

    Args:
        known: tasks and groups, from `samples.summary`.
        made: rows.
        about: settings and identity of the run.
    """
    write_rows(directory / "rows.jsonl", made)
    content = {
        **known,
        "unavailable": loaded.unavailable,
        "members": {name: list(tasks) for name, tasks in loaded.members.items()},
        "run": dict(about),
    }
    write_json(directory / "results.json", content, ascii=False)
