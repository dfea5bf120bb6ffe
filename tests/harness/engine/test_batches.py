"""What a row stage accepts from its operation: each batch once, with the ids that it was given."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.core.errors import BadData, CrucibleError
from harness.core.records import Record
from harness.engine.operations import Artifact, Context, Row, operation
from harness.engine.plan import Plan
from harness.engine.row_files import RowFile
from harness.engine.run import InlineExecutor, Silent
from harness.engine.store import Store


class SevenParams(Record):
    pass


class ChangedParams(Record):
    how: str


@operation("test_seven", version=1, params=SevenParams)
def seven(context: Context, params: SevenParams) -> None:
    lines = [json.dumps({"id": f"r{n}", "n": n}) + "\n" for n in range(7)]
    (context.directory / "rows.jsonl").write_text("".join(lines))


def squares(batch: list[Row]) -> list[Row]:
    return [{"id": row["id"], "square": row["n"] ** 2} for row in batch]


Change = Callable[[list[list[Row]]], list[list[Row]]]

# What an operation yields in place of its three batches r0-r2, r3-r5, r6.
CHANGES: dict[str, Change] = {
    "as given": lambda made: made,
    "the last batch first": lambda made: made[::-1],
    "the same batch twice": lambda made: [made[0], made[0], *made[1:]],
    "a batch in another order": lambda made: [made[0][::-1], *made[1:]],
    "the last rows of a batch exchanged": lambda made: [
        [made[0][0], made[0][2], made[0][1]],
        *made[1:],
    ],
    "a row of another batch": lambda made: [[*made[0][:2], made[1][2]], *made[1:]],
    "a row too few": lambda made: [made[0][:2], *made[1:]],
    "a row too many": lambda made: [[*made[0], made[1][0]], *made[1:]],
    "an empty batch": lambda made: [[], *made[1:]],
    "a row that nobody asked for": lambda made: [*made, [{"id": "r9", "square": 81}]],
    "a batch left out": lambda made: made[:2],
}
REFUSED = {
    name: "returned 2 of 3 batches" if name == "a batch left out" else "with the ids it was given"
    for name in list(CHANGES)[2:]
}


@operation("test_changed", version=1, params=ChangedParams, rows="rows", batch_size=lambda _: 3)
def changed(
    context: Context, params: ChangedParams, batches: Iterable[list[Row]], *, rows: Artifact
) -> Iterator[list[Row]]:
    yield from CHANGES[params.how]([squares(batch) for batch in batches])


class Seen(Silent):
    def __init__(self) -> None:
        self.done: list[tuple[int, int]] = []

    def progress(self, stage: Any, done: int, total: int, unit: str) -> None:
        self.done.append((done, total))


def run(how: str, folder: Path, reporter: Silent | None = None) -> list[Row]:
    plan, store = Plan(), Store(folder)
    target = plan.stage("test_changed", how=how, rows=plan.stage("test_seven"))
    InlineExecutor().execute(plan, [target], store, reporter)
    return store.artifact(target.id).rows()


@pytest.mark.parametrize("how", ["as given", "the last batch first"])
def test_batches_may_be_finished_in_any_order(how: str, tmp_path: Path) -> None:
    seen = Seen()
    rows = run(how, tmp_path, seen)
    assert rows == [{"id": f"r{n}", "square": n * n} for n in range(7)]
    finished = (0, 3, 6, 7) if how == "as given" else (0, 1, 4, 7)
    assert [pair for pair in seen.done if pair[1] == 7] == [(done, 7) for done in finished]


@pytest.mark.parametrize("how", REFUSED)
def test_other_batches_than_those_given_are_refused(how: str, tmp_path: Path) -> None:
    with pytest.raises(CrucibleError, match=REFUSED[how]):
        run(how, tmp_path)
    assert len(Store(tmp_path).ids()) == 1  # the input alone


@pytest.fixture
def file_of(tmp_path: Path) -> Callable[..., RowFile]:
    def make(text: str, size: int = 3) -> RowFile:
        path = tmp_path / "rows.jsonl"
        path.write_text(text)
        return RowFile(path, size, "input")

    return make


LINES = "".join(f'{{"id": "r{n}"}}\n' for n in range(7))


def ids(*numbers: int) -> list[Row]:
    return [{"id": f"r{n}"} for n in numbers]


def test_a_file_is_read_in_batches_of_its_lines(file_of: Callable[..., RowFile]) -> None:
    rows = file_of("\n" + LINES.replace('"r3"}\n', '"r3"}\n\n \n'))
    assert (len(rows), rows.batches) == (7, 3)
    assert [rows.count(batch) for batch in range(3)] == [3, 3, 1]
    assert [rows.read(batch) for batch in (2, 0, 1)] == [ids(6), ids(0, 1, 2), ids(3, 4, 5)]
    whole = file_of(LINES, size=7)
    assert (whole.batches, whole.count(0)) == (1, 7)
    assert file_of("").batches == 0


def test_a_finished_batch_fits_if_its_ids_are_those_of_the_file(
    file_of: Callable[..., RowFile],
) -> None:
    rows = file_of(LINES)
    assert rows.fits(0, ids(0, 1, 2))
    assert rows.fits(1, ids(3, 4, 5))
    assert rows.fits(2, ids(6))
    for batch, found in (
        (0, ids(0, 1)),
        (0, ids(0, 2, 1)),
        (0, ids(0, 1, 3)),
        (1, ids(0, 1, 2)),
        (2, ids(6, 7)),
        (2, []),
        (3, ids(7)),
        (-1, ids(6)),
        (2, [{"id": None}]),
        (2, [{}]),
    ):
        assert not rows.fits(batch, found), (batch, found)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"id": "a"}\n{"id": "b"}\n{"id": "a"}\n', 'row id "a" occurs twice'),
        ('{"id": 3}\n', "row id is missing or not text"),
        ('{"a": "id"}\n', "row id is missing or not text"),
        ('{"id": "a"}\n\n{"id": "b"} x\n', "row 2: not JSON"),
        ('{"id": "a"}\n[1]\n', r"row 2: expected an object, found \[1\]"),
    ],
)
def test_lines_that_are_no_rows_are_named(
    text: str, said: str, file_of: Callable[..., RowFile]
) -> None:
    with pytest.raises(BadData, match=said):
        file_of(text)


def test_a_list_in_one_value_is_read_as_rows(file_of: Callable[..., RowFile]) -> None:
    rows = file_of(json.dumps(ids(0, 1, 2, 3)))
    assert [rows.read(batch) for batch in (1, 0)] == [ids(3), ids(0, 1, 2)]


def test_a_file_that_loses_lines_while_it_is_read_says_so(
    file_of: Callable[..., RowFile], tmp_path: Path
) -> None:
    rows = file_of(LINES)
    (tmp_path / "rows.jsonl").write_text(LINES[:20])
    with pytest.raises(BadData, match="became shorter while it was read"):
        rows.read(1)
