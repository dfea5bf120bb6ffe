"""The same calls through a batch interface: cheaper, within a day, same stored responses.

Calls are sent as files of JSON lines, named by their keys. Every batch is noted in the response
store as soon as it exists, so that an interrupted run waits for it instead of sending it again. Its
results are stored and yielded like live ones; a line with an error, or without an answer in time,
is an error of its row.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import deque
from collections.abc import Awaitable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

from harness.backends.api import faults, wire
from harness.backends.api.client import Client, Put
from harness.backends.api.responses import Stored
from harness.backends.api.wire import Outcome
from harness.core.errors import CrucibleError, UserError
from harness.core.hashing import digest

T = TypeVar("T")

_LOG = logging.getLogger(__name__)

MOST_CALLS = 50_000
MOST_BYTES = 190_000_000  # the server's maximum is 200 MB per file
ENDPOINT = "/v1" + wire.PATHS["chat"]
FIRST_POLL_S, LAST_POLL_S = 0.25, 120.0
UNDER_WAY = ("validating", "in_progress", "finalizing")
OVER = ("completed", "failed", "expired", "cancelled")
TAG = "crucible"  # metadata field that identifies a batch


def ask(client: Client, calls: list[wire.Call]) -> Iterator[list[Outcome]]:
    """Send all calls in batches; yields each outcome once, one batch at a time.

    The list is emptied. Calls that the caller appends to it meanwhile are sent together, in later
    batches, once all others are complete.

    Raises:
        CrucibleError: the server has no batches, refuses the file, or the cost limit is reached.
    """
    while calls:
        asked = {call.key: call for call in calls}
        calls.clear()
        yield from client.run(partial(_serve, client, asked))


async def _serve(client: Client, calls: dict[str, wire.Call], put: Put) -> None:
    await client.probe(deque(calls.values()), None)
    known = _open_batches(client)
    waiting: dict[str, dict[str, float]] = {}  # batch -> key -> reserved USD
    for id, keys in known.items():
        mine = {key: 0.0 for key in keys if key in calls}
        if mine:
            waiting[id] = mine
            _LOG.info("waiting for batch %s of an earlier run (%d requests)", id, len(mine))
    sent = {key for keys in waiting.values() for key in keys}
    reserved = _reserve(client, [call for key, call in calls.items() if key not in sent])
    for lines in _files(client, [calls[key] for key in reserved]):
        id = await _submit(client, lines)
        waiting[id] = {key: reserved[key] for key in lines}
    jobs = [_collect(client, id, keys, calls, put) for id, keys in waiting.items()]
    await asyncio.gather(*jobs)


def _reserve(client: Client, calls: Sequence[wire.Call]) -> dict[str, float]:
    """Reserve the maximum cost of all calls before any is sent; USD by key."""
    reserved: dict[str, float] = {}
    try:
        for call in calls:
            reserved[call.key] = client.account.reserve(client.endpoint.model, client.most(call))
    except UserError:
        for amount in reserved.values():
            client.account.settle(client.endpoint.model, amount)
        raise
    return reserved


def _open_batches(client: Client) -> dict[str, list[str]]:
    """Batches of this endpoint that were sent and not collected, with their keys."""
    if client.store is None:
        return {}
    mine = client.endpoint.fingerprint("chat")
    return {
        name.partition(":")[2]: note["keys"]
        for name, note in client.store.notes("batch:").items()
        if note["endpoint"] == mine
    }


def _files(client: Client, calls: Sequence[wire.Call]) -> Iterator[dict[str, bytes]]:
    """Lines by key, in groups that fit into one file."""
    lines: dict[str, bytes] = {}
    size = 0
    for call in calls:
        line = {
            "custom_id": call.key,
            "method": "POST",
            "url": ENDPOINT,
            "body": wire.body(call, client.endpoint, client.capabilities.token_field),
        }
        data = json.dumps(line, ensure_ascii=False).encode(errors="backslashreplace") + b"\n"
        if lines and (len(lines) >= MOST_CALLS or size + len(data) > MOST_BYTES):
            yield lines
            lines, size = {}, 0
        lines[call.key] = data
        size += len(data)
    if lines:
        yield lines


async def _submit(client: Client, lines: dict[str, bytes]) -> str:
    """Send one file and start its batch; returns the batch's id, noted in the store."""
    sdk, keys = client.lanes[0].sdk, sorted(lines)
    tag = digest([client.endpoint.fingerprint("chat"), keys])
    id = await _sent_before(client, tag)
    if id is None:
        content = b"".join(lines.values())
        file = await _guarded(
            client, sdk.files.create(file=(f"{tag}.jsonl", content), purpose="batch")
        )
        batch = await _guarded(
            client,
            sdk.batches.create(
                input_file_id=file.id,
                endpoint=ENDPOINT,
                completion_window="24h",
                metadata={TAG: tag},
            ),
        )
        id = str(batch.id)
        _LOG.info("sent batch %s with %d requests; it may take a day", id, len(lines))
    if client.store is not None:
        note = {"endpoint": client.endpoint.fingerprint("chat"), "keys": keys}
        client.store.write_note(f"batch:{id}", note)
    return id


