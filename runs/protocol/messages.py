"""Whole messages out of streamed pieces, for the stream mode `messages`."""

import orjson
from langchain_core.messages import (
    AIMessageChunk,
    BaseMessage,
    BaseMessageChunk,
    HumanMessageChunk,
    SystemMessageChunk,
    message_chunk_to_message,
)

_OTHERS: dict[str, type[BaseMessageChunk]] = {
    "HumanMessageChunk": HumanMessageChunk,
    "SystemMessageChunk": SystemMessageChunk,
}


class MessageAssembly:
    """Adds up the chunks of each message by its id."""

    def __init__(self) -> None:
        self._messages: dict[str | None, BaseMessageChunk] = {}

    def add(self, data: bytes) -> bytes:
        """Take `[chunk]`, the next piece of a message; answer `[message]`, all of it so far."""
        (piece,) = orjson.loads(data)
        kind = _OTHERS.get(piece.pop("type"), AIMessageChunk)
        # Held in the pieces as derived from `tool_call_chunks`; the sum derives its own.
        piece.pop("tool_calls", None)
        piece.pop("invalid_tool_calls", None)
        chunk = kind(**piece)
        so_far = self._messages.get(chunk.id)
        whole = so_far + chunk if so_far else chunk
        self._messages[chunk.id] = whole
        return b"[%b]" % dump_message(message_chunk_to_message(whole))


def dump_message(message: BaseMessage | BaseMessageChunk) -> bytes:
    return orjson.dumps(message.model_dump(), default=str)
