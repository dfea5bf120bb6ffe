"""Names of the cells' details in words, for pages that people read.

Files keep the names of the cells. A name without an entry is shown with spaces for underscores.
"""

from __future__ import annotations

from harness.suites.scoring import ENDINGS

_WORDS = {
    "C": "inverse strength of the length control's penalty (C)",
    "lc_C": "inverse strength of the length control's penalty (C)",
    "abstentions": "abstentions",
    "avg_length": "mean length of answers (characters)",
    "avg_length_baseline": "mean length of the baseline's answers (characters)",
    "config_hash": "fingerprint of the task's configuration",
    "data_hash": "fingerprint of the task's data",
    "task_hash": "fingerprint of the task",
    "discrete_win_rate": "win rate of rounded preferences (%)",
    "extreme_change": "length control changed the win rate so much that its fit needs a check",
    "first_shown_share": "wins of the answer shown first (share)",
    "folds": "folds of cross-validation",
    "lc_folds": "folds of cross-validation",
    "formula": "terms of the length control",
    "lc_mode": "mode of the length control",
    "lc_standard_error": "standard error as published (spread of predictions)",
    "length_controlled_winrate": "length-controlled win rate (%)",
    "mean_of_turns": "mean of the means by turn",
    "missing_game_1": "first games without a verdict",
    "missing_game_2": "second games without a verdict",
    "n_absent": "prompts without a row",
    "n_draws": "draws",
    "n_foreign": "rows of other prompts",
    "n_original": "documents before a limit",
    "n_out_of_range": "preferences out of range",
    "n_repeated": "repeated rows",
    "n_rows": "rows of verdicts (emphatic ones count several times)",
    "n_suspicious": "answers that look like attacks on the judge",
    "n_total": "judged prompts",
    "n_unanswered": "rows without an answer",
    "n_unjudged": "rows without a preference",
    "n_wins": "wins",
    "n_wins_base": "wins of the baseline",
    "partial": "scored on a part of the prompts",
    "standard_error": "standard error",
    "style:not_identified": "style features that could not be controlled for",
    "length:not_identified": "length could not be controlled for",
    "weight": "rows of an emphatic verdict",
}
_PREFIXES = {
    "category:": "score of category ",
    "slope:": "effect of style on winning: ",
    "weight:": "weight of the length control: ",
    "lc_weight_": "weight of the length control: ",
    "failed: ": "failed because ",
}


def plain_name(name: str) -> str:
    """The name of a detail as boards' folders show it."""
    return name.replace("_", " ")


def detail_name(name: str) -> str:
    """The name of a detail in words.

    >>> detail_name("n_draws"), detail_name("category:math"), detail_name("own_detail")
    ('draws', 'score of category math', 'own detail')
    """
    if name in _WORDS:
        return _WORDS[name]
    if name in ENDINGS:
        return f"answers {ENDINGS[name]}"
    for start, words in _PREFIXES.items():
        if name.startswith(start):
            return words + plain_name(name.removeprefix(start))
    return plain_name(name)
