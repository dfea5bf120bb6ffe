"""Style control of one system: equal style, gaps that carry no coefficient, words."""

from __future__ import annotations

import numpy as np
import pytest

from harness.stats.bootstrap import resample_counts
from harness.stats.logistic import sigmoid
from harness.suites.arena_hard.equal_style import EqualStyle, equal_style
from harness.suites.arena_hard.metrics import GamePair, GameTable, tabulate
from harness.suites.arena_hard.style import FEATURES, style_vector, word_count

LABELS = ("B>>A", "B>A", "A=B", "A>B", "A>>B")


def table_of(shares: np.ndarray, seed: int = 0, missing: int = 0) -> GameTable:
    """A system whose games have labels that it wins with the given chances."""
    generator = np.random.default_rng(seed)
    pairs = []
    for number, share in enumerate(shares):
        first, second = (generator.random(2) < share).tolist()
        games = ("B>A" if first else "A>B", "A>B" if second else "B>A")
        lost = (None, None)
        pairs.append(GamePair(f"{number:04}", "model", lost if number < missing else games))
    return tabulate(pairs)


def controlled(
    table: GameTable, model: list[str], baseline: list[str], features=FEATURES
) -> EqualStyle:
    counts = [np.array([style_vector(text) for text in texts]) for texts in (model, baseline)]
    return equal_style(table, *counts, features, resample_counts("set", len(model), 200))


def texts(lengths: np.ndarray, word: str = "word ") -> list[str]:
    return [word * int(length) for length in lengths]


N = 100
LENGTHS = np.random.default_rng(1).integers(20, 200, N)
MARKED = "# head\n\n- item\n- item\n\n**bold** "
PLAIN = texts(LENGTHS)
CONSTANT = {
    "twice as long": (texts(2 * LENGTHS), PLAIN),
    "three times as long": (texts(3 * LENGTHS), PLAIN),
    "half as long": (PLAIN, texts(2 * LENGTHS)),
    "empty": ([""] * N, PLAIN),
    "with markdown": ([MARKED + "word " * 50] * N, ["word " * 50] * N),
    "both the same": ([MARKED] * N, [MARKED] * N),
    "both empty": ([""] * N, [""] * N),
}


@pytest.mark.parametrize("name", CONSTANT)
@pytest.mark.parametrize("features", [FEATURES, ("length",)])
def test_a_constant_gap_gives_the_plain_score(name: str, features: tuple[str, ...]) -> None:
    table = table_of(np.full(N, 0.8))
    found = controlled(table, *CONSTANT[name], features)
    plain = float(table.wins.sum() / table.rows.sum())
    assert found.win_rate == plain
    assert found.replicates.mean() == pytest.approx(plain, abs=0.02)
    expected = {"both the same": (), "both empty": (), "with markdown": FEATURES}
    named = expected.get(name, ("length",))
    assert found.not_identified == tuple(f for f in features if f in named)


def test_an_almost_constant_gap_is_not_identified() -> None:
    doubled = 2 * LENGTHS + np.random.default_rng(2).integers(-1, 2, N)
    found = controlled(table_of(np.full(N, 0.8)), texts(doubled), PLAIN, ("length",))
    assert found.not_identified == ("length",)


def test_the_win_rate_is_that_at_equal_style() -> None:
    """A judge that prefers length, a system that writes more, and a known strength."""
    generator = np.random.default_rng(3)
    n = 4000
    base, own = generator.integers(50, 150, n), generator.integers(80, 240, n)
    gaps = (own - base) / (own + base)
    table = table_of(sigmoid(0.3 + 4.0 * gaps))
    found = controlled(table, texts(own), texts(base), ("length",))
    assert found.win_rate == pytest.approx(sigmoid(np.array(0.3)), abs=0.02)
    assert float(table.wins.sum() / table.rows.sum()) > found.win_rate + 0.1
    low, high = np.quantile(found.replicates, [0.025, 0.975])
    assert low < found.win_rate < high


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_system_that_wins_or_loses_everything_keeps_its_score(share: float) -> None:
    own = np.random.default_rng(4).integers(20, 200, N)
    found = controlled(table_of(np.full(N, share)), texts(own), PLAIN)
    assert found.win_rate == pytest.approx(share, abs=1e-6)


def test_style_that_separates_wins_from_losses_stays_finite() -> None:
    own = np.random.default_rng(5).integers(20, 200, 20)
    base = np.random.default_rng(6).integers(20, 200, 20)
    table = table_of((own > base).astype(float))
    found = controlled(table, texts(own), texts(base), ("length",))
    assert np.isfinite(found.replicates).all()
    assert 0 < found.win_rate < 1
    assert np.isfinite(found.slopes["length"])


def test_failed_prompts_bound_the_win_rate() -> None:
    own = np.random.default_rng(7).integers(20, 200, N)
    found = controlled(table_of(np.full(N, 0.6), missing=5), texts(own), PLAIN)
    low, high = found.bounds
    assert low < found.win_rate < high
    assert controlled(table_of(np.full(N, 0.6)), texts(own), PLAIN).bounds is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", 0),
        ("it's 3.5 km -- ok", 5),
        ("schön naïve Привет мир", 4),
        ("안녕하세요 세계", 2),  # Korean writes blanks
        ("我用Python写代码。", 6),
        ("人工智能" * 300, 1200),
        ("これはペンです。", 7),
        ("สวัสดีครับ", 2),
        ("ຂອບໃຈ", 2),
        ("សួស្តី", 1),
        ("。。。", 1),
    ],
)
def test_words_of_text_without_blanks(text: str, words: int) -> None:
    assert word_count(text) == words


def test_words_of_text_with_blanks_are_its_runs() -> None:
    for text in ("a b\tc\nd", "x[[b]] == y, 1/2", "e.g. (so-called) 'words'", "עברית العربية"):
        assert word_count(text) == len(text.split())
