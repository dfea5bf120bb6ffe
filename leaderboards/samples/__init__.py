"""Samples: what stands behind a number, one record a prompt, whatever the suite.

    find_cell(store, "nano:target/arena_hard/score")   addresses
    samples_of_cell(store, cell)                       reading: a cell to its samples
    judge_prompt(samples, sample, turn, game)          prompts: what the judge was sent
    choose(samples, filters, search, sort)             choosing

Everything in a sample was written by a model or a stranger: whoever shows it escapes it.
"""

from leaderboards.samples.addresses import find_cell
from leaderboards.samples.choosing import choose
from leaderboards.samples.prompts import judge_prompt
from leaderboards.samples.reading import samples_of_artifact, samples_of_cell
from leaderboards.samples.records import Sample, Samples, game_outcome, verdict_text

__all__ = [
    "Sample",
    "Samples",
    "choose",
    "find_cell",
    "game_outcome",
    "judge_prompt",
    "samples_of_artifact",
    "samples_of_cell",
    "verdict_text",
]
