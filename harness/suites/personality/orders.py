"""Orders of options, items and posts, which robustness runs vary."""

from __future__ import annotations

from harness.core.records import Record


class Orders(Record):
    """Orders in which a system sees its input; None keeps the original order.

    Attributes:
        reverse_options: exchange the options A and B of the question about the trait.
        item_seed: seed to shuffle the questionnaire's items of a trait.
        post_seed: seed to shuffle an author's posts.
    """

    reverse_options: bool = False
    item_seed: int | None = None
    post_seed: int | None = None
