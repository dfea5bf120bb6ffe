"""Operations between sampling and training: split prompts, choose responses, make pairs.

Rows keep the id of their prompt throughout, so that every training pair can be traced to its
candidates, which stay in the store with their rewards.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from harness.core.errors import BadData
from harness.core.hashing import seed_from
from harness.core.records import Record
from harness.engine import costs
from harness.engine.io import write_json, write_rows
from harness.engine.operations import Artifact, Context, Row, operation


class SplitPromptsParams(Record):
    """One part of a random split.

    Attributes:
        fraction: share of the prompts in the part "sft".
    """

    part: Literal["sft", "preference"]
    fraction: float = Field(default=1 / 3, ge=0, le=1)
    seed: int


@operation("split_prompts", version=1, params=SplitPromptsParams, estimate=costs.split)
def split_prompts(context: Context, params: SplitPromptsParams, *, prompts: Artifact) -> None:
    """One of the two disjoint parts of the prompts, in their original order."""
    rows = prompts.rows()
    ids = [row["id"] for row in rows]
    ranked = sorted(ids, key=lambda id: seed_from(params.seed, "split", id))
    first = set(ranked[: round(params.fraction * len(ranked))])
    wanted = [row for row in rows if (row["id"] in first) == (params.part == "sft")]
    _write(context, wanted, {"rows": len(wanted), "of": len(rows)})


class BestResponsesParams(Record):
    """No settings: the highest reward wins, the first one on a tie."""


@operation(
    "best_responses",
    version=2,
    params=BestResponsesParams,
    estimate=costs.rows_of("prompts"),
)
def best_responses(
    context: Context,
    params: BestResponsesParams,
    *,
    scored: tuple[Artifact, ...],
    prompts: Artifact,
) -> None:
    """y_ws: for each prompt the response with the highest reward over all sources and samples.

    Ties go to the source named first, then to the earlier sample. Rows: the prompt with
    `response`, `reward`, `source_model`, `sample` (its number), and `finish`, where known.
    summary.json contains the number of wins and the mean reward of each source.
    """
    asked = {prompt["id"]: prompt["messages"] for prompt in prompts.each_row()}
    best: dict[str, Row] = {}  # of the answers, which can be millions, one per prompt is held
    means: dict[str, float] = {}
    for source in scored:
        system, rewards = "", array("d")
        for row in source.each_row():
            system = system or row["system"]
            rewards.extend(row["rewards"])
            known = best.get(row["id"])
            if row["id"] in asked and (known is None or max(row["rewards"]) > known["reward"]):
                best[row["id"]] = _best_of(row)
        if rewards:
            means[system] = sum(rewards) / len(rewards)
    rows, wins = [], Counter[str]()
    for id, messages in asked.items():
        if id not in best:
            raise BadData(f'no source answered prompt "{id}"')
        wins[best[id]["source_model"]] += 1
        rows.append({"id": id, "messages": messages, **best[id]})
    _write(context, rows, {"wins": dict(sorted(wins.items())), "mean_reward": means})


def _best_of(row: Row) -> Row:
    """The first response of a row with the highest reward."""
    sample = row["rewards"].index(max(row["rewards"]))
    return {
        "response": row["responses"][sample],
        "reward": row["rewards"][sample],
        "source_model": row["system"],
        "sample": sample,
        **({"finish": row["finish"][sample]} if row.get("finish") else {}),
    }


class PreferencePairsParams(Record):
    """Settings of preference pairs.

    Attributes:
        ties: whether rows are dropped whose own best and worst response have equal rewards.
    """

    ties: Literal["drop", "keep"] = "drop"


@operation(
    "preference_pairs",
    version=2,
    params=PreferencePairsParams,
    estimate=costs.rows_of("own", responses=3),
)
def preference_pairs(
    context: Context, params: PreferencePairsParams, *, best: Artifact, own: Artifact
) -> None:
    """(x, y_ws, y_wt, y_l): the best source response, the best and the worst own response.

    y_wt is the first of the highest rewards among the target's samples, y_l the first of the
    lowest (WRPO, data construction). Rows also have the `finish` of each response, where known,
    and the `response_ids` of the own ones with the digest of their `tokenizer`, where kept.

    Raises:
        BadData: no pair is left.
    """
    sources = {row["id"]: row for row in best.each_row()}
    counts = Counter[str]()

    def pairs() -> Iterator[Row]:
        for row in own.each_row():
            if max(row["rewards"]) == min(row["rewards"]):
                counts["ties"] += 1
                if params.ties == "drop":
                    continue
            pair = _pair(row, sources[row["id"]])
            counts["rows"] += 1
            counts["ahead"] += pair["rewards"]["source"] > pair["rewards"]["target"]
            yield pair

    write_rows(context.directory / "rows.jsonl", pairs())
    kept, ties = counts["rows"], counts["ties"]
    if not kept:
        raise BadData(
            f"all {ties} preference rows are ties: the reward model does not separate the "
            "target's responses; sample more (target_sampling.n) or warmer"
        )
    summary = {"rows": kept, "ties": ties, "source_above_target": counts["ahead"] / kept}
    write_json(context.directory / "summary.json", summary, end="")


def _pair(own: Row, source: Row) -> Row:
    rewards = own["rewards"]
    places = {"target": rewards.index(max(rewards)), "rejected": rewards.index(min(rewards))}

    def table(column: str, of_source: object) -> Row:
        found = {name: own[column][place] for name, place in places.items()}
        return found if of_source is None else {"source": of_source, **found}

    row = {
        "id": own["id"],
        "messages": own["messages"],
        "responses": table("responses", source["response"]),
        "rewards": table("rewards", source["reward"]),
        "source_model": source["source_model"],
    }
    if own.get("finish"):
        row["finish"] = table("finish", source.get("finish"))
    if own.get("response_ids"):
        row |= {"response_ids": table("response_ids", None), "tokenizer": own["tokenizer"]}
    return row


class PreferredResponsesParams(Record):
    """No settings: the response of the source where there is one, else that of the target."""


@operation(
    "preferred_responses",
    version=1,
    params=PreferredResponsesParams,
    estimate=costs.rows_of("rows"),
)
def preferred_responses(
    context: Context, params: PreferredResponsesParams, *, rows: Artifact
) -> None:
    """SFT rows of preference rows: {"id", "messages", "response"} with the most preferred response.

    The code released with WRPO trains on the first of the chosen responses as well, the source's.

    Raises:
        BadData: no rows.
    """
    found = [
        {
            "id": row["id"],
            "messages": row["messages"],
            "response": row["responses"].get("source", row["responses"].get("target")),
        }
        for row in rows.rows()
    ]
    if not found:
        raise BadData(
            "no preferences are left for SFT; give more of them, or set data.sft_fraction = 0"
        )
    _write(context, found, {"rows": len(found)})


def _write(context: Context, rows: list[Row], summary: dict[str, object]) -> None:
    write_rows(context.directory / "rows.jsonl", rows)
    write_json(context.directory / "summary.json", summary, end="")
