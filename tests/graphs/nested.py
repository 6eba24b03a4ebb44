"""A graph whose subgraph asks, so that a run can be started from within it."""

import operator
from typing import Annotated

from langgraph.graph import START, StateGraph
from langgraph.types import interrupt
from typing_extensions import TypedDict


class State(TypedDict):
    said: Annotated[list[str], operator.add]


async def _first(state: State) -> State:
    return {"said": ["first"]}


async def _ask(state: State) -> State:
    return {"said": [interrupt("Who?")]}


async def _last(state: State) -> State:
    return {"said": ["last"]}


_child = StateGraph(State).add_node("first", _first).add_node("ask", _ask)
_child.add_edge(START, "first").add_edge("first", "ask")
nested = StateGraph(State).add_node("child", _child.compile()).add_node("last", _last)
nested.add_edge(START, "child").add_edge("child", "last")
