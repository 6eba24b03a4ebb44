"""Chat models that say what a test tells them to."""

import asyncio
from abc import abstractmethod
from collections.abc import AsyncIterator, Iterator
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessageChunk, BaseMessage, message_chunk_to_message
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult


class StreamingModel(BaseChatModel):
    """Streams the pieces of its answer, waiting `delay` seconds before each."""

    delay: float = 0.0

    @abstractmethod
    def pieces(self, messages: list[BaseMessage]) -> Iterator[AIMessageChunk]:
        """The answer to these messages."""

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        whole = AIMessageChunk(content="")
        for piece in self.pieces(messages):
            whole += piece
        return ChatResult(generations=[ChatGeneration(message=message_chunk_to_message(whole))])

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        for piece in self.pieces(messages):
            await asyncio.sleep(self.delay)
            yield ChatGenerationChunk(message=piece)


class ScriptedModel(StreamingModel):
    """Says its `words`."""

    words: list[str]

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def pieces(self, messages: list[BaseMessage]) -> Iterator[AIMessageChunk]:
        return (AIMessageChunk(content=word) for word in self.words)
