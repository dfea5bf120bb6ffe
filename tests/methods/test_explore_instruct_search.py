"""Explore-Instruct: prompts, search orders, extension and enrichment with a scripted explorer."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.backends.base import Request, Response, Sampling, messages_of
from harness.backends.conversing import Turn
from harness.core.errors import BadRecord, EnvironmentProblem
from harness.core.hashing import seed_from
from harness.core.records import parse
from methods.explore_instruct.domains import DOMAINS
from methods.explore_instruct.enrichment import Enriching
from methods.explore_instruct.explorer import Call, Explorer
from methods.explore_instruct.extension import Extending, demonstrations
from methods.explore_instruct.files import read_tree, write_tree
from methods.explore_instruct.growth import Growth, folded
from methods.explore_instruct.growth_released import GrowthReleased
from methods.explore_instruct.parsing import Reader, Subtask
from methods.explore_instruct.policy import POLICIES
from methods.explore_instruct.prompts import Wording
from methods.explore_instruct.settings import Asking, Enrichment, Extension
from methods.explore_instruct.tree import Example, TaskTree
from tests.explorers import Reply, ScriptedExplorer
from tests.operation_runs import FakeContext

ONE = Example(instruction="Make it short.", input="a; b", output="b")
READER = Reader("general", DOMAINS["general"].rejects)
Change = Callable[[str, Any, int], Reply]


def seed() -> TaskTree:
    return TaskTree.rooted("Root task", "", [ONE, ONE.model_copy(update={"input": ""})])


class Direct:
    """Asks a scripted explorer without an engine, and keeps the calls of each round."""

    def __init__(self, change: Change | None = None) -> None:
        self.backend = ScriptedExplorer(change)
        self.rounds: list[list[str]] = []

    def ask(self, calls: Sequence[Call]) -> list[Turn]:
        self.rounds.append([call.id for call in calls])
        requests = [
            Request(id=call.id, messages=messages_of([{"role": "user", "content": call.prompt}]))
            for call in calls
        ]
        requests = [
            request.model_copy(update={"sampling": Sampling(seed=seed_from(request.id) % 2**31)})
            for request in requests
        ]
        found = {response.id: response for response in self.backend.generate(requests)}
        return [_turn(found[call.id]) for call in calls]


def _turn(response: Response) -> Turn:
    if not response.completions:
        return Turn(error=response.error)
    return Turn(text=response.completions[0].text, finish=response.completions[0].finish)


def extended(
    change: Change | None = None, tree: TaskTree | None = None, **how: Any
) -> tuple[TaskTree, list[dict[str, Any]], Direct]:
    made, asks = tree or seed(), Direct(change)
    search = Extending(made, Extension(**how), Wording(), READER, 0)
    return made, search.run(asks), asks


# Orders


def test_breadth_first_takes_a_level_at_once_and_depth_first_one_task() -> None:
    tree = seed()
    a, b = (tree.add(tree.root, name, "", []) for name in ("a", "b"))
    below = tree.add(a.id, "c", "", [])
    open = {tree.root, a.id, b.id, below.id}
    broad, deep = POLICIES["breadth_first"], POLICIES["depth_first"]
    assert broad.choose(tree, open) == [tree.root]
    assert broad.choose(tree, open - {tree.root}) == [a.id, b.id]
    assert deep.choose(tree, open) == [below.id]
    assert deep.choose(tree, open - {below.id}) == [a.id]
    assert deep.choose(tree, {tree.root}) == [tree.root]
    assert broad.choose(tree, ()) == deep.choose(tree, ()) == []
    assert (broad.number(8, 3), broad.number(1, 3), deep.number(8, 3)) == (8, 3, 3)


def test_depth_first_looks_ahead_and_then_backtracks_to_the_parent() -> None:
    tree, log, _ = extended(policy="depth_first", breadth=(4, 2), per_call=2)
    assert [len(level) for level in tree.levels()] == [1, 4, 8]
    moves = [(entry["move"], entry["depth"]) for entry in log]
    assert moves == [
        ("lookahead", 0), ("lookahead", 1), ("lookahead", 1),
        ("backtracking", 0), ("lookahead", 1), ("lookahead", 1),
    ]  # fmt: skip


def test_breadth_first_asks_once_per_task() -> None:
    tree, log, asks = extended()
    assert [len(level) for level in tree.levels()] == [1, 8, 48]
    assert [len(calls) for calls in asks.rounds] == [1, 8]
    assert all(entry["closed"] == "complete" for entry in log)
    assert all(len(node.examples) == 2 for node in tree.in_levels())


# Extension


@settings(max_examples=25)
@given(
    st.integers(0, 3),
    st.lists(st.integers(1, 14), min_size=3, max_size=3),
    st.integers(1, 5),
    st.integers(1, 4),
    st.sampled_from(["breadth_first", "depth_first"]),
)
def test_a_tree_never_exceeds_its_limits(
    depth: int, breadth: list[int], per_call: int, batch: int, policy: str
) -> None:
    breadth = [min(b, 4) if n else b for n, b in enumerate(breadth)]
    how = {
        "depth": depth,
        "breadth": breadth,
        "per_call": per_call,
        "batch": batch,
        "max_calls": 20,
    }
    tree, _log, _ = extended(policy=policy, **how)
    for node in tree.in_levels():
        at = tree.depth(node.id)
        assert at <= depth
        assert len(node.children) == (min(12, breadth[at]) if at < depth else 0)
    assert len(tree.nodes) == len({node.id for node in tree.in_levels()})
    assert tree == extended(policy=policy, **how)[0]


def test_depth_0_returns_the_seed_tree() -> None:
    tree, log, asks = extended(depth=0)
    assert (tree, log, asks.rounds) == (seed(), [], [])


def test_sub_tasks_that_exist_count_except_as_released() -> None:
    tree = seed()
    tree.add(tree.root, "old", "", [ONE])
    assert len(extended(tree=tree, depth=1, breadth=(3,))[0]) == 4
    tree = seed()
    tree.add(tree.root, "old", "", [ONE])
    assert len(extended(tree=tree, depth=1, breadth=(3,), released=True)[0]) == 5


def test_a_batch_is_cut_at_the_limit_and_as_released_it_overshoots() -> None:
    tree, log, _ = extended(depth=1, breadth=(8,), batch=3)
    assert len(tree) == 9
    assert Counter(reason for _, reason in log[0]["dropped"]) == {"more than asked for": 16}
    tree, log, _ = extended(depth=1, breadth=(8,), batch=3, released=True)
    assert len(tree) == 25
    assert log[0]["dropped"] == []


def test_repeated_names_prose_and_sub_tasks_without_examples_become_no_tasks() -> None:
    def change(good: str, asked: Any, number: int) -> str:
        examples = json.loads(good)["subtasks"][0]["examples"]
        names = ["Root  TASK", "New", "new.", "bare", "a sentence " + "with words " * 8]
        items = [{"name": name, "reason": "", "examples": examples} for name in names]
        items[3]["examples"] = []
        return json.dumps({"subtasks": items})

    tree, log, _ = extended(change, depth=1, breadth=(3,))
    assert [node.name for node in tree.in_levels()] == ["Root task", "New"]
    reasons = [reason for _, reason in log[0]["dropped"]]
    assert reasons == ["repeated name", "repeated name", "no examples", "no name"]
    # Three more calls without anything new close the task.
    assert (len(log), log[-1]["closed"]) == (4, "nothing new")
    assert [entry["move"] for entry in log] == ["lookahead"] + ["backtracking"] * 3


@pytest.mark.parametrize(
    "reply", ["", "I cannot help with that.", "Here are ideas: tone, length.", ("{", "length")]
)
def test_an_explorer_without_sub_tasks_ends_within_its_budget(reply: Reply) -> None:
    tree, log, asks = extended(lambda good, asked, number: reply, patience=5)
    assert len(tree) == 1
    assert len(asks.rounds) == 5
    assert {entry["closed"] for entry in log} == {None, "nothing new"}


def test_a_budget_of_calls_ends_a_task() -> None:
    def one(good: str, asked: Any, number: int) -> str:
        return json.dumps({"subtasks": json.loads(good)["subtasks"][:1]})

    tree, log, _ = extended(one, depth=1, max_calls=4)
    assert len(tree) == 5
    assert log[-1]["closed"] == "out of calls"


def test_a_full_task_is_not_asked() -> None:
    tree = seed()
    for number in range(12):
        tree.add(tree.root, f"old {number}", "", [])
    _, log, asks = extended(tree=tree, depth=1, breadth=(20,), released=True)
    assert (log, asks.rounds) == ([], [])


def test_failed_calls_are_logged_and_asked_again() -> None:
    tree, log, _ = extended(lambda good, asked, n: None if n < 3 else good, depth=1)
    assert len(tree) == 9
    assert [len(entry["failures"]) for entry in log] == [1, 1, 0]


def test_demonstrations_are_different_examples_fixed_by_the_call() -> None:
    tree = seed()
    assert len(demonstrations(tree, tree.root, 2, 0, "a")) == 2
    assert demonstrations(tree, tree.root, 9, 0, "a") == demonstrations(tree, tree.root, 9, 0, "a")
    assert demonstrations(TaskTree.rooted("No examples"), "no_examples", 2, 0, "a") == []


def test_rules_of_growth() -> None:
    growth, released = Growth(12, 1), GrowthReleased(12, 1)
    tree, good = seed(), Subtask("New", examples=[ONE])
    assert growth.missing(4, 2, 6) == 2
    assert released.missing(4, 2, 6) == 4
    assert growth.missing(0, 0, 99) == 12
    assert growth.problem(tree, good) is None
    assert released.problem(tree, Subtask("root task")) is None
    assert released.problem(tree, Subtask(" ")) == "no name"
    assert growth.room(2, [good] * 5) == 2
    assert released.room(2, [good] * 5) == 5
    assert folded("Style-Transfer ") == folded("style transfer") != folded("总结")


NASTY = [
    "../../etc/passwd",
    "总结",
    "a/b; c",
    "🙂",
    "manifest",
    "x" * 300,
    "\ud800",
    "line\nbreak",
    "!",
]


@pytest.mark.parametrize("released", [False, True])
def test_any_names_make_a_tree_that_can_be_written_and_read(tmp_path: Path, released: bool) -> None:
    def change(good: str, asked: Any, number: int) -> str:
        examples = json.loads(good)["subtasks"][0]["examples"]
        return json.dumps({"subtasks": [{"name": n, "examples": examples} for n in ["", *NASTY]]})

    tree, log, _ = extended(change, depth=1, breadth=(12,), max_calls=1, released=released)
    assert len(tree) == 1 + len(NASTY)
    assert log[0]["dropped"] == [] if not released else True
    write_tree(tmp_path, tree)
    assert read_tree(tmp_path) == tree
    assert all(path.parent == tmp_path for path in tmp_path.rglob("*"))


# Enrichment


def enriched(
    change: Change | None = None, tree: TaskTree | None = None, **how: Any
) -> tuple[TaskTree, list[dict[str, Any]], Direct]:
    made, asks = tree or seed(), Direct(change)
    log = Enriching(made, Enrichment(**how), Wording(), READER, 0).run(asks)
    return made, log, asks


def test_every_task_gets_its_examples_after_the_tasks_above() -> None:
    tree = seed()
    tree.add(tree.root, "below", "", [])
    tree, log, asks = enriched(tree=tree, examples=95, batch=4)
    assert [len(node.examples) for node in tree.in_levels()] == [95, 95]
    assert [entry["calls"] for entry in log] == [10, 10]
    assert [next(id.split("#")[0] for id in calls) for calls in asks.rounds] == [
        *["enrich/root_task"] * 3, *["enrich/below"] * 3,
    ]  # fmt: skip
    assert all(len(calls) <= 4 for calls in asks.rounds)
    assert len({(e.instruction, e.input) for e in tree["below"].examples}) == 95


def test_pruned_tasks_are_left_out_and_tasks_with_enough_are_not_asked() -> None:
    tree = seed()
    tree.add(tree.root, "below", "", [])
    tree["below"].pruned = True
    tree, log, asks = enriched(tree=tree, examples=2)
    assert asks.rounds == []
    assert tree["below"].examples == []
    assert [(entry["task"], entry["closed"]) for entry in log] == [("root_task", "complete")]


def test_repeats_are_dropped_unless_wanted() -> None:
    def same(good: str, asked: Any, number: int) -> str:
        return json.dumps({"examples": [ONE.model_dump()] * 10})

    tree, log, _ = enriched(same, examples=20, patience=3)
    assert len(tree[tree.root].examples) == 2
    assert log[0]["rejected"]["repeated"] == 40
    assert log[0]["closed"] == "nothing new"
    tree, log, _ = enriched(same, examples=20, unique=False)
    assert len(tree[tree.root].examples) == 20


def test_enrichment_ends_within_its_budget_and_says_why() -> None:
    def faulty(good: str, asked: Any, number: int) -> Reply:
        one = json.dumps({"examples": json.loads(good)["examples"][:1]})
        return [None, "", (one, "length"), "I cannot."][number % 4]  # type: ignore[return-value]

    tree, log, _ = enriched(faulty, examples=100, max_calls=12, batch=3)
    (entry,) = log
    assert (entry["calls"], entry["closed"]) == (12, "out of calls")
    assert entry["failures"] == {"scripted failure": 3}
    assert entry["forms"] == {"json": 3, "unreadable": 6}
    assert entry["cut"] == 3
    assert len(tree[tree.root].examples) == 5


def test_settings() -> None:
    assert Enrichment(examples=500).budget == 100
    assert Enrichment(examples=1).budget == 5
    with pytest.raises(BadRecord, match="one breadth per depth"):
        parse(Extension, {"depth": 3}, "test")
    with pytest.raises(BadRecord, match='form = "text"'):
        parse(Asking, {"parser": "released"}, "test")
    assert Asking(parser="released", form="text").reader.released
    with pytest.raises(BadRecord, match='form = "json"'):
        parse(Asking, {"enforce": True, "form": "text"}, "test")
    assert not Asking().sampling("extend").reply_schema
    assert "enforce" not in Asking().model_dump()


def test_the_schema_that_a_server_enforces_is_the_one_shown_without_further_fields() -> None:
    schema = json.loads(Asking(enforce=True).sampling("extend").reply_schema)
    task = schema["properties"]["subtasks"]["items"]
    example = task["properties"]["examples"]["items"]
    for part, names in (
        (schema, {"subtasks"}),
        (task, {"name", "reason", "examples"}),
        (example, {"instruction", "input", "output"}),
    ):
        assert set(part["properties"]) == set(part["required"]) == names
        assert part["additionalProperties"] is False
    shown = Wording().extend("Root", [], [], [], 3, total=12, examples=2)
    assert '"required": ["name", "reason", "examples"]' in shown


# Explorer


def explorer(folder: Path, backend: ScriptedExplorer) -> Explorer:
    folder.mkdir(exist_ok=True)
    return Explorer(FakeContext(folder), backend, Asking().sampling("enrich"))


def call(number: int) -> Call:
    return Call(f"c{number}", Wording().enrich("Root", [], "Root", "", [], [], 2))


def test_answers_are_stored_and_failures_too_once_another_call_is_answered(tmp_path: Path) -> None:
    first = ScriptedExplorer(lambda good, asked, number: None if number == 2 else good)
    with explorer(tmp_path / "a", first) as asks:
        turns = asks.ask([call(1), call(2), call(3)])
    assert [turn.error is None for turn in turns] == [True, False, True]
    again = ScriptedExplorer()
    with explorer(tmp_path / "a", again) as asks:
        assert asks.ask([call(1), call(2), call(3)]) == turns
    assert again.asked == []
    assert len({turn.text for turn in turns}) == 3  # each call has a seed of its own


def test_an_outage_ends_the_search_and_leaves_no_trace(tmp_path: Path) -> None:
    dead = ScriptedExplorer(lambda good, asked, number: None)
    with explorer(tmp_path / "a", dead) as asks:
        for number in range(19):
            asks.ask([call(number)])
        with pytest.raises(EnvironmentProblem, match="20 times"):
            asks.ask([call(19)])
    assert len(dead.asked) == 20
    with explorer(tmp_path / "a", ScriptedExplorer()) as asks:
        assert all(turn.error is None for turn in asks.ask([call(n) for n in range(20)]))
