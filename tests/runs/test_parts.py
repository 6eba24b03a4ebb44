"""What subscriptions are shown comes in parts that are small, and the loop serves others between them."""

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runs.api import parts
from runs.api.parts import PART_BYTES, PART_EVENTS, shown
from runs.protocol.events import Event, EventStream
from runs.protocol.selection import CHANNELS, selection
from runs.records import Chunk, Record
from tests.runs.protocol_records import chunks, record, threads

EVERYTHING = selection(CHANNELS)
SELECTIONS = [EVERYTHING, selection(["updates", "values"]), selection(["messages"]), selection(["lifecycle"])]


async def parts_of(thread: Sequence[Chunk], streams: Sequence[EventStream]) -> list[list[Event]]:
    return [part async for part in shown(thread, lambda: streams)]


@given(threads(), st.integers(1, 4), st.integers(1, 400), st.integers(1, 4))
def test_parts_are_the_whole_and_small(thread: list[Chunk], number: int, size: int, streams: int) -> None:
    stream = EventStream(EVERYTHING, 0)
    whole = [event for chunk in thread for event in stream.render(chunk)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts, "PART_EVENTS", number)
        patch.setattr(parts, "PART_BYTES", size)
        found = asyncio.run(parts_of(thread, [EventStream(wanted, 0) for wanted in SELECTIONS[:streams]]))
    assert [event for part in found for event in part] == whole
    for part in found:
        assert len(part) <= number
        assert len(part) <= 1 or sum(len(event.body) for event in part) <= size


def test_nothing_is_one_part() -> None:
    stream = EventStream(EVERYTHING, 0)
    assert asyncio.run(parts_of([], [stream])) == [[]]
    assert asyncio.run(parts_of(chunks([record("values", 0)]), [])) == [[]]


@pytest.mark.parametrize(
    ("streams", "records", "at_least"),
    [
        pytest.param(1, [record("values", number) for number in range(10 * PART_EVENTS)], 8, id="many"),
        pytest.param(1, [record("tasks", "x" * PART_BYTES)] * 10, 8, id="large"),
        pytest.param(1, [record("debug", 0)] * (10 * PART_EVENTS), 8, id="not wanted"),
        pytest.param(4, [record("values", 0)] * PART_EVENTS, 2, id="for many"),
    ],
)
async def test_others_are_served_between_parts(streams: int, records: list[Record], at_least: int) -> None:
    served = 0

    async def serve() -> None:
        nonlocal served
        while True:
            await asyncio.sleep(0)
            served += 1

    serving = asyncio.create_task(serve())
    await parts_of(chunks(records), [EventStream(wanted, 0) for wanted in SELECTIONS[:streams]])
    serving.cancel()
    assert served >= at_least
