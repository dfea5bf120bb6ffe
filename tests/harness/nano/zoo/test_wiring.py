"""The heads that look words up: what they attend to, and that training keeps them."""

from dataclasses import replace

import pytest

from harness.nano.zoo.models import SPECS

torch = pytest.importorskip("torch")

SMALL = replace(SPECS["reader"], layers=2)


class Words:
    """As much of a tokenizer as a model asks for."""

    bos_token_id, eos_token_id, pad_token_id = 0, 1, 2

    def __len__(self) -> int:
        return 500


@pytest.fixture
def model():
    from harness.nano.zoo.models import make_model

    torch.manual_seed(0)
    made = make_model(SMALL, Words())
    made.set_attn_implementation("eager")
    return made


def attention(model, ids, layer, head):
    """Where the last token looks: the most attended position, and its share."""
    with torch.no_grad():
        found = model(input_ids=torch.tensor([ids]), output_attentions=True).attentions
    share, place = found[layer][0, head, -1].max(-1)
    return int(place), float(share)


def test_the_first_head_attends_to_the_token_before(model):
    ids = torch.randint(10, 500, (300,)).tolist()
    for length in (2, 50, 300):
        place, share = attention(model, ids[:length], 0, 0)
        assert (place, share > 0.9) == (length - 2, True)


def test_a_word_is_mostly_found_again_by_what_came_after_it(model):
    ids = torch.randperm(480)[:60].add(10).tolist()
    found = [attention(model, [*ids, ids[n]], 1, 0)[0] == n + 1 for n in range(1, 59)]
    assert sum(found) > 0.8 * len(found), sum(found) / len(found)


def test_a_word_is_mostly_found_again_by_what_stands_behind_it(model):
    ids = torch.randperm(480)[:60].add(10).tolist()
    # The last token stands behind ids[n], which is there twice.
    found = [attention(model, [*ids, ids[n], 9], 1, 1)[0] in (n, 60) for n in range(1, 59)]
    assert sum(found) > 0.8 * len(found), sum(found) / len(found)


def test_training_leaves_these_heads_as_they_are_and_changes_the_others(model):
    from harness.nano.zoo.train import Optimizers

    width = SMALL.head_dim
    first, second = (layer.self_attn for layer in model.model.layers)
    kept = [(first, slice(0, width)), (second, slice(0, 2 * width))]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimizers = Optimizers(model.train(), 3e-3, 10)
    ids = torch.randint(10, 500, (2, 40))
    for _ in range(3):
        optimizers.step(model(input_ids=ids, labels=ids).loss)
    for number, (layer, rows) in enumerate(kept):
        for part in ("q_proj", "k_proj", "v_proj"):
            old = before[f"model.layers.{number}.self_attn.{part}.weight"]
            new = getattr(layer, part).weight
            assert torch.equal(new[rows], old[rows])
            assert not torch.equal(new[rows.stop :], old[rows.stop :])
        old = before[f"model.layers.{number}.self_attn.o_proj.weight"]
        assert torch.equal(layer.o_proj.weight[:, rows], old[:, rows])
        assert not torch.equal(layer.o_proj.weight[:, rows.stop :], old[:, rows.stop :])
