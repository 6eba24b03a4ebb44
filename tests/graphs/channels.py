"""A graph that has something for every channel of a stream: it calls a tool, and speaks on three levels.

`configurable`: each message has `n` words (3), each after `delay` seconds (0).
"""

import asyncio
from typing import Any

from langchain.tools import ToolRuntime
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import tool
from langgraph.config import get_stream_writer
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from played_model import PlayedModel, calls, says  # type: ignore[import-not-found]


async def _speak(state: MessagesState, config: RunnableConfig) -> dict[str, Any]:
    options = config.get("configurable", {})
    words = [f"word{number} " for number in range(int(options.get("n", 3)))]
    model = PlayedModel(turns=[says(*words)], delay=float(options.get("delay", 0)))
    return {"messages": [await model.ainvoke(state["messages"])]}


async def _report(state: MessagesState) -> dict[str, Any]:
    write = get_stream_writer()
    for done in (1, 2):
        write({"name": "progress", "payload": {"done": done}})
    write({"said": "in passing"})
    return {}


async def _call(state: MessagesState) -> dict[str, Any]:
    model = PlayedModel(turns=[[*says("Let me count."), *calls(1, "call-1", "count", '{"to"', ": 3}")]])
    return {"messages": [await model.ainvoke(state["messages"])]}


@tool
async def count(to: int, runtime: ToolRuntime) -> str:
    """Count aloud."""
    for number in range(1, to + 1):
        await asyncio.sleep(0)
        runtime.emit_output_delta(f"{number} ")
    return f"counted to {to}"


_grandchild = StateGraph(MessagesState).add_node("speak", _speak).add_edge(START, "speak")
_child = StateGraph(MessagesState).add_node("speak", _speak).add_node("grandchild", _grandchild.compile())
_child.add_edge(START, "speak").add_edge("speak", "grandchild")

channels = (
    StateGraph(MessagesState)
    .add_sequence(
        [
            ("report", _report),
            ("call", _call),
            ("tools", ToolNode([count])),
            ("child", _child.compile()),
            ("speak", _speak),
        ]
    )
    .add_edge(START, "report")
    .compile()
)
