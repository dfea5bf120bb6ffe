"""A chat model labels authors, asked in dialogues: by its choice, or by what its answers say.

    interview_authors   authors + model -> label rows with `dialogues`
    decide_by_items     those rows      -> label rows

Each trait of an author is one dialogue (see `harness.suites.personality.dialogues`). A stage that
was killed asks for no stored turn again, and all dialogues of a window can be under way at once.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from functools import partial

from harness.backends.base import Backend, plain_messages
from harness.backends.conversing import Turn, converse_about_rows
from harness.backends.opening import open_engine
from harness.core.records import Record
from harness.data.traits import Trait
from harness.engine import costs
from harness.engine.operations import Artifact, Context, Estimate, Row, operation
from harness.models import chat
from harness.suites.personality import prompts
from harness.suites.personality.dialogues import WITH_ITEMS, Interview, InterviewParams
from harness.suites.personality.questionnaires import Questionnaire, for_traits, load

TEXT_TOKENS = 920  # of a turn's prompt, for estimates: an essay and half a dialogue
REPLY_TOKENS = 5  # of a rating or a choice


def _expected(params: InterviewParams, authors: Estimate, model: Estimate) -> Estimate:
    """Rows times turns; which questionnaire "auto" means is not known yet: the Big Five's."""
    form = load("bfi44" if params.questionnaire == "auto" else params.questionnaire)
    items = [form.of(trait, params.items) for trait in {item.trait for item in form.items}]
    traits, asked = len(items), sum(map(len, items))
    thought = params.max_tokens.reasoning
    turns, written = {
        "standard": (traits, traits * REPLY_TOKENS),
        "cot": (2 * traits, traits * (thought + REPLY_TOKENS)),
        "psycot": (traits + asked, (traits + asked) * REPLY_TOKENS),
        "single_turn": (traits, (traits + asked) * REPLY_TOKENS),
    }[params.form]
    return costs.asking(authors.rows, turns, turns * TEXT_TOKENS, written, model)


@operation(
    "interview_authors",
    version=2,
    params=InterviewParams,
    rows="authors",
    libraries=("torch", "transformers"),
    batch_size=lambda params: params.batch_size,
    estimate=_expected,
)
def interview_authors(
    context: Context,
    params: InterviewParams,
    batches: Iterable[list[Row]],
    *,
    authors: Artifact,
    model: Artifact,
) -> Iterator[list[Row]]:
    """Label rows, each with `dialogues`: what was asked, replied, read and decided of each trait.

    The text is never part of them: `prompt_digest` is of the last conversation sent, which the
    author's row, the settings and the replies make again. `cut_characters` counts what was left
    out of the text, `error` says what a model could not be asked.

    Raises:
        UserError: no questionnaire for the traits, or a model without a chat template.
        EnvironmentProblem: the model cannot be loaded here, or memory ran out.
    """
    traits = [Trait.model_validate(trait) for trait in authors.read_json("traits.json")]
    form = for_traits(params.questionnaire, traits) if params.form in WITH_ITEMS else None
    backend = open_engine(context, model, params)
    known: dict[str, tuple[list[Interview], int]] = {}

    def dialogues(batch: list[Row]) -> list[Interview]:
        for row in batch:
            known[row["id"]] = prepared(row, traits, form, params, backend)
        return [interview for row in batch for interview in known[row["id"]][0]]

    for batch, found in converse_about_rows(context, backend, batches, dialogues):
        yield [_labelled(row["id"], *known.pop(row["id"]), found) for row in batch]


def prepared(
    row: Row,
    traits: Sequence[Trait],
    form: Questionnaire | None,
    params: InterviewParams,
    backend: Backend,
) -> tuple[list[Interview], int]:
    """An author's dialogues, and how many characters of the text they leave out.

    With `too_long = "cut"` all of them lose the same end of the text, as little as lets the longest
    one fit the model's context with every reply at its limit.
    """
    text, lost = prompts.author_text(row, params.orders.post_seed)

    def about(trait: Trait, characters: int) -> Interview:
        return Interview(f"{row['id']}/{trait.name}", trait, text[:characters], form, params)

    kept = len(text)
    tokenizer, context = backend.tokenizer, backend.context
    if params.too_long == "cut" and tokenizer is not None and context is not None:

        def tokens(trait: Trait, characters: int) -> int:
            interview = about(trait, characters)
            shown = interview.messages(["-"] * (len(interview.limits) - 1))
            used = chat.prompt_ids(tokenizer, plain_messages(shown))
            return len(used) + sum(interview.limits)

        longest = max(traits, key=lambda trait: tokens(trait, kept))
        if tokens(longest, kept) > context:
            size = partial(tokens, longest)
            kept = max(0, bisect_right(range(kept + 1), context, key=size) - 1)
    return [about(trait, kept) for trait in traits], lost + len(text) - kept


def _labelled(
    id: str, interviews: Sequence[Interview], cut: int, found: dict[str, list[Turn]]
) -> Row:
    row: Row = {"id": id, "labels": {}, "status": {}, "dialogues": {}}
    for interview in interviews:
        label, status, record = interview.outcome(found[interview.id])
        name = interview.trait.name
        row["labels"][name], row["status"][name], row["dialogues"][name] = label, status, record
    failed = [status for status in row["status"].values() if status.startswith("error: ")]
    if failed:
        row["error"] = failed[0].removeprefix("error: ")
    return {**row, "cut_characters": cut} if cut else row


@operation(
    "decide_by_items",
    version=1,
    params=Record,
    rows="interviews",
    estimate=costs.rows_of("interviews"),
)
def decide_by_items(
    context: Context, params: Record, batches: Iterable[list[Row]], *, interviews: Artifact
) -> Iterator[list[Row]]:
    """Label rows by the answered items alone; a tie is left to the model's choice.

    The rule is that of `harness.suites.personality.decisions`. Dialogues without items keep their
    label.
    """
    for batch in batches:
        yield [_by_items(row) for row in batch]


def _by_items(row: Row) -> Row:
    labels, status = dict(row["labels"]), dict(row["status"])
    for trait, dialogue in row["dialogues"].items():
        said = dialogue.get("by_items")
        if said is None:
            continue
        if said["status"] != "tie":
            labels[trait], status[trait] = said["label"], said["status"]
        elif labels[trait] is None:
            status[trait] = "tie"
    return {**row, "labels": labels, "status": status}
