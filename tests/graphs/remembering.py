"""A graph that keeps what it is told in the store, and says what it finds there."""

from typing import Any, TypedDict

from langgraph.graph import START, StateGraph
from langgraph.runtime import Runtime

NOTES = ("notes", "said")


class Notes(TypedDict, total=False):
    key: str
    text: str
    ttl: float | None
    query: str | None
    found: dict[str, Any]
    namespaces: list[list[str]]


async def _remember(state: Notes, runtime: Runtime[Any]) -> Notes:
    assert runtime.store is not None
    await runtime.store.aput(NOTES, state["key"], {"text": state["text"]}, ttl=state.get("ttl"))
    found = await runtime.store.asearch((), query=state.get("query"), limit=100)
    return {
        "found": {item.key: item.value for item in found},
        "namespaces": [list(namespace) for namespace in await runtime.store.alist_namespaces()],
    }


remember = StateGraph(Notes).add_node("remember", _remember).add_edge(START, "remember").compile()
