"""Training sets in the form and order of the released code (data_generation, stage "build")."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from methods.kca.strategies import Instance, Row, Strategy


def instances(
    classified: Sequence[Row], examined: Sequence[Row], behaviour: Mapping[str, bool], model: str
) -> list[Instance]:
    """Released rows as instances: those of the behaviour file in its order, then no-need rows.

    Args:
        behaviour: see `decisions_released.behaviour`; an id that is no line of `examined` is
            ignored (the released code stops there and writes nothing).
    """
    found = []
    for idx, known in behaviour.items():
        line = idx.removeprefix("idx_sft")
        if not line.isdigit() or int(line) >= len(examined):
            continue
        fact = "have_fact" if known else "have_no_fact"
        inner = examined[int(line)]["original_input"]
        found.append(
            Instance(
                id=f"need_and_{model}_{fact}_{line}",
                messages=({"role": "user", "content": inner["original_input"]["input"]},),
                response=inner["original_input"]["output"],
                part="consistent" if known else "inconsistent",
                analysis=inner["original_input"].get("analysis", ""),
                queries=inner["original_input"].get("queris", ""),
                knowledge=inner["knowledge"],
            )
        )
    plain = [row for row in classified if row.get("final_prediction") == "<no need>"]
    return found + [
        Instance(
            id=f"no_need_fact_{number}",
            messages=({"role": "user", "content": row["original_input"]["input"]},),
            response=row["original_input"]["output"],
            part="no_need",
            analysis=row["analysis"],
        )
        for number, row in enumerate(plain)
    ]


def conversations(instances: Sequence[Instance], strategy: Strategy) -> list[Row]:
    """The strategy's rows in the released layout: {"id", "conversations", "class", ...}."""
    made = [row for one in instances if (row := strategy(one)) is not None]
    return [
        {
            "id": row["id"],
            "conversations": [
                {"from": "human", "value": row["messages"][-1]["content"]},
                {"from": "gpt", "value": row["response"]},
            ],
            "class": row["class"],
            "analysis": row["analysis"],
            "knowledge": row["knowledge"],
        }
        for row in made
    ]
