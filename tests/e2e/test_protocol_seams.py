"""A reader of the protocol whose connection was cut anywhere, and who comes back with its number, misses nothing."""

import asyncio
import random
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import pytest
from langgraph_sdk.client import LangGraphClient
from langgraph_sdk.stream.subscription import matches_subscription

from tests.e2e.server import Server
from tests.e2e.watching import CHANNELS, TRANSPORTS, Event, Watch, datas, ends_a_run, is_recorded, once, recorded
from tests.e2e.wire import request

SPEECH = {"steps": 2, "tokens": 6, "token_bytes": 12}
_SEED = 20261120

both_transports = pytest.mark.parametrize("transport", TRANSPORTS)
#: Who started the run: the protocol, or the other API, whose records are rendered for the protocol.
by_both = pytest.mark.parametrize("by", ["protocol", "rest"])


async def start(server: Server, key: str, thread_id: str, by: str, **plan: Any) -> None:
    """Start a run; the thread is made with it."""
    asked: dict[str, Any] = {"assistant_id": "stress", "input": {**SPEECH, **plan}}
    path = f"/threads/{thread_id}/runs"
    if by == "protocol":
        path, asked = f"/threads/{thread_id}/commands", {"id": 1, "method": "run.start", "params": asked}
    else:
        asked |= {"stream_mode": ["values", "updates", "messages-tuple"], "multitask_strategy": "enqueue"}
    async with request(server.url, key, "POST", path, asked) as reply:
        answer = await reply.read()
        assert reply.status == 200 and b'"type":"error"' not in answer, answer


async def read(transport: str, server: Server, key: str, thread_id: str, runs: int = 1, **options: Any) -> list[Event]:
    async with Watch(transport, server.url, key, thread_id, **options) as watch:
        return await watch.read_runs(runs)


async def read_with_cut(
    transport: str, server: Server, key: str, thread_id: str, *, size: int = 0, count: int = 0
) -> list[Event]:
    """What a reader puts together whose connection is cut after so many bytes, or events, and who comes back."""
    async with Watch(transport, server.url, key, thread_id) as watch:
        while len(watch.stream) < size and await watch.more():
            pass
        kept = watch.events(size) if size else (await watch.read_until(lambda events: len(events) >= count))[:count]
    if kept and ends_a_run(kept[-1]):
        return kept
    since = kept[-1]["seq"] if kept else None
    return once(kept + await read(transport, server, key, thread_id, since=since))


def cuts_of(ends: Sequence[int]) -> list[int]:
    """Where to cut: at the end of each event, a byte before it, a byte after it, and somewhere within.

    What a reader keeps of a cut event is nothing: so these stand for all bytes.
    """
    chance = random.Random(_SEED)
    within = [chance.randrange(before, end) for before, end in zip([0, *ends], ends, strict=False)]
    return sorted({end + offset for end in ends for offset in (-1, 0, 1)}.union(within) & set(range(1, ends[-1] + 1)))


@by_both
@both_transports
async def test_a_cut_stream_of_a_finished_run_is_gone_on_with_without_a_seam(
    server: Server, key: str, transport: str, by: str
) -> None:
    thread_id = str(uuid4())
    await start(server, key, thread_id, by)
    async with Watch(transport, server.url, key, thread_id) as watch:
        await watch.read_runs()
    # Those who come when it is over are shown the state first.
    whole = await read(transport, server, key, thread_id)
    async with Watch(transport, server.url, key, thread_id) as watch:
        await watch.read_runs()
        ends = [end for _, end in watch.events_and_ends()]
    for cut in cuts_of(ends):
        assert await read_with_cut(transport, server, key, thread_id, size=cut) == whole, f"cut after {cut} bytes"


@by_both
@both_transports
async def test_a_cut_stream_of_a_live_run_is_gone_on_with_without_a_seam(
    server: Server, key: str, transport: str, by: str
) -> None:
    # A finished run of the same plan tells how many events there will be.
    model, thread_id = str(uuid4()), str(uuid4())
    await start(server, key, model, by)
    cuts = range(len(recorded(await read(transport, server, key, model))))
    # All of them are there before the thread is.
    reading = [asyncio.create_task(read(transport, server, key, thread_id))]
    reading += [asyncio.create_task(read_with_cut(transport, server, key, thread_id, count=cut)) for cut in cuts]
    await start(server, key, thread_id, by, token_delay=0.1)
    whole, *pieced = await asyncio.gather(*reading)
    whole = recorded(whole)
    assert len(whole) == len(cuts)
    for cut, events in zip(cuts, pieced, strict=True):
        assert recorded(events) == whole, f"cut after {cut} events"


