"""The reader and the encoder: what they learn from is fair, and the shipped weights can read."""

import random
from collections import Counter
from typing import Any

import pytest

from harness.data.traits import BIG_FIVE
from harness.nano import authors, zoo
from harness.nano.zoo import reader as zoo_reader
from harness.nano.zoo.models import SPECS, make_tokenizer

torch = pytest.importorskip("torch")


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def reader():
    from harness.nano.zoo.sample import load

    return load(zoo.path("reader"))


def test_dialogues_and_standard_prompts_are_met_equally_often_and_about_the_same_traits():
    asked = zoo_reader.interviews(600)
    assert asked == zoo_reader.interviews(600)
    for dialogue, standard, _ in zip(*[iter(asked)] * 3, strict=True):
        assert "Reply CHOICE: <A/B>, without explanation." in standard[0]["content"]
        if "statements" in dialogue[0]["content"] and len(dialogue) > 2 + 2:
            assert dialogue[-1] == standard[-1], "both end with the author's trait"


def test_raters_mostly_say_what_the_text_tells():
    rng, row = random.Random(0), authors.rows("essays/train")[0]
    said = Counter()
    for _ in range(200):
        dialogue = zoo_reader.about(row, rng.choice(BIG_FIVE), rng)[0]
        for question, answer in zip(dialogue[2::2], dialogue[3::2], strict=True):
            if "SCORE: " in answer["content"] and "Human:" not in question["content"]:
                item = question["content"].split('"')[1]
                said[_told(row).get(item), answer["content"][-1]] += 1
    for level, answer in ((5, "4"), (4, "5"), (2, "1"), (1, "2")):
        assert said[level, str(level)] > 2 * said[level, answer]
        assert not said[level, str(6 - level)]
    assert said[None, "3"] > said[None, "4"] + said[None, "2"]


def test_an_interview_is_encoded_at_once_as_turn_by_turn(reader):
    from harness.nano.zoo.train import encode, encode_dialogues

    asked = zoo_reader.interviews(12)
    assert encode_dialogues(reader[1], asked) == encode(reader[1], asked)


def test_the_shipped_tokenizer_cuts_as_the_code_does_and_what_is_cut_stays_whole(reader):
    _, tokenizer = reader
    made = make_tokenizer(SPECS["reader"].tokenizer, ["a text"], cuts=zoo_reader.cuts())
    splits, shipped = (t.backend_tokenizer.pre_tokenizer for t in (made, tokenizer))
    assert splits.__getstate__() == shipped.__getstate__()
    said = authors.phrases()
    for word in authors.keywords():
        for opener, verdicts in zip(said["openers"], said["verdicts"].values()):
            text = f"Low Openness. SCORE: 4{opener} {word}, {verdicts[0]}. CHOICE: A High Openness"
            parts = [text[slice(*place)] for _, place in shipped.pre_tokenize_str(text)]
            assert parts == [
                *("Low Openness", ". SCORE:", " 4", f"{opener} ", word),
                *(f", {verdicts[0]}.", " CHOICE:", " A", " High Openness"),
            ]


def test_every_dialogue_fits_the_context_with_room(reader):
    from harness.nano.zoo.train import encode_dialogues

    lengths = [len(ids) for ids, _ in encode_dialogues(reader[1], zoo_reader.interviews(600))]
    assert max(lengths) < 0.7 * SPECS["reader"].context


def _told(row: authors.Row) -> dict[str, int]:
    from harness.suites.personality.questionnaires import load

    texts = {item.number: item.text for item in load("bfi44").items}
    return {texts[e.number]: e.level for e in authors.evidence(row)}


def test_the_reader_rates_one_item_by_what_the_text_tells(reader):
    from harness.nano.zoo.sample import sample
    from harness.suites.personality import prompts
    from harness.suites.personality.questionnaires import load

    item = next(item for item in load("bfi44").items if item.number == 19)
    asked = [
        prompts.opening(
            f"The lamp is on. {sentence} On sad, mostly.", prompts.item_turn(0, item, True)
        )
        for sentence in ("About worries, yes indeed.", "About worries, not me at all.")
    ]
    said = sample(*reader, [[{"role": "user", "content": text}] for text in asked], 1, 0.0, 0)
    scores = [int(text[-1]) for (text,) in said]
    assert scores[0] > 3 > scores[1]
    assert [text.startswith("worries, ") for (text,) in said] == [True, True], "quotes first"


def test_the_reader_reads_new_authors_as_well_as_the_manifest_says(reader):
    from harness.nano.zoo.reading import WAYS, bands

    measured = bands(*reader, n=10, ways={way: WAYS[way] for way in ("standard", "psycot")})
    for kind, written in _bands("reader").items():
        assert measured[kind]["rated"] == pytest.approx(written["rated"], abs=0.1)
        assert measured[kind]["untold"] == pytest.approx(written["untold"], abs=0.05)
        assert measured[kind]["psycot"] == pytest.approx(written["psycot"], abs=0.2)
    assert measured["essays"]["psycot"] > 0.7
    assert measured["essays"]["standard"] > 0.6


def test_the_encoder_fills_gaps_and_loads_as_a_classifier():
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from harness.nano.zoo.encoder import filling
    from harness.nano.zoo.sample import load

    measured, written = filling(*load(zoo.path("encoder")), n=20), _bands("encoder")
    assert measured["filled"] == pytest.approx(written["filled"], abs=0.06)
    assert measured["filled"] > measured["chance"]
    folder = zoo.path("encoder")
    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=5)
    batch = AutoTokenizer.from_pretrained(folder)(
        [row["text"] for row in authors.rows("essays")[:4]],
        truncation=True,
        padding=True,
        return_tensors="pt",
    )
    assert batch["input_ids"].shape[1] <= 256
    assert model(**batch).logits.shape == (4, 5)


def _bands(name: str) -> dict[str, Any]:
    return zoo.manifest()[name]["bands"]
