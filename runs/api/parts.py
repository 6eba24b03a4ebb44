"""What the subscriptions of one connection are shown of the log, in parts.

A part is so small that a reader who may not read on is stopped soon, and between two parts the loop serves others.
"""

import asyncio
import math
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import TypeVar

from runs.protocol.events import Event, EventStream
from runs.records import Chunk, portions, singly

#: How many events a part has at most, and how many bytes, but for a single one; and of how many records it is made.
PART_EVENTS, PART_BYTES = 64, 64 * 1024

#: Those that are shown something, each selection once. Asked for before each part: some may have left.
Streams = Callable[[], Sequence[EventStream]]

_Item = TypeVar("_Item", Chunk, Event)


async def shown(chunks: Iterable[Chunk], streams: Streams) -> AsyncGenerator[list[Event]]:
    """What the chunks become for all of them, in order; at least one part, which may be empty, as others may."""
    # Each record is told to each of them.
    share = max(1, len(streams()))
    records, size = max(1, PART_EVENTS // share), PART_BYTES // share
    pieces = chain.from_iterable(portions(chunk, records, size) for chunk in chunks)
    first = True
    for some in _together(pieces, _of_chunk, records, size):
        for part in _together(_told(some, streams()), _of_event, PART_EVENTS, PART_BYTES):
            if not first:
                await asyncio.sleep(0)
            first = False
            yield part


def _together(
    items: Iterable[_Item], measure: Callable[[_Item], tuple[int, int]], number: int, size: int
) -> Iterator[list[_Item]]:
    """The items in lists of at most this number and size, but for a single one; one empty list when there are none."""
    found: list[_Item] = []
    numbers = sizes = 0
    for item in items:
        n, s = measure(item)
        if found and (numbers + n > number or sizes + s > size):
            yield found
            found, numbers, sizes = [], 0, 0
        found.append(item)
        numbers += n
        sizes += s
    yield found


def _of_chunk(chunk: Chunk) -> tuple[int, int]:
    return chunk.last_seq - chunk.first_seq + 1, len(chunk.payload)


def _of_event(event: Event) -> tuple[int, int]:
    return 1, len(event.body)


def _told(chunks: Sequence[Chunk], streams: Sequence[EventStream]) -> list[Event]:
    if len(streams) == 1:
        return [event for chunk in chunks for event in streams[0].render(chunk)]
    records = chain.from_iterable(map(singly, chunks)) if streams else ()
    return [event for record in records for event in _told_to_all(record, streams)]


def _told_to_all(record: Chunk, streams: Sequence[EventStream]) -> list[Event]:
    """What a record becomes for all of these: each of them tells its part of it in the same words."""
    once: dict[int, list[Event]] = {}
    events = list(dict.fromkeys(event for stream in streams for event in stream.render(record, once)))
    return sorted(events, key=_part) if len(events) > 1 else events


def _part(event: Event) -> float:
    """Which of its record's events it is, by its id: `<seq>.1` and so on; `<seq>` is the last one."""
    _, _, part = event.body.split(b'"', 8)[7].partition(b".")
    return int(part) if part else math.inf
