"""A chat model that plays what it was given, piece by piece: texts, thoughts and calls of tools."""

from collections.abc import Iterator, Sequence
from typing import Any

from langchain_core.messages import AIMessageChunk, BaseMessage
from langchain_core.runnables import Runnable
from scripted_model import StreamingModel  # type: ignore[import-not-found]


class PlayedModel(StreamingModel):  # type: ignore[misc]
    """Answers with the turn that follows on the answers in the conversation so far; the last turn for ever.

    A turn is a list of pieces, each the fields of an `AIMessageChunk`; one that is an exception is raised.
    """

    turns: list[list[Any]]

    @property
    def _llm_type(self) -> str:
        return "played"

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Runnable[Any, Any]:
        return self

    def pieces(self, messages: list[BaseMessage]) -> Iterator[AIMessageChunk]:
        for piece in self.turns[min(sum(message.type == "ai" for message in messages), len(self.turns) - 1)]:
            if isinstance(piece, Exception):
                raise piece
            yield AIMessageChunk(**{"content": "", **piece})


def says(*words: str) -> list[Any]:
    """A turn that says these words."""
    return [{"content": word} for word in words]


def calls(index: int, id: str, name: str, *args: str) -> list[Any]:
    """The pieces of a call of a tool whose arguments come as these pieces of JSON."""
    first = {"index": index, "id": id, "name": name, "args": ""}
    rest = [{"index": index, "id": None, "name": None, "args": part} for part in args]
    return [{"tool_call_chunks": [chunk]} for chunk in (first, *rest)]
