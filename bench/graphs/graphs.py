"""The graphs that are measured. They cost next to nothing, so that what is measured is the server.

They stand alone: any server that reads a langgraph.json can run them.
"""

import asyncio
import operator
from collections.abc import AsyncIterator
from typing import Annotated, Any, TypedDict

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import RunnableConfig
from langgraph.config import get_stream_writer
from langgraph.graph import START, MessagesState, StateGraph

SLOW_STEPS = 5


class CountingModel(BaseChatModel):
    """Streams `n` tokens, each after `delay` seconds."""

    n: int
    delay: float = 0.0

    @property
    def _llm_type(self) -> str:
        return "counting"

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        text = "".join(map(_token, range(self.n)))
        return ChatResult(generations=[ChatGeneration(message=AIMessage(content=text))])

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        for number in range(self.n):
            # Also without a delay: a model that never lets go of the loop would measure no server.
            await asyncio.sleep(self.delay)
            yield ChatGenerationChunk(message=AIMessageChunk(content=_token(number)))


def _token(number: int) -> str:
    return f"tok{number} "


async def _echo(state: MessagesState) -> dict[str, Any]:
    return {"messages": [AIMessage(content=f"echo: {state['messages'][-1].text}")]}


echo = StateGraph(MessagesState).add_node("echo", _echo).add_edge(START, "echo").compile()


async def _count(state: MessagesState, config: RunnableConfig) -> dict[str, Any]:
    """`configurable`: n tokens (10), each after `delay` seconds (0)."""
    options = config.get("configurable", {})
    model = CountingModel(n=int(options.get("n", 10)), delay=float(options.get("delay", 0)))
    return {"messages": [await model.ainvoke(state["messages"])]}


tokens = StateGraph(MessagesState).add_node("model", _count).add_edge(START, "model").compile()


class SlowState(TypedDict, total=False):
    steps: Annotated[list[int], operator.add]


async def _sleep(state: SlowState, config: RunnableConfig) -> SlowState:
    """`configurable`: `sleep` seconds (0.2)."""
    await asyncio.sleep(float(config.get("configurable", {}).get("sleep", 0.2)))
    return {"steps": [len(state.get("steps", []))]}


async def _flood(state: SlowState, config: RunnableConfig) -> SlowState:
    """`configurable`: `n` custom events (500) of `size` bytes (100 000), which are in no state."""
    options = config.get("configurable", {})
    write = get_stream_writer()
    piece = "x" * int(options.get("size", 100_000))
    for _ in range(int(options.get("n", 500))):
        await asyncio.sleep(0)
        write(piece)
    return {"steps": [1]}


flood = StateGraph(SlowState).add_node("flood", _flood).add_edge(START, "flood").compile()


slow = (
    StateGraph(SlowState)
    .add_sequence([(f"s{step}", _sleep) for step in range(SLOW_STEPS)])
    .add_edge(START, "s0")
    .compile()
)
