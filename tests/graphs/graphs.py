"""Small graphs, one for each thing that a run can do."""

import asyncio
import operator
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypedDict

from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableConfig
from langgraph.config import get_stream_writer
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import interrupt
from scripted_model import ScriptedModel  # type: ignore[import-not-found]

SLOW_STEPS = 5


def _last_text(state: MessagesState) -> str:
    return str(state["messages"][-1].text) if state.get("messages") else ""


def _configurable(config: RunnableConfig) -> dict[str, Any]:
    return config.get("configurable", {})


def echo_builder() -> StateGraph[MessagesState]:
    async def say(state: MessagesState) -> dict[str, Any]:
        return {"messages": [AIMessage(f"echo: {_last_text(state)}")]}

    return StateGraph(MessagesState).add_node("say", say).add_edge(START, "say")


echo = echo_builder().compile()


async def _speak(state: MessagesState, config: RunnableConfig) -> dict[str, Any]:
    """`configurable`: n words (10), each after `delay` seconds (0)."""
    options = _configurable(config)
    words = [f"word{number} " for number in range(int(options.get("n", 10)))]
    model = ScriptedModel(words=words, delay=float(options.get("delay", 0)))
    return {"messages": [await model.ainvoke(state["messages"])]}


tokens = StateGraph(MessagesState).add_node("speak", _speak).add_edge(START, "speak").compile()


class AskState(MessagesState):
    answer: Any


async def _ask(state: AskState) -> dict[str, Any]:
    answer = interrupt({"question": "May I?", "said": _last_text(state)})
    return {"answer": answer, "messages": [AIMessage(f"answered: {answer}")]}


ask = StateGraph(AskState).add_node("ask", _ask).add_edge(START, "ask").compile()


class SlowState(MessagesState):
    steps: Annotated[list[int], operator.add]


def _slow_step(number: int) -> Callable[[SlowState, RunnableConfig], Awaitable[dict[str, Any]]]:
    """`configurable`: `sleep` seconds (0.2)."""

    async def step(state: SlowState, config: RunnableConfig) -> dict[str, Any]:
        await asyncio.sleep(float(_configurable(config).get("sleep", 0.2)))
        return {"steps": [number]}

    return step


slow = (
    StateGraph(SlowState)
    .add_sequence([(f"step{number}", _slow_step(number)) for number in range(SLOW_STEPS)])
    .add_edge(START, "step0")
    .compile()
)


async def _raise(state: MessagesState) -> dict[str, Any]:
    raise ValueError("this graph always fails")


fail = StateGraph(MessagesState).add_node("raise", _raise).add_edge(START, "raise").compile()


class Progress(TypedDict):
    done: int


async def _report(state: MessagesState) -> dict[str, Any]:
    write = get_stream_writer()
    for done in (1, 2):
        write(Progress(done=done))
    return {}


custom = (
    StateGraph(MessagesState)
    .add_node("report", _report)
    .add_node("child", echo_builder().compile())
    .add_edge(START, "report")
    .add_edge("report", "child")
    .compile()
)
