"""Records of runs of both kinds, drawn at random, and the chunks that hold them."""

from collections.abc import Sequence
from typing import Any

import orjson
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, ToolMessage

from runs.engine.encode import encode, message_fields
from runs.protocol.events import Event
from runs.records import Chunk, Record, pack

TIME = 1795160537755

text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6)
#: What breaks lines, JSON or namespaces when it is not held inside.
nasty = st.sampled_from(['a"b', "a:b", "a b", "\u2028", "\x85\r\n", "%d", "a", "b", "a:1", "", "child"])
namespaces = st.lists(nasty, max_size=3).map(tuple)
payloads = st.recursive(
    st.none() | st.integers(-9, 9) | text, lambda inner: st.dictionaries(text, inner, max_size=2), max_leaves=3
)
objects = st.dictionaries(text, payloads, max_size=2)


def record(method: str, data: Any, namespace: Sequence[str] = (), timestamp: int = TIME) -> Record:
    return Record(method, orjson.dumps(data), tuple(namespace), timestamp)


def about(message_id: str, node: str = "model", step: int = 1) -> dict[str, Any]:
    return {"langgraph_node": node, "langgraph_step": step, "langgraph_triggers": ["x"], "ls_provider": "fake"}


def told(message: BaseMessage, namespace: Sequence[str] = (), method: str = "messages", **more: Any) -> Record:
    """A message, or a piece of one, as a run records it."""
    data = encode(message_fields(message))
    if method == "messages":
        data = b"[%b,%b]" % (data, orjson.dumps(about(message.id or "", **more)))
    else:
        data = b"[%b]" % data
    return Record(method, data, tuple(namespace), TIME)


custom = st.one_of(
    payloads,
    st.fixed_dictionaries({"name": st.sampled_from(["", "a", "b:c", 'q"'])}, optional={"payload": payloads}),
    st.fixed_dictionaries({"name": payloads, "payload": payloads}, optional={"more": payloads}),
    st.fixed_dictionaries({"name": st.sampled_from(["a", "b:c"]), "payload": payloads}),
)
#: Records that runs of both kinds have.
common = st.one_of(
    st.builds(record, st.just("metadata"), st.just({"run_id": "r", "thread_id": "t", "attempt": 1, "graph_id": "g"})),
    st.builds(record, st.just("values"), objects | st.just({"a": 1, "__interrupt__": [{"id": "i"}]}), namespaces),
    st.builds(record, st.just("updates"), st.dictionaries(nasty, objects, max_size=3), namespaces),
    st.builds(record, st.just("updates"), st.just({"__interrupt__": [], "__metadata__": {}}), namespaces),
    st.builds(record, st.just("custom"), custom, namespaces),
    st.builds(record, st.just("tasks"), objects, namespaces),
    st.builds(record, st.just("input.requested"), st.just({"interrupt_id": "i", "payload": "?"}), namespaces),
    st.builds(record, st.sampled_from(["error", "cancel"]), st.just({"error": "E", "message": "m"})),
)
_block_events = st.sampled_from(
    [
        {"event": "message-start", "role": "ai", "id": "m", "metadata": {"langgraph_node": "model"}},
        {"event": "content-block-start", "index": 0, "content": {"type": "text", "text": ""}},
        {"event": "content-block-delta", "index": 0, "delta": {"type": "text-delta", "text": "ü\n"}},
        {"event": "content-block-finish", "index": 0, "content": {"type": "text", "text": "ü\n"}},
        {"event": "message-finish"},
        {"event": "error", "message": "cut"},
    ]
)
_tool_events = st.sampled_from(
    [
        {"event": "tool-started", "tool_call_id": "c", "tool_name": "look", "input": {}},
        {"event": "tool-output-delta", "tool_call_id": "c", "delta": "x"},
        {"event": "tool-finished", "tool_call_id": "c", "output": [1]},
        {"event": "tool-error", "tool_call_id": "c", "message": "no"},
    ]
)
#: Records of runs that were started by the protocol.
native = st.one_of(
    common,
    st.builds(record, st.just("block"), _block_events, namespaces),
    st.builds(record, st.just("tool"), _tool_events, namespaces),
    st.builds(record, st.just("checkpoint"), st.just({"id": "c2", "parent_id": "c1", "step": 1, "source": "loop"})),
    st.builds(record, st.sampled_from(["custom:a", "custom:b:c"]), payloads, namespaces),
    st.builds(record, st.just("lifecycle"), st.just({"event": "started", "graph_name": "child"}), namespaces),
)

