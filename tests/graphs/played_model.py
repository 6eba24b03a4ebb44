"""A chat model that plays what it was given, piece by piece: texts, thoughts and calls of tools."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable


class PlayedModel(BaseChatModel):
    """Answers with the turn that follows on the answers in the conversation so far; the last turn for ever.

    A turn is a list of pieces, each the fields of an `AIMessageChunk`; one that is an exception is raised.
    """

    turns: list[list[Any]]
    delay: float = 0.0

    @property
    def _llm_type(self) -> str:
        return "played"

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Runnable[Any, Any]:
        return self

    def _turn(self, messages: list[BaseMessage]) -> list[Any]:
        return self.turns[min(sum(message.type == "ai" for message in messages), len(self.turns) - 1)]

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        whole = AIMessageChunk(content="")
        for piece in self._turn(messages):
            whole += _chunk(piece)
        return ChatResult(generations=[ChatGeneration(message=whole)])

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        for piece in self._turn(messages):
            await asyncio.sleep(self.delay)
            yield ChatGenerationChunk(message=_chunk(piece))


def _chunk(piece: Any) -> AIMessageChunk:
    if isinstance(piece, Exception):
        raise piece
    return AIMessageChunk(**{"content": "", **piece})


def says(*words: str) -> list[Any]:
    """A turn that says these words."""
    return [{"content": word} for word in words]


def calls(index: int, id: str, name: str, *args: str) -> list[Any]:
    """The pieces of a call of a tool whose arguments come as these pieces of JSON."""
    first = {"index": index, "id": id, "name": name, "args": ""}
    rest = [{"index": index, "id": None, "name": None, "args": part} for part in args]
    return [{"tool_call_chunks": [chunk]} for chunk in (first, *rest)]
