"""Registrations of this room: the offline universe behind the scheme `nano:`."""

from __future__ import annotations

from harness.engine.registry import Entry

BACKENDS = (
    Entry("oracle", "harness.nano.oracle:OracleBackend", "the nano world's judge, in process"),
)

JUDGES = (
    Entry(
        "nano:oracle",
        "harness.nano.oracle:open_oracle",
        "knows the nano world's ground truth; switchable position and length bias, noise",
    ),
)

SUITES = (
    Entry(
        "symbols",
        "harness.nano.symbols_suite:SUITE",
        "the nano world of symbols: points, right symbols and good forms of an answer",
        needs=("train",),
    ),
    Entry(
        "skills",
        "harness.nano.skills_suite:SUITE",
        "a domain of the nano world: right answers to questions on all of its skills",
        needs=("train",),
    ),
)

# Name -> function (prompt row, answer) -> score, in place of a reward model.
SCORERS = {"symbols": "harness.nano.symbols:noisy_net"}

# Scheme of model references -> module with `names`, `path` and `digest` of shipped checkpoints.
CHECKPOINTS = {"nano": "harness.nano.zoo:shipped"}

# Scheme of data references -> its source for each kind of data.
SOURCES = {"nano": "harness.nano.sources:SOURCES"}