_ids = st.sampled_from(["m1", "m2", "m3"])
_pieces = st.builds(
    AIMessageChunk,
    content=text | st.just([{"type": "thinking", "thinking": "hm", "index": 0}]),
    id=_ids,
    tool_call_chunks=st.lists(
        st.fixed_dictionaries(
            {
                "name": st.sampled_from([None, "look"]),
                "args": st.sampled_from(["", '{"a":', "1}"]),
                "id": st.sampled_from([None, "c1"]),
                "index": st.integers(0, 1),
            }
        ),
        max_size=2,
    ),
    usage_metadata=st.sampled_from([None, {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}]),
    chunk_position=st.sampled_from([None, None, "last"]),
)
_messages = st.one_of(
    _pieces,
    st.builds(AIMessage, content=text, id=_ids),
    st.builds(HumanMessage, content=text, id=_ids),
    st.builds(ToolMessage, content=text, id=_ids, tool_call_id=st.just("c1")),
)
_checkpoints = st.fixed_dictionaries(
    {
        "config": st.just({"configurable": {"checkpoint_id": "c2", "checkpoint_ns": ""}}),
        "parent_config": st.sampled_from([None, {"configurable": {"checkpoint_id": "c1"}}]),
        "values": objects,
        "metadata": st.just({"source": "loop", "step": 1, "parents": {}}),
    }
)
#: Records of runs that were started by the classic API.
classic = st.one_of(
    common,
    st.builds(told, _messages, namespaces, step=st.integers(1, 2)),
    st.builds(told, _messages, namespaces, method=st.sampled_from(["messages/partial", "messages/complete"])),
    st.builds(record, st.just("messages/metadata"), st.just({"m1": {"metadata": {"langgraph_node": "model"}}})),
    st.builds(record, st.just("checkpoints"), _checkpoints, namespaces),
    st.builds(record, st.sampled_from(["debug", "events"]), objects),
)
ends = st.builds(
    record,
    st.just("end"),
    st.fixed_dictionaries(
        {"status": st.sampled_from(["success", "error", "timeout", "interrupted"])},
        optional={
            "graph_id": st.just("g"),
            "waits": st.just(True),
            "error": st.just("boom"),
            "cancelled": st.just(True),
            "superseded": st.just(True),
        },
    ),
)


def chunks(emitted: Sequence[Record], sizes: Sequence[int] = (), run: str = "run", first: int = 1) -> list[Chunk]:
    """These records, committed in pieces of these sizes."""
    made, left = [], list(emitted)
    for size in [*sizes, len(left)]:
        taken, left = left[:size], left[size:]
        if taken:
            made.append(Chunk("thread", run, first, first + len(taken) - 1, pack(taken)))
            first += len(taken)
    return made


@st.composite
def threads(draw: st.DrawFn) -> list[Chunk]:
    """The chunks of a thread with some runs, of which those of either kind may be recorded between each other."""
    left = [
        [*draw(st.lists(kind, max_size=8)), draw(ends)]
        for kind in draw(st.lists(st.sampled_from([native, classic]), min_size=1, max_size=3))
    ]
    made: list[Chunk] = []
    while any(left):
        run = draw(st.sampled_from([i for i, records in enumerate(left) if records]))
        taken = left[run][: draw(st.integers(1, 4))]
        left[run] = left[run][len(taken) :]
        made += chunks(taken, run=f"run{run}", first=made[-1].last_seq + 1 if made else 1)
    return made


def read(event: Event) -> dict[str, Any]:
    """An event as clients see it."""
    parsed: dict[str, Any] = orjson.loads(event.body)
    assert (parsed["seq"], parsed["method"]) == (event.seq, event.method)
    return parsed
