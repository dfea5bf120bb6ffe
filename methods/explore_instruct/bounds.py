"""Upper bounds of a search before it runs, from K, B, N and the budgets of calls.

At most s tasks of the seed tree may join each depth, so that n_0 = 1 and
n_(d+1) <= n_d * B_d + s, with s = 0 for a seed tree of the root alone: 57 tasks for K = 2 and
B = (8, 6). A call has at most `max_tokens` tokens in its reply and, by assumption, `PROMPT_TOKENS`
in its prompt.
"""

from __future__ import annotations

from typing import Any

from harness.engine.operations import Estimate
from methods.explore_instruct.settings import Enrichment, Extension

PROMPT_TOKENS = 1500  # rules and schema have about 600, two examples at most about 900


def tasks_by_depth(seeds: int, settings: Extension) -> list[int]:
    """Most tasks at each depth from 0 to K; the last one includes seeds that are deeper.

    >>> tasks_by_depth(1, Extension(depth=2, breadth=(8, 6)))
    [1, 8, 48]
    """
    found = [1]
    for breadth in settings.breadth[: settings.depth]:
        found.append(found[-1] * breadth + seeds - 1)
    return found if settings.depth else [seeds]


def extending(params: Any, tree: Estimate, model: Estimate) -> Estimate:
    """Bound of `extend_task_tree`; its rows are tasks."""
    if tree.rows is None:
        return Estimate()
    tasks = tasks_by_depth(tree.rows, params.extension)
    calls = sum(tasks[: params.extension.depth]) * params.extension.max_calls
    return _calls(calls, sum(tasks), params.max_tokens)


def enriching(params: Any, tree: Estimate, model: Estimate) -> Estimate:
    """Bound of `enrich_task_tree`; its rows are tasks, its responses the examples of each."""
    settings: Enrichment = params.enrichment
    if tree.rows is None:
        return Estimate()
    found = _calls(tree.rows * settings.budget, tree.rows, params.max_tokens)
    return Estimate(**{**vars(found), "responses": settings.examples})


def _calls(calls: int, tasks: int, written: int) -> Estimate:
    return Estimate(
        rows=tasks,
        tokens=calls * (PROMPT_TOKENS + written),
        requests=calls,
        tokens_out=calls * written,
        at_most=True,
    )


def same_tasks(params: Any, tree: Estimate) -> Estimate:
    """At most as many tasks and examples as before."""
    return Estimate(rows=tree.rows, responses=tree.responses)


def sampling(params: Any, tree: Estimate) -> Estimate:
    """At most the requested number of rows."""
    if tree.rows is None or tree.responses is None:
        return Estimate(rows=params.n)
    return Estimate(rows=min(params.n, tree.rows * tree.responses))