@by_both
async def test_both_transports_show_the_same(server: Server, key: str, by: str) -> None:
    thread_id = str(uuid4())
    live = [asyncio.create_task(read(transport, server, key, thread_id, 2, since=0)) for transport in TRANSPORTS]
    await start(server, key, thread_id, by, token_delay=0.02)
    await start(server, key, thread_id, by, token_delay=0.02, steps=1)
    by_sse, by_socket = await asyncio.gather(*live)
    assert by_sse == by_socket
    late = [await read(transport, server, key, thread_id, runs=2, since=0) for transport in TRANSPORTS]
    assert late == [by_sse, by_socket]
    seqs, ids = [event["seq"] for event in by_sse], [event["event_id"] for event in by_sse]
    assert seqs == sorted(seqs) and len(set(ids)) == len(ids)


@both_transports
async def test_every_number_gives_what_comes_after_it(server: Server, key: str, transport: str) -> None:
    thread_id = str(uuid4())
    await start(server, key, thread_id, "protocol")
    whole = recorded(await read(transport, server, key, thread_id))
    for seq in sorted({event["seq"] for event in whole} - {whole[-1]["seq"]}):
        rest = await read(transport, server, key, thread_id, since=seq)
        assert rest == [event for event in whole if _number(event) > seq], seq


def _number(event: Event) -> int:
    """The number of the record that it comes from."""
    return int(event["event_id"].partition(".")[0])


@both_transports
async def test_a_subscription_gets_its_channels_and_places_only(server: Server, key: str, transport: str) -> None:
    thread_id = str(uuid4())
    params = {"assistant_id": "channels", "input": {"messages": [{"role": "user", "content": "hello"}]}}
    command = {"id": 1, "method": "run.start", "params": params}
    async with request(server.url, key, "POST", f"/threads/{thread_id}/commands", command) as reply:
        await reply.read()
    whole = recorded(await read(transport, server, key, thread_id))
    child = next(event["params"]["namespace"] for event in whole if len(event["params"]["namespace"]) == 1)

    async def told(subscription: dict[str, Any]) -> list[Event]:
        count = len([event for event in whole if matches_subscription(event, subscription)])  # type: ignore[arg-type]
        async with Watch(transport, server.url, key, thread_id, **subscription) as watch:
            return recorded(await watch.read_until(lambda events: len(recorded(events)) >= count))

    subscriptions: list[dict[str, Any]] = [
        *({"channels": [channel]} for channel in CHANNELS if channel != "input"),
        {"channels": ["custom:progress"]},
        {"channels": CHANNELS, "namespaces": [[]], "depth": 1},
        {"channels": CHANNELS, "namespaces": [[]], "depth": 0},
        {"channels": CHANNELS, "namespaces": [["child"]]},
        {"channels": CHANNELS, "namespaces": [child], "depth": 0},
        {"channels": CHANNELS, "namespaces": [[], ["child", "grandchild"]], "depth": 0},
    ]
    for subscription in subscriptions:
        # As the official SDK understands the protocol.
        expected = [event for event in whole if matches_subscription(event, subscription)]  # type: ignore[arg-type]
        assert await told(subscription) == expected != whole, subscription


@both_transports
async def test_whoever_comes_late_is_shown_the_state_first(
    server: Server, key: str, client: LangGraphClient, transport: str
) -> None:
    thread_id = str(uuid4())
    await start(server, key, thread_id, "rest")
    await read(transport, server, key, thread_id)
    events = await read(transport, server, key, thread_id)
    state = await client.threads.get_state(thread_id)
    assert [event["event_id"] for event in events if not is_recorded(event)] == [events[0]["event_id"]]
    assert (events[0]["method"], events[0]["params"]["data"]) == ("values", state["values"])
    assert datas(events, "values")[-1] == state["values"]
