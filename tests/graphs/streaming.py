"""Graphs that stream what the Agent Streaming Protocol can tell, one for each kind of it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from langchain.agents import create_agent
from langchain.agents.middleware import wrap_tool_call
from langchain.tools import ToolRuntime
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import tool
from langgraph.config import get_stream_writer
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.stream import StreamChannel, StreamTransformer
from langgraph.types import interrupt
from played_model import PlayedModel, calls, says  # type: ignore[import-not-found]

Node = Callable[[MessagesState], Awaitable[dict[str, Any]]]


def _delay(config: RunnableConfig) -> float:
    """`configurable`: `delay` seconds before each word (0)."""
    return float(config.get("configurable", {}).get("delay", 0))


def _speaks(*words: str) -> Callable[[MessagesState, RunnableConfig], Awaitable[dict[str, Any]]]:
    async def speak(state: MessagesState, config: RunnableConfig) -> dict[str, Any]:
        model = PlayedModel(turns=[says(*words)], delay=_delay(config))
        return {"messages": [await model.ainvoke(state["messages"])]}

    return speak


def _graph(*nodes: tuple[str, Any]) -> StateGraph[MessagesState]:
    """These nodes, one after the other."""
    return StateGraph(MessagesState).add_sequence(list(nodes)).add_edge(START, nodes[0][0])


# A subgraph in a subgraph; each of the three graphs lets a model speak.
_leaf = _graph(("whisper", _speaks("from ", "the ", "leaf")))
_child = _graph(("talk", _speaks("from ", "the ", "child")), ("leaf", _leaf.compile()))
deep = _graph(("child", _child.compile()), ("speak", _speaks("from ", "the ", "root"))).compile()


async def _ask(state: MessagesState) -> dict[str, Any]:
    return {"messages": [AIMessage(f"answered: {interrupt({'question': 'How deep?'})}")]}


# Asks from the graph in the subgraph.
_asking_leaf = _graph(("ask", _ask))
_asking_child = _graph(("leaf", _asking_leaf.compile()))
asking_deep = _graph(("child", _asking_child.compile()), ("speak", _speaks("done"))).compile()


def _asks(question: str) -> Node:
    async def ask(state: MessagesState) -> dict[str, Any]:
        return {"messages": [AIMessage(f"{question} {interrupt(question)}")]}

    return ask


# Two nodes of one step ask.
asking_twice = (
    StateGraph(MessagesState)
    .add_node("one", _asks("When?"))
    .add_node("other", _asks("Where?"))
    .add_edge(START, "one")
    .add_edge(START, "other")
    .compile()
)
# A subgraph that stops at a breakpoint of its own.
stopping_deep = _graph(("child", _leaf.compile(interrupt_before=["whisper"])), ("speak", _speaks("done"))).compile()

# Subgraphs at once, of which no checkpoint is kept.
_unkept = _graph(("talk", _speaks("once"))).compile(checkpointer=False)
fanned = (
    _graph(("child", _unkept), ("speak", _speaks("done"))).add_node("twin", _unkept).add_edge(START, "twin").compile()
)


@tool
async def look_up(place: str, runtime: ToolRuntime) -> str:
    """Says how it is there, bit by bit."""
    for bit in ("sunny ", "in ", place):
        runtime.emit_output_delta(bit)
        await asyncio.sleep(0)
    return f"sunny in {place}"


@tool
async def fail_at(place: str) -> str:
    """Always fails."""
    raise ValueError(f"nobody has been to {place}")


_tool_turns = [
    [*calls(2, "call-1", "look_up", '{"place":', ' "Rome"}'), *calls(3, "call-2", "fail_at", '{"place": "Mars"}')],
    says("It ", "is ", "sunny."),
]


@wrap_tool_call
async def _forgive(request: Any, handler: Any) -> Any:
    try:
        return await handler(request)
    except ValueError as exc:
        return ToolMessage(str(exc), tool_call_id=request.tool_call["id"], status="error")


# Two tools at once: one streams what it says, the other fails. The first agent survives that, the second does not.
_tools = [look_up, fail_at]
tooled = create_agent(PlayedModel(turns=_tool_turns), _tools, middleware=[_forgive], name="tooled")
tool_fails = create_agent(PlayedModel(turns=_tool_turns), _tools, name="tool_fails")


_researcher = create_agent(PlayedModel(turns=[says("It is ", "in books.")]), [], name="researcher")


@tool
async def research(question: str) -> str:
    """Asks another agent."""
    answer = await _researcher.ainvoke({"messages": [{"role": "user", "content": question}]})
    return str(answer["messages"][-1].text)


# An agent that lets another one work for it.
delegating = create_agent(
    PlayedModel(turns=[calls(0, "call-1", "research", '{"question": "Where?"}'), says("In ", "books.")]),
    [research],
    name="delegating",
)


async def _both(state: MessagesState, config: RunnableConfig) -> dict[str, Any]:
    one = PlayedModel(turns=[says("a1 ", "a2 ", "a3")], delay=_delay(config) or 0.01)
    two = PlayedModel(turns=[says("b1 ", "b2 ", "b3")], delay=_delay(config) or 0.01)
    messages = state["messages"]
    return {"messages": list(await asyncio.gather(one.ainvoke(messages), two.ainvoke(messages)))}


# Two models at once, in one node.
parallel = _graph(("both", _both)).compile()

_thought = [
    *({"content": [{"type": "reasoning", "reasoning": bit, "index": 0}]} for bit in ("Let me ", "think.")),
    *({"content": [{"type": "text", "text": bit, "index": 1}]} for bit in ("I will ", "look.")),
    *calls(2, "call-1", "look_up", '{"pla', 'ce": "Rome"}'),
    {"usage_metadata": {"input_tokens": 3, "output_tokens": 5, "total_tokens": 8}},
]


async def _think(state: MessagesState, config: RunnableConfig) -> dict[str, Any]:
    return {"messages": [await PlayedModel(turns=[_thought], delay=_delay(config)).ainvoke(state["messages"])]}


# Reasoning, a text and a call of a tool in one message, and what it took.
thinking = _graph(("think", _think)).compile()


async def _stream(state: MessagesState, config: RunnableConfig) -> dict[str, Any]:
    model = PlayedModel(turns=[says("word ", "by ", "word")], delay=_delay(config))
    words = [str(piece.text) async for piece in model.astream(state["messages"])]
    return {"messages": [AIMessage("".join(words), id="made-of-words")]}


# A node that streams its model itself, and answers with a message of its own.
direct = _graph(("stream", _stream)).compile()


async def _recover(state: MessagesState, config: RunnableConfig) -> dict[str, Any]:
    failing = PlayedModel(turns=[[*says("half a "), ConnectionError("the model is gone")]])
    model = failing.with_fallbacks([PlayedModel(turns=[says("a whole ", "answer")])])
    return {"messages": [await model.ainvoke(state["messages"])]}


# Its model fails in the middle of a message, and another one answers.
recovering = _graph(("recover", _recover)).compile()


async def _break(state: MessagesState) -> dict[str, Any]:
    failing = PlayedModel(turns=[[*says("half a "), ConnectionError("the model is gone")]])
    return {"messages": [await failing.ainvoke(state["messages"])]}


# Fails with its model.
breaking = _graph(("break", _break)).compile()


async def _leave(state: MessagesState) -> dict[str, Any]:
    async for _ in PlayedModel(turns=[says("enough", "and", "more")]).astream(state["messages"]):
        break
    return {}


# A node that does not hear its model out.
leaving = _graph(("leave", _leave), ("speak", _speaks("all ", "of ", "it"))).compile()


async def _write(state: MessagesState) -> dict[str, Any]:
    write = get_stream_writer()
    write({"done": 1})
    write({"name": "progress", "payload": {"done": 2}})
    write({"name": "progress", "payload": 3, "more": True})
    write("a text")
    return {}


# Custom events with and without a name.
named = _graph(("write", _write)).compile()


class CountWords(StreamTransformer):
    """Tells on its own channel, `words`, how many pieces of messages there were by then."""

    required_stream_modes = ("messages",)

    def __init__(self, scope: tuple[str, ...] = ()) -> None:
        super().__init__(scope)
        self._count = 0
        self._words: StreamChannel[dict[str, int]] = StreamChannel("words")

    def init(self) -> dict[str, Any]:
        return {"words": self._words}

    def process(self, event: Any) -> bool:
        if event["method"] == "messages" and event["params"]["data"][0].get("event") == "content-block-delta":
            self._count += 1
            self._words.push({"count": self._count})
        return True


# Compiled with a transformer of its own stream.
extended = _graph(("speak", _speaks("one ", "two ", "three")), ("child", _leaf.compile())).compile(
    transformers=[CountWords]
)
# As well, and asks from its subgraph.
extended_asking = _graph(("child", _asking_leaf.compile())).compile(transformers=[CountWords])
# As well, an agent.
extended_agent = create_agent(
    PlayedModel(turns=[[*_thought[:4], *_tool_turns[0]], says("It ", "is ", "sunny.")]),
    _tools,
    middleware=[_forgive],
    transformers=[CountWords],
    name="extended_agent",
)
