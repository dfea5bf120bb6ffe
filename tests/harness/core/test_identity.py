"""What of a record is part of digests."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from harness.core.records import How, Record, identity


class Inner(Record):
    kept: int = 1
    speed: Annotated[int | None, How()] = Field(
        default=None, exclude_if=lambda value: value is None
    )


class Outer(Record):
    inner: Inner = Inner()
    place: Annotated[str, How()] = "here"
    several: tuple[int, ...] = (1,)


def test_fields_that_say_how_are_no_part_of_the_identity() -> None:
    plain = {"inner": {"kept": 1}, "several": [1]}
    assert identity(Outer()) == plain
    assert identity(Outer(inner=Inner(speed=3), place="there")) == plain
    assert identity(Outer(inner=Inner(kept=2))) == {**plain, "inner": {"kept": 2}}


def test_a_record_without_such_fields_is_its_own_identity() -> None:
    class Plain(Record):
        inner: Inner = Inner()
        note: str = "a"

    assert identity(Plain()) == Plain().model_dump(mode="json")
