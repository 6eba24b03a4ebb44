"""Readers of a thread's events by the Agent Streaming Protocol: the same for both transports, down to their bytes."""

import json
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Self

from tests.e2e.wire import events_of, request
from tests.e2e.wire_sockets import RawSocket, messages_of

TRANSPORTS = ("sse", "websocket")
CHANNELS = ["values", "updates", "messages", "tools", "lifecycle", "input", "checkpoints", "tasks", "custom"]
_ENDS = {"completed", "failed", "interrupted"}

Event = dict[str, Any]


class Watch:
    """One connection with one subscription. Leaving the block drops the connection, whatever is still to come.

    `options`: what the subscription says beside its channels, which are all of them unless it says so.
    """

    def __init__(self, transport: str, server: str, key: str, thread_id: str, **options: Any) -> None:
        self._wanted = {"channels": CHANNELS, **{name: value for name, value in options.items() if value is not None}}
        self._is_socket = transport == "websocket"
        path = f"/threads/{thread_id}/stream/events"
        self.socket = RawSocket(server, key, thread_id)
        self.reply = request(server, key, "POST", path, self._wanted, Accept="text/event-stream")

    async def __aenter__(self) -> Self:
        if self._is_socket:
            await self.socket.__aenter__()
            await self.socket.send("subscription.subscribe", **self._wanted)
        else:
            await self.reply.__aenter__()
            assert self.reply.status == 200, await self.reply.read()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await (self.socket if self._is_socket else self.reply).__aexit__(kind, error, trace)

    @property
    def stream(self) -> bytes:
        """All bytes so far, without those that only keep the connection alive."""
        return self.socket.stream if self._is_socket else events_of(self.reply.body)

    async def more(self) -> bytes:
        """The next bytes; none when the connection is over."""
        return await (self.socket if self._is_socket else self.reply).more()

    def events(self, cut: int | None = None) -> list[Event]:
        """The whole events among the bytes so far, or among the first `cut`."""
        return [event for event, _ in self.events_and_ends(cut)]

    def events_and_ends(self, cut: int | None = None) -> list[tuple[Event, int]]:
        """Each event with the number of bytes to its end."""
        stream = self.stream[:cut]
        if not self._is_socket:
            return _frames_of(stream)
        return [(message, end) for message, end in messages_of(stream) if message["type"] == "event"]

    async def read_until(self, done: Callable[[list[Event]], bool]) -> list[Event]:
        """The events so far, once they are enough or the connection is over."""
        while not done(events := self.events()):
            if not await self.more():
                break
        return events

    async def read_runs(self, count: int = 1) -> list[Event]:
        """The events up to the end of so many runs, or the connection's."""
        return await self.read_until(lambda events: sum(map(ends_a_run, events)) >= count)


def _frames_of(stream: bytes) -> list[tuple[Event, int]]:
    found, end = [], 0
    for frame in stream.split(b"\r\n\r\n")[:-1]:
        end += len(frame) + 4
        name, data, number = frame.split(b"\r\n")
        event = json.loads(data.removeprefix(b"data: "))
        assert name == b"event: " + event["method"].encode() and number == b"id: %d" % event["seq"]
        found.append((event, end))
    return found


def ends_a_run(event: Event) -> bool:
    """Whether it says that a run, not a part of it, is over."""
    params = event["params"]
    return event["method"] == "lifecycle" and not params["namespace"] and params["data"]["event"] in _ENDS


def is_recorded(event: Event) -> bool:
    """Whether it was recorded, and is no snapshot for a reader who has just come."""
    return not event["event_id"].startswith("state.")


def recorded(events: Iterable[Event]) -> list[Event]:
    return list(filter(is_recorded, events))


def once(events: Iterable[Event]) -> list[Event]:
    """Each event the first time that it comes, as clients tell them apart: by `event_id`."""
    found: dict[str, Event] = {}
    for event in events:
        found.setdefault(event["event_id"], event)
    return list(found.values())


def datas(events: Iterable[Event], method: str, namespace: list[str] | None = None) -> list[Any]:
    """The data of the events of one method, of one place or of all."""
    return [
        event["params"]["data"]
        for event in events
        if event["method"] == method and namespace in (None, event["params"]["namespace"])
    ]


def texts(values: Any) -> list[str]:
    """What the messages of a state say; content may be a string or blocks."""
    return [text_of(message["content"]) for message in values["messages"]]


def text_of(content: Any) -> str:
    """What one of them says."""
    return content if isinstance(content, str) else "".join(block.get("text", "") for block in content)
