"""A graph that emits values which are hard to store, wherever a graph can emit something.

The input names a value of `VALUES` as `kind`, and as `where` one of `PLACES`; without a kind it does nothing odd.
"""

import threading
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypedDict

from langchain_core.messages import AIMessage, AnyMessage
from langgraph.config import get_store, get_stream_writer
from langgraph.graph import END, START, StateGraph, add_messages
from langgraph.types import Command, Send, interrupt


class State(TypedDict, total=False):
    kind: str | None
    where: str
    odd: Any
    messages: Annotated[list[AnyMessage], add_messages]
    count: int


def _deep() -> list[Any]:
    nested: list[Any] = []
    for _ in range(1000):
        nested = [nested]
    return nested


VALUES: dict[str, Callable[[], Any]] = {
    "nan": lambda: float("nan"),
    "nul": lambda: "before\0after",
    "surrogate": lambda: "before\ud800after",
    "bigint": lambda: 2**70,
    "deep": _deep,
    "lock": threading.Lock,
    "constructor": lambda: {"lc": 1, "type": "constructor", "id": ["os", "system"], "kwargs": {"command": "true"}},
}


async def _in_state(value: Any) -> Any:
    return {"odd": value}


async def _in_list(value: Any) -> Any:
    return {"odd": [{"a": [value]}]}


async def _in_key(value: Any) -> Any:
    return {"odd": {value if isinstance(value, str) else repr(value)[:100]: 1}}


async def _in_message(value: Any) -> Any:
    content = value if isinstance(value, str) else "said"
    return {"messages": [AIMessage(content, id="odd", additional_kwargs={"value": value})]}


async def _in_stream(value: Any) -> Any:
    get_stream_writer()(value)
    return {}


async def _in_item(value: Any) -> Any:
    await get_store().aput(("poison",), "odd", {"value": value})
    return {}


async def _in_item_key(value: Any) -> Any:
    await get_store().aput(("poison", str(value)[:100]), str(value)[:100], {"value": 1})
    return {}


async def _in_question(value: Any) -> Any:
    return {"odd": f"answered {interrupt(value)}"}


async def _in_error(value: Any) -> Any:
    raise ValueError(value)


async def _in_command(value: Any) -> Any:
    return Command(update={"odd": value})


async def _in_send(value: Any) -> Any:
    return Command(goto=Send("take", {"odd": value}))


PLACES: dict[str, Callable[[Any], Awaitable[Any]]] = {
    "state": _in_state,
    "list": _in_list,
    "key": _in_key,
    "message": _in_message,
    "stream": _in_stream,
    "item": _in_item,
    "item key": _in_item_key,
    "question": _in_question,
    "error": _in_error,
    "command": _in_command,
    "send": _in_send,
}


async def emit(state: State) -> Any:
    if not state.get("kind"):
        return {"count": state.get("count", 0) + 1, "odd": None}
    return await PLACES[state["where"]](VALUES[state["kind"]]())


async def take(state: State) -> Any:
    return {"odd": ["taken", state["odd"]]}


poison = (
    StateGraph(State)
    .add_node("emit", emit, destinations=("take", END))
    .add_node("take", take)
    .add_edge(START, "emit")
    .compile()
)
