"""Words of any script."""

from __future__ import annotations

from harness.core.words import tokenize_words


def test_words_keep_letters_of_every_script_and_split_where_there_are_no_blanks() -> None:
    assert tokenize_words("Ελλάδα, ÉCOLE 12_3") == ["ελλάδα", "école", "12", "3"]
    assert tokenize_words("富士山 Mt. Fuji") == ["富", "士", "山", "mt", "fuji"]
    assert tokenize_words(" ?! ") == []
