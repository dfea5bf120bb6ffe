"""Whether the answers to a questionnaire's items are right.

    authors, interviews --score_ratings--> % of right answers

An answer speaks for one label of its trait: a rating above the middle of a positive item, or below
that of a reverse-keyed one, for label 1; an option for the label that it stands for. It is right

    rating_accuracy     if the text shows this label about the item (known in some worlds only)
    trait_accuracy      if this is the author's label of the trait, of answers that speak for one

A middle rating and "not sure" are not right about what a text shows, and say nothing of a trait.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from harness.core.records import Cell
from harness.data.traits import Trait
from harness.data.truths import signs_about
from harness.engine.io import write_rows
from harness.engine.operations import Artifact, Context, Row, operation
from harness.suites.personality.questionnaires import LETTERS, POINTS, Item, for_traits
from harness.suites.scoring import CellParams, cell_maker, write_cells

Place = tuple[str, int]  # trait and number of an item


class ScoreRatingsParams(CellParams):
    """Parameters of `score_ratings`.

    Attributes:
        questionnaire: as in the interviews.
        of: name of the authors' suite, which ends the names of the metrics.
        signs, signs_digest: set of authors of whose texts it is known what they show, and its
            identity when the plan was made; "" if it is unknown.
    """

    questionnaire: str = "auto"
    of: str
    signs: str = ""
    signs_digest: str = ""


class Said(NamedTuple):
    """The answer to one item.

    Attributes:
        label: that it speaks for; None for a middle rating or "not sure".
        answered: whether there is a readable answer.
        shown: label that the text shows about the item; None if it shows none.
        gold: label of the author.
    """

    trait: str
    number: int
    label: int | None
    answered: bool
    shown: int | None
    gold: int

    def right(self, truth: int | None) -> float | None:
        """Whether the answer speaks for a label; None without an answer."""
        return float(self.label == truth) if self.answered else None


def label_of(item: Item, value: int | str | None) -> int | None:
    """Label that an answer speaks for; None for the middle, "not sure" or no answer.

    >>> statement = Item(trait="ext", number=6, text="is reserved", keyed=-1)
    >>> [label_of(statement, rating) for rating in (1, 3, 5)]
    [1, None, 0]
    """
    if item.kind == "choice":
        place = LETTERS.find(value) if isinstance(value, str) and value else -1
        return item.labels[place] if 0 <= place < len(item.labels) else None
    middle = (POINTS + 1) // 2
    if not isinstance(value, int) or value == middle:
        return None
    return int((value > middle) == (item.keyed > 0))


def said_by(
    row: Row, items: Mapping[Place, Item], shown: Mapping[Place, int], gold: Mapping[str, int]
) -> list[Said]:
    """The items that an interview row asked, with their answers."""
    found = []
    for trait, dialogue in row["dialogues"].items():
        values = dialogue.get("values") or [None] * len(dialogue["items"])
        for number, value in zip(dialogue["items"], values, strict=True):
            place = (trait, number)
            label = label_of(items[place], value)
            answered = value is not None
            found.append(Said(trait, number, label, answered, shown.get(place), gold[trait]))
    return found


@operation("score_ratings", version=1, params=ScoreRatingsParams)
def score_ratings(
    context: Context, params: ScoreRatingsParams, *, authors: Artifact, interviews: Artifact
) -> None:
    """Write the accuracy of the answers of one system; see the module's docstring.

    An item without a readable answer counts as failed. rows.jsonl has the items of each author.
    """
    traits = [Trait.model_validate(trait) for trait in authors.read_json("traits.json")]
    form = for_traits(params.questionnaire, traits)
    items = {(item.trait, item.number): item for item in form.items}
    read = signs_about(params.signs, params.signs_digest) if params.signs else None
    answers = {row["id"]: row for row in interviews.rows()}
    by_author = {
        row["id"]: said_by(
            answers[row["id"]],
            items,
            {(sign.trait, sign.number): sign.label for sign in (read(row) if read else ())},
            row["labels"],
        )
        for row in authors.rows()
    }
    maker = cell_maker(
        params, {id: [id] for id in by_author}, authors=authors, interviews=interviews
    )
    clusters = [id for id, said in by_author.items() for _ in said]
    asked = [each for said in by_author.values() for each in said]

    def cell(name: str, truth: Callable[[Said], int | None]) -> Cell:
        among = [truth(each) is not None for each in asked]
        values = [each.right(truth(each)) if known else None for each, known in zip(asked, among)]
        name = f"{name}:{params.of}"
        return maker.mean_cell(name, values, clusters, among, factor=100, primary=False)

    cells = [cell("rating_accuracy", lambda each: each.shown)] if read else []
    spoken = cell("trait_accuracy", lambda each: None if each.label is None else each.gold)
    cells.append(spoken)
    write_cells(context, cells)
    write_rows(
        context.directory / "rows.jsonl",
        [{"id": id, "items": [each._asdict() for each in said]} for id, said in by_author.items()],
    )