async def _sent_before(client: Client, tag: str) -> str | None:
    """An unfinished batch with the same requests, whose note an interruption prevented."""
    try:
        listed = await client.lanes[0].sdk.with_options(max_retries=0).batches.list(limit=50)
    except Exception:  # a server that cannot list batches has none to find
        return None
    for batch in listed.data:
        if batch.status in UNDER_WAY and (batch.metadata or {}).get(TAG) == tag:
            return str(batch.id)
    return None


async def _collect(
    client: Client, id: str, keys: dict[str, float], calls: dict[str, wire.Call], put: Put
) -> None:
    """Wait for a batch; store and yield its results."""
    sdk = client.lanes[0].sdk
    batch = await _ended(client, id)
    said = _problems(client, batch)
    if batch.status == "failed" and not batch.output_file_id:
        _forget(client, id)
        raise UserError(f"batch {id} was refused: {said}; correct that and run again")
    for file in filter(None, (batch.output_file_id, batch.error_file_id)):
        answer = await _guarded(client, sdk.files.content(file))
        rows, outcomes = _read(client, answer.content, keys, calls)
        if client.store is not None:
            client.store.put(rows)
        for outcome in outcomes:
            key = outcome.call.key
            _book(client, outcome, keys.pop(key))
            put(outcome)
    for key, reserved in keys.items():
        left = f"batch {id} ended ({batch.status}) without an answer to it"
        outcome = Outcome(calls[key], error=f"{left}; run again to send it anew")
        _book(client, outcome, reserved)
        put(outcome)
    _forget(client, id)


async def _ended(client: Client, id: str) -> Any:
    """The batch once it is over."""
    pause = FIRST_POLL_S
    told = ""
    while True:
        batch = await _guarded(client, client.lanes[0].sdk.batches.retrieve(id))
        counts = batch.request_counts
        state = batch.status + (f", {counts.completed} of {counts.total}" if counts else "")
        if state != told:
            _LOG.info("batch %s: %s", id, state)
            told = state
        if batch.status in OVER:
            return batch
        await asyncio.sleep(pause)
        pause = min(LAST_POLL_S, 1.5 * pause)


def _read(
    client: Client, content: bytes, keys: dict[str, float], calls: dict[str, wire.Call]
) -> tuple[list[Stored], list[Outcome]]:
    """The lines of one file of results: rows to store, and outcomes to yield."""
    rows, outcomes = [], []
    seen: set[str] = set()
    scrub = client.lanes[0].scrub
    for line in content.splitlines():
        try:
            entry = json.loads(scrub.body(line.decode(errors="replace")))
            key = entry["custom_id"]
        except (KeyError, TypeError, ValueError, RecursionError):
            continue  # its row stays unanswered and is reported so
        if key not in keys or key in seen:
            continue
        seen.add(key)
        call = calls[key]
        response = entry.get("response") or {}
        reply: dict[str, Any] = response.get("body") or {}
        try:
            if response.get("status_code") != 200:
                error = reply.get("error") or entry.get("error") or {}
                raise ValueError(str(error.get("message") or error or "no response"))
            found = client.outcome(call, reply, wire.read(call, reply))
            client.check_logprobs(found)
        except (AttributeError, ValueError, faults.RowFault) as error:
            said = faults.shown(scrub.text(f"in its batch: {error}"))
            outcomes.append(Outcome(call, error=said))
            continue
        tokens_in, tokens_out = wire.usage(reply) or (None, None)
        text = json.dumps(reply, ensure_ascii=False)
        model = client.endpoint.model
        rows.append(Stored(key, model, text, tokens_in, tokens_out, None, time.time()))
        outcomes.append(found)
    return rows, outcomes


def _book(client: Client, outcome: Outcome, reserved: float) -> None:
    client.account.settle(
        client.endpoint.model,
        reserved,
        requests=int(outcome.error is None),
        tokens_in=outcome.tokens_in,
        tokens_out=outcome.tokens_out,
        cost_usd=outcome.cost_usd,
    )


def _forget(client: Client, id: str) -> None:
    if client.store is not None:
        client.store.write_note(f"batch:{id}", None)


def _problems(client: Client, batch: Any) -> str:
    found = getattr(batch.errors, "data", None) or ()
    said = "; ".join(str(problem.message) for problem in found[:3])
    return faults.shown(client.lanes[0].scrub.text(said)) or "the server gave no reason"


async def _guarded(client: Client, work: Awaitable[T]) -> T:
    """The SDK's result, or its error as a `CrucibleError`."""
    import openai

    lane = client.lanes[0]
    try:
        return await work
    except openai.APIStatusError as error:
        content, status = error.response.content, error.status_code
    except openai.APIConnectionError:
        content, status = b"", 0
    # Raised outside the except block: the text of the SDK's error may contain a key.
    if not status:
        raise faults.unreachable(lane.url, "no answer about a batch")
    said = faults.server_message(content, lane.scrub)
    if status == 404:
        raise UserError(f'{lane.url} has no batches (it says "{said.shown}"); run without --batch')
    problem = faults.refused(client.endpoint, lane.url, status, said, "of a batch", False)
    if isinstance(problem, CrucibleError):
        raise problem
    raise UserError(f"{lane.url} refused a batch: {problem}")
