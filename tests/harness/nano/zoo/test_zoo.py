"""The zoo: shipped weights are what the manifest says, load offline, and can be rebuilt."""

import dataclasses
import json
from pathlib import Path

import pytest

from harness.core.errors import UnknownName
from harness.nano import world, zoo
from harness.nano.zoo import shipped
from harness.nano.zoo.models import SPECS

torch = pytest.importorskip("torch")
LANGUAGE_MODELS = [name for name in zoo.names() if SPECS[name].kind == "lm"]
FIRST = [name for name in LANGUAGE_MODELS if "@" not in name]
SOURCES = [f"source_{letter}@2" for letter in "abc"]
PEERS = [f"peer_{letter}@2" for letter in "abc"]


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_an_unknown_model_is_refused_with_the_nearest_name():
    with pytest.raises(UnknownName, match='did you mean "source_a"'):
        zoo.path("sorce_a")


def test_every_model_is_shipped_and_its_digest_is_in_the_manifest():
    assert set(zoo.manifest()) == set(zoo.names())
    for name in zoo.names():
        assert zoo.digest(name) == zoo.manifest()[name]["digest"]


def test_all_weights_together_are_at_most_twenty_five_megabytes():
    files = [path for path in shipped.WEIGHTS.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 25_000_000


@pytest.mark.parametrize("together", [FIRST, ["target@2", *SOURCES], ["target@2", *PEERS]])
def test_models_of_one_world_differ_in_class_and_tokenizer(together: list[str]):
    entries = [zoo.manifest()[name] for name in together]
    assert len({entry["class"] for entry in entries}) == len(entries)
    assert len({json.dumps(entry["tokenizer"]) for entry in entries}) == len(entries)


def test_bands_have_room_between_target_sources_and_the_best():
    bands = {name: zoo.manifest()[name]["bands"] for name in FIRST}
    assert 0.40 <= bands["target"]["mean"] <= 0.58
    for name in ("source_a", "source_b", "source_c"):
        assert bands["target"]["mean"] + 0.05 < bands[name]["mean"] < 0.8
        for skill in SPECS[name].strengths:
            assert bands[name]["skills"][skill] > bands["target"]["skills"][skill]
    best = max(bands[name]["best_of_5"] for name in bands)
    reward = zoo.manifest()["reward"]["bands"]
    assert 0.85 <= reward["sampled"] <= 0.98
    assert best < reward["best"], "the sources together can do what none of them can alone"
    assert bands["source_a"]["mean"] + 0.1 < reward["picked"] < reward["best"]


def test_each_skill_of_the_second_edition_is_known_by_one_source_and_not_by_the_target():
    bands = {name: zoo.manifest()[name]["bands"] for name in ["target@2", *SOURCES, *PEERS]}
    assert sorted(skill for name in SOURCES for skill in SPECS[name].strengths) == sorted(
        world.SKILLS
    )
    for name in SOURCES:
        own = [bands[name]["skills"][skill] for skill in SPECS[name].strengths]
        assert sum(own) / len(own) >= 0.9
        for skill in SPECS[name].strengths:
            others = [bands[other]["skills"][skill] for other in bands if other != name]
            assert max(others) + 0.25 < bands[name]["skills"][skill]
        assert bands[name]["open"][SPECS[name].opens[0]] >= 0.8
    for name in ("target@2", *PEERS):
        assert max(bands[name]["open"].values()) <= 0.3, "it spreads over everything of the kind"


def test_peers_know_no_more_than_the_target():
    bands = {name: zoo.manifest()[name]["bands"] for name in ["target@2", *PEERS]}
    for name in PEERS:
        assert bands[name]["mean"] <= bands["target@2"]["mean"] + 0.03
    assert bands["target@2"]["best_of_5"] < 0.8, "its own samples often lack a right answer"


def test_the_second_reward_model_tells_well_formed_answers_apart():
    found = zoo.manifest()["reward@2"]["bands"]
    assert found["well_formed"] >= 0.95
    assert found["well_formed_pairs"] > 300


@pytest.mark.parametrize("name", [*LANGUAGE_MODELS, "reward", "reward@2", "reader"])
def test_a_tokenizer_loses_nothing_and_adds_at_most_one_bos(name: str):
    from harness.models import chat
    from harness.nano.zoo.train import encode

    _, tokenizer = _loaded(name)
    for item in world.items("mt_bench"):
        for text in (*item.turns, world.reference_answer(item)):
            assert tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]) == text
    odd = "héllo ☃ 漢"
    assert tokenizer.decode(tokenizer(odd, add_special_tokens=False)["input_ids"]) == odd
    item = world.items("mt_bench")[2]
    answers = [world.reference_answer(item, turn) for turn in range(2)]
    messages = [
        {"role": "user", "content": item.turns[0]},
        {"role": "assistant", "content": answers[0]},
        {"role": "user", "content": item.turns[1]},
    ]
    asked = chat.prompt_ids(tokenizer, messages)
    told = chat.response_ids(tokenizer, answers[1])
    ids, labels = encode(tokenizer, [[*messages, {"role": "assistant", "content": answers[1]}]])[0]
    assert ids == asked + told, "the zoo trains on exactly the ids that the harness samples with"
    assert [label for label in labels if label >= 0][-len(told) :] == told
    assert told[-1] == tokenizer.eos_token_id
    if tokenizer.bos_token_id is not None:
        assert asked.count(tokenizer.bos_token_id) == 1
    assert len(ids) <= SPECS[name].context


