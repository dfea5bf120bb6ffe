"""Samples behind a cell: one record per prompt, independent of the suite.

    find_cell(store, "nano:target/arena_hard/score")   addresses: the cell of an address
    samples_of_cell(store, cell)                       reading: the samples of a cell
    prompt_writer(samples)                             prompts: the messages sent to the judge
    choose(samples, filters, search, sort)             choosing: filter, search and sort
    pair_samples(samples, samples)                     pairs: two systems side by side

Texts of samples are untrusted; code that displays them must escape them.
"""

from leaderboards.samples.addresses import find_cell
from leaderboards.samples.choosing import choose
from leaderboards.samples.pairs import (
    PairedSample,
    PairedSamples,
    category_lines,
    choose_pairs,
    pair_samples,
)
from leaderboards.samples.prompts import prompt_writer
from leaderboards.samples.reading import SampleReader, samples_of_artifact, samples_of_cell
from leaderboards.samples.records import Sample, Samples, game_outcome, verdict_text

__all__ = [
    "PairedSample",
    "PairedSamples",
    "Sample",
    "SampleReader",
    "Samples",
    "category_lines",
    "choose",
    "choose_pairs",
    "find_cell",
    "game_outcome",
    "pair_samples",
    "prompt_writer",
    "samples_of_artifact",
    "samples_of_cell",
    "verdict_text",
]
