"""Samples behind a cell: one record per prompt, independent of the suite.

    find_cell(store, "nano:target/arena_hard/score")   addresses: the cell of an address
    samples_of_cell(store, cell)                       reading: the samples of a cell
    prompt_writer(samples)                             prompts: the messages sent to the judge
    choose(samples, filters, search, sort)             choosing: filter, search and sort

Texts of samples are untrusted; code that displays them must escape them.
"""

from leaderboards.samples.addresses import find_cell
from leaderboards.samples.choosing import choose
from leaderboards.samples.prompts import prompt_writer
from leaderboards.samples.reading import samples_of_artifact, samples_of_cell
from leaderboards.samples.records import Sample, Samples, game_outcome, verdict_text

__all__ = [
    "Sample",
    "Samples",
    "choose",
    "find_cell",
    "game_outcome",
    "prompt_writer",
    "samples_of_artifact",
    "samples_of_cell",
    "verdict_text",
]