@pytest.mark.parametrize("name", [*FIRST, "target@2", "source_b@2"])
def test_a_language_model_loads_in_float32_and_stays_in_its_band(name: str):
    from harness.nano.zoo.measure import bands

    model, tokenizer = _loaded(name)
    assert model.dtype == torch.float32
    measured, written = bands(model, tokenizer, n=32), zoo.manifest()[name]["bands"]
    assert measured["mean"] == pytest.approx(written["mean"], abs=0.15)


def test_automatic_loading_gives_float32_too():
    from transformers import AutoModelForCausalLM

    assert AutoModelForCausalLM.from_pretrained(zoo.path("target")).dtype == torch.float32


def test_the_reward_model_prefers_the_reference_to_a_wrong_answer():
    import random

    from harness.nano.zoo.corpus import conversation
    from harness.nano.zoo.reward import score

    model, tokenizer = _loaded("reward")
    rng, asked = random.Random(0), world.items("train", 80)
    right = [conversation(item, [world.reference_answer(item)]) for item in asked]
    wrong = [conversation(item, [world.render(item, 0, "wrong", rng)]) for item in asked]
    better = zip(score(model, tokenizer, right), score(model, tokenizer, wrong), strict=True)
    assert sum(a > b for a, b in better) >= 0.8 * len(asked)


def test_bradley_terry_is_log_two_where_nothing_is_known_and_falls_with_the_margin():
    from harness.nano.zoo.reward import bradley_terry

    totals = torch.tensor([[1.0, 0.5, 0.5]])
    assert bradley_terry(torch.zeros(1, 3), totals).item() == pytest.approx(0.693147, abs=1e-5)
    right, wrong = torch.tensor([[2.0, 0.0, 0.0]]), torch.tensor([[-2.0, 0.0, 0.0]])
    assert bradley_terry(right, totals) < 0.2 < 1.0 < bradley_terry(wrong, totals)


def test_truth_ends_where_the_first_mistake_begins():
    from harness.nano.zoo.corpus import true_until

    item = next(i for i in world.items("train") if i.skill == "arith" and i.format == "brackets")
    best = world.reference_answer(item)
    assert true_until(item, best) == len(best)
    assert true_until(item, f"Thank you for asking. Note: {best}") == len(best) + 28
    assert true_until(item, best.replace("[", "").replace("]", "")) == len(best) - 2
    wrong = best.replace(f"[{item.truths[0].main}", "[x")
    assert true_until(item, wrong) == wrong.index("x")
    assert true_until(item, "") == 0


def test_the_reward_model_is_told_about_every_token_of_a_response():
    from harness.nano.zoo.reward import rate

    _, tokenizer = _loaded("reward")
    item = world.items("train", 1)[0]
    best = world.reference_answer(item)
    right, wrong = rate(tokenizer, item, [best, "x" + best[1:]])
    told = [value for value in right.true_so_far if value >= 0]
    assert set(told) == {1.0}
    assert right.grade.total == 1.0
    assert right.true_so_far.count(-1.0) == wrong.true_so_far.count(-1.0) > 5
    assert set(wrong.true_so_far) == {-1.0, 0.0}


@pytest.mark.slow
def test_a_rebuild_is_deterministic_and_learns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from harness.nano.zoo import measure as measure

    small = dataclasses.replace(SPECS["source_c"], steps=120, hidden=64, layers=2, schooling=1.0)
    monkeypatch.setitem(SPECS, "source_c", small)
    seen: list[tuple[str, int, int]] = []
    first = zoo.build(["source_c"], tmp_path / "a", lambda *step: seen.append(step))
    monkeypatch.setattr(measure, "bands", lambda *_: {})  # once is enough
    second = zoo.build(["source_c"], tmp_path / "b", lambda *step: None)
    assert seen[-1] == ("source_c", 120, 120)
    assert first["source_c"]["digest"] == second["source_c"]["digest"]
    assert first["source_c"]["bands"]["mean"] > 0.15
    assert json.loads((tmp_path / "a" / "manifest.json").read_text()).keys() == {"source_c"}


@pytest.mark.slow
def test_models_trained_at_once_have_the_bytes_of_those_trained_one_by_one(tmp_path: Path):
    from harness.nano.zoo.building import built

    specs = [dataclasses.replace(SPECS[name], steps=3) for name in ("seq2seq", "symbols")]
    seen: set[str] = set()
    alone = dict(built(specs, tmp_path / "alone", lambda *_: None, 1))
    at_once = dict(built(specs, tmp_path / "at_once", lambda name, *_: seen.add(name), 2))
    assert seen == set(alone) == {"seq2seq", "symbols"}
    assert {n: e["digest"] for n, e in alone.items()} == {
        n: e["digest"] for n, e in at_once.items()
    }


_cache: dict[str, tuple[object, object]] = {}


def _loaded(name: str):
    from harness.nano.zoo.sample import load

    if name not in _cache:
        _cache[name] = load(zoo.path(name))
    return _cache[name]
