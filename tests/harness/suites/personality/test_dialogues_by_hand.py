"""What authors' texts and items look like in prompts, word by word, and what replies come to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from pydantic import ValidationError

from harness.backends.conversing import Turn
from harness.data.traits import BIG_FIVE, MBTI
from harness.engine.operations import Estimate
from harness.engine.registry import load_operation
from harness.suites.personality import prompts
from harness.suites.personality.dialogues import Interview, InterviewParams, InterviewSettings
from harness.suites.personality.interviewing import interviewing
from harness.suites.personality.questionnaires import Item, Questionnaire, for_traits, load
from harness.suites.personality.replies import Answer, read_all, read_choice, read_item, read_score
from harness.suites.personality.suite import perturbations

EXT = next(trait for trait in BIG_FIVE if trait.name == "ext")
SCALE = ("no", "rather not", "neither", "rather", "yes")
FORM = Questionnaire(
    name="tiny", scheme="big_five", scale=SCALE, released_reverse={"ext": (0,)},
    items=(Item(trait="ext", number=3, text="One."),
           Item(trait="ext", number=5, text="Two.", keyed=-1),
           Item(trait="ext", number=8, text="Three.")),
)  # fmt: skip
CHOICES = Questionnaire(
    name="choices", scheme="mbti",
    items=(Item(trait="ext", number=1, text="This?", options=("a", "b"), labels=(1, 0)),
           Item(trait="ext", number=2, text="That?", options=("a", "b", "c"), labels=(0, 1, 1))),
)  # fmt: skip
LOW, HIGH = EXT.options(True)[0], EXT.options(False)[0]
ASKED = f'is the author more likely A: "{HIGH}" or B: "{LOW}"?'
REPLY = "Reply CHOICE: <A/B>, without explanation."


def interview(form: Questionnaire | None = FORM, **settings: Any) -> Interview:
    return Interview("a/ext", EXT, "Text.", form, InterviewParams(**settings))


def said(made: Interview, *replies: str) -> list[tuple[str, str]]:
    return [(message.role, message.content) for message in made.messages(replies)]


def test_one_question_has_the_text_first_or_last() -> None:
    assert said(interview()) == [
        ("user", f"Text by an author:\nText.\n\nFrom the text, {ASKED} {REPLY}")
    ]
    assert said(interview(layout="released")) == [
        ("user", f"From the text, {ASKED} {REPLY}\n\nText by the author:\nText.")
    ]
    turned = said(interview(orders={"reverse_options": True}))[0][1]
    assert f'A: "{LOW}" or B: "{HIGH}"?' in turned


def test_a_thought_is_asked_for_before_the_choice() -> None:
    made = Interview("a/ext", EXT, "Text.", None, InterviewParams(form="cot"))
    assert made.limits == [256, 16]
    assert said(made, "Because.") == [
        ("user", f"Text by an author:\nText.\n\nFrom the text, {ASKED} Let us think step by step."),
        ("assistant", "Because."),
        ("user", f"So which is it, A or B? {REPLY}"),
    ]


def psycot(form: Questionnaire = FORM, **settings: Any) -> Interview:
    return Interview("a/ext", EXT, "Text.", form, InterviewParams(form="psycot", **settings))


PREAMBLE = (
    "There are 3 statements about the author, S0 to S2, one at a time. Rate each from 1 to 5: "
    "1 no, 2 rather not, 3 neither, 4 rather, 5 yes."
)
END = f"After the last one, choose: {ASKED}"


def test_items_are_asked_one_by_one_after_a_preamble() -> None:
    made = psycot()
    note = f' S0, S2 speak for "{EXT.high}"; S1 are scored in reverse for "{EXT.high}".'
    first = (
        f"Text by an author:\nText.\n\n{PREAMBLE}{note} {END}\n\n"
        'S0: "One." Reply SCORE: <1-5>, without explanation.'
    )
    assert said(made) == [("user", first)]
    assert said(made, "4", "2", "3") == [
        ("user", first), ("assistant", "4"), ("user", 'S1: "Two." Give the score only.'),
        ("assistant", "2"), ("user", 'S2: "Three." Give the score only.'), ("assistant", "3"),
        ("user", f"According to these scores and the text, {ASKED} {REPLY}"),
    ]  # fmt: skip
    assert made.limits == [16, 16, 16, 16]
    assert said(psycot(notes="none"))[0][1].endswith(f'{PREAMBLE} {END}\n\nS0: "One." Reply SCORE: '
                                                     "<1-5>, without explanation.")  # fmt: skip
    released = said(psycot(notes="released"))[0][1]
    assert f' S1, S2 speak for "{EXT.high}"; S0 are scored in reverse for "{EXT.high}".' in released
    assert psycot(notes="released").signs == [-1, 1, 1]
    assert psycot().signs == [1, -1, 1]


def test_independent_items_stand_alone_and_the_end_sees_all() -> None:
    made = psycot(history="independent")
    (alone,) = said(made, "4")
    assert alone[1].endswith('\n\nS1: "Two." Reply SCORE: <1-5>, without explanation.')
    assert len(said(made, "4", "2", "3")) == 7
    (flat,) = said(psycot(frame="flat"), "4")
    assert flat[1].splitlines()[-4:] == [
        'Human: S0: "One." Reply SCORE: <1-5>, without explanation.', "Assistant: 4",
        'Human: S1: "Two." Give the score only.', "Assistant: ",
    ]  # fmt: skip
    (single,) = said(interview(frame="flat"))
    assert single[1] == said(interview())[0][1]


def test_choice_items_show_their_options_and_letters() -> None:
    made = psycot(CHOICES)
    first = said(made)[0][1]
    assert "There are 2 questions about the author, one at a time. Answer each by letter. " in first
    assert first.endswith(
        "Q: This? A: a. B: b. C: Not sure. Reply CHOICE: <A/B/C>, without explanation."
    )
    last = said(made, "A", "B")
    assert last[2] == (
        "user",
        "Q: That? A: a. B: b. C: c. D: Not sure. Reply CHOICE: <A/B/C/D>, without explanation.",
    )
    assert last[4][1].startswith("According to the above, is the author")
    assert prompts.item_turn(1, CHOICES.items[0], first=False) == (
        "Q: This? A: a. B: b. C: Not sure."
    )


def test_all_items_may_be_asked_at_once() -> None:
    made = Interview("a/ext", EXT, "T", FORM, InterviewParams(form="single_turn"))
    assert made.limits == [256]
    assert said(made)[0][1] == (
        "Text by an author:\nT\n\nS0: One.\nS1: Two.\nS2: Three.\n"
        "Rate each from 1 to 5: 1 no, 2 rather not, 3 neither, 4 rather, 5 yes.\n"
        f"Give one answer a line, in the form S0: <1-5>, then decide: {ASKED} "
        "End with a line CHOICE: <A/B>, without explanation."
    )
    choices = prompts.all_items(EXT, CHOICES.items)
    assert choices.splitlines()[:2] == [
        "S0: This? A: a. B: b. C: Not sure.", "S1: That? A: a. B: b. C: c. D: Not sure."
    ]  # fmt: skip
    assert "in the form S0: <A/B/C>, then" in choices


def test_texts_and_posts_are_cut_at_their_limits() -> None:
    assert prompts.author_text({"text": "x" * 12_801}) == ("x" * 12_800, 1)
    assert prompts.author_text({"text": "x"}) == ("x", 0)
    posts = ["a" * 10, f" {'b' * 11} ", "c" * 321]
    assert prompts.author_text({"id": "a", "posts": posts}) == (
        f"Post1: {'b' * 11}; Post2: {'c' * 320};", 1
    )  # fmt: skip
    row = {"id": "a", "posts": [letter * 20 for letter in "abcdef"]}
    one, other = (prompts.author_text(row, seed)[0] for seed in (0, 1))
    assert len({one, other, prompts.author_text(row)[0]}) == 3


def outcome(made: Interview, *replies: str) -> tuple[int | None, str, Any]:
    return made.outcome([Turn(text=reply) for reply in replies])


def test_replies_give_the_label_and_the_items_their_own() -> None:
    made = psycot()
    label, status, record = outcome(made, "SCORE: 5", "4", "refuse", "CHOICE: B")
    assert (label, status) == (0, "ok")
    assert record["items"] == [3, 5, 8]
    assert (record["values"], record["statuses"][:2]) == ([5, 4, None], ["ok", "ok"])
    assert record["keyed_mean"] == 3.5  # 5 and, reverse-keyed, 2
    assert record["by_items"] == {"label": 1, "status": "ok"}
    few = outcome(made, "4", "?", "?", "CHOICE: A")[2]
    assert (few["values"], few["by_items"]["label"]) == ([4, None, None], None)
    assert few["by_items"]["status"] == "unparsed"
    turned = Interview("a", EXT, "T", None, InterviewParams(orders={"reverse_options": True}))
    assert outcome(turned, "CHOICE: A")[:2] == (0, "ok")
    assert outcome(interview(), "no idea")[0] is None
    lost = made.outcome([Turn(text="4"), Turn(error="late")])
    assert lost[:2] == (None, "error: late")
    assert (lost[2]["replies"], lost[2]["finish"]) == (["4"], ["stop"])


def test_one_reply_has_all_items_and_the_choice() -> None:
    made = Interview("a", EXT, "T", FORM, InterviewParams(form="single_turn"))
    label, status, record = outcome(made, "S0: 5\nS1: 1\nS2: 4\nCHOICE: B")
    assert (label, status, record["values"]) == (0, "ok", [5, 1, 4])
    assert outcome(made, "S0: 5\nS1: 1\nS2: 4\nB")[0] == 0
    assert outcome(made, "S0: 5\nS1: 1")[1] == "unparsed"
    assert outcome(made, "")[1] == "empty"


def values(reply: str, items: Sequence[Item] = FORM.items) -> list[int | str | None]:
    return [answer.value for answer in read_all(reply, items)[0]]


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("S2: 1\nS0: 2", [2, None, 1]), ("S0: 2\nS0: 2\nS1: 3", [2, 3, None]),
        ("S0: 2\nS0: 3\nS1: 3", [None, 3, None]), ("1. 5\n2. 4\n3. 3", [5, 4, 3]),
        ("5\n4", [None] * 3), ("5\n\n4\n3", [5, 4, 3]),
        ("5\n4\n3\nchoice: A", [5, 4, 3]), ("S7: 4\nS1: 2", [None, 2, None]),
        ("S0: 1\nchoice: A\nS1: 2\nchoice: B", [1, 2, None]),
    ],
)  # fmt: skip
def test_items_are_found_by_label_or_line(reply: str, expected: list[int | None]) -> None:
    assert values(reply) == expected


@pytest.mark.parametrize(
    ("reply", "value"),
    [
        ("1", 1), ("5", 5), ("0", "out_of_range"), ("6", "out_of_range"), ("4/5", 4),
        ("4/10", "out_of_range"), ("4/3", "ambiguous"), ("4 out of 5", 4),
        ("3 of 10", "out_of_range"),
        ("between 1 and 5", "unparsed"), ("between 2 and 3", "ambiguous"), ("4 or 4", 4),
        ("4 or 5", "ambiguous"), ("3 reasons", "unparsed"), ("score: four", 4),
        ("SCORE: agree a little", 4), ("SCORE: neutral", 3), ("SCORE: strongly disagree", 1),
        ("disagree a little", 2), ("agree strongly", 5), ("agree", "ambiguous"),
        ("not a 4, rather a 2", 2), ("I rate it 2", 2), ("SCORE: 4 SCORE: 4", 4),
        ("SCORE: 4, no, SCORE: 2", "ambiguous"), ("1. first\n2. second\nI say 4", 4),
        ("on a scale from 1 to 5 I say 2", 2), ("1, 2, 3, 4, 5", "unparsed"), ("4,0", 4),
        ("4.5", "out_of_range"), ("I say 4 of 5", 4),
    ],
)  # fmt: skip
def test_ratings_in_many_words(reply: str, value: int | str) -> None:
    found = read_score(reply)
    assert (found.value if found.status == "ok" else found.status) == value


OPTIONS = {"A": "talks a lot", "B": "is quiet", "C": "Not sure"}


@pytest.mark.parametrize(
    ("reply", "value"),
    [
        ("A", "A"), ("b)", "B"), ("(C)", "C"), ("D", "out_of_range"), ("Choice: b", "B"),
        ("Answer: is quiet", "B"), ("CHOICE: A or B", "ambiguous"), ("choice: 1", "out_of_range"),
        ("A careful reader", "unparsed"), ("A: is quiet", "ambiguous"), ("A: talks a lot", "A"),
        ("A) talks a lot B) is quiet", "ambiguous"), ("I choose B, not A", "B"),
        ("It is not A", "unparsed"), ("neither", "ambiguous"), ("not sure", "C"), ("quiet", "B"),
        ("quiet and talks", "ambiguous"), ("the person whom they met is quiet", "B"),
        ("the person whom they met was quiet", "unparsed"),
        ("A careful reader picks B", "B"), ("CHOICE: A or b", "ambiguous"), ("A or b, say", "A"),
        ("3. B", "B"), ("Option B because", "B"), ("I cannot answer", "refusal"), ("", "empty"),
    ],
)  # fmt: skip
def test_choices_in_many_words(reply: str, value: str) -> None:
    found = read_choice(reply, OPTIONS)
    assert (found.value if found.status == "ok" else found.status) == value


def test_an_item_is_read_by_its_kind_and_slot() -> None:
    assert read_item("S1: 4", FORM.items[1], 1) == Answer(4, "ok")
    assert read_item("S1: 4", FORM.items[0], 0).value is None
    assert read_item("B", CHOICES.items[0]) == Answer("B", "ok")


def test_settings_of_an_interview() -> None:
    assert InterviewSettings().model_dump(
        include={"form", "questionnaire", "items", "notes", "layout", "frame", "history",
                 "released", "temperature", "max_tokens", "too_long"}) == {
        "form": "standard", "questionnaire": "auto", "items": None, "notes": "corrected",
        "layout": "text_first", "frame": "chat", "history": "sequential", "released": False,
        "temperature": 0.0, "too_long": "fail",
        "max_tokens": {"item": 16, "choice": 16, "reasoning": 256, "all_items": 256},
    }  # fmt: skip
    params = InterviewParams(seed=4)
    assert (params.seed, params.batch_size, params.orders.post_seed) == (0, 32, None)
    assert InterviewParams(seed=4, temperature=0.5).seed == 4
    assert InterviewParams(released=True).orders.post_seed == 0
    assert InterviewParams(released=True, orders={"post_seed": 3}).orders.post_seed == 3
    for wrong in (
        {"items": -1},
        {"temperature": -1},
        {"max_tokens": {"item": 0}},
        {"batch_size": 0},
    ):
        with pytest.raises(ValidationError):
            InterviewParams(**wrong)
    assert InterviewParams(items=0).items == 0


def test_questionnaires_are_chosen_by_trait_and_cut_from_the_first() -> None:
    assert (for_traits("auto", BIG_FIVE).name, for_traits("auto", MBTI).name) == ("bfi44", "mbti50")
    assert [item.number for item in FORM.of("ext", 2)] == [3, 5]
    assert FORM.of("ext", 0) == []
    assert (FORM.reverse_slots("ext"), FORM.reverse_slots("ext", released=True)) == ([1], [0])
    assert {len(load(name).items) for name in ("bfi44", "mbti50")} == {44, 50}
    orders = {
        tuple(item.number for item in load("bfi44").of("ext", seed=seed)) for seed in range(4)
    }
    assert len(orders) > 2


def test_orders_that_can_change_answers() -> None:
    everything = frozenset({"reverse_options", "item_seed", "post_seed"})
    found = perturbations(2, everything)
    assert list(found) == ["options", "items_0", "items_1", "posts_0"]
    assert [orders.item_seed for orders in found.values()] == [None, 0, 1, None]
    assert (found["options"].reverse_options, found["posts_0"].post_seed) == (True, 0)
    assert perturbations(0, everything) == {}
    assert list(perturbations(1, everything, ["items"])) == ["items_0"]
    asked = {
        form: interviewing(EXT, InterviewSettings(form=form)).sensitive_to  # type: ignore[arg-type]
        for form in ("standard", "psycot")
    }
    assert asked == {"standard": everything - {"item_seed"}, "psycot": everything}
    released = interviewing(EXT, InterviewSettings(form="psycot", released=True))  # type: ignore[arg-type]
    assert released.sensitive_to == everything - {"post_seed"}


@pytest.mark.parametrize(
    ("form", "turns", "written"),
    [("standard", 5, 25), ("cot", 10, 5 * 261), ("psycot", 49, 245), ("single_turn", 5, 245)],
)
def test_an_estimate_counts_the_turns_of_each_form(form: Any, turns: int, written: int) -> None:
    estimate = load_operation("interview_authors").estimate
    assert estimate is not None
    found = estimate(InterviewParams(form=form), authors=Estimate(rows=3), model=Estimate())
    assert (found.rows, found.requests, found.tokens_out) == (3, 3 * turns, 3 * written)
    assert found.tokens == 3 * (turns * 920 + written)


def test_the_longest_option_is_found_first_and_an_empty_one_never() -> None:
    assert read_choice("she is quiet and shy", {"A": "quiet", "B": "quiet and shy"}).value == "B"
    assert read_choice("so bold it is", {"A": "", "B": "bold"}).value == "B"
