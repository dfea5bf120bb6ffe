"""In which order a system is shown options, items and posts: what robustness runs vary."""

from __future__ import annotations

from harness.core.records import Record


class Orders(Record):
    """Orders; None is the order in which things stand.

    Attributes:
        reverse_options: exchange A and B of the question for the trait's pole.
        item_seed: shuffle the questionnaire's items of a trait.
        post_seed: shuffle an author's posts.
    """

    reverse_options: bool = False
    item_seed: int | None = None
    post_seed: int | None = None
